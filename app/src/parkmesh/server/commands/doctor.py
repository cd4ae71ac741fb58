"""``parkmesh doctor``: what is wrong with a deployment, and how to mend it.

It runs where a server runs, with the server's environment, and changes nothing. Reading is apart from judging: the
functions that begin with ``judge`` take plain values, those that begin with ``read`` ask the database.
"""

import asyncio
import re
import resource
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from parkmesh.domain.retention import PASSAGES_KEPT
from parkmesh.server import servers, settings
from parkmesh.server.commands import run
from parkmesh.server.communities import community_reads
from parkmesh.server.db import database, migrations
from parkmesh.server.http import sockets

State = Literal["ok", "warn", "fail"]

OLDEST_POSTGRESQL = 15
CLOCK_WARN_S, CLOCK_FAIL_S = 1.0, 5.0
GATEWAY_CLOCK_S = 60.0
GATEWAY_BACKLOG = 1000
PARTITIONS_WARN, PARTITIONS_FAIL = timedelta(days=3), timedelta(days=1)
RETENTION_LATE = timedelta(days=2)
DISK_WARN, DISK_FAIL = 0.15, 0.05
FILES = 4096
NOTIFY_S = 5.0
OTHERS = 5
"""Connections to leave for migrations, ``parkmesh admin`` and people who look into the database."""
NAMED = 5


class Finding(Struct, frozen=True, omit_defaults=True):
    """One check's outcome; ``mend`` says what to do where it isn't ok."""

    check: str
    state: State
    text: str
    mend: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def judge_settings(environment: Mapping[str, str]) -> list[Finding]:
    """Judge the variables of the environment, without showing any value that is secret."""
    found = []
    try:
        config = settings.from_environment(environment)
    except settings.SettingError as error:
        return [Finding("environment", "fail", str(error), "set it in the server's environment file")]
    found.append(ok("environment", f"complete, server {config.server_id}"))
    found.append(_judge_secret(config.session_secret))
    found.append(_judge_public_url(config.public_url))
    edge = environment.get("PARKMESH_EDGE_ADDRESS", "").strip()
    file = environment.get("PARKMESH_EDGE_ADDRESS_FILE", "").strip()
    if edge:
        found.append(_judge_edge_address(edge))
    elif file:
        found.append(_judge_slot(sockets.address_in(Path(file))))
    else:
        found.append(
            Finding(
                "edge address", "warn", "PARKMESH_EDGE_ADDRESS is not set: the edge API is on 127.0.0.1",
                "set it to this server's address in the overlay, or gateways on other machines can't reach it",
            )
        )  # fmt: skip
    return found


def _judge_secret(secret: str) -> Finding:
    mend = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))', the same on every server"
    if len(secret) < 32:
        return Finding("session secret", "warn", f"{len(secret)} characters, 32 random ones are safe", mend)
    if len(set(secret)) < 10:
        return Finding("session secret", "fail", "made of a few characters only, so it can be guessed", mend)
    return ok("session secret", f"{len(secret)} characters")


def _judge_public_url(url: str | None) -> Finding:
    mend = "set PARKMESH_PUBLIC_URL to the address that browsers use, https://…"
    if url is None:
        return Finding("public URL", "warn", "not set: cookies and links are made for plain http", mend)
    parts = urlsplit(url)
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        return Finding("public URL", "fail", "not a scheme and a host alone", mend)
    local = parts.hostname == "localhost" or (_is_address(parts.hostname) and ip_address(parts.hostname).is_loopback)
    if parts.scheme != "https" and not local:
        return Finding("public URL", "warn", f"{url} is not https: sessions travel in the clear", mend)
    return ok("public URL", url)


def _judge_slot(address: str | None) -> Finding:
    if address is None:
        return Finding(
            "edge address", "fail", "this instance holds no overlay slot: it serves people, and no gateway reaches it",
            "see journalctl -u parkmesh-overlay; with all slots held, raise aws_service_instances_max and run "
            "provision-overlay",
        )  # fmt: skip
    return ok("edge address", address)


