"""A Python for Ansible's modules in tests that has boto3 imported already.

Each task of a playbook is a process of its own, which spends most of its time with importing boto3 and with compiling
what Ansible sends along. Here a server does this once and forks for each module; Ansible is given a small program as
its interpreter, which hands the server what it got. A module runs as it was sent, alone in its process, with its own
environment, folder, input and output.
"""

import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def interpreter() -> Iterator[str]:
    """Start a server and give the path of the program to use as ``ansible_python_interpreter``."""
    # Not pytest's folder: the address of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="parkmesh-python-") as name:
        folder = Path(name)
        program, socket = folder / "python", folder / "socket"
        words = (sys.executable, "-IS", str(HERE / "client.py"), str(socket))
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
        # The server ends when its input does, so also when this process is killed.
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), str(socket), str(folder / "code")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield str(program)
            server.terminate()
