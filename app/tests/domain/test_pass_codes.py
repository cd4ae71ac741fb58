"""Codes of visitor passes: what is signed is read as it was, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import pass_codes
from parkmesh.domain.pass_codes import Code

KEY, OTHER = b"k" * 32, b"o" * 32
MOMENT = st.integers(0, 253_402_300_799_999)
CODES = st.builds(Code, st.integers(1, 2**63 - 1), st.integers(1, 2**32 - 1), MOMENT, MOMENT)


@given(CODES, st.booleans())
def test_a_code_is_read_as_it_was_written(code: Code, lower: bool) -> None:
    text = pass_codes.text(KEY, code)
    assert text.isascii()
    assert text.isalnum()
    assert text == text.upper()
    assert pass_codes.read(KEY, f" {text.lower() if lower else text}\n") == code
    assert pass_codes.read(OTHER, text) is None
    assert pass_codes.read(b"", text) is None


@given(CODES, st.integers(3, 80), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_no_changed_code_says_anything_else(code: Code, place: int, char: str) -> None:
    text = pass_codes.text(KEY, code)
    changed = text[:place] + char + text[place + 1 :]
    assert pass_codes.read(KEY, changed) in (None, code)


@given(st.text(max_size=300))
def test_any_text_can_be_scanned(text: str) -> None:
    assert pass_codes.read(KEY, text) is None
    assert pass_codes.read(KEY, "PM1" + text) is None
    typed = pass_codes.typed_pin(text)
    assert typed is None or (typed.isascii() and typed.isdigit() and len(typed) == pass_codes.PIN_DIGITS)


def test_pins_keep_their_zeros_and_differ_by_pass_and_number() -> None:
    pins = {pass_codes.pin(KEY, one, number) for one in range(1, 40) for number in range(1, 6)}
    assert len(pins) == 39 * 5
    assert {len(pin) for pin in pins} == {pass_codes.PIN_DIGITS}
    assert pass_codes.typed_pin(" 0012-3456# ") == "00123456"
    assert pass_codes.pin_digest(KEY, "00123456") != pass_codes.pin_digest(OTHER, "00123456")