def _judge_edge_address(address: str) -> Finding:
    mend = "set PARKMESH_EDGE_ADDRESS to this server's address in the overlay"
    if not _is_address(address):
        return Finding("edge address", "fail", f"PARKMESH_EDGE_ADDRESS {address} is not an IP address", mend)
    if ip_address(address).is_unspecified:
        return Finding("edge address", "warn", "the edge API is open on every network, not on the overlay alone", mend)
    return ok("edge address", address)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def judge_version(number: int) -> Finding:
    """``number`` is PostgreSQL's ``server_version_num``."""
    major = number // 10000
    if major < OLDEST_POSTGRESQL:
        return Finding(
            "PostgreSQL", "fail", f"version {major}", f"upgrade it to {OLDEST_POSTGRESQL} or later: the schema needs it"
        )
    return ok("PostgreSQL", f"version {major}.{number % 10000}")


def judge_tls(local: bool, encrypted: bool, url: str) -> Finding:
    """``local``: the connection is a socket of this machine; ``url`` tells whether the certificate is verified."""
    if local:
        return ok("database TLS", "not needed on a socket of this machine")
    mend = "set PARKMESH_DATABASE_CA to the file of the database's certificate authority"
    if not encrypted:
        return Finding("database TLS", "fail", "the connection is not encrypted", mend)
    if not re.search(r"[?&]sslmode=verify-full(&|$)", url):
        return Finding("database TLS", "warn", "encrypted, but the database's certificate is not verified", mend)
    return ok("database TLS", "encrypted, certificate verified")


def judge_clock(ahead_s: float) -> Finding:
    """``ahead_s``: seconds by which this machine's clock is ahead of the database's."""
    text = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the database's"
    if abs(ahead_s) > CLOCK_FAIL_S:
        return Finding("clock", "fail", text, "start a time service (chrony, systemd-timesyncd) on this machine")
    if abs(ahead_s) > CLOCK_WARN_S:
        return Finding("clock", "warn", text, "look at this machine's time service: chronyc tracking")
    return ok("clock", "agrees with the database's")


def judge_revision(held: str | None, head: str, known: Sequence[str]) -> Finding:
    """``held`` is the revision of the database, ``head`` the newest of this release's ``known`` ones."""
    if held == head:
        return ok("schema", f"revision {held}")
    if held is None:
        return Finding("schema", "fail", "the database is empty", "run parkmesh migrate with the owner's address")
    if held not in known:
        return Finding(
            "schema", "warn", f"revision {held} is newer than this release's {head}",
            "fine while a deployment rolls; else deploy the newer release here too",
        )  # fmt: skip
    return Finding("schema", "fail", f"revision {held}, this release needs {head}", "run parkmesh migrate")


def judge_connections(limit: int, live: int) -> Finding:
    """``limit``: connections that PostgreSQL gives to ordinary roles; ``live``: servers that are there."""
    each = run.WEB_CONNECTIONS + run.EDGE_CONNECTIONS + run.LISTENERS
    # While a deployment rolls there are twice as many servers.
    needed, surge = each * live + OTHERS, each * live * 2 + OTHERS
    text = f"{limit} allowed, {live} servers take up to {needed}, {surge} while a deployment rolls"
    mend = "raise max_connections, or take a larger class of database"
    if needed > limit:
        return Finding("connections", "fail", text, mend)
    if surge > limit:
        return Finding("connections", "warn", text, mend)
    return ok("connections", text)


def judge_partitions(until: datetime | None, strays: bool, now: datetime) -> Finding:
    """``until``: the end of the latest partition of passages; ``strays``: some fell into the default partition."""
    mend = "run parkmesh retention run (its timer does it every day): it makes the partitions ahead"
    if until is None:
        return Finding("partitions", "fail", "passages have no partition by time", mend)
    text = f"passages have partitions until {until:%Y-%m-%d}"
    if until - now < PARTITIONS_FAIL:
        return Finding("partitions", "fail", text, mend)
    if until - now < PARTITIONS_WARN:
        return Finding("partitions", "warn", text, mend)
    if strays:
        return Finding("partitions", "warn", f"{text}; some lie in the default one: a gateway's clock is wrong", mend)
    return ok("partitions", text)


