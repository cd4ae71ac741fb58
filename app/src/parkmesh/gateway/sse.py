"""Server-sent events, the reading side: lines in, events out (the WHATWG rules that a JSON stream needs)."""

from collections.abc import AsyncIterator
from typing import NamedTuple

MAX_DATA = 64 * 1024


class ServerSentEvent(NamedTuple):
    name: str
    data: str


async def events(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    """Yield the events of a stream of lines (without line ends); an unfinished one at the end is dropped."""
    name, data = "message", list[str]()
    async for line in lines:
        if not line:
            if data:
                yield ServerSentEvent(name, "\n".join(data))
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
            if sum(map(len, data)) > MAX_DATA:
                raise ValueError(f"a server-sent event is larger than {MAX_DATA} characters")
