"""``parkmesh admin apply``: bring communities and users to a desired state in one transaction.

Idempotent: what is there already is left alone and not reported. Nothing is deleted. A community that was offboarded
stays as it is.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
from msgspec import UNSET, UnsetType

from parkmesh.domain.community_rules import Rules
from parkmesh.server import audit
from parkmesh.server.communities import desired, rules
from parkmesh.server.communities.desired import DocumentError
from parkmesh.server.db import database
from parkmesh.server.identity import passwords

T = TypeVar("T")


@dataclass
class Applied:
    """What changed, as ``community/a/gate/main-in`` and the like."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    offboarded: list[str] = field(default_factory=list)
    """Communities that the document still has, and that nothing was changed in: the desk has let them go."""

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated)


def wanted(value: T | UnsetType, otherwise: T) -> T:
    """Return a value of the document, or ``otherwise`` where the document doesn't say."""
    return otherwise if isinstance(value, UnsetType) else value


async def apply(connection: database.Connection, document: desired.Document) -> Applied:
    """Apply a document; raise ``DocumentError`` with nothing applied."""
    done = Applied()
    async with database.provisioning(connection):
        # Two playbooks at once take turns; rows they both create would otherwise collide.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('parkmesh admin apply', 0))")
        for index, community in enumerate(document.communities):
            await apply_community(connection, done, community, f"$.communities[{index}]")
        for index, user in enumerate(document.users):
            await _apply_user(connection, done, user, f"$.users[{index}]")
        if done.changed:
            # How much, not what: the names of what changed hold addresses and plates.
            detail = {
                "communities": [community.name for community in document.communities],
                "created": len(done.created),
                "updated": len(done.updated),
            }
            actor = audit.System("admin")
            await audit.record(connection, actor, database.OUTSIDE, "desired-state.apply", "desired-state", detail)
    return done


async def apply_community(
    connection: database.Connection, done: Applied, community: desired.Community, path: str
) -> None:
    """Apply one community in a transaction of ``database.provisioning``; ``path`` begins what errors name."""
    await _Community(connection, done, community, path).apply()


class _Community:
    """One community of the document and the transaction that it is applied in."""

    def __init__(self, connection: database.Connection, done: Applied, community: desired.Community, path: str) -> None:
        self._connection = connection
        self._done = done
        self._community = community
        self._path = path
        self._name = f"community/{community.name}"
        self._id = 0

    async def apply(self) -> None:
        offboarded = await self._connection.fetchval(
            "SELECT offboarded_at IS NOT NULL FROM community WHERE name = $1", self._community.name
        )
        if offboarded:
            self._done.offboarded.append(self._community.name)
            return
        self._id = await self._ensure_community()
        await database.set_community(self._connection, self._id)
        if self._name in self._done.created and not isinstance(self._community.rules, UnsetType):
            await rules.change(self._connection, audit.System("admin"), self._id, Rules(), self._community.rules)
        for gate in self._community.gates:
            name = f"gate/{gate.name}"
            given = {"title": gate.title, "direction": gate.direction}
            await self._ensure("gate", name, {"name": gate.name}, given, {"title": gate.name, "direction": "both"})
        for space in self._community.spaces:
            given = {"level": space.level, "category": space.category}
            await self._ensure("space", f"space/{space.name}", {"name": space.name}, given, {})
        for index, gateway in enumerate(self._community.gateways):
            await self._ensure_gateway(gateway, f"{self._path}.gateways[{index}]")
        for resident in self._community.residents:
            await self._ensure_resident(resident)
        await database.set_community(self._connection, None)

    async def _ensure_community(self) -> int:
        wish = self._community
        row = await self._connection.fetchrow(
            "SELECT id, title, time_zone, language FROM community WHERE name = $1", wish.name
        )
        if row is None:
            for key in ("title", "time_zone"):
                if getattr(wish, key) is UNSET:
                    raise DocumentError(f"{self._path}: community {wish.name} is new and needs a {key}")
            self._done.created.append(self._name)
            new: int = await self._connection.fetchval(
                "INSERT INTO community (name, title, time_zone, language) VALUES ($1, $2, $3, $4) RETURNING id",
                wish.name,
                wish.title,
                wish.time_zone,
                wanted(wish.language, "en"),
            )
            return new
        columns = ("title", "time_zone", "language")
        values = [wanted(getattr(wish, column), row[column]) for column in columns]
        if values != [row[column] for column in columns]:
            await self._connection.execute(
                "UPDATE community SET title = $2, time_zone = $3, language = $4 WHERE id = $1", row["id"], *values
            )
            self._done.updated.append(self._name)
        known: int = row["id"]
        return known

    async def _ensure(
        self, table: str, name: str, key: dict[str, Any], given: dict[str, Any], defaults: dict[str, Any]
    ) -> int:
        """Create or update one row of a tenant's table; names of tables and columns are this module's own."""
        given = {column: value for column, value in given.items() if value is not UNSET}
        where = " AND ".join(f"{column} = ${n}" for n, column in enumerate(key, 2))
        columns = ", ".join(["id", *given])
        row = await self._connection.fetchrow(
            f"SELECT {columns} FROM {table} WHERE community_id = $1 AND {where}",  # noqa: S608
            self._id,
            *key.values(),
        )
        if row is None:
            values = {"community_id": self._id, **key, **defaults, **given}
            places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
            new: int = await self._connection.fetchval(
                f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) RETURNING id",  # noqa: S608
                *values.values(),
            )
            self._done.created.append(f"{self._name}/{name}")
            return new
        known: int = row["id"]
        changed = {column: value for column, value in given.items() if row[column] != value}
        if changed:
            assignments = ", ".join(f"{column} = ${n}" for n, column in enumerate(changed, 3))
            await self._connection.execute(
                f"UPDATE {table} SET {assignments} WHERE community_id = $1 AND id = $2",  # noqa: S608
                self._id,
                known,
                *changed.values(),
            )
            self._done.updated.append(f"{self._name}/{name}")
        return known

    async def _ensure_gateway(self, gateway: desired.Gateway, path: str) -> None:
        given: dict[str, Any] = {}
        if not isinstance(gateway.token_sha256, UnsetType):
            # A gateway that had left the community is back.
            given = {"token_sha256": bytes.fromhex(gateway.token_sha256), "token_ends_at": None}
        try:
            async with self._connection.transaction():
                await self._ensure("gateway", f"gateway/{gateway.name}", {"name": gateway.name}, given, {})
        except asyncpg.UniqueViolationError:
            raise DocumentError(f"{path}.token_sha256: another community's gateway has this token") from None
        except asyncpg.NotNullViolationError:
            raise DocumentError(f"{path}: gateway {gateway.name} is new and needs a token_sha256") from None

    async def _ensure_resident(self, resident: desired.Resident) -> None:
        given: dict[str, Any] = {"name": resident.name}
        if resident.unit is not UNSET:
            given["unit_id"] = await self._ensure("unit", f"unit/{resident.unit}", {"name": resident.unit}, {}, {})
        resident_id = await self._ensure(
            "resident", f"resident/{resident.email}", {"email": resident.email}, given, {"name": resident.email}
        )
        # One statement for all new plates: one version of the access list, one push to the gateways.
        created = await self._connection.fetch(
            """
            INSERT INTO credential (community_id, plate, resident_id)
            SELECT $1, plate, $2 FROM unnest($3::text[]) AS plate
            WHERE NOT EXISTS (SELECT FROM credential c
                              WHERE c.community_id = $1 AND c.resident_id = $2 AND c.plate = plate.plate)
            RETURNING plate
            """,
            self._id,
            resident_id,
            resident.plates,
        )
        self._done.created += [f"{self._name}/credential/{row['plate']}" for row in created]