def judge_retention(oldest: datetime | None, now: datetime) -> Finding:
    """``oldest``: the end of the oldest partition of passages, which a daily retention drops when its time is over."""
    if oldest is not None and now - oldest > PASSAGES_KEPT + RETENTION_LATE:
        text = f"passages older than {oldest:%Y-%m-%d} are still there"
        mend = "run parkmesh retention run, and look at its timer: personal data are kept for too long"
        return Finding("retention", "fail", text, mend)
    return ok("retention", f"no passages are older than {PASSAGES_KEPT.days} days")


def judge_servers(found: Sequence[servers.Server]) -> list[Finding]:
    """Judge the list of servers."""
    live = [server for server in found if server.live]
    gone = [server.id for server in found if not server.live]
    versions = sorted({server.version for server in live})
    if not live:
        findings = [Finding("servers", "fail", "none is live", "start one: parkmesh serve; its log says what it lacks")]
    elif len(versions) > 1:
        mend = "fine while a deployment rolls; else deploy the same release everywhere"
        findings = [Finding("servers", "warn", f"{len(live)} live, of versions {' and '.join(versions)}", mend)]
    else:
        findings = [ok("servers", f"{len(live)} live, version {versions[0]}")]
    if gone:
        text = f"died without a word: {_some(gone)}"
        findings.append(Finding("servers gone", "warn", text, "look at their logs; the list forgets them after a day"))
    return findings


def judge_gateways(found: Sequence[tuple[str, community_reads.Gateway]]) -> list[Finding]:
    """Judge the gateways' health; each comes with its community's name."""
    if not found:
        return [
            Finding("gateways", "warn", "there are none", "add communities and their gateways: parkmesh admin apply")
        ]
    named = [(f"{community}/{gateway.name}", gateway) for community, gateway in found]
    silent = [name for name, gateway in named if not gateway.online]
    online = [(name, gateway) for name, gateway in named if gateway.online]
    findings = []
    for check, wrong, text, mend in (
        ("gateways silent", silent, "not heard of lately", "look at their power and line, parkmesh gateway status"),
        (
            "gateways behind", [name for name, gateway in online if (gateway.backlog or 0) > GATEWAY_BACKLOG],
            f"more than {GATEWAY_BACKLOG} events wait there", "look at the line's speed, and at this server's load",
        ),
        (
            "access lists", [name for name, gateway in online if _holds_old_list(gateway)],
            "hold an old access list", "look at their log: the stream or the list is refused",
        ),
        (
            "gateways' clocks",
            [name for name, gateway in online if abs(gateway.clock_skew_ms or 0) > GATEWAY_CLOCK_S * 1000],
            f"off by more than {GATEWAY_CLOCK_S:g} s", "start a time service (chrony) there",
        ),
        (
            "cameras", [name for name, gateway in online if gateway.silent_cameras],
            "have cameras that say nothing", "look at those cameras' power, cable and event address",
        ),
    ):  # fmt: skip
        if wrong:
            findings.append(Finding(check, "warn", f"{len(wrong)} of {len(found)} {text}: {_some(wrong)}", mend))
    return findings or [ok("gateways", f"{len(found)}, all well")]


def _holds_old_list(gateway: community_reads.Gateway) -> bool:
    return gateway.access_list_version is not None and gateway.access_list_version < gateway.newest_access_list_version


def judge_machine(free: float, files: int) -> list[Finding]:
    """``free``: part of the disk that is free; ``files``: how many files a process may have open."""
    text = f"{free:.0%} of this machine's is free"
    state: State = "fail" if free < DISK_FAIL else "warn" if free < DISK_WARN else "ok"
    disk = Finding("disk", state, text, "" if state == "ok" else "remove old logs (journalctl --vacuum-size=500M)")
    if 0 <= files < FILES:
        mend = "raise LimitNOFILE of parkmesh-server.service: every open page takes one"
        return [disk, Finding("open files", "warn", f"{files} allowed", mend)]
    return [disk, ok("open files", "no limit" if files < 0 else f"{files} allowed")]


