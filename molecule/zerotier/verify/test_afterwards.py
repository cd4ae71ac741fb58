"""On a host whose node left: its identity goes when that is asked for, and the host can become an image."""

from typing import Any

HOME = "/var/lib/zerotier-one"


def test_the_identity_stays_until_its_removal_is_asked_for(scenario: Any) -> None:
    assert scenario.host.file(f"{HOME}/identity.secret").exists
    assert not scenario.host.file(f"{HOME}/local.conf").exists
    scenario.play(zerotier_state="absent", zerotier_remove_identity=True)
    assert not scenario.host.file(HOME).exists


def test_an_image_has_package_settings_and_roots_and_no_identity(scenario: Any) -> None:
    moon = scenario.folder / "root.moon"
    moon.write_bytes(b"\x7f a root")
    roots = [{"id": "0000001234567890", "file": str(moon)}]
    scenario.play(zerotier_image=True, zerotier_moons=roots)
    host = scenario.host
    assert host.package("zerotier-one").is_installed
    assert host.file(f"{HOME}/moons.d/0000001234567890.moon").content == moon.read_bytes()
    assert host.file(f"{HOME}/local.conf").exists
    scenario.play(zerotier_state="absent", zerotier_moons=roots)
    assert not host.file(f"{HOME}/moons.d/0000001234567890.moon").exists
