"""A real browser at a real server: Chromium of the system or of Playwright, and a community with something in it.

Where no Chromium is installed these tests are skipped.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from page_people import People, Seen
from page_visitor import visiting
from playwright.async_api import Browser, async_playwright
from running_server import Server

ADMIN = "administrator@a.example"
# A browser of a machine without a screen, and one that looks for nothing outside.
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
MADRID = ZoneInfo("Europe/Madrid")


def chromium_path() -> str | None:
    named = os.environ.get("PARKMESH_CHROMIUM")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next((path for path in (named, *found) if path and Path(path).exists()), None)


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium is installed (PARKMESH_CHROMIUM names one)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def furnished(server: Server, gateway: Callable[[str], httpx.AsyncClient]) -> Server:
    """Give community a a shared space, a visitors' space and some passages, and the resident an assigned space."""
    async with visiting(server.web, ADMIN) as admin:
        spaces = "/communities/a/spaces"
        for name, category in (("s-01", "shared"), ("v-01", "visitor")):
            await admin.send(spaces, of=spaces, name=name, level="P1", category=category)
        begin = (datetime.now(MADRID) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
        answer = await admin.send(f"{spaces}/a-01/assign", of=spaces, unit="1A", **{"from": begin, "until": ""})
        assert answer.status_code == 303, answer.text
    now = int(time.time() * 1000)
    # Before the resident had the plate: that is when the databases' template was made, minutes or an hour ago.
    before = now - 3 * 3_600_000
    events: list[dict[str, Any]] = [
        {
            "type": "passage", "seq": n, "times": {"received": before + 60_000 * n}, "gate": "main-in",
            "direction": "entry", "plate": plate, "decision": decision, "reason": reason, "opened": opened,
        }
        for n, (plate, decision, reason, opened) in enumerate(
            [
                ("1234BCD", "granted", "exact", True), ("0000XXX", "denied", "unknown_plate", None),
                ("5678AXX", "granted", "fuzzy", False),
            ], 1,
        )
    ]  # fmt: skip
    events.append({"type": "space_state", "seq": 4, "times": {"received": now}, "space": "a-02", "status": "occupied"})
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
        assert answer.status_code == 200, answer.text
    return server


@pytest.fixture
async def people(chromium: Browser, furnished: Server) -> AsyncIterator[People]:
    """Return an object that opens pages as users; at the end nothing may have gone wrong in any page."""
    seen = Seen()
    async with AsyncExitStack() as stack:
        yield People(chromium, furnished, seen, stack)
    await asyncio.sleep(0)
    assert seen.wrong == []