async def read_role(connection: database.Connection) -> Finding:
    """Whether the role that servers connect as is held by row-level security."""
    role = await connection.fetchrow(
        """
        SELECT r.rolname, array_remove(ARRAY[
                CASE WHEN r.rolsuper THEN 'is a superuser' END, CASE WHEN r.rolbypassrls THEN 'has BYPASSRLS' END,
                CASE WHEN r.rolcreaterole THEN 'has CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'has CREATEDB' END,
                CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) THEN 'owns tables' END,
                CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relowner <> r.oid AND NOT r.rolsuper
                        AND c.relnamespace = 'public'::regnamespace AND pg_has_role(r.oid, c.relowner, 'MEMBER'))
                     THEN 'is a member of the tables'' owner' END], NULL) AS wrong
        FROM pg_roles r WHERE r.rolname = current_user
        """
    )
    if role["wrong"]:
        return Finding(
            "database role", "fail", f"{role['rolname']} {', '.join(role['wrong'])}",
            "let servers connect as parkmesh_app, which parkmesh migrate makes, and not as the owner; "
            "ALTER ROLE parkmesh_app NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB",
        )  # fmt: skip
    return ok("database role", f"{role['rolname']}, held by row-level security")


async def read_row_security(connection: database.Connection) -> Finding:
    """Whether every table has row-level security, forced."""
    loose = [
        row["relname"]
        for row in await connection.fetch(
            """
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
              AND relname <> 'alembic_version' AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname
            """
        )
    ]
    if loose:
        mend = "for each, as the owner: ALTER TABLE … ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        return Finding("row-level security", "fail", f"not forced on {_some(loose)}", mend)
    return ok("row-level security", "forced on every table")


async def read_extension(connection: database.Connection) -> Finding:
    """Whether what the exclusion constraints need is there."""
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'btree_gist')"):
        return ok("btree_gist", "installed")
    mend = "as the owner: CREATE EXTENSION btree_gist (Debian: postgresql-contrib)"
    return Finding("btree_gist", "fail", "not installed: nothing keeps bookings apart", mend)


async def read_revision(connection: database.Connection) -> Finding:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(migrations.FOLDER))
    known = [revision.revision for revision in script.walk_revisions()]
    if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
        return judge_revision(None, script.get_current_head() or "", known)
    if not await connection.fetchval("SELECT has_table_privilege('alembic_version', 'SELECT')"):
        return Finding("schema", "fail", "older than this release", "run parkmesh migrate")
    held = await connection.fetchval("SELECT version_num FROM alembic_version")
    return judge_revision(held, script.get_current_head() or "", known)


async def read_clock(connection: database.Connection) -> Finding:
    began = time.time()
    there: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return judge_clock((began + time.time()) / 2 - there.timestamp())


async def read_notifications(connection: database.Connection) -> Finding:
    """Whether a NOTIFY comes back: a pooler in between swallows them, and pages and gateways would hear nothing."""
    channel, heard = f"parkmesh_doctor_{secrets.token_hex(6)}", asyncio.Event()

    def listener(*_: object) -> None:
        heard.set()

    await connection.add_listener(channel, listener)
    try:
        await connection.execute("SELECT pg_notify($1, '')", channel)
        async with asyncio.timeout(NOTIFY_S):
            await heard.wait()
    except TimeoutError:
        mend = "let servers reach PostgreSQL itself, or a pooler in session mode"
        return Finding("notifications", "fail", f"none came within {NOTIFY_S:g} s", mend)
    finally:
        await connection.remove_listener(channel, listener)
    return ok("notifications", "arrive")


async def read_partitions(connection: database.Connection) -> list[Finding]:
    bounds = await connection.fetch(
        """
        SELECT pg_get_expr(c.relpartbound, c.oid) AS bound, c.oid::regclass::text AS name
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('passage')
        """
    )
    ends = [found[1] for row in bounds if (found := re.search(r"TO \('([^']+)'\)", row["bound"]))]
    oldest, until = await connection.fetchrow(
        "SELECT min(e::timestamptz), max(e::timestamptz) FROM unnest($1::text[]) e", ends
    )
    default = [row["name"] for row in bounds if row["bound"] == "DEFAULT"]
    strays = bool(default) and await connection.fetchval(
        "SELECT coalesce(n_live_tup, 0) > 0 FROM pg_stat_user_tables WHERE relid = $1::text::regclass", default[0]
    )
    now = datetime.now(UTC)
    return [judge_partitions(until, bool(strays), now), judge_retention(oldest, now)]


