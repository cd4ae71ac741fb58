"""An environment's data: what AWS has of database, secrets, tables, buckets and the like, and what it should have.

The contents of secrets aren't read: whoever looks for differences needs no password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils import environment_front as front
    from module_utils.environment_comparison import ANY, matching, optional
    from module_utils.environment_logs import group_arn
    from module_utils.environment_reader import Reader, policy, tags_of
    from module_utils.environment_service import DATABASE, found_vpcs
else:
    from ansible.module_utils import environment_front as front
    from ansible.module_utils.environment_comparison import ANY, matching, optional
    from ansible.module_utils.environment_logs import group_arn
    from ansible.module_utils.environment_reader import Reader, policy, tags_of
    from ansible.module_utils.environment_service import DATABASE, found_vpcs

Found = dict[str, dict[str, dict[str, Any]]]

_DATABASE_PROPERTIES: Final = (
    *("class", "engine", "engine_version", "storage_gib", "largest_storage_gib", "storage_type", "encrypted"),
    *("two_zones", "public", "backup_days", "copies_tags", "deletion_protection", "subnet_group", "parameter_groups"),
    *("security_groups", "master_user", "database_name", "port", "iam_sign_in", "minor_upgrades"),
    *("performance_insights", "monitoring_interval_s", "network_type", "tags"),
)
"""What a database that a restore has kept may have as it likes; it is in use by nobody."""
_EVERYBODY: Final = ("/AllUsers", "/AuthenticatedUsers")
"""Ends of the groups that make a bucket's access list public (Amazon S3 User Guide, "Access control list overview")."""


def describe(reader: Reader) -> Found:
    """Read the data; the network is read before, so that the reader knows its names."""
    found: Found = {}
    _databases(reader, found)
    _tables(reader, found)
    _secrets(reader, found)
    _parameters(reader, found)
    _buckets(reader, found)
    _watchers(reader, found)
    return {kind: objects for kind, objects in found.items() if objects}


def note_of_database(reader: Reader) -> dict[str, Any]:
    """Which database is in use (identifier) and which were kept, as role aws_data noted it at a restore."""
    name = f"/{reader.project}/{reader.environment}/database"
    noted = reader.answer("ssm", "get_parameters", Names=[name])["Parameters"]
    found: dict[str, Any] = {"identifier": f"{reader.name}-database", "kept": []}
    return found | json.loads(noted[0]["Value"]) if noted else found


