"""boto3 and the descriptions of AWS's services, read once for all forks. Connects to nothing."""

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

# What the roles' modules speak to. A service that isn't here is read by the module itself.
SERVICES = ("autoscaling", "dynamodb", "ec2", "elbv2", "iam", "rds", "secretsmanager", "ssm", "sts")


def share_what_clients_are_made_of() -> None:
    """Let all sessions share what botocore else finds out anew for each: by names and definitions alone."""
    from botocore import client, hooks

    names: dict[str, str] = {}
    methods: dict[str, dict[str, Callable[..., Any]]] = {}
    begin, create = hooks.EventAliaser.__init__, client.ClientCreator._create_methods

    def begin_with_names(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        # The names are the same everywhere: nobody gives others.
        self._alias_name_cache = names

    def methods_once(self: Any, service_model: Any) -> dict[str, Callable[..., Any]]:
        key = f"{service_model.service_name} {service_model.api_version}"
        if key not in methods:
            methods[key] = create(self, service_model)
        # What belongs to one client is added to it.
        return dict(methods[key])

    hooks.EventAliaser.__init__ = begin_with_names
    client.ClientCreator._create_methods = methods_once
    hooks.accepts_kwargs = functools.cache(hooks.accepts_kwargs)


def import_boto3(services: Iterable[str] = SERVICES) -> None:
    """Import boto3 and read the descriptions of the services, which all sessions then share."""
    import boto3
    import botocore.exceptions
    import botocore.session

    # Without a folder of somebody's own there is but one to make.
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    share_what_clients_are_made_of()
    loader = botocore.session.create_loader(None)
    for service in services:
        boto3.client(service, region_name="eu-west-1", aws_access_key_id="-", aws_secret_access_key="-")
        for kind in ("paginators-1", "waiters-2"):
            # Not every service has both.
            with contextlib.suppress(botocore.exceptions.UnknownServiceError):
                loader.load_service_model(service, kind)
