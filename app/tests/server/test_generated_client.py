"""A client that openapi-python-client makes from the API's document, without a warning, lives through a day."""

import asyncio
import importlib
import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_stream import report
from running_server import Server
from two_communities import PASSWORD

# The generator knows the media types of JSON and of forms; both kinds of tables are bytes.
CONFIG = """
content_type_overrides:
  text/csv: application/octet-stream
  application/vnd.openxmlformats-officedocument.spreadsheetml.sheet: application/octet-stream
"""
PACKAGE = "parkmesh_client_of_the_tests"
ADMIN, RESIDENT = "administrator@a.example", "resident@a.example"


@pytest.fixture
async def made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    async with httpx.AsyncClient(base_url=server.web) as client:
        (tmp_path / "openapi.json").write_text((await client.get("/api/v1/openapi.json")).text)
    (tmp_path / "config.yml").write_text(CONFIG)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config", "config.yml",
         "--meta", "none", "--output-path", PACKAGE, "--fail-on-warning"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, "arning" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


async def test_a_generated_client_lives_through_a_day(
    server: Server, made: Callable[[str], Any], gateway: Callable[[str], httpx.AsyncClient], connected: None
) -> None:
    models, types, clients = made("models"), made("types"), made("client")

    async def call(path: str, *arguments: Any, client: Any, **named: Any) -> tuple[int, Any, Any]:
        answer = await asyncio.to_thread(made(f"api.{path}").sync_detailed, *arguments, client=client, **named)
        return int(answer.status_code), answer.parsed, answer.headers

    async def signed_in(email: str) -> Any:
        body = models.Credentials(email=email, password=PASSWORD)
        status, session, _ = await call("sessions.create_session", client=clients.Client(server.web), body=body)
        assert (status, type(session)) == (201, models.Session)
        return clients.AuthenticatedClient(server.web, token=session.token)

    staff, ana = await signed_in(ADMIN), await signed_in(RESIDENT)

    def table(text: str) -> Any:
        return types.File(payload=io.BytesIO(text.encode()))

    people = "email;name;unit\nbego@a.example;Begoña;1A\n"
    kind = models.ImportTableKind.RESIDENTS
    status, told, _ = await call("tables.import_table", "a", kind, client=staff, body=table(people))
    assert (status, told.applied, told.created) == (200, False, 1)
    status, told, _ = await call("tables.import_table", "a", kind, client=staff, body=table(people), dry_run=False)
    assert (status, told.applied, told.created) == (200, True, 1)
    broken = table("email;name\nno address;Luis\n")
    status, refused, _ = await call("tables.import_table", "a", kind, client=staff, body=broken, dry_run=False)
    assert (status, refused.mistakes[0].line, refused.mistakes[0].column) == (422, 2, "email")

    invitation = models.NewInvitation(email="bego@a.example", role=models.NewInvitationRole.RESIDENT)
    status, invited, _ = await call("invitations.create_invitation", "a", client=staff, body=invitation)
    assert (status, invited.email, bool(invited.code)) == (201, "bego@a.example", True)

    space = models.NewSpace(name="v-01", level="P1", category=models.NewSpaceCategory.SHARED)
    assert (await call("spaces.create_space", "a", client=staff, body=space))[0] == 201
    begins = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    booking = models.NewBooking(space="v-01", from_=begins, until=begins + timedelta(hours=2))
    status, booked, headers = await call("bookings.create_booking", "a", client=ana, body=booking)
    assert (status, booked.space, booked.from_) == (201, "v-01", begins), booked
    assert headers["location"].endswith(f"/bookings/{booked.id}")
    status, refused, _ = await call("bookings.create_booking", "a", client=ana, body=booking)
    assert (status, type(refused), refused.type_) == (409, models.Problem, "urn:parkmesh:problem:overlap")
    assert datetime.fromisoformat(refused.conflict.from_) == begins
    wrong = models.NewBooking(space="V 1", from_=begins, until=begins + timedelta(hours=2))
    status, refused, _ = await call("bookings.create_booking", "a", client=ana, body=wrong)
    assert (status, [error.where for error in refused.errors]) == (422, ["body.space"])

    wanted = models.NewVisitorPass(plate="9999 XYZ", from_=begins, until=begins + timedelta(hours=2))
    status, issued, _ = await call("visitor_passes.create_visitor_pass", "a", client=ana, body=wanted)
    assert (status, issued.plate, bool(issued.link)) == (201, "9999XYZ", True), issued

    asked = models.OpenRequest(reason="delivery")
    status, command, _ = await call("gates.open_gate", "a", "main-in", client=staff, body=asked)
    assert (status, command.state) == (202, models.GateCommandState.SENT)
    async with gateway("gateway-a") as device:
        await report(device, command.id, opened=True)
    status, outcome, _ = await call("gates.get_gate_command", "a", "main-in", command.id, client=staff)
    assert (status, outcome.state) == (200, models.GateCommandState.OPENED)
