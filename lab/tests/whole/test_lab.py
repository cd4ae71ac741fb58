"""The lab with real containers: instances live and die as their records say, and `down` takes its own things only.

One lab is the folder's; a second one is started beside it, and removed.
"""

import base64
import json
import os

import boto3
import pytest
from botocore.exceptions import ClientError

from lab.driver import haproxy
from lab.machine import names
from lab.machine.podman import PodmanError

from .conftest import FIRST, ROOT, RunningLab, eventually, run

SECOND = "labtwo"


def both(lab: RunningLab) -> list[str]:
    members = lab.members()
    return members if len(members) == 2 else []


def places(lab: RunningLab, instances: list[str]) -> list[tuple[str, str]]:
    """Zone and subnet of each."""
    pages = [lab.client("ec2").describe_instances(InstanceIds=[each])["Reservations"] for each in instances]
    return [(each["Placement"]["AvailabilityZone"], each["SubnetId"]) for (row,) in pages for each in row["Instances"]]


@pytest.fixture(scope="module")
def group(lab: RunningLab) -> dict[str, str]:
    """A builder baked into an image, and a group of one instance in two zones that starts from it."""
    ec2, iam = lab.client("ec2"), lab.client("iam")
    iam.create_role(RoleName="app", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="app")
    iam.add_role_to_instance_profile(InstanceProfileName="app", RoleName="app")
    _, zones = lab.vpc_in_two_zones(0)
    base = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    builder = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1, SubnetId=zones[0])["Instances"][0]["InstanceId"]
    eventually(lambda: lab.running(builder), "the builder's container")
    lab.shell(builder, "echo baked > /etc/baked; : > /etc/machine-id")
    image = ec2.create_image(InstanceId=builder, Name="app-1")["ImageId"]
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available"
    ec2.terminate_instances(InstanceIds=[builder])
    ec2.create_launch_template(
        LaunchTemplateName="app",
        LaunchTemplateData={
            "ImageId": image,
            "InstanceType": "t3.small",
            "UserData": base64.b64encode(b'{"project":"parkmesh"}').decode(),
            "IamInstanceProfile": {"Name": "app"},
        },
    )
    lab.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="app",
        MinSize=0,
        MaxSize=4,
        DesiredCapacity=1,
        LaunchTemplate={"LaunchTemplateName": "app", "Version": "$Latest"},
        VPCZoneIdentifier=",".join(zones),
        Tags=[{"Key": "Name", "Value": "parkmesh-app", "PropagateAtLaunch": True}],
    )
    return {"builder": builder, "image": image}


def test_hosts_boot_and_a_second_up_changes_nothing(lab: RunningLab) -> None:
    before = {row.id for row in lab.podman.containers(f"parkmesh.lab={lab.facts['id']}")}
    assert len(before) == 7
    # ZeroTier's own daemon makes its interface as a user of its own.
    looks = "systemctl is-system-running; systemctl is-active ssh; stat --format %a /dev/net/tun"
    assert lab.shell("gateway-a", looks).split() == ["running", "active", "666"]
    assert run(FIRST, "up").returncode == 0
    assert {row.id for row in lab.podman.containers(f"parkmesh.lab={lab.facts['id']}")} == before


def test_an_image_carries_what_was_done_on_its_builder(lab: RunningLab, group: dict[str, str]) -> None:
    (instance,) = eventually(lab.members, "the first instance")
    assert lab.shell(instance, "cat /etc/baked").strip() == "baked"
    eventually(lambda: not lab.running(group["builder"]), "the terminated builder to go")


def test_metadata_is_version_2_only_and_its_credentials_work(lab: RunningLab, group: dict[str, str]) -> None:
    (instance,) = eventually(lab.members, "the first instance")
    answers = lab.shell(
        instance,
        """
        base=http://169.254.169.254/latest
        curl -s -o /dev/null -w '%{http_code}\\n' $base/meta-data/instance-id
        token=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $base/api/token)
        for path in meta-data/instance-id meta-data/ami-id meta-data/tags/instance/Name user-data \\
                    meta-data/iam/security-credentials/app; do
            curl -s -H "X-aws-ec2-metadata-token: $token" $base/$path; echo
        done
        """,
    ).splitlines()
    assert answers[:5] == ["401", instance, group["image"], "parkmesh-app", '{"project":"parkmesh"}']
    credentials = json.loads(answers[5])
    who = boto3.client(
        "sts",
        endpoint_url=lab.facts["aws_endpoint_url"],
        region_name=lab.facts["region"],
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["Token"],
    ).get_caller_identity()
    assert who["Arn"].endswith(f":assumed-role/app/{instance}")


def test_more_capacity_means_another_instance_in_another_zone(lab: RunningLab, group: dict[str, str]) -> None:
    lab.client("autoscaling").set_desired_capacity(AutoScalingGroupName="app", DesiredCapacity=2)
    first, second = eventually(lambda: both(lab), "two instances")
    records = lab.client("ec2").describe_instances(InstanceIds=[first, second])["Reservations"]
    rows = [row for reservation in records for row in reservation["Instances"]]
    assert {row["Placement"]["AvailabilityZone"] for row in rows} == {"eu-west-1a", "eu-west-1b"}
    for row in rows:
        assert row["PrivateIpAddress"] in lab.shell(row["InstanceId"], "ip -4 -brief address show eth0")