async def read_audit(connection: database.Connection) -> Finding:
    """Whether the chains are where their links say; ``parkmesh verify-audit`` looks at every entry."""
    async with connection.transaction(readonly=True):
        await database.set_scope(connection, "desk")
        chains = await connection.fetchval("SELECT count(*) FROM audit_chain")
        broken = await connection.fetchval(
            """
            SELECT count(*) FROM audit_chain c WHERE c.community_id = 0 AND c.entries > 0 AND NOT EXISTS (
                SELECT FROM audit_link l WHERE l.community_id = 0 AND l.seq = c.entries AND l.hash = c.hash)
            """
        )
    if broken:
        mend = "somebody changed it behind the application: run parkmesh verify-audit and keep the database as it is"
        return Finding("audit trail", "fail", "the chain's end is not the entry that it names", mend)
    return ok("audit trail", f"{chains} chains; parkmesh verify-audit checks every entry")


async def read_servers(connection: database.Connection) -> list[Finding]:
    found = await servers.read(connection)
    row = await connection.fetchrow(
        """
        SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true), '0')::int AS limit
        """
    )
    return [*judge_servers(found), judge_connections(row["limit"], max(1, sum(server.live for server in found)))]


async def read_gateways(connection: database.Connection) -> list[Finding]:
    async with connection.transaction(readonly=True):
        await database.set_scope(connection, "desk")
        names = {community.id: community.name for community in await community_reads.communities(connection)}
        found = await community_reads.gateways(connection, None)
    return judge_gateways([(names.get(community_id, "?"), gateway) for community_id, gateway in found])


async def read_tls(connection: database.Connection, url: str) -> Finding:
    local, encrypted = await connection.fetchrow(
        "SELECT inet_client_addr() IS NULL, coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
    )
    return judge_tls(local, encrypted, url)


async def examine(environment: Mapping[str, str], wait_s: float) -> list[Finding]:
    """Run all checks; what needs the database is left out where that can't be reached."""
    found = judge_settings(environment)
    usage = shutil.disk_usage("/")
    found += judge_machine(usage.free / usage.total, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    try:
        url = settings.database_url(environment)
    except settings.SettingError:
        return found
    try:
        connection = await database.connect(url, "parkmesh/doctor", wait_s)
    except database.DatabaseUnavailable as error:
        mend = "look at PARKMESH_DATABASE_URL, the security group or firewall, and whether PostgreSQL runs"
        return [*found, Finding("database", "fail", str(error), mend)]
    try:
        found.append(ok("database", "reachable"))
        found += [
            judge_version(int(await connection.fetchval("SHOW server_version_num"))),
            await read_tls(connection, url),
            await read_clock(connection),
            await read_role(connection),
            await read_notifications(connection),
        ]
        schema = await read_revision(connection)
        found.append(schema)
        if schema.state == "fail":
            # Half of the tables that the others ask may not be there.
            return found
        for check in (read_row_security, read_extension, read_audit):
            found.append(await check(connection))
        for group in (read_partitions, read_servers, read_gateways):
            found += await group(connection)
    except database.OFFLINE as error:
        text = f"a check could not be finished: {type(error).__name__}: {error}"
        found.append(Finding("database", "fail", text, "run parkmesh doctor again; look at the database's log"))
    finally:
        await connection.close()
    return found


def lines(found: Sequence[Finding]) -> list[str]:
    """Return the findings as text, one line each."""
    width = max(len(finding.check) for finding in found)
    return [
        f"{finding.state:<4}  {finding.check:<{width}}  {finding.text}{f' -> {finding.mend}' if finding.mend else ''}"
        for finding in found
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
