"""Whether this user and this system can have a lab. Syntax of every Python 3 only, as the preflight needs it."""
# ruff: noqa: UP032

import platform
import shlex

SUPPORTED_RELEASES = ("12", "13")
SUPPORTED_MACHINES = ("x86_64", "aarch64")
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")


def basic_problems(user_id: int, system: "dict[str, str]", machine: str) -> "list[str]":
    """One line per problem with the user and the system; `system` has the fields of os-release."""
    found = []
    if user_id != 0:
        found.append(
            "not root (user id {}): the lab makes networks and systemd containers; run it as root".format(user_id)
        )
    supported = system.get("ID") == "debian" and system.get("VERSION_ID") in SUPPORTED_RELEASES
    if not supported or machine not in SUPPORTED_MACHINES:
        found.append(
            "unsupported system: found {} on {}; supported are Debian 12 and 13 on amd64 and arm64".format(
                system.get("PRETTY_NAME") or system.get("ID") or "an unknown system", machine
            )
        )
    return found


def os_release(paths: "tuple[str, ...]" = OS_RELEASE) -> "dict[str, str]":
    """The fields of the first of these files that is there; without one, what the kernel calls itself."""
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as handle:  # noqa: PTH123
                text = handle.read()
        except OSError:
            continue
        fields = {}
        for line in text.splitlines():
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith("#"):
                try:
                    fields[key] = "".join(shlex.split(value))
                except ValueError:
                    fields[key] = value
        return fields
    return {"ID": platform.system()}
