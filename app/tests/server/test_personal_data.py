"""One person's data: all of it given out, and erased so that nothing tells who it was."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from parkmesh.server import audit
from parkmesh.server.commands import verify_audit
from two_communities import PASSWORD, held_for_long, rows, until_one_waits

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
A, B = "/api/v1/communities/a", "/api/v1/communities/b"


async def _id(owner: Any, name: str, community: str = "a") -> int:
    (row,) = await rows(owner, community, "SELECT id FROM resident WHERE community_id = $1 AND name = $2", name)
    found: int = row["id"]
    return found


async def _drive(gateway: Gateway, name: str, *plates: str) -> None:
    """Send passages of plates, the first of them twice, and one that a camera misread as another."""
    async with gateway(name) as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
        own = {entry["plate"]: entry["credential_id"] for entry in entries}
        passage = {"type": "passage", "gate": "main-in", "direction": "entry", "decision": "granted", "opened": True}
        reads = [(plate, plate, "exact") for plate in (*plates, plates[0])] + [("I234BCD", plates[0], "fuzzy")]
        events = [
            passage
            | {"seq": seq, "plate": read, "reason": reason, "credential_id": own.get(plate)}
            | {"times": {"received": 1_790_000_000_000 + seq * 1000}}
            for seq, (read, plate, reason) in enumerate(reads, 1)
        ]
        answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
        assert answer.status_code == 200, answer.text


async def _everything(owner: Any, community: str) -> str:
    """Return all that a community's tables and those of accounts hold, as text."""
    tables = await owner.fetch(
        """
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'community_id'
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        """
    )
    text = ""
    for table in tables:
        query = f"SELECT to_jsonb(t)::text AS row FROM {table['relname']} t WHERE t.community_id = $1"  # noqa: S608
        text += "\n".join(f"{table['relname']} {row['row']}" for row in await rows(owner, community, query))
    async with owner.transaction():
        await owner.execute("SELECT set_config('parkmesh.scope', 'identity', true)")
        for table in ("app_user", "web_session", "passkey"):
            found = await owner.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")  # noqa: S608
            text += "\n".join(f"{table} {row['row']}" for row in found)
    return text


