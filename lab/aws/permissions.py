"""Calls with a role's credentials do what the role's policies allow. Calls with any other key, the operator's, do all.

The resources of an action and their context are those that the Service Authorization Reference names ("Actions,
resources, and condition keys for AWS services"); here for what instances call. Where a call names several resources,
each must be allowed. Any other action is judged for all resources: only a policy that allows it on ``*`` does so.

Refusals are worded as in IAM user guide, "Troubleshoot access denied error messages", and have the codes of Amazon EC2
API Reference, "Error codes for the Amazon EC2 API" (UnauthorizedOperation) and of IAM API Reference, "Common Error
Types" (AccessDeniedException). A change of a policy acts at once; on AWS it takes some seconds until all of it knows.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from moto.autoscaling.models import autoscaling_backends
from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sts.models import AssumedRole, sts_backends

from .actions import called
from .policies import Asked, Verdict, judge
from .refusals import refuse
from .state import state_lock

_log = logging.getLogger(__name__)
_SCOPE = re.compile(r"Credential=([^/]+)/[0-9]{8}/([^/]+)/")
_PREFIXES = {"monitoring": "cloudwatch"}
"""Services whose name in a signature isn't that of their actions."""
_UNGUARDED = ("sts:GetCallerIdentity",)
"""What anybody may call (STS API Reference, GetCallerIdentity)."""

Parameters = Mapping[str, Any]


class _Place(NamedTuple):
    """Where a call goes."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


class Permissions:
    """A WSGI application around another one, which gets only what its caller may do."""

    def __init__(self, application: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with state_lock:
            refusal = _refusal(environ)
        if refusal is None:
            return self._application(environ, start_response)
        service, message = refusal
        _log.warning("refused: %s", message)
        if service == "ec2":
            message = f"You are not authorized to perform this operation. {message}"
            return refuse(environ, start_response, service, 403, "UnauthorizedOperation", message)
        if environ.get("HTTP_X_AMZ_TARGET") or "/service/" in environ["PATH_INFO"]:
            return refuse(environ, start_response, service, 400, "AccessDeniedException", message)
        return refuse(environ, start_response, service, 403, "AccessDenied", message)


def _refusal(environ: dict[str, Any]) -> tuple[str, str] | None:
    """The service and what to say, where the caller is a role that may not do this."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    session = _session(scope[1]) if scope else None
    if scope is None or session is None:
        return None
    call = called(environ)
    if call is None:
        return scope[1], "The request names no operation."
    action = f"{_PREFIXES.get(call.service, call.service)}:{call.operation}"
    if action in _UNGUARDED:
        return None
    documents = _documents(session)
    for asked in _asked(action, _Place(session.account_id, scope[2]), _parameters(environ)):
        verdict = judge(documents, asked)
        if verdict is not Verdict.ALLOWED:
            why = (
                "with an explicit deny in an identity-based policy"
                if verdict is Verdict.DENIED
                else f"because no identity-based policy allows the {action} action"
            )
            where = "" if asked.resource == "*" else f" on resource: {asked.resource}"
            return call.service, f"User: {session.arn} is not authorized to perform: {action}{where} {why}"
    return None


def _session(key: str) -> AssumedRole | None:
    """The session of a role that has this access key."""
    for account in list(sts_backends.values()):
        for backend in account.values():
            if session := backend.get_assumed_role_from_access_key(key):
                return session
    return None


def _documents(session: AssumedRole) -> list[dict[str, Any]]:
    """The policies of a session's role, its own and those that are attached; none of one that is gone."""
    backend = iam_backends[session.account_id][session.partition]
    try:
        role = backend.get_role_by_arn(session.role_arn)
    except NotFoundException:
        return []
    attached = [
        version.document for each in role.managed_policies.values() for version in each.versions if version.is_default
    ]
    return [json.loads(each) for each in (*role.policies.values(), *attached)]


