"""Instance metadata service version 2: what a request gets, as plain data. No sockets here.

From the EC2 user guide: 'Use the Instance Metadata Service to access instance metadata', 'Instance metadata categories'
and 'Instance identity documents'. Version 1 (without a token) is refused, as HttpTokens=required does.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
LONGEST_TTL_S = 21600
# A machine that never renews would fill the table; the oldest go first.
MOST_TOKENS = 1000


@dataclass(frozen=True)
class Role:
    """The role behind an instance profile: names, and a call that gives its current credentials as IMDS shows them."""

    profile_arn: str
    profile_id: str
    name: str
    credentials: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Facts:
    """What one instance can learn about itself."""

    instance_id: str
    image_id: str
    instance_type: str
    address: str
    hostname: str
    mac: str
    zone: str
    region: str
    account: str
    user_data: bytes | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    role: Role | None = None
    launched: str = ""
    target_state: str | None = None


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


class Metadata:
    """Answers requests for one instance; `facts` may be replaced while it serves."""

    def __init__(self, facts: Facts, clock: Callable[[], float]) -> None:
        self.facts = facts
        self._clock = clock
        self._tokens: dict[str, float] = {}

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Args: method and path as sent, header names in lower case."""
        path = path.partition("?")[0]
        if path.rstrip("/") == "/latest/api/token":
            return self._token(method, headers)
        if method not in ("GET", "HEAD"):
            return Answer(405)
        token = headers.get(TOKEN_HEADER)
        if token is None or self._tokens.get(token, 0.0) <= self._clock():
            return Answer(401)
        parts = path.strip("/").split("/")
        if parts == [""]:
            return Answer(200, b"latest")
        # Any dated version means the same here.
        return self._read(parts[1:])

    def _token(self, method: str, headers: Mapping[str, str]) -> Answer:
        if method != "PUT":
            return Answer(405)
        if "x-forwarded-for" in headers:
            return Answer(403)
        ttl = headers.get(TTL_HEADER, "")
        if not ttl.isascii() or not ttl.isdigit() or not 1 <= int(ttl) <= LONGEST_TTL_S:
            return Answer(400)
        now = self._clock()
        self._tokens = {token: end for token, end in self._tokens.items() if end > now}
        while len(self._tokens) >= MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        token = secrets.token_urlsafe(32)
        self._tokens[token] = now + int(ttl)
        return Answer(200, token.encode(), headers={"X-aws-ec2-metadata-token-ttl-seconds": ttl})

    def _read(self, parts: list[str]) -> Answer:
        facts = self.facts
        if parts == ["user-data"]:
            if facts.user_data is None:
                return Answer(404)
            return Answer(200, facts.user_data, "application/octet-stream")
        if parts == ["dynamic", "instance-identity", "document"]:
            return _json(identity_document(facts))
        if parts[:1] == ["meta-data"]:
            return _walk(self._tree(), parts[1:])
        if not parts:
            return Answer(200, b"dynamic\nmeta-data\nuser-data")
        return Answer(404)

    def _tree(self) -> "Tree":
        facts = self.facts
        tree: Tree = {
            "ami-id": facts.image_id,
            "hostname": facts.hostname,
            "instance-id": facts.instance_id,
            "instance-type": facts.instance_type,
            "local-hostname": facts.hostname,
            "local-ipv4": facts.address,
            "mac": facts.mac,
            "placement": {"availability-zone": facts.zone, "region": facts.region},
        }
        if facts.tags:
            tree["tags"] = {"instance": dict(facts.tags)}
        if facts.target_state is not None:
            tree["autoscaling"] = {"target-lifecycle-state": facts.target_state}
        if role := facts.role:
            tree["iam"] = {
                "info": lambda: json.dumps(
                    {
                        "Code": "Success",
                        "InstanceProfileArn": role.profile_arn,
                        "InstanceProfileId": role.profile_id,
                    }
                ),
                "security-credentials": {role.name: lambda: json.dumps(dict(role.credentials()))},
            }
        return tree


Tree = dict[str, "Tree | str | Callable[[], str]"]


def _walk(tree: Tree, parts: list[str]) -> Answer:
    node: Tree | str | Callable[[], str] = tree
    for part in parts:
        if part == "":
            continue
        if not isinstance(node, dict) or part not in node:
            return Answer(404)
        node = node[part]
    if isinstance(node, dict):
        names = [f"{name}/" if isinstance(child, dict) else name for name, child in sorted(node.items())]
        return Answer(200, "\n".join(names).encode())
    if isinstance(node, str):
        return Answer(200, node.encode())
    return Answer(200, node().encode(), "application/json")


def identity_document(facts: Facts) -> dict[str, object]:
    return {
        "accountId": facts.account,
        "architecture": "x86_64",
        "availabilityZone": facts.zone,
        "imageId": facts.image_id,
        "instanceId": facts.instance_id,
        "instanceType": facts.instance_type,
        "pendingTime": facts.launched,
        "privateIp": facts.address,
        "region": facts.region,
        "version": "2017-09-30",
    }


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value, indent=2).encode(), "application/json")
