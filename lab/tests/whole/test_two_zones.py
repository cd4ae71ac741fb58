"""A database in two zones, asked by a host under its name, before and after its primary's zone has failed."""

from collections.abc import Iterator

import pytest

from .conftest import FIRST, RunningLab, eventually, run

NAME, OWNER, PASSWORD = "failing", "owner", "throw-away-word"


@pytest.fixture(scope="module")
def asker(lab: RunningLab) -> Iterator[str]:
    """An instance in the zone that stays, whose group the database admits."""
    ec2, rds = lab.client("ec2"), lab.client("rds")
    vpc, subnets = lab.vpc_in_two_zones(60)
    asks, answers = (
        ec2.create_security_group(GroupName=name, Description="-", VpcId=vpc)["GroupId"] for name in ("asks", "answers")
    )
    permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": asks}]}
    ec2.authorize_security_group_ingress(GroupId=answers, IpPermissions=[permission])
    rds.create_db_subnet_group(DBSubnetGroupName=NAME, DBSubnetGroupDescription="-", SubnetIds=subnets)
    rds.create_db_instance(
        DBInstanceIdentifier=NAME,
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        DBName="notes",
        MasterUsername=OWNER,
        MasterUserPassword=PASSWORD,
        DBSubnetGroupName=NAME,
        VpcSecurityGroupIds=[answers],
        MultiAZ=True,
    )
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnets[1], SecurityGroupIds=[asks])
    instance = str(made["Instances"][0]["InstanceId"])
    eventually(lambda: lab.running(instance), "the host")
    yield instance
    run(FIRST, "zone", "recover", "eu-west-1a")
    rds.delete_db_instance(DBInstanceIdentifier=NAME, SkipFinalSnapshot=True)
    ec2.terminate_instances(InstanceIds=[instance])
    lab.await_gone(instance, f"db-{NAME}")


def test_what_was_committed_is_there_under_the_same_name_when_the_zone_has_failed(lab: RunningLab, asker: str) -> None:
    def database() -> dict[str, str]:
        (row,) = lab.client("rds").describe_db_instances(DBInstanceIdentifier=NAME)["DBInstances"]
        return {"zone": row["AvailabilityZone"], "name": row["Endpoint"]["Address"]}

    def ask(statement: str) -> str:
        url = f"postgresql://{OWNER}:{PASSWORD}@{database()['name']}/notes?connect_timeout=3"
        return lab.shell(asker, f'psql -XqtA "{url}" -c "{statement}" 2>&1 || true').strip()

    eventually(lambda: ask("CREATE TABLE IF NOT EXISTS note AS SELECT 7 AS number") == "", "the database")
    before = database()
    assert before["zone"] == "eu-west-1a"
    assert run(FIRST, "zone", "fail", "eu-west-1a").returncode == 0
    eventually(lambda: ask("SELECT number FROM note") == "7", "the standby")
    assert database() == {"zone": "eu-west-1b", "name": before["name"]}
