"""The overlay is what the inventory says, whatever is done to it by hand, and its secrets can be replaced."""

from collections.abc import Iterator
from typing import Any

import pytest
from running_lab import GROUP, Lab, connects, eventually, overlay_address

STRANGER = "bbbbbbbb01"


@pytest.fixture
def network(lab: Lab) -> str:
    (network,) = lab.controller("GET", "")
    return str(network)


def members(lab: Lab, network: str) -> dict[str, dict[str, Any]]:
    """The members by name."""
    found = [
        lab.controller("GET", f"/{network}/member/{address}") for address in lab.controller("GET", f"/{network}/member")
    ]
    return {member["name"]: member for member in found}


@pytest.fixture
def stranger(lab: Lab, network: str) -> Iterator[str]:
    """A member that the inventory doesn't name."""
    lab.controller("POST", f"/{network}/member/{STRANGER}", {"name": "stranger", "authorized": True})
    yield STRANGER
    if STRANGER in lab.controller("GET", f"/{network}/member"):
        lab.controller("DELETE", f"/{network}/member/{STRANGER}")


def test_a_gateway_changed_by_hand_is_put_right_and_reached_again(lab: Lab, network: str, stranger: str) -> None:
    before = members(lab, network)["gateway-b"]
    lab.controller(
        "POST",
        f"/{network}/member/{before['address']}",
        {"authorized": False, "tags": [[1, 2], [2, 1]], "ipAssignments": ["10.242.1.77"]},
    )
    eventually(lambda: not connects(lab, "ops", "10.242.1.2", 22), 30, "gateway-b is cut off")
    assert "put right" in lab.play("reconcile-members")
    after = members(lab, network)
    for setting in ("authorized", "ipAssignments", "name"):
        assert after["gateway-b"][setting] == before[setting]
    assert sorted(after["gateway-b"]["tags"]) == [[1, 2], [2, 2]]
    assert after["stranger"]["authorized"] is True, "without purge nobody goes"
    eventually(lambda: connects(lab, "ops", "10.242.1.2", 22), 90, "ops reach gateway-b again")


def test_only_a_purge_removes_a_member_that_nobody_wrote_down(lab: Lab, network: str, stranger: str) -> None:
    assert f"unknown and left alone: {stranger}" in lab.play("reconcile-members")
    assert "stranger" in members(lab, network)
    lab.play("reconcile-members", reconcile_purge="true", reconcile_purge_max=1)
    assert "stranger" not in members(lab, network)
    assert {"gateway-a", "gateway-b", "ops", "slot-1"} <= set(members(lab, network))


@pytest.mark.parametrize(("port", "verdict"), [(8001, "yes"), (22, "no")])
def test_what_is_explained_is_what_happens(lab: Lab, port: int, verdict: str) -> None:
    server = overlay_address(lab, next(iter(lab.app_servers().values())))
    told = lab.play("explain-access", explain_from="gateway-a", explain_to=server, explain_port=port)
    assert f"TCP {port}: {verdict}" in told
    assert connects(lab, "gateway-a", server, port) == (verdict == "yes")


def test_an_instance_that_boots_uses_the_identity_that_its_slot_got_by_rotation(lab: Lab, network: str) -> None:
    before = members(lab, network)
    servers = lab.app_servers()
    assert "rotated: " in lab.play("rotate-overlay")
    after = members(lab, network)
    held = {f"slot-{int(overlay_address(lab, container).rpartition('.')[2]) - 10}" for container in servers.values()}
    kept = {name for name in before if before[name]["address"] == after[name]["address"]}
    assert kept == {"gateway-a", "gateway-b", "ops", *held}
    scaling = lab.client("autoscaling")
    group = GROUP
    try:
        scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        eventually(lambda: len(lab.app_servers()) == 3 and len(lab.healthy_targets()) == 3, 120, "three serve")
        (new,) = set(lab.app_servers().values()) - set(servers.values())
        address = overlay_address(lab, new)
        assert f"slot-{int(address.rpartition('.')[2]) - 10}" not in kept
        eventually(lambda: connects(lab, "gateway-a", address, 8001), 60, "gateway-a reaches the new server")
    finally:
        scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
    eventually(lambda: len(lab.app_servers()) == 2 and len(lab.healthy_targets()) == 2, 120, "two serve again")
