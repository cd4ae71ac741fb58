"""Corrections to moto's IAM."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend

# Those that a role of the project attaches. Loading all of them takes seconds.
_USED = ("AmazonRDSEnhancedMonitoringRole", "AmazonSSMManagedInstanceCore")


def correct() -> None:
    _managed_policies()


def _managed_policies() -> None:
    """AWS's own policies are there without anybody's making them.

    IAM user guide, "AWS managed policies". Their content is moto's copy of AWS's.
    """

    def _init_aws_policies(self: Any) -> list[AWSManagedPolicy]:
        every = json.loads(aws_managed_policies_data)
        return [AWSManagedPolicy.from_data(name, self.account_id, self.region_name, every[name]) for name in _USED]

    IAMBackend._init_aws_policies = _init_aws_policies
