"""A host that is a NAT instance no more has the rules of Debian's package again."""

from typing import Any


def test_debian_s_own_rules_are_back(host: Any) -> None:
    assert host.file("/etc/nftables.conf").mode == 0o755
    assert host.run("dpkg --verify nftables").stdout == ""
    assert not host.service("nftables").is_enabled
