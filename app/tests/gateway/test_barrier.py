"""A barrier's rules: pure ones over any order of what inputs say, and what is done about them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway import barrier, hold_open
from parkmesh.gateway.barrier import Barrier, BarrierStatus, Moves, interlock
from parkmesh.gateway.barrier_rules import MOVES_MS, OPENS_WITHIN_MS, Closing, Feedback
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Gate, Relay
from parkmesh.gateway.hold_open import HoldOpen

RELAY = Relay("http://192.0.2.31", closed_input=0, clear_input=1, close_switch=1, pulse_s=1)
STEP = 250


def ms(text: str, zone: str = "Europe/Madrid") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


# what inputs mean


def feedback(*, others_open: bool = False) -> Feedback:
    return Feedback(still_open_ms=60_000, others_open=others_open)


def test_a_barrier_that_opens_on_a_pulse_has_no_fault() -> None:
    seen = feedback()
    assert seen.saw(0, True, held=False) is None
    seen.pulsed(1_000)
    for at in range(1_000, 40_000, 1_000):
        assert seen.saw(at, at < 3_000 or at > 20_000, held=False) is None
    assert seen.position == "closed"


def test_a_barrier_that_stays_closed_is_told_once_and_is_well_when_it_opens() -> None:
    seen = feedback()
    seen.saw(0, True, held=False)
    seen.pulsed(0)
    faults = [seen.saw(at, True, held=False) for at in range(0, 60_000, 1_000)]
    assert [fault for fault in faults if fault] == ["did_not_open"]
    assert faults.index("did_not_open") * 1_000 == OPENS_WITHIN_MS
    seen.pulsed(60_000)
    seen.saw(61_000, False, held=False)
    assert seen.fault is None


def test_a_barrier_that_stays_open_is_told_once() -> None:
    seen = feedback()
    seen.pulsed(0)
    faults = [seen.saw(at, False, held=False) for at in range(0, 200_000, 1_000)]
    assert [fault for fault in faults if fault] == ["still_open"]
    assert faults.index("still_open") == 60
    assert seen.saw(200_000, True, held=False) is None
    assert seen.fault is None


@pytest.mark.parametrize(("others_open", "fault"), [(False, "forced_open"), (True, None)])
def test_a_barrier_that_opens_without_a_pulse(others_open: bool, fault: str | None) -> None:
    seen = feedback(others_open=others_open)
    seen.saw(0, True, held=False)
    assert seen.saw(1_000, False, held=False) == fault


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.booleans()), max_size=60))
def test_a_barrier_that_is_held_open_has_no_fault(steps: list[tuple[bool | None, bool]]) -> None:
    seen = feedback()
    for at, (closed, pulsed) in enumerate(steps):
        if pulsed:
            seen.pulsed(at * 10_000)
        assert seen.saw(at * 10_000, closed, held=True) is None


# closing behind a car


@given(st.lists(st.sampled_from([True, False, None, "opened"]), max_size=120), st.integers(1, 8), st.integers(9, 60))
def test_it_closes_once_for_each_opening_and_only_when_the_way_has_been_clear(
    steps: list[bool | str | None], clear: int, unused: int
) -> None:
    closing = Closing(clear_ms=clear * STEP, unused_ms=unused * STEP)
    since_opening: list[bool | None] | None = None
    for at, step in enumerate(steps):
        if step == "opened":
            closing.opened(at * STEP)
            since_opening = []
            continue
        assert not isinstance(step, str)
        may = closing.saw(at * STEP, step)
        if since_opening is None:
            assert not may, "nothing was opened, or it was closed before"
            continue
        since_opening.append(step)
        if may:
            wait = clear if False in since_opening else unused
            assert since_opening[-wait:] == [True] * len(since_opening[-wait:])
            assert len(since_opening) >= wait
            closing.closed()
            since_opening = None


# times at which it stays open


@pytest.mark.parametrize(
    ("since", "until", "days", "at", "due"),
    [
        ("07:30", "09:00", ["mon"], "2026-11-30T07:30", True),
        ("07:30", "09:00", ["mon"], "2026-11-30T09:00", False),
        ("07:30", "09:00", ["mon"], "2026-12-01T08:00", False),
        ("22:00", "06:00", ["sun"], "2026-11-29T23:00", True),
        ("22:00", "06:00", ["sun"], "2026-11-30T05:59", True),
        ("22:00", "06:00", ["sun"], "2026-11-29T05:00", False),
        ("18:00", "24:00", ["sat"], "2026-11-28T23:59", True),
        # In the night of the change to winter time this hour comes twice.
        ("02:00", "03:00", ["sun"], "2026-10-25T02:30", True),
    ],
)
def test_hold_open_times(since: str, until: str, days: list[hold_open.Day], at: str, due: bool) -> None:
    times = HoldOpen(zone="Europe/Madrid", since=since, until=until, days=days)
    hold_open.check(times)
    assert hold_open.due([times], ms(at)) is due


@pytest.mark.parametrize(("zone", "since", "until"), [("Europe/Nowhere", "07:00", "08:00"), ("UTC", "07:00", "07:00")])
def test_times_that_mean_nothing(zone: str, since: str, until: str) -> None:
    with pytest.raises(hold_open.HoldOpenError):
        hold_open.check(HoldOpen(zone=zone, since=since, until=until))


# what is done


class Site:
    """Barriers with a clock that the test moves: sleeping moves it, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *gates: Gate, now: int = ms("2026-11-30T12:00")) -> None:
        self.now, self.log = now, list[str]()
        self.closed: dict[str, bool | None] = {}
        self.clear: bool | None = True
        self.fails: RelayError | None = None
        self.doubtful, self.real_sleep = False, asyncio.sleep
        self.barriers = {
            gate.name: Barrier(
                gate,
                self._act("pulse", gate.name),
                self._closed(gate.name),
                clock=lambda: self.now,
                moves=Moves(clear=self._clear, close=self._act("close", gate.name), hold=self._hold),
                doubtful=lambda: self.doubtful,
            )
            for gate in gates
        }
        interlock(gates, self.barriers)
        monkeypatch.setattr(barrier.asyncio, "sleep", self._sleep)
        monkeypatch.setattr(barrier.time, "monotonic", lambda: self.now / 1000)

    async def _sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        await self.real_sleep(0)

    def _act(self, what: str, name: str) -> Callable[[Relay], Awaitable[None]]:
        async def act(_: Relay) -> None:
            if self.fails:
                raise self.fails
            self.log.append(f"{what} {name}")

        return act

    def _closed(self, name: str) -> Callable[[Relay], Awaitable[bool | None]]:
        async def closed(_: Relay) -> bool | None:
            return self.closed.get(name, True)

        return closed

    async def _clear(self, _: Relay) -> bool | None:
        return self.clear

    async def _hold(self, _: Relay, seconds: float) -> None:
        if self.fails:
            raise self.fails
        self.log.append(f"hold {seconds:g}")

    async def look(self, name: str, seconds: float) -> None:
        until = self.now + int(seconds * 1000)
        while self.now < until:
            await self.barriers[name].look()
            self.now += STEP


