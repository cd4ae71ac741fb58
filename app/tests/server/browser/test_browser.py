"""The pages in a real browser: the main flows by role, by keyboard alone, for screen readers, on a narrow phone."""

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import axe_playwright_python
import httpx
import pytest
from gateway_stream import report
from page_people import People
from playwright.async_api import Page, expect

DESK, ADMIN, RESIDENT = "desk@parkmesh.example", "administrator@a.example", "resident@a.example"
MADRID = ZoneInfo("Europe/Madrid")
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
BAD = {"serious", "critical"}

MAIN_PAGES = [
    (None, "/sign-in"), (None, "/join"), (None, "/nowhere"),
    (RESIDENT, "/communities/a"), (RESIDENT, "/communities/a/book"), (RESIDENT, "/communities/a/visitors"),
    (RESIDENT, "/communities/a/vehicles"), (RESIDENT, "/communities/a/history"),
    (RESIDENT, "/communities/a/share/a-01"), (RESIDENT, "/account"),
    (RESIDENT, "/account/data"), (RESIDENT, "/account/e-mails"), (RESIDENT, "/communities/a/privacy"),
    (ADMIN, "/communities/a"), (ADMIN, "/communities/a/map"), (ADMIN, "/communities/a/passages"),
    (ADMIN, "/communities/a/stays"), (ADMIN, "/communities/a/reports"), (ADMIN, "/communities/a/reports?report=gates"),
    (ADMIN, "/communities/a/people"), (ADMIN, "/communities/a/people/accounts"), (ADMIN, "/communities/a/people/1"),
    (ADMIN, "/communities/a/spaces"), (ADMIN, "/communities/a/spaces/a-01"), (ADMIN, "/communities/a/gates"),
    (ADMIN, "/communities/a/transfer"), (ADMIN, "/communities/a/audit"),
    (ADMIN, "/communities/a/directions"), (ADMIN, "/communities/a/bars"),
    (ADMIN, "/communities/a/explain?plate=1234BCD&gate=main-in"), (ADMIN, "/communities/a/plates/1234BCD"),
    (ADMIN, "/communities/a/bookings"), (ADMIN, "/communities/a/visitor-passes"), (ADMIN, "/communities/a/webhooks"),
    (ADMIN, "/communities/a/waiting"), (RESIDENT, "/communities/a/calendar"), (RESIDENT, "/communities/a/own-space"),
    (ADMIN, "/communities/a/space-requests"), (ADMIN, "/communities/a/space-requests/spaces/a-02"),
    (ADMIN, "/communities/a/api-keys"), (ADMIN, "/communities/a/gates/main-in"),
    (ADMIN, "/communities/a/map/levels"), (ADMIN, "/communities/a/map/levels/1"),
    (ADMIN, "/communities/a/people/1/data"), (DESK, "/communities/a/offboard"),
    (ADMIN, "/communities/a/people/units"), (ADMIN, "/communities/a/people/units/1"),
    (DESK, "/"), (DESK, "/gateways"), (DESK, "/onboard"), (DESK, "/audit"), (DESK, "/messages"),
    (DESK, "/webhooks"),
]  # fmt: skip


def tomorrow(hour: int) -> str:
    day = datetime.now(MADRID).date() + timedelta(days=1)
    return f"{day.isoformat()}T{hour:02}:00"


async def violations(page: Page) -> list[str]:
    """Return what axe-core finds serious on a page once its transitions have ended."""
    # A tile that changes its colour has no pair of colours for 0.3 s that anybody chose.
    await page.evaluate("() => document.getAnimations().forEach((animation) => animation.finish())")
    # Evaluated by the browser's debugger: the page's policy lets no script in, not even this one.
    await page.evaluate(AXE)
    result = await page.evaluate("() => axe.run({resultTypes: ['violations']})")
    return [
        f"{found['id']}: {node['html'][:160]}"
        for found in result["violations"]
        if found["impact"] in BAD
        for node in found["nodes"]
    ]


async def test_every_main_page_serves_screen_readers_in_both_themes_and_fits_a_narrow_phone(
    people: People, subtests: pytest.Subtests
) -> None:
    pages: dict[str | None, Page] = {}
    for who, path in MAIN_PAGES:
        if who not in pages:
            options = {"viewport": {"width": 360, "height": 740}, "reduced_motion": "reduce"}
            pages[who] = await people.page(who, path, locale="es-ES", **options)
        page = pages[who]
        with subtests.test(f"{path} as {who}"):
            await page.goto(path)
            for theme in ("light", "dark"):
                await page.emulate_media(color_scheme=theme)
                assert await violations(page) == [], theme
            assert await page.evaluate("document.documentElement.lang") == "es"
            assert await page.locator("h1").count() == 1
            assert await too_wide(page) == []
            await page.set_viewport_size({"width": 1280, "height": 800})
            assert await violations(page) == [], "on a wide screen"
            await page.set_viewport_size({"width": 360, "height": 740})


