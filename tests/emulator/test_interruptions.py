"""Short trials of `interruptions.py` (the network alone, throttled once, and killed once) and of `slot_boots.py`."""

from __future__ import annotations

from .conftest import Aws
from .interruptions import converges, counts, interrupted, throttled
from .slot_boots import SERVERS, SLOTS, drill

PLAIN = '{"aws_network_egress": "none", "aws_network_ipv6": false}'
NETWORK = [("playbooks/provision-network.yml", ("-e", PLAIN))]
ANOTHER = [(playbook, (*arguments, "-e", "parkmesh_environment=another")) for playbook, arguments in NETWORK]


def test_a_run_comes_to_its_end_while_calls_are_throttled_and_one_that_was_killed_goes_on(aws: Aws) -> None:
    before = counts(aws)
    calls, failed = throttled(aws, NETWORK, 0.2, 7, runs=3)
    assert 0 < failed < calls
    there = counts(aws)
    assert (there["vpc"], there["subnet"]) == (before["vpc"] + 1, before["subnet"] + 6)
    assert there["egress gateway"] == before["egress gateway"]
    assert not any(each["Ipv6CidrBlockAssociationSet"] for each in aws.client("ec2").describe_subnets()["Subnets"])
    assert converges(aws, NETWORK, there) == []

    # The second environment has a VPC then, and a gateway of which the run knows nothing.
    assert interrupted(aws, ANOTHER, 4)
    twice = {kind: 2 * there[kind] - before[kind] for kind in there}
    assert converges(aws, ANOTHER, twice) == []


def test_servers_that_boot_at_once_and_die_at_any_moment_never_use_one_slot(aws: Aws) -> None:
    wrong, counted = drill(aws.url, boots=2 * SERVERS, seed=1)
    assert wrong == []
    assert counted["boots"] >= 2 * SERVERS + SLOTS
