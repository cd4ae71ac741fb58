"""RDS: each PostgreSQL instance record has a container with Debian's PostgreSQL, reachable under the record's endpoint.

The master user is no superuser, as in RDS: it may create databases and roles. Its password reaches the server as a
SCRAM verifier on standard input and never in clear text.

RDS keeps a standby by copying the primary's blocks to a volume in the other zone before a write counts, and starts
PostgreSQL there at a failover, which recovers as after a crash (AWS Database Blog, "Amazon RDS Under the Hood:
Multi-AZ"). Here both have the one volume: at a failover the container is killed, and another one at an address of the
other zone has its volume. A database in one zone is away for as long as the zone has failed.
"""

import base64
import hashlib
import hmac
import logging
import secrets
import subprocess
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from lab.driver import backups
from lab.driver.cloud import Database, Records
from lab.driver.compute import Retries
from lab.driver.hosts import AWAIT_SYSTEMD, HOST_OPTIONS
from lab.machine.errors import LabError
from lab.machine.names import Lab, mac_address
from lab.machine.podman import Container, Podman
from lab.machine.subnets import last_free

log = logging.getLogger(__name__)

DATABASE_LABEL = "parkmesh.database"
ADDRESS_LABEL = "parkmesh.address"
ZONE_LABEL = "parkmesh.zone"
READY_TIMEOUT_S = 60
SCRAM_ITERATIONS = 4096


