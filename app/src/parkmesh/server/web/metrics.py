"""``/metrics``: what Prometheus scrapes. It is for machines nearby and never for the load balancer's clients.

A request with a proxy's header (``X-Forwarded-For``, ``Forwarded``, ``Via``) gets 404, as if there were nothing. Of the
others, requests from this machine are answered. Where PARKMESH_METRICS_TOKEN is set, only requests that carry it as a
bearer token are answered, from any address.
"""

import hmac
import time
from ipaddress import ip_address

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from parkmesh.server.communities import desk
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.settings import Settings
from parkmesh.server.telemetry import metrics
from parkmesh.server.web.authentication import bearer_token

FLEET_S = 15.0
"""Seconds for which the counts of all gateways are good: a scrape more often costs the database nothing."""

_FORWARDED = ("x-forwarded-for", "forwarded", "via")


class Fleet:
    """The counts of all gateways, read at most every ``FLEET_S`` seconds."""

    def __init__(self, pool: database.Pool) -> None:
        self._pool = pool
        self._read_at = -FLEET_S

    async def refresh(self) -> None:
        if time.monotonic() - self._read_at < FLEET_S:
            return
        self._read_at = time.monotonic()
        try:
            async with database.at_desk(self._pool) as connection:
                found = await desk.summary(connection)
        except Exception:  # noqa: BLE001 - whatever the database has, the rest of the metrics says so
            metrics.DATABASE_UP.set(0)
            return
        metrics.DATABASE_UP.set(1)
        metrics.COMMUNITIES.set(found.communities)
        metrics.GATEWAYS.labels("ok").set(found.ok)
        for state, count in found.states.items():
            metrics.GATEWAYS.labels(state).set(count)


def allowed(request: Request, settings: Settings) -> bool:
    """Tell whether a request may see the metrics."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    if settings.metrics_token:
        given = bearer_token(request) or ""
        return hmac.compare_digest(given.encode("utf-8", "replace"), settings.metrics_token.encode())
    try:
        return ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        return False


async def show_metrics(request: Request) -> Response:
    state = request.app.state
    if not allowed(request, state.settings):
        raise problems.not_found()
    await state.fleet.refresh()
    metrics.DRAINING.set(state.condition.draining)
    metrics.EDGE_OPEN.set(state.condition.edge_is_open())
    metrics.LIVE_PAGES.set(state.feeds.open_pages)
    metrics.DATABASE_CONNECTIONS.labels("idle").set(state.pool.get_idle_size())
    metrics.DATABASE_CONNECTIONS.labels("busy").set(state.pool.get_size() - state.pool.get_idle_size())
    return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)