def _parameters(environ: dict[str, Any]) -> Parameters:
    """A call's parameters by their names in the API. The body can be read again afterwards."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    if environ.get("HTTP_X_AMZ_TARGET"):
        found: Parameters = json.loads(body or b"{}")
        return found
    return dict(parse_qsl(environ.get("QUERY_STRING", ""))) | dict(parse_qsl(body.decode(errors="replace")))


def _asked(action: str, place: _Place, given: Parameters) -> Sequence[Asked]:
    """What a call asks for: the action on each of its resources, with the context there."""
    service = action.partition(":")[0]
    if action in _OF_EC2:
        return [
            Asked(action, place.arn("ec2", f"{kind}/{given[name]}"), _tags(place, given[name]))
            for kind, name in _OF_EC2[action]
            if name in given
        ]
    if action in _OF_GROUPS:
        group = autoscaling_backends[place.account][place.region].autoscaling_groups.get(given["AutoScalingGroupName"])
        return [Asked(action, group.arn if group else given["AutoScalingGroupName"], {})]
    if service == "dynamodb" and "TableName" in given:
        table = given["TableName"].rpartition("/")[2]
        return [Asked(action, place.arn("dynamodb", f"table/{table}"), _of_items(place, table, given))]
    if service == "secretsmanager" and "SecretId" in given:
        secret = secretsmanager_backends[place.account][place.region].secrets.get(given["SecretId"])
        return [Asked(action, secret.arn if secret else given["SecretId"], {})]
    if action in _OF_PARAMETERS:
        return [Asked(action, place.arn("ssm", f"parameter/{given['Name'].removeprefix('/')}"), {})]
    if action == "cloudwatch:PutMetricData":
        return [Asked(action, "*", {"cloudwatch:namespace": [given.get("Namespace", "")]})]
    return [Asked(action, "*", {})]


_OF_EC2: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ec2:AssociateAddress": (("elastic-ip", "AllocationId"), ("instance", "InstanceId")),
    "ec2:CreateRoute": (("route-table", "RouteTableId"),),
    "ec2:ModifyInstanceAttribute": (("instance", "InstanceId"),),
    "ec2:ReplaceRoute": (("route-table", "RouteTableId"),),
}
"""Kind and parameter of an action's resources."""
_OF_GROUPS = ("autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat")
_OF_PARAMETERS = ("ssm:GetParameter", "ssm:PutParameter")


def _tags(place: _Place, resource: str) -> dict[str, list[str]]:
    """EC2 user guide, "Grant permission to tag Amazon EC2 resources": the keys of a tag that is there already."""
    tags = ec2_backends[place.account][place.region].tags.get(resource, {})
    return {
        f"{prefix}:resourcetag/{name.lower()}": [value] for name, value in tags.items() for prefix in ("aws", "ec2")
    }


_EXPRESSIONS = (
    "ConditionExpression",
    "FilterExpression",
    "KeyConditionExpression",
    "ProjectionExpression",
    "UpdateExpression",
)
_WORDS = frozenset({"add", "and", "between", "delete", "in", "not", "or", "remove", "set"})
_NAME = re.compile(r"(?<![\w.:#])(#?[A-Za-z_]\w*)(?!\w)(?!\s*\()")
"""An attribute at the top, or a word of an expression; not a value (``:me``), a function or what is in an attribute."""


def _of_items(place: _Place, table: str, given: Parameters) -> dict[str, list[str]]:
    """DynamoDB developer guide, "Using IAM policy conditions for fine-grained access control"."""
    item = {**given.get("Key", {}), **given.get("Item", {})}
    names = {name for each in _EXPRESSIONS for name in _NAME.findall(given.get(each, ""))}
    aliases = given.get("ExpressionAttributeNames", {})
    attributes = {aliases.get(name, name) for name in names if name.lower() not in _WORDS}
    context = {"dynamodb:attributes": sorted({*attributes, *item, *given.get("AttributesToGet", ())})}
    known = dynamodb_backends[place.account][place.region].tables.get(table)
    if known is not None and known.hash_key_attr in item:
        context["dynamodb:leadingkeys"] = [str(each) for each in item[known.hash_key_attr].values()]
    context |= {f"dynamodb:{name.lower()}": [given[name]] for name in ("ReturnValues", "Select") if name in given}
    return {name: values for name, values in context.items() if values}
