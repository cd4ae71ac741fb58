"""Passkeys in a real browser: the device is Chromium's virtual authenticator; WebAuthn and our script are real."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from page_people import People
from parkmesh.server.http import sockets
from playwright.async_api import CDPSession, Page, expect
from running_server import Database, Server, serving, settings
from test_browser import too_wide, violations
from two_communities import PASSWORD

DESK, RESIDENT = "desk@parkmesh.example", "resident@a.example"
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def rule() -> str:
    return "none"


@pytest.fixture
async def server(filled: Database, rule: str) -> AsyncIterator[Server]:
    """Run the server under the one name for which browsers offer passkeys without https."""
    web = sockets.listen("127.0.0.1", 0)
    address = f"http://localhost:{web.getsockname()[1]}"
    config = settings(filled.app, PARKMESH_PUBLIC_URL=address, PARKMESH_SECOND_FACTOR=rule)
    async with serving(config, web=web) as running:
        yield replace(running, web=address)


@dataclass
class Device:
    """A phone or laptop that verifies its user, plugged into one page."""

    session: CDPSession
    id: str

    @classmethod
    async def of(cls, page: Page) -> "Device":
        session = await page.context.new_cdp_session(page)
        await session.send("WebAuthn.enable")
        made = await session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
        return cls(session, made["authenticatorId"])

    async def set(self, command: str, **values: Any) -> None:
        await self.session.send(f"WebAuthn.{command}", {"authenticatorId": self.id, **values})

    async def passkeys(self) -> list[dict[str, Any]]:
        answer = await self.session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        found: list[dict[str, Any]] = answer["credentials"]
        return found


@pytest.fixture
def furnished(server: Server) -> Server:
    """Passkeys need no parking."""
    return server


async def begin(people: People) -> tuple[Page, Device]:
    page = await people.page(RESIDENT, "/account")
    return page, await Device.of(page)


async def add(page: Page, name: str = "My phone", password: str = PASSWORD) -> None:
    if not await page.locator("#passkey-name").is_visible():
        await page.get_by_text("Add a passkey").click()
    await page.locator("#passkey-name").fill(name)
    await page.locator("#passkey-password").fill(password)
    await page.get_by_role("button", name="Add", exact=True).click()


async def sign_out(page: Page) -> None:
    await page.locator("details[data-menu] summary").first.click()
    await page.get_by_test_id("sign-out").click()
    await page.wait_for_url("**/sign-in")


async def test_a_passkey_is_added_signs_its_owner_in_and_is_worthless_once_removed(people: People) -> None:
    page, device = await begin(people)
    await expect(page.get_by_test_id("passkey")).to_have_count(0)
    await add(page)
    await expect(page.get_by_test_id("done")).to_contain_text("passkey")
    await expect(page.get_by_test_id("passkey")).to_contain_text("My phone")
    (made,) = await device.passkeys()
    assert (made["rpId"], made["isResidentCredential"]) == ("localhost", True)

    await sign_out(page)
    await page.goto("/account")
    assert "/sign-in?next=/account" in page.url
    # By keyboard, and on to the page that was asked for.
    await page.get_by_role("button", name="Use a passkey").press("Enter")
    await page.wait_for_url("**/account")
    await expect(page.get_by_test_id("passkey")).to_contain_text("last used")
    await expect(page.get_by_test_id("passkey")).not_to_contain_text("never")

    await page.get_by_text("Remove a passkey").click()
    await page.locator("#remove_password").fill("not the password")
    await page.get_by_role("button", name="Remove", exact=True).click()
    await expect(page.get_by_test_id("error-summary")).to_contain_text("This is not your password.")
    await expect(page.get_by_test_id("passkey")).to_have_count(1)
    assert await violations(page) == []
    await page.locator("#remove_password").fill(PASSWORD)
    await page.get_by_role("button", name="Remove", exact=True).click()
    await expect(page.get_by_test_id("passkey")).to_have_count(0)
    await sign_out(page)
    # The device still has it; the server knows it no more.
    assert len(await device.passkeys()) == 1
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_test_id("sign-in-error")).to_have_text("This passkey was not accepted. Try again.")
    assert "/sign-in" in page.url


async def test_signing_out_empties_what_other_tabs_show(people: People) -> None:
    page = await people.page(RESIDENT, "/account")
    other = await page.context.new_page()
    await other.goto("/account")
    await expect(other.get_by_test_id("session").first).to_be_visible()
    await page.route("**/sign-out", lambda route: route.abort())
    await page.locator("details[data-menu] summary").first.click()
    await page.get_by_test_id("sign-out").click()
    await expect(other.get_by_test_id("session")).to_have_count(0)
    await page.unroute("**/sign-out")
    await page.goto("/account")
    await sign_out(page)
    await other.wait_for_url("**/sign-in")
    # A page that shows nothing of an account stays.
    await other.goto("/join")
    await page.reload()
    await other.wait_for_timeout(200)
    await expect(other.locator("form[action='/join']")).to_be_visible()
    people.seen.wrong.clear()


async def test_who_is_not_verified_is_told_and_can_try_again(people: People) -> None:
    page, device = await begin(people)
    status = page.locator("[data-passkey-registration] [data-passkey-status]")
    await device.set("setUserVerified", isUserVerified=False)
    await add(page)
    await expect(status).to_have_text("That did not work. Nothing was changed.")
    assert await device.passkeys() == []
    await device.set("setUserVerified", isUserVerified=True)
    await add(page)
    await expect(page.get_by_test_id("passkey")).to_have_count(1)

    await sign_out(page)
    await device.set("setUserVerified", isUserVerified=False)
    use = page.get_by_role("button", name="Use a passkey")
    await use.click()
    entrance = page.locator("[data-passkey-entrance] [data-passkey-status]")
    await expect(entrance).to_have_text("That did not work.")
    await expect(entrance).to_be_visible()
    assert "/sign-in" in page.url
    await device.set("setUserVerified", isUserVerified=True)
    await use.click()
    await page.wait_for_url(lambda address: "/sign-in" not in address)


async def test_a_wrong_password_adds_nothing_and_says_so(people: People) -> None:
    page, device = await begin(people)
    await add(page, password="not the password")
    status = page.locator("[data-passkey-registration] [data-passkey-status]")
    await expect(status).to_have_text("This is not your password.")
    assert await device.passkeys() == []


async def test_a_device_without_a_passkey_for_this_site_is_told_so(people: People) -> None:
    page = await people.page(None, "/sign-in")
    await Device.of(page)
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.locator("[data-passkey-status]")).to_have_text("That did not work.")


async def test_a_device_is_not_asked_for_a_second_passkey(people: People) -> None:
    page, device = await begin(people)
    await add(page)
    await expect(page.get_by_test_id("passkey")).to_have_count(1)
    await add(page, "Once more")
    status = page.locator("[data-passkey-registration] [data-passkey-status]")
    await expect(status).to_have_text("That did not work. Nothing was changed.")
    assert len(await device.passkeys()) == 1


async def test_a_second_press_while_the_device_asks_spoils_nothing(people: People) -> None:
    page, _ = await begin(people)
    await add(page)
    await expect(page.get_by_test_id("passkey")).to_have_count(1)
    await sign_out(page)
    asked: list[str] = []

    async def slowly(route: Any) -> None:
        asked.append(route.request.method)
        await asyncio.sleep(0.3)
        await route.continue_()

    await page.route("**/api/v1/sessions/passkey/options", slowly)
    await page.get_by_role("button", name="Use a passkey").dblclick(no_wait_after=True)
    await page.wait_for_url(lambda address: "/sign-in" not in address)
    assert asked == ["POST"]


async def test_what_answers_nothing_readable_is_a_message_too(people: People) -> None:
    page = await people.page(None, "/sign-in")
    await Device.of(page)
    use, status = page.get_by_role("button", name="Use a passkey"), page.locator("[data-passkey-status]")
    for way in ("refuse", "nonsense"):

        async def answer(route: Any, way: str = way) -> None:
            if way == "refuse":
                await route.abort()
            else:
                await route.fulfill(status=502, body="<html>bad gateway</html>", content_type="text/html")

        await page.route("**/api/v1/sessions/passkey/options", answer)
        await use.click()
        await expect(status).to_have_text("That did not work.")
        await page.unroute("**/api/v1/sessions/passkey/options")
    people.seen.wrong.clear()


@pytest.mark.parametrize("rule", ["desk"])
async def test_the_desk_makes_its_first_passkey_and_comes_in_with_it(people: People) -> None:
    page = await people.page(DESK, "/gateways", viewport={"width": 360, "height": 740}, locale="es-ES")
    device = await Device.of(page)
    await page.goto("/gateways")
    assert page.url.endswith("/second-factor")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Un paso más")
    await expect(page.locator("[data-passkey-unable]")).to_be_hidden()
    assert (await violations(page), await too_wide(page)) == ([], [])
    await page.locator("#passkey-password").fill(PASSWORD)
    await page.get_by_role("button", name="Añadir", exact=True).click()
    use = page.get_by_role("button", name="Usar una llave de acceso")
    await expect(use).to_be_visible()
    assert (await violations(page), len(await device.passkeys())) == ([], 1)
    await use.click()
    await page.wait_for_url(lambda address: not address.endswith("/second-factor"))
    await page.goto("/gateways")
    assert page.url.endswith("/gateways")


@pytest.mark.parametrize("rule", ["desk"])
async def test_a_browser_without_passkeys_says_so_and_lets_go(people: People) -> None:
    context = await people.context(DESK)
    await context.add_init_script("delete window.PublicKeyCredential")
    page = await context.new_page()
    await page.goto("/second-factor")
    await expect(page.locator("[data-passkey-unable]")).to_be_visible()
    await expect(page.locator("[data-passkey-registration]")).to_be_hidden()
    await page.get_by_role("main").get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