class Databases:
    """The lab's database servers."""

    def __init__(self, lab: Lab, podman: Podman, image: str) -> None:
        self.lab, self.podman, self.image = lab, podman, image
        # Endpoint name -> address, for the instances' /etc/hosts.
        self.endpoints: dict[str, str] = {}
        self._prepared: dict[str, Database] = {}
        self._retries = Retries()
        self._problems: dict[str, str] = {}

    def container(self, identifier: str) -> str:
        return self.lab.thing(f"db-{identifier}")

    def status(self) -> list[dict[str, str | None]]:
        return [
            {
                "identifier": name,
                "endpoint": record.endpoint,
                "address": self.endpoints.get(record.endpoint),
                "zone": record.zone,
                "problem": self._problems.get(name),
            }
            for name, record in sorted(self._prepared.items())
        ]

    def tick(
        self,
        records: Records,
        containers: Iterable[Container],
        in_use: set[str],
        failed_zones: frozenset[str] = frozenset(),
    ) -> bool:
        """One round; `in_use` are addresses that instances have. Returns whether containers changed."""
        containers = list(containers)
        present = {c.labels[DATABASE_LABEL]: c for c in containers if DATABASE_LABEL in c.labels}
        wanted = {database.identifier: database for database in records.databases}
        changed = False
        for identifier in sorted(set(present) - set(wanted)):
            self._remove(identifier)
            changed = True
        taken = in_use | {c.labels[ADDRESS_LABEL] for c in containers if ADDRESS_LABEL in c.labels}
        self.endpoints = {}
        for identifier, database in sorted(wanted.items()):
            container = present.get(identifier)
            if container:
                self.endpoints[database.endpoint] = container.labels[ADDRESS_LABEL]
            if container and container.labels.get(ZONE_LABEL) != database.zone:
                # The next round starts it where it is to be: whatever else a failed zone has dies in this one.
                self._leave(database, container, failed_zones)
                changed = True
                continue
            if database.zone in failed_zones:
                changed |= self._die(database, container)
                continue
            try:
                address = container.labels[ADDRESS_LABEL] if container else _address(database, records.subnets, taken)
            except LabError as error:
                self._note(identifier, str(error))
                continue
            self.endpoints[database.endpoint] = address
            taken.add(address)
            if container and container.running and self._prepared.get(identifier) == database:
                continue
            changed |= self._try(database, container, address)
        return changed

    def _try(self, database: Database, container: Container | None, address: str) -> bool:
        now = time.monotonic()
        if not self._retries.due(database.identifier, now):
            return False
        try:
            if container is None:
                self._create(database, address)
            elif not container.running:
                self.podman.run("start", container.name)
            self._prepare(database)
        except LabError as error:
            self._retries.failed(database.identifier, now)
            self._note(database.identifier, str(error))
            return True
        self._retries.succeeded(database.identifier)
        self._problems.pop(database.identifier, None)
        self._prepared[database.identifier] = database
        return True

    def _leave(self, database: Database, container: Container, failed_zones: frozenset[str]) -> None:
        """A failover: the primary ends where it was."""
        was = container.labels.get(ZONE_LABEL, "")
        log.warning("database %s fails over from %s to %s", database.identifier, was, database.zone)
        if was in failed_zones:
            _cut_off(container)
        self.podman.run("rm", "--force", "--time=0", container.name)
        self._prepared.pop(database.identifier, None)

    def _die(self, database: Database, container: Container | None) -> bool:
        self._note(
            database.identifier, f"its zone {database.zone} has failed, and it has no standby that could take over"
        )
        if container is None or not container.running:
            return False
        _cut_off(container)
        self.podman.run("kill", container.name)
        self._prepared.pop(database.identifier, None)
        return True

    def _note(self, name: str, problem: str) -> None:
        if self._problems.get(name) != problem:
            self._problems[name] = problem
            log.error("database %s: %s", name, problem)

    def _create(self, database: Database, address: str) -> None:
        name = self.container(database.identifier)
        self.podman.run("rm", "--force", "--time=0", "--ignore", name)
        for volume in (name, self.lab.thing("db-backups")):
            if not self.podman.exists("volume", volume):
                self.podman.run("volume", "create", f"--label={self.lab.label}", volume)
        self.podman.run(
            "run",
            "--detach",
            f"--name={name}",
            f"--hostname=db-{database.identifier}",
            f"--label={self.lab.label}",
            f"--label={DATABASE_LABEL}={database.identifier}",
            f"--label={ADDRESS_LABEL}={address}",
            f"--label={ZONE_LABEL}={database.zone}",
            f"--network={self.lab.thing('vpc')}",
            f"--ip={address}",
            f"--mac-address={mac_address(self.lab.id, 'db-' + database.identifier)}",
            f"--volume={name}:/var/lib/postgresql",
            f"--volume={self.lab.thing('db-backups')}:{backups.FOLDER}",
            *HOST_OPTIONS,
            self.image,
            "/sbin/init",
        )
        log.info("database %s started at %s (%s)", database.identifier, address, database.zone)

    def _prepare(self, database: Database) -> None:
        """Cluster, listener, master user and first database; each only where it is missing."""
        name = self.container(database.identifier)
        self._archive_source(database)
        script = cluster_script(database.port, database.identifier, database.origin)
        self.podman.shell(name, script, timeout=READY_TIMEOUT_S + 30)
        verifier = scram_verifier(database.password)
        self._sql(name, database.port, "postgres", role_statements(database.user, verifier))
        if database.name:
            exists = self._sql(
                name,
                database.port,
                "postgres",
                f"SELECT 1 FROM pg_database WHERE datname = {literal(database.name)};",  # noqa: S608 (quoted)
            )
            if "1" not in exists:
                self._sql(
                    name,
                    database.port,
                    "postgres",
                    f"CREATE DATABASE {identifier(database.name)} OWNER {identifier(database.user)};",
                )
        # From here on a copy can be made of any moment.
        self.podman.shell(name, backups.backup("base", database.identifier, database.port, again=False))
        log.info("database %s is ready", database.identifier)

    def snapshot_created(self, identifier: str, snapshot: str, port: int) -> None:
        """CreateDBSnapshot: the database's data as it is becomes the snapshot before the call returns.

        Raises:
            LabError: there is no container of this database, or the backup failed.
        """
        name = self.container(identifier)
        if not self.podman.exists("container", name):
            raise LabError(f"{identifier} has no server to make {snapshot} from")
        self.podman.shell(name, backups.backup("snapshots", snapshot, port, again=True))
        log.info("snapshot %s made of %s", snapshot, identifier)

    def _archive_source(self, database: Database) -> None:
        """Before a database is restored to a moment, its source archives what it has."""
        if database.origin[:1] == ("moment",) and database.identifier not in self._prepared:
            source = self._prepared.get(database.origin[1])
            if source is not None:
                self.podman.shell(self.container(source.identifier), backups.last_wal(source.identifier, source.port))

    def _sql(self, container: str, port: int, database: str, statements: str) -> str:
        return self.podman.run(
            "exec",
            "--interactive",
            "--user=postgres",
            container,
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            f"--port={port}",
            f"--dbname={database}",
            text=statements,
        )

    def _remove(self, name: str) -> None:
        container = self.container(name)
        if name in self._prepared:
            self.podman.shell(container, backups.forget(name))
        self.podman.run("rm", "--force", "--time=0", container)
        self.podman.run("volume", "rm", "--force", container)
        self._prepared.pop(name, None)
        self._retries.succeeded(name)
        self._problems.pop(name, None)
        log.info("database %s removed: its record is deleted", name)


