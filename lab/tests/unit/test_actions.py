"""lab.aws knows the operation of each form of request that botocore sends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    record = tmp_path_factory.mktemp("actions") / "seen"
    server = aws.serve([("127.0.0.1", 0)], record=record)
    yield f"http://127.0.0.1:{server.addresses[0][1]}", record
    server.shutdown()


@pytest.mark.parametrize(
    ("service", "method", "arguments", "expected"),
    [
        ("ec2", "describe_vpcs", {}, "ec2 DescribeVpcs"),
        ("elbv2", "describe_load_balancers", {}, "elasticloadbalancing DescribeLoadBalancers"),
        ("dynamodb", "list_tables", {}, "dynamodb ListTables"),
        ("cloudwatch", "describe_alarms", {}, "monitoring DescribeAlarms"),
        ("s3", "list_buckets", {}, "s3 ListBuckets"),
        ("s3", "get_bucket_policy", {"Bucket": "one"}, "s3 GetBucketPolicy"),
        ("s3", "get_object", {"Bucket": "one", "Key": "a/b"}, "s3 GetObject"),
        ("s3", "put_object", {"Bucket": "one", "Key": "a/b"}, "s3 PutObject"),
        (
            *("s3", "get_bucket_lifecycle_configuration", {"Bucket": "one"}),
            "s3 GetBucketLifecycleConfiguration",
        ),
        ("s3", "list_objects_v2", {"Bucket": "one"}, "s3 ListObjectsV2"),
        ("route53", "list_hosted_zones", {}, "route53 ListHostedZones"),
        ("route53", "list_resource_record_sets", {"HostedZoneId": "Z1"}, "route53 ListResourceRecordSets"),
    ],
)
def test_each_form_of_request_is_known(
    seen: tuple[str, Path], service: str, method: str, arguments: dict[str, Any], expected: str
) -> None:
    url, record = seen
    key = f"key-{method}"
    client = boto3.client(
        service, endpoint_url=url, region_name="eu-west-1", aws_access_key_id=key, aws_secret_access_key="test"
    )
    for _ in range(2):
        # Called all the same where it fails.
        with contextlib.suppress(ClientError):
            getattr(client, method)(**arguments)
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    assert [f"{each['service']} {each['operation']}" for each in calls if each["key"] == key] == [expected]
