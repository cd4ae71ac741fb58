"""The rough name of a browser, by which people tell their sessions apart: ``Firefox on Windows``."""

# The first that is found in the header names it: browsers name their ancestors too, so the most particular come first.
_PROGRAMS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
    ("curl", "curl"),
    ("python", "Python"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def rough(user_agent: str) -> str:
    """Return a short name made of words of this module alone, or nothing where the header says nothing known."""
    found = [next((name for mark, name in known if mark in user_agent), "") for known in (_PROGRAMS, _SYSTEMS)]
    return " on ".join(part for part in found if part)