def _address(database: Database, subnets: Mapping[str, str], taken: set[str]) -> str:
    for subnet_id in database.subnet_ids:
        if subnet_id in subnets:
            return str(last_free(IPv4Network(subnets[subnet_id]), [IPv4Address(address) for address in taken]))
    raise LabError(f"database {database.identifier}: its subnet group names no subnet of the VPC")


def _cut_off(container: Container) -> None:
    """A host of a zone that fails says goodbye to nobody. One that has just ended has nothing to say."""
    if container.running:
        command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "link", "set", "dev", "eth0", "down"]
        subprocess.run(command, capture_output=True, timeout=10, check=False)


def cluster_script(port: int, name: str, origin: backups.Origin = ()) -> str:
    """Shell: a running cluster that listens on the VPC, made new or of its origin, or adopted from the volume."""
    fill = backups.fill(origin) if origin else ""
    return f"""{AWAIT_SYSTEMD}
# The configuration lives beside the data, so that a new container finds both in the volume.
install -d -o postgres -g postgres /var/lib/postgresql /var/lib/postgresql/etc
[ -L /etc/postgresql ] || {{ rm -rf /etc/postgresql; ln -s /var/lib/postgresql/etc /etc/postgresql; }}
[ -e /etc/ssl/private/ssl-cert-snakeoil.key ] || make-ssl-cert generate-default-snakeoil
version=$(ls /usr/lib/postgresql | sort -n | tail -1)
if [ ! -e "/etc/postgresql/$version/made" ]; then
    # What an interrupted attempt left.
    [ ! -d "/etc/postgresql/$version/main" ] || pg_dropcluster --stop "$version" main
    # And what a database of the same name left, whose record another daemon had.
    {backups.forget(name)}
    {backups.folders(name)}
    pg_createcluster --port={port} "$version" main \\
        -o "listen_addresses=*" -o max_connections=300 -o password_encryption=scram-sha-256 \\
        {backups.archiving(name)} >/dev/null
{fill}    touch "/etc/postgresql/$version/made"
fi
cat > "/etc/postgresql/$version/main/pg_hba.conf" <<'HBA'
local   all,replication all     peer
host    all all 0.0.0.0/0       scram-sha-256
HBA
systemctl enable --quiet "postgresql@$version-main.service"
systemctl start "postgresql@$version-main.service"
for i in $(seq {READY_TIMEOUT_S}); do
    # One that is restored takes changes when it has come to its moment.
    recovers=$(cd / && runuser -u postgres -- psql -XqtA --port={port} -c "SELECT pg_is_in_recovery()" 2>&1 || true)
    [ "$recovers" = f ] && exit 0
    sleep 1
done
echo "PostgreSQL is not ready after {READY_TIMEOUT_S} s" >&2
exit 1
"""


def role_statements(user: str, verifier: str) -> str:
    return f"""
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = {literal(user)}) THEN
    CREATE ROLE {identifier(user)} LOGIN CREATEDB CREATEROLE;
  END IF;
END $$;
SET log_min_error_statement = panic;
ALTER ROLE {identifier(user)} PASSWORD {literal(verifier)};
"""  # noqa: S608 (both are quoted)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL stores for a password (RFC 5802, SCRAM-SHA-256), so that it never sees the password itself."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt_text}${stored_text}:{server_text}"
