"""The gateway as it runs: its process, real HTTP on loopback to cameras, relay and servers, killed and cut off."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edge_server import TOKEN, EdgeServer
from parkmesh.gateway import drivers
from parkmesh.protocol.edge import AccessEntry, Command, Event, Gap, GateRules, Passage, PresenceUpdate
from parkmesh.simulator import camera, drive
from processes import GatewaySite, parkmesh, run_simulate, wait_for
from starlette.responses import Response

ANA = AccessEntry("ana", "1234BCD", "active")
BOB = AccessEntry("bob", "5678FGH", "active")
EVE = AccessEntry("eve", "6666JKL", "revoked")


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer([ANA, BOB, EVE]) as running:
        yield running


@pytest.fixture
def site(server: EdgeServer, tmp_path: Path) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN)
    with running.at_work():
        yield running


def car(site: GatewaySite, *args: str) -> tuple[int, str]:
    return run_simulate("car", "--site", str(site.site_path), "--wait", "10", *args)


def send(site: GatewaySite, plate: str, name: str = "cam-in") -> None:
    body, kind = camera.multipart(camera.shot(plate, drive.now()))
    url = f"http://127.0.0.1:{site.port}/cameras/{name}/events"
    assert httpx.post(url, content=body, headers={"Content-Type": kind}, timeout=10).status_code == 200


def test_a_car_drives_through_and_a_stranger_does_not(site: GatewaySite, server: EdgeServer) -> None:
    code, line = car(site, "1234 BCD")
    assert code == 0
    assert line.startswith("1234 BCD at cam-in: the barrier opened after ")
    code, line = car(site, "9999XYZ", "--wait", "0.5")
    assert code == 3
    assert "9999XYZ at cam-in: the barrier stayed closed" in line
    assert car(site, "6666JKL", "--wait", "0.5", "--expect", "closed")[0] == 0
    code, text = car(site, "5678FGH", "--expect", "opened", "--json")
    assert code == 0
    assert json.loads(text)["opened"] is True
    assert car(site, "1234BCD", "--wait", "0.5", "--late", "60", "--retransmission", "--expect", "closed")[0] == 0
    wait_for(lambda: len(server.events) == 5, "five passages at the server")
    assert [(p.plate, p.decision, p.reason, p.opened) for p in server.passages()] == [
        ("1234BCD", "granted", "exact", True),
        ("9999XYZ", "denied", "unknown_plate", None),
        ("6666JKL", "denied", "revoked", None),
        ("5678FGH", "granted", "exact", True),
        ("1234BCD", "denied", "stale", None),
    ]
    assert site.pulses() == 2
    wait_for(lambda: site.status()["backlog"] == 0, "an empty backlog")
    # The log names no plate in full and no token, and SIGTERM ends cleanly.
    assert site.gateway is not None
    assert site.gateway.stop() == 0
    log = site.gateway.log
    assert "12…D granted (exact)" in log
    assert log.rstrip().endswith("INFO stopped")
    for secret in ("1234BCD", "9999XYZ", "5678FGH", TOKEN):
        assert secret not in log


def test_a_revocation_and_commands_arrive_by_the_stream(site: GatewaySite, server: EdgeServer) -> None:
    wait_for(lambda: server.listeners == 1, "the stream")
    asked = len(server.list_requests)
    server.change_list([AccessEntry("ana", "1234BCD", "revoked")])
    wait_for(lambda: site.status()["access_list_version"] == 2, "the new list")
    assert set(server.list_requests[asked:]) <= {1, 2}, "a whole list was asked for instead of the difference"
    send(site, "1234BCD")
    wait_for(lambda: len(server.events) == 1, "the refusal")
    assert server.passages()[0].reason == "revoked"
    server.change_list([], removed=["bob"])
    wait_for(lambda: site.status()["access_list_version"] == 3, "the removal")
    send(site, "5678FGH")
    wait_for(lambda: len(server.events) == 2, "the refusal")
    assert server.passages()[1].reason == "unknown_plate"

    now = server.now()
    server.command(Command("late", "in", now - 1, "desk"))
    server.command(Command("once", "in", now + 10_000, "desk"))
    wait_for(lambda: site.pulses() == 1, "the barrier")
    before = server.streams_opened
    server.end_streams()
    wait_for(lambda: server.streams_opened > before, "the stream again")
    server.command(Command("once", "in", now + 10_000, "desk"))  # replayed: must not open
    server.command(Command("other", "in", server.now() + 10_000, "desk"))
    wait_for(lambda: len(server.events) == 4, "two records of commands")
    assert [(p.reason, p.device_event_id) for p in server.passages()[2:]] == [("command", "once"), ("command", "other")]
    assert site.pulses() == 1  # the barrier was opening when it was tapped again


def test_a_car_that_came_in_at_another_gateway_does_not_come_in_here(site: GatewaySite, server: EdgeServer) -> None:
    wait_for(lambda: server.listeners == 1, "the stream")
    assert server.stream_features == ["presence"]
    server.epoch, server.rules = 77, GateRules(anti_passback="hard", refusal_hold_s=0)
    wait_for(lambda: site.status()["access_list_epoch"] == 77, "the rules")
    server.moved(PresenceUpdate("5678FGH", False, server.now()), PresenceUpdate("1234BCD", True, server.now()))
    server.command(Command("behind", "in", server.now() + 10_000, "desk"))  # what came before it is known when it opens
    wait_for(lambda: len(server.events) == 1, "the record of the command")
    send(site, "1234BCD")
    wait_for(lambda: len(server.events) == 2, "the refusal")
    send(site, "5678FGH")
    wait_for(lambda: len(server.events) == 3, "the passage")
    reasons = [(passage.plate, passage.reason) for passage in server.passages()[1:]]
    assert reasons == [("1234BCD", "anti_passback"), ("5678FGH", "exact")]


def test_a_stranger_leaves_and_a_resident_s_misread_is_no_stranger(site: GatewaySite, server: EdgeServer) -> None:
    server.epoch, server.rules = 77, GateRules(refusal_hold_s=2)
    wait_for(lambda: site.status()["access_list_epoch"] == 77, "the rules")
    send(site, "1234BC", "cam-out")
    send(site, "1234BCD", "cam-out")
    wait_for(lambda: len(server.events) == 1, "the resident")
    send(site, "9999XYZ", "cam-out")
    send(site, "9999XYZ", "cam-in")
    wait_for(lambda: len(server.events) == 3, "the stranger who leaves, and who doesn't come in")
    assert sorted((p.plate, p.direction, p.reason, p.opened) for p in server.passages()) == [
        ("1234BCD", "exit", "exact", True),
        ("9999XYZ", "entry", "unknown_plate", None),
        ("9999XYZ", "exit", "exit_is_free", True),
    ]
    assert site.pulses() == 2


def test_a_rule_that_a_server_of_the_release_before_does_not_tell_stays_as_it_was(
    site: GatewaySite, server: EdgeServer
) -> None:
    """While servers are replaced a gateway meets both releases; the list's version is the same at both."""

    def again() -> None:
        asked = len(server.list_requests)
        server.end_streams()
        wait_for(lambda: len(server.list_requests) > asked, "the list, asked for again")

    def leaves(number: int) -> str:
        send(site, f"{number * 1111}XYZ", "cam-out")
        wait_for(lambda: len(server.events) == number, "the passage")
        return server.passages()[-1].reason

    server.epoch, server.rules = 77, {"refusal_hold_s": 0}  # it was never told: people are not held in
    wait_for(lambda: site.status()["access_list_epoch"] == 77, "the rules")
    assert leaves(1) == "exit_is_free"
    server.rules = {"refusal_hold_s": 0, "exit_is_free": False, "a_rule_of_the_release_after": 1}
    again()
    wait_for(lambda: leaves(len(server.events) + 1) == "unknown_plate", "the rule")
    before = len(server.events)
    server.rules = {"refusal_hold_s": 0}
    again()
    assert leaves(before + 1) == "unknown_plate"
    assert site.gateway is not None
    site.gateway.stop()
    site.start_gateway()
    assert leaves(before + 2) == "unknown_plate"


