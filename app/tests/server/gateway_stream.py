"""A gateway's open stream, as the server's tests use it."""

import asyncio
import json
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
