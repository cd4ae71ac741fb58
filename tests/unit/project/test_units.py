"""systemd gives up what waits for a unit as soon as one try of it fails, even where the unit itself tries again."""

import re
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"


def values(text: str, key: str) -> list[str]:
    return [word for line in re.findall(rf"^{key}=(.*)$", text, re.MULTILINE) for word in line.split()]


def unit_texts() -> dict[str, str]:
    """Every unit of the roles with what drop-in files add to it."""
    texts = {path.name.removesuffix(".j2"): path.read_text() for path in ROLES.glob("*/templates/*.service.j2")}
    for path in ROLES.glob("*/templates/*.conf.j2"):
        if "[Unit]" in path.read_text():
            name = path.name.removesuffix(".conf.j2") + ".service"
            texts[name] = texts.get(name, "") + path.read_text()
    return texts


UNITS = unit_texts()
REQUIRED = {unit for text in UNITS.values() for unit in values(text, "Requires")}
RETRYING = sorted(
    name
    for name, text in UNITS.items()
    if name in REQUIRED and {"Type=oneshot", "Restart=on-failure"} <= set(text.split())
)


def test_there_are_units_that_try_again() -> None:
    assert RETRYING == ["parkmesh-instance.service", "parkmesh-migrate.service", "parkmesh-overlay.service"]


@pytest.mark.parametrize("name", RETRYING)
def test_a_unit_that_tries_again_starts_whatever_requires_it(name: str) -> None:
    started = [word for word in values(UNITS[name], "ExecStartPost") if word.endswith(".service")]
    reached: set[str] = set()
    while started:
        unit = started.pop()
        reached.add(unit)
        started += [other for other in values(UNITS[unit], "Requires") if other != name and other not in reached]
    waiting = {unit for unit, text in UNITS.items() if name in values(text, "Requires")}
    assert waiting
    assert waiting <= reached


def test_a_server_without_an_overlay_slot_serves_people() -> None:
    waits = {key: values(UNITS["parkmesh-server.service"], key) for key in ("Requires", "After")}
    needed = {*waits["Requires"], *waits["After"]}
    while more := {unit for name in needed for unit in values(UNITS.get(name, ""), "Requires")} - needed:
        needed |= more
    assert "parkmesh-migrate.service" in needed
    assert not needed & {"parkmesh-overlay.service", "zerotier-one.service"}
    assert values(UNITS["zerotier-one.service"], "Requires") == ["parkmesh-overlay.service"]