def test_cut_off_the_gate_decides_and_nothing_is_lost(site: GatewaySite, server: EdgeServer) -> None:
    server.fault = lambda _: Response(status_code=503, headers={"Retry-After": "1"})
    server.end_streams()
    plates = [f"{number:04d}" + "KLMNPRST"[number % 8] * 3 for number in range(0, 8_000, 1_111)]
    assert car(site, "1234BCD")[0] == 0
    for plate in plates:
        send(site, plate)
    wait_for(lambda: site.status()["backlog"] == len(plates) + 1, "the backlog")
    # The gateway dies, too, and comes back while the line is still down.
    assert site.gateway is not None
    site.gateway.stop(signal.SIGKILL)
    site.start_gateway()
    assert site.status()["access_list_version"] == 1
    send(site, "5678FGH")
    wait_for(lambda: site.pulses() == 2, "the barrier, decided from the stored list")
    assert server.events == []
    server.fault = lambda _: None
    expected = ["1234BCD", *plates, "5678FGH"]
    wait_for(lambda: len(server.events) >= len(expected), "the backlog at the server")
    wait_for(lambda: site.status()["backlog"] == 0, "an empty backlog")
    assert sorted(p.plate for p in server.passages()) == sorted(expected)
    assert [event.seq for event in server.events] == list(range(1, len(expected) + 1))


