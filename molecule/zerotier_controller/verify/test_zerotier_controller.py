"""The control node manages networks with the token, nobody else does; the host is a root, whose file is here."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

HOME = "/var/lib/zerotier-one"


def call(scenario: Any, path: str, token: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(
        f"http://{scenario.facts['address']}:9993{path}", data=body, headers={"X-ZT1-Auth": token}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


@pytest.fixture(scope="module")
def token(scenario: Any) -> str:
    return Path(scenario.facts["controller_token"]).read_text().strip()


def test_the_control_node_makes_a_network_with_the_token(scenario: Any, token: str) -> None:
    address = call(scenario, "/status", token)["address"]
    made = call(scenario, f"/controller/network/{address}______", token, b'{"name": "molecule"}')
    assert made["name"] == "molecule"
    assert call(scenario, "/controller/network", token) == [made["nwid"]]


def test_without_the_token_it_gets_no_answer(scenario: Any) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        call(scenario, "/controller/network", "another")


def test_only_root_reads_the_token_and_it_is_in_no_output(scenario: Any, token: str) -> None:
    file = scenario.host.file(f"{HOME}/authtoken.secret")
    assert (file.mode, file.content_string) == (0o600, token)


def test_the_service_runs_and_starts_at_boot(host: Any) -> None:
    service = host.service("zerotier-one")
    assert (service.is_running, service.is_enabled) == (True, True)
    settings = json.loads(host.file(f"{HOME}/local.conf").content_string)["settings"]
    assert [each.endswith("/32") for each in settings["allowManagementFrom"]] == [True]


def test_the_root_is_in_force_and_its_file_is_on_the_control_node(scenario: Any) -> None:
    (moon,) = (scenario.folder / "moons").iterdir()
    host = scenario.host
    assert moon.read_bytes() == host.file(f"{HOME}/moons.d/{moon.name}").content
    assert host.file(f"{HOME}/moon.json").mode == 0o600
    assert json.loads(host.check_output("zerotier-cli -j listmoons"))[0]["id"] == moon.stem
    source = json.loads(host.file(f"{HOME}/moon.json").content_string)
    assert source["roots"][0]["stableEndpoints"] == [f"{scenario.facts['address']}/9993"]


def test_another_token_is_the_daemon_s_at_once(scenario: Any, token: str) -> None:
    other = scenario.folder / "token"
    other.write_text("another-token-0123456789\n")
    run = scenario.play(zerotier_controller_authtoken_file=str(other))
    assert run.changed > 0
    assert "another-token" not in run.output
    assert token not in run.output
    assert len(call(scenario, "/controller/network", "another-token-0123456789")) == 1
    scenario.play()