async def test_a_person_gets_all_that_is_kept_of_him(people: People, gateway: Gateway, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    await resident.post(f"{A}/vehicles", json={"plate": "4321BMK", "label": "Van"})
    await held_for_long(owner)
    await _drive(gateway, "gateway-a", "1234BCD", "5678AXX")
    ana = await _id(owner, "Ana")
    barred = await admin.post(f"{A}/bars", json={"plate": "1234BCD", "reason": "Damaged the gate"})
    assert barred.status_code == 201, barred.text
    await resident.patch(f"{A}/notification-preferences", json={"e_mails": {"plate-refused": False}})
    answer = await resident.get(f"{A}/residents/{ana}/personal-data")
    assert answer.status_code == 200, answer.text
    data = answer.json()
    assert data["resident"]["email"] == "resident@a.example"
    assert data["account"]["role"] == "resident"
    assert sorted(item["plate"] for item in data["credentials"]) == ["1234BCD", "4321BMK"]
    # The passage with a misread plate is the resident's too; Luis's isn't.
    assert sorted(item["plate"] for item in data["passages"]) == ["1234BCD", "1234BCD", "I234BCD"]
    assert [item["plate"] for item in data["presence"]] == ["1234BCD"]
    assert data["e_mails"] == [{"kind": "plate-refused", "wanted": False}]
    assert [item["plate"] for item in data["bars"]] == ["1234BCD"]
    assert len(data["sessions"]) == 1
    assert [(item["action"], item["by_the_person"]) for item in data["audit"]] == [("credential.create", True)]
    # Staff see what is the community's, not what is the account's.
    seen = (await admin.get(f"{A}/residents/{ana}/personal-data")).json()
    assert (seen["sessions"], seen["passkeys"]) == (None, None)
    assert seen["passages"] == data["passages"]
    acts = [item["action"] for item in seen["audit"]]
    assert acts == ["credential.create", "resident.export"]
    assert (await resident.get(f"{A}/residents/{await _id(owner, 'Luis')}/personal-data")).status_code == 404
    assert (await admin.get(f"{B}/residents/{await _id(owner, 'Ana', 'b')}/personal-data")).status_code == 404


async def test_an_erased_person_is_nowhere_any_more(people: People, gateway: Gateway, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    vehicle = await resident.post(f"{A}/vehicles", json={"plate": "4321BMK", "label": "Ana's van"})
    assert vehicle.status_code == 201
    await _drive(gateway, "gateway-a", "1234BCD", "4321BMK", "5678AXX")
    ana = await _id(owner, "Ana")
    await admin.patch(f"{A}/residents/{ana}", json={"name": "Ana María"}, headers={"If-Match": "*"})
    before = await _everything(owner, "a")
    traces = ("resident@a.example", "Ana María", "Ana's van", "1234BCD", "I234BCD", "4321BMK")
    assert all(trace in before for trace in traces)
    wrong = await admin.post(f"{A}/residents/{ana}/erase", json={"confirm": "luis@a.example"})
    assert wrong.status_code == 409
    confirmed = {"confirm": "Resident@A.example"}
    assert (await resident.post(f"{A}/residents/{ana}/erase", json=confirmed)).status_code == 403

    answer = await admin.post(f"{A}/residents/{ana}/erase", json=confirmed)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report | {"credentials": 2, "passages": 4, "sessions": 1, "account": "erased"} == report
    after = await _everything(owner, "a")
    assert [trace for trace in traces if trace in after] == []
    # Luis and the rest stay, and what happened at the gate still counts.
    assert all(trace in after for trace in ("luis@a.example", "5678AXX", "administrator@a.example"))
    found = await rows(owner, "a", "SELECT plate FROM passage WHERE community_id = $1 ORDER BY seq")
    plates = [row["plate"] for row in found]
    assert plates[2] == "5678AXX"
    assert plates[0] == plates[3]
    assert len(set(plates)) == 4
    assert all(plate.startswith("~") for plate in plates if plate != "5678AXX")
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
    assert [entry["plate"] for entry in entries] == ["5678AXX"]

    assert (await resident.get("/api/v1/sessions/current")).status_code == 401
    signed_in = await resident.post("/api/v1/sessions", json={"email": "resident@a.example", "password": PASSWORD})
    assert signed_in.status_code == 401
    assert (await admin.get(f"{A}/residents/{ana}")).status_code == 404
    assert [item["name"] for item in (await admin.get(f"{A}/residents")).json()["items"]] == ["Luis"]
    # Twice is once, and the address is free again.
    assert (await admin.post(f"{A}/residents/{ana}/erase", json={"confirm": "x@y.example"})).status_code == 404
    again = await admin.post(f"{A}/invitations", json={"email": "resident@a.example"})
    assert again.status_code == 201


async def test_the_trail_holds_after_an_erasure(people: People, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    await resident.post(f"{A}/vehicles", json={"plate": "4321BMK"})
    await admin.post(f"{A}/residents/{await _id(owner, 'Ana')}/erase", json={"confirm": "resident@a.example"})
    entries = await rows(owner, "a", "SELECT action, detail FROM audit_entry WHERE community_id = $1 ORDER BY id")
    assert [entry["action"] for entry in entries] == ["credential.create", "audit.redact", "resident.erase"]
    assert entries[0]["detail"] is None
    assert json.loads(entries[2]["detail"])["account"] == "erased"
    report = await verify_audit.verify(owner, None, {})
    assert report.broken == []
    assert report.heads["a"].entries == 3


async def test_an_account_that_serves_elsewhere_is_kept(people: People, owner: Any) -> None:
    admin, other = await people("administrator@a.example"), await people("administrator@b.example")
    resident = await people("resident@a.example")
    invited = await other.post(f"{B}/invitations", json={"email": "resident@a.example"})
    token = invited.json()["token"]
    assert (await resident.post("/api/v1/invitations/join", json={"token": token})).status_code == 200
    ana = await _id(owner, "Ana")
    answer = await admin.post(f"{A}/residents/{ana}/erase", json={"confirm": "resident@a.example"})
    assert (answer.json()["account"], answer.json()["sessions"]) == ("kept", 0)
    assert (await resident.get(f"{A}/units")).status_code == 404
    assert (await resident.get(f"{B}/units")).status_code == 200


async def test_what_is_shared_is_not_erased(people: People, gateway: Gateway, owner: Any) -> None:
    """A plate that another person holds too stays with its passages, other than those by the erased credential."""
    admin = await people("administrator@a.example")
    ana, luis = await _id(owner, "Ana"), await _id(owner, "Luis")
    await admin.post(f"{A}/vehicles", json={"plate": "5678AXX", "resident_id": ana})
    async with gateway("gateway-a") as client:
        passage = {"type": "passage", "gate": "main-in", "direction": "entry", "decision": "denied", "seq": 1}
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
        his = min(int(entry["credential_id"]) for entry in entries if entry["plate"] == "5678AXX")
        event = passage | {"plate": "5678AXX", "reason": "anti_passback", "times": {"received": 1_790_000_000_000}}
        event |= {"credential_id": str(his)}
        await client.post("/edge/v1/events", json={"epoch": 1, "events": [event]})
    await held_for_long(owner)
    report = (await admin.post(f"{A}/residents/{ana}/erase", json={"confirm": "resident@a.example"})).json()
    assert (report["credentials"], report["passages"]) == (2, 0)
    kept = (await admin.get(f"{A}/residents/{luis}/personal-data")).json()
    assert [item["plate"] for item in kept["passages"]] == ["5678AXX"]


async def test_an_administrator_does_not_erase_himself(people: People, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    (member,) = [
        item for item in (await admin.get(f"{A}/members")).json()["items"] if item["email"] == "resident@a.example"
    ]
    await admin.patch(f"{A}/members/{member['id']}", json={"role": "administrator"}, headers={"If-Match": "*"})
    ana = await _id(owner, "Ana")
    answer = await resident.post(f"{A}/residents/{ana}/erase", json={"confirm": "resident@a.example"})
    assert answer.status_code == 409


@pytest.mark.parametrize("body", [{}, {"confirm": "x"}, {"confirm": "a@b", "more": 1}])
async def test_erasing_wants_a_confirmation(people: People, owner: Any, body: dict[str, Any]) -> None:
    admin = await people("administrator@a.example")
    assert (await admin.post(f"{A}/residents/{await _id(owner, 'Ana')}/erase", json=body)).status_code == 422


async def test_visits_are_erased_with_their_host(people: People, gateway: Gateway, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    begins = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    window = {"from": begins.isoformat(), "until": (begins + timedelta(hours=8)).isoformat()}
    visit = await resident.post(f"{A}/visitor-passes", json={"name": "Aunt Rosa", "plate": "7070RRR"} | window)
    assert visit.status_code == 201, visit.text
    long_ago = "UPDATE credential SET held_from = '2020-01-01Z', valid_from = '2020-01-01Z' WHERE community_id = $1"
    await rows(owner, "a", f"{long_ago} AND plate = '7070RRR'")
    await _drive(gateway, "gateway-a", "7070RRR")
    ana = await _id(owner, "Ana")
    data = (await resident.get(f"{A}/residents/{ana}/personal-data")).json()
    assert [(item["name"], item["plate"]) for item in data["visitor_passes"]] == [("Aunt Rosa", "7070RRR")]
    assert "7070RRR" in {item["plate"] for item in data["passages"]}
    report = (await admin.post(f"{A}/residents/{ana}/erase", json={"confirm": "resident@a.example"})).json()
    assert report["visitor_passes"] == 1
    after = await _everything(owner, "a")
    assert [trace for trace in ("Aunt Rosa", "7070RRR") if trace in after] == []
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
    assert [entry["plate"] for entry in entries] == ["5678AXX"]


async def test_whoever_left_before_is_erased_with_his_account(people: People, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    path = f"{A}/residents/{await _id(owner, 'Ana')}"
    assert (await admin.patch(path, json={"active": False}, headers={"If-Match": "*"})).status_code == 200
    report = (await admin.post(f"{path}/erase", json={"confirm": "resident@a.example"})).json()
    assert (report["account"], report["sessions"]) == ("erased", 1)
    assert "resident@a.example" not in await _everything(owner, "a")
    assert (await resident.get("/api/v1/sessions/current")).status_code == 401


async def test_an_account_that_was_never_here_is_not_erased(people: People, owner: Any) -> None:
    """Neither one that left the only community it belonged to, nor an operator's: an address proves nothing."""
    admin, other, stranger = (
        await people("administrator@a.example"),
        await people("administrator@b.example"),
        await people("resident@b.example"),
    )
    left = f"{B}/residents/{await _id(owner, 'Ana', 'b')}"
    assert (await other.patch(left, json={"active": False}, headers={"If-Match": "*"})).status_code == 200
    for email in ("resident@b.example", "desk@parkmesh.example"):
        made = await admin.post(f"{A}/residents", json={"email": email, "name": "Somebody"})
        report = (await admin.post(f"{made.headers['location']}/erase", json={"confirm": email})).json()
        assert (report["account"], report["sessions"], report["passkeys"]) == ("none", 0, 0)
    # Nor by giving the address to somebody who left.
    mine = f"{A}/residents/{await _id(owner, 'Ana')}"
    assert (await admin.patch(mine, json={"active": False}, headers={"If-Match": "*"})).status_code == 200
    changed = await admin.patch(mine, json={"email": "resident@b.example"}, headers={"If-Match": "*"})
    assert changed.status_code == 200
    report = (await admin.post(f"{mine}/erase", json={"confirm": "resident@b.example"})).json()
    assert report["account"] == "erased"
    assert (await stranger.get("/api/v1/sessions/current")).status_code == 200
    assert (await people("desk@parkmesh.example")) is not None
    # The community that it left may erase it.
    report = (await other.post(f"{left}/erase", json={"confirm": "resident@b.example"})).json()
    assert report["account"] == "erased"
    assert (await stranger.get("/api/v1/sessions/current")).status_code == 401


@pytest.mark.parametrize("erased_first", [True, False])
async def test_an_account_joins_elsewhere_before_its_erasure_or_not_at_all(
    people: People, owner: Any, monkeypatch: pytest.MonkeyPatch, erased_first: bool
) -> None:
    admin, other = await people("administrator@a.example"), await people("administrator@b.example")
    resident = await people("resident@a.example")
    token = (await other.post(f"{B}/invitations", json={"email": "resident@a.example"})).json()["token"]
    ana = await _id(owner, "Ana")

    def erase() -> Any:
        return admin.post(f"{A}/residents/{ana}/erase", json={"confirm": "resident@a.example"})

    def join() -> Any:
        return resident.post("/api/v1/invitations/join", json={"token": token})

    # Whoever comes first stands still after all its work, until the other one waits for it.
    going, stands = asyncio.Event(), asyncio.Event()
    record = audit.record

    async def standing(connection: Any, principal: Any, community: int, action: str, *rest: Any) -> None:
        await record(connection, principal, community, action, *rest)
        if action == ("resident.erase" if erased_first else "invitation.accept"):
            stands.set()
            await going.wait()

    monkeypatch.setattr(audit, "record", standing)
    first = asyncio.create_task(erase() if erased_first else join())
    await asyncio.wait_for(stands.wait(), 20)
    second = asyncio.create_task(join() if erased_first else erase())
    await until_one_waits(owner)
    going.set()
    erased, joined = (await first, await second) if erased_first else (await second, await first)
    if erased_first:
        assert (erased.json()["account"], joined.status_code) == ("erased", 404)
    else:
        assert (erased.json()["account"], joined.status_code) == ("kept", 200)
    members = await rows(owner, "b", "SELECT resident_id FROM membership WHERE community_id = $1")
    assert len(members) == (2 if erased_first else 3)


async def test_erasing_tells_nothing_of_accounts_elsewhere(people: People, owner: Any) -> None:
    admin, stranger = await people("administrator@a.example"), await people("resident@b.example")
    made = await admin.post(f"{A}/residents", json={"email": "resident@b.example", "name": "Ana of b"})
    path = made.headers["location"]
    assert (await admin.get(f"{path}/personal-data")).json()["account"] is None
    report = (await admin.post(f"{path}/erase", json={"confirm": "resident@b.example"})).json()
    assert (report["account"], report["sessions"]) == ("none", 0)
    assert (await stranger.get(f"{B}/units")).status_code == 200