def test_a_spool_that_was_put_back_loses_nothing_that_comes_after(site: GatewaySite, server: EdgeServer) -> None:
    def drive_in(*plates: str) -> None:
        for plate in plates:
            send(site, plate)

    def put_away(name: str) -> None:
        assert site.gateway is not None
        site.gateway.stop()
        shutil.copytree(site.folder / "spool", site.folder / name)

    # Plates that no two cameras take for one another.
    plates = [f"{number * 1111:04d}" + letter * 3 for letter in "BCDFGH" for number in range(1, 10)]
    drive_in(*plates[:2])
    wait_for(lambda: len(server.events) == 2, "two passages")
    put_away("image")
    site.start_gateway()
    drive_in(*plates[2:7])
    wait_for(lambda: len(server.events) == 7, "seven passages")
    # The image is written back: 3 of the next numbers are taken, and then some that nobody has.
    for fresh in (plates[9:12], plates[18:27]):
        assert site.gateway is not None
        site.gateway.stop()
        before = len(server.events)
        shutil.rmtree(site.folder / "spool")
        shutil.copytree(site.folder / "image", site.folder / "spool")
        site.start_gateway()
        drive_in(*fresh)
        wait_for(lambda: len(server.events) >= before + len(fresh) + 1, "what came after")  # noqa: B023 - at once
        wait_for(lambda: site.status()["backlog"] == 0, "an empty backlog")
        new = server.events[before:]
        assert [event.plate for event in new if isinstance(event, Passage)] == fresh
        assert [(event.kind, event.dropped) for event in new if isinstance(event, Gap)] == [("spool_put_back", 1)]


def test_a_log_that_lost_its_end_is_told_with_its_number(site: GatewaySite, server: EdgeServer) -> None:
    log = site.folder / "spool" / "spool.db-wal"
    send(site, "1111KKK")
    wait_for(lambda: len(server.events) == 1 and site.status()["backlog"] == 0, "a passage at the server")
    server.fault = lambda _: Response(status_code=503)
    server.end_streams()
    send(site, "2222LLL")
    wait_for(lambda: site.status()["backlog"] == 1 and site.status()["undecided"] == 0, "a passage that waits")
    reached_the_disk = log.stat().st_size
    for plate in ("3333MMM", "4444NNN", "5555PPP"):
        send(site, plate)
    wait_for(lambda: site.status()["backlog"] == 4 and site.status()["undecided"] == 0, "three more")
    assert site.gateway is not None
    site.gateway.stop(signal.SIGKILL)
    with log.open("r+b") as file:
        file.truncate(reached_the_disk)
    site.start_gateway()
    send(site, "6666RRR")
    server.fault = lambda _: None
    wait_for(lambda: len(server.events) >= 4 and site.status()["backlog"] == 0, "what is left, and the gap")
    assert [event.plate for event in server.passages()] == ["1111KKK", "2222LLL", "6666RRR"]
    assert [(event.kind, event.dropped) for event in server.events if isinstance(event, Gap)] == [("spool_end_lost", 3)]


def test_a_lost_answer_doubles_nothing(site: GatewaySite, server: EdgeServer) -> None:
    faults = iter([Response(status_code=500), Response(b"<html>proxy</html>", 200), Response(b"{}", 200)])
    server.fault = lambda call: next(faults, None) if call == "after-events" else None
    send(site, "1111KKK")
    send(site, "2222LLL")
    wait_for(lambda: len(server.events) >= 2, "both passages")
    wait_for(lambda: site.status()["backlog"] == 0, "an empty backlog")
    assert next(faults, None) is None
    assert sorted(p.plate for p in server.passages()) == ["1111KKK", "2222LLL"]


