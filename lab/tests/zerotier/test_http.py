"""The HTTP side: who may ask, connections kept or closed, and requests that are no requests."""

from __future__ import annotations

import http.client
import json
import socket

import pytest

from lab.zerotier.settings import Settings, read_settings

from .conftest import METRICS_TOKEN, TOKEN, Daemon


def exchange(port: int, data: bytes) -> bytes:
    """Send raw bytes and read until the daemon closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("127.0.0.1", [], True),
        ("::1", [], True),
        ("::ffff:127.0.0.1", [], True),
        ("10.0.0.1", [], False),
        ("10.0.0.1", ["10.0.0.0/24"], True),
        ("10.0.0.1", ["10.0.0.1"], True),
        ("::ffff:10.0.0.1", ["10.0.0.0/24"], True),
        ("10.0.1.1", ["10.0.0.0/24", "bogus", 5], False),
        ("fe80::1%eth0", ["::/0"], True),
    ],
)
def test_management_is_for_loopback_and_named_networks(
    tmp_path_factory: pytest.TempPathFactory, host: str, allowed: list[object], expected: bool
) -> None:
    path = tmp_path_factory.mktemp("settings") / "local.conf"
    path.write_text(json.dumps({"settings": {"allowManagementFrom": allowed}}))
    assert read_settings(path, 9993).may_manage(host) is expected


def test_local_conf_wins_over_the_command_line(daemon: Daemon) -> None:
    daemon.stop()
    path = daemon.home / "local.conf"
    path.write_text(json.dumps({"settings": {"primaryPort": daemon.port, "portMappingEnabled": False, "bind": []}}))
    settings = read_settings(path, 1)
    assert (settings.primary_port, settings.port_mapping_enabled) == (daemon.port, False)
    assert read_settings(path.with_name("missing"), 1) == Settings(primary_port=1)
    daemon.start()
    assert daemon.ask("GET", "/status").json["config"]["settings"]["primaryPort"] == daemon.port


def test_broken_local_conf_is_named_and_ignored(daemon: Daemon) -> None:
    daemon.stop()
    (daemon.home / "local.conf").write_text("{broken")
    daemon.start()
    assert "ignoring" in daemon.log.read_text()
    assert daemon.ask("GET", "/health", headers={}).status == 200


def test_each_token_opens_only_its_own_door(shared_daemon: Daemon) -> None:
    assert shared_daemon.ask("GET", "/metrics", headers={"X-ZT1-Auth": METRICS_TOKEN}).status == 200
    assert shared_daemon.ask("GET", "/status", headers={"X-ZT1-Auth": METRICS_TOKEN}).status == 401
    assert shared_daemon.ask("GET", f"/status?auth={TOKEN}", headers={}).status == 200
    assert shared_daemon.ask("GET", "/status", headers={"Authorization": f"bearer {TOKEN}"}).status == 200
    assert shared_daemon.ask("GET", "/nothing", headers={}).status == 401
    assert shared_daemon.ask("GET", "/nothing").status == 404


def test_connections_are_kept_for_five_requests(shared_daemon: Daemon) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_daemon.port, timeout=10)
    seen = []
    for _ in range(5):
        connection.request("GET", "/controller", headers={"X-ZT1-Auth": TOKEN})
        response = connection.getresponse()
        response.read()
        seen.append((response.getheader("Keep-Alive"), response.getheader("Connection")))
    connection.close()
    assert seen == [("timeout=5, max=5", None)] * 4 + [(None, "close")]


def test_head_has_headers_only(shared_daemon: Daemon) -> None:
    answer = exchange(shared_daemon.port, f"HEAD /status HTTP/1.1\r\nX-ZT1-Auth: {TOKEN}\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: " in head
    assert body == b""


def test_chunked_bodies_are_read(shared_daemon: Daemon) -> None:
    request = (
        f"POST /controller/network/{shared_daemon.address}000001 HTTP/1.1\r\nX-ZT1-Auth: {TOKEN}\r\n"
        'Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n7\r\n{"name"\r\n6\r\n:"ch"}\r\n0\r\n\r\n'
    )
    assert b'"name":"ch"' in exchange(shared_daemon.port, request.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /status\r\n\r\n",
        b"GET /status HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET /status HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /status HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /status HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /status HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"POST /status HTTP/1.1\r\nContent-Length: 50\r\n\r\nshort",
        b"GET /" + b"x" * 40000 + b" HTTP/1.1\r\n\r\n",
        b"GET /%ff%00?auth=%ff HTTP/1.1\r\n\r\n",
    ],
)
def test_nonsense_gets_no_success_and_harms_nobody(shared_daemon: Daemon, data: bytes) -> None:
    answer = exchange(shared_daemon.port, data)
    assert b" 200 " not in answer.split(b"\r\n")[0]
    assert shared_daemon.ask("GET", "/health", headers={}).status == 200
    assert "Traceback" not in shared_daemon.log.read_text()
