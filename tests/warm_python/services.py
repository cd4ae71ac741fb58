"""boto3 and the descriptions of AWS's services, read once for all forks. Connects to nothing."""

import contextlib
import functools
from collections.abc import Iterable

# What the roles' modules speak to. A service that isn't here is read by the module itself.
SERVICES = ("autoscaling", "dynamodb", "ec2", "elbv2", "iam", "rds", "secretsmanager", "ssm", "sts")


def import_boto3(services: Iterable[str] = SERVICES) -> None:
    """Import boto3 and read the descriptions of the services, which all sessions then share."""
    import boto3
    import botocore.exceptions
    import botocore.session

    # Without a folder of somebody's own there is but one to make.
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    loader = botocore.session.create_loader(None)
    for service in services:
        boto3.client(service, region_name="eu-west-1", aws_access_key_id="-", aws_secret_access_key="-")
        for kind in ("paginators-1", "waiters-2"):
            # Not every service has both.
            with contextlib.suppress(botocore.exceptions.UnknownServiceError):
                loader.load_service_model(service, kind)