def test_killed_at_any_moment_every_accepted_message_arrives_once(site: GatewaySite, server: EdgeServer) -> None:
    accepted = []
    for i in range(4):
        for letter in "BFKP":
            plate = f"{i}{i}{i}{i}{letter}{letter}{letter}"
            send(site, plate)
            accepted.append(plate)
        assert site.gateway is not None
        site.gateway.stop(signal.SIGKILL)
        site.start_gateway()
    wait_for(lambda: len(server.events) >= len(accepted), "all passages")
    wait_for(lambda: site.status()["backlog"] == 0, "an empty backlog")
    assert sorted(p.plate for p in server.passages()) == sorted(accepted)


def test_a_restored_server_is_followed(site: GatewaySite, server: EdgeServer) -> None:
    for plate in ("1111KKK", "2222LLL"):
        send(site, plate)
    wait_for(lambda: len(server.events) == 2 and site.status()["backlog"] == 0, "two passages")
    [epoch] = server.marks
    server.marks = {epoch: 1}  # the backup is older than the second passage
    send(site, "3333MMM")
    wait_for(lambda: len(server.events) == 4, "the third, and a gap")
    assert {type(event) for event in server.events[2:]} == {type(server.events[0]), Gap}
    [gap] = [event for event in server.events if isinstance(event, Gap)]
    assert (gap.kind, gap.dropped) == ("lost_by_server", 1)
    assert max(server.marks) > epoch


def test_the_next_server_is_tried_at_once(server: EdgeServer, tmp_path: Path) -> None:
    with EdgeServer([ANA]) as dying:
        site = GatewaySite(tmp_path, ["http://127.0.0.1:1", dying.url, server.url], TOKEN)
        try:
            site.start_relay()
            site.start_gateway()
            wait_for(
                lambda: dying.listeners == 1 and site.status()["access_list_version"] == 1, "the first live server"
            )
            send(site, "1111KKK")
            wait_for(lambda: len(dying.events) == 1, "a passage at the first")
            # It is replaced: the database behind both is one.
            server.marks, server.version = dict(dying.marks), 2
            dying.fault = lambda _: Response(status_code=503)
            dying.end_streams()
            send(site, "2222LLL")
            wait_for(lambda: len(server.events) == 1, "a passage at the second")
            wait_for(lambda: site.status()["access_list_version"] == 2, "the list of the second")
            assert [p.plate for p in (*dying.passages(), *server.passages())] == ["1111KKK", "2222LLL"]
        finally:
            site.stop()


def test_a_restored_list_is_taken_whole_though_its_version_is_the_same(site: GatewaySite, server: EdgeServer) -> None:
    wait_for(lambda: server.listeners == 1, "the stream")
    # The database came back from before Bob was on the list, and something else took the version that is held here.
    server.entries, server.epoch, server.rules = [ANA], 77, GateRules(lots_per_unit=3)
    wait_for(lambda: site.status()["access_list_epoch"] == 77, "the list of the other epoch, told by a heartbeat")
    send(site, "5678FGH")
    wait_for(lambda: len(server.events) == 1, "the refusal")
    assert server.passages()[0].reason == "unknown_plate"
    asked = len(server.list_requests)
    wait_for(lambda: len(server.heartbeats) > 2, "more heartbeats")
    assert len(server.list_requests) - asked <= 1, "the same list is fetched again and again"


def test_a_rule_that_the_release_before_did_not_keep_is_learned_though_the_version_is_the_same(
    site: GatewaySite, server: EdgeServer
) -> None:
    wait_for(lambda: server.listeners == 1, "the stream")
    send(site, "I234BCD")
    wait_for(lambda: len(server.events) == 1, "the passage of a misread")
    server.rules = GateRules(plate_matching="exact", refusal_hold_s=0, same_plate_window_s=1)
    asked = len(server.list_requests)
    server.end_streams()
    wait_for(lambda: len(server.list_requests) > asked, "the list")
    wait_for(lambda: site.status()["rules_known"], "the rules")
    time.sleep(1.1)
    send(site, "I234BCD")
    wait_for(lambda: len(server.events) == 2, "the refusal")
    assert [passage.reason for passage in server.passages()] == ["fuzzy", "unknown_plate"]


def test_the_live_servers_are_called(server: EdgeServer, tmp_path: Path) -> None:
    with EdgeServer([ANA, BOB]) as configured:
        configured.live = [server.url + "/"]
        site = GatewaySite(tmp_path, [configured.url], TOKEN)
        try:
            site.start_relay()
            site.start_gateway()
            wait_for(lambda: site.status()["server"] == server.url, "the live server")
            send(site, "1111KKK")
            wait_for(lambda: len(server.events) == 1, "a passage at the live server")
            # It goes without a word: the configuration's servers are still there.
            server.fault = lambda _: Response(status_code=503)
            server.end_streams()
            configured.marks = dict(server.marks)
            send(site, "2222LLL")
            wait_for(lambda: len(configured.events) == 1, "a passage at the configured one")
        finally:
            site.stop()


