"""What onboarding asks of the application: an administrator's invitation, plates for a test, and their passages."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
from running_server import Database
from two_communities import apply, rows

EMAIL = "new@a.example"


@pytest.fixture
def admin(filled: Database, parkmesh: Callable[..., CompletedProcess[str]]) -> Callable[..., Any]:
    """Return a function that runs ``parkmesh admin`` as on a server, with the application's own rights."""

    def run(*arguments: str, code: int = 0) -> Any:
        done = parkmesh(
            "admin",
            *arguments,
            PARKMESH_DATABASE_URL=filled.app,
            PARKMESH_SESSION_SECRET="s" * 40,
            PARKMESH_PUBLIC_URL="https://parking.example",
        )
        assert done.returncode == code, done.stderr
        return done.stderr if code else json.loads(done.stdout)

    return run


async def test_an_invitation_is_made_once_and_again_only_when_asked_for(admin: Any, owner: Any) -> None:
    made = admin("invite", "--community=a", f"--email={EMAIL.upper()}")
    assert (made["changed"], made["state"], made["email"]) == (True, "made", EMAIL)
    assert made["link"].startswith("https://parking.example/join/")
    waiting = admin("invite", "--community=a", f"--email={EMAIL}")
    assert (waiting["changed"], waiting["state"], waiting["link"]) == (False, "pending", None)
    again = admin("invite", "--community=a", f"--email={EMAIL}", "--again")
    assert again["changed"]
    assert again["link"] not in (None, made["link"])
    kept = await rows(owner, "a", "SELECT role, by_desk FROM invitation WHERE community_id = $1")
    assert kept == [{"role": "administrator", "by_desk": True}]
    trail = await rows(
        owner,
        "a",
        "SELECT actor, action FROM audit_entry WHERE community_id = $1 AND action ~ '^invitation' ORDER BY id",
    )
    assert [tuple(entry.values()) for entry in trail] == [
        ("system:admin", "invitation.create"),
        ("system:admin", "invitation.resend"),
    ]


async def test_a_member_gets_no_invitation(admin: Any) -> None:
    assert admin("invite", "--community=a", "--email=administrator@a.example")["state"] == "member"
    assert "there is no community nowhere" in admin("invite", "--community=nowhere", f"--email={EMAIL}", code=1)


async def test_test_plates_open_the_gates_of_one_community_for_some_minutes(admin: Any, owner: Any) -> None:
    made = admin("test-plates", "--community=a", "--count=3", "--minutes=5")
    assert len(set(made["plates"])) == 3
    query = """
        SELECT plate, valid_until - now() BETWEEN '4 min' AND '5 min' AS soon, resident_id, label FROM credential
        WHERE community_id = $1 AND plate ~ '^TEST' ORDER BY id
    """
    kept = [tuple(row.values()) for row in await rows(owner, "a", query)]
    assert kept == [(plate, True, None, "Test of the gates") for plate in made["plates"]]
    assert await rows(owner, "b", query) == []
    assert admin("test-passages", "--community=a", f"--plate={made['plates'][0]}", "--within=0") == []


async def test_rules_of_the_document_are_those_that_a_community_begins_with(filled: Database, owner: Any) -> None:
    new = {"name": "c", "title": "C", "time_zone": "Europe/Madrid", "rules": {"entry_hold_s": 7}}
    query = "SELECT entry_hold_s, refusal_hold_s FROM community_rules WHERE community_id = $1"
    assert (await apply(filled.owner, {"communities": [new], "users": []})).created == ["community/c"]
    assert await rows(owner, "c", query) == [{"entry_hold_s": 7, "refusal_hold_s": 5}]
    again = await apply(filled.owner, {"communities": [{**new, "rules": {"entry_hold_s": 9}}], "users": []})
    assert not again.changed
    assert await rows(owner, "c", query) == [{"entry_hold_s": 7, "refusal_hold_s": 5}]


async def test_a_rule_out_of_its_bounds_is_refused(filled: Database) -> None:
    new = {"name": "c", "title": "C", "time_zone": "Europe/Madrid", "rules": {"entry_hold_s": 700}}
    with pytest.raises(ValueError, match=r"communities\[0\]\.rules\.entry_hold_s"):
        await apply(filled.owner, {"communities": [new], "users": []})