def _databases(reader: Reader, found: Found) -> None:
    vpcs, current = found_vpcs(reader), note_of_database(reader)["identifier"]
    for each in reader.all("rds", "describe_db_instances", "DBInstances"):
        name, tags = each["DBInstanceIdentifier"], tags_of(each.get("TagList"))
        if each.get("DBSubnetGroup", {}).get("VpcId") not in vpcs and not reader.is_ours(name, tags):
            continue
        if name == current:
            reader.know(each.get("Endpoint", {}).get("Address", ""), DATABASE)
        found.setdefault("database", {})[reader.know(each["DBInstanceArn"], name)] = {
            "class": each["DBInstanceClass"],
            "engine": each["Engine"],
            "engine_version": each["EngineVersion"],
            "storage_gib": each["AllocatedStorage"],
            "largest_storage_gib": each.get("MaxAllocatedStorage"),
            "storage_type": each.get("StorageType"),
            "encrypted": each["StorageEncrypted"],
            "two_zones": each["MultiAZ"],
            "public": each["PubliclyAccessible"],
            "backup_days": each["BackupRetentionPeriod"],
            "copies_tags": each.get("CopyTagsToSnapshot", False),
            "deletion_protection": each.get("DeletionProtection", False),
            "subnet_group": each.get("DBSubnetGroup", {}).get("DBSubnetGroupName"),
            "parameter_groups": [one["DBParameterGroupName"] for one in each.get("DBParameterGroups", [])],
            "security_groups": reader.named(one["VpcSecurityGroupId"] for one in each.get("VpcSecurityGroups", [])),
            "master_user": each["MasterUsername"],
            "database_name": each.get("DBName"),
            "port": each.get("Endpoint", {}).get("Port"),
            "iam_sign_in": each.get("IAMDatabaseAuthenticationEnabled", False),
            "minor_upgrades": each.get("AutoMinorVersionUpgrade", True),
            "performance_insights": each.get("PerformanceInsightsEnabled", False),
            "monitoring_interval_s": each.get("MonitoringInterval") or 0,
            "exported_logs": each.get("EnabledCloudwatchLogsExports", []),
            "associated_roles": [one["RoleArn"] for one in each.get("AssociatedRoles", [])],
            "replicas": each.get("ReadReplicaDBInstanceIdentifiers", []),
            "network_type": each.get("NetworkType", "IPV4"),
            "tags": tags,
        }
    for group in reader.all("rds", "describe_db_subnet_groups", "DBSubnetGroups"):
        name = group["DBSubnetGroupName"]
        if reader.is_ours(name, {}):
            found.setdefault("database's subnets", {})[reader.know(group["DBSubnetGroupArn"], name)] = {
                "subnets": reader.named(each["SubnetIdentifier"] for each in group["Subnets"]),
                "tags": _rds_tags(reader, group["DBSubnetGroupArn"]),
            }
    for group in reader.all("rds", "describe_db_parameter_groups", "DBParameterGroups"):
        name = group["DBParameterGroupName"]
        if reader.is_ours(name, {}):
            # What somebody set has the source "user" (Amazon RDS API reference, Parameter). Of the rest only what the
            # role sets counts: it sets nothing where RDS has the same already.
            given = [
                each
                for each in reader.all("rds", "describe_db_parameters", "Parameters", DBParameterGroupName=name)
                if each.get("Source", "user") == "user" or each["ParameterName"] == "rds.force_ssl"
            ]
            found.setdefault("database's parameters", {})[reader.know(group["DBParameterGroupArn"], name)] = {
                "family": group["DBParameterGroupFamily"],
                "values": {each["ParameterName"]: each.get("ParameterValue") for each in given},
                "tags": _rds_tags(reader, group["DBParameterGroupArn"]),
            }
    for snapshot in reader.all("rds", "describe_db_snapshots", "DBSnapshots"):
        name, tags = snapshot["DBSnapshotIdentifier"], tags_of(snapshot.get("TagList"))
        if not reader.is_ours(snapshot["DBInstanceIdentifier"], tags):
            continue
        reader.know(snapshot["DBSnapshotArn"], name)
        if snapshot["SnapshotType"] == "manual":
            attributes = reader.answer("rds", "describe_db_snapshot_attributes", DBSnapshotIdentifier=name)
            listed = attributes["DBSnapshotAttributesResult"].get("DBSnapshotAttributes", [])
            found.setdefault("database snapshot", {})[name] = {
                "shared_with": sorted(
                    value for each in listed if each["AttributeName"] == "restore" for value in each["AttributeValues"]
                ),
            }


def _rds_tags(reader: Reader, arn: str) -> dict[str, str]:
    return tags_of(reader.answer("rds", "list_tags_for_resource", ResourceName=arn)["TagList"])


def _tables(reader: Reader, found: Found) -> None:
    for name in map(str, reader.all("dynamodb", "list_tables", "TableNames")):
        if not reader.is_ours(name, {}):
            continue
        table = reader.answer("dynamodb", "describe_table", TableName=name)["Table"]
        arn = table["TableArn"]
        backups = reader.answer("dynamodb", "describe_continuous_backups", TableName=name)[
            "ContinuousBackupsDescription"
        ]
        expiry = reader.answer("dynamodb", "describe_time_to_live", TableName=name)["TimeToLiveDescription"]
        shared = reader.answer("dynamodb", "get_resource_policy", "PolicyNotFoundException", ResourceArn=arn)
        types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
        found.setdefault("table", {})[reader.know(arn, name)] = {
            "key": [
                f"{each['AttributeName']} {types[each['AttributeName']]} {each['KeyType']}"
                for each in table["KeySchema"]
            ],
            "billing": table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
            "point_in_time_recovery": backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
            == "ENABLED",
            "deletion_protection": table.get("DeletionProtectionEnabled", False),
            "expiry": expiry.get("AttributeName"),
            "policy": policy(shared.get("Policy")),
            "key_of_the_customer": table.get("SSEDescription", {}).get("KMSMasterKeyArn"),
            "indexes": [
                each["IndexName"]
                for key in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
                for each in table.get(key) or []
            ],
            "stream": (table.get("StreamSpecification") or {}).get("StreamEnabled", False),
            "replicas": [each["RegionName"] for each in table.get("Replicas") or []],
            "class": (table.get("TableClassSummary") or {}).get("TableClass", "STANDARD"),
            "tags": tags_of(reader.all("dynamodb", "list_tags_of_resource", "Tags", ResourceArn=arn)),
        }