def test_heartbeats_tell_the_state(site: GatewaySite, server: EdgeServer) -> None:
    server.clock_ahead_ms = 60_000
    wait_for(lambda: len(server.heartbeats) >= 2, "heartbeats")
    assert server.heartbeats[-1].access_list_version == 1
    # A server of the release before would refuse them.
    assert all(beat.device_faults is None for beat in server.heartbeats)
    server.takes_device_faults = True
    wait_for(lambda: server.heartbeats[-1].device_faults == [], "a word on the devices")
    wait_for(lambda: abs(site.status()["server_skew_ms"] - 60_000) < 5_000, "the skew")


def test_a_clock_that_is_behind_what_was_trusted_refuses_nobody(site: GatewaySite, server: EdgeServer) -> None:
    """The server's clock is a year ahead: so is the stored time, beside which the machine's own is a year behind."""
    year = 365 * 86_400_000
    server.clock_ahead_ms = year
    server.change_list([AccessEntry("visit", "7777BCD", "active", None, server.now() + 3_600_000)])
    wait_for(lambda: site.status()["access_list_version"] == 2, "the visitor")
    assert site.gateway is not None
    site.gateway.stop()
    site.start_gateway()
    wait_for(lambda: site.status()["server_skew_ms"] > year - 60_000, "the server's time")
    wait_for(lambda: _stored_time(site) > server.now() - 60_000, "the time on disk")
    site.gateway.stop()
    server.fault = lambda _: Response(status_code=503)
    site.start_gateway()
    wait_for(lambda: site.status()["clock_doubtful"] is True, "the doubt about the clock")
    send(site, "7777BCD")
    wait_for(lambda: site.pulses() == 1, "the barrier")
    server.fault = lambda _: None
    wait_for(lambda: len(server.events) == 1, "the passage")
    [passage] = server.passages()
    assert passage.reason == "clock_doubted"
    assert abs(passage.times.received - server.now()) < 60_000
    wait_for(lambda: site.status()["clock_doubtful"] is False, "the trust in the clock")


def _stored_time(site: GatewaySite) -> int:
    database = sqlite3.connect(site.config["spool"])
    try:
        row = database.execute("SELECT value FROM state WHERE key = 'trusted_time'").fetchone()
        return int(row[0]) if row else 0
    finally:
        database.close()


def test_a_wrong_token_keeps_the_gate_working(server: EdgeServer, tmp_path: Path) -> None:
    site = GatewaySite(tmp_path, [server.url], "another-token-of-somebody")
    try:
        site.start_relay()
        site.start_gateway()
        wait_for(lambda: site.status()["last_error"], "the error in the status")
        assert "HTTP 401" in site.status()["last_error"]
        send(site, "1111KKK")
        wait_for(lambda: site.status()["backlog"] == 1, "the passage in the backlog")
        assert server.events == []
    finally:
        site.stop()


def test_a_dead_relay_is_told(site: GatewaySite, server: EdgeServer) -> None:
    site.stop_relay()
    send(site, "1234BCD")
    wait_for(lambda: len(server.events) == 1, "the passage")
    assert server.passages()[0].opened is False


