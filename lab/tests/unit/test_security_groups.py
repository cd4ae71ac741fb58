"""Security groups: from EC2's answers to rules of one host, which nft takes and no root of the host can remove."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.driver.security_groups import Rule, SecurityGroup, ruleset, security_group

ROOT = Path(__file__).resolve().parents[3]
NEEDS_NFT = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="nft isn't installed, or takes only root"
)
ROUTER = "10.80.0.1"
MEMBERS = {"sg-app": frozenset({"10.80.80.4", "10.80.80.5"}), "sg-alb": frozenset({"10.80.31.250"})}


def permission(protocol: str, first: int | None = None, last: int | None = None, **who: Any) -> dict[str, Any]:
    ports = {} if first is None else {"FromPort": first, "ToPort": last}
    return {"IpProtocol": protocol, **ports, "IpRanges": [], "Ipv6Ranges": [], "UserIdGroupPairs": [], **who}


def rules(*inbound: dict[str, Any], outbound: tuple[dict[str, Any], ...] = ()) -> str:
    row = {"IpPermissions": inbound, "IpPermissionsEgress": outbound}
    return ruleset(["sg-1", "sg-gone"], {"sg-1": security_group(row)}, MEMBERS, ROUTER, 4566)


ANYONE: dict[str, Any] = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
CASES = [
    (permission("tcp", 80, 80, **ANYONE), ["ip saddr 0.0.0.0/0 tcp dport 80-80 accept"]),
    (permission("17", 20001, 20006, **ANYONE), ["ip saddr 0.0.0.0/0 udp dport 20001-20006 accept"]),
    (permission("tcp", -1, -1, **ANYONE), ["ip saddr 0.0.0.0/0 tcp dport 0-65535 accept"]),
    (
        permission("tcp", 443, 443, IpRanges=[{"CidrIp": "10.0.0.0/9"}, {"CidrIp": "10.128.0.0/9"}]),
        ["ip saddr 10.0.0.0/8 tcp dport 443-443 accept"],
    ),
    (
        permission("-1", Ipv6Ranges=[{"CidrIpv6": "::/0"}], IpRanges=[{"CidrIp": "10.0.0.0/8"}]),
        ["ip saddr 10.0.0.0/8 accept", "ip6 saddr ::/0 accept"],
    ),
    (
        permission("tcp", 5432, 5432, UserIdGroupPairs=[{"GroupId": "sg-app"}, {"GroupId": "sg-alb"}]),
        ["ip saddr { 10.80.31.250/32, 10.80.80.4/31 } tcp dport 5432-5432 accept"],
    ),
    (permission("tcp", 5432, 5432, UserIdGroupPairs=[{"GroupId": "sg-nobody"}]), []),
    (permission("tcp", 443, 443, PrefixListIds=[{"PrefixListId": "pl-1"}]), []),
    (permission("icmp", 8, -1, **ANYONE), ["ip saddr 0.0.0.0/0 icmp type 8 accept"]),
    (permission("icmp", 3, 4, **ANYONE), ["ip saddr 0.0.0.0/0 icmp type 3 icmp code 4 accept"]),
    (permission("icmp", -1, -1, **ANYONE), ["ip saddr 0.0.0.0/0 meta l4proto icmp accept"]),
    (permission("50", **ANYONE), ["ip saddr 0.0.0.0/0 meta l4proto 50 accept"]),
]


def lines(text: str, chain: str) -> list[str]:
    """The rules of a chain that let somebody through, without those that all hosts have."""
    body = text.partition(f"chain {chain} {{")[2].partition("}}")[0].splitlines()
    found = [line.strip() for line in body if line.strip().startswith(("ip ", "ip6 "))]
    return [line for line in found if ROUTER not in line]


@pytest.mark.parametrize(("permitted", "wanted"), CASES)
def test_a_permission_lets_those_in_that_it_names_and_nobody_else(permitted: dict[str, Any], wanted: list[str]) -> None:
    text = rules(permitted)
    inbound, outbound = text.partition("chain outbound")[::2]
    assert lines(inbound + "}}", "inbound") == wanted
    assert "saddr" not in outbound


def test_what_goes_out_is_filtered_by_its_destination() -> None:
    text = rules(outbound=(permission("tcp", 8000, 8000, IpRanges=[{"CidrIp": "10.80.0.0/16"}]),))
    assert lines(text, "outbound") == ["ip daddr 10.80.0.0/16 tcp dport 8000-8000 accept"]
    assert "saddr" not in text


def test_the_rules_of_all_groups_of_an_interface_count_and_a_host_without_one_gets_nothing() -> None:
    groups = {
        name: SecurityGroup((Rule("tcp", port, port, ("10.80.0.0/16",)),), ())
        for name, port in (("sg-a", 80), ("sg-b", 81))
    }
    text = ruleset(["sg-b", "sg-a"], groups, {}, ROUTER, 4566)
    assert [line[-12:-7] for line in lines(text, "inbound")] == ["80-80", "81-81"]
    assert lines(ruleset([], groups, {}, ROUTER, 4566), "inbound") == []
    assert ruleset([], groups, {}, ROUTER, 4566).count("    drop\n") == 2


IN_A_NAMESPACE = """
import os, subprocess, sys
from lab.machine.packet_rules import OwnedTable
table = OwnedTable(os.getpid())
for text in sys.stdin.read().split("----"):
    table.load(text)
    table.load(text)
subprocess.run(["nft", "flush", "ruleset"], check=True)
print(subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.strip())
table.close()
print(subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.strip())
"""


@NEEDS_NFT
def test_nft_takes_the_rules_and_the_hosts_root_can_not_remove_them() -> None:
    every = rules(*(case for case, _ in CASES), outbound=tuple(case for case, _ in CASES))
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE],
        input="----".join([rules(), every]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["table inet parkmesh_security_groups", ""], done.stderr
