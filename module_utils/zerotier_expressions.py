"""Which variables the expressions of an inventory file use. Pure; needs Jinja, so it is the control node's only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes

_PARSER = jinja2.Environment()  # noqa: S701 - nothing is rendered


def names_used(expressions: Iterable[object]) -> frozenset[str] | None:
    """The names that decide what the expressions give; None when more than variables may, or they can't be read.

    Lookups and functions such as ``now`` are among the names. What isn't text is a constant.
    """
    names: set[str] = set()
    for expression in expressions:
        if not isinstance(expression, str):
            continue
        if "{{" in expression or "{%" in expression:
            return None
        try:
            tree = _PARSER.parse(f"{{{{ ({expression}) }}}}")
        except jinja2.TemplateSyntaxError:
            return None
        for node in tree.find_all(jinja2.nodes.Filter):
            if "random" in node.name or node.name.rpartition(".")[2] in ("shuffle", "password_hash"):
                return None
        names |= jinja2.meta.find_undeclared_variables(tree)
    return frozenset(names)


def group_expressions(groups: object, keyed_groups: object) -> list[object] | None:
    """The expressions of the options ``groups`` and ``keyed_groups``; None when an entry isn't as it should be."""
    found: list[object] = list(groups.values()) if isinstance(groups, Mapping) else []
    for entry in keyed_groups if isinstance(keyed_groups, list) else []:
        if not isinstance(entry, Mapping):
            return None
        parent: Any = entry.get("parent_group")
        if isinstance(parent, str) and "{" in parent:
            return None
        found.append(entry.get("key"))
    return found
