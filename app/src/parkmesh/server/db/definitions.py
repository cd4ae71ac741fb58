"""Functions, triggers and policies of the database: their present text is a file each, applied where it differs.

``functions/<name>.sql`` has a function with its comment, its rights and the triggers that call it;
``policies/<table>.sql`` the row-level security policies of a table. Tables themselves change in Alembic's revisions.

After the last revision ``apply`` runs every file whose checksum isn't the recorded one (table ``definition``). While
servers are rolled, two releases look at one database: ``releases.txt`` numbers the states of the files, the number goes
up with each change, and a release with a lower number than the recorded one leaves everything alone.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from parkmesh.server.db.database import Connection

FOLDER = Path(__file__).parent
RELEASES = FOLDER / "releases.txt"


@dataclass(frozen=True)
class Definition:
    """One file: its name below this folder, and its text."""

    name: str
    text: str

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()


def read(folder: Path = FOLDER) -> list[Definition]:
    """Return all files, functions first: policies call them."""
    paths = [*sorted(folder.glob("functions/*.sql")), *sorted(folder.glob("policies/*.sql"))]
    return [Definition(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def digest(definitions: list[Definition]) -> str:
    """Return the checksum of all files together, in hexadecimal digits."""
    whole = hashlib.sha256()
    for definition in definitions:
        whole.update(definition.name.encode() + b"\0" + definition.sha256)
    return whole.hexdigest()


def releases(text: str) -> list[tuple[int, str]]:
    """Return the numbers and checksums of ``releases.txt``, oldest first."""
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [(int(number), checksum) for number, checksum in lines]


async def pending(connection: Connection) -> list[Definition]:
    """Return the files that the database doesn't hold as they are here; none where a later release was there."""
    rows = await connection.fetch("SELECT name, sha256, release FROM definition")
    if any(row["release"] > releases(RELEASES.read_text())[-1][0] for row in rows):
        return []
    held = {row["name"]: row["sha256"] for row in rows}
    return [definition for definition in read() if held.get(definition.name) != definition.sha256]


async def apply(connection: Connection, definition: Definition) -> None:
    """Run one file and record it, in one transaction. ``connection`` is the owner's and holds the migration's lock."""
    release, _ = releases(RELEASES.read_text())[-1]
    async with connection.transaction():
        # A function may call another one whose file comes later.
        await connection.execute("SET LOCAL check_function_bodies = off")
        await connection.execute(definition.text)
        await connection.execute(
            """
            INSERT INTO definition (name, sha256, release) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, release = excluded.release, applied_at = now()
            """,
            definition.name,
            definition.sha256,
            release,
        )