def _secrets(reader: Reader, found: Found) -> None:
    for each in reader.all("secretsmanager", "list_secrets", "SecretList"):
        name, tags = each["Name"], tags_of(each.get("Tags"))
        if not reader.is_ours(name, tags) or each.get("DeletedDate"):
            continue
        key = str(each.get("KmsKeyId") or "")
        shared = reader.answer(
            "secretsmanager", "get_resource_policy", "ResourceNotFoundException", SecretId=each["ARN"]
        )
        found.setdefault("secret", {})[reader.know(each["ARN"], name)] = {
            "description": each.get("Description", ""),
            "rotation": each.get("RotationEnabled", False),
            "key_of_the_customer": None if key.endswith("alias/aws/secretsmanager") else key,
            "owner": each.get("OwningService"),
            "policy": policy(shared.get("ResourcePolicy")),
            "replicas": [one["Region"] for one in each.get("ReplicationStatus") or []],
            "tags": tags,
        }


def _parameters(reader: Reader, found: Found) -> None:
    for each in reader.all("ssm", "describe_parameters", "Parameters"):
        name = each["Name"]
        if reader.is_ours(name, {}):
            listed = reader.answer("ssm", "list_tags_for_resource", ResourceType="Parameter", ResourceId=name)[
                "TagList"
            ]
            found.setdefault("parameter", {})[name] = {
                "type": each["Type"],
                "description": each.get("Description", ""),
                "tags": tags_of(listed),
            }
            reader.know(name, name)


def _buckets(reader: Reader, found: Found) -> None:
    for each in reader.all("s3", "list_buckets", "Buckets"):
        name = each["Name"]
        if not reader.is_ours(name, {}):
            continue
        status = reader.answer("s3", "get_bucket_policy_status", "NoSuchBucketPolicy", Bucket=name)
        grants = reader.answer("s3", "get_bucket_acl", Bucket=name)["Grants"]
        block = reader.answer("s3", "get_public_access_block", "NoSuchPublicAccessBlockConfiguration", Bucket=name)
        listed = reader.answer("s3", "get_bucket_tagging", "NoSuchTagSet", Bucket=name).get("TagSet", [])
        given = block.get("PublicAccessBlockConfiguration", {})
        found.setdefault("bucket", {})[reader.know(f"arn:aws:s3:::{name}", name)] = {
            "public_by_policy": status.get("PolicyStatus", {}).get("IsPublic", False),
            "public_by_access_list": any(one["Grantee"].get("URI", "").endswith(_EVERYBODY) for one in grants),
            "refuses_to_be_public": len(given) == 4 and all(given.values()),
            "tags": tags_of(listed),
            **(front.logs_bucket(reader, name) if "-access-logs-" in name else {}),
        }


def _watchers(reader: Reader, found: Found) -> None:
    for each in reader.all("logs", "describe_log_groups", "logGroups"):
        if reader.is_ours(name := each["logGroupName"], {}):
            arn = group_arn(each)
            found.setdefault("log group", {})[reader.know(arn, name)] = {
                "days": each.get("retentionInDays", 0),
                "tags": reader.answer("logs", "list_tags_for_resource", resourceArn=arn)["tags"],
            }


def others_with_tags(reader: Reader) -> Found:
    """What carries the environment's tags and was read nowhere else: any kind of resource that AWS can tag.

    Resource Groups Tagging API reference, GetResources: regional resources with these tags, and some that were
    deleted lately; so instances that EC2 doesn't list any more don't count. Automated backups go with their database.
    """
    filters = [{"Key": "Project", "Values": [reader.project]}, {"Key": "Environment", "Values": [reader.environment]}]
    found: dict[str, dict[str, Any]] = {}
    for each in reader.all("resourcegroupstaggingapi", "get_resources", "ResourceTagMappingList", TagFilters=filters):
        arn = each["ResourceARN"]
        tokens = {arn, arn.rpartition("/")[2], arn.rpartition(":")[2], arn.partition(":parameter")[2]}
        goes_with_another = ":instance/i-" in arn or ":auto-backup:" in arn
        if not tokens & reader.names.keys() and not goes_with_another:
            found[arn] = {}
    return {"resource with the environment's tags": found} if found else {}


