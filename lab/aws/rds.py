"""Corrections to moto's RDS."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.rds.exceptions import DBParameterGroupNotFoundError, RDSClientError
from moto.rds.models import DBInstance, DBParameterGroup, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from .hooks import hooks


def correct() -> None:
    _gp3_baseline()
    _unknown_parameter_group()
    _parameters()
    _restores()
    _snapshots()
    _performance_insights()
    _versions()
    _failovers()


def _gp3_baseline() -> None:
    """DescribeDBInstances reports 3,000 IOPS and 125 MiB/s for gp3 storage that asked for nothing else.

    Amazon RDS User Guide, "Amazon RDS DB instance storage", gp3: the baseline below 400 GiB.
    """
    construct = DBInstance.__init__
    throughput = DBInstance.storage_throughput

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if self.storage_type == "gp3" and self.iops is None:
            self.iops = 3000

    def storage_throughput(self: Any) -> int | None:
        value: int | None = throughput.fget(self)
        return 125 if value is None and self.storage_type == "gp3" else value

    DBInstance.__init__ = __init__
    DBInstance.storage_throughput = property(storage_throughput, throughput.fset)


def _unknown_parameter_group() -> None:
    """DescribeDBParameterGroups with an unknown name is an error, not an empty list.

    Amazon RDS API Reference, DescribeDBParameterGroups, Errors: DBParameterGroupNotFound.
    """
    describe = RDSBackend.describe_db_parameter_groups

    def describe_db_parameter_groups(self: Any, db_parameter_group_kwargs: dict[str, Any]) -> Any:
        groups = describe(self, db_parameter_group_kwargs)
        name = db_parameter_group_kwargs.get("db_parameter_group_name")
        if name and not groups:
            raise DBParameterGroupNotFoundError(name)
        return groups

    RDSBackend.describe_db_parameter_groups = describe_db_parameter_groups


def _parameters() -> None:
    """A parameter group of PostgreSQL 15 or later has rds.force_ssl, which is on.

    Amazon RDS User Guide, "Using SSL with a PostgreSQL DB instance": the default is 1 from version 15 on. API
    reference, Parameter: Source says who set it.
    """
    construct, update = DBParameterGroup.__init__, DBParameterGroup.update_parameters

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        family = str(self.family or "")
        if family.startswith("postgres") and int(family.removeprefix("postgres").partition(".")[0]) >= 15:
            self.parameters["rds.force_ssl"] = {
                "ParameterName": "rds.force_ssl",
                "ParameterValue": "1",
                "DataType": "boolean",
                "AllowedValues": "0,1",
                "ApplyType": "dynamic",
                "IsModifiable": True,
                "Source": "system",
            }

    def default_details(self: Any) -> tuple[str, str]:
        family = f"{self.engine}{str(self.engine_version).partition('.')[0]}"
        return family, f"default.{family}"

    def update_parameters(self: Any, new_parameters: Any) -> None:
        update(self, [{**each, "Source": "user"} for each in new_parameters])

    DBParameterGroup.__init__ = __init__
    DBParameterGroup.update_parameters = update_parameters
    # The family of PostgreSQL 10 and later is named after its major version.
    DBInstance.default_db_parameter_group_details = default_details


def _restores() -> None:
    """A restored instance has defaults where the request says nothing: not its source's protection, standby and groups.

    Amazon RDS API Reference, RestoreDBInstanceToPointInTime: the target has "the default security group, the default
    subnet group, and the default DB parameter group", in one zone; error PointInTimeRestoreNotEnabled, where "the
    BackupRetentionPeriod equals 0". RestoreDBInstanceFromDBSnapshot says the same of groups. In both,
    DeletionProtection "isn't enabled by default".
    """
    to_moment, from_snapshot = (
        RDSBackend.restore_db_instance_to_point_in_time,
        RDSBackend.restore_db_instance_from_db_snapshot,
    )

    def apply_defaults(restored: Any, overrides: dict[str, Any], origin: tuple[str, ...]) -> Any:
        restored.deletion_protection = bool(overrides.get("deletion_protection"))
        restored.multi_az = bool(overrides.get("multi_az"))
        restored.db_parameter_group_name = overrides.get("db_parameter_group_name")
        restored.vpc_security_group_ids = overrides.get("vpc_security_group_ids") or []
        restored.tags = overrides.get("tags") or []
        restored.replicas, restored.status = [], "available"
        restored.lab_origin = origin
        return restored

    def restore_to_moment(self: Any, source: str, target: str, overrides: dict[str, Any]) -> Any:
        found = self.describe_db_instances(db_instance_identifier=source)[0]
        if not found.backup_retention_period:
            message = f"Automated backups are not enabled for {source}."
            raise RDSClientError("PointInTimeRestoreNotEnabled", message)
        moment = overrides.get("restore_time") or datetime.now(UTC)
        text = moment.isoformat() if isinstance(moment, datetime) else str(moment)
        origin = ("moment", found.db_instance_identifier, text)
        return apply_defaults(to_moment(self, source, target, overrides), overrides, origin)

    def restore_from_snapshot(self: Any, snapshot: str, overrides: dict[str, Any]) -> Any:
        name = snapshot.rpartition(":snapshot:")[2]
        return apply_defaults(from_snapshot(self, snapshot, overrides), overrides, ("snapshot", name))

    RDSBackend.restore_db_instance_to_point_in_time = restore_to_moment
    RDSBackend.restore_db_instance_from_db_snapshot = restore_from_snapshot


def _snapshots() -> None:
    """A manual snapshot has the data of its moment, if the lab's driver makes it.

    Amazon RDS API Reference, CreateDBSnapshot, and DeleteDBInstance, FinalDBSnapshotIdentifier.
    """
    create = RDSBackend.create_db_snapshot

    def create_db_snapshot(
        self: Any, db_instance_identifier: str, db_snapshot_identifier: str, snapshot_type: str = "manual", **given: Any
    ) -> Any:
        snapshot = create(self, db_instance_identifier, db_snapshot_identifier, snapshot_type, **given)
        if snapshot_type == "manual" and hooks.snapshot_created is not None:
            try:
                hooks.snapshot_created(db_instance_identifier, db_snapshot_identifier, int(snapshot.port))
            except Exception as error:
                del self.database_snapshots[db_snapshot_identifier]
                raise RDSClientError("InvalidDBInstanceState", str(error)) from error
        return snapshot

    RDSBackend.create_db_snapshot = create_db_snapshot


def _performance_insights() -> None:
    """DescribeDBInstances says whether Performance Insights is on, which CreateDBInstance and ModifyDBInstance set.

    Amazon RDS API Reference, DBInstance: PerformanceInsightsEnabled.
    """
    construct = DBInstance.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        self.enable_performance_insights = bool(kwargs.get("enable_performance_insights"))

    DBInstance.__init__ = __init__
    DBInstance.performance_insights_enabled = property(lambda self: self.enable_performance_insights)


def _failovers() -> None:
    """A database in two zones has its primary in one and a standby in the other, and they change places.

    Amazon RDS User Guide, "Multi-AZ DB instance deployments for Amazon RDS": a standby in another zone has the storage
    of the primary, synchronously; a failover, which comes by itself when the zone fails, makes it the primary, and the
    endpoint's name follows. API reference, RebootDBInstance: "You can't enable force failover if the instance isn't
    configured for Multi-AZ"; DBInstance: AvailabilityZone, SecondaryAvailabilityZone; CreateDBInstance,
    AvailabilityZone: one of the database's subnets.
    """
    construct, reboot = DBInstance.__init__, RDSResponse.reboot_db_instance

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        zones = _zones(self)
        if zones and self.availability_zone not in zones:
            self.availability_zone = zones[0]

    def reboot_db_instance(self: Any) -> ActionResult:
        if str(self.params.get("ForceFailover")).lower() == "true":
            found = self.backend.describe_db_instances(self.params["DBInstanceIdentifier"])[0]
            if not found.multi_az:
                message = (
                    f"Failover is only supported for Multi-AZ DB instances: {found.db_instance_identifier} isn't one."
                )
                raise RDSClientError("InvalidParameterCombination", message)
            if not _fail_over(found):
                raise RDSClientError("InvalidDBInstanceState", "The standby can't take over: its zone has failed.")
        answer: ActionResult = reboot(self)
        return answer

    DBInstance.__init__ = __init__
    DBInstance.secondary_availability_zone = property(_standby_zone)
    RDSResponse.reboot_db_instance = reboot_db_instance


def leave_failed_zones() -> bool:
    """Fail over the databases whose primary's zone has failed; return whether there was one to be failed over."""
    databases = [
        database
        for regions in rds_backends.values()
        for backend in regions.values()
        for database in backend.databases.values()
    ]
    lost = [each for each in databases if each.availability_zone in hooks.failed_zones]
    return bool([each for each in lost if _fail_over(each)])


