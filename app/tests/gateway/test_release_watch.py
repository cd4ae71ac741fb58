"""The agent's part in taking a release: fetch when told, wait for root, tell the server how it went."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from edge_server import TOKEN, EdgeServer
from parkmesh.gateway import agent
from parkmesh.gateway.release_watch import FIRST_AGAIN_S, TAKEN_S, TRIAL_S, ReleaseWatch
from parkmesh.protocol.releases import Report
from processes import GatewaySite, wait_for


class World:
    """A gateway's folders, a clock that the test moves, and what was fetched and reported."""

    def __init__(self, root: Path) -> None:
        self.root, self.now, self.fetches, self.reports = root, 0.0, list[int](), list[Report]()
        self.why: str | None = None
        self.release = root / "opt/releases/old"
        self.release.mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "etc/release.pub").write_text("a key")
        (root / "state/pull").mkdir(parents=True)
        self.watch = self.started()

    def started(self) -> ReleaseWatch:
        async def fetch(serial: int) -> str | None:
            self.fetches.append(serial)
            if self.why is None:
                (self.root / "state/pull/ready").write_text(str(serial))
            return self.why

        async def report(word: Report) -> None:
            self.reports.append(word)

        return ReleaseWatch(
            *(self.root / "state/spool.db", self.root / "etc/gateway.token", self.release),
            *(fetch, report),
            spread_s=0,
            clock=lambda: self.now,
        )

    async def beat(self, serial: int = 7, after_s: float = 0) -> None:
        """Let a server answer a heartbeat."""
        self.now += after_s
        self.watch.told(serial)
        if serial:
            await self.watch._step(serial)

    def root_says(self, result: str, reason: str = "", **members: Any) -> None:
        (self.root / "state/pull/ready").unlink(missing_ok=True)
        outcome = {"asked": 7, "serial": 7, "release": "b" * 12, "result": result, "reason": reason}
        document = outcome | {"at": int(time.time())} | members
        (self.root / "opt/pulled.json").write_text(json.dumps(document))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_it_fetches_once_waits_for_root_and_reports_what_came_of_it(world: World) -> None:
    await world.beat(0)
    assert world.fetches == []
    for _ in range(3):
        await world.beat(after_s=30)
    assert (world.fetches, world.reports) == ([7], [])
    world.root_says("on trial")
    world.watch = world.started()  # the trial restarts the agent
    await world.beat()
    assert world.reports == []
    world.root_says("kept")
    await world.beat()
    await world.beat()
    assert world.reports == [Report(7, "kept")]
    await world.beat(0)
    assert (world.fetches, world.watch.fault) == ([7], None)


@pytest.mark.parametrize("result", ["put back", "refused"])
async def test_what_root_did_not_keep_is_not_fetched_again(world: World, result: str) -> None:
    world.root_says(result, "broker: not connected")
    await world.beat()
    assert (world.fetches, world.reports) == ([], [Report(7, result, "broker: not connected")])  # type: ignore[arg-type]
    assert world.watch.fault == f"{result}: broker: not connected"
    # Another publication is another matter.
    await world.beat(8)
    assert world.fetches == [8]


async def test_a_wrong_signature_is_told_and_tried_again_after_an_hour(world: World) -> None:
    world.root_says("not taken", "the signature is wrong", serial=0, release="")
    await world.beat()
    assert (world.fetches, world.reports) == ([], [Report(7, "not taken", "the signature is wrong")])
    assert world.watch.fault == "the signature is wrong"
    world.root_says("not taken", "the signature is wrong", serial=0, at=int(time.time()) - 3700)
    await world.beat()
    assert world.fetches == [7]


async def test_a_fetch_that_fails_is_told_once_and_repeated_ever_later(world: World) -> None:
    world.why = "the disk is full: 3 MiB are free"
    for _ in range(10):
        await world.beat(after_s=1)
    assert world.fetches == [7]
    await world.beat(after_s=FIRST_AGAIN_S)
    await world.beat(after_s=FIRST_AGAIN_S / 2)
    assert world.fetches == [7, 7]
    assert world.reports == [Report(7, "not taken", world.why)]
    world.why = None
    await world.beat(after_s=2 * FIRST_AGAIN_S)
    assert world.fetches == [7, 7, 7]


async def test_root_that_does_not_take_it_and_a_trial_without_an_end_are_told(world: World) -> None:
    await world.beat()
    await world.beat(after_s=1)
    await world.beat(after_s=TAKEN_S + 1)
    assert [report.result for report in world.reports] == ["not taken"]
    assert "parkmesh-gateway-pull.path" in world.reports[0].reason
    world.root_says("on trial")
    await world.beat(after_s=TRIAL_S)
    assert world.reports[-1] == Report(7, "put back", "its trial was interrupted")


async def test_a_gateway_without_a_key_fetches_nothing_and_says_so(world: World) -> None:
    (world.root / "etc/release.pub").unlink()
    await world.beat()
    assert world.fetches == []
    assert "parking_gateway_release_key" in world.reports[0].reason


async def test_many_gateways_that_are_told_at_once_do_not_begin_at_once(world: World) -> None:
    world.watch._spread_s = 60.0
    await world.beat()
    assert world.fetches == []
    await world.beat(after_s=60)
    assert world.fetches == [7]


async def test_the_agent_hears_of_a_release_and_reports(tmp_path: Path) -> None:
    with EdgeServer() as server:
        server.release = 7
        site = GatewaySite(tmp_path, [server.url], TOKEN)
        with site.at_work():
            wait_for(lambda: server.release_reports, "a report")
        assert (server.release_reports[0].serial, server.release_reports[0].result) == (7, "not taken")
        # The fetch in a process of its own: this server has no releases.
        said = await agent._fetch_release(site.config_path, [server.url], 7)
        assert said == f"parkmesh gateway: {server.url}: HTTP 404: the release isn't there any more"
