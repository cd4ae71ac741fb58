"""Checks of plates leave a trace, and visitors' cars stay only as many nights as the community lets them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from page_visitor import Visitor
from two_communities import rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
ADMIN, RESIDENT = "administrator@a.example", "resident@a.example"


async def test_each_check_is_kept_with_who_asked(people: People, admin: Visitor) -> None:
    staff, resident = await people(ADMIN), await people(RESIDENT)
    known = await staff.post(f"{A}/checks", json={"plate": "1234 bcd"})
    assert known.status_code == 201, known.text
    assert (known.json()["allowed"], known.json()["by"], known.json()["reason"]) == (True, "resident", "valid")
    strange = await staff.post(f"{A}/checks", json={"plate": "0000XXX", "space": "a-01"})
    assert (strange.json()["allowed"], strange.json()["by"]) == (False, "none")
    assert (await staff.post(f"{A}/checks", json={"plate": "0000XXX", "space": "nowhere"})).status_code == 422
    kept = (await staff.get(f"{A}/checks")).json()["items"]
    assert [item["plate"] for item in kept] == ["0000XXX", "1234BCD"]
    assert {item["asked_by"] for item in kept} != {None}
    assert (await resident.post(f"{A}/checks", json={"plate": "1234BCD"})).status_code == 403
    assert (await resident.get(f"{A}/checks")).status_code == 403
    page = await admin.get("/communities/a/check")
    assert page.status_code == 200
    assert "0000 XXX" in page.text


async def test_a_plate_stays_no_more_nights_than_the_rule_says(people: People, owner: asyncpg.Connection) -> None:
    staff, resident = await people(ADMIN), await people(RESIDENT)
    rule = await staff.patch(f"{A}/rules", json={"visitor_nights_in_28_days": 1}, headers={"If-Match": "*"})
    assert rule.status_code == 200, rule.text
    noon = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)

    def over(days: int, nights: int) -> dict[str, str]:
        begin = noon + timedelta(days=days)
        return {"from": begin.isoformat(), "until": (begin + timedelta(days=nights)).isoformat()}

    first = await resident.post(f"{A}/visitor-passes", json={"plate": "7777VIS", **over(0, 1)})
    assert first.status_code == 201, first.text
    second = {"plate": "7777VIS", **over(2, 1)}
    refused = await resident.post(f"{A}/visitor-passes", json=second)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:parkmesh:problem:nights"), refused.text
    # Another car, and by day, as often as it likes.
    assert (await resident.post(f"{A}/visitor-passes", json={**second, "plate": "8888VIS"})).status_code == 201
    (unit,) = await rows(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '1A'")
    wish = {"unit_id": unit["id"], "plate": "7777VIS", "until": over(2, 20)["until"], "reason": "Cares for a patient"}
    assert (await resident.post(f"{A}/visitor-nights-exceptions", json=wish)).status_code == 403
    made = await staff.post(f"{A}/visitor-nights-exceptions", json=wish)
    assert made.status_code == 201, made.text
    assert (await resident.post(f"{A}/visitor-passes", json=second)).status_code == 201
