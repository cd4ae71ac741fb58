"""HTML from Python: everything that isn't markup is escaped. No template engine has to be in a gateway's memory."""

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"meta", "link", "input", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(element: str, /, *children: object, **attributes: str | bool | None) -> Markup:
    """Return an element. ``None`` as a child is nothing, a list its members. ``class_`` is *class*, ``data_seen``
    *data-seen*; an attribute that is True has no value, one that is None or False isn't there."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in _VOID:
        return Markup(f"<{element}{written}>")
    return Markup(f"<{element}{written}>{join(children)}</{element}>")


def join(children: object) -> Markup:
    """Return children one after the other."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(children))
    if isinstance(children, Iterable):
        return Markup("".join(join(child) for child in children))
    return Markup(escape(str(children)))
