"""Pages for people."""

from starlette.routing import BaseRoute

from parkmesh.server.web.pages import (
    account,
    booking,
    communities,
    desk,
    gates,
    home,
    invitations,
    passages,
    people,
    places,
    sessions,
    sharing,
    trail,
    transfer,
    vehicles,
    visitors,
)

ROUTES: list[BaseRoute] = [
    *sessions.ROUTES,
    *invitations.ROUTES,
    *account.ROUTES,
    *desk.ROUTES,
    *trail.ROUTES,
    *communities.ROUTES,
    *home.ROUTES,
    *vehicles.ROUTES,
    *booking.ROUTES,
    *sharing.ROUTES,
    *visitors.ROUTES,
    *places.ROUTES,
    *passages.ROUTES,
    *people.ROUTES,
    *gates.ROUTES,
    *transfer.ROUTES,
]
