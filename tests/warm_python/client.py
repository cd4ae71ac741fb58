"""Hand what a program is given to the server at an address, and end as it ended there.

Usage: client.py SOCKET KIND [ARGUMENT…]. Of the kind ``modules`` only a program in the standard input is handed on:
with arguments (``-c``, a file) the ordinary Python runs. Ansible gives its modules as input. So it does where there is
no server any more, such as on a host that booted again, or for a user who may not speak to it.

It begins anew for each module, so it uses what is part of the interpreter: ``socket`` and ``pathlib`` take longer to
import than all that is done here.
"""

import _socket
import marshal
import posix
import sys

address, kind, *arguments = sys.argv[1:]
if arguments and kind == "modules":
    posix.execv(sys.executable, [sys.executable, *arguments])
umask = posix.umask(0)
posix.umask(umask)
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
try:
    connection.connect(address)
except OSError:
    if kind != "modules":
        raise
    posix.execv(sys.executable, [sys.executable])
# Descriptors come with the first byte.
descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
connection.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
connection.sendall(marshal.dumps((arguments, posix.environ, posix.getcwd(), umask)))
answer = connection.recv(1)
sys.exit(answer[0] if answer else "the server of tests/warm_python is gone")
