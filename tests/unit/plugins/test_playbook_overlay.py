"""The overlay's playbooks against a controller and lab.aws: check, change, repeat, refuse.

Each test builds on those before, down to the overlay's end. One run of several playbooks saves their start.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from .conftest import ROOT, Controller

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "emulated-key-id", "AWS_SECRET_ACCESS_KEY": "emulated-secret-key"}
GATEWAY, OPS, STRANGER = "aaaaaaaa01", "aaaaaaaa02", "bbbbbbbb01"
NAME = "parkmesh-unit"


@dataclass(frozen=True)
class Run:
    """What playbooks did on host control-node."""

    status: int
    changed: int
    output: str


@dataclass(frozen=True)
class Environment:
    """An environment of its own on a controller and on lab.aws."""

    controller: Controller
    aws_url: str
    folder: Path
    python: str
    """What runs the modules."""
    ansible_playbook: str

    def aws(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.aws_url,
            region_name="eu-west-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def play(self, *playbooks: str, check: bool = False, **extra: object) -> Run:
        """Run playbooks one after the other in one call; a failure is for the caller to judge."""
        paths = [f"playbooks/{playbook}.yml" for playbook in playbooks]
        variables = [argument for name, value in extra.items() for argument in ("-e", f"{name}={value}")]
        done = subprocess.run(
            [
                self.ansible_playbook,
                *("-i", str(self.folder / "inventory.yml"), *paths, *variables),
                *(("--check", "--diff") if check else ()),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                **CREDENTIALS,
                # The emulator notes what is called with it (scripts/operator_policies.py).
                "AWS_ACCESS_KEY_ID": f"{CREDENTIALS['AWS_ACCESS_KEY_ID']}-of-{playbooks[-1]}",
                "ANSIBLE_NOCOLOR": "1",
                "PARKMESH_TEST_PYTHON": self.python,
                "PATH": f"{self.folder}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        output = done.stdout + done.stderr
        recap = re.search(r"^control-node +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)
        assert recap, output
        assert self.controller.token not in output
        assert ":0:" not in output, "an identity was printed"
        return Run(done.returncode, int(recap[1]), output)

    def network_id(self) -> str | None:
        networks = self.controller.ask("GET", "/controller/network").json()
        return next(iter(networks), None)

    def member(self, address: str) -> dict[str, Any]:
        answer = self.controller.ask("GET", f"/controller/network/{self.network_id()}/member/{address}")
        found: dict[str, Any] = answer.json()
        return found

    def set_member(self, address: str, **settings: object) -> None:
        answer = self.controller.ask("POST", f"/controller/network/{self.network_id()}/member/{address}", settings)
        assert answer.ok, answer.text

    def members(self) -> set[str]:
        answer = self.controller.ask("GET", f"/controller/network/{self.network_id()}/member")
        return set(answer.json())

    def slots(self) -> dict[int, dict[str, Any]]:
        """The slot table by number: address and holder."""
        items = self.aws("dynamodb").scan(TableName=f"{NAME}-slots")["Items"]
        return {int(item.pop("slot")["N"]): {k: next(iter(v.values())) for k, v in item.items()} for item in items}

    def secret(self, slot: int) -> dict[str, Any]:
        answer = self.aws("secretsmanager").get_secret_value(SecretId=f"{NAME}-overlay-slot-{slot}")
        found: dict[str, Any] = json.loads(answer["SecretString"])
        return found

    def lease(self, slot: int, holder: str) -> None:
        """Lease a slot long ago, with an identity that was old even then."""
        self.aws("dynamodb").update_item(
            TableName=f"{NAME}-slots",
            Key={"slot": {"N": str(slot)}},
            UpdateExpression="SET holder = :h, leased_at = :t, made_at = :t",
            ExpressionAttributeValues={":h": {"S": holder}, ":t": {"N": "1"}},
        )


def inventory(controller: Controller, aws_url: str, online: list[str]) -> dict[str, Any]:
    return {
        "all": {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ lookup('ansible.builtin.env', 'PARKMESH_TEST_PYTHON') }}",
                "project": "parkmesh",
                "parkmesh_environment": "unit",
                "aws_region": "eu-west-1",
                "aws_endpoint_url": aws_url,
                "overlay_api": "controller",
                "overlay_api_url": controller.url,
                "overlay_token_file": controller.token_file,
                "overlay_identity_host": "control-node",
                "overlay_network_name": NAME,
                "overlay_cidr": "10.242.0.0/16",
                # Two servers and one more while a roll is under way: three slots.
                "aws_service_instances_max": 2,
                # Nothing serves behind the instances: there is nothing to warm up or to drain.
                "aws_service_warmup_s": 0,
                "aws_service_deregistration_delay_s": 2,
            },
            "children": {
                # Without a lease, for only this test works on the environment: tests/emulator/test_lease.py shows it.
                "aws": {"hosts": {"control-node": None}, "vars": {"environment_lease_table": ""}},
                "overlay_controller": {"hosts": {}},
                "bastion": {
                    "hosts": {"ops": {"overlay_member": {"name": "ops", "ip": "10.242.0.2", "tags": {"role": "ops"}}}}
                },
                "gateways": {
                    "hosts": {
                        f"gateway-{letter}": {
                            "overlay_member": {
                                "name": f"gateway-{letter}",
                                "ip": f"10.242.1.{community}",
                                "tags": {"role": "gateway", "community": community},
                            }
                        }
                        for letter, community in (("a", 1), ("b", 2))
                    }
                },
                "overlay_online": {"hosts": dict.fromkeys(online)},
            },
        }
    }


@pytest.fixture(scope="module")
def environment(
    controller: Controller, python: str, ansible_playbook: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """Nothing but a table of slots, which playbooks/provision-data.yml makes."""
    for network in controller.ask("GET", "/controller/network").json():
        controller.ask("DELETE", f"/controller/network/{network}")
    folder = tmp_path_factory.mktemp(f"overlay-{controller.kind}")
    program = folder / "zerotier-idtool"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -c '
        "'import sys; from lab.zerotier.idtool import main; sys.exit(main())' \"$@\"\n"
    )
    program.chmod(0o755)
    notes = os.environ.get("PARKMESH_SEEN_ACTIONS")
    api = subprocess.Popen(
        [
            *(sys.executable, "-m", "lab.aws", "--port", "0"),
            *(("--record", str(Path(notes) / f"{Path(__file__).stem}.jsonl")) if notes else ()),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert api.stdout is not None
        url = api.stdout.readline().strip()
        (folder / "inventory.yml").write_text(yaml.safe_dump(inventory(controller, url, [])))
        made = Environment(controller, url, folder, python, ansible_playbook)
        made.aws("dynamodb").create_table(
            TableName=f"{NAME}-slots",
            KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield made
    finally:
        api.terminate()
        api.wait(timeout=60)


@pytest.fixture(scope="module")
def built(environment: Environment) -> Environment:
    """The overlay with its slots, and two hosts that were enrolled; gateway-b never was."""
    run = environment.play("provision-overlay")
    assert run.status == 0, run.output
    environment.set_member(
        GATEWAY, name="gateway-a", authorized=True, noAutoAssignIps=True, ipAssignments=["10.242.1.1"],
        tags=[[1, 2], [2, 1]],
    )  # fmt: skip
    environment.set_member(
        OPS, name="ops", authorized=True, noAutoAssignIps=True, ipAssignments=["10.242.0.2"], tags=[[1, 3]]
    )
    return environment


def test_dry_runs_of_an_empty_environment_end_well(environment: Environment) -> None:
    run = environment.play(
        *("reconcile-members", "explain-access", "rotate-overlay", "destroy-overlay"),
        check=True,
        explain_from="gateway-a",
        explain_to="ops",
        reconcile_purge="true",
        destroy_confirm=NAME,
    )
    assert (run.status, run.changed) == (0, 0), run.output
    assert "gateway-a is no member yet" in run.output


def test_what_was_changed_by_hand_is_put_right_once(built: Environment) -> None:
    slot = built.slots()[1]["address"]
    built.set_member(GATEWAY, authorized=False, ipAssignments=["10.242.7.7"], tags=[[1, 2], [2, 9]])
    built.set_member(slot, activeBridge=True, tags=[[1, 1], [2, 1]])
    # Found by its address, as it has lost its name.
    built.set_member(OPS, name="somebody")
    built.set_member(STRANGER, name="stranger", authorized=True)
    dry = built.play("reconcile-members", check=True)
    assert (dry.status, dry.changed) == (0, 1), dry.output
    assert built.member(GATEWAY)["authorized"] is False
    # Twice in one call: the second changes nothing.
    run = built.play("reconcile-members", "reconcile-members")
    assert (run.status, run.changed) == (0, 1), run.output
    gateway = built.member(GATEWAY)
    assert (gateway["authorized"], gateway["ipAssignments"]) == (True, ["10.242.1.1"])
    assert sorted(gateway["tags"]) == [[1, 2], [2, 1]]
    assert (built.member(slot)["activeBridge"], built.member(slot)["tags"]) == (False, [[1, 1]])
    assert built.member(OPS)["name"] == "ops"
    assert f"unknown and left alone: {STRANGER} stranger" in run.output
    assert built.member(STRANGER)["authorized"] is True


def test_purging_is_refused_while_an_unknown_member_may_be_a_missing_host(built: Environment) -> None:
    run = built.play("reconcile-members", reconcile_purge="true")
    assert run.status != 0
    assert "gateway-b is in the inventory and no member" in re.sub(r"\s+", " ", run.output)
    assert STRANGER in built.members()


def test_purging_keeps_to_its_cap_and_tells_first_who_would_go(built: Environment) -> None:
    flags = {"reconcile_purge": "true", "reconcile_purge_absent": "true"}
    dry = built.play("reconcile-members", check=True, reconcile_purge_max="0", **flags)
    assert dry.status == 0, dry.output
    assert f"would be removed: {STRANGER} stranger" in dry.output
    assert "1 removals are more than reconcile_purge_max=0" in re.sub(r"\s+", " ", dry.output)
    capped = built.play("reconcile-members", reconcile_purge_max="0", **flags)
    assert capped.status != 0
    assert STRANGER in built.members()
    run = built.play("reconcile-members", "reconcile-members", **flags)
    assert (run.status, run.changed) == (0, 1), run.output
    assert built.members() == {GATEWAY, OPS, *(slot["address"] for slot in built.slots().values())}


def test_access_is_explained_by_rule_and_member(built: Environment) -> None:
    run = built.play("explain-access", explain_from="gateway-a", explain_to="10.242.0.11")
    assert (run.status, run.changed) == (0, 0), run.output
    assert f"gateway-a ({GATEWAY}, 10.242.1.1, role gateway, community 1) -> slot-1" in run.output
    assert "TCP 8001: yes" in run.output
    assert "TCP 1-8000, 8002-65535: no" in run.output
    assert re.search(r"there: line \d+: accept ipprotocol tcp and dport 8001", run.output)
    between = built.play("explain-access", explain_from=GATEWAY, explain_to="gateway-b", explain_port=22)
    assert between.status == 0, between.output
    assert "gateway-b is no member of the network" in between.output
    assert "TCP 22: no" in between.output


def test_who_is_nobody_or_asks_nonsense_is_told_so(built: Environment) -> None:
    unknown = built.play("explain-access", explain_from="gateway-z", explain_to="ops")
    assert unknown.status != 0
    assert "'gateway-z' is no member and no host" in re.sub(r"'+", "'", unknown.output)
    nonsense = built.play(
        "explain-access", explain_from="gateway-a", explain_to="ops", explain_protocol="icmp", explain_port=22
    )
    assert nonsense.status != 0
    assert "explain_port=1…65535" in nonsense.output


@pytest.fixture(scope="module")
def instance(built: Environment) -> str:
    """An instance of the service's group that holds slot 2."""
    ec2, scaling = built.aws("ec2"), built.aws("autoscaling")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    ec2.create_launch_template(
        LaunchTemplateName=f"{NAME}-app", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=f"{NAME}-app",
        LaunchTemplate={"LaunchTemplateName": f"{NAME}-app", "Version": "1"},
        MinSize=1,
        MaxSize=2,
        DesiredCapacity=1,
        VPCZoneIdentifier=subnet,
    )
    (group,) = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    holder = str(group["Instances"][0]["InstanceId"])
    built.lease(2, holder)
    return holder