def gate(name: str = "in", **more: object) -> Gate:
    return Gate(name, RELAY, **{"input": "open", **more})  # type: ignore[arg-type]


async def test_no_pulse_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate(min_gap_s=30))
    barrier = site.barriers["in"]
    assert await barrier.open(site.now + 1_000) == "opened"
    assert await barrier.open(site.now + 20_000) == "failed"
    assert site.log == ["pulse in"]
    assert await barrier.open(site.now + 20_000) == "opened"


async def test_of_two_doors_one_opens_when_the_other_is_surely_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate("in", interlock=["yard"]), gate("yard"))
    outer, inner = site.barriers["in"], site.barriers["yard"]
    assert await outer.open() == "opened"
    # Its input still says closed: it is about to open.
    begun = site.now
    assert await inner.open() == "opened"
    assert site.now - begun >= MOVES_MS
    site.closed["yard"] = False
    assert await outer.open() == "failed"
    site.closed["yard"] = None
    assert await outer.open() == "failed", "nobody knows whether the other one is closed"
    assert site.log == ["pulse in", "pulse yard"]


async def test_a_door_closes_behind_its_car_while_the_other_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate("in", interlock=["yard"]), gate("yard", close_after_clear_s=1))
    inner = site.barriers["yard"]
    assert await inner.open() == "opened"
    site.closed["yard"], site.clear = False, False
    await site.look("yard", 4)
    site.clear = True
    opening = asyncio.ensure_future(site.barriers["in"].open())
    for _ in range(40):
        await inner.look()
        site.closed["yard"] = "close yard" in site.log
        await site.real_sleep(0)
        if not opening.done():
            site.now += STEP
    assert await opening == "opened"
    assert site.log == ["pulse yard", "close yard", "pulse in"]


