"""Plates have one spelling; cameras' confusions are known; nothing else fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import plates
from parkmesh.protocol.edge import Plate

PLATE = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=4, max_size=plates.MAX_LENGTH)


@pytest.mark.parametrize(
    ("text", "plate"),
    [
        ("1234BCD", "1234BCD"),
        ("1234 bcd", "1234BCD"),
        (" 1234-BCD\n", "1234BCD"),
        ("M·AB 12", "MAB12"),
        ("b:mw/1.2", "BMW12"),
        ("MÜ-AB 12", "MUAB12"),
        ("\u0410123\u0412\u0421", "A123BC"),  # Cyrillic
        ("\u0430123\u0432\u0441", "A123BC"),  # Cyrillic, lower case
        ("\u0399\u03a7\u0397 1234", "IXH1234"),  # Greek
        ("\u0391\u0395\u0396-1", "AEZ1"),
        ("\uff11\uff12\uff13\uff14\uff22\uff23\uff24", "1234BCD"),  # full width
        ("\u0661\u0662BCD", "12BCD"),  # Arabic-Indic digits
        ("12\u200b34BCD", "1234BCD"),  # zero width
        ("\u202e1234BCD", "1234BCD"),  # right-to-left override
        ("ABCDEFGHIJKL", "ABCDEFGHIJKL"),
        ("AB", "AB"),
    ],
)
def test_one_spelling(text: str, plate: str) -> None:
    assert plates.normalise(text) == plate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "unknown",
        "UNKNOWN",
        " Unknown ",
        "no plate",
        "A",
        "ABCDEFGHIJKLM",
        "12?4BCD",  # an unreadable place must not vanish
        "12*4BCD",
        "\u4eac123456",  # a letter that is no plate letter here
        "\u041912345",  # Cyrillic without a Latin look-alike
        "1234\x00BCD",
        "A" * 100_000,
    ],
)
def test_no_plate(text: str) -> None:
    assert plates.normalise(text) is None


@given(st.text(max_size=80))
def test_normalise_is_total_and_idempotent(text: str) -> None:
    plate = plates.normalise(text)
    if plate is not None:
        assert plates.normalise(plate) == plate
        assert plate.isascii()
        assert plate.isalnum()
        assert plate == plate.upper()
        assert plates.MIN_LENGTH <= len(plate) <= plates.MAX_LENGTH


def test_a_plate_fits_the_wire_format() -> None:
    [limits] = Plate.__metadata__  # type: ignore[attr-defined]
    assert limits.max_length >= plates.MAX_LENGTH


@pytest.mark.parametrize(
    ("read", "plate", "count"),
    [
        ("1234BCD", "1234BCD", 0),
        ("1234BC0", "1234BCD", 1),
        ("I234BCQ", "1234BCD", 2),
        ("OQDO", "0000", 4),
        ("5", "S", 1),
        ("Z", "2", 1),
        ("B", "8", 1),
        ("G", "6", 1),
        ("1234BCE", "1234BCD", None),
        ("1234BC", "1234BCD", None),
        ("B6", "86", 1),
        ("86", "66", None),  # 8 and 6 are in different groups
    ],
)
def test_confusions(read: str, plate: str, count: int | None) -> None:
    assert plates.confusions(read, plate) == count
    assert plates.confusions(plate, read) == count


@given(PLATE, st.data())
def test_at_most_two_confusions_fit(plate: str, data: st.DataObject) -> None:
    groups = ["0ODQ", "1I", "2Z", "5S", "8B", "6G"]
    places = [i for i, char in enumerate(plate) if any(char in group for group in groups)]
    changed = data.draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    read = list(plate)
    for place in changed:
        group = next(group for group in groups if plate[place] in group)
        read[place] = data.draw(st.sampled_from([char for char in group if char != plate[place]]))
    assert plates.fits("".join(read), plate) == (len(changed) <= 2)


@given(PLATE)
def test_a_log_never_shows_the_plate(plate: str) -> None:
    assert plate not in plates.masked(plate)
    assert plates.masked(None) == "-"