def test_a_slot_that_an_instance_holds_is_not_rotated_under_it(built: Environment, instance: str) -> None:
    before = built.slots()
    run = built.play("rotate-overlay", rotate_slots="2")
    assert run.status != 0
    assert f"2 by {instance}" in run.output
    dry = built.play("rotate-overlay", check=True)
    assert dry.status == 0, dry.output
    assert "would be rotated: 1, 3" in dry.output
    assert built.slots() == before


def test_free_slots_get_new_identities_and_their_old_members_go(built: Environment, instance: str) -> None:
    before = built.slots()
    # What an instance that is gone held is free.
    built.lease(3, "i-00000000000000000")
    run = built.play("rotate-overlay")
    assert run.status == 0, run.output
    assert "rotated: 1, 3" in run.output
    assert "left, because instances hold them: 2" in run.output
    after = built.slots()
    assert after[2] == {**before[2], "holder": instance}
    for slot in (1, 3):
        new = after[slot]["address"]
        assert "holder" not in after[slot]
        assert new != before[slot]["address"]
        assert built.secret(slot)["address"] == new
        assert built.secret(slot)["identity_secret"].startswith(new)
        assert built.secret(slot)["network_id"] == built.network_id()
        member = built.member(new)
        assert (member["authorized"], member["ipAssignments"]) == (True, [f"10.242.0.1{slot}"])
    assert built.members() == {GATEWAY, OPS, *(slot["address"] for slot in after.values())}


