"""A change of a daemon that runs is kept once it is confirmed; with one that isn't, the former settings come back.

lab/tests/whole/test_zerotier_trial.py has what needs more than a role's host: packages, roots, a power cut.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

HOME = "/var/lib/zerotier-one"
CUT = "/run/systemd/system/zerotier-one.service.d/cut.conf"
# As short as the role allows.
TRIAL_S = 15


def settings(port: int) -> dict[str, Any]:
    return {"allowSecondaryPort": False, "portMappingEnabled": False, "primaryPort": port}


def port(host: Any) -> int:
    """The port by the settings; the daemon must answer on it, and nothing be on trial."""
    assert json.loads(host.check_output("zerotier-cli -j info"))["online"] is False, "it has no root here"
    found = json.loads(host.file(f"{HOME}/local.conf").content_string)["settings"]["primaryPort"]
    assert host.file(f"{HOME}/zerotier-one.port").content_string == str(found)
    assert host.run("systemctl is-active zerotier-return.timer").stdout.strip() == "inactive"
    assert not host.file("/var/lib/zerotier-trial/former").exists
    return int(found)


def outcome(host: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.file("/var/lib/zerotier-trial/outcome.json").content_string)
    return told


def test_a_change_with_which_the_daemon_is_well_is_kept_and_leaves_no_timer(scenario: Any) -> None:
    host = scenario.host
    host.check_output(f"sed -i s/29993/29994/ {HOME}/local.conf && systemctl restart zerotier-one")
    assert scenario.play().changed > 0
    assert port(host) == 29993
    assert outcome(host) == {"result": "kept", "reasons": []}


def test_settings_with_which_the_daemon_doesn_t_start_are_put_back_and_the_run_says_so(scenario: Any) -> None:
    # sshd's.
    run = scenario.play(fails=True, zerotier_settings=settings(22), zerotier_trial_s=TRIAL_S)
    said = " ".join(run.output.split())
    assert "ZeroTier's new settings, roots or package were not kept: zerotier-one doesn't answer" in said
    assert "The former ones are back." in said
    assert port(scenario.host) == 29993


@pytest.fixture
def cut(scenario: Any) -> Iterator[None]:
    """With the port 29995 the control node is out of reach, as it would be if its way were the overlay."""
    node = scenario.facts["control_node"]
    script = (
        f"if grep -q 29995 {HOME}/local.conf; then ip route replace blackhole {node}/32;"
        f" else ip route del blackhole {node}/32 2>/dev/null || true; fi"
    )
    scenario.host.check_output(
        f"mkdir -p $(dirname {CUT}); printf '[Service]\\nExecStartPost=/bin/sh -c \"{script}\"\\n' > {CUT};"
        " systemctl daemon-reload"
    )
    yield
    scenario.host.check_output(f"rm {CUT}; systemctl daemon-reload")


@pytest.mark.usefixtures("cut")
def test_a_change_that_cuts_the_host_off_is_taken_back_by_the_host_itself(scenario: Any) -> None:
    began = time.monotonic()
    run = scenario.play(fails=True, zerotier_settings=settings(29995), zerotier_trial_s=TRIAL_S)
    assert time.monotonic() - began >= TRIAL_S
    assert "nobody confirmed it in time. The former ones are back." in " ".join(run.output.split())
    assert port(scenario.host) == 29993
