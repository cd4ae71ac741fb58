"""What an image's boot will start is enabled, and its rules and settings are ones that the kernel takes."""

import json
from typing import Any

import pytest


@pytest.mark.parametrize("unit", ["parkmesh-nat-take.service", "parkmesh-nat.service", "nftables.service"])
def test_a_unit_is_enabled_and_not_started(host: Any, unit: str) -> None:
    service = host.service(unit)
    assert (service.is_enabled, service.is_running) == (True, False)
    # Debian's own unit names manuals, which this image doesn't have.
    assert unit == "nftables.service" or service.is_valid


@pytest.mark.parametrize("package", ["conntrack", "nftables", "python3-boto3"])
def test_a_package_is_there(host: Any, package: str) -> None:
    assert host.package(package).is_installed


def test_the_kernel_takes_the_rules_with_the_networks_inside(host: Any) -> None:
    """In a network namespace of its own: loaded for good they would shut this connection out."""
    script = "nft --file /etc/nftables.conf && nft --json list ruleset"
    rules = json.loads(host.check_output("unshare --net sh -c %s", script))
    chains = {each["chain"]["name"]: each["chain"] for each in rules["nftables"] if "chain" in each}
    assert {name for name, chain in chains.items() if chain.get("policy") == "drop"} == {"input", "forward"}
    (masquerade,) = [each["rule"] for each in rules["nftables"] if "masquerade" in json.dumps(each)]
    assert masquerade["chain"] == "postrouting"
    # Networks that follow each other are one range.
    assert '{"range": ["10.81.0.0", "10.82.0.255"]}' in json.dumps(masquerade)


def test_the_kernel_s_settings_are_for_the_next_boot(host: Any) -> None:
    lines = host.file("/etc/sysctl.d/60-parkmesh-nat.conf").content_string.splitlines()
    assert "net.ipv4.ip_forward = 1" in lines
    assert "net.netfilter.nf_conntrack_max = 32768" in lines
    assert "net.netfilter.nf_conntrack_tcp_timeout_established = 3600" in lines
    assert host.file("/etc/modules-load.d/parkmesh-nat.conf").content_string == "nf_conntrack\n"
    assert host.sysctl("net.netfilter.nf_conntrack_max") != 32768


def test_the_agent_s_modules_can_be_imported(host: Any) -> None:
    modules = "from parkmesh_nat import agent, forwards, settings, takeover"
    host.check_output("PYTHONPATH=/usr/local/lib/parkmesh-nat python3 -c %s", modules)
