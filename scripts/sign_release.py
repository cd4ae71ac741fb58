#!/usr/bin/env python3
"""Sign a gateway's release, so that gateways can fetch it by themselves and know whom it comes from.

    sign_release.py --new-key FILE                      make a key: the private half in FILE, the public one is printed
    sign_release.py --archive A --release ID --python 3.13 --arch x86_64

The second reads the private key (PEM, Ed25519) from standard input and prints one JSON line: the document for
`parkmesh admin publish-release` (the manifest, its signature, and the release's files, compressed), and the public half
of the key. It needs no server, and the key never leaves this machine. parkmesh.protocol.releases describes the form.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import tarfile
import time
import zlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT = 1


def new_key(path: Path) -> str:
    """Write a new private key, for its owner's eyes only, and return the public one as PEM."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return public_key(key)


def public_key(key: Ed25519PrivateKey) -> str:
    """Return the public half as PEM, as role parking_gateway takes it."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def load_key(pem: str) -> Ed25519PrivateKey:
    """Return the private key; raise ValueError for anything else, without a word of what it was."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the key must be a private Ed25519 key as PEM; sign_release.py --new-key makes one")
    return key


def read_archive(archive: Path) -> tuple[list[list[object]], dict[str, bytes]]:
    """Return the archive's files as the manifest lists them, and their contents by digest."""
    files: list[list[object]] = []
    contents: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is None:
                continue
            content = stream.read()
            digest = hashlib.sha256(content).hexdigest()
            contents[digest] = content
            files.append([member.name, bool(member.mode & 0o100), digest, len(content)])
    return files, contents


def sign(key: Ed25519PrivateKey, archive: Path, release: str, python: str, arch: str, serial: int) -> dict[str, object]:
    """Return the document that is published."""
    files, contents = read_archive(archive)
    manifest = json.dumps(
        {"format": FORMAT, "serial": serial, "release": release, "python": python, "arch": arch, "files": files},
        separators=(",", ":"),
    ).encode()

    def text(content: bytes) -> str:
        return base64.b64encode(content).decode()

    return {
        "manifest": text(zlib.compress(manifest, 9)),
        "signature": text(key.sign(manifest)),
        "parts": [
            {"sha256": digest, "content": text(zlib.compress(content, 9))} for digest, content in contents.items()
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="sign_release", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="make a key instead")
    parser.add_argument("--archive", type=Path, help="what build_release.py made")
    parser.add_argument("--release", help="its id")
    parser.add_argument("--python", help="the Python that it was built for, such as 3.13")
    parser.add_argument("--arch", choices=["x86_64", "aarch64"])
    parser.add_argument("--serial", type=int, help="number of the publication; the present time in seconds, by default")
    options = parser.parse_args()
    try:
        if options.new_key:
            print(new_key(options.new_key), end="")
            return
        if not (options.archive and options.release and options.python and options.arch):
            parser.error("--archive, --release, --python and --arch are needed")
        key, serial = load_key(sys.stdin.read()), options.serial or int(time.time())
        document = sign(key, options.archive, options.release, options.python, options.arch, serial)
        print(json.dumps({"document": document, "public_key": public_key(key)}))
    except (ValueError, OSError, tarfile.TarError) as error:
        sys.exit(f"sign_release: {error}")


if __name__ == "__main__":
    main()
