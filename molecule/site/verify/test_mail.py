"""Mails go from the app servers to the lab's mail server, and their links lead back through the load balancer."""

import json
import re
import secrets
import subprocess
import sys

import requests
from playwright.sync_api import Browser, expect
from running_lab import ROOT, STATE, Lab, eventually

from lab.mail import box


def sign_in(lab: Lab) -> dict[str, str]:
    """Sign in as the desk; return the headers of its requests."""
    password = (STATE / "secrets" / "desk-password").read_text().strip()
    answer = requests.post(
        f"{lab.url}/api/v1/sessions", json={"email": "desk@parkmesh.example", "password": password}, timeout=20
    )
    answer.raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def mailed_link(lab: Lab, recipient: str, path: str) -> str:
    """Wait for a mail with a link to a page of the application; return the link."""

    def look() -> str | None:
        for file in box.files(STATE / "mails"):
            mail = box.read(file)
            link = re.search(rf"^{re.escape(lab.url)}/{path}/\S+$", box.body(mail), re.MULTILINE)
            if mail["To"] == recipient and link:
                return link[0]
        return None

    return eventually(look, 30, f"a mail to {recipient} with a link to /{path}/") or ""


def test_an_invitation_and_a_link_for_a_forgotten_password_come_by_mail(lab: Lab, browser: Browser) -> None:
    email = f"resident-{secrets.token_hex(4)}@a.example"
    invited = requests.post(
        f"{lab.url}/api/v1/communities/a/invitations", json={"email": email}, headers=sign_in(lab), timeout=20
    )
    assert invited.status_code == 201, invited.text
    assert invited.json()["mailed"]
    invitation = mailed_link(lab, email, "join")
    assert invitation == invited.json()["link"]
    joined = requests.post(
        f"{lab.url}/api/v1/invitations/accept",
        json={"token": invited.json()["token"], "name": "Marta Gil", "password": secrets.token_urlsafe(15)},
        timeout=20,
    )
    assert joined.status_code == 201, joined.text

    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(f"{lab.url}/sign-in")
    page.get_by_role("link", name="Forgot").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_text("an e-mail with a link is on its way")).to_be_visible()
    page.goto(mailed_link(lab, email, "password"))
    expect(page.get_by_role("heading", name="Set a new password")).to_be_visible()
    page.get_by_label("New password", exact=True).fill(secrets.token_urlsafe(15))
    page.get_by_role("button", name="Save the password").click()
    # The start page sends a resident on to their community: they are signed in.
    page.wait_for_url(f"{lab.url}/communities/a**")
    context.close()


def test_the_latest_mails_can_be_read_with_a_command(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "mail", "--count", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^From: +parkmesh lab <parking@parkmesh.example>$", done.stdout, re.MULTILINE)
    assert re.search(rf"^{re.escape(lab.url)}/\S+$", done.stdout, re.MULTILINE)


def test_the_mail_server_listens_on_the_lab_s_own_network_only(lab: Lab) -> None:
    daemon = json.loads((STATE / "daemon.json").read_text())["pid"]
    sockets = subprocess.run(
        ["ss", "--tcp", "--listening", "--numeric", "--processes", "--no-header"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.splitlines()
    of_daemon = {line.split()[3] for line in sockets if f"pid={daemon}," in line}
    address = lab.facts["smtp_url"].removeprefix("smtp://")
    assert address.startswith(f"{lab.facts['networks']['vpc']['gateway']}:")
    assert {each for each in of_daemon if each.endswith(address[-5:])} == {address}
