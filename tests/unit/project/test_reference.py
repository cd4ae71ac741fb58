"""What the documentation repeats from the code is made from it, and lint says where it isn't."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
assert SPEC is not None
assert SPEC.loader is not None
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


def test_every_document_is_up_to_date() -> None:
    assert [path.name for path, _, content in reference.documents() if content not in path.read_text()] == []


def test_an_input_has_its_type_default_and_choices() -> None:
    options = {
        "a_list": {"type": "list", "elements": "dict", "default": [], "description": ["One.", "Two, by C(x|y)."]},
        "a_choice": {"choices": ["present", "absent"], "required": True, "description": "Which."},
    }
    lines = reference.inputs(options).splitlines()[2:]
    assert lines == [
        r"| `a_list` | list of dict | `[]` | One. Two, by `x\|y`. |",
        "| `a_choice` | str | **required** | Which. One of `present`, `absent`. |",
    ]


def test_a_stale_table_is_replaced_and_a_missing_place_is_said() -> None:
    text = "# x\n<!-- generated: inputs -->\nold\n<!-- end -->\nrest\n"
    assert reference.filled(text, "inputs", "new\n") == "# x\n<!-- generated: inputs -->\nnew\n<!-- end -->\nrest\n"
    with pytest.raises(ValueError, match="no place"):
        reference.filled(text, "rules", "new\n")
