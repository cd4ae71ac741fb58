"""People who open pages in a browser, and what went wrong in those pages."""

from contextlib import AsyncExitStack
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Response
from running_server import Server
from two_communities import PASSWORD


class Seen:
    """What went wrong in the pages of a test: refused by the policy, errors of scripts, answers of ours with 5xx."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self._note(message.text, message.type))
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("response", self._answered)

    def _answered(self, answer: Response) -> None:
        if answer.status >= 500:
            self.wrong.append(f"{answer.status} {answer.url}")

    def _note(self, text: str, kind: str) -> None:
        if "Content Security Policy" in text or "violates" in text or (kind == "error" and "status of 4" not in text):
            self.wrong.append(text)


class People:
    """Opens pages in the browser as given users; each user in a separate browser context."""

    def __init__(self, browser: Browser, server: Server, seen: Seen, stack: AsyncExitStack) -> None:
        self._browser, self._server, self.seen, self._stack = browser, server, seen, stack
        self._states: dict[str, Any] = {}

    async def context(self, who: str | None = None, **options: Any) -> BrowserContext:
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options
        context = await self._browser.new_context(
            base_url=self._server.web, storage_state=self._states.get(who or ""), **options
        )
        context.set_default_timeout(15_000)
        self._stack.push_async_callback(context.close)
        context.on("page", self.seen.watch)
        if who and who not in self._states:
            page = await context.new_page()
            await page.goto("/sign-in")
            await page.get_by_test_id("email").fill(who)
            await page.get_by_test_id("password").fill(PASSWORD)
            await page.get_by_test_id("submit").click()
            await page.wait_for_url(lambda address: "/sign-in" not in address)
            self._states[who] = await context.storage_state()
            await page.close()
        return context

    async def page(self, who: str | None, path: str, **options: Any) -> Page:
        page = await (await self.context(who, **options)).new_page()
        await page.goto(path)
        return page
