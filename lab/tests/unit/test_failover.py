"""RDS in two zones: primary and standby change places on request and with a failed zone, and names follow."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws
from lab.aws import zones
from lab.driver.instances import hosts_file

A, B, C = "eu-west-1a", "eu-west-1b", "eu-west-1c"


@pytest.fixture(scope="module")
def client() -> Iterator[Callable[[str], Any]]:
    running = aws.serve([("127.0.0.1", 0)])
    host, port = running.addresses[0]
    url, keys = f"http://{host}:{port}", {"aws_access_key_id": "lab", "aws_secret_access_key": "lab"}
    yield lambda service: boto3.client(service, endpoint_url=url, region_name="eu-west-1", **keys)
    running.shutdown()


@pytest.fixture(scope="module")
def group(client: Callable[[str], Any]) -> str:
    """A subnet group in two zones, without the first of the region."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for number, zone in enumerate((B, C))
    ]
    client("rds").create_db_subnet_group(DBSubnetGroupName="failover", DBSubnetGroupDescription="-", SubnetIds=subnets)
    return "failover"


@pytest.fixture
def database(
    client: Callable[[str], Any], group: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], tuple[str, str | None]]]:
    """Reads the zones of a new database's primary and standby; made with the parameter as MultiAZ."""
    rds = client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="one",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        MasterUserPassword="throw-away-word",
        DBSubnetGroupName=group,
        MultiAZ=request.param,
    )

    def where() -> tuple[str, str | None]:
        (row,) = rds.describe_db_instances()["DBInstances"]
        return row["AvailabilityZone"], row.get("SecondaryAvailabilityZone")

    yield where
    rds.delete_db_instance(DBInstanceIdentifier="one", SkipFinalSnapshot=True)
    monkeypatch.setattr(aws.hooks, "failed_zones", frozenset())


def fail(monkeypatch: pytest.MonkeyPatch, *failed: str) -> None:
    monkeypatch.setattr(aws.hooks, "failed_zones", frozenset(failed))
    while zones.settle():
        pass


@pytest.mark.parametrize("database", [True], indirect=True)
def test_a_forced_failover_makes_the_standby_the_primary_and_a_reboot_does_not(
    client: Callable[[str], Any], database: Callable[[], tuple[str, str | None]]
) -> None:
    assert database() == (B, C)
    answer = client("rds").reboot_db_instance(DBInstanceIdentifier="one", ForceFailover=True)
    assert answer["DBInstance"]["AvailabilityZone"] == C
    assert database() == (C, B)
    client("rds").reboot_db_instance(DBInstanceIdentifier="one")
    assert database() == (C, B)


@pytest.mark.parametrize("database", [True], indirect=True)
def test_a_failed_zone_leaves_the_primary_to_the_other_which_keeps_it(
    client: Callable[[str], Any], database: Callable[[], tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, A, C)
    assert database() == (B, C), "only the standby was lost"
    with pytest.raises(ClientError, match="InvalidDBInstanceState"):
        client("rds").reboot_db_instance(DBInstanceIdentifier="one", ForceFailover=True)
    fail(monkeypatch, B)
    assert database() == (C, B)
    fail(monkeypatch)
    assert database() == (C, B), "nothing goes back by itself"


@pytest.mark.parametrize("database", [False], indirect=True)
def test_a_database_in_one_zone_can_not_fail_over(
    client: Callable[[str], Any], database: Callable[[], tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        client("rds").reboot_db_instance(DBInstanceIdentifier="one", ForceFailover=True)
    fail(monkeypatch, B)
    assert database() == (B, None)


def test_the_names_of_databases_lead_to_where_they_are_now_and_others_stay() -> None:
    before = "127.0.0.1\tlocalhost\n# own\n10.80.159.254\tdb.example db\n10.80.80.4 ip-10-80-80-4\n"
    after = hosts_file(before, {"db.example": "10.80.175.254", "other.example": "10.80.175.253"})
    assert after == before.replace("10.80.159.254\tdb.example db", "10.80.175.254\tdb.example db")
    assert hosts_file(after, {"db.example": "10.80.175.254"}) == after
