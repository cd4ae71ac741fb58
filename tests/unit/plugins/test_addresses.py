"""Computed addresses and stable plans."""

from __future__ import annotations

import ipaddress

import pytest
from ansible.module_utils.zerotier_addresses import (
    AddressError,
    address_at,
    assign,
    consecutive,
    parse_range,
    rfc4193_address,
    sixplane_address,
    subrange,
)
from hypothesis import given
from hypothesis import strategies as st

OVERLAY = parse_range("10.242.0.0/16")
SMALL = parse_range("10.0.0.0/29")


def test_addresses_that_follow_from_ids() -> None:
    assert rfc4193_address("8056c2e21c000001", "EFCC1B0947") == "fd80:56c2:e21c:0:199:93ef:cc1b:947"
    assert sixplane_address("8056c2e21c000001", "efcc1b0947") == "fc9c:56c2:e3ef:cc1b:947::1"


@pytest.mark.parametrize(("network", "node"), [("8056c2e21c00000", "efcc1b0947"), ("8056c2e21c000001", "efcc1b094")])
def test_ids_of_the_wrong_length_are_refused(network: str, node: str) -> None:
    for compute in (rfc4193_address, sixplane_address):
        with pytest.raises(AddressError, match="hexadecimal digits"):
            compute(network, node)


def test_positions_in_a_range() -> None:
    assert address_at(OVERLAY, 11) == "10.242.0.11"
    assert consecutive(OVERLAY, 11, 3) == ["10.242.0.11", "10.242.0.12", "10.242.0.13"]
    assert subrange(OVERLAY, 24, 1) == "10.242.1.0/24"


@pytest.mark.parametrize("number", [0, 65535, 65536, -1, True, "1"])
def test_a_position_without_a_host_address_is_refused(number: int) -> None:
    with pytest.raises(AddressError):
        address_at(OVERLAY, number)


@pytest.mark.parametrize(("prefix", "number"), [(8, 0), (33, 0), (24, 256), (24, -1)])
def test_a_part_that_isnt_there_is_refused(prefix: int, number: int) -> None:
    with pytest.raises(AddressError):
        subrange(OVERLAY, prefix, number)


@pytest.mark.parametrize("text", ["10.242.0.1/16", "nonsense", None, 5])
def test_a_range_that_cant_be_is_refused(text: object) -> None:
    with pytest.raises(AddressError):
        parse_range(text)


def test_names_keep_their_addresses_and_those_who_left_keep_theirs_taken() -> None:
    first = assign(SMALL, ["a", "b", "c"])
    assert first == {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
    assert assign(SMALL, ["c", "d"], existing=first) == {"c": "10.0.0.3", "d": "10.0.0.4"}
    assert assign(SMALL, ["x"], reserved={"router": "10.0.0.1"}) == {"x": "10.0.0.2"}


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        ({"a": "10.0.1.1"}, "outside"),
        ({"a": "10.0.0.1", "b": "10.0.0.1"}, "both a and b"),
        ({"a": "ten"}, "is none"),
    ],
)
def test_existing_addresses_that_cant_be_are_refused(existing: dict[str, str], message: str) -> None:
    with pytest.raises(AddressError, match=message):
        assign(SMALL, ["a"], existing=existing)


def test_a_full_range_and_a_name_given_twice_are_refused() -> None:
    with pytest.raises(AddressError, match="no free address left for n6"):
        assign(SMALL, [f"n{number}" for number in range(7)])
    with pytest.raises(AddressError, match="twice"):
        assign(SMALL, ["a", "a"])


@given(st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True, max_size=30), st.data())
def test_plans_are_unique_inside_and_stable_under_growth(names: list[str], data: st.DataObject) -> None:
    network = parse_range("10.9.0.0/26")
    before = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    known = assign(network, before)
    plan = assign(network, names, existing=known)
    assert len(set(plan.values())) == len(plan)
    assert all(ipaddress.ip_address(address) in network for address in plan.values())
    assert {name: plan[name] for name in before} == known
