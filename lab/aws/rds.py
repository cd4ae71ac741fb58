"""Corrections to moto's RDS."""

from __future__ import annotations

from typing import Any

from moto.rds.exceptions import DBParameterGroupNotFoundError
from moto.rds.models import DBInstance, DBParameterGroup, RDSBackend


def correct() -> None:
    _gp3_baseline()
    _unknown_parameter_group()
    _parameters()


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

    def update_parameters(self: Any, new_parameters: Any) -> None:
        update(self, [{**each, "Source": "user"} for each in new_parameters])

    DBParameterGroup.__init__ = __init__
    DBParameterGroup.update_parameters = update_parameters