async def test_two_doors_that_are_asked_at_once_open_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate("in", interlock=["yard"]), gate("yard"))
    outcomes = await asyncio.gather(*(each.open(site.now + 4_000) for each in site.barriers.values()))
    assert sorted(outcomes) == ["failed", "opened"]
    assert len(site.log) == 1


async def test_a_barrier_closes_behind_a_car_and_never_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate(close_after_clear_s=1, close_unused_s=30))
    await site.barriers["in"].open()
    await site.look("in", 5)
    site.clear = False
    await site.look("in", 20)
    site.clear = None  # the light barrier's wire is cut
    await site.look("in", 300)
    assert site.log == ["pulse in"]
    site.clear = True
    await site.look("in", 10)
    assert site.log == ["pulse in", "close in"]
    await site.barriers["in"].open()
    await site.look("in", 29)
    assert site.log[-1] == "pulse in"
    await site.look("in", 3)
    assert site.log[-1] == "close in", "no car came"


async def test_a_barrier_is_held_open_in_its_time_and_gets_no_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    times = HoldOpen(zone="Europe/Madrid", since="12:00", until="12:05")
    site = Site(monkeypatch, gate(hold_open=[times], close_after_clear_s=1, others_open=False))
    site.closed["in"] = False
    await site.look("in", 65)
    assert site.log == ["hold 90"] * 3
    assert await site.barriers["in"].open() == "opened"
    assert site.barriers["in"].status() == BarrierStatus("open", None, True)
    assert "pulse in" not in site.log, "a pulse would end what holds it open"
    await site.look("in", 300)
    assert site.log[-1] == "hold 0"
    assert "close in" not in site.log
    assert await site.barriers["in"].open() == "opened"
    assert site.log[-1] == "pulse in"


async def test_nothing_is_held_open_by_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate(hold_open=[HoldOpen(zone="Europe/Madrid", since="12:00", until="13:00")]))
    site.doubtful = True
    await site.look("in", 60)
    assert site.log == []
    site.doubtful = False
    site.fails = RelayError("no connection")
    await site.look("in", 5)
    assert site.barriers["in"].status().held_open is False
    site.fails = None
    await site.look("in", 1)
    assert site.log == ["hold 90"]


async def test_a_barrier_that_can_no_longer_be_held_gets_pulses_again(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, gate(hold_open=[HoldOpen(zone="Europe/Madrid", since="12:00", until="13:00")]))
    await site.look("in", 1)
    site.fails = RelayError("no connection")
    await site.look("in", 80)
    assert site.barriers["in"].status().held_open
    await site.look("in", 20)
    assert not site.barriers["in"].status().held_open
    site.fails = None
    site.doubtful = True
    assert await site.barriers["in"].open() == "opened"
    assert site.log[-1] == "pulse in"
