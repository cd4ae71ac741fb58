"""Corrections to moto's DynamoDB."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Backup, Table
from moto.dynamodb.responses import DynamoHandler


def correct() -> None:
    _table_id()
    _system_backup()


def _table_id() -> None:
    """DescribeTable reports the table's identifier.

    Amazon DynamoDB API Reference, TableDescription: TableId, "Unique identifier for the table".
    """
    describe = Table.describe

    def describe_with_id(self: Any, base_key: str = "TableDescription") -> dict[str, Any]:
        answer: dict[str, Any] = describe(self, base_key)
        answer[base_key]["TableId"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.table_arn}#{self.created_at}"))
        return answer

    Table.describe = describe_with_id


def _system_backup() -> None:
    """A deleted table that had point-in-time recovery leaves a system backup for 35 days.

    Amazon DynamoDB developer guide, "Enable point-in-time recovery in DynamoDB", "Delete a table with PITR enabled".
    API reference, ListBackups: BackupType USER (the default), SYSTEM or ALL; BackupSummary: BackupExpiryDateTime.
    """
    delete, summary = DynamoDBBackend.delete_table, Backup.summary

    def delete_table(self: Any, name: str) -> Any:
        table = delete(self, name)
        status = table.continuous_backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        if status == "ENABLED":
            backup = Backup(
                self.account_id, self.region_name, f"{table.name}$DeletedTableBackup", table, type_="SYSTEM"
            )
            self.backups[backup.arn] = backup
        return table

    def summary_with_end(self: Any) -> dict[str, Any]:
        answer: dict[str, Any] = summary.fget(self)
        if self.type == "SYSTEM":
            answer["BackupExpiryDateTime"] = self.creation_date_time + timedelta(days=35)
        return answer

    def list_backups(self: Any) -> Any:
        asked = self.body.get("BackupType", "USER")
        backups = self.dynamodb_backend.list_backups(self.body.get("TableName"))
        return ActionResult({"BackupSummaries": [each.summary for each in backups if asked in ("ALL", each.type)]})

    DynamoDBBackend.delete_table, Backup.summary = delete_table, property(summary_with_end)
    DynamoHandler.list_backups = list_backups
