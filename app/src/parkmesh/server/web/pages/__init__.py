"""Pages for people."""

from starlette.routing import BaseRoute

from parkmesh.server.web.pages import communities, sessions

ROUTES: list[BaseRoute] = [*sessions.ROUTES, *communities.ROUTES]