def _zones(database: Any) -> list[str]:
    # moto has the attribute only where a group was named.
    group = getattr(database, "db_subnet_group", None)
    return sorted({subnet.availability_zone for subnet in group._subnets}) if group else []


def _standby_zone(database: Any) -> str | None:
    if not database.multi_az:
        return None
    return next((each for each in _zones(database) if each != database.availability_zone), None)


def _fail_over(database: Any) -> bool:
    zone = _standby_zone(database)
    if zone is None or zone in hooks.failed_zones:
        return False
    database.availability_zone = zone
    return True


ENGINE_VERSIONS = ("16.10", "16.11", "17.6", "17.7", "18.1")
"""Versions of PostgreSQL that the lab's RDS has, in order. The first of a major one is its default."""


def _major(version: str) -> str:
    return version.partition(".")[0]


def _targets(version: str) -> tuple[str, ...]:
    return ENGINE_VERSIONS[ENGINE_VERSIONS.index(version) + 1 :] if version in ENGINE_VERSIONS else ()


def _versions() -> None:
    """A new database of a major version gets its default minor version; an upgrade is to a valid target only.

    Amazon RDS API Reference, CreateDBInstance, EngineVersion; DescribeDBEngineVersions, which moto lacks, and
    UpgradeTarget; ModifyDBInstance: AllowMajorVersionUpgrade "must be specified when" the major version changes, and "a
    new DB parameter group in the DB parameter group family for the new engine version must be specified". User guide,
    "Upgrades of the RDS for PostgreSQL DB engine". The lab's servers stay the PostgreSQL that they are.
    """
    construct, modify = DBInstance.__init__, RDSBackend.modify_db_instance

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if self.engine == "postgres" and "." not in str(self.engine_version):
            of_it = [each for each in ENGINE_VERSIONS if _major(each) == str(self.engine_version)]
            self.engine_version = of_it[0] if of_it else self.engine_version

    def modify_db_instance(self: Any, db_instance_identifier: str, given: dict[str, Any]) -> Any:
        database = self.describe_db_instances(db_instance_identifier)[0]
        wanted = given.get("EngineVersion") or given.get("engine_version")
        if wanted and wanted != database.engine_version:
            if wanted not in _targets(database.engine_version):
                message = f"Cannot upgrade postgres from {database.engine_version} to {wanted}"
                raise RDSClientError("InvalidParameterCombination", message)
            group = given.get("DBParameterGroupName") or given.get("db_parameter_group_name")
            if _major(wanted) != _major(database.engine_version):
                allowed = given.get("AllowMajorVersionUpgrade") or given.get("allow_major_version_upgrade")
                if str(allowed).lower() != "true":
                    message = "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version."
                    raise RDSClientError("InvalidParameterCombination", message)
                if group not in self.db_parameter_groups or self.db_parameter_groups[group].family != (
                    f"postgres{_major(wanted)}"
                ):
                    message = "The parameter group family doesn't match the new engine version."
                    raise RDSClientError("InvalidParameterCombination", message)
        return modify(self, db_instance_identifier, given)

    def describe_db_engine_versions(self: Any) -> ActionResult:
        asked = self.params.get("EngineVersion")
        return ActionResult(
            {
                "DBEngineVersions": [
                    {
                        "Engine": "postgres",
                        "EngineVersion": each,
                        "DBParameterGroupFamily": f"postgres{_major(each)}",
                        "ValidUpgradeTarget": [
                            {
                                "Engine": "postgres",
                                "EngineVersion": target,
                                "AutoUpgrade": False,
                                "IsMajorVersionUpgrade": _major(target) != _major(each),
                            }
                            for target in _targets(each)
                        ],
                    }
                    for each in ENGINE_VERSIONS
                    if asked in (None, each, _major(each))
                ]
            }
        )

    DBInstance.__init__ = __init__
    RDSBackend.modify_db_instance = modify_db_instance
    RDSResponse.describe_db_engine_versions = describe_db_engine_versions
