"""What the launch template tells a NAT instance: its user data, a JSON object of names and ids, no secrets."""

import json
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

METADATA = "http://169.254.169.254/latest"
_TIMEOUT_S = 2.0


class SettingsError(Exception):
    """The user data can't be used; one line."""


@dataclass(frozen=True)
class Settings:
    """``inside``: networks that go out through this instance. ``route_tables``: those whose default route it is."""

    region: str
    slot_table: str
    allocation_id: str
    route_tables: tuple[str, ...]
    inside: tuple[IPv4Network, ...]
    endpoint_url: str | None = None


def parse(text: str) -> Settings:
    """Read the user data; raise SettingsError naming what is wrong with it."""
    try:
        told: dict[str, Any] = json.loads(text)
        return Settings(
            region=str(told["region"]),
            slot_table=str(told["slot_table"]),
            allocation_id=str(told["allocation_id"]),
            route_tables=tuple(str(each) for each in told["route_tables"]),
            inside=tuple(IPv4Network(each) for each in told["inside"]),
            endpoint_url=told.get("aws_endpoint_url"),
        )
    except KeyError as error:
        raise SettingsError(f"user data has no {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise SettingsError(f"user data: {error}") from None


def metadata(path: str, base: str = METADATA) -> str:
    """Return the text at a path of the instance metadata service, version 2. Raises OSError."""
    # Metadata is link-local: a proxy of the environment must never see it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    asked = urllib.request.Request(f"{base}/api/token", method="PUT", headers=headers)  # noqa: S310 -- http, by name
    with opener.open(asked, timeout=_TIMEOUT_S) as answer:
        token = answer.read().decode()
    headers = {"X-aws-ec2-metadata-token": token}
    asked = urllib.request.Request(f"{base}/{path}", headers=headers)  # noqa: S310 -- http, by name
    with opener.open(asked, timeout=_TIMEOUT_S) as answer:
        return str(answer.read().decode().strip())
