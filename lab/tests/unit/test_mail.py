"""The lab's mail server over SMTP, and what a person sees of its mails."""

import logging
import smtplib
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from lab.commands import mail as command
from lab.machine import names
from lab.machine.names import Lab
from lab.mail import box
from lab.mail.server import MailServer

LINK = "http://127.0.0.1:8080/password/" + "Aa-_" * 20


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return names.Lab("demo", tmp_path, "trixie", 8080, 4566)


@pytest.fixture
def server(lab: Lab) -> Iterator[MailServer]:
    running = MailServer("127.0.0.1", 0, lab.mails)
    yield running
    running.shutdown()


def letter(subject: str, text: str = f"Set a new password:\n{LINK}\n") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Parking <parking@x.example>", "ana@a.example", subject
    mail.set_content(text)
    mail.add_alternative("<p>HTML</p>", subtype="html")
    return mail


def send(server: MailServer, *letters: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
        for each in letters:
            client.send_message(each)


def test_a_mail_is_kept_as_it_came_for_its_owner_only(lab: Lab, server: MailServer) -> None:
    send(server, letter("Su contraseña nueva"))
    (path,) = box.files(lab.mails)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(lab.mails.stat().st_mode) == 0o700
    kept = box.read(path)
    assert (kept["Subject"], kept["To"]) == ("Su contraseña nueva", "ana@a.example")
    assert [part.get_content_type() for part in kept.iter_parts()] == ["text/plain", "text/html"]
    # SMTP ends lines with CR and LF.
    assert LINK in box.body(kept).split("\n")


def test_the_latest_mail_is_printed_last_with_its_link_in_one_piece(lab: Lab, server: MailServer) -> None:
    assert command.text(lab, 2) == f"no mails yet (they are kept in {lab.mails})"
    send(server, letter("one"), letter("two"), letter("three"))
    printed = command.text(lab, 2).splitlines()
    assert [line for line in printed if line.startswith("Subject:")] == ["Subject:  two", "Subject:  three"]
    assert "From:     Parking <parking@x.example>" in printed
    assert "To:       ana@a.example" in printed
    assert printed.count(LINK) == 2
    assert not any("HTML" in line for line in printed)
    assert printed[-1] == f"mails: the last 2 of 3 (kept in {lab.mails})"
    assert command.text(lab, 3).endswith(f"mails: 3, all shown (kept in {lab.mails})")


def test_a_terminal_gets_no_commands(lab: Lab) -> None:
    box.keep(lab.mails, letter("a", "\x1b]0;title\x07clear\x1b[2J\n").as_bytes(), datetime.now(UTC))
    assert "]0;titleclear[2J" in command.text(lab, 1)
    assert "\x1b" not in command.text(lab, 1)


def test_files_sort_by_time(tmp_path: Path) -> None:
    early, late = datetime(2026, 1, 2, 9, 59, 59, 999999, UTC), datetime(2026, 1, 2, 10, 0, 0, 0, UTC)
    second, first = box.keep(tmp_path, b"2", late), box.keep(tmp_path, b"1", early)
    assert box.files(tmp_path) == [first, second]


def test_a_mail_that_can_t_be_kept_is_to_be_sent_again(
    lab: Lab, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    lab.mails.parent.mkdir(parents=True)
    lab.mails.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING), pytest.raises(smtplib.SMTPDataError) as refused:
        send(server, letter("one"))
    assert refused.value.smtp_code == 452
    assert "was not kept" in caplog.text


def test_a_server_that_ends_lets_its_connections_and_its_port_go(lab: Lab) -> None:
    running = MailServer("127.0.0.1", 0, lab.mails)
    with smtplib.SMTP("127.0.0.1", running.port, timeout=10) as client:
        client.noop()
        running.shutdown()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
        client.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", running.port)) != 0


def test_a_taken_address_is_named(lab: Lab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=f"127.0.0.1.*{taken.getsockname()[1]}.*in use"):
            MailServer("127.0.0.1", taken.getsockname()[1], lab.mails)