def test_the_port_is_taken(site: GatewaySite, tmp_path: Path) -> None:
    second = tmp_path / "second.json"
    second.write_text(json.dumps({**site.config, "spool": str(tmp_path / "second" / "spool.db")}))
    done = subprocess.run(
        parkmesh("gateway", "run", "--config", str(second)), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"parkmesh gateway: can't listen on 127.0.0.1:{site.port}: Address already in use\n"


def test_status_of_a_running_and_of_a_stopped_gateway(site: GatewaySite) -> None:
    def status() -> dict[str, object]:
        command = parkmesh("gateway", "status", "--config", str(site.config_path))
        document: dict[str, object] = json.loads(
            subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        )
        return document

    running = status()
    assert (running["running"], running["access_list_version"], running["gateway"]) == (True, 1, "gateway-a")
    assert site.gateway is not None
    site.gateway.stop()
    stopped = status()
    assert (stopped["running"], stopped["access_list_version"]) == (False, 1)
    assert stopped["epoch"] == running["epoch"]


def test_a_record_that_the_server_refuses_keeps_none_back(server: EdgeServer, tmp_path: Path) -> None:
    site = GatewaySite(tmp_path, [server.url], TOKEN)
    try:
        site.start_relay()
        site.start_gateway()
        wait_for(lambda: site.status()["access_list_version"] == 1, "the access list")
        server.refuses = lambda _: True
        for plate in ("1111XYZ", "2222XYZ", "3333XYZ", "4444XYZ"):
            send(site, plate)
        wait_for(lambda: site.status()["backlog"] == 4, "four refusals that wait")
        # A server that refuses everything makes nobody throw records away; that the heartbeat works hides nothing.
        beats = len(server.heartbeats)
        wait_for(lambda: len(server.heartbeats) > beats + 1, "heartbeats")
        status = site.status()
        assert (status["backlog"], status["quarantined"]) == (4, 0)
        assert "HTTP 422" in str(status["last_error"])
        assert list(status["errors"]) == ["events"]

        def refuses_one(events: list[Event]) -> bool:
            return any(isinstance(event, Passage) and event.plate == "2222XYZ" for event in events)

        def refuses_until_all_are_sent_anew(events: list[Event]) -> bool:
            # Between a record that was refused and the gap in its place, the gap would be taken, rightly.
            if len(events) == 4:
                server.refuses = refuses_one
            return server.refuses is not refuses_one or refuses_one(events)

        server.refuses = refuses_until_all_are_sent_anew
        wait_for(lambda: len(server.events) == 4, "the other records and a gap")
        kinds = [getattr(event, "plate", None) or getattr(event, "kind", None) for event in server.events]
        assert kinds == ["1111XYZ", "refused_passage", "3333XYZ", "4444XYZ"]
        wait_for(lambda: site.status()["backlog"] == 0, "an empty backlog")
        status = site.status()
        assert (status["quarantined"], status["errors"]) == (1, {})
    finally:
        site.stop()


def test_a_damaged_access_list_keeps_no_gate_from_starting(site: GatewaySite, server: EdgeServer) -> None:
    assert site.gateway is not None
    site.gateway.stop()
    database = sqlite3.connect(site.config["spool"])
    with database:
        database.execute("UPDATE access_list SET plate = CAST(x'31ff33' AS TEXT) WHERE credential_id = 'bob'")
    database.close()
    server.fault = lambda _: Response(status_code=503)
    site.start_gateway()
    assert (site.status()["access_list_whole"], site.status()["access_list_version"]) == (False, 1)
    assert "the stored access list is damaged" in site.gateway.log
    send(site, "5678FGH")
    wait_for(lambda: site.pulses() == 1, "the barrier, by the copy of the list")
    asked = len(server.list_requests)
    server.fault = lambda _: None
    wait_for(lambda: site.status()["access_list_whole"], "the list anew")
    assert server.list_requests[asked] == 0
    send(site, "1234BCD")
    wait_for(lambda: site.pulses() == 2, "the barrier, by the new list")
    wait_for(lambda: len(server.events) == 2, "both passages")


def test_a_stopped_gateway_is_drained_and_opens_nothing(site: GatewaySite, server: EdgeServer) -> None:
    server.fault = lambda path: Response(status_code=503) if path == "events" else None
    for plate in ("1234BCD", "5678FGH"):
        send(site, plate)
    wait_for(lambda: site.status()["backlog"] == 2, "two records that wait")

    def drain(*args: str) -> tuple[int, str, str]:
        command = parkmesh("gateway", "drain", "--config", str(site.config_path), *args)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert site.gateway is not None
    code, _, told = drain()
    assert (code, "another gateway process is using it" in told) == (3, True)
    site.gateway.stop()
    pulses = site.pulses()
    code, text, _ = drain("--within", "1")
    assert (code, json.loads(text)["backlog"], "HTTP 503" in json.loads(text)["error"]) == (1, 2, True)
    server.fault = lambda _: None
    # A message that the agent took and didn't decide, as after a power cut.
    with sqlite3.connect(site.config["spool"]) as spool:
        body, kind = camera.multipart(camera.shot("6666JKL", drive.now()))
        message = drivers.CAMERAS["hikvision"].extract(body, kind)
        spool.execute("INSERT INTO inbox (camera, received, body) VALUES ('cam-in', ?, ?)", (server.now(), message))
    code, text, _ = drain()
    assert (code, json.loads(text)["backlog"], json.loads(text)["undecided"]) == (0, 0, 0), text
    assert [passage.plate for passage in server.passages()] == ["1234BCD", "5678FGH", "6666JKL"]
    assert site.pulses() == pulses
