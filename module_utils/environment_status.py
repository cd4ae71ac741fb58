"""What there is of an environment on AWS, for people: read it, say what it costs, and write it as a tree.

The tree is a dictionary of dictionaries, lists and values; `lines` writes it. Whoever wants to compute takes the tree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils import environment_data as data
    from module_utils import environment_lease as leases
    from module_utils import environment_network as network
    from module_utils import environment_service as service
    from module_utils.environment_reader import Reader, tags_of
else:
    from ansible.module_utils import environment_data as data
    from ansible.module_utils import environment_lease as leases
    from ansible.module_utils import environment_network as network
    from ansible.module_utils import environment_service as service
    from ansible.module_utils.environment_reader import Reader, tags_of

Tree = dict[str, Any]

HOURS_A_MONTH: Final = 730
"""AWS counts so in its calculators: 8,760 hours a year by 12."""


def status(
    client: Callable[[str], Any], project: str, environment: str, prices: Mapping[str, Any], *, now: datetime
) -> Tree:
    """Read the environment. What isn't there is left out."""
    reader = Reader(client, project, environment)
    there = {**network.describe(reader), **data.describe(reader), **service.describe(reader)}
    tree: Tree = {"environment": {"project": project, "environment": environment, "read": _moment(now)}}
    lease = leases.read(reader.client("dynamodb"), f"{reader.name}-lease")
    tree["environment"]["being changed by"] = leases.told(lease) if lease else "nobody"
    tree["network"] = {
        name: {
            "addresses": ", ".join(each["cidrs"]),
            "IPv6": each["ipv6"],
            "subnets": len(there.get("subnet", {})),
            "zones": ", ".join(sorted({one["zone"] for one in there.get("subnet", {}).values()})),
        }
        for name, each in there.get("VPC", {}).items()
    }
    tree["egress"] = {name: each["state"] for name, each in there.get("NAT gateway", {}).items()} | {
        name: f"NAT instance, its address {'taken' if each['leads_to'] == name else 'not taken'}"
        for name, each in ((kept.removeprefix("of "), each) for kept, each in there.get("address", {}).items())
        if "leads_to" in each
    }
    tree["data"] = _databases(reader, there, now) | {
        name: "table" + (", restorable to any point in time" if each["point_in_time_recovery"] else "")
        for name, each in there.get("table", {}).items()
    }
    images = _images(reader)
    tree["pinned to"] = _pin(reader)
    tree["images, the newest first"] = {
        image: {key: value for key, value in each.items() if key != "created"} for image, each in images.items()
    }
    tree["load balancers"] = _load_balancers(reader, there, now)
    tree["servers"] = _servers(reader, there, images)
    tree["as the database's owner"] = _maintenance(reader)
    tree["alarms"] = _alarms(reader)
    nats = [each for each in there.get("Auto Scaling group", {}).values() if _is_of_nat(each)]
    types = [each["type"] for each in _flat(tree["servers"])]
    types += [each["starts"]["instance_type"] for each in nats for _ in range(each["size"])]
    rows = costs(there, prices, servers=types)
    tree["cost a month"] = {
        "about": f"{sum(each['dollars'] for each in rows if each['dollars'] is not None):.0f} US dollars, "
        f"by prices of {prices['region']} read on {prices['read']}, without what depends on use",
        **{
            each["what"]: "not in playbooks/files/prices.yml"
            if each["dollars"] is None
            else f"about {each['dollars']:.2f}"
            for each in rows
        },
    }
    return {part: content for part, content in tree.items() if content}


def costs(
    there: Mapping[str, Mapping[str, Mapping[str, Any]]], prices: Mapping[str, Any], *, servers: list[str]
) -> list[dict[str, Any]]:
    """What each kind of part costs in a month: what, dollars (None where the table has no price)."""
    table = prices["prices"]

    def row(what: str, price: str, count: float) -> dict[str, Any]:
        given = table.get(price)
        if given is None:
            return {"what": what, "dollars": None}
        one = given.get("per_month", given.get("per_gib_month", given.get("per_hour", 0) * HOURS_A_MONTH))
        return {"what": what, "dollars": count * one}

    rows = []
    for what, kind, price in (
        ("NAT gateways", "NAT gateway", "NAT gateway"),
        ("public addresses for egress", "address", "public address"),
        ("load balancers", "load balancer", "load balancer"),
        ("secrets", "secret", "secret"),
    ):
        count = len(there.get(kind, {}))
        if count:
            rows.append(row(f"{what} ({count})", price, count))
    balanced = sum(len(each["subnets"]) for each in there.get("load balancer", {}).values())
    if balanced:
        # Elastic Load Balancing takes an address in each subnet of an internet-facing load balancer.
        rows.append(row(f"public addresses of load balancers ({balanced})", "public address", balanced))
    acls = there.get("web ACL", {})
    rules = sum(len(each["rules"]) for each in acls.values())
    if acls:
        rows.append(row(f"web ACLs ({len(acls)})", "web ACL", len(acls)))
        rows.append(row(f"rules of web ACLs ({rules})", "rule of a web ACL", rules))
    rows += [row(f"servers {each} ({servers.count(each)})", each, servers.count(each)) for each in sorted(set(servers))]
    for name, each in there.get("database", {}).items():
        copies = 2 if each["two_zones"] else 1
        rows.append(row(f"{name} ({each['class']}{', two zones' if copies == 2 else ''})", each["class"], copies))
        storage = f"database storage {each['storage_type']}"
        rows.append(row(f"{name}'s storage ({each['storage_gib']} GiB)", storage, copies * each["storage_gib"]))
    return rows


