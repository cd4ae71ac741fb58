"""``parkmesh instance prepare`` as systemd runs it: metadata on loopback, AWS emulated, files below a root."""

import base64
import json
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from imds_double import ImdsDouble
from moto import mock_aws
from parkmesh.instance import files, prepare
from parkmesh.instance.cli import instance
from parkmesh.instance.imds import Imds, ImdsError
from parkmesh.server.settings import mail_settings

REGION = "eu-west-1"
ADDRESS = "00000000a1"
SLOT = {
    "slot": 1,
    "address": ADDRESS,
    "identity_public": f"{ADDRESS}:0:{'ab' * 64}",
    "identity_secret": f"{ADDRESS}:0:{'ab' * 64}:{'cd' * 64}",
    "ip": "10.242.0.11",
    "network_id": "00000000f1000001",
    "moon_id": "000000deadbeef00",
    "moon": base64.b64encode(b"\x01moon").decode(),
}
USER_DATA: dict[str, Any] = {
    "project": "parkmesh",
    "environment": "lab",
    "region": REGION,
    "aws_endpoint_url": None,
    "database": {
        "host": "db.internal",
        "port": 5432,
        "name": "parkmesh",
        "owner_secret_id": "rds!owner",
        "app_secret_id": "app",
    },
    "session_secret_id": "session",
    "public_url": "http://127.0.0.1:8080",
    "overlay": {"slot_table": "slots", "slot_secret_prefix": "parkmesh-lab-overlay-slot-"},
}
PASSWORD = 'p@ss/w"or\\d$ `%'
SMTP_URL = "smtp+starttls://user:mail%40pass@smtp.example:587"
MAIL: dict[str, Any] = {"secret_id": "smtp", "sender": "Parking <parking@example.org>", "reply_to": None}


LOCAL_CONF = b"""{
    "settings": {
        "allowSecondaryPort": false,
        "portMappingEnabled": false,
        "primaryPort": 20001
    }
}
"""


class Cloud:
    def __init__(self) -> None:
        self.secrets = boto3.client("secretsmanager", region_name=REGION)
        self.dynamodb = boto3.client("dynamodb", region_name=REGION)
        for name, value in (
            ("rds!owner", json.dumps({"username": "owner", "password": PASSWORD, "engine": "postgres"})),
            ("app", json.dumps({"username": "parkmesh_app", "password": "app-pass"})),
            ("session", "session-secret\n"),
            ("smtp", f"{SMTP_URL}\n"),
            ("parkmesh-lab-overlay-slot-1", json.dumps(SLOT)),
        ):
            self.secrets.create_secret(Name=name, SecretString=value)
        self.dynamodb.create_table(
            TableName="slots",
            KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        item = {"slot": {"N": "1"}, "address": {"S": ADDRESS}, "ip": {"S": "10.242.0.11"}}
        self.dynamodb.put_item(TableName="slots", Item=item)

    def set(self, name: str, value: str) -> None:
        self.secrets.put_secret_value(SecretId=name, SecretString=value)

    def holder(self) -> str | None:
        item = self.dynamodb.get_item(TableName="slots", Key={"slot": {"N": "1"}}, ConsistentRead=True)["Item"]
        return item["holder"]["S"] if "holder" in item else None


@pytest.fixture
def imds() -> Iterator[ImdsDouble]:
    paths = {
        "user-data": json.dumps(USER_DATA),
        "meta-data/instance-id": "i-0123456789abcdef0",
        "meta-data/local-ipv4": "10.80.80.7",
        "meta-data/placement/availability-zone": "eu-west-1a",
    }
    with ImdsDouble(paths) as double:
        yield double


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, imds: ImdsDouble) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint)
    # A proxy of the environment must not see metadata.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with mock_aws():
        yield Cloud()


