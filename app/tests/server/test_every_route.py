"""Two communities with hostile users: every operation of the OpenAPI document, called with the other community's ids.

The operations come from the document, so a new route is tested the day it is added; a path parameter that this module
knows no foreign value for is a failure, not a gap.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from parkmesh.server.db import database
from running_server import Database, Server

People = Callable[[str], Any]
Operation = tuple[str, str]

# Values that name no object of a community: a kind of file, a day.
PLAIN = {"kind", "day"}
# A plate belongs to no community: every community may ask about and correct any plate at its own gates.
OF_ANYBODY = {"/api/v1/communities/{community}/presence/{plate}", "/api/v1/communities/{community}/plates/{plate}"}


def moment(days: int, hour: int = 10) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0).isoformat()


async def fill(
    administrator: httpx.AsyncClient, resident: httpx.AsyncClient, community: str, connection: Any
) -> dict[str, Any]:
    """Make one object of every kind in a community and return their path parameters."""
    here = f"/api/v1/communities/{community}"

    async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any], part: str = "id") -> Any:
        answer = await client.post(f"{here}/{path}", json=body)
        assert answer.status_code == 201, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()[part]

    units = {unit["name"]: unit["id"] for unit in (await administrator.get(f"{here}/units")).json()["items"]}
    residents = (await administrator.get(f"{here}/residents")).json()["items"]
    luis = next(person["id"] for person in residents if person["name"] == "Luis")
    members = (await administrator.get(f"{here}/members")).json()["items"]
    await made(administrator, "gates", {"name": f"gate-of-{community}", "title": "Gate", "direction": "both"}, "name")
    await made(administrator, "spaces", {"name": f"space-of-{community}", "category": "assigned"}, "name")
    await made(administrator, "spaces", {"name": f"bay-of-{community}", "category": "shared"}, "name")
    values = {
        "community": community,
        "gate": f"gate-of-{community}",
        "space": f"space-of-{community}",
        "level": await made(administrator, "levels", {"name": f"level-of-{community}"}),
        "unit": units["1A"],
        "resident": luis,
        "user": members[0]["id"],
        "plate": f"5678{community.upper()}XX",
        "assignment": await made(
            administrator,
            "assignments",
            {"space": f"space-of-{community}", "unit_id": units["1A"], "from": moment(-1)},
        ),
        "vehicle": await made(resident, "vehicles", {"plate": f"OF{community.upper()}777"}),
        "bar": await made(administrator, "bars", {"plate": f"BA{community.upper()}777", "reason": "a test"}),
        "violation": await made(
            administrator,
            "violations",
            {"kind": "fire_lane", "plate": f"VL{community.upper()}777", "evidence": "In front of the doors."},
        ),
        "exception": await made(
            administrator,
            "visitor-nights-exceptions",
            {"unit_id": units["1A"], "plate": f"EX{community.upper()}777", "until": moment(5), "reason": "a test"},
        ),
        "invitation": await made(administrator, "invitations", {"email": f"new@{community}.example"}),
        "key": await made(administrator, "api-keys", {"name": "Integrator", "role": "reader"}),
        "visitor_pass": await made(
            resident,
            "visitor-passes",
            {"from": moment(1), "until": moment(1, 14), "plate": f"VI{community.upper()}777"},
        ),
        "booking": await made(
            resident, "bookings", {"space": f"bay-of-{community}", "from": moment(2), "until": moment(2, 14)}
        ),
        "waiting": await made(
            resident, "waiting", {"from": moment(2), "until": moment(2, 14), "level": "a level without spaces"}
        ),
        "space_request": await made(administrator, "space-requests", {"unit_id": units["2B"]}),
        "window": await made(
            resident,
            f"spaces/space-of-{community}/sharing/windows",
            {"from": moment(3), "until": moment(3, 14)},
        ),
        "pattern": await made(
            resident,
            f"spaces/space-of-{community}/sharing/patterns",
            {"days": ["monday"], "starts": "09:00", "ends": "17:00", "first_day": moment(5)[:10]},
        ),
        "session": (await resident.get("/api/v1/sessions")).json()["items"][0]["id"],
        "day": moment(4)[:10],
        # Off: what the server sends by itself would change rows while the test looks.
        "webhook": await made(
            administrator, "webhooks", {"url": f"https://hooks.{community}.example/", "enabled": False}
        ),
    }
    await database.set_scope(connection, "provision")
    identity = await connection.fetchval("SELECT id FROM community WHERE name = $1", community)
    await database.set_community(connection, identity)
    values["delivery"] = await connection.fetchval(
        "INSERT INTO webhook_delivery (community_id, endpoint_id, event_id, type, at)"
        " VALUES ($1, $2, gen_random_uuid(), 'webhook.test', now()) RETURNING id",
        identity,
        values["webhook"],
    )
    values["counter"] = await connection.fetchval(
        "INSERT INTO counter (community_id, gateway_id, name, since, entries, exits, known)"
        " SELECT $1, id, $2, now(), 5, 2, true FROM gateway WHERE community_id = $1 LIMIT 1 RETURNING name",
        identity,
        f"counter-of-{community}",
    )
    await database.set_community(connection, None)
    await database.set_scope(connection, "identity")
    # No gateway is connected: the command is kept, and refused.
    refused = await administrator.post(f"{here}/gates/gate-of-{community}/open", json={"reason": "a test"})
    values["command"] = refused.json()["command"]
    values["message"] = await connection.fetchval(
        "INSERT INTO message (channel, kind, recipient, language) VALUES ('mail', 'x', $1, 'en') RETURNING id",
        f"resident@{community}.example",
    )
    values["passkey"] = await connection.fetchval(
        "INSERT INTO passkey (user_id, credential_id, public_key, sign_count, synced, name)"
        " SELECT id, $2, $2, 0, false, 'key' FROM app_user WHERE email = $1 RETURNING id",
        f"resident@{community}.example",
        community.encode(),
    )
    return values


@pytest.fixture
async def objects(people: People, filled: Database) -> dict[str, dict[str, Any]]:
    """Return the path parameters of one object of every kind, for each community."""
    connection = await asyncpg.connect(filled.app)
    try:
        async with connection.transaction():
            await database.set_scope(connection, "identity")
            return {
                name: await fill(
                    await people(f"administrator@{name}.example"),
                    await people(f"resident@{name}.example"),
                    name,
                    connection,
                )
                for name in ("a", "b")
            }
    finally:
        await connection.close()


async def rows_of(owner: Any, community: str) -> dict[str, str]:
    """Return a digest of everything that a community has, by table."""
    tables = [
        row["relname"]
        for row in await owner.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE a.attname = 'community_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
        )
    ]
    found = {}
    async with owner.transaction():
        await database.set_scope(owner, "provision")
        identity = await owner.fetchval("SELECT id FROM community WHERE name = $1", community)
        await owner.execute("SELECT set_config('parkmesh.scope', '', true)")
        await database.set_community(owner, identity)
        for table in tables:
            # The server looks at events by itself, whoever asks for what.
            kept = f"SELECT (to_jsonb(t) - 'routed_at')::text AS row FROM {table} t ORDER BY 1"  # noqa: S608 - from the catalogue
            rows = await owner.fetch(kept)
            found[table] = hashlib.sha256("\n".join(row["row"] for row in rows).encode()).hexdigest()
    return found


async def document(server: Server) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.web) as client:
        found: dict[str, Any] = (await client.get("/api/v1/openapi.json")).json()
    return found


def operations(paths: dict[str, Any]) -> list[Operation]:
    return [(method.upper(), path) for path, methods in sorted(paths.items()) for method in sorted(methods)]


# What the document can't say in full: a time within the years that are taken, a text that is a plate.
MEANINGFUL = {
    "from": moment(20),
    "until": moment(20, 14),
    "day": moment(20)[:10],
    "first_day": moment(20)[:10],
    "last_day": None,
    "valid_until": moment(20)[:10],
    "starts": "09:00",
    "ends": "17:00",
    "plate": "1234ZZZ",
    "url": "https://hooks.example/",
    "types": None,
}


def parameters(path: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", path))


def send_well_formed(
    base_url: str, schema: Any, operation: Operation, values: dict[str, Any], token: str
) -> httpx.Response | Any:
    """Send one request that is valid by the document, with the given path parameters."""
    method, path = operation
    answers: list[Any] = []

    @settings(
        max_examples=1, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    def send(case: Any) -> None:
        case.path_parameters = {name: values[name] for name in parameters(path)}
        if isinstance(case.body, dict):
            case.body |= {name: value for name, value in MEANINGFUL.items() if name in case.body}
        headers = {"Authorization": token, "If-Match": "*"}
        answers.append(case.call(base_url=base_url, headers=headers, timeout=20))

    send()
    return answers[-1]


async def test_every_parameter_has_a_foreign_value(server: Server, objects: dict[str, dict[str, Any]]) -> None:
    paths = (await document(server))["paths"]
    known = set(objects["b"]) | PLAIN | {"token"}
    assert {name for path in paths for name in parameters(path)} <= known


@pytest.mark.parametrize("email", ["administrator@a.example", "resident@a.example"])
async def test_nobody_gets_anything_of_another_community(
    server: Server,
    people: People,
    objects: dict[str, dict[str, Any]],
    owner: Any,
    subtests: Any,
    email: str,
) -> None:
    client = await people(email)
    spec = await document(server)
    schema = schemathesis.openapi.from_dict(spec)
    before = await rows_of(owner, "b")
    tried = 0
    for operation in operations(spec["paths"]):
        method, path = operation
        if "{community}" not in path:
            continue
        values = {name: objects["b"].get(name, "spaces") for name in parameters(path)}
        with subtests.test(operation=f"{method} {path}"):
            answer = await asyncio.to_thread(
                send_well_formed, server.web, schema, operation, values, client.headers["authorization"]
            )
            assert answer.status_code == 404, answer.text
            tried += 1
    assert tried > 60
    assert await rows_of(owner, "b") == before


async def test_nobody_reaches_another_community_s_objects_through_his_own(
    server: Server, people: People, objects: dict[str, dict[str, Any]], owner: Any, subtests: Any
) -> None:
    client = await people("administrator@a.example")
    spec = await document(server)
    schema = schemathesis.openapi.from_dict(spec)
    before = await rows_of(owner, "b")
    tried = 0
    for operation in operations(spec["paths"]):
        method, path = operation
        foreign = parameters(path) - PLAIN - {"community", "token"}
        if not foreign or path in OF_ANYBODY:
            continue
        # The outermost object is the other community's; what lies within it is too.
        values = {name: objects["b"].get(name, "spaces") for name in parameters(path)} | {"community": "a"}
        with subtests.test(operation=f"{method} {path}"):
            answer = await asyncio.to_thread(
                send_well_formed, server.web, schema, operation, values, client.headers["authorization"]
            )
            assert answer.status_code == 404, answer.text
            tried += 1
    assert tried > 35
    assert await rows_of(owner, "b") == before


async def test_ids_in_bodies_name_nothing_of_another_community(
    people: People, objects: dict[str, dict[str, Any]], owner: Any, subtests: Any
) -> None:
    client = await people("administrator@a.example")
    other = objects["b"]
    before = await rows_of(owner, "b")
    window = {"from": moment(8), "until": moment(8, 14)}
    for path, body in (
        ("assignments", {"space": other["space"], "unit_id": objects["a"]["unit"], "from": moment(9)}),
        ("assignments", {"space": objects["a"]["space"], "unit_id": other["unit"], "from": moment(9)}),
        ("bookings", {"space": f"bay-of-{other['community']}", "unit_id": objects["a"]["unit"], **window}),
        ("bookings", {"space": "bay-of-a", "unit_id": other["unit"], **window}),
        ("visitor-passes", {"unit_id": other["unit"], "plate": "9999ZZZ", **window}),
        ("vehicles", {"plate": "9999ZZY", "resident_id": other["resident"]}),
        ("residents", {"email": "x@x.example", "name": "X", "unit_id": other["unit"]}),
        ("invitations", {"email": "y@x.example", "unit_id": other["unit"]}),
    ):
        with subtests.test(path=path, body=str(sorted(body))):
            answer = await client.post(f"/api/v1/communities/a/{path}", json=body)
            assert answer.status_code in (404, 422), answer.text
    assert await rows_of(owner, "b") == before


@pytest.mark.parametrize("email", ["administrator@a.example", "resident@a.example"])
async def test_the_desk_is_for_the_operator_alone(server: Server, people: People, subtests: Any, email: str) -> None:
    client = await people(email)
    tried = 0
    for method, path in operations((await document(server))["paths"]):
        if path.startswith("/api/v1/desk/"):
            with subtests.test(operation=f"{method} {path}"):
                assert (await client.request(method, path)).status_code in (403, 404)
                tried += 1
    assert tried >= 14


async def test_nothing_but_the_doors_opens_without_signing_in(
    server: Server, objects: dict[str, dict[str, Any]], subtests: Any
) -> None:
    open_to_all = {
        "/api/v1/sessions",
        "/api/v1/sessions/passkey/options",
        "/api/v1/sessions/passkey",
        "/api/v1/invitations/look",
        "/api/v1/invitations/accept",
        "/api/v1/password-resets",
        "/api/v1/visits/{token}",
    }
    async with httpx.AsyncClient(base_url=server.web) as client:
        for method, path in operations((await document(server))["paths"]):
            if path in open_to_all and (method, path) != ("GET", "/api/v1/sessions"):
                continue
            values = {name: objects["a"].get(name, "spaces") for name in parameters(path)}
            with subtests.test(operation=f"{method} {path}"):
                answer = await client.request(method, path.format(**values))
                assert answer.status_code == 401, answer.text
