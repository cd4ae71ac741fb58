"""How many requests an API key may make."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.server.identity.key_limits import KeyLimits
from parkmesh.server.settings import SettingError, from_environment
from running_server import Database, serving, settings
from two_communities import PASSWORD


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=400), st.integers(10, 900))
def test_no_minute_has_more_than_the_bucket_and_what_fills_it_up(pauses: list[float], per_minute: int) -> None:
    now = 0.0
    limits = KeyLimits(per_minute, lambda: now)
    taken = []
    for pause in pauses:
        now += pause / 100
        if not limits.take(1):
            taken.append(now)
    for begin in taken:
        within = sum(begin <= at < begin + 60 for at in taken)
        assert within <= limits.burst + per_minute


def test_a_bucket_empties_and_fills_up_and_each_key_has_its_own() -> None:
    now = 1000.0
    limits = KeyLimits(600, lambda: now)
    assert [limits.take(1) for _ in range(300)] == [0.0] * 300
    wait_s = limits.take(1)
    assert 0 < wait_s <= 0.1 + 1e-6
    assert limits.take(2) == 0.0
    now += wait_s
    assert limits.take(1) == 0.0
    assert limits.take(1) > 0


async def test_a_key_that_asks_too_often_waits_and_others_do_not(filled: Database) -> None:
    config = settings(filled.app, PARKMESH_KEY_REQUESTS_PER_MINUTE="10")
    async with serving(config) as running, httpx.AsyncClient(base_url=running.web) as client:
        who = {"email": "administrator@a.example", "password": PASSWORD}
        administrator = {"Authorization": f"Bearer {(await client.post('/api/v1/sessions', json=who)).json()['token']}"}
        made = [
            (await client.post("/api/v1/communities/a/api-keys", json=wish, headers=administrator)).json()
            for wish in ({"name": "busy", "role": "reader"}, {"name": "calm", "role": "reader"})
        ]

        async def ask(token: str) -> httpx.Response:
            return await client.get("/api/v1/communities/a/rules", headers={"Authorization": f"Bearer {token}"})

        answers = [await ask(made[0]["token"]) for _ in range(8)]
        assert [answer.status_code for answer in answers[:6]] == [200] * 5 + [429]
        refused = answers[-1]
        assert 0 < int(refused.headers["retry-after"]) <= 6
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:parkmesh:problem:too-many-requests"
        assert (await ask(made[1]["token"])).status_code == 200
        assert (await client.get("/api/v1/communities/a/rules", headers=administrator)).status_code == 200


@pytest.mark.parametrize("value", ["9", "100001", "many", "1e3", "-600", "٦٠٠", "6" * 5000])
def test_a_rate_that_is_none_is_refused_at_the_start(value: str) -> None:
    base = {"PARKMESH_DATABASE_URL": "postgresql://x@y/z", "PARKMESH_SESSION_SECRET": "x" * 20}
    with pytest.raises(SettingError, match="PARKMESH_KEY_REQUESTS_PER_MINUTE is not a whole number from 10 to 100000"):
        from_environment({**base, "PARKMESH_KEY_REQUESTS_PER_MINUTE": value})
    assert from_environment({**base, "PARKMESH_KEY_REQUESTS_PER_MINUTE": " "}).key_requests_per_minute == 600
