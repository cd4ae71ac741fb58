"""``parkmesh admin apply``: idempotent, all or nothing, never deletes, and errors that name their place."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from parkmesh.server.communities import desired
from parkmesh.server.communities.desired import DocumentError
from parkmesh.server.identity import passwords
from running_server import Database
from two_communities import PASSWORD, apply, document, rows

Command = Callable[..., subprocess.CompletedProcess[str]]


async def test_a_second_run_changes_nothing(db: Database, password_file: Path) -> None:
    first = await apply(db.owner, document(password_file))
    assert "community/a/gate/main-in" in first.created
    assert "community/a/credential/1234BCD" in first.created
    second = await apply(db.owner, document(password_file))
    assert (second.created, second.updated) == ([], [])


async def test_the_application_may_apply_it_too(db: Database) -> None:
    assert (await apply(db.app, document())).changed
    assert not (await apply(db.app, document())).changed


async def test_what_differs_is_updated_and_named(filled: Database, owner: Any) -> None:
    wish = document()
    wish["communities"][0]["title"] = "Los Olivos"
    wish["communities"][0]["gates"][0]["title"] = "North entry"
    wish["communities"][1]["residents"][0]["plates"].append("9999ZZZ")
    done = await apply(filled.owner, wish)
    assert done.updated == ["community/a", "community/a/gate/main-in"]
    assert done.created == ["community/b/credential/9999ZZZ"]
    assert (await rows(owner, "a", "SELECT title FROM gate WHERE community_id = $1 ORDER BY id"))[0] == {
        "title": "North entry"
    }


async def test_absent_keys_keep_what_is_there_and_nothing_is_deleted(filled: Database, owner: Any) -> None:
    done = await apply(filled.owner, {"communities": [{"name": "a", "gates": [{"name": "main-in"}]}], "users": []})
    assert not done.changed
    assert len(await rows(owner, "a", "SELECT FROM gate WHERE community_id = $1")) == 2
    assert (await rows(owner, "a", "SELECT title FROM community WHERE id = $1"))[0] == {"title": "Community A"}


async def test_a_revoked_plate_stays_revoked(filled: Database, owner: Any) -> None:
    await rows(owner, "a", "UPDATE credential SET status = 'revoked' WHERE community_id = $1")
    assert not (await apply(filled.owner, document())).changed
    status = await rows(owner, "a", "SELECT DISTINCT status FROM credential WHERE community_id = $1")
    assert status == [{"status": "revoked"}]


async def test_plates_and_addresses_are_stored_in_one_spelling(filled: Database, owner: Any) -> None:
    wish = {
        "communities": [
            {"name": "a", "residents": [{"email": "RESIDENT@a.example", "plates": [" 1234-bcd", "m 1 ab"]}]}
        ]
    }
    assert (await apply(filled.owner, wish)).created == ["community/a/credential/M1AB"]


@pytest.fixture
def new_password_file(tmp_path: Path) -> str:
    file = tmp_path / "new-password"
    file.write_text("another password")
    return str(file)


async def test_a_new_password_ends_the_sessions(filled: Database, owner: Any, new_password_file: str) -> None:
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    user = await owner.fetchval("SELECT id FROM app_user WHERE email = 'desk@parkmesh.example'")
    await owner.execute(
        "INSERT INTO web_session VALUES ($1, $2, now(), now(), now() + interval '1 d')", b"x" * 32, user
    )
    wish = {"users": [{"email": "desk@parkmesh.example", "password_file": new_password_file}]}
    assert (await apply(filled.owner, wish)).updated == ["user/desk@parkmesh.example"]
    assert await owner.fetchval("SELECT revoked_at IS NOT NULL FROM web_session")
    stored = await owner.fetchval("SELECT password_hash FROM app_user WHERE id = $1", user)
    assert stored.startswith("$argon2id$")
    assert passwords.matches(stored, "another password")
    assert not passwords.matches(stored, PASSWORD)


def _broken(change: Callable[[dict[str, Any]], object]) -> bytes:
    wish = copy.deepcopy(document())
    change(wish)
    return json.dumps(wish).encode()


BROKEN_DOCUMENTS = {
    "not JSON": (b"{", "$"),
    "not text": (b"\xff\xfe", "$"),
    "not an object": (b"[]", "$"),
    "an unknown key": (_broken(lambda d: d.update(gates=[])), "$"),
    "an upper case name": (_broken(lambda d: d["communities"][0].update(name="A")), "$.communities[0].name"),
    "a wrong type": (_broken(lambda d: d["communities"][0].update(gates=7)), "$.communities[0].gates"),
    "an unknown direction": (
        _broken(lambda d: d["communities"][0]["gates"][0].update(direction="up")),
        "$.communities[0].gates[0].direction",
    ),
    "a time zone of nowhere": (
        _broken(lambda d: d["communities"][1].update(time_zone="Mars/Base")),
        "$.communities[1].time_zone",
    ),
    "a time zone that leaves its folder": (
        _broken(lambda d: d["communities"][1].update(time_zone="../../etc/passwd")),
        "$.communities[1].time_zone",
    ),
    "a plate that is none": (
        _broken(lambda d: d["communities"][0]["residents"][1].update(plates=["??"])),
        "$.communities[0].residents[1].plates[0]",
    ),
    "a plate twice": (
        _broken(lambda d: d["communities"][0]["residents"][1].update(plates=["1A B", "1ab"])),
        "$.communities[0].residents[1].plates[1]",
    ),
    "a gate twice": (
        _broken(lambda d: d["communities"][0]["gates"].append(d["communities"][0]["gates"][0])),
        "$.communities[0].gates[2]",
    ),
    "a token twice": (
        _broken(lambda d: d["communities"][1].update(gateways=d["communities"][0]["gateways"])),
        "$.communities[1].gateways[0].token_sha256",
    ),
    "a token that is no hash": (
        _broken(lambda d: d["communities"][0]["gateways"][0].update(token_sha256="secret")),
        "$.communities[0].gateways[0].token_sha256",
    ),
    "a NUL in a title": (
        _broken(lambda d: d["communities"][0].update(title="a\0b")),
        "$.communities[0].title",
    ),
    "an administrator of nothing": (_broken(lambda d: d["users"][1].pop("community")), "$.users[1]"),
    "an operator of a community": (
        _broken(lambda d: d["users"][0].update(community="a")),
        "$.users[0].community",
    ),
}


@pytest.mark.parametrize("case", BROKEN_DOCUMENTS)
def test_a_broken_document_names_the_place(case: str) -> None:
    text, path = BROKEN_DOCUMENTS[case]
    with pytest.raises(DocumentError) as caught:
        desired.parse(text)
    assert str(caught.value).startswith(path + ":")
    assert "\n" not in str(caught.value)


NOT_APPLICABLE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a new community without a title": (
        lambda d: d["communities"].append({"name": "c", "time_zone": "UTC"}),
        "$.communities[2]: ",
    ),
    "a new gateway without a token": (
        lambda d: d["communities"][1]["gateways"].append({"name": "second"}),
        "$.communities[1].gateways[1]: ",
    ),
    "a member of no community": (lambda d: d["users"][3].update(community="c"), "$.users[3].community: "),
    "a password file that isn't there": (
        lambda d: d["users"][0].update(password_file="/nonexistent"),
        "$.users[0].password_file: /nonexistent: ",
    ),
    "a new user without a role": (lambda d: d["users"].append({"email": "x@y.example"}), "$.users[5]: "),
}


@pytest.mark.parametrize("case", NOT_APPLICABLE)
async def test_what_can_not_be_applied_leaves_nothing_behind(db: Database, case: str) -> None:
    change, path = NOT_APPLICABLE[case]
    wish = document()
    change(wish)
    with pytest.raises(DocumentError) as caught:
        await apply(db.owner, wish)
    assert str(caught.value).startswith(path)
    connection = await asyncpg.connect(db.owner)
    await connection.execute("SELECT set_config('parkmesh.scope', 'provision', false)")
    assert await connection.fetchval("SELECT count(*) FROM community") == 0
    assert await connection.fetchval("SELECT count(*) FROM app_user") == 0
    await connection.close()


async def test_a_token_of_another_community_is_refused(filled: Database) -> None:
    wish = document()
    stolen = wish["communities"][0]["gateways"][0]["token_sha256"]
    with pytest.raises(DocumentError, match=r"^\$\.communities\[0\]\.gateways\[0\]\.token_sha256"):
        await apply(
            filled.owner,
            {"communities": [{"name": "b", "gateways": [{"name": "gateway-b", "token_sha256": stolen}]}]},
        )


def test_the_command_reads_standard_input_and_prints_json(db: Database, parkmesh: Command) -> None:
    done = parkmesh("admin", "apply", "--file", "-", stdin=json.dumps(document()), PARKMESH_DATABASE_URL=db.owner)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"changed", "created", "updated"}
    broken = parkmesh("admin", "apply", "--file", "-", stdin='{"users": 1}', PARKMESH_DATABASE_URL=db.owner)
    assert broken.returncode == 2
    assert "$.users" in broken.stderr
    assert len(broken.stderr.strip().splitlines()) == 1
