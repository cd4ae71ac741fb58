"""Mails: through the outbox to a real SMTP server, with what they say, retries, and what could not be sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from mailbox import SENDER, Mailbox, html, mailbox, text
from typing import Any

import httpx
import pytest
from page_visitor import alerts, visiting
from parkmesh.domain import retries
from parkmesh.server.db import database
from parkmesh.server.mail import contents
from parkmesh.server.mail.worker import MailWorker
from parkmesh.server.outbox import messages
from parkmesh.server.people import invitations
from parkmesh.server.settings import MailSettings, SettingError, from_environment, mail_settings
from running_server import Database, Server
from two_communities import PASSWORD, rows

SECRET = "a secret of the servers"
SITE = "https://parking.example"
A = "/communities/a"
ADMIN, RESIDENT, DESK = "administrator@a.example", "resident@a.example", "desk@parkmesh.example"


@pytest.fixture
async def pool(filled: Database) -> AsyncIterator[database.Pool]:
    async with database.create_pool(filled.app, "test", 2) as made:
        yield made


@pytest.fixture
def worker(pool: database.Pool, box: Mailbox) -> MailWorker:
    environment = {**box.settings, "PARKMESH_MAIL_REPLY_TO": "help@x.example"}
    return MailWorker(pool, mail_settings(environment), SITE, SECRET)


def smtp(url: str, **more: str) -> MailSettings | None:
    return mail_settings({"PARKMESH_SMTP_URL": url, "PARKMESH_MAIL_FROM": SENDER} | more)


async def put(owner: Any, recipient: str = "eva@home.example", **payload: Any) -> None:
    """Put an invitation's mail into the outbox, as its transaction would."""
    (place,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    values = {
        "community": "Los Ólivos <1>", "until": "2026-12-01T10:00:00+00:00", "zone": "Europe/Madrid", "token": "TOKEN",
        "code": "ABCDE-23456",
    }  # fmt: skip
    async with owner.transaction():
        await database.set_community(owner, place["id"])
        await messages.mail(owner, place["id"], invitations.MAIL, [messages.Mail(recipient, "es", values | payload)])


async def state(owner: Any) -> list[dict[str, Any]]:
    return await rows(
        owner,
        "a",
        """
        SELECT attempts, last_error, delivered_at IS NOT NULL AS delivered, dead_at IS NOT NULL AS dead,
               payload::text AS payload, due_at - clock_timestamp() AS wait
        FROM message WHERE community_id = $1 ORDER BY id
        """,
    )


async def sign_in(server: Server, email: str) -> httpx.AsyncClient:
    client = httpx.AsyncClient(base_url=server.web, timeout=20)
    answer = await client.post("/api/v1/sessions", json={"email": email, "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    return client


async def test_an_invitation_is_mailed_and_its_link_opens(mailing: Server, box: Mailbox, owner: Any) -> None:
    async with visiting(mailing.web, ADMIN) as admin:
        page = await admin.send(
            f"{A}/people/invite", of=f"{A}/people", email="eva@home.example", role="resident", unit=""
        )
        assert "on its way to eva@home.example" in page.text
    (mail,) = await box.received(1)
    assert (mail["To"], mail["From"], mail["Subject"]) == ("eva@home.example", SENDER, "Invitation to Community A")
    assert (mail["Auto-Submitted"], mail["Content-Language"]) == ("auto-generated", "en")
    link = re.search(r"http://park\.test(/join/\S+)", text(mail))
    assert link
    assert f'href="http://park.test{link[1]}"' in html(mail)
    assert "Set up" not in text(mail)
    async with visiting(mailing.web) as guest:
        assert "You are invited to" in (await guest.get(link[1])).text
    (row,) = await state(owner)
    assert (row["delivered"], row["dead"], row["payload"]) == (True, False, "{}")


async def test_a_mail_speaks_its_reader_s_language_and_escapes_what_it_holds(
    worker: MailWorker, box: Mailbox, owner: Any
) -> None:
    await put(owner)
    await worker.send_due()
    (mail,) = box.mails
    assert mail["Subject"] == "Invitación a Los Ólivos <1>"
    assert mail["Reply-To"] == "help@x.example"
    assert "Los Ólivos <1> le invita" in text(mail)
    assert "Los Ólivos &lt;1&gt; le invita" in html(mail)
    assert f"{SITE}/join/TOKEN" in text(mail)
    assert "ABCDE-23456" in text(mail)
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    (row,) = await rows(owner, "a", "SELECT event_id FROM message WHERE community_id = $1")
    assert mail["Message-ID"] == f"<{row['event_id']}@service.example>"


async def test_messages_are_in_the_language_that_the_reader_chose(mailing: Server, box: Mailbox, owner: Any) -> None:
    async with visiting(mailing.web, RESIDENT) as resident:
        assert (await resident.send("/language", of=A, language="es")).status_code == 303
    await ask_for_link(mailing, RESIDENT)
    assert (await box.received(1))[0]["Subject"] == "Su contraseña nueva"
    # Without a choice it is the community's.
    async with owner.transaction():
        await database.set_scope(owner, "provision")
        await owner.execute("UPDATE community SET language = 'es' WHERE name = 'a'")
    admin = await sign_in(mailing, ADMIN)
    await admin.post(f"/api/v1{A}/invitations", json={"email": "eva@home.example"})
    await admin.aclose()
    assert (await box.received(2))[1]["Subject"] == "Invitación a Community A"


@pytest.mark.parametrize("title", ["Los Olivos\r\nBcc: all@x.example", "Los Olivos\nX: y"])
async def test_no_text_adds_a_header(worker: MailWorker, box: Mailbox, owner: Any, title: str) -> None:
    await put(owner, community=title)
    await worker.send_due()
    (mail,) = box.mails
    assert (mail["Bcc"], mail["X"]) == (None, None)


async def test_a_mail_that_is_refused_for_now_is_sent_later_with_the_same_id(
    worker: MailWorker, box: Mailbox, owner: Any
) -> None:
    await put(owner)
    box.answers = ["451 try later", "451 try later"]
    await worker.send_due()
    (row,) = await state(owner)
    assert (row["attempts"], row["last_error"], row["delivered"], row["dead"]) == (1, "451 try later", False, False)
    assert timedelta(seconds=3) < row["wait"] <= retries.WAITS[0]
    await worker.send_due()
    assert len(box.answers) == 1, "not due yet"
    for _ in range(2):
        await rows(owner, "a", "UPDATE message SET due_at = now() WHERE community_id = $1 RETURNING id")
        await worker.send_due()
    (row,) = await state(owner)
    assert (row["attempts"], row["last_error"], row["delivered"]) == (3, None, True)


@pytest.mark.parametrize(
    ("recipient", "answers", "error"),
    [("nobody@home.example", [], "550 no such mailbox"), ("eva@home.example", ["554 spam"], "554 spam")],
)
async def test_a_mail_that_is_refused_for_good_is_given_up_with_its_secret(
    worker: MailWorker, box: Mailbox, owner: Any, recipient: str, answers: list[str], error: str
) -> None:
    box.answers = answers
    await put(owner, recipient)
    await put(owner, "luis@home.example")
    await worker.send_due()
    dead, sent = await state(owner)
    assert (dead["dead"], dead["last_error"], dead["payload"]) == (True, error, "{}")
    assert sent["delivered"], "the others of the batch are sent"


async def test_a_mail_is_given_up_after_the_last_retry(worker: MailWorker, box: Mailbox, owner: Any) -> None:
    await put(owner)
    box.answers = ["451 try later"] * (len(retries.WAITS) + 1)
    for _ in range(len(retries.WAITS) + 1):
        (row,) = await state(owner)
        assert not row["dead"]
        await rows(owner, "a", "UPDATE message SET due_at = now() WHERE community_id = $1 RETURNING id")
        await worker.send_due()
    (row,) = await state(owner)
    assert row["dead"]


async def test_a_mail_whose_link_has_ended_is_not_sent(worker: MailWorker, box: Mailbox, owner: Any) -> None:
    await put(owner)
    await rows(owner, "a", "UPDATE message SET useless_at = now() WHERE community_id = $1 RETURNING id")
    await worker.send_due()
    (row,) = await state(owner)
    assert (row["dead"], row["last_error"], row["payload"]) == (True, "too late", "{}")
    assert box.mails == []


async def test_without_a_mail_server_mails_wait_and_come(pool: database.Pool, owner: Any) -> None:
    async with mailbox() as box:
        port = box.port
    away = MailWorker(
        pool,
        mail_settings({"PARKMESH_SMTP_URL": f"smtp://127.0.0.1:{port}", "PARKMESH_MAIL_FROM": "a@b.c"}),
        SITE,
        SECRET,
    )
    await put(owner)
    await away.send_due()
    (row,) = await state(owner)
    assert "ConnectionRefusedError" in row["last_error"]
    assert not row["dead"]


async def test_what_a_worker_took_before_it_died_is_sent_by_another(
    pool: database.Pool, worker: MailWorker, box: Mailbox, owner: Any
) -> None:
    await put(owner)
    assert len(await messages.take(pool, 10)) == 1
    assert await messages.take(pool, 10) == [], "another worker leaves it"
    await worker.send_due()
    assert box.mails == []
    await rows(owner, "a", "UPDATE message SET due_at = now() WHERE community_id = $1 RETURNING id")
    await worker.send_due()
    assert len(box.mails) == 1


async def test_two_workers_send_each_mail_once(
    pool: database.Pool, worker: MailWorker, box: Mailbox, owner: Any
) -> None:

    for n in range(120):
        await put(owner, f"p{n}@home.example")
    other = MailWorker(pool, smtp(box.url), SITE, SECRET)
    for _ in range(3):
        await asyncio.gather(worker.send_due(), other.send_due())
    assert sorted(mail["To"] for mail in box.mails) == sorted(f"p{n}@home.example" for n in range(120))


async def test_a_deployment_without_mail_keeps_none(
    pool: database.Pool, owner: Any, people: Callable[[str], Any]
) -> None:
    await put(owner)
    await MailWorker(pool, None, SITE, SECRET).send_due()
    # A server that is rolled in beside this one may send it.
    assert len(await state(owner)) == 1
    old = "UPDATE message SET created_at = now() - interval '25 h' WHERE community_id = $1 RETURNING id"
    await rows(owner, "a", old)
    await MailWorker(pool, None, SITE, SECRET).send_due()
    assert await state(owner) == []
    admin = await people(ADMIN)
    made = await admin.post(f"/api/v1{A}/invitations", json={"email": "x@home.example"})
    assert (made.status_code, made.json()["mailed"]) == (201, False)
    many = await admin.post(f"/api/v1{A}/invitations/bulk", json={"all_without_account": True})
    assert (many.status_code, many.json()["type"]) == (409, "urn:parkmesh:problem:no-mail")


async def test_everybody_without_an_account_is_invited_at_once(mailing: Server, box: Mailbox, owner: Any) -> None:
    admin = await sign_in(mailing, ADMIN)
    ids = [
        row["id"] for row in await rows(owner, "a", "SELECT id FROM resident WHERE community_id = $1 ORDER BY email")
    ]
    both = await admin.post(f"/api/v1{A}/invitations/bulk", json={"resident_ids": [*ids, 999_999]})
    assert both.status_code == 202, both.text
    answer = both.json()
    assert answer["made"] == 1
    assert {"email": RESIDENT, "why": "member"} in answer["skipped"]
    (mail,) = await box.received(1)
    assert mail["To"] == "luis@a.example"
    assert "code" not in text(mail)
    again = (await admin.post(f"/api/v1{A}/invitations/bulk", json={"all_without_account": True})).json()
    assert again == {"made": 0, "skipped": [{"email": "luis@a.example", "why": "invited"}]}
    for wrong in ({}, {"resident_ids": [1], "all_without_account": True}, {"resident_ids": []}):
        assert (await admin.post(f"/api/v1{A}/invitations/bulk", json=wrong)).status_code == 422
    resident = await sign_in(mailing, RESIDENT)
    assert (await resident.post(f"/api/v1{A}/invitations/bulk", json={"all_without_account": True})).status_code == 403
    token = re.search(r"/join/(\S+)", text(mail))
    assert token
    accepted = await admin.post(
        "/api/v1/invitations/accept", json={"token": token[1], "name": "Luis", "password": "a long password of Luis"}
    )
    assert accepted.status_code == 201
    # The account's link is the person that the community knew.
    (row,) = await rows(
        owner, "a", "SELECT r.email FROM membership m JOIN resident r ON r.id = m.resident_id"
        " AND r.community_id = m.community_id WHERE m.community_id = $1 AND r.email = 'luis@a.example'",
    )  # fmt: skip
    assert row["email"] == "luis@a.example"
    await admin.aclose()
    await resident.aclose()


# A forgotten password


async def ask_for_link(server: Server, email: str, **headers: str) -> httpx.Response:
    async with visiting(server.web, **headers) as guest:
        assert "/forgot-password" in (await guest.get("/sign-in")).text
        answer = await guest.send("/forgot-password", of="/forgot-password", email=email)
        return await guest.get(answer.headers["location"]) if answer.status_code == 303 else answer


async def test_a_forgotten_password_is_set_anew_once_and_ends_all_sessions(mailing: Server, box: Mailbox) -> None:
    before = await sign_in(mailing, RESIDENT)
    await ask_for_link(mailing, f" {RESIDENT.upper()} ", **{"Accept-Language": "es"})
    (mail,) = await box.received(1)
    assert (mail["To"], mail["Subject"]) == (RESIDENT, "Su contraseña nueva")
    found = re.search(r"http://park\.test(/password/\S+)", text(mail))
    assert found
    link = found[1]
    async with visiting(mailing.web) as guest:
        weak = await guest.send(link, of=link, password="password")
        assert weak.status_code == 422
        done = await guest.send(link, of=link, password="nine green bottles hanging")
        assert (done.status_code, done.headers["location"]) == (303, "/")
        assert (await guest.get("/account")).status_code == 200
        again = await guest.client.post(link, data={"csrf_token": await guest.token("/account"), "password": "x" * 20})
        assert again.status_code == 404
        assert (await guest.get(link)).status_code == 404
    assert (await before.get("/api/v1/sessions/current")).status_code == 401
    async with visiting(mailing.web) as guest:
        assert (await guest.sign_in(RESIDENT)).status_code == 401
        assert (await guest.sign_in(RESIDENT, "nine green bottles hanging")).status_code == 303
    await before.aclose()


async def test_asking_says_nothing_of_who_has_an_account(mailing: Server, box: Mailbox, owner: Any) -> None:
    known, unknown, operator = [
        re.sub(r'value="[^"]*"', "", (await ask_for_link(mailing, email)).text)
        for email in (RESIDENT, "stranger@home.example", DESK)
    ]
    assert known == unknown == operator
    assert "an e-mail with a link is on its way" in known
    await box.received(1)
    assert [mail["To"] for mail in box.mails] == [RESIDENT]


async def test_asking_too_often_is_slowed_and_a_new_link_ends_the_old(mailing: Server, box: Mailbox) -> None:
    for _ in range(2):
        await ask_for_link(mailing, RESIDENT)
    first, second = [re.search(r"/password/\S+", text(mail)) for mail in await box.received(2)]
    assert first
    assert second
    async with visiting(mailing.web) as guest:
        assert (await guest.get(first[0])).status_code == 404
        assert (await guest.get(second[0])).status_code == 200
    answers = [(await ask_for_link(mailing, RESIDENT)) for _ in range(4)]
    assert answers[-1].status_code == 429
    assert "Too many attempts" in alerts(answers[-1])
    # The owner still signs in.
    async with visiting(mailing.web) as guest:
        assert (await guest.sign_in(RESIDENT)).status_code == 303


async def test_an_old_link_sets_no_password(mailing: Server, box: Mailbox, owner: Any) -> None:
    await ask_for_link(mailing, RESIDENT)
    found = re.search(r"/password/\S+", text((await box.received(1))[0]))
    assert found
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        await owner.execute("UPDATE password_link SET expires_at = now()")
    async with visiting(mailing.web) as guest:
        assert (await guest.get(found[0])).status_code == 404


async def test_without_mail_the_page_offers_no_link(server: Server) -> None:
    async with visiting(server.web) as guest:
        assert "/forgot-password" not in (await guest.get("/sign-in")).text
        assert (await guest.get("/forgot-password")).status_code == 409


# The desk


async def test_the_desk_sees_what_was_not_sent_and_sends_it_again(
    mailing: Server, box: Mailbox, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "HOLD_SECRETS", frozenset())
    await put(owner, "nobody@home.example")
    desk, admin = await sign_in(mailing, DESK), await sign_in(mailing, ADMIN)
    for _ in range(100):
        found = (await desk.get("/api/v1/desk/messages")).json()["items"]
        if found:
            break
    (dead,) = found
    assert (dead["kind"], dead["recipient"], dead["community"]) == ("invitation", "nobody@home.example", "a")
    assert (dead["last_error"], dead["attempts"], dead["repeatable"]) == ("550 no such mailbox", 1, True)
    assert (await admin.get("/api/v1/desk/messages")).status_code == 404
    assert (await admin.post(f"/api/v1/desk/messages/{dead['id']}/send-again")).status_code == 404
    async with visiting(mailing.web, DESK) as visitor:
        assert "nobody@home.example" in (await visitor.get("/messages")).text
        await rows(owner, "a", "UPDATE message SET recipient = 'eva@home.example' WHERE community_id = $1 RETURNING id")
        sent = await visitor.send(f"/messages/{dead['id']}/again", of="/messages")
        assert sent.headers["location"] == "/messages?done=sent-again"
        await box.received(1)
        assert (await visitor.send(f"/messages/{dead['id']}/again", of="/onboard")).status_code == 404
    await desk.aclose()
    await admin.aclose()


# Settings


def test_the_settings_of_mail() -> None:
    base = {"PARKMESH_MAIL_FROM": SENDER}
    assert mail_settings({}) is None
    found = mail_settings(base | {"PARKMESH_SMTP_URL": "smtp+starttls://user%40x:p%3Aw@mail.example"})
    assert found
    assert (found.host, found.port, found.tls, found.user, found.password) == (
        "mail.example",
        587,
        "start",
        "user@x",
        "p:w",
    )
    assert "p:w" not in repr(found)
    found = mail_settings(base | {"PARKMESH_SMTP_URL": "smtps://u:p@mail.example:4650"})
    assert found
    assert (found.port, found.tls) == (4650, "always")


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("mail.example", {}),
        ("http://mail.example", {}),
        ("smtp+starttls://:pw@mail.example", {}),
        ("smtp+starttls://user@mail.example", {}),
        ("smtps://u:secret-word@mail.example:99999", {}),
        ("smtps://u:secret-word@mail.example/path", {}),
        ("smtp://mail.example", {}),
        ("smtp://8.8.8.8", {}),
        ("smtp://u:secret-word@127.0.0.1", {}),
        ("smtps://u:secret-word@mail.example", {"PARKMESH_MAIL_FROM": ""}),
        ("smtps://u:secret-word@mail.example", {"PARKMESH_MAIL_FROM": "nobody"}),
        ("smtps://u:secret-word@mail.example", {"PARKMESH_MAIL_FROM": "a b@c"}),
        ("smtps://u:secret-word@mail.example", {"PARKMESH_MAIL_REPLY_TO": "a@b\r\nBcc: c@d"}),
    ],
)
def test_wrong_settings_of_mail_are_named_without_their_value(url: str, more: dict[str, str]) -> None:
    environment = {"PARKMESH_MAIL_FROM": SENDER, "PARKMESH_SMTP_URL": url} | more
    with pytest.raises(SettingError) as caught:
        mail_settings(environment)
    assert str(caught.value).startswith("PARKMESH_")
    assert "secret-word" not in str(caught.value)


def test_the_password_of_the_mail_server_is_a_secret_of_the_log() -> None:
    environment = {
        "PARKMESH_DATABASE_URL": "postgresql://u@h/d",
        "PARKMESH_SESSION_SECRET": "x" * 20,
        "PARKMESH_MAIL_FROM": SENDER,
        "PARKMESH_SMTP_URL": "smtps://u:secret-word@mail.example",
    }
    assert "secret-word" in from_environment(environment).secrets
