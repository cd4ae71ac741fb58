"""What of webhooks needs no network: addresses, answers, waits."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import retries, webhooks
from parkmesh.domain.public_addresses import public

NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "172.16.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::",
     "64:ff9b::a9fe:a9fe", "fec0::1"],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_an_address_outside_is_public(address: str) -> None:
    assert public(address)


@given(st.ip_addresses(v=4))
def test_an_address_in_ipv6_clothes_is_what_it_was(address: IPv4Address) -> None:
    assert public(f"::ffff:{address}") == public(str(address))
    assert public(str(IPv6Address(int(IPv6Address("64:ff9b::")) | int(address)))) == public(str(address))


def test_a_deployment_may_allow_a_network_of_its_own() -> None:
    own = [ip_network("10.1.0.0/16")]
    assert public("10.1.2.3", own)
    assert not public("10.2.2.3", own)


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "120", 120), (503, " 5 ", 5), (503, "Fri, 27 Nov 2026 08:01:00 GMT", 60), (503, "999999999", 86400),
        (503, "Fri, 27 Nov 2026 07:00:00 GMT", 0), (500, "120", None), (503, None, None), (503, "soon", None),
        (503, "-5", None),
    ],
)  # fmt: skip
def test_a_busy_receiver_may_ask_for_a_wait(status: int, header: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert webhooks.asked_wait(status, header, NOW) == expected


@given(st.integers(1, 9), st.floats(0, 1))
def test_a_wait_is_up_to_a_tenth_longer(attempts: int, jitter: float) -> None:
    wait = webhooks.next_wait(attempts, None, jitter)
    assert wait is not None
    assert retries.WAITS[attempts - 1] <= wait <= retries.WAITS[attempts - 1] * 1.1


def test_it_is_given_up_after_the_last_wait() -> None:
    assert webhooks.next_wait(10, timedelta(1), 0) is None
    assert sum(retries.WAITS, timedelta()) > webhooks.STOPPED_AFTER


def test_a_body_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 20000"):
        webhooks.body("booking.created", NOW, "a", "booking/1", {"x": "y" * 20_000}, None)
