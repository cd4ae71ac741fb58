"""Read an environment on AWS, and change nothing: what all subjects of the description share.

A description has names instead of AWS's ids, ARNs and account number, so that it can be said in advance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

FULL_ACCESS: Final = "everything to everybody"
"""Stands for the policy that AWS gives a VPC endpoint of which nobody said anything (AWS PrivateLink guide, "Control
access to VPC endpoints using endpoint policies", Default endpoint policy)."""
ACCOUNT: Final = "000000000000"
"""Stands for the number of the account in ARNs."""

_ACCOUNT_OF_ARN: Final = re.compile(r"arn:aws[a-z-]*:([a-z0-9-]*):([a-z0-9-]*):[0-9]{12}:")


class Reader:
    """Answers of AWS about one environment. ``client`` makes a client of boto3 from a service's name."""

    def __init__(self, client: Callable[[str], Any], project: str, environment: str) -> None:
        self._make_client = client
        self._clients: dict[str, Any] = {}
        self.project, self.environment, self.name = project, environment, f"{project}-{environment}"
        self.names: dict[str, str] = {}
        """The name of each id and ARN that was read."""

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._make_client(service)
        return self._clients[service]

    def all(self, service: str, operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
        """What an operation lists under ``key``, on all its pages."""
        client = self.client(service)
        if client.can_paginate(operation):
            pages = client.get_paginator(operation).paginate(**arguments)
            return [each for page in pages for each in page.get(key, [])]
        found: list[dict[str, Any]] = getattr(client, operation)(**arguments)[key]
        return found

    def answer(self, service: str, operation: str, *absent: str, **arguments: Any) -> dict[str, Any]:
        """An operation's answer; empty when AWS says that there is none with one of the codes in ``absent``."""
        client = self.client(service)
        try:
            found: dict[str, Any] = getattr(client, operation)(**arguments)
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in absent:
                return {}
            raise
        return found

    def know(self, identifier: str, name: str) -> str:
        """Note the name of an id or ARN."""
        self.names[identifier] = name
        return name

    def named(self, identifiers: Iterable[str]) -> list[str]:
        """The names of ids, sorted; an id that isn't the environment's stands for itself."""
        return sorted(self.names.get(each, each) for each in identifiers)

    def is_ours(self, name: str, tags: Mapping[str, str]) -> bool:
        """Whether something belongs to the environment: by its tags, and where it has none by its name."""
        if "Project" in tags and "Environment" in tags:
            return tags["Project"] == self.project and tags["Environment"] == self.environment
        return name == self.name or name.startswith((f"{self.name}-", f"/{self.project}/{self.environment}/"))

    def tag_filters(self) -> list[dict[str, Any]]:
        return [
            {"Name": "tag:Project", "Values": [self.project]},
            {"Name": "tag:Environment", "Values": [self.environment]},
        ]


def tags_of(listed: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Tags as a dictionary, without AWS's own, which begin with ``aws:``."""
    pairs = {str(each["Key"]): str(each["Value"]) for each in listed or []}
    return {key: value for key, value in pairs.items() if not key.startswith("aws:")}


def without_account(text: str) -> str:
    """A text with the same account and partition in each ARN, whatever they are."""
    return _ACCOUNT_OF_ARN.sub(lambda arn: f"arn:aws:{arn[1]}:{arn[2]}:{ACCOUNT}:", text)


def policy(document: Any) -> Any:
    """An IAM policy in one form of the many that mean the same; None for none.

    IAM reference, "Grammar of the IAM JSON policy language": a list of one and its only member are the same, and lists
    have no order.
    """
    if not document:
        return None
    if isinstance(document, str):
        document = json.loads(document if document.lstrip().startswith("{") else unquote(document))
    document = json.loads(without_account(json.dumps(document)))
    statements = _listed(document.get("Statement"))
    if (
        len(statements) == 1
        and "Condition" not in statements[0]
        and {key: _listed(statements[0].get(key)) for key in ("Effect", "Principal", "Action", "Resource")}
        == {"Effect": ["Allow"], "Principal": ["*"], "Action": ["*"], "Resource": ["*"]}
    ):
        return FULL_ACCESS
    lists = ("Action", "NotAction", "Resource", "NotResource")
    return [
        {key: _listed(value) if key in lists else _members_listed(value) for key, value in sorted(each.items())}
        for each in statements
    ]


def _listed(value: Any) -> list[Any]:
    found = value if isinstance(value, list) else [] if value is None else [value]
    return sorted(found, key=str) if all(isinstance(each, str) for each in found) else found


def _members_listed(value: Any) -> Any:
    """A principal's or condition's members as lists."""
    if not isinstance(value, dict):
        return value
    return {key: _members_listed(each) if isinstance(each, dict) else _listed(each) for key, each in value.items()}


def instances_role(
    name: str, words: str, document: Mapping[str, Any], managed: Sequence[str], tags: Mapping[str, str]
) -> dict[str, Any]:
    """A role of EC2 instances as it is to be compared: with one policy of its own, ``name``, and AWS's ``managed``."""
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return service_role({"Statement": [statement]}, name, words, document, managed, tags)


def service_role(
    trust: Mapping[str, Any],
    name: str,
    words: str,
    document: Mapping[str, Any],
    managed: Sequence[str],
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """The same of a role that the policy ``trust`` lets others assume."""
    return {
        "trust": policy(trust),
        "policies": {name: policy(document)},
        "managed_policies": sorted(without_account(each) for each in managed),
        "longest_session_s": 3600,
        "path": "/",
        "description": words,
        "tags": tags,
    }
