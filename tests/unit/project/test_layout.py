"""The rules of the house: what may import what, what lies where, and what every playbook says of itself.

``import_graph`` reads the imports; test_import_graph.py shows that each rule finds a planted fault.
"""

from pathlib import Path

import import_graph as graph
import pytest

ROOT = Path(__file__).resolve().parents[3]
APP = graph.read(ROOT / "app/src/parkmesh", "parkmesh")
LAB = graph.read(ROOT / "lab", "lab")
PLUGINS = {
    name: text
    for folder in ("module_utils", "library", "inventory_plugins", "filter_plugins")
    for name, text in graph.read(ROOT / folder).items()
}
TREES = {
    "app": APP,
    "lab": LAB,
    "plugins": PLUGINS,
    "scripts": graph.read(ROOT / "scripts"),
    "bench": graph.read(ROOT / "bench"),
}
IMPORTS = graph.edges(APP)

# From the lowest to the highest. A package imports only what stands above it in this list.
SERVER = {
    "parkmesh.server": "The package itself holds nothing.",
    "parkmesh.server.settings": "What a deployment sets; read once, at the start.",
    "parkmesh.server.telemetry": "Logs and metrics, which everything writes.",
    "parkmesh.server.db": "The connection, the schema, the notifications.",
    "parkmesh.server.servers": "Which servers there are; needs only the database.",
    "parkmesh.server.audit": "Who did what: written in the transaction of every act.",
    "parkmesh.server.http": "What both applications share as HTTP servers, and problems as errors of the core.",
    "parkmesh.server.identity": "Who asks, before anything else is decided.",
    "parkmesh.server.communities": "The tenant and its rules, which all subjects below need.",
    "parkmesh.server.spaces": "Levels and spaces, before anybody may use them.",
    "parkmesh.server.edge": "What gateways call: ingestion, access lists, streams.",
    "parkmesh.server.access": "Gates, credentials, passages, presence; opens gates through the edge's streams.",
    "parkmesh.server.reservations": "Who may use a space when; a visitor pass is a credential too.",
    "parkmesh.server.people": "Units and people, with all that is theirs in the subjects above.",
    "parkmesh.server.web": "What the API and the pages share.",
    "parkmesh.server.web.api": "The REST API.",
    "parkmesh.server.web.pages": "Pages for people.",
    "parkmesh.server.web.app": "The web application: API and pages together.",
    "parkmesh.server.commands": "The commands, which start and use everything.",
}
TOP_LEVEL = ("audit", "settings", "servers")
BRANDS = ("hikvision", "dahua", "axis", "shelly", "bosch", "nwave", "chirpstack", "tps110", "nps405")
UNBRANDED = ("parkmesh.gateway.decider", "parkmesh.gateway.listener", "parkmesh.gateway.sensor_feed")


@pytest.mark.parametrize("tree", TREES)
def test_no_module_imports_itself_around_others(tree: str) -> None:
    assert TREES[tree]
    assert graph.circles(graph.edges(TREES[tree])) == []


def test_the_domain_imports_nothing_of_the_rest() -> None:
    assert graph.forbidden(IMPORTS, "parkmesh.domain", "parkmesh", but="parkmesh.domain") == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("parkmesh.gateway", "parkmesh.server"),
        ("parkmesh.server", "parkmesh.gateway"),
        ("parkmesh.server.web.pages", "parkmesh.server.web.api"),
        ("parkmesh.server.web.api", "parkmesh.server.web.pages"),
    ],
)
def test_parts_that_stand_apart(importer: str, imported: str) -> None:
    assert any(graph.inside(module, importer) for module in APP)
    assert graph.forbidden(IMPORTS, importer, imported) == []


def test_the_server_s_packages_import_only_downward() -> None:
    server = {module: names for module, names in IMPORTS.items() if graph.inside(module, "parkmesh.server")}
    assert graph.upward(server, list(SERVER)) == []


def test_the_order_names_every_package_of_the_server_and_no_other() -> None:
    packages = {".".join(module.split(".")[:3]) for module in APP if module.startswith("parkmesh.server.")}
    assert packages == {name for name in SERVER if name.count(".") == 2}
    assert all(sentence.endswith(".") for sentence in SERVER.values())


def test_at_the_top_of_the_server_lie_three_modules() -> None:
    assert graph.strangers(APP, "parkmesh.server", TOP_LEVEL) == []
    assert all(f"parkmesh.server.{name}" in APP for name in TOP_LEVEL)


def test_only_drivers_name_a_brand() -> None:
    assert graph.brands(APP, UNBRANDED, BRANDS) == []
    assert graph.brands(APP, ["parkmesh.gateway.drivers"], BRANDS)
