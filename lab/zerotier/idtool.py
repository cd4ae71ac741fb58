"""The lab's zerotier-idtool 1.14.1, built from the recorded output and the file formats of the real one.

Generates and checks identities and makes moons; `sign`, `verify` and vanity addresses are left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from . import VERSION_TEXT
from .identity import Identity, IdentityError
from .world import WorldError, initial_moon, world_from_json

HELP = f"""zerotier-idtool version {VERSION_TEXT} (parkmesh lab; not ZeroTier's own program)
Usage: zerotier-idtool <command> [<args>]

Commands:
  generate [<identity.secret>] [<identity.public>]
  validate <identity.secret/public>
  getpublic <identity.secret>
  initmoon <identity.public of first seed>
  genmoon <moon json>
"""


def _read(argument: str) -> Identity:
    """An identity given as a file or as text."""
    try:
        return Identity.parse(Path(argument).read_text())
    except (OSError, UnicodeDecodeError):
        return Identity.parse(argument)


def _generate(arguments: list[str]) -> int:
    identity = Identity.generate()
    if not arguments:
        print(identity.secret_text, end="")
        return 0
    for path, text, mode in zip(arguments, (identity.secret_text, identity.public_text), (0o600, 0o644), strict=False):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
        except OSError:
            print(f"Error writing to {path}", file=sys.stderr)
            return 1
        print(f"{path} written")
    return 0


def _validate(argument: str) -> int:
    try:
        identity = _read(argument)
    except IdentityError:
        print(f"Identity argument invalid or file unreadable: {argument}", file=sys.stderr)
        return 1
    try:
        identity.check()
    except IdentityError:
        print(f"{argument} FAILED validation.", file=sys.stderr)
        return 1
    print(f"{argument} is a valid identity")
    return 0


def _get_public(argument: str) -> int:
    try:
        print(_read(argument).public_text, end="")
    except IdentityError:
        print(f"Identity argument invalid or file unreadable: {argument}", file=sys.stderr)
        return 1
    return 0


def _init_moon(argument: str) -> int:
    try:
        identity = _read(argument)
    except IdentityError:
        print(f"{argument} is not a valid identity", file=sys.stderr)
        return 1
    print(json.dumps(initial_moon(identity), indent=1, sort_keys=True))
    return 0


def _generate_moon(argument: str) -> int:
    try:
        text = Path(argument).read_text()
    except (OSError, UnicodeDecodeError):
        print(f"cannot read {argument}", file=sys.stderr)
        return 1
    try:
        world = world_from_json(text, time.time_ns() // 1_000_000)
    except WorldError as error:
        print(f"{argument}: {error}", file=sys.stderr)
        return 1
    name = f"{world.id_text}.moon"
    try:
        Path(name).write_bytes(world.to_bytes())
    except OSError:
        print(f"error writing {name}", file=sys.stderr)
        return 1
    print(f"wrote {name} (signed world with timestamp {world.timestamp})")
    return 0


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    match arguments:
        case ["generate", *paths] if len(paths) <= 2:
            return _generate(paths)
        case ["validate", argument, *_]:
            return _validate(argument)
        case ["getpublic", argument, *_]:
            return _get_public(argument)
        case ["initmoon", argument, *_]:
            return _init_moon(argument)
        case ["genmoon", argument, *_]:
            return _generate_moon(argument)
    print(HELP)
    return 0 if arguments == ["initmoon"] else 1
