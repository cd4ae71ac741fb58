"""``parkmesh instance maintain``: what only the database's owner may do, and how it is told. AWS is moto's."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from imds_double import ImdsDouble
from moto import mock_aws
from parkmesh.instance import maintenance
from parkmesh.instance.cli import instance
from parkmesh.instance.imds import Imds
from parkmesh.instance.userdata import parse_user_data

REGION, HOST, ME, IMAGE = "eu-west-1", "db.internal", "i-0123456789abcdef0", "ami-0000000b"
MIGRATION, RETENTION = "/parkmesh/lab/migration", "/parkmesh/lab/retention"
PASSWORD = "owner's p@ss"
USER_DATA: dict[str, Any] = {
    "project": "parkmesh",
    "environment": "lab",
    "region": REGION,
    "database": {"host": HOST, "name": "parkmesh", "owner_secret_id": "owner", "app_secret_id": "app"},
    "session_secret_id": "session",
    "public_url": "http://127.0.0.1:8080",
    "overlay": {"slot_table": "slots", "slot_secret_prefix": "parkmesh-lab-overlay-slot-"},
    "maintenance": {"migration_parameter": MIGRATION, "retention_parameter": RETENTION},
}


@pytest.fixture
def imds() -> Iterator[ImdsDouble]:
    paths = {
        "user-data": json.dumps(USER_DATA),
        "meta-data/instance-id": ME,
        "meta-data/ami-id": IMAGE,
        "meta-data/placement/availability-zone": "eu-west-1a",
        "meta-data/tags/instance/Task": "migrate",
    }
    with ImdsDouble(paths) as double:
        yield double


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch, imds: ImdsDouble) -> Iterator[Any]:
    """Systems Manager's client; the secrets of owner and servers are there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint)
    with mock_aws():
        secrets = boto3.client("secretsmanager", region_name=REGION)
        secrets.create_secret(Name="owner", SecretString=json.dumps({"username": "o", "password": PASSWORD}))
        secrets.create_secret(Name="app", SecretString=json.dumps({"username": "parkmesh_app", "password": "app"}))
        yield boto3.client("ssm", region_name=REGION)


def written(cloud: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cloud.get_parameter(Name=name)["Parameter"]["Value"])
    return found


class Commands:
    """Stands for ``parkmesh``: notes what it was asked, and answers what a test says."""

    def __init__(self, code: int = 0, output: str = "", errors: str = "") -> None:
        self.answer, self.asked = (code, output, errors), []  # type: ignore[var-annotated]

    def __call__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> tuple[int, str, str]:
        self.asked.append((arguments, dict(environment)))
        return self.answer


def run(imds: ImdsDouble, command: Commands) -> maintenance.Result:
    data = parse_user_data(imds.paths["user-data"])
    assert data.maintenance is not None
    session = boto3.session.Session()
    pauses: list[float] = []
    return maintenance.run(session, Imds(), data, data.maintenance, command=command, sleep=pauses.append)


def test_a_migration_runs_as_the_owner_and_is_told(imds: ImdsDouble, cloud: Any) -> None:
    cloud.put_parameter(Name=MIGRATION, Value="{}", Type="String")
    commands = Commands(output='{"changed": true, "after": "0033"}\n')
    assert run(imds, commands).state == "succeeded"
    assert commands.asked == [
        (
            ("migrate",),
            {
                "PARKMESH_DATABASE_URL": "postgresql://o:owner%27s%20p%40ss@db.internal:5432/parkmesh",
                "PARKMESH_APP_PASSWORD": "app",
            },
        )
    ]
    result = written(cloud, MIGRATION)
    assert result["message"] == '{"changed": true, "after": "0033"}'
    assert (result["instance"], result["image"], result["database"]) == (ME, IMAGE, HOST)
    assert result["images"] == [IMAGE]


def test_a_failure_is_its_last_line_without_a_password(imds: ImdsDouble, cloud: Any) -> None:
    url = "postgresql://o:owner%27s%20p%40ss@db.internal:5432/parkmesh"
    run(imds, Commands(1, errors=f"a warning\nError: 0033: column missing at {url}\n"))
    result = written(cloud, MIGRATION)
    assert (result["state"], result["message"], result["images"]) == ("failed", "0033: column missing at …", [])


def test_images_that_migrated_another_database_do_not_count(imds: ImdsDouble, cloud: Any) -> None:
    run(imds, Commands(output="done"))
    imds.paths["meta-data/ami-id"] = "ami-0000000c"
    run(imds, Commands(output="done"))
    assert written(cloud, MIGRATION)["images"] == [IMAGE, "ami-0000000c"]
    run(imds, Commands(1, errors="no"))
    assert written(cloud, MIGRATION)["images"] == [IMAGE, "ami-0000000c"]
    imds.paths["user-data"] = json.dumps({**USER_DATA, "database": {**USER_DATA["database"], "host": "copy.internal"}})
    run(imds, Commands(output="done"))
    assert written(cloud, MIGRATION)["images"] == ["ami-0000000c"]


def test_the_retention_has_a_result_of_its_own(imds: ImdsDouble, cloud: Any) -> None:
    imds.paths["meta-data/tags/instance/Task"] = "retention"
    commands = Commands(output='{"rows": {}}')
    run(imds, commands)
    assert commands.asked[0][0] == ("retention", "run")
    assert written(cloud, RETENTION)["state"] == "succeeded"
    with pytest.raises(cloud.exceptions.ParameterNotFound):
        written(cloud, MIGRATION)


def test_what_it_may_not_read_is_told(imds: ImdsDouble, cloud: Any) -> None:
    boto3.client("secretsmanager", region_name=REGION).delete_secret(SecretId="owner", ForceDeleteWithoutRecovery=True)
    commands = Commands()
    run(imds, commands)
    assert commands.asked == []
    assert written(cloud, MIGRATION)["message"] == "secret owner: ResourceNotFoundException"


def test_a_server_does_nothing_of_this_and_an_instance_for_it_is_no_server(
    imds: ImdsDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("no command may run"))
    done = CliRunner().invoke(instance, ["prepare", "--root", str(tmp_path)])
    assert (done.exit_code, list(tmp_path.iterdir())) == (0, [])
    imds.paths["user-data"] = json.dumps({key: value for key, value in USER_DATA.items() if key != "maintenance"})
    done = CliRunner().invoke(instance, ["maintain"])
    assert (done.exit_code, done.output) == (0, "This instance is a server: it has no maintenance to do.\n")
