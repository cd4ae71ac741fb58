"""What a server process counts and measures, for Prometheus. No label names a person, a plate or a community."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# When each series began is a third of all lines and of no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
# Answers within a few ms are the rule; 50 ms and 100 ms are what is promised for reads and for ingestion.
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

REQUESTS = Counter(
    "parkmesh_requests",
    "Requests answered. Status 0: the client went away before the answer.",
    ["application", "method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "parkmesh_request_seconds",
    "Seconds until the answer begins.",
    ["application", "route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
EDGE_BATCHES = Counter(
    "parkmesh_edge_batches",
    "Batches of events from gateways. Known: every event of it was applied before.",
    ["outcome"],
    registry=REGISTRY,
)
EDGE_EVENTS = Counter(
    "parkmesh_edge_events", "Events in batches that were applied or known.", ["outcome"], registry=REGISTRY
)
NOTIFICATIONS = Counter(
    "parkmesh_notifications", "Notifications of the database that came in.", ["channel"], registry=REGISTRY
)
NOTIFICATION_LAG = Gauge(
    "parkmesh_notification_lag_seconds",
    "How long the last probe took from this server through the database back to it.",
    registry=REGISTRY,
)
DATABASE_WAIT = Histogram(
    "parkmesh_database_wait_seconds",
    "Seconds that work waited for a connection of the pool, those that gave up included.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
DATABASE_CONNECTIONS = Gauge(
    "parkmesh_database_connections", "Open connections of the web application's pool.", ["state"], registry=REGISTRY
)
DATABASE_UP = Gauge(
    "parkmesh_database_up", "1: the last scrape that asked the database got an answer.", registry=REGISTRY
)
EDGE_OPEN = Gauge(
    "parkmesh_edge_open", "1: gateways can reach this server. 0: it holds no overlay slot.", registry=REGISTRY
)
LIVE_PAGES = Gauge("parkmesh_live_pages", "Live pages that are open at this server.", registry=REGISTRY)
GATEWAY_STREAMS = Gauge(
    "parkmesh_gateway_streams", "Streams of gateways that are open at this server.", registry=REGISTRY
)
# The same at every server, since it is the database's: take the maximum over servers, not the sum.
COMMUNITIES = Gauge("parkmesh_communities", "Communities, without those that were offboarded.", registry=REGISTRY)
GATEWAYS = Gauge(
    "parkmesh_gateways", "Gateways of all communities; one may be in several states.", ["state"], registry=REGISTRY
)
DRAINING = Gauge("parkmesh_draining", "1: this server takes no new work.", registry=REGISTRY)
