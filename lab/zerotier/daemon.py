"""The lab's zerotier-one 1.14.1, built from recorded answers of a real 1.14.1 controller and the official OpenAPI.

The daemon: runs in the foreground until SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import signal
import sys
from pathlib import Path

from . import VERSION_TEXT, cli, idtool
from .controller import write_atomically
from .http_server import listen
from .identity import Identity, IdentityError
from .node import Node
from .service_api import ServiceApi
from .settings import Settings, read_settings

DEFAULT_HOME = "/var/lib/zerotier-one"
USER = "zerotier-one"
_LETTERS_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"

HELP = f"""zerotier-one version {VERSION_TEXT} (parkmesh lab; not ZeroTier's own program)
Usage: zerotier-one [-switches] [home directory]

Available switches:
  -h                - Display this help
  -v                - Show version
  -U                - Skip privilege check and do not attempt to drop privileges
  -p<port>          - Port for UDP and TCP/HTTP (default: 9993, 0 for random)
  -i                - Generate and manage identities (zerotier-idtool)
  -q                - Query API (zerotier-cli)
"""


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def load_identity(home: Path) -> Identity:
    """The node's identity, made at the first start; raises IdentityError for one the lab can't have made."""
    secret_path, public_path = home / "identity.secret", home / "identity.public"
    try:
        identity = Identity.parse(secret_path.read_text())
    except FileNotFoundError:
        identity = Identity.generate()
        write_atomically(secret_path, identity.secret_text.encode(), 0o600)
    if identity.secret is None:
        raise IdentityError("it has no secret part")
    identity.check()
    secret_path.chmod(0o600)
    if not public_path.exists() or public_path.read_text(errors="replace").strip() != identity.public_text:
        write_atomically(public_path, identity.public_text.encode())
    return identity


def load_token(path: Path) -> str:
    """The token in a file, made when the file is missing."""
    try:
        path.chmod(0o600)
        return path.read_text()
    except FileNotFoundError:
        token = "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(24))
        write_atomically(path, token.encode(), 0o600)
        return token


def hand_over_home(home: Path) -> None:
    """Give the home to the user zerotier-one where it exists, as the real daemon does before it drops privileges.

    The daemon itself stays root, since it runs iproute2.
    """
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return
    if os.geteuid() != 0:
        return
    for folder, _, files in os.walk(home):
        for path in (folder, *(os.path.join(folder, name) for name in files)):  # noqa: PTH118
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


async def serve(home: Path, port: int, *, keep_owner: bool) -> int:
    """Run the daemon in a home directory; gives the exit status."""
    try:
        identity = load_identity(home)
    except (IdentityError, UnicodeDecodeError) as error:
        log(f"zerotier-one: {home / 'identity.secret'}: {error}. ZeroTier's own don't fit the lab's.")
        return 1
    try:
        settings = read_settings(home / "local.conf", port)
    except ValueError as error:
        log(f"zerotier-one: ignoring {error}")
        settings = Settings(primary_port=port)
    token, metrics_token = load_token(home / "authtoken.secret"), load_token(home / "metricstoken.secret")
    try:
        node = Node(home, identity, settings, log)
        servers = await listen(ServiceApi(node, token, metrics_token), node.port)
    except OSError as error:
        log(f"zerotier-one: fatal error: cannot bind to port {settings.primary_port}: {error.strerror or error}")
        return 1
    (home / "zerotier-one.port").write_text(str(node.port))
    (home / "zerotier-one.pid").write_text(str(os.getpid()))
    if not keep_owner:
        hand_over_home(home)
    log(f"zerotier-one {VERSION_TEXT} (parkmesh lab): node {identity.address} on port {node.port}")
    task = asyncio.create_task(node.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        for server in servers:
            server.close()
    return 0


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    home, port, keep_owner = DEFAULT_HOME, 9993, False
    for position, argument in enumerate(arguments):
        if argument.startswith("-p"):
            if not argument[2:].isdigit() or int(argument[2:]) > 65535:
                print(HELP)
                return 1
            port = int(argument[2:])
        elif argument == "-v":
            print(VERSION_TEXT)
            return 0
        elif argument == "-U":
            keep_owner = True
        elif argument == "-q":
            return cli.main(arguments[position + 1 :])
        elif argument == "-i":
            return idtool.main(arguments[position + 1 :])
        elif argument.startswith("-"):
            print(HELP)
            return 0 if argument == "-h" else 1
        else:
            home = argument
    path = Path(home)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return asyncio.run(serve(path, port, keep_owner=keep_owner))
    except PermissionError as error:
        log(f"zerotier-one: {error.filename}: permission denied (it must run as root)")
        return 1
    except KeyboardInterrupt:
        return 0
