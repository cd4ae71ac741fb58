"""A short trial of `tests/emulator/interruptions.py`: the network alone, throttled once, and killed once."""

from __future__ import annotations

from .conftest import Aws
from .interruptions import converges, counts, interrupted, throttled

NETWORK = [("playbooks/provision-network.yml", ("-e", "aws_network_egress=none"))]
ANOTHER = [(playbook, (*arguments, "-e", "parkmesh_environment=another")) for playbook, arguments in NETWORK]


def test_a_run_comes_to_its_end_while_calls_are_throttled_and_one_that_was_killed_goes_on(aws: Aws) -> None:
    before = counts(aws)
    calls, failed = throttled(aws, NETWORK, 0.2, 7, runs=3)
    assert 0 < failed < calls
    there = counts(aws)
    assert (there["vpc"], there["subnet"]) == (before["vpc"] + 1, before["subnet"] + 6)
    assert converges(aws, NETWORK, there) == []

    # The second environment has a VPC then, and a gateway of which the run knows nothing.
    assert interrupted(aws, ANOTHER, 4)
    twice = {kind: 2 * there[kind] - before[kind] for kind in there}
    assert converges(aws, ANOTHER, twice) == []