async def _apply_user(connection: database.Connection, done: Applied, user: desired.User, path: str) -> None:
    name = f"user/{user.email}"
    password = (
        None
        if isinstance(user.password_file, UnsetType)
        else desired.read_password(f"{path}.password_file", user.password_file)
    )
    row = await connection.fetchrow(
        "SELECT id, name, operator, password_hash FROM app_user WHERE email = $1", user.email
    )
    before = (row["name"], row["operator"], row["password_hash"]) if row else (user.email, False, None)
    operator = before[1] if isinstance(user.role, UnsetType) else user.role == "operator" or before[1]
    stored = before[2]
    if password is not None and not await passwords.verify(stored, password):
        stored = passwords.hashed(password)
    after = (wanted(user.name, before[0]), operator, stored)
    if row is None:
        if user.role is UNSET:
            raise DocumentError(f"{path}: user {user.email} is new and needs a role")
        user_id = await connection.fetchval(
            "INSERT INTO app_user (email, name, operator, password_hash) VALUES ($1, $2, $3, $4) RETURNING id",
            user.email,
            *after,
        )
        done.created.append(name)
    else:
        user_id = row["id"]
        if after != before:
            await connection.execute(
                "UPDATE app_user SET name = $2, operator = $3, password_hash = $4 WHERE id = $1", user_id, *after
            )
            done.updated.append(name)
        if stored != before[2]:
            # Sessions that were opened with the old password end.
            await connection.execute(
                "UPDATE web_session SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL", user_id
            )
    if not isinstance(user.community, UnsetType):
        await _ensure_membership(connection, done, user, user_id, path)


async def _ensure_membership(
    connection: database.Connection, done: Applied, user: desired.User, user_id: int, path: str
) -> None:
    community_id = await connection.fetchval("SELECT id FROM community WHERE name = $1", user.community)
    if community_id is None:
        raise DocumentError(f"{path}.community: there is no community {user.community}")
    await database.set_community(connection, community_id)
    resident_id = await connection.fetchval(
        "SELECT id FROM resident WHERE community_id = $1 AND email = $2", community_id, user.email
    )
    name = f"community/{user.community}/member/{user.email}"
    before = await connection.fetchrow(
        "SELECT role, resident_id FROM membership WHERE community_id = $1 AND user_id = $2", community_id, user_id
    )
    if before is None or tuple(before) != (user.role, resident_id):
        await connection.execute(
            """
            INSERT INTO membership (community_id, user_id, role, resident_id) VALUES ($1, $2, $3, $4)
            ON CONFLICT (community_id, user_id) DO UPDATE SET role = excluded.role, resident_id = excluded.resident_id
            """,
            community_id,
            user_id,
            user.role,
            resident_id,
        )
        (done.updated if before else done.created).append(name)
    await database.set_community(connection, None)
