"""On a host without the agent: one that somebody else has signed isn't put in."""

from typing import Any


def test_what_another_key_has_signed_is_not_put_in(scenario: Any) -> None:
    run = scenario.play(fails=True, log_agent_key_file=f"{scenario.folder}/other.asc")
    assert "No public key" in run.output
    assert not scenario.host.package("amazon-cloudwatch-agent").is_installed
    assert not scenario.host.file("/opt/aws").exists
