"""Pages of a service that sends mails: an invitation by mail, and a forgotten password from the mail to the sign-in."""

import re
from collections.abc import AsyncIterator
from mailbox import Mailbox, text

import pytest
from page_people import People
from playwright.async_api import expect
from running_server import Database, Server, serving, settings
from test_browser import violations

ADMIN, RESIDENT = "administrator@a.example", "resident@a.example"


@pytest.fixture
async def server(filled: Database, box: Mailbox) -> AsyncIterator[Server]:
    """Run a server that sends mails."""
    async with serving(settings(filled.app, PARKMESH_SMTP_URL=box.url, PARKMESH_MAIL_FROM="p@x.example")) as running:
        yield running


async def test_a_forgotten_password_from_the_phone(people: People, box: Mailbox) -> None:
    phone = await people.page(None, "/sign-in", locale="es-ES", viewport={"width": 360, "height": 740})
    await phone.get_by_text("¿Ha olvidado la contraseña?").click()
    assert await violations(phone) == []
    await phone.get_by_label("Correo electrónico").fill(RESIDENT)
    await phone.get_by_role("button", name="Enviar el enlace").click()
    await expect(phone.get_by_test_id("done")).to_contain_text("se ha enviado un correo")
    (mail,) = await box.received(1)
    found = re.search(r"https?://\S+(/password/\S+)", text(mail))
    assert found
    await phone.goto(found[1])
    assert await violations(phone) == []
    await phone.get_by_role("textbox", name="Contraseña nueva").fill("password")
    await phone.get_by_role("button", name="Guardar la contraseña").click()
    await expect(phone.get_by_test_id("error-summary")).to_be_visible()
    await phone.get_by_role("textbox", name="Contraseña nueva").fill("nine green bottles hanging")
    await phone.get_by_role("button", name="Guardar la contraseña").click()
    await expect(phone.get_by_role("heading", level=1)).to_contain_text("Hola")


async def test_an_administrator_invites_by_mail(people: People, box: Mailbox) -> None:
    page = await people.page(ADMIN, "/communities/a/people")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_test_id("invite-all").click()
    await expect(page.get_by_test_id("done")).to_contain_text("on their way by e-mail")
    (mail,) = await box.received(1)
    assert mail["To"] == "luis@a.example"
    await expect(page.get_by_test_id("invite-all")).to_have_count(0)
    await page.get_by_label("E-mail").fill("eva@home.example")
    await page.get_by_role("button", name="Send an invitation").click()
    await expect(page.get_by_test_id("invitation-link")).to_contain_text("on its way to eva@home.example")
    assert await violations(page) == []
    assert "eva@home.example" in {mail["To"] for mail in await box.received(2)}