def call(command: str, root: Path) -> tuple[int, str]:
    result = CliRunner().invoke(instance, [command, "--root", str(root)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def run(root: Path) -> tuple[int, str]:
    """Both, as the units run them: the second not without the first."""
    code, output = call("prepare", root)
    if code:
        return code, output
    code, more = call("lease", root)
    return code, more if code else output + more


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_everything_is_written_with_its_mode(cloud: Cloud, tmp_path: Path) -> None:
    code, output = run(tmp_path)
    assert code == 0
    assert output == (
        "i-0123456789abcdef0 in eu-west-1a is prepared\n"
        "i-0123456789abcdef0 holds overlay slot 1 (10.242.0.11, UDP port 20001)\n"
    )
    home = "var/lib/zerotier-one"
    assert tree(tmp_path) == {
        f"{home}/identity.secret": (0o600, SLOT["identity_secret"].encode()),  # type: ignore[attr-defined]
        f"{home}/identity.public": (0o644, SLOT["identity_public"].encode()),  # type: ignore[attr-defined]
        f"{home}/networks.d/00000000f1000001.conf": (0o644, b""),
        f"{home}/moons.d/000000deadbeef00.moon": (0o644, b"\x01moon"),
        f"{home}/local.conf": (0o644, LOCAL_CONF),
        "run/parkmesh/edge-address": (0o640, b"10.242.0.11\n"),
        "run/parkmesh/server.env": (
            0o640,
            b"PARKMESH_DATABASE_URL=postgresql://parkmesh_app:app-pass@db.internal:5432/parkmesh\n"
            b"PARKMESH_SESSION_SECRET=session-secret\n"
            b"PARKMESH_EDGE_ADDRESS_FILE=/run/parkmesh/edge-address\n"
            b"PARKMESH_PUBLIC_URL=http://127.0.0.1:8080\n"
            b"PARKMESH_SERVER_ID=i-0123456789abcdef0\n",
        ),
        "run/parkmesh/migrate.env": (
            0o600,
            b"PARKMESH_DATABASE_URL=postgresql://owner:p%40ss%2Fw%22or%5Cd%24%20%60%25@db.internal:5432/parkmesh\n"
            b"PARKMESH_APP_PASSWORD=app-pass\n",
        ),
    }
    assert cloud.holder() == "i-0123456789abcdef0"


def test_the_server_may_look_into_a_folder_that_systemd_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run/parkmesh").mkdir(parents=True)  # RuntimeDirectory= of a unit that runs as root
    owners: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: owners.update({str(path): (uid, gid)}))
    assert prepare.make_run(tmp_path, prepare.Owner(0, 995)) == tmp_path / "run/parkmesh"
    assert owners == {str(tmp_path / "run/parkmesh"): (0, 995)}


def test_a_second_run_gives_the_same(cloud: Cloud, tmp_path: Path) -> None:
    assert run(tmp_path)[0] == 0
    first = tree(tmp_path)
    assert run(tmp_path)[0] == 0
    assert tree(tmp_path) == first


def settings_of_mail(root: Path) -> dict[str, str]:
    """The variables of mail that the server is started with, as systemd and the server's own code read them."""
    lines = (root / "run/parkmesh/server.env").read_text().splitlines()
    variables = {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in lines)}
    return {name: value for name, value in variables.items() if "SMTP" in name or "MAIL" in name}


@pytest.mark.parametrize("reply_to", [None, "office@example.org"])
def test_a_server_that_sends_mails_is_told_how(
    cloud: Cloud, imds: ImdsDouble, tmp_path: Path, reply_to: str | None
) -> None:
    imds.paths["user-data"] = json.dumps({**USER_DATA, "mail": {**MAIL, "reply_to": reply_to}})
    assert run(tmp_path)[0] == 0
    variables = settings_of_mail(tmp_path)
    assert variables == {
        "PARKMESH_SMTP_URL": SMTP_URL,
        "PARKMESH_MAIL_FROM": "Parking <parking@example.org>",
        **({"PARKMESH_MAIL_REPLY_TO": reply_to} if reply_to else {}),
    }
    settings = mail_settings(variables)
    assert settings is not None
    assert (settings.password, settings.sender, settings.reply_to) == ("mail@pass", MAIL["sender"], reply_to)


