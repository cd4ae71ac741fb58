"""Pythons for tests of playbooks that have imported already what they need: one for Ansible, one for its modules.

Each run of a playbook is a process of its own, and each of its tasks is two: these spend most of their time with
importing Ansible and boto3 and with finding out what a module needs to be sent. Here a server does this once and forks
for each run or module; a small program hands the server what it got. A run or a module is alone in its process, with
its own environment, folder, input and output.
"""

import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@contextlib.contextmanager
def _serving(kind: str, name: str) -> Iterator[str]:
    """Start ``modules.py`` or ``playbooks.py`` and give the path of the program that hands it what it got."""
    # Not pytest's folder: the address of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix=f"parkmesh-{kind}-") as made:
        folder = Path(made)
        program, socket = folder / name, folder / "socket"
        words = (sys.executable, "-IS", str(HERE / "client.py"), str(socket), kind)
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
        # The server ends when its input does, so also when this process is killed.
        server = subprocess.Popen(
            [sys.executable, str(HERE / f"{kind}.py"), str(socket), str(folder / "kept")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield str(program)
            server.terminate()


def interpreter() -> contextlib.AbstractContextManager[str]:
    """Start a server and give the path of the program to use as ``ansible_python_interpreter``."""
    return _serving("modules", "python")


def playbook_program() -> contextlib.AbstractContextManager[str]:
    """Start a server and give the path of a program to use as ``ansible-playbook``.

    Ansible reads its settings when it is imported. So the ordinary program runs where there is another ansible.cfg than
    the repository's, or another variable ``ANSIBLE_*`` than this process has, but for the strategy.
    """
    return _serving("playbooks", "ansible-playbook")
