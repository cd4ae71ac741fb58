"""Fork for each client of ``client.py``: the fork has the client's arguments, environment, folder, input and output."""

import atexit
import contextlib
import gc
import marshal
import os
import selectors
import signal
import socket
import stat
import sys
from collections.abc import Callable


def _receive(connection: socket.socket) -> tuple[list[int], list[str], dict[bytes, bytes], str, int]:
    """Return a client's input, output and error output, its arguments, environment, folder and umask."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as stream:
        arguments, environment, folder, umask = marshal.load(stream)  # noqa: S302 - from a client of our own
    return descriptors, arguments, environment, folder, umask


def _become(
    descriptors: list[int], arguments: list[str], environment: dict[bytes, bytes], folder: str, umask: int
) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv[1:] = arguments
    os.environ.clear()
    os.environb.update(environment)
    os.chdir(folder)
    os.umask(umask)


def _serve(listener: socket.socket) -> bool:
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    # A pipe's end is the end. A service of systemd has none.
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return False
            if key.fileobj is listener:
                connection, _ = listener.accept()
                received = _receive(connection)
                child = os.fork()
                if not child:
                    selector.close()
                    listener.close()
                    connection.close()
                    _become(*received)
                    return True
                for descriptor in received[0]:
                    os.close(descriptor)
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, connection))
                selector.register(connection, selectors.EVENT_READ, child)
            elif isinstance(key.fileobj, socket.socket):
                # A client says nothing more: it was killed, and so is what it stands for. Its end comes below, and may
                # have come in the same round.
                if key.fileobj.fileno() >= 0:
                    selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
            else:
                child, connection = key.data
                selector.unregister(key.fileobj)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with contextlib.suppress(KeyError):
                    selector.unregister(connection)
                with connection, contextlib.suppress(ConnectionError):
                    connection.sendall(bytes([code if code >= 0 else 128 - code]))


def serve(address: str) -> bool:
    """Print "ready" and serve until the standard input, if it is a pipe, ends.

    Returns True in each process that is for a client.
    """
    gc.freeze()
    # What lies beside these files is not for clients.
    del sys.path[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        return _serve(listener)


def end_at_once(program: Callable[[], None]) -> None:
    """Run what a client wanted and end this process as it asks for, without taking all that was imported apart."""
    try:
        program()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    else:
        code = 0
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
