"""What RDS keeps of the lab's databases, for real: a base backup and the archived WAL of each, and snapshots.

All of it is in one volume that every database container mounts. A restored instance's cluster is made of it: of a
snapshot as it is, or of the base backup and the WAL up to a moment. Amazon RDS user guide, "Introduction to backups"
and "Restoring a DB instance to a specified time": snapshots are of the whole instance, and a moment is restored from a
backup and the transaction logs after it.
"""

import shlex
from datetime import UTC, datetime

FOLDER = "/var/lib/backups"
Origin = tuple[str, ...]
"""What a restored instance was made of: ("snapshot", its name), or ("moment", the source, the moment as ISO 8601)."""


def archiving(identifier: str) -> str:
    """Arguments of pg_createcluster: a database archives its WAL as it is written."""
    folder = f"{FOLDER}/wal/{identifier}"
    # A reader never sees half a file, and a file that is there already is never replaced.
    command = f"test ! -f {folder}/%f && cp %p {folder}/%f.part && mv {folder}/%f.part {folder}/%f"
    return f"-o archive_mode=on -o archive_timeout=60 -o {shlex.quote(f'archive_command={command}')}"


def folders(identifier: str) -> str:
    """Shell: the folders that a database writes to."""
    made = " ".join(f"{FOLDER}/{name}" for name in ("base", "snapshots", "wal", f"wal/{identifier}"))
    return f"install -d -o postgres -g postgres -m 700 {FOLDER} {made}"


def backup(folder: str, name: str, port: int, *, again: bool) -> str:
    """Shell: copy the running cluster to base/<name> or snapshots/<name>; ``again`` replaces one that is there."""
    target = shlex.quote(f"{FOLDER}/{folder}/{name}")
    keep = "" if again else f"[ -d {target} ] && exit 0\n"
    return f"""{keep}rm -rf {target}.part
cd / && runuser -u postgres -- pg_basebackup --port={port} --pgdata={target}.part \\
    --wal-method=stream --checkpoint=fast
rm -rf {target} && mv {target}.part {target}
"""


def last_wal(identifier: str, port: int) -> str:
    """Shell: bring the WAL up to now into the archive, with a commit after any moment that anybody asks for."""
    # Recovery to a moment needs a later commit to stop at (PostgreSQL manual, recovery_target_time).
    return f"""cd / && file=$(runuser -u postgres -- psql -XqtA --port={port} -c 'SELECT pg_current_xact_id()' \\
    -c 'SELECT pg_walfile_name(pg_switch_wal())' | tail -1)
for i in $(seq 150); do [ -f {FOLDER}/wal/{identifier}/$file ] && exit 0; sleep 0.2; done
echo "the WAL $file of {identifier} isn't archived" >&2
exit 1
"""


def fill(origin: Origin) -> str:
    """Shell: replace the new, stopped cluster's data by what the instance was restored from.

    $version is that of PostgreSQL.
    """
    data = "/var/lib/postgresql/$version/main"
    match origin:
        case ("snapshot", name):
            source, recovery = f"{FOLDER}/snapshots/{name}", ""
        case ("moment", database, moment):
            source = f"{FOLDER}/base/{database}"
            # PostgreSQL takes no abbreviation of a zone here, such as Z.
            until = datetime.fromisoformat(moment).astimezone(UTC).isoformat(sep=" ")
            recovery = f"""cat >> {data}/postgresql.auto.conf <<'RECOVERY'
restore_command = 'cp {FOLDER}/wal/{database}/%f %p'
recovery_target_time = '{until}'
recovery_target_action = 'promote'
RECOVERY
touch {data}/recovery.signal
"""
        case _:
            raise ValueError(f"nothing is restored from {origin}")
    quoted = shlex.quote(source)
    return f"""[ -d {quoted} ] || {{ echo "there is no backup {source}" >&2; exit 1; }}
rm -rf {data} && cp -a {quoted} {data}
{recovery}chown -R postgres:postgres {data}
chmod 700 {data}
"""


def forget(identifier: str) -> str:
    """Shell: remove what is kept of a deleted database, except its snapshots."""
    return f"rm -rf {shlex.quote(f'{FOLDER}/base/{identifier}')} {shlex.quote(f'{FOLDER}/wal/{identifier}')}"
