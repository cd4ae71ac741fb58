"""When records are sent: at once after a pause, together while more come, and without rest while a backlog drains."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
import pytest
from parkmesh.gateway.config import Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.gates import Relay
from parkmesh.gateway.sensor_feed import SensorFeed
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.sync import Sync
from parkmesh.protocol.edge import EventAck, EventBatch, SpaceState, Times

NOW, SERVER = 1_770_000_000_000, "http://server"
UPLINK = b'{"deviceInfo":{"devEui":"0101010101010101"},"fPort":1,"data":"AQ=="}'


async def no_pulse(_: Relay) -> None:
    raise AssertionError("there is no gate")


class Gateway:
    """A spool with what sends it to a server that takes everything; ``sent`` has the requests' records."""

    def __init__(self, folder: Path) -> None:
        sensors = [{"dev_eui": "0101010101010101", "kind": "bosch_tps110", "space": "a-01"}]
        given = {"cameras": [], "gates": [], "sensors": sensors, "servers": [SERVER], "token_file": "-", "mqtt": {}}
        self.config = msgspec.convert(
            {"name": "gateway-a", "community": "a", "spool": str(folder / "spool.db"), **given}, Config
        )
        self.spool = Spool(folder / "spool.db", now=NOW)
        self.decider = Decider(self.config, self.spool, no_pulse, clock=lambda: NOW)
        self.sent: list[int] = []
        self.heard = asyncio.Event()
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._take), trust_env=False)
        self.sync = Sync(self.config, self.spool, self.decider, cast(Any, client), clock=lambda: NOW)

    def _take(self, request: httpx.Request) -> httpx.Response:
        batch = msgspec.json.decode(request.content, type=EventBatch)
        self.sent.append(len(batch.events))
        self.heard.set()
        return httpx.Response(200, content=msgspec.json.encode(EventAck(batch.epoch, batch.events[-1].seq)))

    def record(self, count: int) -> None:
        for _ in range(count):
            self.spool.append(SpaceState(1, Times(NOW), "a-01", "free"))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.decider.close()
    made.spool.close()


async def test_after_the_last_record_others_may_come_before_the_next_request(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parkmesh.gateway.sync.TOGETHER_S", 1e9)
    gateway.record(3)
    pushing = asyncio.create_task(gateway.sync._push_together(SERVER))
    async with asyncio.timeout(30):
        await gateway.heard.wait()
    done, _ = await asyncio.wait({pushing}, timeout=0.1)
    assert (gateway.sent, done) == ([3], set())
    pushing.cancel()


async def test_a_backlog_is_sent_without_rest(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parkmesh.gateway.sync.TOGETHER_S", 1e9)
    monkeypatch.setattr("parkmesh.gateway.sync.BATCH", 2)
    gateway.record(5)
    async with asyncio.timeout(30):
        await gateway.sync._push_together(SERVER)
        await gateway.sync._push_together(SERVER)
    assert gateway.sent == [2, 2]


async def test_the_first_record_after_a_pause_waits_for_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parkmesh.gateway.sync.TOGETHER_S", 1e9)
    waiting = asyncio.create_task(gateway.sync._push_together(SERVER))
    await asyncio.wait({waiting}, timeout=0.1)
    gateway.record(1)
    gateway.sync.wake()
    async with asyncio.timeout(30):
        await waiting
    assert gateway.sent == []
    sending = asyncio.create_task(gateway.sync._push_together(SERVER))
    async with asyncio.timeout(30):
        await gateway.heard.wait()
    assert gateway.sent == [1]
    sending.cancel()


async def test_a_sensor_s_message_waits_for_a_car(gateway: Gateway) -> None:
    released = asyncio.Event()
    decider = SimpleNamespace(give_way=released.wait, on_disk=gateway.decider.on_disk)
    feed = SensorFeed(gateway.config, gateway.spool, cast(Any, decider), clock=lambda: NOW, appended=lambda: None)
    taking = asyncio.create_task(feed.take("up", UPLINK))
    await asyncio.wait({taking}, timeout=0.1)
    assert gateway.spool.counts().backlog == 0
    released.set()
    async with asyncio.timeout(30):
        await taking
    assert gateway.spool.counts().backlog == 1
