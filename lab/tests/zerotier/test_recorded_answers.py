"""Every recorded answer of the real 1.14.1 controller, asked again of lab.zerotier.

IDs that belong to the recording's own node, times and lengths that follow from them are normalised; all else, the order
of keys included, must be the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.zerotier.identity import Identity
from lab.zerotier.world import Root, World

from .conftest import METRICS_TOKEN, TOKEN, Answer, Daemon, free_port, make_identity

RECORDED = Path(__file__).parent / "recorded"
RECORDED_NODE = "5d38c9707d"
LAB = "4b7fb0"
METRICS_HEADER = {"X-ZT1-Auth": METRICS_TOKEN}
# What the recording was made with where it wasn't the token in X-ZT1-Auth.
HEADERS = {
    "03-40-no-token": {},
    "03-41-bad-token": {"X-ZT1-Auth": "bad"},
    "03-42-bearer-token": {"Authorization": f"Bearer {TOKEN}"},
    "03-43-query-token": {},
    "03-44-health-noauth": {},
    "03-52-metrics-notoken": {},
    "03-53-metrics": METRICS_HEADER,
    "03-54-metrics-bearer": {"Authorization": f"Bearer {METRICS_TOKEN}"},
    "03-55-metricstoken-on-api": METRICS_HEADER,
}
# Answers that tell of this very host and its peers: their shape is compared, not their values.
SHAPE_ONLY = ("03-01-status", "03-50-peers", "03-51-moon")
METRICS = ("03-53-metrics", "03-54-metrics-bearer")
FILES = sorted(path.stem for path in RECORDED.glob("03-*.txt"))


@dataclass
class Recording:
    method: str
    path: str
    body: str | None
    status: int
    content_type: str | None
    answer: str


def read(name: str, node: str) -> Recording:
    """One recorded request and answer, with the recording's node replaced by our own."""
    text = (RECORDED / f"{name}.txt").read_text().replace(RECORDED_NODE, node)
    head, _, answer = text.partition("\n\n")
    lines = head.split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("HTTP/1.1"))
    method, path = lines[0][2:].split(" ", 1)
    body = "\n".join(line[2:] for line in lines[1:first]) if first > 1 else None
    headers = dict(line.split(": ", 1) for line in lines[first + 1 :] if ": " in line)
    return Recording(
        method, path, body, int(lines[first].split(" ")[1]), headers.get("Content-Type"), answer.removesuffix("\n\n")
    )


class Replay:
    """Our controller in the state the recording began in, asked the recorded requests one after the other."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.answers: dict[str, tuple[Recording, Answer]] = {}
        self._chosen_ids: dict[str, str] = {}

    def run(self) -> None:
        for name in FILES:
            if name == "03-25-mem-list-after":
                self._members_come_back()
            recording = read(name, self.daemon.address)
            path = re.sub(r"auth=\w+", f"auth={TOKEN}", recording.path)
            for recorded, actual in self._chosen_ids.items():
                path = path.replace(recorded, actual)
            answer = self.daemon.ask(recording.method, path, recording.body, HEADERS.get(name))
            if name in ("03-03-net-create", "03-04-net-create-legacy"):
                self._chosen_ids[json.loads(recording.answer)["id"]] = answer.json["id"]
            self.answers[name] = (recording, answer)

    def _members_come_back(self) -> None:
        """Two members were online: cleared of their addresses, they got them again at their next request."""
        for address, ip in (("6579e9f909", "10.147.17.67"), ("8eb2cce09c", "10.147.17.22")):
            network = f"/controller/network/{self.daemon.address}{LAB}"
            self.daemon.post(f"{network}/member/{address}", {"ipAssignments": [ip]})

    def normalise(self, text: str) -> str:
        for recorded, actual in self._chosen_ids.items():
            text = text.replace(actual, recorded)
        return re.sub(r"\b1[6-9]\d{11}\b", "1600000000000", text)


def seed(home: Path, node: str) -> None:
    """Write the network, the members and the moon that existed when the recording began."""
    root = Root(Identity.parse((home / "identity.public").read_text()), (("10.99.0.1", 9993),))
    (home / "moons.d").mkdir()
    moon = World("moon", int(node, 16), 1_700_000_000_000, bytes(64), bytes(96), (root,))
    (home / "moons.d" / f"{moon.id_text}.moon").write_bytes(moon.to_bytes())
    network = json.loads(read("03-09-net-get", node).answer)
    members = json.loads(read("03-14-mem-list-unstable", node).answer)["data"]
    folder = home / "controller.d" / "network"
    (folder / network["id"] / "member").mkdir(parents=True)
    (folder / f"{network['id']}.json").write_text(json.dumps(network))
    for member in members:
        (folder / network["id"] / "member" / f"{member['id']}.json").write_text(json.dumps(member))


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    home = tmp_path_factory.mktemp("recorded") / "node"
    seed(home, make_identity(home))
    daemon = Daemon(home, free_port())
    daemon.start()
    running = Replay(daemon)
    running.run()
    yield running
    daemon.stop()


def shape(value: Any) -> Any:
    """The keys and types of a JSON value; a list by the shape of its first element."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def order_free(text: str) -> str:
    """A list of networks or members in one order: the real one lists them as its hash table does."""
    value = json.loads(text)
    if isinstance(value, list):
        return json.dumps(sorted(value))
    value["data"].sort(key=lambda item: str(item["id"]))
    return json.dumps(value)


@pytest.mark.parametrize("name", FILES)
def test_answers_as_recorded(replay: Replay, name: str) -> None:
    recording, answer = replay.answers[name]
    assert answer.status == recording.status
    assert answer.headers.get("Content-Type") == recording.content_type
    assert set(answer.headers) == {"Content-Length"} | ({"Content-Type"} if recording.content_type else set())
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    actual, expected = replay.normalise(answer.body.decode()), replay.normalise(recording.answer)
    if name in METRICS:
        wanted = set(re.findall(r"# TYPE (controller_\w+count|zt_packet|zt_data|zt_num_networks) \w+", expected))
        assert wanted - {"controller_network_change_count"} <= set(re.findall(r"# TYPE (\w+)", actual))
    elif name in SHAPE_ONLY:
        assert_same_shape(name, json.loads(expected), json.loads(actual))
    elif name in ("03-07-net-list", "03-08-net-list-unstable", "03-14-mem-list-unstable"):
        assert order_free(actual) == order_free(expected)
        assert json.dumps(json.loads(actual), sort_keys=True, separators=(",", ":")) == actual
    else:
        assert actual.rstrip("\n") == expected.rstrip("\n")


def assert_same_shape(name: str, expected: Any, actual: Any) -> None:
    if name == "03-51-moon":
        assert shape(actual) == shape(expected)
        assert [moon["id"] for moon in actual] == [moon["id"] for moon in expected]
    elif name == "03-50-peers":
        by_role = {peer["role"]: peer for peer in expected if not peer["paths"]}
        assert shape(by_role["PLANET"]) == shape(actual[0])
        assert {peer["address"] for peer in actual} == {p["address"] for p in expected if p["role"] == "PLANET"}
    else:
        settings, given = expected["config"]["settings"], actual["config"]["settings"]
        lists: dict[str, list[str]] = {"listeningOn": [], "surfaceAddresses": []}  # as long as this host has addresses
        assert shape(settings) | lists == shape(given) | lists
        assert shape({**expected, "config": None}) == shape({**actual, "config": None})