async def too_wide(page: Page) -> list[str]:
    """Return what makes a page scroll sideways, nothing where it doesn't."""
    found: list[str] = await page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            ["the page", ...Array.from(document.querySelectorAll("main *")).filter(
                (item) => item.getBoundingClientRect().right > innerWidth + 1 && !item.closest(".scroll")
            ).slice(0, 5).map((item) => item.outerHTML.slice(0, 120))]"""
    )
    return found


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until something has the focus, and see that it shows it."""
    for _ in range(120):
        await page.keyboard.press("Tab")
        if await page.evaluate("(s) => document.activeElement.matches(s)", selector):
            shown = await page.evaluate(
                """() => {
                    const drawn = document.activeElement.querySelector("rect");
                    return drawn ? getComputedStyle(drawn).strokeWidth === "6px"
                        : getComputedStyle(document.activeElement).outlineStyle !== "none";
                }"""
            )
            assert shown, f"{selector} shows no focus"
            return
    pytest.fail(f"the keyboard does not reach {selector}")


async def test_what_these_tests_look_for_is_found_where_it_is(people: People) -> None:
    page = await people.page(None, "/sign-in", viewport={"width": 360, "height": 740})
    assert await violations(page) == []
    assert await too_wide(page) == []
    await page.evaluate(
        """() => {
            const picture = document.createElement("img");
            picture.width = 500;
            picture.height = 20;
            document.querySelector("main").append(picture);
        }"""
    )
    assert [found.partition(":")[0] for found in await violations(page)] == ["image-alt"]
    assert await too_wide(page) != []


async def test_a_resident_books_with_the_keyboard_alone(people: People) -> None:
    page = await people.page(RESIDENT, "/communities/a")
    keyboard = page.keyboard

    await tab_to(page, '.side a[href$="/book"]')
    await keyboard.press("Enter")
    await page.wait_for_url("**/book")
    await keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await keyboard.press("Enter")
    for name, moment in (("from", tomorrow(9)), ("until", tomorrow(11))):
        await tab_to(page, f"#{name}")
        # What its digits mean depends on the browser's language: the value is given, the way there is by keyboard.
        await page.evaluate("(value) => { document.activeElement.value = value; }", moment)
    await tab_to(page, '[data-testid="search-spaces"]')
    await keyboard.press("Enter")
    await page.wait_for_url("**/book?**")
    await tab_to(page, '[data-space-name="s-01"] button')
    await keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_contain_text("The space is booked.")
    await expect(page.locator('[data-testid="booking"][data-space-name="s-01"]')).to_have_count(1)


async def test_a_resident_shares_his_space_every_week_and_a_neighbour_sees_it(people: People) -> None:
    page = await people.page(RESIDENT, "/communities/a/share/a-01")
    await page.get_by_test_id("share-weekly").click()
    await expect(page.get_by_test_id("error-summary")).to_be_focused()
    await page.get_by_role("link", name="Choose at least one day.").click()
    await expect(page.locator("#day-0")).to_be_focused()
    for day in range(7):
        await page.locator(f"#day-{day}").check()
    await page.get_by_test_id("share-weekly").click()
    await expect(page.get_by_test_id("sharing")).to_contain_text("Monday, Tuesday")
    await page.get_by_test_id("sharing").get_by_role("button", name="Stop").click()
    await expect(page.get_by_test_id("sharing")).to_contain_text("You don't share this space.")


async def test_a_visitor_opens_his_link_on_a_phone(people: People) -> None:
    page = await people.page(RESIDENT, "/communities/a/visitors")
    await page.get_by_label("Who comes?").fill("Grandma")
    await page.get_by_label("With a visitors' space").check()
    await page.get_by_test_id("make-pass").click()
    link = await page.get_by_test_id("pass-link").locator("a").inner_text()
    phone = await people.page(None, link, viewport={"width": 390, "height": 844}, has_touch=True)
    await expect(phone.get_by_role("heading", level=1)).to_have_text("Community A")
    await expect(phone.get_by_text("v-01")).to_be_visible()
    assert await violations(phone) == []
    await phone.get_by_label("Your plate").fill("9876 zyx")
    await phone.get_by_test_id("say-plate").click()
    await expect(phone.get_by_test_id("visitor-plate")).to_have_text("9876 ZYX")
    await page.goto("/communities/a/visitors")
    await expect(page.get_by_test_id("pass")).to_contain_text("9876 ZYX")


