"""The page's password: kept as a hash in the configuration, and checked so that guessing takes for ever.

PBKDF2 as OWASP has it for SHA-256: 600,000 rounds, about 0.2 s, on a thread. scrypt and argon2 would take 16 MiB and
more each time, which a gateway doesn't have to spare. The hash is made where the password is: by the role's filter, on
the computer that runs Ansible.
"""

import base64
import hashlib
import hmac

ROUNDS = 600_000
_MOST_ROUNDS = 10_000_000
KIND = "pbkdf2-sha256"


def hashed(password: str, salt: bytes, rounds: int = ROUNDS) -> str:
    """Return the hash for the configuration."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    return f"{KIND}:{rounds}:{base64.b64encode(salt).decode()}:{base64.b64encode(digest).decode()}"


def matches(stored: str, password: str) -> bool:
    """Tell whether the password is the hashed one. A hash that can't be one matches nothing."""
    try:
        kind, rounds, salt, digest = stored.split(":")
        known, count = base64.b64decode(salt, validate=True), int(rounds)
        wanted = base64.b64decode(digest, validate=True)
    except ValueError:
        return False
    if kind != KIND or not 0 < count <= _MOST_ROUNDS:
        return False
    made = hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "replace"), known, count)
    return hmac.compare_digest(made, wanted)
