"""Nights of a visitor's car: how many fall into 28 days."""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from parkmesh.domain.days import NIGHT, days
from parkmesh.domain.sharing import moment

DAYS = 28


def nights(since: datetime, until: datetime, zone: ZoneInfo) -> set[date]:
    """Return the nights that a car spends which is inside from ``since`` until just before ``until``, each as the day
    on which it ends."""
    found = days(since.astimezone(zone).date(), until.astimezone(zone).date())
    return {day for day in found if since <= moment(day, NIGHT, zone) < until}


def most(known: Collection[date], added: Collection[date]) -> int:
    """Return the largest number of nights, known and added, in any ``DAYS`` days that hold an added night; 0 where
    none is added."""
    every = sorted({*known, *added})
    found = 0
    for last in every:
        first = last - timedelta(days=DAYS - 1)
        if any(first <= night <= last for night in added):
            found = max(found, sum(first <= night <= last for night in every))
    return found
