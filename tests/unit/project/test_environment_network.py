"""What the network of an environment should be, for every setting: whatever a part refers to is there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
network = importlib.import_module("ansible.module_utils.environment_network")

TIERS = yaml.safe_load((ROOT / "roles/aws_network/vars/main.yml").read_text())["__aws_network_tiers"]


def desired(zones: int, nat: str, *, ipv6: bool, gateways: str = "per_zone") -> dict[str, Any]:
    found: dict[str, Any] = network.desired(
        {
            "name": "p-e",
            "words": "p e",
            "tags": {},
            "cidr": "10.80.0.0/16",
            "vpc_id": "",
            "tiers": TIERS,
            "zone_names": [f"eu-west-1{letter}" for letter in "abcd"[:zones]],
            "ipv6": ipv6,
            "egress": nat,
            "nat_gateways": gateways,
            "slots": 9,
            "flow_log_days": 0,
            "admit": ["0.0.0.0/0"],
            "admit_ipv6": ["::/0"],
        }
    )
    return found


@pytest.mark.parametrize("zones", [2, 4])
@pytest.mark.parametrize("nat", ["nat_gateway", "nat_instance", "none"])
@pytest.mark.parametrize("ipv6", [True, False])
def test_parts_refer_to_parts_that_are_there(zones: int, nat: str, ipv6: bool) -> None:
    there = desired(zones, nat, ipv6=ipv6)
    tables = {name: each for name, each in there["route table"].items() if name != "main"}
    routed = [subnet for each in tables.values() for subnet in each["subnets"]]
    assert sorted(routed) == sorted(there["subnet"]), "each subnet has one route table"
    gateways = {name for kind in ("internet gateway", "egress-only gateway", "NAT gateway") for name in there[kind]}
    gateways |= {each["leads_to"] for each in there["address"].values() if "leads_to" in each}
    assert {target for each in tables.values() for target in each["routes"].values()} <= gateways
    assert {name for each in there["endpoint"].values() for name in each["route_tables"]} <= set(tables)
    assert len({each["cidr"] for each in there["subnet"].values()}) == 3 * zones
    assert any(":" in target for each in tables.values() for target in each["routes"]) == ipv6


def test_without_a_nat_gateway_servers_have_no_way_out_by_ipv4() -> None:
    tables = desired(2, "none", ipv6=True)["route table"]
    assert tables["p-e-app"]["routes"] == {"::/0": "p-e-egress"}
    assert "p-e-app-eu-west-1a" not in tables


def test_one_nat_gateway_may_serve_all_zones() -> None:
    there = desired(3, "nat_gateway", ipv6=False, gateways="one")
    assert list(there["NAT gateway"]) == ["p-e-nat-eu-west-1a"]
    assert list(there["address"]) == ["of p-e-nat-eu-west-1a"]
    tables = {name: each["routes"] for name, each in there["route table"].items() if name.startswith("p-e-app")}
    assert tables == {f"p-e-app-eu-west-1{zone}": {"0.0.0.0/0": "p-e-nat-eu-west-1a"} for zone in "abc"}


def test_slots_are_reached_where_nat_instances_forward_them_and_nowhere_else() -> None:
    groups = {egress: desired(2, egress, ipv6=True)["security group"] for egress in ("nat_gateway", "nat_instance")}
    slots = "udp 20001-20009 0.0.0.0/0 (overlay slots)"
    assert slots in groups["nat_instance"]["p-e-app"]["inbound"]
    assert slots in groups["nat_instance"]["p-e-nat"]["inbound"]
    assert slots not in groups["nat_gateway"]["p-e-app"]["inbound"]
    assert "p-e-nat" not in groups["nat_gateway"]
