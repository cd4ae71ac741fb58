"""Plates are shown in their country's groups and stay the same plates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import plates
from parkmesh.domain.plate_spacing import spaced


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2222ccc", "2222 CCC"),
        ("2222-CCC", "2222 CCC"),
        ("22 22 C CC", "2222 CCC"),
        ("M1234AB", "M 1234 AB"),
        ("AB-123-CD", "AB 123 CD"),
        ("AB12CD", "AB 12 CD"),
        ("12AB34", "12 AB 34"),
        ("1234AB", "12 34 AB"),
        ("AB12CDE", "AB12 CDE"),
        ("ABCDE123", "ABC DE 123"),
        ("B NO 1234", "BNO 1234"),
        ("BN O 1234", "BNO 1234"),
        ("MAB123E", "MAB 123E"),
        ("1234AAA", "1234AAA"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_a_plate_is_shown_in_its_countrys_groups(text: str, shown: str) -> None:
    assert spaced(text) == shown


@given(st.one_of(st.text(), st.from_regex(r"[A-Z]{0,5}[0-9]{0,4}[A-Z]{0,3}", fullmatch=True)))
def test_the_shown_plate_is_the_same_plate(text: str) -> None:
    assert plates.normalise(spaced(text)) == plates.normalise(text)
    assert spaced(spaced(text)) == spaced(text)
