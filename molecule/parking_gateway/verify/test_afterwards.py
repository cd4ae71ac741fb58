"""On a host that is a gateway no more: its records stay, and open to nobody, until their removal is asked for."""

from typing import Any


def test_the_records_stay_and_the_firewall_is_gone(host: Any) -> None:
    assert host.file("/var/lib/parkmesh/spool.db").user == "parkmesh"
    assert "parkmesh" not in host.check_output("nft list tables")
    assert not host.socket("tcp://127.0.0.1:1883").is_listening


def test_they_go_when_that_is_asked_for(scenario: Any) -> None:
    scenario.play(parking_gateway_state="absent", parking_gateway_remove_spool=True)
    assert not scenario.host.file("/var/lib/parkmesh").exists
    assert "parkmesh" not in scenario.accounts()
