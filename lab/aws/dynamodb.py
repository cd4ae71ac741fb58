"""Corrections to moto's DynamoDB."""

from __future__ import annotations

import uuid
from typing import Any

from moto.dynamodb.models.table import Table


def correct() -> None:
    _table_id()


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
