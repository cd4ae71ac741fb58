#!/usr/bin/env python3
"""Read CHANGELOG.md (the form of keepachangelog.com 1.1.0) and cut a release of it.

    scripts/changelog.py notes v1.2.0    print the notes of a release; fails unless the project has this version
    scripts/changelog.py cut 1.2.0       make a release of what is unreleased: its section gets version and date, and
                                         the project the version. Commit that, and tag the commit v1.2.0.

The version stands in app/src/parkmesh/__init__.py and nowhere else.
"""

import argparse
import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = ROOT / "CHANGELOG.md"
VERSION_FILE = ROOT / "app/src/parkmesh/__init__.py"
UNRELEASED = "Unreleased"
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_ASSIGNED = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
_SECTION = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?\n", re.MULTILINE)


class ChangelogError(Exception):
    """What is wrong with the changelog, or with what is asked of it; one line."""


def sections(text: str) -> dict[str, str]:
    """Return the body of each section by its name, in the file's order. Raises ChangelogError on a fault of form."""
    found = list(_SECTION.finditer(text))
    if text.count("\n## ") != len(found):
        raise ChangelogError("a heading isn't of the form '## [1.2.0] - 2026-01-31' or '## [Unreleased]'")
    if not found or found[0]["name"] != UNRELEASED:
        raise ChangelogError(f"the first section must be [{UNRELEASED}]")
    bodies = {}
    previous: tuple[int, ...] | None = None
    for match, following in zip(found, [*found[1:], None], strict=True):
        name = match["name"]
        body = text[match.end() : following.start() if following else len(text)].strip()
        if name != UNRELEASED:
            if not VERSION.fullmatch(name) or not match["date"]:
                raise ChangelogError(f"[{name}] needs a version such as 1.2.0 and a date")
            date.fromisoformat(match["date"])
            numbers = tuple(int(part) for part in name.split("."))
            if previous is not None and numbers >= previous:
                raise ChangelogError(f"[{name}] must stand above the releases before it")
            previous = numbers
        if wrong := [kind for kind in re.findall(r"^### (.+)$", body, re.MULTILINE) if kind not in KINDS]:
            raise ChangelogError(f"[{name}] has '{wrong[0]}'; allowed: {', '.join(KINDS)}")
        bodies[name] = body
    return bodies


def version(text: str) -> str:
    """Return the version that the file of the application's package says."""
    found = _ASSIGNED.search(text)
    if found is None:
        raise ChangelogError(f"{VERSION_FILE.relative_to(ROOT)} has no __version__")
    return found["version"]


def notes(text: str, tag: str, present: str) -> str:
    """Return the notes of a release. Raises ChangelogError unless the tag is the project's version and has notes."""
    name = tag.removeprefix("v")
    if name != present:
        raise ChangelogError(f"the tag is {tag}, and the project's version is {present}")
    body = sections(text).get(name)
    if not body:
        raise ChangelogError(f"CHANGELOG.md says nothing of {name}")
    return body + "\n"


def cut(text: str, name: str, day: date) -> str:
    """Return the changelog with what is unreleased as the release ``name`` of ``day``."""
    bodies = sections(text)
    if not VERSION.fullmatch(name):
        raise ChangelogError(f"{name} is no version such as 1.2.0")
    if name in bodies:
        raise ChangelogError(f"{name} is released already")
    if not bodies[UNRELEASED]:
        raise ChangelogError("nothing is unreleased")
    made = text.replace(f"## [{UNRELEASED}]\n", f"## [{UNRELEASED}]\n\n## [{name}] - {day.isoformat()}\n", 1)
    sections(made)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("notes", help="print the notes of a release").add_argument("tag")
    commands.add_parser("cut", help="make a release of what is unreleased").add_argument("version")
    options = parser.parse_args()
    try:
        text, package = CHANGELOG.read_text(encoding="utf-8"), VERSION_FILE.read_text(encoding="utf-8")
        present = version(package)
        if options.command == "notes":
            sys.stdout.write(notes(text, options.tag, present))
        else:
            CHANGELOG.write_text(cut(text, options.version, datetime.now(tz=UTC).date()), encoding="utf-8")
            VERSION_FILE.write_text(package.replace(f'"{present}"', f'"{options.version}"', 1), encoding="utf-8")
    except ChangelogError as error:
        print(f"changelog: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