async def test_an_administrator_searches_passages(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/passages")
    await expect(page.get_by_test_id("passage-row")).to_have_count(3)
    await page.get_by_label("Part of the plate").fill("56 78")
    await page.get_by_test_id("search-passages").click()
    await expect(page.get_by_test_id("passage-row")).to_have_count(1)
    await expect(page.get_by_test_id("passage-row")).to_contain_text("The barrier did not confirm")
    await page.get_by_label("Decision").select_option("denied")
    await page.get_by_test_id("search-passages").click()
    await expect(page.get_by_text("No passage matches.")).to_be_visible()


async def test_the_desk_opens_a_gate_and_a_second_press_sends_nothing(
    people: People, gateway: Callable[[str], httpx.AsyncClient], connected: None
) -> None:
    page = await people.page(DESK, "/communities/a")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    gate = page.locator('[data-testid="gate"][data-gate="main-in"]')
    await gate.locator("summary").click()
    await gate.get_by_label(re.compile("Why")).fill("removal van")
    await gate.get_by_role("button").dblclick(no_wait_after=True)
    notice = page.get_by_test_id("opening")
    await expect(notice).to_have_text("Main entry: asked to open, waiting for the gate…")
    assert sent.count("POST") == 1
    # The page says by itself what the gateway reports.
    command = page.url.rpartition("opening=")[2]
    async with gateway("gateway-a") as device:
        await report(device, command, opened=True, seq=5)
    await expect(notice).to_have_text("Main entry: the gate opened.")
    await expect(notice).to_have_attribute("data-state", "opened")
    await page.goto("/communities/a/audit")
    await expect(page.locator('[data-action="gate.open"]')).to_have_count(1)
    await expect(page.locator('[data-action="gate.open"]')).to_contain_text("removal van")


@pytest.mark.parametrize("path", ["/communities/a", "/communities/a/map"])
async def test_live_pages_follow_a_space_and_a_passage_in_the_reader_s_language(
    people: People, gateway: Callable[[str], httpx.AsyncClient], path: str
) -> None:
    page = await people.page(ADMIN, path, locale="es-ES")
    # Live is what a gateway sends now, not that the browser hears the server.
    await expect(page.get_by_test_id("live-status")).to_contain_text("Ninguna pasarela está conectada")
    beat = {"sent": int(time.time() * 1000), "version": "1", "backlog": 0, "access_list_version": 1}
    async with gateway("gateway-a") as client:
        assert (await client.post("/edge/v1/heartbeat", json=beat)).status_code == 200
    await expect(page.get_by_test_id("live-status")).to_contain_text("En directo")
    space = page.locator('[data-space="a-03"]')
    await expect(space).to_have_attribute("data-status", "unknown")
    now = int(time.time() * 1000)
    events = [
        {"type": "space_state", "seq": 5, "times": {"received": now}, "space": "a-03", "status": "occupied"},
        {
            "type": "passage", "seq": 6, "times": {"received": now}, "gate": "main-out", "direction": "exit",
            "plate": "7777NCW", "decision": "granted", "reason": "exact", "opened": False,
        },
    ]  # fmt: skip
    async with gateway("gateway-a") as client:
        await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
    await expect(space).to_have_attribute("data-status", "occupied")
    await expect(space).to_contain_text("Ocupada")
    if path.endswith("/a"):
        row = page.locator('[data-testid="passage-row"][data-plate="7777NCW"]')
        await expect(row).to_contain_text("La barrera no confirmó")
        await expect(row.locator(".plate")).to_have_text("7777 NCW")
        await expect(page.get_by_test_id("count-occupied")).to_have_text("2")
    assert await violations(page) == []


async def test_the_policy_refuses_a_script_and_a_style_that_somebody_smuggles_in(people: People) -> None:
    page = await people.page(None, "/sign-in")
    await page.evaluate(
        """() => {
            window.refused = [];
            const note = (event) => window.refused.push(event.effectiveDirective);
            document.addEventListener("securitypolicyviolation", note);
            document.body.insertAdjacentHTML("beforeend", "<b style='color: red' onclick='1'>x</b>");
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        }"""
    )
    await page.wait_for_function("window.refused.length >= 2")
    assert set(await page.evaluate("window.refused")) >= {"style-src-attr", "script-src-elem"}
    assert await page.evaluate("window.ran") is None
    people.seen.wrong.clear()
