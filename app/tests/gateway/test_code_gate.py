"""Visitors' codes at a gate: who comes in by QR code or PIN, how often, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from parkmesh.domain import pass_codes
from parkmesh.domain.pass_codes import Code
from parkmesh.gateway.code_book import LOCKED_MS, WRONG_PINS
from parkmesh.gateway.config import Reader
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.intake import Intake
from parkmesh.gateway.listener import application
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.strays import Strays
from parkmesh.protocol.edge import PassCode, PassCodes
from test_decider import LIST, NOW, World, post, records, until

KEY = b"k" * 32
HOUR = 3_600_000
CODES = {
    1: Code(1, 1, NOW - HOUR, NOW + HOUR),
    2: Code(2, 3, NOW - HOUR, NOW + HOUR),
    3: Code(3, 1, NOW + HOUR, NOW + 2 * HOUR),
    4: Code(4, 1, NOW - 2 * HOUR, NOW),
}
PINS = {1: "00123456", 2: "22222222", 3: "33333333", 4: "44444444"}
LISTED = PassCodes(
    KEY.hex(),
    [
        PassCode(
            code.visitor_pass,
            code.number,
            pass_codes.pin_digest(KEY, PINS[code.visitor_pass]),
            code.valid_from,
            code.valid_until,
        )
        for code in CODES.values()
    ],
)
SECRET = "a-secret-of-the-reader"


def qr(code: Code) -> str:
    return pass_codes.text(KEY, code)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    readers = [Reader("scan-in", "in", "entry", field="data"), Reader("scan-out", "out", "exit", SECRET)]
    made.config = msgspec.structs.replace(made.config, readers=readers)
    return made


@pytest.fixture
def spool(world: World) -> Iterator[Spool]:
    opened = world.spool()
    yield opened
    opened.close()


@asynccontextmanager
async def at_the_gate(world: World, spool: Spool, codes: PassCodes | None = LISTED) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway, and be a reader of its LAN."""
    async with world.gateway(spool) as decider:
        if codes is not None:
            await decider.activate(msgspec.structs.replace(LIST, codes=codes))
        async with reader(world, spool, decider) as client:
            yield client


@asynccontextmanager
async def reader(world: World, spool: Spool, decider: Decider) -> AsyncIterator[httpx.AsyncClient]:
    intake = Intake(world.config, spool, decider, clock=lambda: world.now)
    app = application(intake, decider, dict, Strays(lambda: world.now, {SECRET}), world.config.readers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


async def come_in(client: httpx.AsyncClient, code: str) -> tuple[int, str | None]:
    answer = await client.post("/readers/scan-in/codes", json={"data": code})
    return answer.status_code, answer.json().get("reason")


async def go_out(client: httpx.AsyncClient, code: str) -> tuple[int, str | None]:
    answer = await client.post(f"/readers/scan-out/{SECRET}/codes", content=code)
    return answer.status_code, answer.json().get("reason")


def told(spool: Spool) -> list[tuple[str, str, str | None, bool | None]]:
    return [(p.direction, p.reason, p.credential_id, p.opened) for p in records(spool)]


@pytest.mark.parametrize("typed", [qr(CODES[1]), qr(CODES[1]).lower() + "\r\n", "00123456", "0012 3456#"])
async def test_a_code_lets_in_once_and_again_after_it_left(world: World, spool: Spool, typed: str) -> None:
    async with at_the_gate(world, spool) as client:
        assert await come_in(client, typed) == (200, "by_code")
        world.now += 5_000
        assert await come_in(client, typed) == (200, "by_code")  # shown twice: the same passage
        assert len(world.pulses) == 1
        world.now += 60_000
        assert await come_in(client, typed) == (403, "code_used")
        assert await go_out(client, typed) == (200, "by_code")
        world.now += 60_000
        assert await go_out(client, typed) == (200, "by_code")  # nobody is kept inside
        assert await come_in(client, typed) == (200, "by_code")
    assert told(spool) == [
        ("entry", "by_code", "pass-1", True),
        ("entry", "code_used", "pass-1", None),
        ("exit", "by_code", "pass-1", True),
        ("exit", "by_code", "pass-1", True),
        ("entry", "by_code", "pass-1", True),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (qr(CODES[3]), "not_yet_valid"),
        (qr(CODES[4]), "expired"),
        ("33333333", "not_yet_valid"),
        ("44444444", "expired"),
        (qr(Code(2, 2, NOW - HOUR, NOW + HOUR)), "revoked"),  # of the link before
        (pass_codes.text(b"x" * 32, CODES[1]), "unknown_code"),
        ("https://example.org/menu", "unknown_code"),
        ("PM1" + "é" * 30, "unknown_code"),
        ("PM1AAAA", "unknown_code"),
        ("1" * 400, "unknown_code"),
    ],
)
async def test_what_is_not_valid_opens_nothing(world: World, spool: Spool, code: str, reason: str) -> None:
    async with at_the_gate(world, spool) as client:
        assert await come_in(client, code) == (403, reason)
        assert await come_in(client, code) == (403, reason)
    assert world.pulses == []
    kept = [p.reason for p in records(spool)]
    wrong_pin = reason == "unknown_code" and pass_codes.typed_pin(code) is not None
    assert kept == [reason] * (2 if wrong_pin else 1)  # a scanner reads the same code again and again


