"""The gateway's broker as role parking_gateway configures it, a real Mosquitto: who gets in, and who may do what."""

from __future__ import annotations

import getpass
import importlib.util
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/parking_gateway"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
AGENT, TESTER = "parkmesh", "parkmesh-test"
UPLINK, LOOP = "application/1/device/0101010101010101/event/up", "loops/ramp"
ACCOUNTS: list[dict[str, Any]] = [
    {
        "name": "lorawan",
        "topics": ["application/+/device/+/event/up"],
        "reads": ["application/+/device/+/command/down"],
    },
    {"name": "ramp", "topics": [LOOP], "password": "a-password-of-the-ramp"},
]

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="there is no mosquitto broker on this machine")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        return int(sock.getsockname()[1])


def rendered(template: str, **inputs: Any) -> str:
    """A template of the role, with its defaults and variables."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 -- no page
    values = {**yaml.safe_load((ROLE / "defaults/main.yml").read_text()), "ansible_managed": "by hand", **inputs}
    wide = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    for name in ("agent", "tester", "certificate"):
        values.setdefault(f"__parking_gateway_broker_{name}", wide[f"__parking_gateway_broker_{name}"])
    loopback = environment.compile_expression(wide["__parking_gateway_broker_loopback"].strip()[2:-2])(**values)
    values["__parking_gateway_broker_loopback"] = loopback
    return environment.from_string((ROLE / "templates" / template).read_text()).render(values)


class Broker:
    """A broker in a folder, with the files that the role writes and the program that keeps its accounts."""

    def __init__(self, folder: Path, **inputs: Any) -> None:
        self.folder, self.plain, self.secure = folder, free_port(), free_port()
        self.inputs = {
            "parking_gateway_mqtt_accounts": ACCOUNTS,
            "parking_gateway_mqtt_tls_port": self.secure,
            **inputs,
        }
        self.program = self._program()
        self.certificate()
        self.accounts()
        self._write()
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", folder / "mosquitto.conf"], stderr=(folder / "log").open("w"), stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while not reaches("127.0.0.1", self.plain):
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)

    def _program(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("broker_accounts", ROLE / "files/parkmesh-broker-accounts.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made = {"MADE": self.folder / "mqtt", "HASHES": self.folder / "passwords", "OWNER": getpass.getuser()}
        for name, value in made.items():
            setattr(module, name, value)
        return module

    def certificate(self) -> None:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=gateway"
        command += " -addext subjectAltName=IP:127.0.0.2 -addext basicConstraints=critical,CA:FALSE"
        key, own = self.folder / "own.key", self.folder / "own.crt"
        subprocess.run([*command.split(), "-keyout", key, "-out", own], check=True, capture_output=True)
        (self.folder / "own.pem").write_text(own.read_text() + key.read_text())

    def accounts(self, accounts: Sequence[Mapping[str, Any]] = ACCOUNTS, dry: bool = False) -> dict[str, Any]:
        given = [{"name": AGENT, "reader": getpass.getuser()}, {"name": TESTER}, *accounts]
        found: dict[str, Any] = self.program.keep(given, dry)
        return found

    def _write(self) -> None:
        opened = {"__parking_gateway_broker_open": self.inputs.get("parking_gateway_mqtt_anonymous", False)}
        text = rendered("mosquitto.conf.j2", **opened, **self.inputs).replace("listener 1883", f"listener {self.plain}")
        for path, here in (
            ("/etc/mosquitto/parkmesh.passwords", "passwords"),
            ("/etc/mosquitto/parkmesh.acl", "acl"),
            ("/etc/mosquitto/certs/parkmesh.pem", "own.pem"),
        ):
            text = text.replace(path, str(self.folder / here))
        (self.folder / "acl").write_text(rendered("mosquitto.acl.j2", **opened, **self.inputs))
        (self.folder / "acl").chmod(0o600)
        (self.folder / "mosquitto.conf").write_text(f"{text}\nuser {getpass.getuser()}\n")

    def password(self, name: str) -> str:
        return (self.folder / f"mqtt/{name}.password").read_text().strip()

    def reload(self) -> None:
        self.process.send_signal(1)
        time.sleep(0.3)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path, parking_gateway_mqtt_listen=["127.0.0.2"])
    yield running
    running.end()


def reaches(address: str, port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((address, port)) == 0


class Client:
    """A client that is connected, or was refused: ``let_in``. ``heard`` are messages by topic. With ``kept_as`` the
    broker keeps its subscription and its messages."""

    def __init__(
        self,
        broker: Broker,
        user: str | None = None,
        password: str | None = None,
        *,
        authority: Path | None = None,
        reads: str = "#",
        kept_as: str | None = None,
    ) -> None:
        self.heard: list[str] = []
        self.let_in: bool | None = None
        self._acknowledged: set[int] = set()
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id=kept_as, clean_session=kept_as is None)
        if user is not None:
            self.paho.username_pw_set(user, password)
        if authority is not None:
            self.paho.tls_set(str(authority), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.paho.on_connect = lambda client, data, flags, code, more: setattr(self, "let_in", not code.is_failure)
        self.paho.on_message = lambda client, data, message: self.heard.append(message.topic)
        self.paho.on_publish = lambda client, data, number, code, more: self._acknowledged.add(number)
        self.paho.connect("127.0.0.2" if authority else "127.0.0.1", broker.secure if authority else broker.plain)
        self.wait(lambda: self.let_in is not None)
        if self.let_in:
            self.paho.subscribe(reads, 1)
            self.wait(lambda: False, 0.2)

    def wait(self, done: Any, within_s: float = 5.0) -> None:
        until = time.monotonic() + within_s
        while not done() and time.monotonic() < until:
            self.paho.loop(0.05)

    def publish(self, topic: str) -> None:
        sent = self.paho.publish(topic, b"x", qos=1)
        self.wait(lambda: sent.mid in self._acknowledged)


def agent(broker: Broker, kept_as: str | None = None) -> Client:
    return Client(broker, AGENT, broker.password(AGENT), kept_as=kept_as)


def test_nobody_gets_in_without_the_password_of_an_account(broker: Broker) -> None:
    assert Client(broker).let_in is False
    assert Client(broker, "ramp", "a-password-of-the-ramq").let_in is False
    assert Client(broker, "somebody", "a-password-of-the-ramp").let_in is False
    assert Client(broker, "ramp", "a-password-of-the-ramp").let_in is True
    assert Client(broker, "lorawan", broker.password("lorawan")).let_in is True


def test_a_device_publishes_to_its_topics_only_and_reads_what_it_may(broker: Broker) -> None:
    reader, ramp = agent(broker), Client(broker, "ramp", "a-password-of-the-ramp")
    for topic in (UPLINK, LOOP, f"{LOOP}/x"):
        ramp.publish(topic)
    reader.wait(lambda: LOOP in reader.heard)
    reader.wait(lambda: False, 0.3)
    assert reader.heard == [LOOP]
    assert ramp.heard == []
    lorawan = Client(broker, "lorawan", broker.password("lorawan"))
    tester = Client(broker, TESTER, broker.password(TESTER))
    command = UPLINK.replace("event/up", "command/down")
    for topic in (command, LOOP):
        tester.publish(topic)
    lorawan.wait(lambda: lorawan.heard)
    lorawan.wait(lambda: False, 0.3)
    assert lorawan.heard == [command]


def test_the_agent_publishes_nothing(broker: Broker) -> None:
    reader = agent(broker)
    reader.publish(UPLINK)
    reader.wait(lambda: False, 0.3)
    assert reader.heard == []


def test_the_lan_s_listener_speaks_tls_by_the_gateway_s_certificate(broker: Broker, tmp_path: Path) -> None:
    password = "a-password-of-the-ramp"
    assert Client(broker, "ramp", password, authority=tmp_path / "own.crt").let_in is True
    assert not reaches("127.0.0.2", broker.plain)
    other = tmp_path / "other"
    other.mkdir()
    broker.folder = other
    broker.certificate()
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(broker, "ramp", password, authority=other / "own.crt")


def test_a_device_s_other_password_is_taken_without_a_restart_and_messages_wait_for_the_agent(broker: Broker) -> None:
    first = agent(broker, kept_as="parkmesh-a")
    first.paho.disconnect()
    first.wait(lambda: not first.paho.is_connected())
    others = [ACCOUNTS[0], {**ACCOUNTS[1], "password": "another-password-of-it"}]
    assert broker.accounts(others)["hashed"] == ["ramp"]
    broker.reload()
    assert Client(broker, "ramp", "a-password-of-the-ramp").let_in is False
    Client(broker, "ramp", "another-password-of-it").publish(LOOP)
    again = agent(broker, kept_as="parkmesh-a")
    again.wait(lambda: again.heard)
    assert again.heard == [LOOP]


def test_a_renewed_certificate_is_shown_without_a_restart(broker: Broker) -> None:
    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.2", broker.secure))

    first = shown()
    broker.certificate()
    assert shown() == first
    broker.reload()
    assert shown().strip() == (broker.folder / "own.crt").read_text().strip() != first.strip()


def test_what_waits_for_the_agent_survives_another_password_of_the_agent(broker: Broker) -> None:
    first = agent(broker, kept_as="parkmesh-a")
    first.paho.disconnect()
    first.wait(lambda: not first.paho.is_connected())
    Client(broker, "ramp", "a-password-of-the-ramp").publish(LOOP)
    old = broker.password(AGENT)
    (broker.folder / f"mqtt/{AGENT}.password").unlink()
    assert (told := broker.accounts())["made"] == told["hashed"] == [AGENT]
    broker.reload()
    assert Client(broker, AGENT, old).let_in is False
    again = agent(broker, kept_as="parkmesh-a")
    again.wait(lambda: again.heard)
    assert again.heard == [LOOP]


def test_accounts_are_kept_as_they_are_and_a_dry_run_writes_nothing(broker: Broker) -> None:
    hashes, made = broker.folder / "passwords", broker.folder / "mqtt"
    before = hashes.read_text()
    assert broker.accounts() == {"changed": False, "made": [], "hashed": [], "removed": []}
    fewer = [{"name": "loop", "topics": ["x"]}]
    told = broker.accounts(fewer, dry=True)
    assert (told["made"], told["removed"]) == (["loop"], ["lorawan", "ramp"])
    assert hashes.read_text() == before
    broker.accounts(fewer)
    assert sorted(path.name for path in made.iterdir()) == [
        "loop.password",
        "parkmesh-test.password",
        "parkmesh.password",
    ]
    assert {path.stat().st_mode & 0o777 for path in (hashes, made / "loop.password")} == {0o600}
    assert (made / "parkmesh.password").stat().st_mode & 0o777 == 0o640
    assert "a-password-of-the-ramp" not in before
    assert json.dumps(told).count("password") == 0


def test_a_damaged_file_of_hashes_is_made_anew(broker: Broker) -> None:
    (broker.folder / "passwords").write_text("ramp:$7$101$x$y\nlorawan:\n\0\n")
    assert set(broker.accounts()["hashed"]) == {AGENT, TESTER, "lorawan", "ramp"}
    broker.reload()
    assert Client(broker, "ramp", "a-password-of-the-ramp").let_in is True


def test_an_anonymous_broker_is_one_that_was_asked_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path, parking_gateway_mqtt_anonymous=True)
    try:
        reader, anybody = agent(broker), Client(broker)
        assert anybody.let_in is True
        anybody.publish(UPLINK)
        reader.wait(lambda: reader.heard)
        assert reader.heard == [UPLINK]
        assert Client(broker, "ramp", "a-password-of-the-ramp").let_in is True
        assert Client(broker, "ramp", "wrong-password").let_in is False
    finally:
        broker.end()


@pytest.mark.parametrize(
    ("asked", "tls", "plain", "secure"),
    [
        ([], True, {"127.0.0.1"}, set()),
        (["127.0.0.2"], True, {"127.0.0.1"}, {"127.0.0.2"}),
        (["0.0.0.0"], True, {"127.0.0.1"}, {"127.0.0.1", "127.0.0.2", "127.0.0.3"}),
        (["127.0.0.2"], False, {"127.0.0.1", "127.0.0.2"}, set()),
        (["127.0.0.1", "127.0.0.2"], False, {"127.0.0.1", "127.0.0.2"}, set()),
        (["0.0.0.0"], False, {"127.0.0.1", "127.0.0.2", "127.0.0.3"}, set()),
    ],
)
def test_it_listens_where_it_is_asked_to_and_nowhere_else(
    tmp_path: Path, asked: list[str], tls: bool, plain: set[str], secure: set[str]
) -> None:
    broker = Broker(tmp_path, parking_gateway_mqtt_listen=asked, parking_gateway_mqtt_tls=tls)
    try:
        addresses = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert {address for address in addresses if reaches(address, broker.plain)} == plain
        assert {address for address in addresses if reaches(address, broker.secure)} == secure
    finally:
        broker.end()


RAMP = {"name": "ramp", "topics": [LOOP]}


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ({"mqtt_listen": "192.0.2.20"}, "lists, also those of one entry"),
        ({"mqtt_accounts": [RAMP | {"topics": LOOP}]}, "lists, also those of one entry"),
        ({"mqtt_accounts": [RAMP | {"reads": LOOP}]}, "lists, also those of one entry"),
        ({"mqtt_accounts": [RAMP | {"password": 7700770077}]}, "only digits in quotation marks"),
        ({"mqtt_accounts": [RAMP | {"name": 7700}]}, "only digits in quotation marks"),
        ({"mqtt_accounts": [RAMP | {"topics": [7700]}]}, "only digits in quotation marks"),
        ({"mqtt_listen": ["gateway.example"]}, "must be an address of the host"),
        ({"mqtt_accounts": [RAMP, RAMP]}, "each comes once"),
        ({"mqtt_accounts": [RAMP | {"name": AGENT}]}, "are the gateway's own"),
        ({"mqtt_accounts": [RAMP | {"name": "a b"}]}, "(a b) have letters, digits"),
        ({"mqtt_accounts": [RAMP | {"topics": ["loops/#/x"]}]}, "(loops/#/x) have no space"),
        ({"mqtt_accounts": [RAMP | {"password": "77-7700"}]}, "A password has 8 to 128 ASCII characters"),
        ({"counters": [{"name": "garage"}]}, "no account for what publishes"),
    ],
)
def test_wrong_inputs_are_refused_with_what_is_allowed_and_without_a_password(
    ansible_playbook: str, tmp_path: Path, inputs: dict[str, Any], word: str
) -> None:
    done = checked(ansible_playbook, tmp_path, inputs)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert word in said
    assert "77007700" not in said
    assert "77-7700" not in said


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"mqtt_listen": ["192.0.2.20"], "mqtt_accounts": [*ACCOUNTS, RAMP | {"name": "7700", "password": "77007700"}]},
        {"counters": [{"name": "garage"}], "mqtt_accounts": [RAMP | {"password": None}]},
        {"counters": [{"name": "garage"}], "mqtt_anonymous": True},
    ],
)
def test_right_inputs_are_taken(ansible_playbook: str, tmp_path: Path, inputs: dict[str, Any]) -> None:
    done = checked(ansible_playbook, tmp_path, inputs)
    assert done.returncode == 0, done.stdout + done.stderr


def checked(program: str, folder: Path, inputs: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Have the role check the inputs of its broker, and nothing else."""
    role = {
        "name": "Check",
        "ansible.builtin.include_role": {"name": str(ROLE), "tasks_from": "broker-inputs.yml"},
        "vars": {f"parking_gateway_{name}": value for name, value in inputs.items()},
    }
    file = folder / "play.yml"
    file.write_text(yaml.safe_dump([{"name": "P", "hosts": "localhost", "gather_facts": False, "tasks": [role]}]))
    return subprocess.run([program, "-c", "local", file], cwd=ROOT, capture_output=True, text=True, check=False)
