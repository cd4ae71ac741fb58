"""Corrections to moto's S3."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket


def correct() -> None:
    _transport()


def _transport() -> None:
    """What a bucket's policy denies to requests in clear is no matter here: this API stands for AWS's HTTPS endpoints.

    IAM User Guide, "AWS global condition context keys", aws:SecureTransport. moto looks at no conditions of buckets'
    policies, so it would deny everything to everybody.
    """

    def get_permission(self: Any, action: str, resource: str) -> PermissionResult:
        if self.policy is None:
            return PermissionResult.NEUTRAL
        document = json.loads(self.policy)
        given = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
        statements = [
            each
            for each in given
            if str(each.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() != "false"
        ]
        return IAMPolicy(json.dumps({**document, "Statement": statements})).is_action_permitted(action, resource)

    FakeBucket.get_permission = get_permission
