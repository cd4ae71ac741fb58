"""The agent is there, is told what to ship, and may read it. bucket.py says what stands for Amazon's agent."""

import json
from typing import Any

from conftest import eventually

FOLDER = "/opt/aws/amazon-cloudwatch-agent"
UNIT = "amazon-cloudwatch-agent"
TOLD = f"{FOLDER}/etc/amazon-cloudwatch-agent.json"


def entry(host: Any) -> dict[str, Any]:
    (found,) = json.loads(host.file(TOLD).content_string)["logs"]["logs_collected"]["journald"]["collect_list"]
    return dict(found)


def process(host: Any) -> str:
    return str(host.service(UNIT).systemd_properties["MainPID"])


def test_the_package_is_there_and_its_unit_runs_and_starts_at_boot(host: Any) -> None:
    assert host.package("amazon-cloudwatch-agent").is_installed
    service = host.service(UNIT)
    assert (service.is_running, service.is_enabled, service.is_valid) == (True, True, True)
    assert host.process.get(pid=process(host)).user == "cwagent"


def test_its_user_reads_the_journal_and_can_t_sign_in(host: Any) -> None:
    user = host.user("cwagent")
    assert (user.groups, user.shell) == (["cwagent", "systemd-journal"], "/usr/sbin/nologin")


def test_it_is_told_what_was_given(host: Any) -> None:
    assert json.loads(host.file(TOLD).content_string)["agent"] == {"region": "eu-west-1", "run_as_user": "cwagent"}
    assert entry(host) == {
        "log_group_name": "/parkmesh/test/servers",
        "log_stream_name": "{instance_id}",
        "units": ["shipped.service", "shipped-too.service"],
        "priority": "notice",
    }


def test_the_journal_is_bounded(host: Any) -> None:
    assert "\nSystemMaxUse=100M\n" in host.check_output("systemd-analyze cat-config systemd/journald.conf")


def test_what_the_units_say_is_shipped_and_nothing_else(host: Any) -> None:
    for unit, priority in (("kept", "notice"), ("shipped", "info"), ("shipped-too", "notice")):
        run = f"systemd-run --quiet --wait --unit={unit} --property=SyslogLevel={priority}"
        host.check_output(f"{run} echo said by {unit} as {priority}")

    def shipped() -> str:
        return str(host.file(f"{FOLDER}/logs/shipped").content_string)

    eventually(lambda: "said by shipped-too" in shipped(), shipped)
    assert [line for line in shipped().splitlines() if "said by" in line] == ["said by shipped-too as notice"]


def test_an_image_s_agent_stays_as_it_is_until_the_next_start(scenario: Any) -> None:
    before = process(scenario.host)
    assert scenario.play(log_agent_image=True, log_agent_priority="warning").changed == 1
    assert (entry(scenario.host)["priority"], process(scenario.host)) == ("warning", before)
    # Now a host that runs, told something else.
    assert scenario.play().changed == 2
    assert entry(scenario.host)["priority"] == "notice"
    assert process(scenario.host) not in {"0", before}
