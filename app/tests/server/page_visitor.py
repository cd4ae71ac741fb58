"""A user of the pages without a browser: signs in, reads pages, sends their forms."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from two_communities import PASSWORD

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
IDEMPOTENCY_KEY = re.compile(r'name="idempotency_key" value="([^"]+)"')


class Visitor:
    """A client that keeps cookies and follows no redirect by itself."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, **options: object) -> httpx.Response:
        return await self.client.get(path, **options)  # type: ignore[arg-type]

    async def token(self, path: str) -> str:
        """Return the form token of a page."""
        page = await self.client.get(path)
        found = TOKEN.search(page.text)
        assert found, f"{path}: {page.status_code} without a form"
        return html.unescape(found[1])

    async def seen(self, path: str, field: str = "seen") -> str:
        """Return the mark of the state that a form of the page at ``path`` was filled with."""
        return mark(await self.client.get(path), field)

    async def send(self, path: str, *, of: str, **fields: object) -> httpx.Response:
        """Send a form of the page ``of`` to ``path``, confirmed as the page's script does it."""
        return await self.client.post(path, data={"csrf_token": await self.token(of), "confirmed": "yes", **fields})

    async def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return await self.send("/sign-in", of="/sign-in", email=email, password=password)


@asynccontextmanager
async def visiting(base_url: str, email: str | None = None, **headers: str) -> AsyncIterator[Visitor]:
    """Open the pages as a user."""
    async with httpx.AsyncClient(base_url=base_url, headers={"Accept": "text/html", **headers}, timeout=30) as client:
        visitor = Visitor(client)
        if email:
            answer = await visitor.sign_in(email)
            assert answer.status_code == 303, answer.text
        yield visitor


def mark(page: httpx.Response, field: str = "seen") -> str:
    """Return the mark of the state that a form of a page was filled with: see pages/unchanged.py."""
    found = re.search(rf'name="{field}" value="([^"]+)"', page.text)
    assert found, f"{page.url.path}: {page.status_code} without {field}"
    return html.unescape(found[1])


def alerts(page: httpx.Response) -> str:
    """Return the text of the page's error summary."""
    found = re.search(r'<div class="alert summary".*?</div>', page.text, re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))).strip() if found else ""
