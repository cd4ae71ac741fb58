"""Serves the corrected moto application on several addresses that share one state."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Hundreds of stock images would be loaded at the first EC2 request and hide the ones the lab knows.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from . import acm, autoscaling, dynamodb, ec2, elbv2, iam, maintenance, rds, s3, scaling, zones
from .actions import Recorder
from .faults import Faults
from .permissions import Permissions
from .state import state_lock

__all__ = ["Server", "serve", "state_lock"]

_log = logging.getLogger(__name__)
_corrections_lock = threading.Lock()
_corrected = False


class _RequestHandler(MotoRequestHandler):  # type: ignore[misc]
    """Request lines are noise beside the playbook's own output; errors still reach the log."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        _log.debug("%s %s %s", self.command, self.path, code)


def _create_backend_app(service: Any) -> Any:
    application = create_backend_app(service)
    # Without this a failure inside moto is an answer without a word in the log.
    application.config["PROPAGATE_EXCEPTIONS"] = True
    return application


class _SerialisedApplication:
    """One request at a time: moto's state isn't made for concurrent writers, and the lab writes from many sides."""

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(_create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with state_lock:
            return list(self._application(environ, start_response))


class Server:
    """The listening AWS API. `addresses` are the (host, port) pairs in use, with port 0 resolved."""

    def __init__(self, servers: list[BaseWSGIServer]) -> None:
        self._servers = servers
        self.addresses: list[tuple[str, int]] = [(str(server.server_address[0]), server.port) for server in servers]
        self._threads = [
            threading.Thread(target=server.serve_forever, name=f"lab.aws-{server.port}", daemon=True)
            for server in servers
        ]
        for thread in self._threads:
            thread.start()

    def shutdown(self) -> None:
        """Stop listening and wait until the listeners are gone. The state stays in this process."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def serve(addresses: list[tuple[str, int]], *, record: Path | None = None) -> Server:
    """Listen on every (host, port) with one shared state; port 0 takes a free one.

    ``record`` is a file to which each operation that is called is added (``actions``).
    Raises OSError when an address can't be bound; nothing is left listening then.
    """
    _correct()
    application: Any = Faults(Permissions(_SerialisedApplication()))
    if record is not None:
        application = Recorder(application, record)
    servers: list[BaseWSGIServer] = []
    try:
        for host, port in addresses:
            servers.append(make_server(host, port, application, threaded=True, request_handler=_RequestHandler))
    except (OSError, SystemExit) as error:
        for server in servers:
            server.server_close()
        # werkzeug turns an address in use into SystemExit, which would end the lab's daemon without a reason.
        raise OSError(f"lab.aws can't listen on {host}:{port}") from error
    return Server(servers)


def _correct() -> None:
    global _corrected
    with _corrections_lock:
        if _corrected:
            return
        for service in (ec2, autoscaling, elbv2, iam, rds, dynamodb, maintenance, acm, s3, zones, scaling):
            service.correct()
        _corrected = True
