"""Instance metadata: version 2 only, and every path an instance of this project reads."""

import json
from dataclasses import replace

import pytest

from lab.driver.metadata import Answer, Facts, Metadata, Role

FACTS = Facts(
    instance_id="i-1",
    image_id="ami-1",
    instance_type="t4g.small",
    address="10.1.2.4",
    hostname="ip-10-1-2-4.eu-west-1.compute.internal",
    mac="02:00:00:00:00:01",
    zone="eu-west-1b",
    region="eu-west-1",
    account="123456789012",
    user_data=b'{"project":"parkmesh"}',
    tags={"Name": "parkmesh-lab-app", "aws:autoscaling:groupName": "app"},
    role=Role(
        "arn:aws:iam::1:instance-profile/app", "AIPA1", "app", lambda: {"Code": "Success", "AccessKeyId": "ASIA1"}
    ),
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def token(metadata: Metadata, ttl: str = "60") -> str:
    answer = metadata.answer("PUT", "/latest/api/token", {"x-aws-ec2-metadata-token-ttl-seconds": ttl})
    assert answer.status == 200
    return answer.body.decode()


def read(metadata: Metadata, path: str) -> Answer:
    return metadata.answer("GET", path, {"x-aws-ec2-metadata-token": token(metadata)})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/latest/meta-data/instance-id", "i-1"),
        ("/2021-07-15/meta-data/ami-id", "ami-1"),
        ("/latest/meta-data/local-ipv4", "10.1.2.4"),
        ("/latest/meta-data/hostname", "ip-10-1-2-4.eu-west-1.compute.internal"),
        ("/latest/meta-data/placement/availability-zone", "eu-west-1b"),
        ("/latest/meta-data/placement/region", "eu-west-1"),
        ("/latest/meta-data/placement/", "availability-zone\nregion"),
        ("/latest/meta-data/tags/instance/", "Name\naws:autoscaling:groupName"),
        ("/latest/meta-data/tags/instance/Name", "parkmesh-lab-app"),
        ("/latest/meta-data/iam/security-credentials/", "app"),
        ("/latest/user-data", '{"project":"parkmesh"}'),
    ],
)
def test_reads(path: str, expected: str) -> None:
    answer = read(Metadata(FACTS, Clock()), path)
    assert (answer.status, answer.body.decode()) == (200, expected)


def test_documents_are_json() -> None:
    metadata = Metadata(FACTS, Clock())
    document = json.loads(read(metadata, "/latest/dynamic/instance-identity/document").body)
    assert (document["instanceId"], document["region"], document["accountId"]) == ("i-1", "eu-west-1", "123456789012")
    credentials = json.loads(read(metadata, "/latest/meta-data/iam/security-credentials/app").body)
    assert credentials["AccessKeyId"] == "ASIA1"
    info = json.loads(read(metadata, "/latest/meta-data/iam/info").body)
    assert info["InstanceProfileArn"] == "arn:aws:iam::1:instance-profile/app"


@pytest.mark.parametrize(
    ("facts", "path"),
    [
        (replace(FACTS, user_data=None), "/latest/user-data"),
        (replace(FACTS, role=None), "/latest/meta-data/iam/info"),
        (replace(FACTS, tags={}), "/latest/meta-data/tags/instance/Name"),
        (FACTS, "/latest/meta-data/iam/security-credentials/other"),
        (FACTS, "/latest/meta-data/instance-id/more"),
        (FACTS, "/latest/nothing"),
    ],
)
def test_what_is_not_there_is_404(facts: Facts, path: str) -> None:
    assert read(Metadata(facts, Clock()), path).status == 404


def test_nothing_is_told_without_a_token() -> None:
    metadata = Metadata(FACTS, Clock())
    for headers in ({}, {"x-aws-ec2-metadata-token": ""}, {"x-aws-ec2-metadata-token": "guess"}):
        for path in ("/latest/meta-data/instance-id", "/latest/user-data", "/"):
            answer = metadata.answer("GET", path, headers)
            assert (answer.status, answer.body) == (401, b"")


def test_a_token_ends_with_its_time_to_live() -> None:
    clock = Clock()
    metadata = Metadata(FACTS, clock)
    held = {"x-aws-ec2-metadata-token": token(metadata, "10")}
    clock.now += 9.9
    assert metadata.answer("GET", "/latest/meta-data/", held).status == 200
    clock.now += 0.2
    assert metadata.answer("GET", "/latest/meta-data/", held).status == 401


@pytest.mark.parametrize("ttl", ["", "0", "21601", "x", "-1", "1e3", "٣"])
def test_a_wrong_time_to_live_is_refused(ttl: str) -> None:
    metadata = Metadata(FACTS, Clock())
    headers = {"x-aws-ec2-metadata-token-ttl-seconds": ttl}
    assert metadata.answer("PUT", "/latest/api/token", headers).status == 400


def test_a_forwarded_token_request_is_refused() -> None:
    headers = {"x-aws-ec2-metadata-token-ttl-seconds": "60", "x-forwarded-for": "10.0.0.1"}
    assert Metadata(FACTS, Clock()).answer("PUT", "/latest/api/token", headers).status == 403


def test_other_methods_are_refused() -> None:
    metadata = Metadata(FACTS, Clock())
    assert metadata.answer("GET", "/latest/api/token", {}).status == 405
    assert metadata.answer("POST", "/latest/meta-data/", {}).status == 405


def test_tokens_that_nobody_uses_do_not_pile_up() -> None:
    metadata = Metadata(FACTS, Clock())
    first = token(metadata)
    for _ in range(1100):
        last = token(metadata)
    assert metadata.answer("GET", "/latest/meta-data/", {"x-aws-ec2-metadata-token": first}).status == 401
    assert metadata.answer("GET", "/latest/meta-data/", {"x-aws-ec2-metadata-token": last}).status == 200


def test_the_target_lifecycle_state_is_there_for_members_of_a_group_only() -> None:
    path = "/latest/meta-data/autoscaling/target-lifecycle-state"
    assert read(Metadata(FACTS, Clock()), path).status == 404
    member = Metadata(replace(FACTS, target_state="Terminated"), Clock())
    assert read(member, path).body == b"Terminated"