def lines(tree: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The tree as text."""
    for key, value in tree.items():
        indent = "  " * depth
        match value:
            case dict() if value:
                yield f"{indent}{key}"
                yield from lines(value, depth + 1)
            case list():
                yield f"{indent}{key}: {', '.join(map(str, value)) or 'none'}"
            case bool():
                yield f"{indent}{key}: {'yes' if value else 'no'}"
            case _:
                yield f"{indent}{key}: {value if value not in (None, '', {}) else 'none'}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(since: datetime | None, now: datetime) -> str:
    """How long ago something was, in words."""
    if since is None:
        return "never"
    minutes = max(int((now - since).total_seconds() // 60), 0)
    number, unit = (minutes, "minute")
    if minutes >= 2880:
        number, unit = minutes // 1440, "day"
    elif minutes >= 120:
        number, unit = minutes // 60, "hour"
    return f"{number} {unit}{'' if number == 1 else 's'} ago"


def _databases(reader: Reader, there: Mapping[str, Any], now: datetime) -> Tree:
    tree: Tree = {}
    snapshots = reader.all("rds", "describe_db_snapshots", "DBSnapshots")
    note = data.note_of_database(reader)
    for each in reader.all("rds", "describe_db_instances", "DBInstances"):
        name = each["DBInstanceIdentifier"]
        if name not in there.get("database", {}):
            continue
        made = [
            one["SnapshotCreateTime"]
            for one in snapshots
            if one["DBInstanceIdentifier"] == name and "SnapshotCreateTime" in one
        ]
        certificate = (each.get("CertificateDetails") or {}).get("ValidTill")
        tree[name] = {
            "state": each["DBInstanceStatus"],
            **({"kept by a restore": True} if name in note["kept"] else {}),
            **({"restored to": note["moment"]} if name == note["identifier"] and note.get("moment") else {}),
            "version": each["EngineVersion"],
            "class": each["DBInstanceClass"],
            "zones": 2 if each["MultiAZ"] else 1,
            "storage": f"{each['AllocatedStorage']} GiB",
            "restorable until": ago(each["LatestRestorableTime"], now)
            if each.get("LatestRestorableTime")
            else "unknown",
            "newest snapshot": ago(max(made, default=None), now),
            "backups kept": f"{each['BackupRetentionPeriod']} days",
            **({"certificate ends": _moment(certificate)} if certificate else {}),
        }
    return tree


def _images(reader: Reader) -> dict[str, dict[str, Any]]:
    found = reader.all("ec2", "describe_images", "Images", Owners=["self"], Filters=reader.tag_filters())
    images = {}
    for each in sorted(found, key=lambda image: str(image.get("CreationDate")), reverse=True):
        tags = tags_of(each.get("Tags"))
        images[each["ImageId"]] = {
            "release": tags.get("Release"),
            "commit": tags.get("GitSha", "")[:12],
            "made of": tags.get("BaseImageName"),
            "created": each.get("CreationDate"),
            "state": each["State"],
        }
    return images


def _load_balancers(reader: Reader, there: Mapping[str, Any], now: datetime) -> Tree:
    tree: Tree = {}
    for each in reader.all("elbv2", "describe_load_balancers", "LoadBalancers"):
        name = each["LoadBalancerName"]
        if name not in there.get("load balancer", {}):
            continue
        own = {key: value for key, value in there.get("listener", {}).items() if key.startswith(f"{name} port ")}
        ends: Tree = {}
        arns = {its: arn for arn, its in reader.names.items() if ":acm:" in arn}
        for certificate in sorted({one for listener in own.values() for one in listener["certificates"]}):
            described = reader.answer(
                "acm",
                "describe_certificate",
                "ResourceNotFoundException",
                CertificateArn=arns.get(certificate, certificate),
            )
            end = described.get("Certificate", {}).get("NotAfter")
            names = described.get("Certificate", {}).get("DomainName", certificate)
            ends[f"certificate of {names}"] = f"ends {_moment(end)}, in {(end - now).days} days" if end else "unknown"
        tree[name] = {
            "address": each["DNSName"],
            **(
                {"reached as": hosts}
                if (hosts := sorted({key.partition(" ")[0] for key in there.get("record", {})}))
                else {}
            ),
            "state": each["State"]["Code"],
            "ports": [key.rpartition(" ")[2] for key in own],
            **ends,
        }
    return tree


def overlay_path(there: Mapping[str, Any]) -> str:
    """How gateways reach servers, by where app subnets' default routes lead (docs/production.md, "Egress")."""
    tables = [each for each in there.get("route table", {}).values() if each.get("tags", {}).get("Role") == "app"]
    ways = {each["routes"].get("0.0.0.0/0") for each in tables}
    if ways & set(there.get("NAT gateway", {})):
        return "relayed, where a gateway isn't reachable itself"
    if ways and ways <= {each.get("leads_to") for each in there.get("address", {}).values()} - {None, ""}:
        return "direct"
    return "unknown"


def _is_of_nat(group: Mapping[str, Any]) -> bool:
    return bool(group["tags"].get("Role") == "nat")


def _is_no_server(group: Mapping[str, Any]) -> bool:
    return group["tags"].get("Role") in ("nat", "maintenance")


def _maintenance(reader: Reader) -> Tree:
    """What came of the last migration and the last retention, as the instances wrote it."""
    prefix = f"/{reader.project}/{reader.environment}/"
    names = {f"{prefix}{task}": task for task in ("migration", "retention")}
    parameters = reader.answer("ssm", "get_parameters", Names=list(names))["Parameters"]
    tree = {}
    for each in parameters:
        result = json.loads(each["Value"])
        said = f"{result.get('state')} at {result.get('ended')}, by {result.get('image')}" if result else "none yet"
        why = f": {result.get('message')}" if result.get("state") == "failed" else ""
        tree[names[each["Name"]]] = said + why
    return tree


def _servers(reader: Reader, there: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]]) -> Tree:
    """The groups with their servers: health, slot, way out, release."""
    slots: dict[str, str] = {}
    if f"{reader.name}-slots" in there.get("table", {}):
        items = reader.all("dynamodb", "scan", "Items", TableName=f"{reader.name}-slots", ConsistentRead=True)
        slots = {
            item["holder"]["S"]: f"{item['slot']['N']} ({item.get('ip', {}).get('S')})"
            for item in items
            if "holder" in item
        }
    way = overlay_path(there)
    tree: Tree = {}
    for group in reader.all("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups"):
        name = group["AutoScalingGroupName"]
        if name not in there.get("Auto Scaling group", {}) or _is_no_server(there["Auto Scaling group"][name]):
            continue
        health = {
            each["Target"]["Id"]: each["TargetHealth"]["State"]
            for arn in group.get("TargetGroupARNs", [])
            for each in reader.answer("elbv2", "describe_target_health", TargetGroupArn=arn)["TargetHealthDescriptions"]
        }
        ids = [each["InstanceId"] for each in group["Instances"]]
        found = reader.all("ec2", "describe_instances", "Reservations", InstanceIds=ids) if ids else []
        instances = {each["InstanceId"]: each for reservation in found for each in reservation["Instances"]}
        tree[name] = {
            "size": f"{group['DesiredCapacity']} ({group['MinSize']} to {group['MaxSize']})",
            "with a slot": f"{sum(1 for each in ids if each in slots)} of {len(ids)}",
            **_roll(reader, name),
            "servers": {
                each["InstanceId"]: {
                    "health": health.get(each["InstanceId"], "not registered"),
                    "state": each["LifecycleState"],
                    "zone": each["AvailabilityZone"],
                    "type": instances.get(each["InstanceId"], {}).get("InstanceType"),
                    "release": images.get(instances.get(each["InstanceId"], {}).get("ImageId", ""), {}).get("release"),
                    "slot": slots.get(each["InstanceId"]),
                    "overlay path": way,
                }
                for each in group["Instances"]
            },
        }
    return tree


def _roll(reader: Reader, group: str) -> Tree:
    """The latest roll, if there was one."""
    found = reader.answer("autoscaling", "describe_instance_refreshes", AutoScalingGroupName=group)["InstanceRefreshes"]
    return {"latest roll": f"{found[0]['Status']}, {found[0].get('PercentageComplete', 0)} %"} if found else {}


def _pin(reader: Reader) -> str:
    """What the service is pinned to, as role aws_service wrote it."""
    name = f"/{reader.project}/{reader.environment}/image-pin"
    found = reader.answer("ssm", "get_parameters", Names=[name])["Parameters"]
    if not found:
        return "nothing"
    pin = json.loads(found[0]["Value"])
    return f"{pin['image']} since {pin.get('since', 'unknown')} ({pin.get('reason', 'unknown')})"


def _flat(groups: Tree) -> list[dict[str, Any]]:
    return [server for group in groups.values() for server in group["servers"].values()]


def _alarms(reader: Reader) -> Tree:
    return {
        each["AlarmName"]: each["StateValue"]
        for each in reader.all("cloudwatch", "describe_alarms", "MetricAlarms")
        if reader.is_ours(each["AlarmName"], {})
    }