async def test_a_code_that_came_in_at_another_gateway_is_used_here_too(world: World, spool: Spool) -> None:
    def told(direction: str, seconds_ago: int) -> PassCodes:
        used = {"used": direction, "used_at": world.now - seconds_ago * 1000}
        return msgspec.structs.replace(
            LISTED, codes=[msgspec.structs.replace(LISTED.codes[0], **used), *LISTED.codes[1:]]
        )

    async with world.gateway(spool) as decider, reader(world, spool, decider) as client:
        await decider.activate(msgspec.structs.replace(LIST, codes=told("entry", 1)))
        assert await come_in(client, qr(CODES[1])) == (403, "code_used")
        assert await come_in(client, "22222222") == (200, "by_code")
        world.now += 60_000
        await decider.activate(msgspec.structs.replace(LIST, version=LIST.version + 1, codes=told("exit", 1)))
        assert await come_in(client, qr(CODES[1])) == (200, "by_code")
        world.now += 60_000
        # What another gateway saw before our own word changes nothing, and our own word comes back to us, too.
        for version, (direction, seconds) in enumerate((("exit", 90), ("entry", 60)), LIST.version + 2):
            await decider.activate(msgspec.structs.replace(LIST, version=version, codes=told(direction, seconds)))
            assert await come_in(client, qr(CODES[1])) == (403, "code_used")
        listed = told("entry", 60)
    # Told is kept over a restart.
    async with world.gateway(spool) as decider, reader(world, spool, decider) as client:
        assert decider.codes == listed
        assert await come_in(client, qr(CODES[1])) == (403, "code_used")


async def test_a_pass_that_is_newer_than_the_list_opens_and_one_taken_back_does_not(world: World, spool: Spool) -> None:
    newest = Code(99, 1, NOW - HOUR, NOW + HOUR)
    revoked = msgspec.structs.replace(
        LISTED, codes=[msgspec.structs.replace(LISTED.codes[0], status="revoked"), *LISTED.codes[1:]]
    )
    async with world.gateway(spool) as decider, reader(world, spool, decider) as client:
        assert await come_in(client, qr(newest)) == (403, "unknown_code")  # no server has told a key
        await decider.activate(msgspec.structs.replace(LIST, codes=LISTED))
        assert await come_in(client, qr(newest)) == (200, "by_code")
        world.now += 60_000
        assert await come_in(client, qr(Code(2, 4, NOW - HOUR, NOW + HOUR))) == (200, "by_code")  # a newer link
        await decider.activate(msgspec.structs.replace(LIST, codes=revoked))
        assert await come_in(client, qr(CODES[1])) == (403, "revoked")
        assert await come_in(client, PINS[1]) == (403, "revoked")
        await decider.activate(msgspec.structs.replace(LIST, codes=PassCodes()))  # the rule was switched off
        world.now += 60_000
        assert await come_in(client, qr(CODES[3])) == (403, "unknown_code")
    assert len(world.pulses) == 2


