"""On a host that is a controller no more: what makes a controller stays, until its removal is asked for."""

from typing import Any

HOME = "/var/lib/zerotier-one"


def test_networks_identity_and_signing_key_stay_and_the_token_goes(scenario: Any) -> None:
    left = {path for path in scenario.files() if path.startswith(HOME)}
    assert {f"{HOME}/identity.secret", f"{HOME}/moon.json"} <= left
    assert [path for path in left if path.startswith(f"{HOME}/controller.d/network/")]
    assert not {path for path in left if path.endswith(("authtoken.secret", "local.conf", ".moon"))}
    assert list((scenario.folder / "moons").iterdir()) == []


def test_they_go_when_that_is_asked_for(scenario: Any) -> None:
    scenario.play(zerotier_controller_state="absent", zerotier_controller_remove_networks=True)
    assert not scenario.host.file(HOME).exists
