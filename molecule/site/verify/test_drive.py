"""A car drives through, watched on the dashboard by a person: the reason for all of it."""

import os
from pathlib import Path

from playwright.sync_api import Page, expect
from running_lab import STATE, Lab, eventually

RESIDENT, UNKNOWN = "1234BCD", "7777ZZZ"


def open_live_page(page: Page, lab: Lab, community: str) -> None:
    page.goto(f"{lab.url}/communities/{community}")
    # Only what arrives from now on by the stream proves that the page is live.
    expect(page.get_by_test_id("live-status")).to_contain_text("Live", timeout=15_000)


def test_a_resident_s_car_opens_the_gate_and_is_seen_live(lab: Lab, desk: Page) -> None:
    open_live_page(desk, lab, "a")
    rows = desk.locator(f'[data-testid="passage-row"][data-plate="{RESIDENT}"][data-decision="granted"]')
    before = rows.count()
    done = lab.simulate("devices-a", "car", RESIDENT, "--expect", "opened")
    assert done.returncode == 0, done.stdout + done.stderr
    expect(rows).to_have_count(before + 1, timeout=10_000)


def test_an_unknown_plate_is_refused_and_shown_as_refused(lab: Lab, desk: Page) -> None:
    open_live_page(desk, lab, "a")
    rows = desk.locator(f'[data-testid="passage-row"][data-plate="{UNKNOWN}"][data-decision="denied"]')
    before = rows.count()
    done = lab.simulate("devices-a", "car", UNKNOWN, "--expect", "closed")
    assert done.returncode == 0, done.stdout + done.stderr
    expect(rows).to_have_count(before + 1, timeout=10_000)
    assert desk.locator(f'[data-plate="{UNKNOWN}"][data-decision="granted"]').count() == 0


def test_a_sensor_s_uplink_turns_its_space_occupied_and_free_again(lab: Lab, desk: Page) -> None:
    open_live_page(desk, lab, "a")
    for state in ("occupied", "free"):
        done = lab.simulate("devices-a", "sensor", "a-01", state)
        assert done.returncode == 0, done.stdout + done.stderr
        tile = desk.locator(f'[data-testid="space-tile"][data-space="a-01"][data-status="{state}"]')
        expect(tile).to_have_count(1, timeout=10_000)


def test_a_car_of_another_community_is_refused_here_and_not_shown_there(lab: Lab, desk: Page) -> None:
    done = lab.simulate("devices-b", "car", RESIDENT, "--expect", "closed")
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: lab.gateway_status("gateway-b")["backlog"] == 0, 15, "gateway-b has delivered")
    desk.goto(f"{lab.url}/communities/b")
    expect(
        desk.locator(f'[data-testid="passage-row"][data-plate="{RESIDENT}"][data-decision="denied"]')
    ).not_to_have_count(0)
    assert desk.locator('[data-testid="passage-row"][data-decision="granted"]').count() == 0


def test_a_revoked_plate_is_refused_within_five_seconds(lab: Lab, desk: Page) -> None:
    plate = "5678FGH"
    assert lab.simulate("devices-a", "car", plate, "--expect", "opened").returncode == 0
    token = desk.locator('meta[name="csrf-token"], input[name="csrf_token"]').first
    headers = {"X-CSRF-Token": token.get_attribute("content") or token.get_attribute("value") or ""}
    try:
        answer = desk.request.put(
            f"{lab.url}/api/v1/communities/a/credentials/{plate}", data={"status": "revoked"}, headers=headers
        )
        assert answer.ok, answer.text()
        version = eventually(
            lambda: lab.gateway_status("gateway-a")["access_list_version"], 5, "gateway-a holds a list"
        )
        assert version
        eventually(
            lambda: lab.simulate("devices-a", "car", plate, "--expect", "closed").returncode == 0,
            5,
            "the revoked plate is refused",
        )
    finally:
        answer = desk.request.put(
            f"{lab.url}/api/v1/communities/a/credentials/{plate}", data={"status": "active"}, headers=headers
        )
        assert answer.ok, answer.text()


def test_the_live_page_looks_as_it_should(lab: Lab, desk: Page) -> None:
    """Leave a picture of the page for a person to look at, and see that its parts are there."""
    open_live_page(desk, lab, "a")
    folder = Path(os.environ.get("PARKMESH_TEST_RESULTS", STATE))
    desk.screenshot(path=folder / "dashboard.png", full_page=True)
    expect(desk.get_by_test_id("space-tile")).to_have_count(8)
    expect(desk.get_by_role("heading", level=1)).to_contain_text("Jacaranda Court")