def desired(settings: Mapping[str, Any]) -> Found:
    """What role aws_data makes: ``settings`` are its inputs without their prefix, and what it derives from them."""
    name, tags, zones = settings["name"], settings["tags"], settings["zone_names"]
    database, major = f"{name}-database", str(settings["engine_version"])

    def secret(thing: str, description: Any) -> dict[str, Any]:
        return {"description": description, "tags": {**tags, "Name": f"{name}-{thing}"}}

    kept = dict.fromkeys(_DATABASE_PROPERTIES, ANY) | {"engine": "postgres", "encrypted": True, "public": False}
    return {
        "database": {
            **{each: optional(kept) for each in settings["kept"]},
            settings["database"]: {
                "class": settings["instance_class"],
                "engine": "postgres",
                "engine_version": matching(re.escape(major) + r"(\..*)?"),
                "storage_gib": settings["storage_gib"],
                "storage_type": "gp3",
                "encrypted": True,
                "two_zones": settings["multi_az"],
                "public": False,
                "backup_days": settings["backup_days"],
                "copies_tags": True,
                "deletion_protection": settings["deletion_protection"],
                "subnet_group": database,
                "parameter_groups": [f"{database}-{major}"],
                "security_groups": [f"{name}-data"],
                "master_user": settings["owner"],
                "database_name": settings["project"],
                "port": 5432,
                "minor_upgrades": True,
                "performance_insights": settings["performance_insights"],
                "monitoring_interval_s": settings["monitoring_interval_s"],
                "network_type": "IPV4",
                "tags": tags,
            },
        },
        "role": {
            settings["monitoring_role"]: {
                "trust": policy(settings["monitoring_trust"]),
                "managed_policies": [settings["monitoring_policy"]],
                "longest_session_s": 3600,
                "path": "/",
                "description": f"{settings['words']}: enhanced monitoring of the database",
                "tags": tags,
            }
        }
        if settings["monitoring_interval_s"]
        else {},
        "parameter": {settings["note"]: optional({"type": "String", "tags": tags, "description": ANY})},
        "database's subnets": {database: {"subnets": [f"{name}-data-{zone}" for zone in zones], "tags": tags}},
        "database's parameters": {
            f"{database}-{major}": {
                "family": f"postgres{major}",
                "values": {"rds.force_ssl": "1" if settings["require_tls"] else "0"},
                "tags": tags,
            }
        },
        "database snapshot": {"~.*": {"shared_with": []}},
        "table": {
            f"{name}-slots": {
                "key": ["slot N HASH"],
                "billing": "PAY_PER_REQUEST",
                "point_in_time_recovery": settings["table_recovery"],
                "deletion_protection": settings["deletion_protection"],
                "class": "STANDARD",
                "tags": {**tags, "Name": f"{name}-slots"},
            },
            f"{name}-lease": optional(
                {
                    "key": ["name S HASH"],
                    "billing": "PAY_PER_REQUEST",
                    "class": "STANDARD",
                    "tags": {key: value for key, value in tags.items() if key != "Role"},
                }
            ),
        },
        "secret": {
            f"{name}-database-owner": secret("database-owner", "Owner of the database, who migrates it"),
            f"{name}-database-app": secret("database-app", "The app servers' database role"),
            f"{name}-session": secret("session", "What signs people's sessions"),
            # One that an earlier setting made stays.
            f"{name}-smtp": (dict if settings["mails"] else optional)(
                secret("smtp", "Address of the mail server, with user and password")
            ),
            f"~{re.escape(name)}-overlay-slot-[0-9]+": {"description": ANY, "tags": {}},
        },
        "bucket": {
            # A bucket beside the environment, such as Session Manager's, may have any tags.
            f"~{re.escape(name)}-(?!access-logs-[0-9]).*": {"refuses_to_be_public": True, "tags": ANY}
        },
    }
