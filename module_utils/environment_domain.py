"""An environment's name in DNS: the records of its host in a hosted zone of Route 53, and its certificate in ACM. Pure.

Amazon Route 53 Developer Guide, "Routing traffic to an ELB load balancer": an alias record names the load balancer's
DNS name and its own hosted zone; A for IPv4, AAAA for dual-stack. AWS Certificate Manager User Guide, "AWS Certificate
Manager DNS validation": a CNAME record proves the domain for as long as it is there, also for later certificates of
the same domain in the same account.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

Record = dict[str, Any]
"""A ResourceRecordSet of Route 53."""

VALIDATION_TTL_S: Final = 300
ADDRESSES: Final = ("A", "AAAA")
_NAMES_ITS_HOST: Final = ("A", "AAAA", "CNAME")


class DomainError(ValueError):
    """What was asked for can't be; the message says why and what can be."""


def host_of(url: str) -> str:
    """The host of the address at which people reach the application. Raises DomainError."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise DomainError(f"parkmesh_public_url must begin with https:// where aws_service_zone is set, not {url}")
    return parts.hostname.rstrip(".")


def is_within(host: str, zone: str) -> bool:
    return host == zone or host.endswith(f".{zone}")


def plain(name: str) -> str:
    """A record's or zone's name as people write it: Route 53 ends it with a dot."""
    return name.rstrip(".").lower()


def chosen_zone(zones: Iterable[Mapping[str, Any]], name: str, host: str) -> Mapping[str, Any]:
    """The public hosted zone of that name. Raises DomainError unless the account has just one and the host is in it."""
    public = [each for each in zones if not each.get("Config", {}).get("PrivateZone")]
    found = [each for each in public if plain(each["Name"]) == plain(name)]
    if not found:
        there = ", ".join(sorted(plain(each["Name"]) for each in public)) or "none"
        raise DomainError(
            f"this account has no public hosted zone {name} in Route 53 (it has: {there}): make it, or let "
            "aws_service_zone be empty and name a certificate in aws_service_certificate_arn"
        )
    if len(found) > 1:
        raise DomainError(f"this account has {len(found)} public hosted zones {name}: remove those that nobody asks")
    if not is_within(host, plain(name)):
        raise DomainError(f"parkmesh_public_url's host {host} isn't in the hosted zone {name}")
    return found[0]


def is_of_environment(record: Mapping[str, Any], balancer: str) -> bool:
    """Whether a record is an alias of a load balancer with this name, of now or before.

    A load balancer's DNS name is its name, a number, its region and a domain of AWS's.
    """
    target = plain(record.get("AliasTarget", {}).get("DNSName", ""))
    return re.fullmatch(rf"(dualstack\.)?{re.escape(balancer.lower())}-[0-9a-f]+\..+", target) is not None


def strangers(records: Iterable[Mapping[str, Any]], host: str, balancer: str) -> list[str]:
    """What answers for the host already and isn't this environment's, in words."""
    return [
        f"{each['Type']} {shown(each)}"
        for each in records
        if plain(each["Name"]) == host and each["Type"] in _NAMES_ITS_HOST and not is_of_environment(each, balancer)
    ]


def shown(record: Mapping[str, Any]) -> str:
    """What a record points to."""
    if "AliasTarget" in record:
        return plain(record["AliasTarget"]["DNSName"])
    return ", ".join(each["Value"] for each in record.get("ResourceRecords", []))


def aliases(host: str, balancer: Mapping[str, Any], *, dual_stack: bool) -> dict[str, Record]:
    """The records that a host needs to reach a load balancer (as DescribeLoadBalancers tells of it), by their type."""
    target = {
        "HostedZoneId": balancer["CanonicalHostedZoneId"],
        "DNSName": balancer["DNSName"],
        "EvaluateTargetHealth": False,
    }
    kinds = ADDRESSES if dual_stack else ADDRESSES[:1]
    return {kind: {"Name": f"{host}.", "Type": kind, "AliasTarget": target} for kind in kinds}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records say the same; Route 53 writes names in lower case and with a dot at the end."""
    return bool(_compared(one) == _compared(other))


def _compared(record: Mapping[str, Any]) -> Any:
    target = record.get("AliasTarget") or {}
    return (
        plain(record["Name"]),
        record["Type"],
        record.get("TTL"),
        plain(target.get("DNSName", "")),
        target.get("HostedZoneId"),
        sorted(plain(each["Value"]) for each in record.get("ResourceRecords") or []),
        record.get("SetIdentifier"),
    )


def validation(certificate: Mapping[str, Any]) -> list[Record]:
    """The records that prove a certificate's domains (as DescribeCertificate tells of it), each once."""
    found = {}
    for each in certificate.get("DomainValidationOptions", []):
        if record := each.get("ResourceRecord"):
            found[record["Name"], record["Type"]] = {
                "Name": record["Name"],
                "Type": record["Type"],
                "TTL": VALIDATION_TTL_S,
                "ResourceRecords": [{"Value": record["Value"]}],
            }
    return list(found.values())
