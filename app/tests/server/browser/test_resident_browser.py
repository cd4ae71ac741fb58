"""What residents change on their pages and what their visitors see, in a real browser: by keyboard, for screen readers,
on a phone, in both themes."""

import time
from collections.abc import Callable
from typing import Any

import httpx
from page_people import People
from playwright.async_api import Page, expect
from test_browser import ADMIN, RESIDENT, tab_to, tomorrow, too_wide, violations
from two_communities import rows

A = "/communities/a"
PHONE = {"viewport": {"width": 360, "height": 740}, "locale": "es-ES", "reduced_motion": "reduce"}
MANY = 30


async def serves_everybody(page: Page) -> None:
    """See that a page of a phone has nothing serious in either theme and doesn't scroll sideways."""
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)
        assert await violations(page) == [], theme
    assert await too_wide(page) == []
    assert await page.locator("h1").count() == 1


async def book(page: Page, begin: int, end: int) -> None:
    await page.goto(f"{A}/book?from={tomorrow(begin)}&until={tomorrow(end)}")
    await page.locator('[data-space-name="s-01"] button').first.click()
    await expect(page.get_by_test_id("done")).to_be_visible()


async def test_a_booking_is_moved_with_the_keyboard_and_the_time_in_its_way_is_read_out(people: People) -> None:
    page = await people.page(RESIDENT, A)
    await book(page, 9, 11)
    await book(page, 13, 15)
    await tab_to(page, 'a[href*="/book/"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/book/*")
    assert await violations(page) == []
    for name, moment in (("from", tomorrow(10)), ("until", tomorrow(14))):
        await tab_to(page, f"#{name}")
        await page.evaluate("(value) => { document.activeElement.value = value; }", moment)
    await tab_to(page, '[data-testid="change-booking"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("error-summary")).to_be_focused()
    await expect(page.get_by_test_id("error-summary")).to_contain_text("13:00-15:00")
    assert await violations(page) == []
    await page.locator("#until").fill(tomorrow(12))
    await tab_to(page, '[data-testid="change-booking"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_contain_text("The booking has its new time.")


async def test_pages_that_change_something_serve_everybody_on_a_phone(people: People) -> None:
    page = await people.page(RESIDENT, f"{A}/vehicles", **PHONE)
    await page.locator('[data-plate="1234BCD"] a').click()
    await serves_everybody(page)
    await page.get_by_label("Nombre").fill("La furgoneta")
    await page.get_by_test_id("change-vehicle").click()
    await expect(page.locator('[data-plate="1234BCD"]')).to_contain_text("La furgoneta")
    await page.goto(f"{A}/visitors")
    await page.get_by_test_id("make-pass").click()
    await page.get_by_test_id("pass").locator("a").click()
    await serves_everybody(page)
    await page.get_by_test_id("change-pass").click()
    await expect(page.get_by_test_id("done")).to_be_visible()
    await book(page, 9, 11)
    await page.get_by_test_id("booking").locator("a").click()
    await serves_everybody(page)


async def test_a_resident_asks_for_erasure_with_the_keyboard(people: People) -> None:
    page = await people.page(RESIDENT, "/account/data", **PHONE)
    data = page.get_by_test_id("own-data")
    await tab_to(page, '[data-testid="own-data"] summary')
    await page.keyboard.press("Enter")
    await serves_everybody(page)
    await tab_to(page, '[data-testid="own-data"] button')
    await page.keyboard.press("Enter")
    await expect(data).to_contain_text("Solicitó que se borraran sus datos")
    await serves_everybody(page)
    async with page.expect_download() as download:
        await data.get_by_role("link", name="Descargar").click()
    assert (await download.value).suggested_filename == "a-personal-data.json"


async def test_a_visitor_finds_his_way_and_opens_the_gate_on_a_phone(people: People, connected: None) -> None:
    admin = await people.page(ADMIN, f"{A}/directions")
    await admin.get_by_label("Finding the way").fill("Calle Mayor 1, 46001 Valencia\n39.4699, -0.3763")
    await admin.get_by_test_id("save-directions").click()
    await expect(admin.get_by_test_id("done")).to_be_visible()
    await admin.goto(f"{A}/gates")
    await admin.get_by_label("Visitors may open gates").check()
    await admin.get_by_role("button", name="Save the rules").click()
    await expect(admin.get_by_test_id("done")).to_be_visible()
    page = await people.page(RESIDENT, f"{A}/visitors")
    await page.get_by_label("With a visitors' space").check()
    await page.get_by_test_id("make-pass").click()
    link = await page.get_by_test_id("pass-link").locator("a").inner_text()
    phone = await people.page(None, link, **PHONE)
    await expect(phone.get_by_text("Calle Mayor 1, 46001 Valencia")).to_be_visible()
    await serves_everybody(phone)
    await tab_to(phone, '[data-testid="open-main-in"]')
    await phone.keyboard.press("Enter")
    await expect(phone.get_by_test_id("opening")).to_contain_text("se ha pedido abrir, esperando a la puerta")
    await serves_everybody(phone)
    for _ in range(4):
        await phone.get_by_test_id("open-main-in").click()
        await phone.wait_for_load_state()
    await expect(phone.get_by_test_id("error-summary")).to_be_focused()
    await expect(phone.get_by_test_id("error-summary")).to_contain_text("4 aperturas por minuto")
    await serves_everybody(phone)


async def test_a_long_history_is_readable_on_a_phone(
    people: People, gateway: Callable[[str], httpx.AsyncClient], owner: Any
) -> None:
    await drive(gateway, owner)
    page = await people.page(RESIDENT, f"{A}/history", **PHONE)
    await expect(page.get_by_test_id("passage-row")).to_have_count(MANY)
    await serves_everybody(page)


async def drive(gateway: Callable[[str], httpx.AsyncClient], owner: Any) -> None:
    """Let the resident's car come and go many times; the resident's credential decides, so they may see all of it."""
    query = "SELECT min(id)::text AS id FROM credential WHERE community_id = $1 AND plate = '1234BCD'"
    (credential,) = await rows(owner, "a", query)
    now = int(time.time() * 1000)
    events: list[dict[str, Any]] = [
        {
            "type": "passage", "seq": 5 + n, "times": {"received": now}, "gate": ("main-in", "main-out")[n % 2],
            "direction": ("entry", "exit")[n % 2], "plate": "1234BCD", "decision": "granted",
            "reason": "exact" if n % 7 else "fuzzy", "opened": n % 11 != 0, "credential_id": credential["id"],
        }
        for n in range(MANY)
    ]  # fmt: skip
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
        assert answer.status_code == 200, answer.text


async def test_a_shared_space_on_the_drawing_leads_to_its_booking_with_the_keyboard(people: People) -> None:
    page = await people.page(RESIDENT, A, **PHONE)
    await serves_everybody(page)
    assert await page.get_by_test_id("book-on-map").count() == 1, "of all spaces only the shared one"
    await tab_to(page, '[data-testid="book-on-map"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("free-space")).to_have_attribute("data-space-name", "s-01")
