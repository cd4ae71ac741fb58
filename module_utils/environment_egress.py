"""An environment's NAT instances: what role aws_egress makes. What AWS has of them is read with network and service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils.environment_comparison import ANY, matching
    from module_utils.environment_reader import instances_role
else:
    from ansible.module_utils.environment_comparison import ANY, matching
    from ansible.module_utils.environment_reader import instances_role

Found = dict[str, dict[str, dict[str, Any]]]


def desired(settings: Mapping[str, Any]) -> Found:
    """What role aws_egress makes: ``settings`` are its inputs without their prefix; nothing without ``zone_names``."""
    if not settings["zone_names"]:
        return {}
    name, tags = f"{settings['name']}-nat", settings["tags"]
    return {
        "role": {
            name: instances_role(
                "nat",
                f"{settings['words']}: NAT instances",
                settings["policy"],
                settings["managed_policies"],
                tags,
            )
        },
        "instance profile": {name: {"roles": [name], "tags": tags}},
        "launch template": {
            f"{name}-{zone}": {"versions_by_hand": [], "tags": tags} for zone in settings["zone_names"]
        },
        "Auto Scaling group": {
            f"{name}-{zone}": {
                "smallest": 1,
                "largest": 1,
                "size": 1,
                "template": f"{name}-{zone}",
                "version": matching("[0-9]+"),
                "starts": {
                    "image": matching("ami-[0-9a-z]+"),
                    "instance_type": settings["instance_type"],
                    "profile": name,
                    "security_groups": [],
                    "interfaces": [{"public_address": True, "security_groups": [name]}],
                    "metadata": {
                        "HttpEndpoint": settings["metadata"]["http_endpoint"],
                        "HttpTokens": settings["metadata"]["http_tokens"],
                        "HttpPutResponseHopLimit": str(settings["metadata"]["http_put_response_hop_limit"]),
                        "InstanceMetadataTags": settings["metadata"]["instance_metadata_tags"],
                    },
                    "told": {
                        **settings["told"],
                        "allocation_id": f"of {name}-{zone}",
                        "route_tables": [f"{settings['name']}-app-{zone}"],
                    },
                },
                "subnets": [f"{settings['name']}-public-{zone}"],
                "health_check": "EC2",
                "health_grace_s": settings["health_grace_s"],
                # Auto Scaling API reference, CreateAutoScalingGroup: the defaults.
                "cooldown_s": 300,
                "termination_policies": ["Default"],
                "protects_new_servers": False,
                "tags": {**tags, "Name": f"{name}-{zone}"},
                "policies": {},
                "hooks": {},
                "scheduled": {},
                "servers_security_groups": ANY,
                "servers_profiles": [name],
                "servers_metadata_tokens": ["required"],
                "servers_public_addresses": ANY,
            }
            for zone in settings["zone_names"]
        },
    }
