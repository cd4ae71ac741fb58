"""The reports there are, and each as CSV. Connections are inside ``database.in_community``."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from parkmesh.server import audit
from parkmesh.server.communities import community_reads
from parkmesh.server.db.database import Connection
from parkmesh.server.people import csv_tables
from parkmesh.server.reports import asked, gates, occupancy, units
from parkmesh.server.reports.asked import Asked

Kind = Literal["occupancy-by-hour", "denied", "visitors", "gates", "space-use", "sharing-use"]


@dataclass(frozen=True, slots=True)
class Report:
    """``row`` is the dataclass of its rows, whose fields are its columns; ``read`` returns them."""

    row: type
    read: Callable[[Connection, Asked], Awaitable[Sequence[Any]]]

    @property
    def columns(self) -> list[str]:
        return [field.name for field in fields(self.row)]


REPORTS: dict[Kind, Report] = {
    "occupancy-by-hour": Report(occupancy.OccupancyHour, occupancy.by_hour),
    "denied": Report(gates.Denied, gates.denied),
    "visitors": Report(units.UnitVisitors, units.visitors),
    "gates": Report(gates.GateUse, gates.use),
    "space-use": Report(occupancy.SpaceUse, occupancy.space_use),
    "sharing-use": Report(units.SharingUse, units.sharing),
}


async def read(
    connection: Connection, community_id: int, kind: Kind, first: date, last: date, now: datetime
) -> Sequence[Any]:
    """Return the rows of a report about the days from ``first`` to ``last`` of the community's calendar.

    Raises ``Problem`` 422 for days in the wrong order or too many.
    """
    asked.check(first, last)
    community = await community_reads.community(connection, community_id)
    return await REPORTS[kind].read(connection, Asked(community_id, first, last, ZoneInfo(community.time_zone), now))


async def table(
    connection: Connection, by: audit.Actor, community_id: int, kind: Kind, first: date, last: date, now: datetime
) -> str:
    """Return a report as CSV and note in the trail who took it. Raises ``Problem`` 422 as ``read`` does."""
    rows = await read(connection, community_id, kind, first, last, now)
    community = await community_reads.community(connection, community_id)
    zone = ZoneInfo(community.time_zone)
    detail = {"from": first.isoformat(), "until": last.isoformat()}
    await audit.record(connection, by, community_id, "report.export", f"report/{kind}", detail)
    lines = [csv_tables.line(REPORTS[kind].columns), *(csv_tables.line(astuple(row), zone) for row in rows)]
    return csv_tables.BYTE_ORDER_MARK + "".join(lines)
