"""What the operator's playbooks tell the application of gateways and communities that go."""

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from test_desk import beat, states
from two_communities import TOKENS, apply, document, rows

Gateway = Callable[[str], httpx.AsyncClient]
Command = Callable[..., subprocess.CompletedProcess[str]]
NEW = "token-of-new-hardware-0123456789"
EPOCH = 1_700_000_000_000


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def passes(gateway: Gateway, name: str, plate: str, *, epoch: int, seq: int) -> httpx.Response:
    """Send one passage of a gateway."""
    event = {
        "type": "passage", "seq": seq, "times": {"received": epoch + seq}, "gate": "main-in", "direction": "entry",
        "plate": plate, "decision": "granted", "reason": "exact", "opened": True, "credential_id": None,
        "access_list_version": 1, "confidence": 0.9, "camera": "cam-main-in", "device_event_id": None,
    }  # fmt: skip
    async with gateway(name) as client:
        return await client.post("/edge/v1/events", json={"epoch": epoch, "events": [event]})


async def test_new_hardware_comes_in_the_old_one_is_out_and_what_it_lost_is_told_once(
    filled: Any, gateway: Gateway, owner: Any, parkmesh: Command, people: Any
) -> None:
    await beat(gateway, "gateway-a", backlog=3)
    assert (await passes(gateway, "gateway-a", "1234BCD", epoch=EPOCH, seq=1)).status_code == 200
    command = ("admin", "end-gateway", "--community", "a", "--gateway", "gateway-a", "--spool", "lost")
    done = [json.loads(parkmesh(*command, PARKMESH_DATABASE_URL=filled.app).stdout) for _ in range(2)]
    assert [(one["changed"], one["gap"], one["gateway"]["acked"]) for one in done] == [
        (True, True, 2),
        (False, False, 2),
    ]
    assert done[0]["gateway"]["backlog"] == 3
    assert (await passes(gateway, "gateway-a", "1234BCD", epoch=EPOCH, seq=2)).status_code == 401
    await apply(
        filled.app, {"communities": [{"name": "a", "gateways": [{"name": "gateway-a", "token_sha256": digest(NEW)}]}]}
    )
    assert (await passes(gateway, "gateway-a", "1234BCD", epoch=EPOCH, seq=2)).status_code == 401
    gaps = await rows(owner, "a", "SELECT epoch, seq, kind FROM gap WHERE community_id = $1")
    assert gaps == [{"epoch": EPOCH, "seq": 2, "kind": "gateway_lost"}]
    async with gateway("gateway-a") as client:
        client.headers["Authorization"] = f"Bearer {NEW}"
        event = {"type": "space_state", "seq": 1, "times": {"received": 5}, "space": "a-01", "status": "free"}
        # Its clock is behind: the server says above which epoch it must begin, as it does for every new spool.
        old = await client.post("/edge/v1/events", json={"epoch": 5, "events": [event]})
        new = await client.post("/edge/v1/events", json={"epoch": EPOCH + 1, "events": [event]})
    assert (old.status_code, old.json()["expected_epoch"], new.status_code) == (409, EPOCH, 200)
    desk = await people("desk@parkmesh.example")
    items = (await desk.get("/api/v1/desk/gateways")).json()["items"]
    assert [item["losses_uncounted"] for item in items] == [1, 0]


async def test_a_gateway_that_left_is_shown_no_more_and_comes_back_by_the_inventory(
    filled: Any, gateway: Gateway, parkmesh: Command, people: Any
) -> None:
    options = ("--community", "a", "--gateway", "gateway-a", "--spool", "drained")
    for changed in (True, False):
        done = parkmesh("admin", "end-gateway", *options, PARKMESH_DATABASE_URL=filled.app)
        assert (json.loads(done.stdout)["changed"], json.loads(done.stdout)["gap"]) == (changed, False)
    async with gateway("gateway-a") as client:
        assert (await client.get("/edge/v1/access-list")).status_code == 401
    assert list(await states(await people("desk@parkmesh.example"))) == ["gateway-b"]
    assert (await apply(filled.app, document())).updated == ["community/a/gateway/gateway-a"]
    async with gateway("gateway-a") as client:
        assert (await client.get("/edge/v1/access-list")).status_code == 200


async def test_a_community_is_exported_offboarded_and_left_alone_by_the_inventory(
    filled: Any, gateway: Gateway, owner: Any, parkmesh: Command, tmp_path: Path
) -> None:
    assert (await passes(gateway, "gateway-b", "1234BCD", epoch=EPOCH, seq=1)).status_code == 200
    url = {"PARKMESH_DATABASE_URL": filled.app}
    path = tmp_path / "b.zip"
    done = parkmesh("admin", "export", "--community", "b", "--file", str(path), **url)
    assert json.loads(done.stdout)["name"] == "b"
    assert path.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert "5678BXX" in texts["credentials.csv"]
    assert "1234BCD" in texts["passages.csv"]
    everything = "".join(texts.values())
    assert "5678AXX" not in everything
    assert digest(TOKENS["gateway-b"]) not in everything
    first, second = (
        parkmesh("admin", "offboard", "--community", "b", "--reason", "contract ended", **url).stdout for _ in range(2)
    )
    assert first == second != ""
    wish = document()
    wish["communities"][1]["residents"].append({"email": "new@b.example", "unit": "9Z", "plates": ["9999ZZZ"]})
    applied = await apply(filled.app, wish)
    assert (applied.changed, applied.offboarded) == (False, ["b"])
    (left,) = await rows(
        owner, "b", "SELECT count(*) AS n FROM credential WHERE community_id = $1 AND status = 'active'"
    )
    assert left == {"n": 0}
