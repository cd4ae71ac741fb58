"""Waiting: longer each time, bounded, never in step, never shorter than the server asked."""

import random
from collections.abc import AsyncIterator

import pytest
from parkmesh.gateway import sse
from parkmesh.gateway.backoff import FIRST_S, MOST_S, RETRY_AFTER_MOST_S, Backoff, retry_after_s


def test_it_grows_to_a_bound_and_starts_over() -> None:
    backoff = Backoff(random.Random(1))
    for i in range(20):
        ceiling = min(MOST_S, FIRST_S * 2**i)
        assert ceiling / 4 <= backoff.next_s() <= ceiling
    backoff.reset()
    assert backoff.next_s() <= FIRST_S


def test_two_gateways_are_not_in_step() -> None:
    a, b = Backoff(random.Random(1)), Backoff(random.Random(2))
    assert [a.next_s() for _ in range(8)] != [b.next_s() for _ in range(8)]


def test_the_server_can_ask_for_more_but_not_for_ever() -> None:
    assert 7 < Backoff(random.Random(1)).next_s(7) <= 7 + FIRST_S
    assert Backoff(random.Random(1)).next_s(1e9) <= RETRY_AFTER_MOST_S + FIRST_S


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, 1_000.0) == seconds


async def lines(text: str) -> AsyncIterator[str]:
    for line in text.split("\n"):
        yield line


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("event: command\ndata: {}\n\n", [("command", "{}")]),
        ("data: a\ndata: b\n\n", [("message", "a\nb")]),
        (": comment\nid: 3\nretry: 5\nevent:x\ndata:y\n\n", [("x", "y")]),
        ("event: ping\n\ndata: z\n\n", [("message", "z")]),
        ("event: command\ndata: cut off", []),
        ("\n\n\n", []),
    ],
)
async def test_server_sent_events(text: str, events: list[tuple[str, str]]) -> None:
    assert [tuple(event) async for event in sse.events(lines(text))] == events


async def test_an_endless_event_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than"):
        [event async for event in sse.events(lines("data: " + "x" * (sse.MAX_DATA + 1)))]
