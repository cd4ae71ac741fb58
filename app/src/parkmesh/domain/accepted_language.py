"""Which language a browser asks for."""

from collections.abc import Container

_MAX_HEADER = 200


def preferred(header: str, known: Container[str], default: str) -> str:
    """Return the code of the known language that an ``Accept-Language`` header (RFC 9110) likes best, else the default.

    Of a longer header only the beginning is read.
    """
    best, best_weight = default, 0.0
    for item in header[:_MAX_HEADER].split(","):
        tag, _, parameter = item.strip().partition(";")
        code = tag.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if code in known and best_weight < weight <= 1:
            best, best_weight = code, weight
    return best
