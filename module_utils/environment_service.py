"""An environment's app servers: what AWS has of role, load balancer, launch template and group, and what should be."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils import environment_alarms as watched
    from module_utils import environment_front as front
    from module_utils.environment_comparison import ANY, between, matching, optional
    from module_utils.environment_reader import Reader, instances_role, policy, tags_of, without_account
else:
    from ansible.module_utils import environment_alarms as watched
    from ansible.module_utils import environment_front as front
    from ansible.module_utils.environment_comparison import ANY, between, matching, optional
    from ansible.module_utils.environment_reader import Reader, instances_role, policy, tags_of, without_account

Found = dict[str, dict[str, dict[str, Any]]]

DATABASE: Final = "the database's address"
"""Stands for the database's host in what servers are told."""
DIGEST: Final = "a digest"

BALANCER_DEFAULTS: Final = {
    "access_logs.s3.enabled": "false",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "health_check_logs.s3.enabled": "false",
    "ipv6.deny_all_igw_traffic": "false",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}
"""What an Application Load Balancer has of which nobody said anything (Elastic Load Balancing API reference,
LoadBalancerAttribute). An attribute that isn't here is told when it is neither empty, "false" nor "0"."""
TARGET_GROUP_DEFAULTS: Final = {
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "slow_start.duration_seconds": "0",
    "stickiness.app_cookie.duration_seconds": "86400",
    "stickiness.enabled": "false",
    "stickiness.lb_cookie.duration_seconds": "86400",
    "stickiness.type": "lb_cookie",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}
"""The same of a target group (there, TargetGroupAttribute)."""

_METRICS: Final = {"cpu": "ASGAverageCPUUtilization", "requests": "ALBRequestCountPerTarget"}
"""AWS's names of what module autoscaling_rules follows."""
_OURS: Final = re.compile(r"(ami-[0-9a-z]+) [0-9a-f]{12}")
"""How role aws_service describes a version of the launch template."""
_NETWORK_ID: Final = re.compile(r"(?<=elastic-ip/)eipalloc-[0-9a-f]+$|(?<=route-table/)rtb-[0-9a-f]+$")
_TEMPLATE_KEYS: Final = {
    "ImageId",
    "InstanceType",
    "IamInstanceProfile",
    "SecurityGroupIds",
    "MetadataOptions",
    "NetworkInterfaces",
    "UserData",
    "BlockDeviceMappings",
}
"""What roles aws_service and aws_egress say in a version of the launch template."""


def describe(reader: Reader) -> Found:
    """Read the service; the network is read before, so that the reader knows its names."""
    found: Found = {}
    _roles(reader, found)
    groups = [
        each
        for each in reader.all("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups")
        if reader.is_ours(each["AutoScalingGroupName"], tags_of(each["Tags"]))
    ]
    members = {server["InstanceId"] for group in groups for server in group["Instances"]}
    _load_balancers(reader, found, members)
    found |= front.describe(reader)
    _listeners(reader, found)
    templates = _launch_templates(reader, found)
    servers = _servers(reader, found, members)
    for group in groups:
        _group(reader, found, group, servers, templates)
    _images(reader, found)
    _watchers(reader, found)
    return {kind: objects for kind, objects in found.items() if objects}


