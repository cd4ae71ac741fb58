"""The simulated relays answer as the real ones do, come back when they die, and follow the site."""

import json
import urllib.request
from typing import Any

from conftest import eventually

UNIT = "parkmesh-simulator"


def test_the_service_runs_as_nobody_in_particular_and_starts_at_boot(host: Any) -> None:
    service = host.service(UNIT)
    assert (service.is_running, service.is_enabled, service.is_valid) == (True, True, True)
    process = host.process.get(pid=service.systemd_properties["MainPID"])
    assert process.user == "parkmesh"


def test_each_relay_listens_where_the_site_says(host: Any) -> None:
    assert host.socket("tcp://0.0.0.0:8201").is_listening
    assert host.socket("tcp://127.0.0.1:8202").is_listening
    assert not host.socket("tcp://0.0.0.0:8202").is_listening


def test_a_pulse_is_counted(scenario: Any) -> None:
    relay = f"http://{scenario.facts['address']}:8201"
    with urllib.request.urlopen(f"{relay}/rpc/Switch.Set?id=0&on=true&toggle_after=1", timeout=10) as answer:  # noqa: S310
        assert json.load(answer) == {"was_on": False}
    with urllib.request.urlopen(f"{relay}/simulator/pulses", timeout=10) as answer:  # noqa: S310
        assert json.load(answer)["pulses"] == 1
    assert '"POWER":"ON"' in scenario.host.check_output("curl -s 'http://127.0.0.1:8202/cm?cmnd=Power1%20On'")


def test_a_car_without_a_gateway_is_told_in_a_line(host: Any) -> None:
    done = host.run("parkmesh simulate car 1234BCD")
    assert done.rc != 0
    assert "127.0.0.1:8100" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_site_is_readable_by_all_and_written_by_root(host: Any) -> None:
    site = host.file("/etc/parkmesh/site.json")
    assert (site.user, site.mode) == ("root", 0o644)
    assert [each["port"] for each in json.loads(site.content_string)["relays"]] == [8201, 8202]


def test_a_relay_that_dies_comes_back(host: Any) -> None:
    before = host.service(UNIT).systemd_properties["MainPID"]
    host.check_output("kill -KILL %s", before)
    eventually(
        lambda: (
            host.service(UNIT).systemd_properties["MainPID"] not in {"0", before}
            and host.socket("tcp://0.0.0.0:8201").is_listening
        ),
        lambda: str(host.run(f"systemctl status {UNIT}").stdout),
    )


def test_another_site_is_simulated_at_once(scenario: Any) -> None:
    site = {"gateway": "http://127.0.0.1:8100", "relays": [{"name": "in", "port": 8203}]}
    assert scenario.play(parking_simulator_site=site).changed > 0
    eventually(
        lambda: scenario.host.socket("tcp://127.0.0.1:8203").is_listening,
        lambda: str(scenario.host.run(f"systemctl status {UNIT}").stdout),
    )
    assert not scenario.host.socket("tcp://0.0.0.0:8201").is_listening
    scenario.play()


def test_an_empty_site_is_refused(scenario: Any) -> None:
    run = scenario.play(parking_simulator_site={}, fails=True)
    assert "parking_simulator_site is empty" in run.output
