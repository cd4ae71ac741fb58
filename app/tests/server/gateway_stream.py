"""A gateway's open stream and its report on a command, as the server's tests use them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from two_communities import rows


async def frames(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name_of_event = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            name_of_event = value
        elif name == "data":
            yield name_of_event, json.loads(value)


async def listed(owner: Any, community: str, count: int = 1) -> None:
    """Wait until ``count`` gateways of a community are in the list of streams."""
    for _ in range(100):
        if len(await rows(owner, community, "SELECT FROM gateway_stream WHERE community_id = $1")) == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not {count} gateways of {community} are connected")


async def report(client: httpx.AsyncClient, command: str, *, opened: bool, seq: int = 1, gate: str = "main-in") -> None:
    """Send what a gateway sends after it carried out a command."""
    passage = {
        "type": "passage", "seq": seq, "times": {"received": int(time.time() * 1000)}, "gate": gate,
        "direction": "entry", "plate": "", "decision": "granted", "reason": "command", "opened": opened,
        "device_event_id": command,
    }  # fmt: skip
    answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": [passage]})
    assert answer.status_code == 200, answer.text
