"""Faults on request: clients of AWS take them for AWS's own, in each protocol, and the same seed brings the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from lab import aws
from lab.aws.faults import ask

KEY = "spared"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    running = aws.serve([("127.0.0.1", 0)])
    host, port = running.addresses[0]
    yield f"http://{host}:{port}"
    running.shutdown()


@pytest.fixture
def faults(url: str) -> Iterator[Callable[..., dict[str, int]]]:
    yield partial(ask, url)
    ask(url, "DELETE")


@cache
def client(url: str, service: str, key: str = "another", patience_s: float = 60) -> Any:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=patience_s)
    given = {"aws_access_key_id": key, "aws_secret_access_key": "secret"}
    return boto3.client(service, endpoint_url=url, region_name="eu-west-1", config=config, **given)


CALLS = {
    "ec2": "describe_vpcs",
    "s3": "list_buckets",
    "iam": "list_roles",
    "dynamodb": "list_tables",
    "cloudwatch": "describe_alarms",
}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize(
    ("kind", "status", "codes"),
    [
        ("throttling", {400, 503}, {"ThrottlingException", "RequestLimitExceeded", "SlowDown"}),
        ("internal", {500}, {"InternalFailure", "InternalError"}),
        ("expired", {400, 403}, {"ExpiredTokenException", "ExpiredToken", "RequestExpired"}),
    ],
)
def test_a_client_reads_a_fault_as_aws_s_own(
    url: str, faults: Callable[..., dict[str, int]], service: str, kind: str, status: set[int], codes: set[str]
) -> None:
    faults("PUT", share=1, kinds=[kind], spares=KEY)
    with pytest.raises(ClientError) as failed:
        getattr(client(url, service), CALLS[service])()
    assert failed.value.response["Error"]["Code"] in codes
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] in status
    getattr(client(url, service, KEY), CALLS[service])()


def test_the_same_seed_fails_the_same_calls(url: str, faults: Callable[..., dict[str, int]]) -> None:
    def failures() -> list[bool]:
        faults("PUT", share=0.5, seed=5)
        outcome = []
        for _ in range(20):
            try:
                client(url, "ec2").describe_vpcs()
                outcome.append(False)
            except ClientError:
                outcome.append(True)
        return outcome

    first = failures()
    assert failures() == first
    assert faults("GET")["failed"] == sum(first)
    assert 0 < sum(first) < 20


def test_a_change_is_carried_out_and_its_answer_kept_back(url: str, faults: Callable[..., dict[str, int]]) -> None:
    faults("PUT", hold_after=2, spares=KEY)
    ec2 = client(url, "ec2")
    ec2.create_security_group(GroupName="first", Description="first")
    ec2.describe_vpcs()
    answered = threading.Event()

    def second() -> None:
        with suppress(ReadTimeoutError):
            client(url, "ec2", patience_s=1).create_security_group(GroupName="second", Description="second")
            answered.set()

    # Nobody kills it here: it gives up after a second.
    asker = threading.Thread(target=second)
    asker.start()
    names: set[str] = set()
    while "second" not in names:
        there = client(url, "ec2", KEY).describe_security_groups()["SecurityGroups"]
        names = {each["GroupName"] for each in there}
    asker.join()
    assert not answered.is_set()
    assert faults("DELETE") == {"calls": 3, "changes": 2, "failed": 0}
    assert not answered.is_set()
    client(url, "ec2").describe_vpcs()
