"""Query parameters that a route doesn't know are refused: a filter with a typing mistake must not answer everything."""

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem

_known: dict[str, frozenset[str]] = {}


def known(route: APIRoute) -> frozenset[str]:
    """Return the names of a route's query parameters."""
    if route.unique_id not in _known:
        fields = get_flat_params(route.dependant)
        _known[route.unique_id] = frozenset(field.alias for field in fields if isinstance(field.field_info, Query))
    return _known[route.unique_id]


async def refuse_unknown(request: Request) -> None:
    """Raise ``Problem`` 422 where the address has a parameter that its route doesn't take."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    names = known(route)
    for name in request.query_params:
        if name not in names:
            # The value may be anything, and so may the name: it is said back as far as it can be a name.
            shown = name[:60] if name.isprintable() else "?"
            text = Message(
                "There is no parameter %(name)s here. Known: %(known)s.",
                name=shown,
                known=", ".join(sorted(names)) or "none",
            )
            raise Problem(422, text, kind="unknown-parameter")
