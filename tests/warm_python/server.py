"""Fork for each client of ``client.py`` and run the program that it has as its input.

Usage: server.py SOCKET FOLDER; prints "ready", keeps compiled code in the folder, and ends with its input.
"""

import contextlib
import functools
import gc
import hashlib
import marshal
import os
import selectors
import socket
import sys
import types
import zipimport
from pathlib import Path


class CompiledOnce(zipimport.zipimporter):
    """Imports from a ZIP archive as Python does, but keeps what it compiled, by the hash of its source."""

    folder: Path

    def get_filename(self, fullname: str) -> str:
        """Return where a module's code is in the archive. Python's own compiles the module to tell."""
        path = f"{self.archive}{os.sep}{self.prefix}{fullname.rpartition('.')[2]}"
        return f"{path}{os.sep}__init__.py" if self.is_package(fullname) else f"{path}.py"

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_source(fullname)
        assert source is not None, fullname
        kept = self.folder / hashlib.sha256(source.encode()).hexdigest()
        if kept.exists():
            code: types.CodeType = marshal.loads(kept.read_bytes())  # noqa: S302 - written below
            return code
        code = compile(source, self.get_filename(fullname), "exec", dont_inherit=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_bytes(marshal.dumps(code))
        written.rename(kept)
        return code


# What the roles speak to. A service that isn't here is read by the module itself.
SERVICES = ("autoscaling", "dynamodb", "ec2", "elbv2", "iam", "rds", "secretsmanager", "ssm", "sts")


def import_what_modules_need() -> None:
    """Import boto3 and read the descriptions of the services, which all sessions then share. Connects to nothing."""
    import boto3
    import botocore.exceptions
    import botocore.session

    # Without a folder of somebody's own there is but one to make.
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    loader = botocore.session.create_loader(None)
    for service in SERVICES:
        boto3.client(service, region_name="eu-west-1", aws_access_key_id="-", aws_secret_access_key="-")
        for kind in ("paginators-1", "waiters-2"):
            # Not every service has both.
            with contextlib.suppress(botocore.exceptions.UnknownServiceError):
                loader.load_service_model(service, kind)
    gc.freeze()


def receive(connection: socket.socket) -> tuple[list[int], dict[str, str], str, int]:
    """Return a client's input, output and error output, its environment, folder and umask."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as stream:
        environment, folder, umask = marshal.load(stream)  # noqa: S302 - from a client of our own
    return descriptors, environment, folder, umask


def become(descriptors: list[int], environment: dict[str, str], folder: str, umask: int) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.umask(umask)


def run_input() -> None:
    """Run the program in the standard input, as the only thing that this process ever was."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv = main, [""]
    exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec"), main.__dict__)  # noqa: S102 - this is what it is for


def serve(listener: socket.socket) -> bool:
    """Serve until the standard input ends. Returns True in each process that is to run its input."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return False
            if key.fileobj is listener:
                connection, _ = listener.accept()
                received = receive(connection)
                child = os.fork()
                if not child:
                    selector.close()
                    listener.close()
                    connection.close()
                    become(*received)
                    return True
                for descriptor in received[0]:
                    os.close(descriptor)
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, connection))
            else:
                child, connection = key.data
                selector.unregister(key.fileobj)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with connection:
                    connection.sendall(bytes([code if code >= 0 else 128 - code]))


def main() -> None:
    address, folder = sys.argv[1:]
    CompiledOnce.folder = Path(folder)
    CompiledOnce.folder.mkdir()
    sys.path_hooks.insert(0, CompiledOnce)
    import_what_modules_need()
    # What lies beside this file is not for modules.
    del sys.path[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        runs = serve(listener)
    if runs:
        run_input()


if __name__ == "__main__":
    main()