def _roles(reader: Reader, found: Found) -> None:
    for listed in reader.all("iam", "list_roles", "Roles"):
        name = listed["RoleName"]
        if not reader.is_ours(name, {}):
            continue
        role = reader.answer("iam", "get_role", RoleName=name)["Role"]
        inline = reader.all("iam", "list_role_policies", "PolicyNames", RoleName=name)
        attached = reader.all("iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name)
        found.setdefault("role", {})[reader.know(role["Arn"], name)] = {
            "trust": policy(role["AssumeRolePolicyDocument"]),
            "policies": {
                str(each): _with_names(
                    reader,
                    policy(reader.answer("iam", "get_role_policy", RoleName=name, PolicyName=each)["PolicyDocument"]),
                )
                for each in inline
            },
            "managed_policies": sorted(without_account(each["PolicyArn"]) for each in attached),
            "boundary": without_account(role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")),
            "longest_session_s": role.get("MaxSessionDuration", 3600),
            "path": role["Path"],
            "description": role.get("Description", ""),
            "tags": tags_of(role.get("Tags")),
        }
    for profile in reader.all("iam", "list_instance_profiles", "InstanceProfiles"):
        name = profile["InstanceProfileName"]
        if reader.is_ours(name, {}):
            tags = reader.answer("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"].get("Tags")
            found.setdefault("instance profile", {})[reader.know(profile["Arn"], name)] = {
                "roles": sorted(each["RoleName"] for each in profile["Roles"]),
                "tags": tags_of(tags),
            }
    # No role of ours makes these.
    for kind, operation, key, name_key in (
        ("IAM user", "list_users", "Users", "UserName"),
        ("IAM group", "list_groups", "Groups", "GroupName"),
    ):
        for each in reader.all("iam", operation, key):
            if reader.is_ours(each[name_key], {}):
                found.setdefault(kind, {})[reader.know(each["Arn"], each[name_key])] = {}
    for each in reader.all("iam", "list_policies", "Policies", Scope="Local"):
        if reader.is_ours(each["PolicyName"], {}):
            found.setdefault("IAM policy", {})[reader.know(each["Arn"], each["PolicyName"])] = {}


def _with_names(reader: Reader, statements: Any) -> Any:
    """A policy with names of the network's addresses and route tables in place of their ids."""
    if not isinstance(statements, list):
        return statements
    return [
        {**each, "Resource": sorted(_NETWORK_ID.sub(lambda found: reader.names.get(found[0], found[0]), arn)
                                    for arn in each["Resource"])}
        if "Resource" in each else each
        for each in statements
    ]  # fmt: skip


def _load_balancers(reader: Reader, found: Found, members: set[str]) -> None:
    ours = found_vpcs(reader)
    for each in reader.all("elbv2", "describe_target_groups", "TargetGroups"):
        arn = each["TargetGroupArn"]
        if each.get("VpcId") not in ours and not _is_named_for(reader, each["TargetGroupName"], arn):
            continue
        attributes = reader.answer("elbv2", "describe_target_group_attributes", TargetGroupArn=arn)["Attributes"]
        health = reader.answer("elbv2", "describe_target_health", TargetGroupArn=arn)["TargetHealthDescriptions"]
        found.setdefault("target group", {})[reader.know(arn, each["TargetGroupName"])] = {
            "protocol": each["Protocol"],
            "protocol_version": each.get("ProtocolVersion", "HTTP1"),
            "port": each["Port"],
            "target_type": each["TargetType"],
            "health_check": {
                "enabled": each.get("HealthCheckEnabled", True),
                "protocol": each["HealthCheckProtocol"],
                "path": each["HealthCheckPath"],
                "port": each["HealthCheckPort"],
                "interval_s": each["HealthCheckIntervalSeconds"],
                "timeout_s": each["HealthCheckTimeoutSeconds"],
                "healthy_count": each["HealthyThresholdCount"],
                "unhealthy_count": each["UnhealthyThresholdCount"],
                "codes": each.get("Matcher", {}).get("HttpCode", ""),
            },
            "attributes": _attributes(attributes, TARGET_GROUP_DEFAULTS),
            "targets_of_no_group": sorted({target["Target"]["Id"] for target in health} - members),
            "tags": _elb_tags(reader, arn),
        }
    for each in reader.all("elbv2", "describe_load_balancers", "LoadBalancers"):
        arn, name = each["LoadBalancerArn"], each["LoadBalancerName"]
        if each.get("VpcId") not in ours and not _is_named_for(reader, name, arn):
            continue
        attributes = reader.answer("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)["Attributes"]
        reader.know(each["DNSName"].lower(), name)
        found.setdefault("load balancer", {})[reader.know(arn, name)] = {
            "type": each["Type"],
            "scheme": each["Scheme"],
            "ip_address_type": each["IpAddressType"],
            "subnets": reader.named(zone["SubnetId"] for zone in each["AvailabilityZones"]),
            "security_groups": reader.named(each.get("SecurityGroups", [])),
            "attributes": _attributes(attributes, BALANCER_DEFAULTS),
            "firewall": front.firewall_of(reader, arn),
            "tags": _elb_tags(reader, arn),
        }
    for each in reader.all("elb", "describe_load_balancers", "LoadBalancerDescriptions"):
        if each.get("VPCId") in ours:
            found.setdefault("classic load balancer", {})[each["LoadBalancerName"]] = {}


def _listeners(reader: Reader, found: Found) -> None:
    """Listeners of the load balancers that were read before; the certificates, too."""
    balancers = [
        arn for arn, name in reader.names.items() if ":loadbalancer/" in arn and name in found.get("load balancer", {})
    ]
    for arn in balancers:
        name = reader.names[arn]
        for listener in reader.all("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn):
            rules = reader.all("elbv2", "describe_rules", "Rules", ListenerArn=listener["ListenerArn"])
            certificates = reader.all(
                "elbv2", "describe_listener_certificates", "Certificates", ListenerArn=listener["ListenerArn"]
            )
            listener_name = f"{name} port {listener['Port']}"
            found.setdefault("listener", {})[reader.know(listener["ListenerArn"], listener_name)] = {
                "protocol": listener["Protocol"],
                "tls_policy": listener.get("SslPolicy", "") if listener["Protocol"] in ("HTTPS", "TLS") else "",
                "certificates": reader.named(
                    {each["CertificateArn"] for each in certificates or listener.get("Certificates", [])}
                ),
                "actions": [_action(reader, action) for action in listener["DefaultActions"]],
                "rules": {
                    rule["Priority"]: {
                        "conditions": [_condition(condition) for condition in rule["Conditions"]],
                        "actions": [_action(reader, action) for action in rule["Actions"]],
                    }
                    for rule in rules
                    if not rule["IsDefault"]
                },
            }


def found_vpcs(reader: Reader) -> set[str]:
    """The ids of the environment's VPCs, which were read before."""
    return {each for each in reader.names if each.startswith("vpc-")}


def _is_named_for(reader: Reader, name: str, arn: str) -> bool:
    """Whether something in an existing VPC is the environment's. Only where the name is like it are the tags read."""
    return reader.is_ours(name, {}) and reader.is_ours(name, _elb_tags(reader, arn))


def _elb_tags(reader: Reader, arn: str) -> dict[str, str]:
    (described,) = reader.answer("elbv2", "describe_tags", ResourceArns=[arn])["TagDescriptions"]
    return tags_of(described["Tags"])


def _attributes(listed: list[dict[str, str]], defaults: Mapping[str, str]) -> dict[str, str]:
    """The attributes that aren't as AWS gives them."""
    found = {each["Key"]: each.get("Value") or "" for each in listed}
    return {
        key: value
        for key, value in found.items()
        if value != defaults.get(key, value if value in ("", "false", "0") else None)
    }


def _action(reader: Reader, action: Mapping[str, Any]) -> dict[str, Any]:
    """What a listener does, in one form of those that mean the same."""
    kept: dict[str, Any] = {
        key: value
        for key, value in action.items()
        if key not in ("Order", "TargetGroupArn", "TargetGroupName", "ForwardConfig") and value
    }
    if action["Type"] == "forward":
        several = action.get("ForwardConfig", {}).get("TargetGroups", [])
        arns = [each["TargetGroupArn"] for each in several] or [action.get("TargetGroupArn")]
        kept["to"] = [action["TargetGroupName"]] if "TargetGroupName" in action else reader.named(filter(None, arns))
        if action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig", {}).get("Enabled"):
            kept["sticky"] = True
    return kept


def _condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    values = condition.get("Values") or next(
        (value.get("Values") for key, value in condition.items() if key.endswith("Config")), None
    )
    return {
        "field": condition["Field"],
        "values": values or {key: value for key, value in condition.items() if key != "Field"},
    }


def _launch_templates(reader: Reader, found: Found) -> dict[tuple[str, str], dict[str, Any]]:
    """Read the templates; returns the data of each version by the template's id and the version's number."""
    data: dict[tuple[str, str], dict[str, Any]] = {}
    for template in reader.all("ec2", "describe_launch_templates", "LaunchTemplates"):
        name, tags = template["LaunchTemplateName"], tags_of(template.get("Tags"))
        if not reader.is_ours(name, tags):
            continue
        identifier = reader.know(template["LaunchTemplateId"], name) and template["LaunchTemplateId"]
        versions = reader.all(
            "ec2", "describe_launch_template_versions", "LaunchTemplateVersions", LaunchTemplateId=identifier
        )
        for each in versions:
            data[identifier, str(each["VersionNumber"])] = each["LaunchTemplateData"]
        found.setdefault("launch template", {})[name] = {
            "versions_by_hand": [str(each["VersionNumber"]) for each in versions if not _is_of_the_role(each)],
            "tags": tags,
        }
    return data


def _is_of_the_role(version: Mapping[str, Any]) -> bool:
    """Whether role aws_service may have made a version: its description says what it has, and it has nothing else."""
    said = _OURS.fullmatch(version.get("VersionDescription") or "")
    given = version["LaunchTemplateData"]
    keys = {key for key, value in given.items() if value not in (None, "", [], {})}
    return said is not None and given.get("ImageId") == said[1] and keys <= _TEMPLATE_KEYS


def template_data(reader: Reader, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a version of a launch template says, with names."""
    kept = {key: value for key, value in given.items() if key not in _TEMPLATE_KEYS and value}
    profile = given.get("IamInstanceProfile") or {}
    if given.get("NetworkInterfaces"):
        kept["interfaces"] = [
            {
                "public_address": each.get("AssociatePublicIpAddress", False),
                "security_groups": reader.named(each.get("Groups") or []),
            }
            for each in given["NetworkInterfaces"]
        ]
    if given.get("BlockDeviceMappings"):
        kept["volumes"] = [
            {**each.get("Ebs", {}), **{key: value for key, value in each.items() if key not in ("Ebs", "DeviceName")}}
            for each in given["BlockDeviceMappings"]
        ]
    return {
        **kept,
        "image": given.get("ImageId"),
        "instance_type": given.get("InstanceType"),
        "profile": profile.get("Name") or str(profile.get("Arn", "")).rpartition("/")[2],
        "security_groups": reader.named(given.get("SecurityGroupIds") or []),
        "metadata": {
            key: str(value)
            for key, value in (given.get("MetadataOptions") or {}).items()
            if key != "State" and (key, value) != ("HttpProtocolIpv6", "disabled")
        },
        "told": _told(reader, given.get("UserData") or ""),
    }


def _told(reader: Reader, user_data: str) -> Any:
    """What servers are told at their boot; text that isn't of ours stays as it is."""
    try:
        told = json.loads(base64.b64decode(user_data))
        if "route_tables" in told:  # a NAT instance
            allocation = told["allocation_id"]
            return {
                **told,
                "allocation_id": reader.names.get(allocation, allocation),
                "route_tables": reader.named(told["route_tables"]),
            }
        host = told["database"]["host"]
        told["database"]["host"] = DATABASE if reader.names.get(host) == DATABASE else host
    except (binascii.Error, ValueError, KeyError, TypeError):
        return user_data
    if re.fullmatch(r"[0-9a-f]{16}", str((told.get("mail") or {}).get("secret_digest"))):
        told["mail"]["secret_digest"] = DIGEST
    return told


def _servers(reader: Reader, found: Found, members: set[str]) -> dict[str, dict[str, Any]]:
    """The groups' servers by id; other instances of the environment become objects of their own."""
    ours = found_vpcs(reader)
    alive = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    servers = {}
    for reservation in reader.all("ec2", "describe_instances", "Reservations", Filters=[alive]):
        for each in reservation["Instances"]:
            identifier, tags = each["InstanceId"], tags_of(each.get("Tags"))
            if identifier in members:
                servers[identifier] = each
            elif (tags.get("Role"), tags.get("Task")) == ("maintenance", "migrate") and reader.is_ours("", tags):
                profile = each.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2]
                found.setdefault("migration's instance", {})[identifier] = {"profile": profile}
            elif each.get("VpcId") in ours or reader.is_ours(tags.get("Name", ""), tags):
                found.setdefault("instance", {})[identifier] = {"role": tags.get("Role", ""), "tags": tags}
            else:
                continue
            reader.know(identifier, identifier)
            for device in each.get("BlockDeviceMappings", []):
                reader.know(device.get("Ebs", {}).get("VolumeId", ""), f"a volume of {identifier}")
    return servers


def _group(
    reader: Reader,
    found: Found,
    group: Mapping[str, Any],
    servers: Mapping[str, Mapping[str, Any]],
    templates: Mapping[tuple[str, str], Mapping[str, Any]],
) -> None:
    name = group["AutoScalingGroupName"]
    template = group.get("LaunchTemplate") or {}
    version, members = str(template.get("Version", "")), group["Instances"]
    own = [servers[each["InstanceId"]] for each in members if each["InstanceId"] in servers]
    policies = reader.all("autoscaling", "describe_policies", "ScalingPolicies", AutoScalingGroupName=name)
    hooks = reader.answer("autoscaling", "describe_lifecycle_hooks", AutoScalingGroupName=name)["LifecycleHooks"]
    actions = reader.all(
        "autoscaling", "describe_scheduled_actions", "ScheduledUpdateGroupActions", AutoScalingGroupName=name
    )
    drop = ("AutoScalingGroupName", "ScheduledActionARN", "ScheduledActionName", "Time", "StartTime")
    found.setdefault("Auto Scaling group", {})[reader.know(group["AutoScalingGroupARN"], name)] = {
        "smallest": group["MinSize"],
        "largest": group["MaxSize"],
        "size": group["DesiredCapacity"],
        "template": reader.names.get(template.get("LaunchTemplateId", ""), template.get("LaunchTemplateName", "")),
        "version": version,
        "starts": template_data(reader, templates.get((template.get("LaunchTemplateId", ""), version), {})),
        "mixed_instances": group.get("MixedInstancesPolicy") or {},
        "subnets": reader.named(group["VPCZoneIdentifier"].split(",")),
        "target_groups": reader.named(group.get("TargetGroupARNs", [])),
        "other_sources": [
            each["Identifier"]
            for each in group.get("TrafficSources", [])
            if each["Identifier"] not in group.get("TargetGroupARNs", [])
        ]
        + group.get("LoadBalancerNames", []),
        "health_check": group["HealthCheckType"],
        "health_grace_s": group["HealthCheckGracePeriod"],
        "cooldown_s": group["DefaultCooldown"],
        "warmup_s": group.get("DefaultInstanceWarmup"),
        "suspended": sorted(each["ProcessName"] for each in group.get("SuspendedProcesses", [])),
        "metrics": bool(group.get("EnabledMetrics")),
        "termination_policies": group.get("TerminationPolicies", []),
        "protects_new_servers": group["NewInstancesProtectedFromScaleIn"],
        "protected_servers": sorted(each["InstanceId"] for each in members if each.get("ProtectedFromScaleIn")),
        "standby_servers": sorted(each["InstanceId"] for each in members if each["LifecycleState"] == "Standby"),
        "longest_life_s": group.get("MaxInstanceLifetime"),
        "capacity_rebalance": group.get("CapacityRebalance"),
        "placement_group": group.get("PlacementGroup"),
        "warm_pool": group.get("WarmPoolConfiguration") or {},
        "maintenance": {
            key: value for key, value in (group.get("InstanceMaintenancePolicy") or {}).items() if value != -1
        },
        "tags": {
            each["Key"]: each["Value"] + ("" if each.get("PropagateAtLaunch") else " (on the group only)")
            for each in group["Tags"]
            if not each["Key"].startswith("aws:")
        },
        "policies": {each["PolicyName"]: _scaling(each) for each in policies},
        "hooks": {
            each["LifecycleHookName"]: {
                key: value
                for key, value in each.items()
                # AWS derives the global timeout from the other.
                if key not in ("AutoScalingGroupName", "LifecycleHookName", "GlobalTimeout")
            }
            for each in hooks
        },
        "scheduled": {
            each["ScheduledActionName"]: {key: value for key, value in each.items() if key not in drop}
            for each in actions
        },
        "servers_security_groups": sorted(
            {
                reader.names.get(each["GroupId"], each["GroupId"])
                for one in own
                for each in one.get("SecurityGroups", [])
            }
        ),
        "servers_profiles": sorted(
            {one.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2] for one in own}
        ),
        "servers_metadata_tokens": sorted({one.get("MetadataOptions", {}).get("HttpTokens", "") for one in own}),
        "servers_public_addresses": sorted(one["InstanceId"] for one in own if one.get("PublicIpAddress")),
    }


def _scaling(given: Mapping[str, Any]) -> dict[str, Any]:
    target = given.get("TargetTrackingConfiguration") or {}
    kept = {
        key: given[key]
        for key in (
            "AdjustmentType",
            "ScalingAdjustment",
            "StepAdjustments",
            "Cooldown",
            "PredictiveScalingConfiguration",
        )
        if given.get(key)
    }
    return {
        **kept,
        "type": given["PolicyType"],
        "enabled": given.get("Enabled", True),
        "metric": target.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
        or target.get("CustomizedMetricSpecification"),
        "of": _counted(target.get("PredefinedMetricSpecification", {}).get("ResourceLabel") or ""),
        "target": target.get("TargetValue"),
        "only_grows": target.get("DisableScaleIn", False),
    }


def _counted(label: str) -> str:
    """A resource label (``app/<balancer>/<id>/targetgroup/<group>/<id>``) without the ids."""
    parts = label.split("/")
    return " ".join(parts[1:6:3]) if len(parts) == 6 else label


def _images(reader: Reader, found: Found) -> None:
    of_images = set()
    for image in reader.all("ec2", "describe_images", "Images", Owners=["self"], Filters=reader.tag_filters()):
        permissions = reader.answer(
            "ec2", "describe_image_attribute", ImageId=image["ImageId"], Attribute="launchPermission"
        ).get("LaunchPermissions", [])
        found.setdefault("image", {})[reader.know(image["ImageId"], image["Name"])] = {
            "shared_with": sorted(str(value) for each in permissions for value in each.values()),
            "role": tags_of(image.get("Tags")).get("Role", ""),
        }
        of_images |= {
            each["Ebs"]["SnapshotId"] for each in image["BlockDeviceMappings"] if "SnapshotId" in each.get("Ebs", {})
        }
    for snapshot in reader.all("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"]):
        identifier, tags = snapshot["SnapshotId"], tags_of(snapshot.get("Tags"))
        is_of_image = identifier in of_images
        if not is_of_image and not reader.is_ours(tags.get("Name", ""), tags):
            continue
        shared = reader.answer(
            "ec2", "describe_snapshot_attribute", SnapshotId=identifier, Attribute="createVolumePermission"
        ).get("CreateVolumePermissions", [])
        reader.know(identifier, identifier)
        if shared or not is_of_image:
            found.setdefault("snapshot", {})[identifier] = {
                "of_an_image": is_of_image,
                "shared_with": sorted(str(value) for each in shared for value in each.values()),
            }
    for volume in reader.all(
        "ec2", "describe_volumes", "Volumes", Filters=[{"Name": "status", "Values": ["available"]}]
    ):
        tags = tags_of(volume.get("Tags"))
        if reader.is_ours(tags.get("Name", ""), tags):
            found.setdefault("unused volume", {})[reader.know(volume["VolumeId"], volume["VolumeId"])] = {}


def _watchers(reader: Reader, found: Found) -> None:
    """Alarms, dashboards and the topics that they are told to, without AWS's ids of what they watch."""
    for each in reader.all("cloudwatch", "describe_alarms", "MetricAlarms"):
        if reader.is_ours(each["AlarmName"], {}):
            found.setdefault("alarm", {})[reader.know(each["AlarmArn"], each["AlarmName"])] = _alarm(each)
    for each in reader.all("cloudwatch", "list_dashboards", "DashboardEntries"):
        name = each["DashboardName"]
        if reader.is_ours(name, {}):
            body = json.loads(reader.answer("cloudwatch", "get_dashboard", DashboardName=name)["DashboardBody"])
            found.setdefault("dashboard", {})[reader.know(each["DashboardArn"], name)] = watched.without_ids(body)
    for each in reader.all("sns", "list_topics", "Topics"):
        arn = each["TopicArn"]
        if reader.is_ours(name := arn.rpartition(":")[2], {}):
            listed = reader.all("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=arn)
            tags = reader.answer("sns", "list_tags_for_resource", ResourceArn=arn)["Tags"]
            found.setdefault("topic", {})[reader.know(arn, name)] = {
                "tells": sorted(f"{one['Protocol']} {one['Endpoint']}" for one in listed),
                "tags": tags_of(tags),
            }


def _alarm(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(without_account(json.dumps(watched.without_ids(watched.compared(given)))))
    return found


def _watched(settings: Mapping[str, Any]) -> Found:
    """The alarms, the dashboard and the topic that role aws_service makes, and alarms of others that rolls watch."""
    name = settings["name"]
    others = {
        each: optional({"ActionsEnabled": True, **dict.fromkeys(_ALARM_KEYS, ANY)})
        for each in settings["roll_alarms"]
        if each.startswith(f"{name}-")
    }
    if not settings["alarms"]:
        return {"alarm": others}
    topic = settings["alarm_topic_arn"] or f"arn:aws:sns:{settings['region']}:000000000000:{name}-alarms"
    given = {
        "name": name,
        "load_balancer": f"app/{name}-app",
        "target_group": f"targetgroup/{name}-app",
        "database": f"{name}-database",
        "topic": topic,
        "limits": settings["alarm_limits"],
        "region": settings["region"],
    }
    own = {} if settings["alarm_topic_arn"] else {f"{name}-alarms": _topic(settings)}
    return {
        "alarm": {**others, **{each: _alarm(alarm) for each, alarm in watched.alarms(given).items()}},
        "dashboard": {name: watched.dashboard(given)},
        "topic": own,
    }


def _topic(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"tells": sorted(f"email {each}" for each in settings["alarm_emails"]), "tags": settings["tags"]}


_ALARM_KEYS: Final = (
    *("AlarmDescription", "AlarmActions", "OKActions", "InsufficientDataActions", "Namespace", "MetricName"),
    *("Dimensions", "Statistic", "ExtendedStatistic", "Period", "Unit", "Metrics", "EvaluationPeriods"),
    *("DatapointsToAlarm", "ComparisonOperator", "Threshold", "TreatMissingData"),
)


def desired(settings: Mapping[str, Any]) -> Found:
    """What role aws_service makes: ``settings`` are its inputs without their prefix, and what it derives from them."""
    name, tags = f"{settings['name']}-app", settings["tags"]
    wanted, after = settings["target_group"], settings["maintenance"]
    listeners = {
        f"{name} port {each['Port']}": {
            "protocol": each["Protocol"],
            "tls_policy": each.get("SslPolicy", ""),
            "certificates": sorted(one["CertificateArn"] for one in each.get("Certificates", [])),
            "actions": [_action(_NOBODY, action) for action in each["DefaultActions"]],
            "rules": {
                rule["Priority"]: {
                    "conditions": [_condition(condition) for condition in rule["Conditions"]],
                    "actions": [_action(_NOBODY, action) for action in rule["Actions"]],
                }
                for rule in each.get("Rules", [])
            },
        }
        for each in settings["listeners"]
    }
    least, most = settings["instances_min"], settings["instances_max"]
    told = json.loads(json.dumps(settings["told"]))
    told["database"]["host"] = DATABASE
    if "mail" in told:
        told["mail"]["secret_digest"] = DIGEST
    metadata = {
        "HttpEndpoint": "http_endpoint",
        "HttpTokens": "http_tokens",
        "HttpPutResponseHopLimit": "http_put_response_hop_limit",
        "InstanceMetadataTags": "instance_metadata_tags",
    }
    zones = settings["zone_names"]
    before = front.balancer(settings)
    return {
        "log group": {settings["log_group"]: {"days": settings["log_days"], "tags": tags}},
        "role": {
            name: instances_role(
                "app",
                f"{settings['words']}: app servers",
                settings["policy"],
                settings["managed_policies"],
                tags,
            ),
            after["name"]: instances_role(
                "maintenance",
                f"{settings['words']}: what works as the database's owner",
                after["policy"],
                [],
                after["tags"],
            ),
        },
        "instance profile": {
            name: {"roles": [name], "tags": tags},
            after["name"]: {"roles": [after["name"]], "tags": after["tags"]},
        },
        "target group": {
            name: {
                "protocol": "HTTP",
                "protocol_version": "HTTP1",
                "port": 8000,
                "target_type": "instance",
                "health_check": {
                    "enabled": True,
                    "protocol": "HTTP",
                    "path": wanted["health_check_path"],
                    "port": wanted["health_check_port"],
                    "interval_s": int(wanted["health_check_interval_seconds"]),
                    "timeout_s": int(wanted["health_check_timeout_seconds"]),
                    "healthy_count": int(wanted["healthy_threshold_count"]),
                    "unhealthy_count": int(wanted["unhealthy_threshold_count"]),
                    "codes": wanted["matcher"]["http_code"],
                },
                "attributes": {
                    "deregistration_delay.timeout_seconds": str(wanted["deregistration_delay_timeout_seconds"])
                },
                "tags": tags,
            }
        },
        "load balancer": {
            name: {
                "type": "application",
                "scheme": "internet-facing",
                "ip_address_type": "dualstack" if settings["dual_stack"] else "ipv4",
                "subnets": [f"{settings['name']}-public-{zone}" for zone in zones],
                "security_groups": [f"{settings['name']}-alb"],
                "firewall": before["firewall"],
                "attributes": {
                    **before["attributes"],
                    "deletion_protection.enabled": "true" if settings["deletion_protection"] else "",
                    "idle_timeout.timeout_seconds": str(settings["idle_timeout_s"]),
                    "routing.http.drop_invalid_header_fields.enabled": "true",
                },
                "tags": tags,
            }
        },
        "listener": listeners,
        "launch template": {
            name: {"versions_by_hand": [], "tags": tags},
            after["name"]: {"versions_by_hand": [], "tags": after["tags"]},
        },
        "Auto Scaling group": {
            name: {
                # A scheduled action may have chosen it.
                "smallest": between(least, max([least, *(each["min"] for each in settings["scheduled"])])),
                "largest": most,
                # The scaling policy chooses it.
                "size": between(least, most),
                "template": name,
                "version": matching("[0-9]+"),
                "starts": {
                    "image": settings["image"] or matching("ami-[0-9a-z]+"),
                    "instance_type": settings["instance_type"],
                    "profile": name,
                    "security_groups": [f"{settings['name']}-app"],
                    "metadata": {key: str(settings["metadata"][its]) for key, its in metadata.items()},
                    "volumes": _volumes(settings),
                    "told": told,
                },
                "subnets": [f"{settings['name']}-app-{zone}" for zone in zones],
                "target_groups": [name],
                "health_check": "ELB",
                "health_grace_s": settings["health_grace_s"],
                # Auto Scaling API reference, CreateAutoScalingGroup: the defaults.
                "cooldown_s": 300,
                "warmup_s": settings["warmup_s"],
                "maintenance": {
                    "MinHealthyPercentage": 100,
                    "MaxHealthyPercentage": 100 + settings["surge_percent"],
                },
                "metrics": True,
                "termination_policies": ["Default"],
                "protects_new_servers": False,
                "tags": {**tags, "Name": name},
                "policies": {
                    each["name"]: {
                        "type": "TargetTrackingScaling",
                        "enabled": True,
                        "metric": _METRICS[each["metric"]],
                        "of": f"{name} {name}" if each["metric"] == "requests" else "",
                        "target": float(each["target"]),
                        "only_grows": False,
                    }
                    for each in settings["targets"]
                },
                "hooks": {
                    each["name"]: {
                        "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{each['transition'].upper()}",
                        "HeartbeatTimeout": each["timeout_s"],
                        "DefaultResult": each["default_result"].upper(),
                    }
                    for each in settings["hooks"]
                },
                "scheduled": {
                    each["name"]: {
                        "Recurrence": each["recurrence"],
                        "TimeZone": each["time_zone"],
                        "MinSize": each["min"],
                    }
                    for each in settings["scheduled"]
                },
                "servers_security_groups": [f"{settings['name']}-app"],
                "servers_profiles": [name],
                "servers_metadata_tokens": ["required"],
            },
            after["name"]: _maintenance_group(settings, metadata),
        },
        **_watched(settings),
        **front.desired(settings),
        "image": {"~.*": {"shared_with": [], "role": matching("app|nat")}},
        "parameter": {
            settings["pin_name"]: optional({"type": "String", "tags": tags, "description": ANY}),
            **{each: {"type": "String", "tags": after["tags"], "description": ANY} for each in after["parameters"]},
        },
        # One that migrates the database, while a roll begins.
        "migration's instance": {"~i-.*": {"profile": after["name"]}},
    }


def _volumes(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The root volume of what the role's launch templates start."""
    key = {"KmsKeyId": settings["volume_key"]} if settings["volume_key"] else {}
    return [{"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True, **key}]


def _maintenance_group(settings: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The group of the instance that runs the retention at night, as role aws_service makes it."""
    after = settings["maintenance"]
    told = json.loads(json.dumps(after["told"]))
    told["database"]["host"] = DATABASE
    return {
        "smallest": 0,
        "largest": 1,
        "size": between(0, 1),
        "template": after["name"],
        "version": matching("[0-9]+"),
        "starts": {
            "image": matching("ami-[0-9a-z]+"),
            "instance_type": settings["instance_type"],
            "profile": after["name"],
            "security_groups": [f"{settings['name']}-app"],
            "metadata": {key: str(settings["metadata"][its]) for key, its in metadata.items()},
            "volumes": _volumes(settings),
            "told": told,
        },
        "subnets": [f"{settings['name']}-app-{zone}" for zone in settings["zone_names"]],
        "health_check": "EC2",
        "health_grace_s": 300,
        # Auto Scaling API reference, CreateAutoScalingGroup: the defaults.
        "cooldown_s": 300,
        "warmup_s": 0,
        "maintenance": {"MinHealthyPercentage": 0, "MaxHealthyPercentage": 100},
        "termination_policies": ["Default"],
        "protects_new_servers": False,
        "tags": {**after["tags"], "Name": after["name"], "Task": "retention"},
        "policies": {},
        "hooks": {},
        "scheduled": {
            each["name"]: {
                "Recurrence": each["recurrence"],
                "TimeZone": each["time_zone"],
                "DesiredCapacity": each["desired"],
            }
            for each in after["scheduled"]
        },
        "servers_security_groups": ANY,
        "servers_profiles": ANY,
        "servers_metadata_tokens": ANY,
    }


class _Nobody:
    """Stands for a reader where names are known already."""

    @staticmethod
    def named(_identifiers: Any) -> list[str]:
        return []


_NOBODY: Any = _Nobody()
