"""scripts/sanity.py lays the plugins out as a collection, in which validate-modules finds what is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT

PREFIX = "ansible_collections.parkmesh.overlay.plugins.module_utils"


@pytest.fixture(scope="module")
def sanity() -> Any:
    found = importlib.util.spec_from_file_location("parkmesh_sanity", ROOT / "scripts" / "sanity.py")
    assert found is not None
    assert found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from ansible.module_utils import mine as m\n", f"from {PREFIX} import mine as m\n"),
        ("    from ansible.module_utils.mine import X\n", f"    from {PREFIX}.mine import X\n"),
        ("from ansible.module_utils.basic import AnsibleModule\n",) * 2,
        ("See M(thing) and M(things).\n", "See M(parkmesh.overlay.thing) and M(things).\n"),
        ("seealso:\n  - module: thing\n", "seealso:\n  - module: parkmesh.overlay.thing\n"),
        (
            "extends_documentation_fragment:\n  - part\n  - part.more\n"
            "  - amazon.aws.common.modules\nauthor:\n  - part\n",
            "extends_documentation_fragment:\n  - parkmesh.overlay.part\n  - parkmesh.overlay.part.more\n"
            "  - amazon.aws.common.modules\nauthor:\n  - part\n",
        ),
        ("extends_documentation_fragment: part\n", "extends_documentation_fragment: parkmesh.overlay.part\n"),
    ],
)
def test_names_become_the_collections(sanity: Any, text: str, expected: str) -> None:
    assert sanity.rewritten(text, frozenset({"thing"}), frozenset({"mine"}), frozenset({"part"})) == expected


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("description: The member's name.", "descripton: The member's name."), "invalid-documentation"),
        (('"choices": ["present", "absent"]', '"choices": ["present"]'), "doc-choices-do-not-match-spec"),
    ],
)
def test_what_is_wrong_is_found(
    sanity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str], code: str
) -> None:
    pytest.importorskip("voluptuous", reason="validate-modules needs voluptuous and antsibull-docs-parser")
    collection = sanity.lay_out(tmp_path)
    for path in (collection / "plugins" / "modules").glob("*.py"):
        if path.stem != "zerotier_member":
            path.unlink()
    assert sanity.with_validate_modules(collection) == 0
    for path in (collection / "plugins").glob("*/*.py"):
        path.write_text(path.read_text().replace(*wrong))
    capsys.readouterr()
    assert sanity.with_validate_modules(collection) == 1
    assert code in capsys.readouterr().out
