"""Bad data, a missing secret, an AWX that doesn't answer as it should: one clear line, and nothing half made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from .conftest import TOKEN, System


def wrong_answer(system: System) -> None:
    system.environment["schedules"]["night"] = {
        "template": "explain-access",
        "answers": {"explain_from": "a", "explain_port": 70000},
        "rrule": "DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1",
    }


def secret_in_the_data(system: System) -> None:
    system.environment["credentials"]["zerotier"]["inputs"]["token"] = "plain"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (wrong_answer, "schedules, night: explain_port 70000 is above 65535"),
        (secret_in_the_data, "credentials, zerotier: token is a secret: give {env: NAME} or {file: path}"),
        (lambda system: system.variables.pop("UNIT_TOKEN"), "token: environment variable UNIT_TOKEN is empty"),
    ],
)
def test_nothing_is_made_of_wrong_data(system: System, spoil: Callable[[System], object], told: str) -> None:
    spoil(system)
    run = system.apply()
    assert run.status == 2
    assert told in run.shown
    assert run.writes == []
    assert run.output.count("TASK [") == 2


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Write nothing."""

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (502, b"<html>bad gateway</html>", "answered 502 to GET /api/v2/ping/: see its logs"),
        (429, b"", "it is asked too often"),
        (200, b"<html>a login page</html>", "didn't answer GET /api/v2/ping/ with JSON"),
    ],
)
def test_an_awx_that_answers_badly(system: System, status: int, body: bytes, told: str) -> None:
    with answering(status, body) as url:
        run = system.apply(CONTROLLER_HOST=url)
    assert run.status == 2
    assert told in run.shown


def test_no_awx_an_expired_token_or_no_token(system: System) -> None:
    run = system.apply(CONTROLLER_HOST="http://127.0.0.1:9")
    assert run.status == 2
    assert "AWX can't be reached at http://127.0.0.1:9" in run.shown
    system.awx.tokens.clear()
    run = system.apply()
    assert "it doesn't accept the token (CONTROLLER_OAUTH_TOKEN): it is wrong or has expired" in run.shown
    assert TOKEN not in run.output
    run = system.apply(CONTROLLER_OAUTH_TOKEN="")
    assert "Set CONTROLLER_HOST (https://…) and CONTROLLER_OAUTH_TOKEN" in run.shown


def test_a_project_that_can_t_be_synced_and_one_on_an_old_revision(system: System, tmp_path: Path) -> None:
    store = system.awx.store
    address, folder = store.repositories.popitem()
    run = system.apply()
    assert run.status == 2
    assert "can't be synced, so no job template was made" in run.shown
    assert "Could not resolve host" in run.shown
    assert system.names("job_templates") == system.names("inventories") == []

    old = tmp_path / "old"
    (old / "playbooks").mkdir(parents=True)
    (old / "playbooks/verify.yml").write_text("- hosts: all\n")
    store.repositories[address] = old
    run = system.apply()
    assert run.status == 2
    assert "has no playbooks/explain-access.yml: push this release to the project's branch first" in run.shown
    assert system.names("job_templates") == []

    # The same command goes on when the branch has the release.
    store.repositories[address] = folder
    run = system.apply()
    assert run.status == 0, run.output
    assert len(system.names("job_templates")) == 2


def test_a_key_that_awx_refuses_is_named_and_not_shown(system: System) -> None:
    system.variables["UNIT_KEY"] = "n0KeyAtAll"
    run = system.apply()
    assert run.status == 2
    assert "AWX didn't take parkmesh-unit-ssh" in run.shown
    assert "n0KeyAtAll" not in run.output