@pytest.mark.parametrize("more", [{}, {"mail": None}])
def test_a_server_that_sends_no_mails_gets_no_settings_of_them(
    cloud: Cloud, imds: ImdsDouble, tmp_path: Path, more: dict[str, Any]
) -> None:
    imds.paths["user-data"] = json.dumps({**USER_DATA, **more})
    cloud.secrets.delete_secret(SecretId="smtp", ForceDeleteWithoutRecovery=True)
    assert run(tmp_path)[0] == 0
    assert settings_of_mail(tmp_path) == {}


def test_a_key_of_a_later_role_is_passed_over(cloud: Cloud, imds: ImdsDouble, tmp_path: Path) -> None:
    imds.paths["user-data"] = json.dumps({**USER_DATA, "later": {"a": 1}, "mail": {**MAIL, "later": True}})
    assert run(tmp_path)[0] == 0
    assert settings_of_mail(tmp_path)["PARKMESH_SMTP_URL"] == SMTP_URL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "secret smtp: ResourceNotFoundException"),
        (" \n", "secret smtp is empty"),
        (f"{SMTP_URL}\nanother line", "PARKMESH_SMTP_URL holds a control character"),
    ],
)
def test_a_bad_address_of_the_mail_server_is_named_and_not_shown(
    cloud: Cloud, imds: ImdsDouble, tmp_path: Path, text: str | None, message: str
) -> None:
    imds.paths["user-data"] = json.dumps({**USER_DATA, "mail": MAIL})
    if text is None:
        cloud.secrets.delete_secret(SecretId="smtp", ForceDeleteWithoutRecovery=True)
    else:
        cloud.set("smtp", text)
    code, output = run(tmp_path)
    assert (code, message in output, output.count("\n")) == (1, True, 1)
    assert "mail%40pass" not in output
    assert tree(tmp_path) == {}


