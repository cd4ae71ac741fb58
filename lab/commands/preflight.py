"""Problems that keep the lab from starting, reported before anything is installed: `python3 lab/commands/preflight.py`.

The system's `python3` may be of any age, and a traceback would be a poor answer: this file keeps to syntax that every
Python 3 reads, and so does `lab/machine/system.py`. With an old one it looks for a newer one on this machine and hands
over; where there is none it says so, with what it can tell itself. The checks proper are in `lab/machine/checks.py`.
"""
# ruff: noqa: UP032

import os
import platform
import subprocess
import sys

NEEDED = (3, 11)
# Debian's own first: supported systems have one that will do, and another Python may come first on the path.
CANDIDATES = ("/usr/bin/python3", "python3.14", "python3.13", "python3.12", "python3.11")


def hand_over() -> None:
    """Go on under a Python that is new enough; returns when there is none.

    Variables for the old Python (PYTHONHOME, PYTHONPATH) are not for the new one.
    """
    test = "import sys; sys.exit(sys.version_info < {})".format(NEEDED)
    for candidate in CANDIDATES:
        try:
            usable = subprocess.call([candidate, "-E", "-c", test], stderr=subprocess.DEVNULL) == 0
        except OSError:
            continue
        if usable:
            os.execvp(candidate, [candidate, "-E", os.path.abspath(__file__)])  # noqa: PTH100, S606


def check() -> "list[str]":
    """All that can be found out before anything is installed, one line per problem."""
    from lab.machine import system

    basic = system.basic_problems(os.geteuid(), system.os_release(), platform.machine())
    if sys.version_info < NEEDED:
        hand_over()
        old = "Python {}.{} is too old to look at the rest: run: apt-get install python3".format(*sys.version_info[:2])
        return basic or [old]
    from lab.commands import up
    from lab.machine import ports
    from lab.machine.errors import LabError

    try:
        return up.check(ports.settle(os.environ), installed=False)
    except LabError as error:
        return basic + [str(error)]  # noqa: RUF005
    except OSError as error:
        # What another user may not read; the first lines say most likely why.
        return basic or ["the machine could not be looked at: {}".format(error)]


def main() -> int:
    found = check()
    for line in found:
        sys.stderr.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    # By its path, Python would look beside the file for the package that is around it.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    sys.exit(main())