async def test_wrong_pins_lock_the_gate_for_pins_and_not_for_qr_codes(world: World, spool: Spool) -> None:
    async with at_the_gate(world, spool) as client:
        for attempt in range(WRONG_PINS - 1):
            assert await come_in(client, f"9999999{attempt}") == (403, "unknown_code")
        answer = await client.post("/readers/scan-in/codes", json={"data": "99999990"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, str(LOCKED_MS // 1000))
        assert await come_in(client, PINS[1]) == (429, "codes_locked")
        assert await go_out(client, PINS[2]) == (200, "by_code")  # the other gate
        assert await come_in(client, qr(CODES[2])) == (200, "by_code")
    spool.close()
    again = world.spool()
    async with at_the_gate(world, again, codes=None) as client:  # what was told, and the lock, are on disk
        assert await come_in(client, PINS[1]) == (429, "codes_locked")
        world.now += LOCKED_MS
        assert await come_in(client, PINS[1]) == (200, "by_code")
    locked = [p for p in records(again) if p.reason == "codes_locked"]
    assert [(p.gate, p.decision, p.credential_id) for p in locked] == [("in", "denied", None)]
    again.close()


async def test_no_pin_and_no_code_is_kept_or_logged(
    world: World, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    shown = [*PINS.values(), "98765432", qr(CODES[1]), qr(CODES[2])]
    async with at_the_gate(world, spool) as client:
        for code in shown:
            await come_in(client, code)
            world.now += 40_000
        await client.post("/readers/scan-in/codes", json={"other": PINS[1]})
        await client.post(f"/readers/{PINS[1]}/codes", json={"data": PINS[1]})
    spool.close()
    disk = b"".join(path.read_bytes() for path in world.folder.iterdir() if path.is_file())
    for code in shown:
        assert code.encode() not in disk
        assert code not in "".join(record.getMessage() for record in caplog.records if "HTTP Request" not in record.msg)


async def test_a_barrier_that_fails_uses_up_nothing(world: World, spool: Spool) -> None:
    async with at_the_gate(world, spool) as client:
        world.broken = True
        assert await come_in(client, qr(CODES[1])) == (502, "by_code")
        world.broken = False
        world.now += 40_000
        assert await come_in(client, qr(CODES[1])) == (200, "by_code")
    assert [(p.reason, p.opened) for p in records(spool)] == [("by_code", False), ("by_code", True)]


async def test_the_car_that_a_camera_could_not_know_is_the_visitor_s(world: World, spool: Spool) -> None:
    async with world.gateway(spool) as decider, reader(world, spool, decider) as client:
        await decider.activate(msgspec.structs.replace(LIST, codes=LISTED))
        await post(decider, world.shot("9999XYZ"), "cam-out")
        await until(lambda: len(decider._gates["out"].held) == 1)
        assert await go_out(client, qr(CODES[1])) == (200, "by_code")
        # Where exit is free, it would have had a second pulse now.
        world.now += 8_000
        await post(decider, world.shot("9999XYZ"), "cam-out")
        await until(lambda: spool.counts().inbox == 0)
        # Here the code comes first, and then the camera's read.
        assert await come_in(client, qr(CODES[2])) == (200, "by_code")
        await post(decider, world.shot("8888XYZ"), "cam-in")
        await until(lambda: spool.counts().inbox == 0)
    assert len(world.pulses) == 2
    assert [(p.plate, p.reason, p.credential_id) for p in records(spool)] == [
        ("9999XYZ", "by_code", "pass-1"),
        ("", "by_code", "pass-2"),
    ]


async def test_a_crash_while_it_opens_leaves_a_record_and_a_used_code(world: World, spool: Spool) -> None:
    moving = asyncio.Event()

    async def dies(_: object) -> None:
        moving.set()
        raise RuntimeError

    world.pulse = dies
    with pytest.raises(ExceptionGroup):  # noqa: PT012 - it comes when the gateway has ended
        async with world.gateway(spool) as decider:
            await decider.activate(msgspec.structs.replace(LIST, codes=LISTED))
            asking = asyncio.create_task(decider.present(world.config.readers[0], qr(CODES[1])))
            await moving.wait()
            asking.cancel()
    spool.close()
    world.pulse = world._pulse
    again = world.spool()
    async with at_the_gate(world, again, codes=None) as client:
        world.now += 60_000
        assert await come_in(client, qr(CODES[1])) == (403, "code_used")
    assert [(p.reason, p.opened) for p in records(again)] == [("by_code", False), ("code_used", None)]
    assert world.pulses == []
    again.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/readers/scan-in/codes", b"", 200),
        ("PUT", "/readers/scan-in/codes/", b"1", 405),
        ("POST", "/readers/scan-out/codes", b"1", 404),
        ("POST", "/readers/scan-out/not-the-secret/codes", b"1", 404),
        ("POST", "/readers/nobody/codes", b"1", 404),
        ("POST", "/readers/scan-in/codes", b"", 400),
        ("POST", "/readers/scan-in/codes", b'{"data": 123456}', 400),
        ("POST", "/readers/scan-in/codes", b'{"data"', 400),
        ("POST", "/readers/scan-in/codes", b"x" * 5000, 413),
    ],
)
async def test_a_reader_that_is_set_up_wrong_is_told(
    world: World, spool: Spool, method: str, path: str, body: bytes, status: int
) -> None:
    async with at_the_gate(world, spool) as client:
        answer = await client.request(method, path, content=body)
        assert answer.status_code == status
        assert answer.json()["detail"]
    assert (world.pulses, records(spool)) == ([], [])
