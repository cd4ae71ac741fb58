"""Releases for tests: a folder as a gateway has it, and the document that ``parkmesh admin publish-release`` takes."""

import base64
import hashlib
import json
import zlib
from typing import Any

OLD = {"bin/parkmesh": b"#!/bin/sh\n", "lib/a/__init__.py": b"", "lib/a/one.py": b"ONE = 1\n" * 200}
NEW = OLD | {"lib/a/one.py": b"ONE = 2\n" * 300, "lib/a/two.py": b"TWO = 2\n" * 10}


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def document(
    files: dict[str, bytes] = NEW, serial: int = 7, gateways: dict[str, list[str]] | None = None, **members: Any
) -> dict[str, Any]:
    """Return what is published; the servers look at the signature's length only."""
    manifest = {
        "format": 1,
        "serial": serial,
        "release": f"{serial:012x}",
        "python": "3.13",
        "arch": "x86_64",
        "files": [
            [path, path.startswith("bin/"), hashlib.sha256(content).hexdigest(), len(content)]
            for path, content in files.items()
        ],
    } | members
    parts = {hashlib.sha256(content).hexdigest(): content for content in files.values()}
    return {
        "manifest": text(zlib.compress(json.dumps(manifest).encode())),
        "signature": text(b"s" * 64),
        "parts": [{"sha256": digest, "content": text(zlib.compress(content))} for digest, content in parts.items()],
        "gateways": gateways or {},
    }
