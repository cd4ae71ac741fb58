"""Hand what a program is given to the server at an address, and end as it ended there.

Usage: client.py SOCKET KIND [ARGUMENT…]. Of the kind ``modules`` only a program in the standard input is handed on:
with arguments (``-c``, a file) the ordinary Python runs. Ansible gives its modules as input. So it does where there is
no server any more, such as on a host that booted again, or for a user who may not speak to it.
"""

import marshal
import os
import socket
import sys
from pathlib import Path

address, kind, *arguments = sys.argv[1:]
if arguments and kind == "modules":
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - no shell wanted
umask = os.umask(0)
os.umask(umask)
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
    try:
        connection.connect(address)
    except OSError:
        if kind != "modules":
            raise
        os.execv(sys.executable, [sys.executable])  # noqa: S606 - no shell wanted
    # Descriptors come with the first byte.
    socket.send_fds(connection, [b"\0"], [0, 1, 2])
    connection.sendall(marshal.dumps((arguments, dict(os.environ), str(Path.cwd()), umask)))
    answer = connection.recv(1)
sys.exit(answer[0] if answer else "the server of tests/warm_python is gone")
