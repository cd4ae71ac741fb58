"""How many requests an API key may make."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.server.identity import key_limits
from running_server import Server


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=400))
def test_no_minute_has_more_than_the_bucket_and_what_fills_it_up(pauses: list[float]) -> None:
    now = 0.0
    limits = key_limits.KeyLimits(lambda: now)
    taken = []
    for pause in pauses:
        now += pause / 100
        if not limits.take(1):
            taken.append(now)
    for begin in taken:
        within = sum(begin <= at < begin + 60 for at in taken)
        assert within <= key_limits.BURST + key_limits.PER_MINUTE


def test_a_bucket_empties_and_fills_up_and_each_key_has_its_own() -> None:
    now = 1000.0
    limits = key_limits.KeyLimits(lambda: now)
    assert [limits.take(1) for _ in range(key_limits.BURST)] == [0.0] * key_limits.BURST
    wait_s = limits.take(1)
    assert 0 < wait_s <= 60 / key_limits.PER_MINUTE + 1e-6
    assert limits.take(2) == 0.0
    now += wait_s
    assert limits.take(1) == 0.0
    assert limits.take(1) > 0


async def test_a_key_that_asks_too_often_waits_and_others_do_not(
    server: Server, people: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_limits, "BURST", 3)
    administrator = await people("administrator@a.example")
    made = [
        (await administrator.post("/api/v1/communities/a/api-keys", json={"name": name, "role": "reader"})).json()
        for name in ("busy", "calm")
    ]
    async with httpx.AsyncClient(base_url=server.web) as client:

        async def ask(key: Any) -> httpx.Response:
            return await client.get("/api/v1/communities/a/rules", headers={"Authorization": f"Bearer {key['token']}"})

        answers = [await ask(made[0]) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert [answer.status_code for answer in answers[:3]] == [200] * 3
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].headers["content-type"] == "application/problem+json"
        assert refused[0].json()["type"] == "urn:parkmesh:problem:too-many-requests"
        assert (await ask(made[1])).status_code == 200
    assert (await administrator.get("/api/v1/communities/a/rules")).status_code == 200
