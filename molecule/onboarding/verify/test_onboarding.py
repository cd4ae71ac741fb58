"""A community goes, and another one comes on the same gateway: each by one command.

The lab's community b goes; community c, in communities/c.yml, has devices of other brands.
"""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_lab import STATE, Lab, connects, eventually

FILES = Path(__file__).resolve().parents[1] / "communities"
SHEETS = STATE / "handover" / "c"
RESIDENT, FORMER_RESIDENT = "2468KLM", "9876MNP"


@pytest.fixture
def with_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inventory without community b and with community c."""
    monkeypatch.setenv("PARKMESH_COMMUNITIES", str(FILES))


def members(lab: Lab) -> dict[str, list[str]]:
    """Names of the overlay's authorised members, with their addresses."""
    (network,) = lab.controller("GET", "")
    found = [lab.controller("GET", f"/{network}/member/{each}") for each in lab.controller("GET", f"/{network}/member")]
    return {member["id"]: member["ipAssignments"] for member in found if member["authorized"]}


def test_a_community_that_goes_leaves_an_export_and_nothing_on_its_gateway(
    lab: Lab, host: Callable[[str], Any], tmp_path: Path
) -> None:
    said = lab.play("offboard-community", community="b", offboard_confirm="b", offboard_folder=tmp_path)
    assert "gateway-b: drained and wiped" in said
    export = tmp_path / "b.zip"
    assert export.stat().st_mode & 0o777 == 0o600
    assert len(zipfile.ZipFile(export).namelist()) > 3
    gateway = host("gateway-b")
    left = gateway.check_output("find / -xdev -path /proc -prune -o -iname '*parkmesh*' -print").split()
    assert left == ["/usr/lib/parkmesh-lab"], "only the lab's own ZeroTier stays"
    assert not gateway.service("mosquitto").is_running
    assert ["10.242.1.2"] not in members(lab).values()
    assert not connects(lab, "ops", "10.242.1.2", 22)


def test_a_community_comes_into_service_by_one_command(lab: Lab, with_c: None) -> None:
    said = lab.play("onboard-community", community="c")
    assert "4 of 6: drive a test car past cam-in, cam-out" in said
    tested = json.loads((SHEETS / "test.json").read_text())
    assert [(result["what"], result["well"]) for result in tested["results"]][:3] == [
        ("A car on the list at cam-in (main, entry)", True),
        ("A car on the list at cam-out (main, exit)", True),
        ("A car that nobody knows at cam-in (main, entry)", True),
    ]
    sheet = (SHEETS / "handover.html").read_text()
    invitation = json.loads((SHEETS / "invitation.json").read_text())
    assert invitation["link"] in sheet
    for word in ("Olive Park", "Dahua", "Axis", "10.242.1.3"):
        assert word in sheet, word
    assert (SHEETS / "handover.pdf").read_bytes().startswith(b"%PDF")
    assert [path.name for path in (SHEETS, *SHEETS.iterdir()) if path.stat().st_mode & 0o077] == []
    assert invitation["link"] not in said
    assert ["10.242.1.3"] in members(lab).values()
    assert connects(lab, "ops", "10.242.1.3", 22)


@pytest.mark.parametrize(
    ("plate", "outcome"),
    [(RESIDENT, "opened"), (FORMER_RESIDENT, "closed")],
    ids=["resident", "former"],
)
def test_its_gates_open_for_its_own(lab: Lab, plate: str, outcome: str) -> None:
    eventually(lambda: lab.gateway_status("gateway-b")["access_list_version"] > 0, 60, "the access list")
    done = lab.simulate("devices-b", "car", plate, "--camera", "cam-in", "--expect", outcome)
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: lab.gateway_status("gateway-b")["backlog"] == 0, 60, "the passage is with the servers")


def test_a_second_run_repeats_neither_the_test_nor_the_invitation(lab: Lab, with_c: None) -> None:
    said = lab.play("onboard-community", community="c")
    assert "4 of 6: no test: it went well before" in said
    changed = dict(re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", said, re.MULTILINE))
    assert changed["gateway-b"] == "0"
    assert set(changed.values()) == {"0"}, changed
