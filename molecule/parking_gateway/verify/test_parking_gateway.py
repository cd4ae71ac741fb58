"""The gateway decides, records and listens where it should; firewall, clock and updates are as asked for."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from conftest import eventually

AGENT = "parkmesh-gateway"


def status(scenario: Any) -> dict[str, Any] | None:
    """What the agent says of itself; nothing while it doesn't answer."""
    try:
        with urllib.request.urlopen(f"http://{scenario.facts['address']}:8101/status", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError:
        return None


def backlog(scenario: Any) -> int:
    """How many records are in the spool; -1 while the agent doesn't answer."""
    return int((status(scenario) or {"backlog": -1})["backlog"])


def saying(scenario: Any) -> str:
    return str(scenario.host.run(f"journalctl --unit={AGENT} --lines=30").stdout)


@pytest.fixture(scope="module")
def devices(scenario: Any) -> Iterator[Any]:
    """The host, with the simulated devices on it."""
    scenario.play(playbook="devices.yml")
    yield scenario.host
    scenario.play(playbook="devices.yml", parking_simulator_state="absent")


@pytest.mark.parametrize("unit", [AGENT, "mosquitto", "parkmesh-firewall", "parkmesh-gateway-pull.path"])
def test_a_unit_runs_and_starts_at_boot(host: Any, unit: str) -> None:
    service = host.service(unit)
    assert (service.is_running, service.is_enabled) == (True, True)
    # Debian's own unit names manuals, which this image doesn't have.
    assert unit == "mosquitto" or service.is_valid


def test_the_agent_runs_as_its_user_under_a_watchdog(host: Any) -> None:
    properties = host.service(AGENT).systemd_properties
    assert (properties["Type"], properties["WatchdogUSec"]) == ("notify", "2min")
    assert host.process.get(pid=properties["MainPID"]).user == "parkmesh"


@pytest.mark.parametrize("port", [8101, 8144, 8181])
def test_the_agent_listens(host: Any, port: int) -> None:
    assert host.socket(f"tcp://0.0.0.0:{port}").is_listening


def test_the_broker_listens_where_it_was_asked_to_and_by_tls(scenario: Any) -> None:
    host = scenario.host
    assert host.socket("tcp://127.0.0.1:1883").is_listening
    assert host.socket(f"tcp://{scenario.facts['address']}:8884").is_listening
    assert not host.socket("tcp://0.0.0.0:8884").is_listening
    assert not host.socket(f"tcp://{scenario.facts['address']}:1883").is_listening


def publish(scenario: Any, *account: str) -> Any:
    """Publish on the LAN's listener as an account of the broker, or as nobody."""
    words = ["mosquitto_pub", "-h", scenario.facts["address"], "-p", "8884", "--cafile", "/etc/parkmesh/broker.crt"]
    words += ["-q", "1", "-t", "loops/ramp", "-m", "on", *account]
    return scenario.host.run(" ".join(words))


def test_who_publishes_has_an_account(scenario: Any) -> None:
    scenario.host.check_output(
        "command -v mosquitto_pub || apt-get install --yes --no-install-recommends mosquitto-clients"
    )
    assert publish(scenario, "-u", "ramp", "-P", "a-password-of-the-ramp").rc == 0
    for account in ((), ("-u", "ramp", "-P", "another-password"), ("-u", "parkmesh", "-P", "a-password-of-the-ramp")):
        refused = publish(scenario, *account)
        assert refused.rc != 0
        assert "not authorised" in refused.stderr.lower() or "not authorized" in refused.stderr.lower()


def test_the_broker_s_secrets_are_its_own(host: Any) -> None:
    for path, user, group, mode in (
        ("/etc/mosquitto/parkmesh.passwords", "mosquitto", "mosquitto", 0o600),
        ("/etc/mosquitto/parkmesh.acl", "mosquitto", "mosquitto", 0o600),
        ("/etc/mosquitto/certs/parkmesh.pem", "mosquitto", "mosquitto", 0o600),
        ("/etc/parkmesh/mqtt/parkmesh.password", "root", "parkmesh", 0o640),
        ("/etc/parkmesh/mqtt/lorawan.password", "root", "root", 0o600),
    ):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == (user, group, mode), path
    assert not host.file("/etc/parkmesh/mqtt/ramp.password").exists
    assert "PRIVATE" not in host.file("/etc/parkmesh/broker.crt").content_string
    assert "a-password-of-the-ramp" not in host.file("/etc/mosquitto/parkmesh.passwords").content_string


@pytest.mark.parametrize("camera", ["cam-in", "cam-tls"])
def test_a_car_is_decided_and_recorded_while_no_server_answers(scenario: Any, devices: Any, camera: str) -> None:
    """The gateway has no access list yet: the barrier stays closed."""
    before = backlog(scenario)
    plate = {"cam-in": "1234BCD", "cam-tls": "5678FGH"}[camera]
    devices.check_output("parkmesh simulate car %s --camera %s --expect closed", plate, camera)
    eventually(lambda: backlog(scenario) > before, lambda: saying(scenario))


def test_a_sensor_s_message_comes_by_the_broker(scenario: Any, devices: Any) -> None:
    before = backlog(scenario)
    devices.check_output("parkmesh simulate sensor t-01 occupied")
    eventually(lambda: backlog(scenario) > before, lambda: saying(scenario))


def test_without_its_secret_path_a_camera_gets_nowhere(scenario: Any) -> None:
    request = urllib.request.Request(f"http://{scenario.facts['address']}:8101/cameras/cam-in/events", b"x")
    with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
        urllib.request.urlopen(request, timeout=10)  # noqa: S310


def test_the_page_asks_for_its_password_over_tls(scenario: Any) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"https://{scenario.facts['address']}:8181/"
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:
        text = answer.read().decode()
    assert 'lang="es"' in text
    assert "password" in text


def test_the_certificate_stands_for_the_names(host: Any) -> None:
    own = host.file("/etc/parkmesh/tls-own.pem")
    assert (own.user, own.group, own.mode) == ("root", "parkmesh", 0o640)
    names = host.check_output(f"openssl x509 -in {own.path} -noout -ext subjectAltName")
    assert "DNS:gateway-t.example, IP Address:192.0.2.5" in names


def test_what_is_secret_is_the_agent_s_alone(host: Any) -> None:
    token, configuration = host.file("/etc/parkmesh/gateway.token"), host.file("/etc/parkmesh/gateway.json")
    assert (token.user, token.group, token.mode, token.size) == ("root", "parkmesh", 0o640, 64)
    assert (configuration.user, configuration.group, configuration.mode) == ("root", "parkmesh", 0o640)
    assert "a-password-of-the-page" not in configuration.content_string
    assert host.file("/var/lib/parkmesh").mode == 0o750
    assert host.file("/var/lib/parkmesh-rollout").mode == 0o700


def test_the_configuration_has_what_was_given(host: Any) -> None:
    given = json.loads(host.file("/etc/parkmesh/gateway.json").content_string)
    assert (given["name"], given["community"], given["same_plate_window_s"]) == ("gateway-t", "t", 20)
    assert (given["heartbeat_s"], given["spool_max_mb"], len(given["mqtt"]["topics"])) == (5, 64, 2)
    assert (given["recorders"][0]["name"], given["readers"][0]["name"]) == ("nvr", "scan-in")
    assert given["local_page"]["shows_plates"] is True


def test_frigate_has_its_configuration_and_each_password_apart(scenario: Any) -> None:
    host, folder = scenario.host, "/etc/parkmesh/frigate"
    config = yaml.safe_load(host.file(f"{folder}/config.yml").content_string)
    given = json.loads(host.file("/etc/parkmesh/gateway.json").content_string)
    assert f"{config['mqtt']['topic_prefix']}/tracked_object_update" == given["recorders"][1]["topic"]
    assert (config["mqtt"]["host"], config["mqtt"]["tls_ca_certs"]) == (
        scenario.facts["address"],
        "/config/gateway.crt",
    )
    assert config["detectors"] == {"ov": {"type": "openvino", "device": "GPU"}}
    secrets = {
        name: host.file(f"{folder}/secrets/{name}").content_string for name in host.file(f"{folder}/secrets").listdir()
    }
    assert secrets == {
        "FRIGATE_MQTT_PASSWORD": "a-password-of-frigate",
        "FRIGATE_RTSP_PASSWORD_CAM_PLAIN": "a-password-$of-a-{stream}",
    }
    path = config["cameras"]["plain"]["ffmpeg"]["inputs"][0]["path"]
    assert path.format(**secrets) == "rtsp://viewer:a-password-$of-a-{stream}@192.0.2.41/stream1"
    modes = {path: host.file(f"{folder}/{path}").mode for path in ("", "secrets", "config.yml")}
    assert modes == {"": 0o700, "secrets": 0o700, "config.yml": 0o640}
    assert {host.file(f"{folder}/secrets/{name}").mode for name in secrets} == {0o600}


def test_wrong_inputs_of_frigate_are_refused_before_anything_changes(scenario: Any) -> None:
    run = scenario.play(fails=True, parking_gateway_frigate_broker="192.0.2.77")
    assert "192.0.2.77, where the broker doesn't listen" in " ".join(run.output.split())
    assert run.changed == 0


def test_devices_without_an_account_are_refused_before_anything_changes(scenario: Any) -> None:
    run = scenario.play(fails=True, parking_gateway_mqtt_accounts=[])
    assert "no account for what publishes" in " ".join(run.output.split())
    assert run.changed == 0


def test_a_broker_is_open_while_that_is_asked_for_and_a_secret_that_nothing_names_goes(scenario: Any) -> None:
    folder = scenario.host.file("/etc/parkmesh/frigate/secrets")
    opened = {"parking_gateway_frigate_user": "", "parking_gateway_mqtt_anonymous": True}
    scenario.play(**opened)
    assert publish(scenario).rc == 0
    assert folder.listdir() == ["FRIGATE_RTSP_PASSWORD_CAM_PLAIN"]
    scenario.play()
    assert publish(scenario).rc != 0


def rules(host: Any) -> str:
    return str(host.check_output("nft list table inet parkmesh"))


def test_the_firewall_lets_devices_and_who_was_named_in_and_nobody_else(scenario: Any) -> None:
    host, node = scenario.host, scenario.facts["control_node"]
    found = rules(host)
    assert found.count("policy drop;") == 2
    assert f"ip saddr {node} tcp dport {{ 8101, 8144, 8884 }} accept" in found
    assert f"ip saddr {node} tcp dport 8181 accept" in found
    assert f"ip saddr {node} tcp dport 22 accept" in found
    assert 'iifname "docker0" accept' in found
    assert 'iifname "zt*" ip saddr 10.242.0.9 ip daddr 192.168.50.0/24 accept' in found
    assert 'iifname "zt*" ip daddr 192.168.50.0/24 masquerade' in found
    assert not host.file("/etc/parkmesh/firewall.nft.trial").exists


def test_the_journal_the_clock_and_the_updates_are_as_asked_for(host: Any) -> None:
    assert "\nSystemMaxUse=100M\n" in host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert host.service("chrony").is_enabled
    assert "192.0.2.123" in host.file("/etc/chrony/sources.d/parkmesh.sources").content_string
    timer = host.file("/etc/systemd/system/apt-daily-upgrade.timer.d/parkmesh.conf").content_string
    assert "04:00" in timer
    assert "30" in timer
    assert '"04:45"' in host.check_output("apt-config dump Unattended-Upgrade::Automatic-Reboot-Time")


def test_the_copy_of_the_token_is_encrypted_to_the_operator_s_key(scenario: Any) -> None:
    copy = (scenario.folder / "backups" / "gateway-t.age").read_bytes()
    assert copy.startswith(b"age-encryption.org/v1\n-> ssh-ed25519 ")
    assert scenario.host.file("/etc/parkmesh/gateway.token").content not in copy


def test_an_agent_that_dies_comes_back_with_what_it_recorded(scenario: Any) -> None:
    host, before = scenario.host, backlog(scenario)
    assert before > 0
    pid = host.service(AGENT).systemd_properties["MainPID"]
    host.check_output("kill -KILL %s", pid)
    # It may have started and not read its spool yet.
    eventually(lambda: backlog(scenario) >= before, lambda: saying(scenario))
    assert host.service(AGENT).systemd_properties["MainPID"] not in {"0", pid}
    assert json.loads(host.check_output("parkmesh gateway status"))["running"] is True


def test_a_gateway_of_another_community_is_refused_before_anything_changes(scenario: Any) -> None:
    run = scenario.play(fails=True, parking_gateway_community="u")
    assert "is the gateway of community t, and parking_gateway_community is u" in " ".join(run.output.split())
    assert run.changed == 0


def test_what_isn_t_asked_for_any_more_goes_and_a_given_certificate_is_used(scenario: Any) -> None:
    key, certificate = scenario.folder / "key.pem", scenario.folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "9", "-subj", "/CN=given.example", "-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        check=True,
    )
    host = scenario.host
    run = scenario.play(
        parking_gateway_tls_certificate=certificate.read_text(),
        parking_gateway_tls_key=key.read_text(),
        parking_gateway_time_servers=[],
        parking_gateway_updates=False,
        parking_gateway_release_key="",
        parking_gateway_firewall=False,
        parking_gateway_camera_networks=[],
        parking_gateway_frigate_cameras=[],
        parking_gateway_page_password="",
        parking_gateway_secure_logging=False,
    )
    assert key.read_text().splitlines()[1] not in run.output
    # The changes of a configuration are shown where that is asked for.
    assert "a-secret-path-0123" in run.output or '-    "local_page"' in run.output
    eventually(lambda: status(scenario), lambda: saying(scenario))
    shown = host.run("openssl s_client -connect 127.0.0.1:8144 </dev/null").stdout
    assert "CN=given.example" in shown.replace(" ", "")
    assert not host.socket("tcp://0.0.0.0:8181").is_listening
    assert "parkmesh" not in host.check_output("nft list tables")
    for path in (
        "/etc/chrony/sources.d/parkmesh.sources",
        "/etc/apt/apt.conf.d/60parkmesh-updates",
        "/etc/parkmesh/release.pub",
        "/usr/local/sbin/parkmesh-firewall",
        "/etc/parkmesh/frigate",
    ):
        assert not host.file(path).exists
    assert scenario.play().changed > 0