def test_replacing_the_instances_frees_the_rest_and_what_is_young_stays(built: Environment, instance: str) -> None:
    before = built.slots()
    run = built.play("rotate-overlay", "rotate-overlay", rotate_replace_instances="true", rotate_older_than_hours="1")
    # There is no host behind the new instance: it leases no slot.
    assert run.status == 0, run.output
    assert re.findall(r"rotated: (.*?)'?$", run.output, re.MULTILINE) == ["2", "none"]
    after = built.slots()
    assert after[2]["address"] != before[2]["address"]
    assert {slot: after[slot]["address"] for slot in (1, 3)} == {slot: before[slot]["address"] for slot in (1, 3)}
    states = built.aws("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]
    assert states["Name"] == "terminated"
    assert built.play("reconcile-members").changed == 0


def test_destroying_needs_the_environment_s_name_and_nobody_who_uses_it(built: Environment) -> None:
    nameless = built.play("destroy-overlay")
    assert nameless.status != 0
    assert f"destroy_confirm={NAME}" in nameless.output
    (holder,) = built.aws("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
    built.lease(1, holder["InstanceId"])
    (built.folder / "inventory.yml").write_text(
        yaml.safe_dump(inventory(built.controller, built.aws_url, ["gateway-a"]))
    )
    used = built.play("destroy-overlay", destroy_confirm=NAME)
    assert used.status != 0
    assert f"The overlay is in use: {holder['InstanceId']}, gateway-a" in re.sub(r"\s+", " ", used.output)
    assert len(built.members()) == 5


def test_destroying_leaves_nothing_and_a_second_time_changes_nothing(built: Environment) -> None:
    flags = {"destroy_confirm": NAME, "destroy_force": "true"}
    dry = built.play("destroy-overlay", check=True, **flags)
    assert (dry.status, dry.changed) == (0, 3), dry.output
    assert len(built.members()) == 5
    run = built.play("destroy-overlay", "destroy-overlay", **flags)
    assert (run.status, run.changed) == (0, 3), run.output
    assert built.network_id() is None
    assert built.slots() == {}
    assert built.aws("secretsmanager").list_secrets()["SecretList"] == []


def test_what_was_destroyed_is_made_anew_while_its_secrets_could_be_restored(built: Environment) -> None:
    run = built.play("provision-overlay")
    assert run.status == 0, run.output
    assert set(built.slots()) == {1, 2, 3}
    for slot, item in built.slots().items():
        assert built.secret(slot)["address"] == item["address"]
        assert built.member(item["address"])["authorized"] is True
