"""Which servers a gateway calls, and in which order."""

from collections import Counter

from parkmesh.gateway.sync import in_own_order

LIVE = [f"http://10.242.0.{number}:8001" for number in range(11, 17)]
GATEWAYS = [f"gateway-{number}" for number in range(3_000)]


def test_gateways_spread_over_the_live_servers() -> None:
    first = Counter(in_own_order(gateway, LIVE, [])[0] for gateway in GATEWAYS)
    assert set(first) == set(LIVE)
    assert max(first.values()) < 1.25 * min(first.values())


def test_a_server_that_goes_moves_only_its_own_gateways() -> None:
    for gateway in GATEWAYS:
        before = in_own_order(gateway, LIVE, [])[0]
        after = in_own_order(gateway, LIVE[1:], [])[0]
        assert after == before or before == LIVE[0]


def test_the_configured_servers_come_last_and_once() -> None:
    ordered = in_own_order("gateway-a", [LIVE[0] + "/", LIVE[1]], [LIVE[5], LIVE[1]])
    assert sorted(ordered[:2]) == LIVE[:2]
    assert ordered[2:] == [LIVE[5]]
    assert in_own_order("gateway-a", [], LIVE) == LIVE
