"""The spool's tables, on disk and in memory, and what is true of both."""

import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, camera TEXT NOT NULL, received INTEGER NOT NULL, body BLOB NOT NULL,
  passage BLOB);
CREATE TABLE IF NOT EXISTS known (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_at ON known (at);
CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS waiting_lane ON waiting (lane, id);
CREATE TABLE IF NOT EXISTS gaps (kind TEXT PRIMARY KEY, dropped INTEGER NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbered (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS access_list (
  credential_id TEXT PRIMARY KEY, plate TEXT NOT NULL, status TEXT NOT NULL, valid_from INTEGER, valid_until INTEGER)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_unit (
  credential_id TEXT PRIMARY KEY, unit TEXT NOT NULL, lots INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS presence (
  plate TEXT PRIMARY KEY, inside INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
  id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, received INTEGER NOT NULL, error TEXT NOT NULL,
  body BLOB NOT NULL);
"""

ADD_GAP = "INSERT INTO gaps VALUES (?, ?, ?) ON CONFLICT (kind) DO UPDATE SET dropped = dropped + excluded.dropped"

BODY = "coalesce(CAST(body AS BLOB), x'')"
"""A stored record as bytes, whatever a damaged disk makes of its type."""


def readable(text: bytes) -> str:
    """Decode a stored text. One that the disk has damaged must not raise: what reads it finds that it is nothing."""
    return text.decode("utf-8", "replace")


def has_all_columns(db: sqlite3.Connection) -> bool:
    """Tell whether every table has its columns. A damaged page can rename one, and nothing would start any more."""
    sound = sqlite3.connect(":memory:")
    try:
        sound.executescript(SCHEMA)
        tables = [name for (name,) in sound.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return all(_columns(sound, name) <= _columns(db, name) for name in tables)
    finally:
        sound.close()


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
