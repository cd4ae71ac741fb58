#!/usr/bin/python3
"""Keep the accounts of the gateway's MQTT broker: make passwords that nobody gave, write Mosquitto's file of hashes.

Reads {"accounts": [{"name": …, "password": …, "reader": …}]} from standard input and prints what changed, never a
password. An account without one gets one, in /etc/parkmesh/mqtt/<name>.password, for root and a group `reader`. With
--check it changes nothing.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import shutil
import sys
from pathlib import Path

MADE = Path("/etc/parkmesh/mqtt")
HASHES = Path("/etc/mosquitto/parkmesh.passwords")
OWNER = "mosquitto"
ITERATIONS, SALT_BYTES, HASH_BYTES = 10_000, 12, 64
"""mosquitto_passwd(1) writes $7$<iterations>$<salt>$<hash>: PBKDF2 with HMAC-SHA512, salt and hash in Base64
(mosquitto, src/password_mosq.c)."""


def derived(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, HASH_BYTES)


def hashed(password: str) -> str:
    salt = secrets.token_bytes(SALT_BYTES)
    parts = (base64.b64encode(each).decode() for each in (salt, derived(password, salt, ITERATIONS)))
    return f"$7${ITERATIONS}${'$'.join(parts)}"


def fits(password: str, text: str) -> bool:
    """Whether a hash is this password's, made as it is made here."""
    try:
        _, kind, iterations, salt, found = text.split("$")
        right = derived(password, base64.b64decode(salt), ITERATIONS)
        return (kind, iterations) == ("7", str(ITERATIONS)) and hmac.compare_digest(right, base64.b64decode(found))
    except (ValueError, binascii.Error):
        return False


def written(path: Path, text: str, user: str, group: str, mode: int) -> None:
    """Write a file as a whole or not at all; nobody else may read it at any moment."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    shutil.chown(new, user, group)
    new.chmod(mode)
    new.replace(path)


def password_of(account: dict, made: Path) -> "tuple[str, bool]":
    """An account's password, and whether it is to be made here and isn't yet."""
    if account.get("password"):
        return account["password"], False
    try:
        if found := made.read_text().strip():
            return found, False
    except FileNotFoundError:
        pass
    return secrets.token_hex(16), True


def keep(accounts: list, dry: bool) -> dict:
    """Bring the files to what is wanted; return what changed."""
    before = {}
    if HASHES.exists():
        before = dict(line.split(":", 1) for line in HASHES.read_text().splitlines() if ":" in line)
    made, kept, lines, changed = [], set(), [], []
    for account in accounts:
        name, path = account["name"], MADE / f"{account['name']}.password"
        password, new = password_of(account, path)
        if not account.get("password"):
            kept.add(path)
        if new:
            made.append(name)
            if not dry:
                MADE.mkdir(mode=0o755, exist_ok=True)
                reader = account.get("reader")
                written(path, f"{password}\n", "root", reader or "root", 0o640 if reader else 0o600)
        right = name in before and fits(password, before[name])
        if not right:
            changed.append(name)
        lines.append(f"{name}:{before[name] if right else hashed(password)}\n")
    gone = sorted(set(before) - {account["name"] for account in accounts})
    stale = sorted(path for path in MADE.glob("*.password") if path not in kept)
    if not dry:
        for path in stale:
            path.unlink()
        if changed or gone:
            written(HASHES, "".join(lines), OWNER, OWNER, 0o600)
    return {"changed": bool(made or changed or gone or stale), "made": made, "hashed": changed, "removed": gone}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, and say what would change")
    options = parser.parse_args()
    print(json.dumps(keep(json.load(sys.stdin)["accounts"], options.check)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