def test_a_killed_instance_is_replaced(lab: RunningLab, group: dict[str, str]) -> None:
    before = eventually(lambda: both(lab), "two instances")
    lab.podman.run("kill", lab.container(before[0]))

    def replaced() -> list[str]:
        members = both(lab)
        return [] if before[0] in members else members

    after = eventually(replaced, "a replacement")
    assert before[1] in after
    eventually(lambda: not lab.podman.exists("container", lab.container(before[0])), "the dead container to go")
    state = lab.client("ec2").describe_instances(InstanceIds=[before[0]])["Reservations"][0]["Instances"][0]["State"]
    assert state["Name"] == "terminated"


def test_a_zone_that_fails_is_made_up_for_and_used_again_when_it_is_back(
    lab: RunningLab, group: dict[str, str]
) -> None:
    before = eventually(lambda: both(lab), "two instances")
    (lost, subnet), (other, _) = places(lab, before)
    assert run(FIRST, "zone", "fail", lost).returncode == 0
    assert not lab.running(before[0])
    after = eventually(lambda: members if before[0] not in (members := both(lab)) else [], "a replacement")
    assert before[1] in after
    assert {zone for zone, _ in places(lab, after)} == {other}
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        lab.client("ec2").run_instances(ImageId=group["image"], MinCount=1, MaxCount=1, SubnetId=subnet)
    assert run(FIRST, "zone", "recover", lost).returncode == 0
    eventually(lambda: {zone for zone, _ in places(lab, both(lab))} == {lost, other}, "an instance in each zone")


def test_a_restarted_instance_stays_and_gets_its_metadata_again(lab: RunningLab, group: dict[str, str]) -> None:
    instance = eventually(lab.members, "an instance")[0]
    lab.podman.run("restart", "--time=0", lab.container(instance))
    script = (
        "curl -s -o /dev/null -w '%{http_code}' -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
        "http://169.254.169.254/latest/api/token || true"
    )

    def answers() -> bool:
        try:
            return lab.shell(instance, script) == "200"
        except PodmanError:
            return False

    eventually(answers, "the metadata endpoint")
    assert instance in lab.members()


def test_haproxy_accepts_every_kind_of_configuration(lab: RunningLab) -> None:
    group = haproxy.TargetGroup(
        "app", "arn", "/readyz?a='b'", "200-204,301", 5, 2, 3, 2, 8001, (haproxy.Target("i-1", "10.1.2.4", 8000),)
    )
    rules = (
        haproxy.Rule(("/old/*",), (), haproxy.Redirect(301, "HTTPS", "#{host}", "443", "/x/#{path}", "#{query}")),
        haproxy.Rule((), ("desk.example", "*.example"), haproxy.Forward("app")),
        haproxy.Rule(("/gone",), ("a.example",), haproxy.Fixed(410, "text/plain", 'it\'s 100% "gone"')),
    )
    listeners = (
        haproxy.Listener(80, rules, haproxy.Forward("app")),
        haproxy.Listener(81, rules, haproxy.Fixed(404, "text/html", "")),
    )
    config = haproxy.config(haproxy.Balancer("lb", listeners, (group,)), frozenset())
    lab.shell("ops", f"cat > /run/haproxy.cfg <<'END-OF-FILE'\n{config}END-OF-FILE\nhaproxy -c -f /run/haproxy.cfg")


def test_down_takes_its_own_things_only(lab: RunningLab, group: dict[str, str]) -> None:
    """Two labs side by side, and things of a third: taking the second down leaves all others alone."""
    foreign = "parkmesh-foreign-000000"
    image = lab.facts["image"]
    try:
        lab.podman.run("network", "create", "--label=parkmesh.lab=foreign-000000", f"{foreign}-vpc")
        lab.podman.run(
            "create", f"--name={foreign}-ops", "--label=parkmesh.lab=foreign-000000", image, "sleep", "infinity"
        )
        second = run(SECOND, "up")
        assert second.returncode == 0, second.stderr
        other = RunningLab(SECOND)
        subnets = [row["subnet"] for facts in (lab.facts, other.facts) for row in facts["networks"].values()]
        assert len(set(subnets)) == 8
        daemon = json.loads((ROOT / ".lab" / SECOND / "daemon.pid").read_text())["pid"]
        # As after a crash: no daemon, no facts.
        os.kill(daemon, 9)
        (ROOT / ".lab" / SECOND / "lab.json").unlink()
        members = lab.members()
        done = run(SECOND, "down")
        assert done.returncode == 0, done.stderr
        names_left = {row["Names"][0] for row in lab.podman.json("ps", "--all")}
        networks_left = {row["name"] for row in lab.podman.json("network", "ls")}
        prefix = names.Lab(SECOND, ROOT, "trixie", 0, 0).prefix
        assert not {name for name in names_left | networks_left if name.startswith(prefix)}
        assert f"{foreign}-ops" in names_left
        assert f"{foreign}-vpc" in networks_left
        assert not (ROOT / ".lab" / SECOND).exists()
        assert lab.members() == members
        assert run(FIRST, "status").returncode == 0
        assert lab.podman.exists("image", image)
    finally:
        run(SECOND, "down")
        lab.podman.run("rm", "--force", "--ignore", f"{foreign}-ops")
        if lab.podman.exists("network", f"{foreign}-vpc"):
            lab.podman.run("network", "rm", f"{foreign}-vpc")
