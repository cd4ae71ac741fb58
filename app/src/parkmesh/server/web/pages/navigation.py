"""The main navigation of pages, by role."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parkmesh.server.web.language import N_

if TYPE_CHECKING:
    from parkmesh.server.web.pages.visit import Visit


@dataclass(frozen=True)
class Item:
    """One place: its path below ``Navigation.base``, its name and its icon."""

    path: str
    name: str
    icon: str


@dataclass(frozen=True)
class Navigation:
    """The places of one visit and the path that is shown now. ``first`` of them stand in the bar of a phone."""

    items: tuple[Item, ...] = ()
    base: str = ""
    current: str = ""
    first: int = 4


NOTHING = Navigation()

RESIDENT = (
    Item("", N_("Home"), "home"),
    Item("/book", N_("Book"), "calendar"),
    Item("/visitors", N_("Visitors"), "ticket"),
    Item("/vehicles", N_("Vehicles"), "car"),
    Item("/history", N_("History"), "clock"),
    Item("/violations", N_("Violations"), "flag"),
)
STAFF = (
    Item("", N_("Live"), "pulse"),
    Item("/map", N_("Map"), "map"),
    Item("/passages", N_("Passages"), "list"),
    Item("/people", N_("People"), "people"),
    Item("/bookings", N_("Bookings"), "calendar"),
    Item("/visitor-passes", N_("Visitor passes"), "ticket"),
    Item("/stays", N_("Stays"), "clock"),
    Item("/check", N_("Check a plate"), "search"),
    Item("/violations", N_("Violations"), "flag"),
    Item("/reports", N_("Reports"), "chart"),
    Item("/bars", N_("Barred plates"), "shield"),
    Item("/spaces", N_("Spaces"), "grid"),
    Item("/gates", N_("Gates & rules"), "gate"),
    Item("/transfer", N_("Import & export"), "transfer"),
    Item("/api-keys", N_("API keys"), "key"),
    Item("/webhooks", N_("Webhooks"), "send"),
    Item("/audit", N_("Audit"), "shield"),
)
DESK = (
    Item("/", N_("Communities"), "building"),
    Item("/gateways", N_("Gateways"), "pulse"),
    Item("/onboard", N_("Onboard"), "plus"),
    Item("/messages", N_("Messages"), "transfer"),
    Item("/webhooks", N_("Webhooks"), "send"),
    Item("/audit", N_("Audit"), "shield"),
)


def of(visit: "Visit") -> Navigation:
    """Return the navigation for the user at the page shown."""
    path = visit.request.url.path.rstrip("/")
    if visit.place:
        items = STAFF if visit.staff else RESIDENT
        return Navigation(items, visit.base, _current(items, path.removeprefix(visit.base)), 4 if visit.staff else 5)
    if visit.asker and visit.asker.operator and not visit.lacks_factor:
        return Navigation(DESK, "", _current(DESK, path or "/"), 4)
    return NOTHING


def _current(items: tuple[Item, ...], path: str) -> str:
    """Return the path of the item that a page belongs to: pages below it belong to it too."""
    fitting = [item.path for item in items if path == item.path or (item.path and path.startswith(f"{item.path}/"))]
    return max(fitting, key=len, default="none")
