"""The bucket of a load balancer's access logs: what it is called and who may write to it. Pure.

Elastic Load Balancing, Application Load Balancers, "Enable access logs for your Application Load Balancer": the bucket
is in the same region, encrypted with keys of S3 (SSE-S3, which new buckets have by themselves), and its policy lets the
service write below ``AWSLogs/<account>``. The service is called the same in all regions; the older policy with an
account of AWS's by region isn't needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

WRITER: Final = "logdelivery.elasticloadbalancing.amazonaws.com"
PRIVATE: Final = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
LONGEST: Final = 63
"""Characters of a bucket's name (Amazon S3 User Guide, "General purpose bucket naming rules")."""


def bucket_name(environment: str, account: str) -> str:
    """Names of buckets are everybody's, so it has the account's number."""
    return f"{environment}-access-logs-{account}"


def bucket_policy(bucket: str, account: str, partition: str = "aws") -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "LoadBalancerWrites",
                "Effect": "Allow",
                "Principal": {"Service": WRITER},
                "Action": "s3:PutObject",
                "Resource": f"{arn}/AWSLogs/{account}/*",
            },
            {
                "Sid": "NobodyInClear",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def lifecycle(days: int) -> dict[str, Any]:
    """The rule that removes logs after so many days."""
    return {
        "Rules": [
            {"ID": "expire", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}},
        ]
    }


def days_of(configuration: Mapping[str, Any]) -> int | None:
    """For how many days a bucket keeps what is in it; None where its rules aren't just this one."""
    rules = configuration.get("Rules", [])
    if len(rules) != 1 or rules[0].get("Status") != "Enabled" or rules[0].get("Filter", {}).get("Prefix"):
        return None
    days = rules[0].get("Expiration", {}).get("Days")
    return int(days) if days else None


def attributes(bucket: str) -> dict[str, str]:
    """The load balancer's attributes with these logs; for an empty name, without."""
    return (
        {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": bucket}
        if bucket
        else {"access_logs.s3.enabled": "false"}
    )
