"""Loops and light barriers as facility counters: what is a vehicle, what is kept, when the number is known."""

from typing import Any

import msgspec
import pytest
from parkmesh.gateway.config import ConfigError, parse
from parkmesh.gateway.counters import Counter
from parkmesh.gateway.counting import Counting
from parkmesh.gateway.crossing import Pair
from parkmesh.gateway.drivers.types import PoisonError
from parkmesh.protocol.edge import CounterReading

LANE = {"detector": {"topic": "ramp/in"}, "direction": "entry"}
PAIR = {
    "outside": {"topic": "relay/status/input:0", "field": "state", "online": "relay/online"},
    "inside": {"topic": "relay/status/input:1", "field": "state", "online": "relay/online"},
}
STATE = {"state": "occupancy", "occupied": ["true"], "free": ["false"]}
OUT, IN, BOTH, NONE = {"outside"}, {"inside"}, {"outside", "inside"}, set[str]()


@pytest.mark.parametrize(
    ("covered", "counted"),
    [
        ([OUT, BOTH, IN, NONE], ["entry"]),
        ([IN, BOTH, OUT, NONE], ["exit"]),
        ([OUT, NONE], []),
        ([OUT, BOTH, OUT, NONE], []),
        ([OUT, BOTH, IN, BOTH, OUT, NONE], []),
        ([OUT, BOTH, OUT, BOTH, IN, NONE], ["entry"]),
        ([OUT, BOTH, IN, BOTH, IN, NONE], ["entry"]),
        ([OUT, BOTH, IN, NONE, IN, BOTH, OUT, NONE], ["entry", "exit"]),
        ([OUT, OUT, BOTH, BOTH, IN, IN, NONE, NONE], ["entry"]),
        # A person passes one light barrier, then the other: never both.
        ([OUT, NONE, IN, NONE], []),
    ],
)
def test_a_pair_counts_what_passes_both_and_leaves_on_the_other_side(
    covered: list[set[str]], counted: list[str]
) -> None:
    pair, found = Pair(), []
    for state in covered:
        found += [pair.saw(side, side in state) for side in ("outside", "inside")]  # type: ignore[arg-type]
    assert [one for one in found if one] == counted


def counting(now: list[int], *points: dict[str, Any], stored: bytes | None = None, **more: Any) -> Counting:
    counter = msgspec.convert({"name": "garage", "points": list(points), **more}, type=Counter)
    made = Counting([counter], 3600, stored, clock=lambda: now[0])
    made.connected(True)
    return made


def reading(of: Counting) -> CounterReading:
    [found] = of.readings()
    return found


def test_what_is_counted_is_told_as_totals_and_outlives_a_restart() -> None:
    now = [1_700_000_000_000]
    began = counting(now, LANE, PAIR, capacity=40)
    assert not began.take("ramp/in", b"ON")
    now[0] += 1000
    assert began.take("ramp/in", b"off"), "a vehicle counts when it has left"
    for topic, state in (("input:0", "true"), ("input:1", "true"), ("input:0", "false"), ("input:1", "false")):
        began.take(f"relay/status/{topic}", b'{"id":0,"state":%s}' % state.encode())
    began.take("relay/status/input:1", b'{"id":1}')
    assert reading(began) == CounterReading("garage", now[0] - 1000, 2, 0, True, now[0], 40)
    after = counting(now, LANE, stored=began.state())
    assert (reading(after).entries, reading(after).since) == (2, now[0] - 1000)
    now[0] += 5000
    assert reading(counting(now, LANE, stored=b"{damaged")).since == now[0], "a new count, which says so"


def test_the_number_is_unknown_while_anything_is_missing() -> None:
    now = [1_700_000_000_000]
    one = counting(now, PAIR)

    def known(minutes: float = 0) -> bool:
        now[0] += int(minutes * 60_000)
        return reading(one).known

    assert known()
    one.take("relay/online", b"false")
    assert not known()
    one.take("relay/online", b"true")
    assert known(59)
    assert not known(2), "nothing came for the hour"
    one.take("relay/status/input:0", b'{"state":false}')
    assert known()
    one.connected(False)
    assert known(0.5), "a broker may restart"
    assert not known(1)
    assert one.silent() == ["garage"]
    one.connected(True)
    assert known()


@pytest.mark.parametrize("message", [b"maybe", b"\xff\xfe", b"2"])
def test_a_word_that_means_neither_state_is_said(message: bytes) -> None:
    with pytest.raises(PoisonError, match="means neither covered nor clear"):
        counting([0], LANE).take("ramp/in", message)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            [{"detector": {"topic": "a"}}],
            r"counter 'garage': points\[0\]: needs detector and direction, or",
        ),
        ([LANE, {"outside": {"topic": "a"}}], r"points\[1\]: needs detector"),
        ([{**LANE, "inside": {"topic": "b"}}], "needs detector"),
        ([{"outside": {"topic": "a"}, "inside": {"topic": "a"}}], "are the same detector"),
        ([{"detector": {"topic": "a", "covered": ["Off"]}, "direction": "exit"}], "'off' can't mean both"),
        ([{"detector": {"topic": "a", "field": "b[*]"}, "direction": "exit"}], r"has \[\*\]"),
        ([{"detector": {"topic": "a/+"}, "direction": "exit"}], "Expected `str` matching"),
        ([LANE, {"detector": {"topic": "space"}, "direction": "exit"}], "a sensor or recorder has its topic"),
        ([], "length >= 1"),
    ],
)
def test_a_counter_that_cannot_count_is_refused(points: list[dict[str, Any]], said: str) -> None:
    config = {
        "name": "gateway-a",
        "community": "a",
        "spool": "spool.db",
        "token_file": "token",
        "servers": ["http://127.0.0.1:1"],
        "mqtt": {},
        "sensors": [{"space": "a-01", "kind": "mapped", "topic": "space", "mapping": STATE}],
        "counters": [{"name": "garage", "points": points}],
    }
    with pytest.raises(ConfigError, match=said):
        parse(msgspec.json.encode(config), "gateway.json")
