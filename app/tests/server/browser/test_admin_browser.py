"""Administrators' and the desk's pages by keyboard alone: a space gets its place, a key is made, a community goes."""

import re

from page_people import People
from playwright.async_api import Page, expect
from test_browser import ADMIN, DESK, tab_to, too_wide, violations


async def enter(page: Page, fields: dict[str, str]) -> None:
    """Fill fields in their order, each reached by Tab."""
    for name, text in fields.items():
        await tab_to(page, f"#{name}")
        await page.keyboard.press("Control+A")
        await page.keyboard.type(text)


async def test_a_space_is_placed_moved_and_resized_with_the_keyboard_alone(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/map")
    await tab_to(page, 'a[href$="/map/levels"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/map/levels")
    await tab_to(page, '[data-level-name="P1"] a')
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/map/levels/\d+$"))
    await enter(page, {"width": "20", "height": "12"})
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_have_text("Saved.")
    for _ in range(2):
        # The place that is proposed for each space is beside the one before.
        await tab_to(page, '[data-testid="place-form"] button[value="save"]')
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("done")).to_contain_text("has its place")
    assert await page.get_by_test_id("map-space").evaluate_all("(all) => all.map((one) => one.dataset.space)") == [
        "a-01", "a-02",
    ]  # fmt: skip
    await tab_to(page, 'svg a[href*="space=a-02"]')
    await page.keyboard.press("Enter")
    await expect(page.locator("#place-title")).to_have_text("Place of a-02")
    await enter(page, {"x": "18", "y": "5", "w": "3"})
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("error-summary")).to_be_focused()
    await enter(page, {"x": "12.5"})
    await tab_to(page, 'button[value="preview"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("previewed")).to_be_visible()
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await violations(page) == [], theme
    await tab_to(page, '[data-testid="place-form"] button[value="save"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_contain_text("has its place")
    drawn = page.locator('[data-space="a-02"] rect')
    assert [await drawn.get_attribute(name) for name in ("x", "y", "width", "height")] == [
        "453.0", "183.0", "102.0", "174.0",
    ]  # fmt: skip
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await too_wide(page) == []
    assert await violations(page) == []


async def test_a_key_and_a_lane_are_made_with_the_keyboard_alone(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/api-keys")
    await enter(page, {"name": "Doorbell"})
    await tab_to(page, "#role")
    await page.keyboard.press("m")
    await tab_to(page, ".form button.primary")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("key-made")).to_contain_text("pmk_")
    assert "pmk_" not in page.url
    assert await violations(page) == []
    await page.goto("/communities/a/gates/main-in")
    await enter(page, {"lane_name": "left", "cameras": "cam-main-in"})
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("lane")).to_contain_text("cam-main-in")
    await tab_to(page, '[data-lane="left"] a')
    await page.keyboard.press("Enter")
    await expect(page.locator("#lane-title")).to_have_text("Change left")
    assert await violations(page) == []


async def test_a_unit_of_many_is_chosen_by_its_name(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/people")
    await page.get_by_label("E-mail", exact=True).fill("new@a.example")
    await page.get_by_label("Unit", exact=True).fill("7Z")
    await page.get_by_role("button", name="Make an invitation").click()
    await expect(page.get_by_test_id("error-summary")).to_contain_text("No unit is called 7Z.")
    assert await violations(page) == []
    await page.get_by_role("link", name="No unit is called 7Z.").click()
    await expect(page.get_by_label("Unit", exact=True)).to_be_focused()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("2b")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("invitation-link")).to_be_visible()


async def test_a_unit_of_thousands_is_searched_while_one_types_and_made_where_there_is_none(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/transfer")
    await page.get_by_label("List").select_option("units")
    await page.get_by_text("Paste lines instead").click()
    await page.get_by_label("Lines of the file").fill("name\n" + "".join(f"T{n:03}\n" for n in range(120)))
    await page.get_by_test_id("try-import").click()
    await page.get_by_test_id("apply-import").click()
    await page.goto("/communities/a/people")
    unit = page.get_by_label("Unit", exact=True)
    suggested = page.locator("#units option")
    await expect(suggested).to_have_count(0)
    await unit.press_sequentially("T11")
    await expect(suggested).to_have_count(10)
    await expect(suggested.first).to_have_attribute("value", "T110")
    await unit.press_sequentially("9")
    await expect(suggested).to_have_count(1)
    await unit.fill("T777")
    await page.get_by_label("E-mail", exact=True).fill("new@a.example")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("make-unit")).to_have_text("Make unit T777 and invite")
    assert await violations(page) == []
    await page.get_by_test_id("make-unit").click()
    await expect(page.get_by_test_id("invitation-link")).to_be_visible()


async def test_the_desk_lets_a_community_go_and_has_it_deleted_with_the_keyboard_alone(people: People) -> None:
    page = await people.page(DESK, "/")
    await tab_to(page, '[data-community="b"] a[href$="/offboard"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/offboard")
    await enter(page, {"reason": "contract ended", "confirm": "b"})
    await tab_to(page, "button.danger")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_have_text("The community is offboarded.")
    assert await violations(page) == []
    await enter(page, {"confirm": "b"})
    await tab_to(page, "button.danger")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("deletion-due")).to_be_visible()
    for width in (360, 1280):
        await page.set_viewport_size({"width": width, "height": 740})
        assert await violations(page) == []
        assert await too_wide(page) == []


async def test_a_file_of_a_spanish_spreadsheet_is_looked_at_and_imported(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/transfer", locale="es-ES")
    table = "Correo electrónico;Nombre;Vivienda\r\nbego@a.example;Begoña;Ático\r\n".encode("cp1252")
    for made in (False, True):
        await page.locator("#kind").select_option("residents")
        await page.locator("#file").set_input_files({"name": "gente.csv", "mimeType": "text/csv", "buffer": table})
        await page.locator("#make_units").set_checked(made)
        await page.get_by_test_id("try-import").click()
        await expect(page.get_by_test_id("import-report")).to_contain_text("Ático")
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await too_wide(page) == []
        for theme in ("light", "dark"):
            await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            assert await violations(page) == [], theme
    await expect(page.get_by_test_id("encoding-sample")).to_contain_text("Begoña")
    await tab_to(page, '[data-testid="apply-import"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/transfer?done=imported")
    await page.goto("/communities/a/people?q=bego")
    await expect(page.get_by_test_id("resident")).to_contain_text("Begoña")
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Exportar", exact=True).click()
    download = await started.value
    lines = (await download.path()).read_text("utf-8-sig").splitlines()
    assert lines[0] == "número;correo electrónico;nombre;vivienda;permiso;activo"
    assert [line.split(";")[1:4] for line in lines[1:]] == [["bego@a.example", "Begoña", "Ático"]]


async def test_a_row_of_spaces_is_looked_at_and_saved_with_the_keyboard_alone(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/map/levels")
    await page.locator('[data-level-name="P1"] a').first.click()
    await enter(page, {"width": "20", "height": "12"})
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_be_visible()
    await tab_to(page, '[data-testid="row"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/row")
    await enter(page, {"first": "a-01", "count": "6"})
    await tab_to(page, 'button[value="preview"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("previewed")).to_be_visible()
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await violations(page) == [], theme
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await too_wide(page) == []
    await tab_to(page, 'button[value="save"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_be_visible()
    assert await page.get_by_test_id("map-space").count() == 6


async def test_places_are_copied_to_another_level_with_the_keyboard_alone(people: People) -> None:
    page = await people.page(ADMIN, "/communities/a/map/levels")
    await page.locator("#name").fill("P2")
    await page.locator("#name").press("Enter")
    await expect(page.get_by_test_id("done")).to_be_visible()
    await page.goto("/communities/a/map/levels")
    await page.locator('[data-level-name="P1"] a').first.click()
    await page.get_by_test_id("row").click()
    await page.locator("#first").fill("a-01")
    await page.locator("#first").press("Enter")
    await expect(page.get_by_test_id("done")).to_be_visible()
    await tab_to(page, '[data-testid="arrange"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/arrange")
    for number in (1, 3):
        await tab_to(page, f"#space-{number}")
        await page.keyboard.press("Space")
    await enter(page, {"first": "p2-01"})
    await tab_to(page, "#to_level")
    await page.keyboard.type("P2")
    await tab_to(page, "#create")
    await page.keyboard.press("Space")
    await tab_to(page, 'button[value="preview"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("previewed")).to_contain_text("2 spaces would be new")
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await violations(page) == [], theme
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await too_wide(page) == []
    await tab_to(page, 'button[value="save"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("done")).to_be_visible()
    drawn = page.get_by_test_id("map-space")
    assert [await drawn.nth(index).get_attribute("data-space") for index in range(2)] == ["p2-01", "p2-03"]
