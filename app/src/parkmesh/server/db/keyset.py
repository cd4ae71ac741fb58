"""The two ways through a list that is read by pages: on from a place of it, or back.

A list has an order without ties, its place. Its statement names the order by a ``Way``, so that one statement reads
both: ``(u.name, u.id) {way.above} ($2, $3) ORDER BY u.name {way.up}, u.id {way.up}``. Back, the rows come in the
reverse of the list's order, the nearest first; ``web/paging.py`` turns them round.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """Operators and orders of a statement. A list that rises by its place uses ``above`` and ``up``, one that falls
    ``below`` and ``down``."""

    above: str
    below: str
    up: str
    down: str


ON = Way(above=">", below="<", up="ASC", down="DESC")
BACK = Way(above="<", below=">", up="DESC", down="ASC")
