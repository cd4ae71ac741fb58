"""Scanners and keypads at USB. There is no /dev/uinput in a container: the device is a double, a pipe in which the
kernel's events stand as a scanner's were (``struct input_event`` of include/uapi/linux/input.h)."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway.code_keyboard import Keyboard
from parkmesh.gateway.config import Reader
from parkmesh.gateway.drivers.code_hid import CHARACTERS, EVENT, Keys
from test_code_gate import CODES, LISTED, qr
from test_decider import LIST, World, records, until

ENTER, KEYPAD_ENTER, BACK, ESCAPE, SHIFT = 28, 96, 14, 1, 42
CODE_OF = {character: code for code, character in reversed(CHARACTERS.items())}


def event(code: int, at: float = 0.0, value: int = 1) -> bytes:
    # A scan code (type 4) before each key, and a report (type 0) after it, as the kernel has them.
    stamp = (int(at), int(at % 1 * 1_000_000))
    return EVENT.pack(*stamp, 4, 4, 458_000 + code) + EVENT.pack(*stamp, 1, code, value) + EVENT.pack(*stamp, 0, 0, 0)


def key(code: int, at: float = 0.0) -> bytes:
    return event(code, at) + event(code, at, 0)


def typed(text: str, at: float = 0.0, end: int = ENTER) -> bytes:
    return b"".join(key(CODE_OF[one], at) for one in text.upper()) + key(end, at)


def shifted(code: int) -> bytes:
    return event(SHIFT) + key(code) + event(SHIFT, value=0)


@pytest.mark.parametrize(
    ("stream", "codes"),
    [
        (typed("PM1ABC234"), ["PM1ABC234"]),
        (typed("00123456", end=KEYPAD_ENTER), ["00123456"]),
        (b"".join(key(code) for code in (82, 79, 80, 81)) + key(KEYPAD_ENTER), ["0123"]),
        (typed("1") + typed("2") + key(ENTER), ["1", "2"]),
        (shifted(CODE_OF["P"]) + shifted(CODE_OF["3"]) + typed("1"), ["P1"]),
        (event(CODE_OF["7"]) + event(CODE_OF["7"], value=2) * 9 + key(ENTER), ["7"]),
        (key(CODE_OF["1"]) + key(BACK) + typed("2"), ["2"]),
        (key(CODE_OF["1"]) + key(ESCAPE) + typed("2"), ["2"]),
        (key(CODE_OF["1"], 100.0) + key(CODE_OF["2"], 109.9) + typed("3", 119.8), ["123"]),
        (key(CODE_OF["1"], 100.0) + typed("2", 110.1), ["2"]),
        (typed("1" * 600), ["1" * 500]),
        (typed("12")[:-1], ["12"]),
        (b"", []),
    ],
)
def test_what_is_typed_before_enter_is_a_code(stream: bytes, codes: list[str]) -> None:
    assert Keys().feed(stream) == codes


@given(st.lists(st.text("PM1ABCXYZ234567", min_size=1, max_size=9), max_size=4), st.integers(1, 100))
def test_however_the_bytes_come(texts: list[str], size: int) -> None:
    stream, keys = b"".join(typed(text) for text in texts), Keys()
    assert [one for at in range(0, len(stream), size) for one in keys.feed(stream[at : at + size])] == texts


@given(st.binary(max_size=300))
def test_any_bytes_of_a_device_break_nothing(stream: bytes) -> None:
    assert all(len(code) <= 500 for code in Keys().feed(stream))


async def test_a_scanner_opens_its_gate_and_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("parkmesh.gateway.backoff.FIRST_S", 0.01)
    pipe, grabbed = tmp_path / "event7", list[int]()
    # What is configured begins with /dev/input, which a test can't make.
    reader = msgspec.structs.replace(Reader("scan-in", "in", "entry"), device=str(pipe))
    world = World(tmp_path)
    world.config = msgspec.structs.replace(world.config, readers=[reader])
    spool = world.spool()
    caplog.set_level("INFO", "parkmesh.gateway")
    async with world.gateway(spool) as decider:
        await decider.activate(msgspec.structs.replace(LIST, codes=LISTED))
        keyboard = Keyboard(reader, decider, grabbed.append)
        running = asyncio.create_task(keyboard.run())
        await until(lambda: keyboard.state.fault is not None)
        assert "No such file" in (keyboard.state.fault or "")
        os.mkfifo(pipe)
        for count, text in enumerate((qr(CODES[1]), "22222222", qr(CODES[4])), 1):
            await until(lambda: len(grabbed) == count)  # noqa: B023
            assert keyboard.state.connected
            device = os.open(pipe, os.O_WRONLY)
            os.write(device, typed(text))
            os.close(device)
            # It is opened again when what was typed is settled.
            await until(lambda: len(grabbed) == count + 1)  # noqa: B023
            world.now += 60_000
        assert not running.done()
        running.cancel()
    assert len(world.pulses) == 2
    assert [(p.reason, p.credential_id, p.opened) for p in records(spool)] == [
        ("by_code", "pass-1", True),
        ("by_code", "pass-2", True),
        ("expired", "pass-4", None),
    ]
    assert "22222222" not in caplog.text
    spool.close()