def test_the_slot_s_port_is_added_to_the_settings_of_the_image(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "var/lib/zerotier-one/local.conf"
    path.parent.mkdir(parents=True)
    settings = {"primaryPort": 9993, "portMappingEnabled": True, "interfacePrefixBlacklist": ["docker"]}
    path.write_text(json.dumps({"physical": {"10.0.0.0/8": {"blacklist": True}}, "settings": settings}))
    assert run(tmp_path)[0] == 0
    assert json.loads(path.read_text()) == {
        "physical": {"10.0.0.0/8": {"blacklist": True}},
        "settings": {
            "primaryPort": 20001,
            "allowSecondaryPort": False,
            "portMappingEnabled": False,
            "interfacePrefixBlacklist": ["docker"],
        },
    }


def test_without_a_free_slot_people_are_served(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = boto3.client("ec2", region_name=REGION).run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    key, values = {"slot": {"N": "1"}}, {":other": {"S": other["Instances"][0]["InstanceId"]}}
    cloud.dynamodb.update_item(
        TableName="slots", Key=key, UpdateExpression="SET holder = :other", ExpressionAttributeValues=values
    )
    monkeypatch.setattr("parkmesh.instance.slots.ATTEMPTS", 1)
    code, output = run(tmp_path)
    assert code == 1
    assert output.startswith("parkmesh instance: all 1 overlay slots are held by instances that aren't terminated")
    assert set(tree(tmp_path)) == {"run/parkmesh/server.env", "run/parkmesh/migrate.env"}
    boto3.client("ec2", region_name=REGION).terminate_instances(InstanceIds=[values[":other"]["S"]])
    assert run(tmp_path)[0] == 0
    assert (tmp_path / "run/parkmesh/edge-address").read_text() == "10.242.0.11\n"


def test_without_a_moon(cloud: Cloud, tmp_path: Path) -> None:
    cloud.set("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "moon": None, "moon_id": None}))
    assert run(tmp_path)[0] == 0
    assert not (tmp_path / "var/lib/zerotier-one/moons.d").exists()


@pytest.mark.parametrize(
    ("secret", "value", "message"),
    [
        ("app", "not json", "secret app: JSON is malformed"),
        ("app", '{"username": "u"}', "secret app: Object missing required field `password`"),
        ("session", " \n", "secret session is empty"),
        ("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "slot": 2}), "is slot 2's, not slot 1's"),
        ("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "address": "00000000a2"}), "isn't that of address"),
        ("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "ip": "10.242.0.12"}), "disagree on slot 1's address"),
        ("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "moon": None}), "moon and moon_id go together"),
        ("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "moon": "!"}), "moon isn't base64"),
        ("parkmesh-lab-overlay-slot-1", json.dumps({**SLOT, "identity_secret": "secret-key"}), "identity_secret"),
        ("session", "two\nlines", "PARKMESH_SESSION_SECRET holds a control character"),
    ],
)
def test_a_bad_secret_is_named_and_not_shown(
    cloud: Cloud, tmp_path: Path, secret: str, value: str, message: str
) -> None:
    cloud.set(secret, value)
    code, output = run(tmp_path)
    assert code == 1
    assert message in output
    assert output.startswith("parkmesh instance: ")
    assert output.count("\n") == 1
    for shown in (PASSWORD, "app-pass", "session-secret", "cd" * 64, "secret-key", "two"):
        assert shown not in output


def test_a_secret_that_is_missing_costs_no_slot(cloud: Cloud, tmp_path: Path) -> None:
    cloud.secrets.delete_secret(SecretId="session", ForceDeleteWithoutRecovery=True)
    assert run(tmp_path) == (1, "parkmesh instance: secret session: ResourceNotFoundException\n")
    assert cloud.holder() is None
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("user_data", "message"),
    [
        ("", "user data: "),
        ("#!/bin/sh", "user data: JSON is malformed"),
        ("{}", "user data: Object missing required field `project`"),
        (json.dumps({**USER_DATA, "overlay": {}}), "`slot_table` - at `$.overlay`"),
        (json.dumps({**USER_DATA, "mail": {"secret_id": "smtp"}}), "`sender` - at `$.mail`"),
        (json.dumps({**USER_DATA, "mail": {**MAIL, "reply_to": ""}}), "length >= 1 - at `$.mail.reply_to`"),
    ],
)
def test_bad_user_data(cloud: Cloud, imds: ImdsDouble, tmp_path: Path, user_data: str, message: str) -> None:
    imds.paths["user-data"] = user_data
    code, output = run(tmp_path)
    assert code == 1
    assert message in output
    assert output.count("\n") == 1


def test_no_user_data(cloud: Cloud, imds: ImdsDouble, tmp_path: Path) -> None:
    del imds.paths["user-data"]
    assert run(tmp_path) == (1, f"parkmesh instance: {imds.endpoint}/latest/user-data is not there\n")


def test_metadata_needs_a_session_and_one_that_ended_is_renewed(imds: ImdsDouble) -> None:
    client = Imds(imds.endpoint)
    assert client.instance_id() == "i-0123456789abcdef0"
    (first,) = imds.tokens
    imds.tokens.clear()
    assert client.instance_id() == "i-0123456789abcdef0"
    assert len(imds.tokens - {first}) == 1


def test_metadata_is_waited_for_and_then_given_up() -> None:
    with ImdsDouble({}) as double:
        endpoint = double.endpoint
    pauses: list[float] = []
    with pytest.raises(ImdsError, match=f"no metadata service at {endpoint}"):
        Imds(endpoint, sleep=pauses.append).instance_id()
    assert len(pauses) == 29


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain-1_2.3/x:@%+=,", b"K=plain-1_2.3/x:@%+=,\n"),
        ("", b"K=\n"),
        ("two words", b'K="two words"\n'),
        ('a"b\\c$d`e', b'K="a\\"b\\\\c\\$d\\`e"\n'),
        ("# no comment", b'K="# no comment"\n'),
    ],
)
def test_environment_files(value: str, line: bytes) -> None:
    assert files.environment({"K": value}) == line


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write(path, b"old", mode=0o600)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        files.write(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
