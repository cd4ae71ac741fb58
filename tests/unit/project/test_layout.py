"""The rules of the house: what may import what, what lies where, and what every playbook says of itself.

``import_graph`` reads the imports; test_import_graph.py shows that each rule finds a planted fault.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import import_graph as graph
import pytest

ROOT = Path(__file__).resolve().parents[3]
APP = graph.read(ROOT / "app/src/parkmesh", "parkmesh")
LAB = graph.read(ROOT / "lab", "lab")
PLUGINS = {
    name: text
    for folder in (
        "module_utils",
        "library",
        "inventory_plugins",
        "filter_plugins",
        "action_plugins",
        "callback_plugins",
    )
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
    "parkmesh.server.outbox": "Events and messages that wait to be sent: put in by the transaction of an act.",
    "parkmesh.server.audit": "Who did what: written in the transaction of every act.",
    "parkmesh.server.http": "What both applications share as HTTP servers, and problems as errors of the core.",
    "parkmesh.server.identity": "Who asks, before anything else is decided.",
    "parkmesh.server.communities": "The tenant and its rules, which all subjects below need.",
    "parkmesh.server.spaces": "Levels and spaces, before anybody may use them.",
    "parkmesh.server.edge": "What gateways call: ingestion, access lists, streams.",
    "parkmesh.server.access": "Gates, credentials, passages, presence; opens gates through the edge's streams.",
    "parkmesh.server.reservations": "Who may use a space when; a visitor pass is a credential too.",
    "parkmesh.server.people": "Units and people, with all that is theirs in the subjects above.",
    "parkmesh.server.reports": "What happened on some days, as tables of what the subjects above keep.",
    "parkmesh.server.webhooks": "Where events are sent, and the worker that sends them; its pages are above it.",
    "parkmesh.server.notifications": "Who is told of what: mails of events in all subjects above.",
    "parkmesh.server.web": "What the API and the pages share.",
    "parkmesh.server.web.api": "The REST API.",
    "parkmesh.server.web.pages": "Pages for people.",
    "parkmesh.server.web.app": "The web application: API and pages together.",
    "parkmesh.server.mail": "What mails say in the reader's language, and the worker that sends them.",
    "parkmesh.server.commands": "The commands, which start and use everything.",
}
TOP_LEVEL = ("audit", "settings", "servers")
BRANDS = (
    *("hikvision", "dahua", "axis", "milesight", "rekor", "plate_recognizer", "frigate"),
    *("shelly", "bosch", "nwave", "chirpstack", "tps110", "nps405"),
)
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


HEADER = ("Required:", "Optional:", "Example:", "Way back:")


def header_faults(name: str, text: str) -> list[str]:
    """Return what a playbook's header lacks: purpose, required and optional inputs, an example, the way back."""
    head = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    if "" not in head or not head[0]:
        return [f"{name}: the header begins with a purpose and an empty line"]
    purpose, fields = head[: head.index("")], head[head.index("") + 1 :]
    found = [line.partition(":")[0] + ":" for line in fields if re.match(r"[A-Z][a-z ]+:", line)]
    faults = [] if found == list(HEADER) else [f"{name}: the header has {found}, not {list(HEADER)}"]
    if not " ".join(purpose).endswith("."):
        faults.append(f"{name}: the purpose is no sentence")
    if f"ansible-playbook playbooks/{name}" not in text:
        faults.append(f"{name}: the example doesn't call it")
    return faults


def foreign_registers(texts: Mapping[str, str]) -> list[str]:
    """Return where a file of a role (its path begins with the role's name) uses a private variable of another role."""
    owners: dict[str, str] = {}
    for path, text in texts.items():
        for variable in re.findall(r"(?:register: |^ +)(__\w+)(?:$|:)", text, re.MULTILINE):
            owners.setdefault(variable, path.partition("/")[0])
    return sorted(
        f"{path} uses {variable} of {owner}"
        for variable, owner in owners.items()
        for path, text in texts.items()
        if path.partition("/")[0] != owner and re.search(rf"\b{variable}\b", text)
    )


def test_every_playbook_s_header_has_the_same_fields() -> None:
    playbooks = sorted((ROOT / "playbooks").glob("*.yml"))
    assert playbooks
    assert [fault for path in playbooks for fault in header_faults(path.name, path.read_text())] == []


GOOD = """# Say whether it works.
#
# Required:  nothing.
# Optional:  none.
# Example:   ansible-playbook playbooks/verify.yml -i inventory/lab
# Way back:  nothing to take back.
- name: Verify
"""


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("# Optional:  none.\n", ""),
        GOOD.replace("Required", "Variables"),
        GOOD.replace("# Say whether it works.\n#\n", ""),
        GOOD.replace("works.", "works"),
        GOOD.replace("verify.yml", "other.yml"),
    ],
)
def test_a_planted_fault_in_a_header_is_found(text: str) -> None:
    assert header_faults("verify.yml", GOOD) == []
    assert header_faults("verify.yml", text) != []


def test_no_role_reads_another_role_s_private_variable() -> None:
    texts = {
        path.relative_to(ROOT / "roles").as_posix(): path.read_text()
        for path in sorted((ROOT / "roles").rglob("*"))
        if path.suffix in {".yml", ".j2"}
    }
    texts |= {f"playbooks/{path.name}": path.read_text() for path in sorted((ROOT / "playbooks").rglob("*.yml"))}
    assert foreign_registers(texts) == []


def test_a_planted_private_variable_of_another_role_is_found() -> None:
    own = {"a/tasks/main.yml": "  register: __a_done\n  when: __a_done.changed\n"}
    assert foreign_registers(own) == []
    assert foreign_registers({**own, "b/tasks/main.yml": "  when: __a_done.changed\n"}) == [
        "b/tasks/main.yml uses __a_done of a"
    ]
