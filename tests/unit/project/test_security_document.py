"""docs/security.md says of every requirement of ASVS 5.0.0, level 2, where it is met, and what it names exists."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLACES = (ROOT, ROOT / "app/src/parkmesh/server", ROOT / "app/tests/server")
DOCUMENT = (ROOT / "docs/security.md").read_text(encoding="utf-8")

# Requirements of levels 1 and 2 as <section>:<numbers>, by chapter.
REQUIREMENTS = {
    1: "1:1-2 2:1-9 3:1-11 4:1-3 5:1-2",
    2: "1:1-3 2:1-3 3:1-4 4:1",
    3: "2:1-2 3:1-4 4:1-6 5:1-5 7:1-2",
    4: "1:1-3 2:1 3:1-2 4:1-4",
    5: "1:1 2:1-3 3:1-2 4:1-3",
    6: "1:1-3 2:1-12 3:1-4 4:1-4 5:1-5 6:1-3 8:1-4",
    7: "1:1-3 2:1-4 3:1-2 4:1-5 5:1-2 6:1-2",
    8: "1:1-2 2:1-3 3:1 4:1",
    9: "1:1-3 2:1-4",
    10: "1:1-2 2:1-2 3:1-4 4:1-11 5:1-5 6:1-2 7:1-3",
    11: "1:1-2 2:1-3 3:1-3 4:1-4 5:1 6:1",
    12: "1:1-3 2:1-2 3:1-4",
    13: "1:1 2:1-5 3:1-2 4:1-5",
    14: "1:1-2 2:1-4 3:1-3",
    15: "1:1-3 2:1-3 3:1-7",
    16: "1:1 2:1-5 3:1-4 4:1-3 5:1-3",
    17: "1:1 2:1-4 3:1-2",
}
VERDICTS = ("met", "met by deployment", "not applicable", "not met")

ROW = re.compile(r"^\| (V\d+\.\d+\.\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)
COUNT = re.compile(r"^\| ([a-z ]+) \| (\d+) \|$", re.M)
ATTACK = re.compile(r"^\| ([^|]+) \| ([^|]*::[^|]*) \|$", re.M)
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?!/)[\w./-]*(?:/[\w.-]+|\.(?:py|md|yml|txt|html|js|css|j2))")


def wanted() -> set[str]:
    found = set()
    for chapter, sections in REQUIREMENTS.items():
        for section in sections.split():
            number, _, span = section.partition(":")
            first, _, last = span.partition("-")
            found |= {f"V{chapter}.{number}.{n}" for n in range(int(first), int(last or first) + 1)}
    return found


def part(title: str) -> str:
    """Return the text of a part of the document."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", DOCUMENT, re.M | re.S)
    assert found, title
    return found[1]


def named() -> list[str]:
    """Return the files and tests that the document names."""
    return sorted({text for text in CODE.findall(DOCUMENT) if PATH.fullmatch(text.partition("::")[0])})


@cache
def functions_of(file: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.M))


def missing(text: str) -> str | None:
    """Say what of a file, or a test as ``<file>::<name>``, doesn't exist."""
    path, _, test = text.partition("::")
    file = next((place / path for place in PLACES if (place / path).exists()), None)
    if file is None:
        return f"no file {path}"
    if test and test not in functions_of(file):
        return f"no test {test} in {path}"
    return None


def test_every_requirement_is_there_once() -> None:
    assert len(wanted()) == 253
    ids = Counter(row[0] for row in ROW.findall(DOCUMENT))
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(ids) == wanted()
    # No test reads a row of another form.
    assert len(re.findall(r"^\| V\d", DOCUMENT, re.M)) == len(wanted())


def test_verdicts_are_of_four_kinds_and_counted() -> None:
    verdicts = Counter(row[2] for row in ROW.findall(DOCUMENT))
    counted = {name: int(count) for name, count in COUNT.findall(DOCUMENT.partition("\n## ")[0])}
    assert counted.pop("all") == sum(verdicts.values())
    assert counted == dict(verdicts)
    assert tuple(counted) == VERDICTS


def test_what_is_not_met_is_listed() -> None:
    listed = Counter(re.findall(r"V\d+\.\d+\.\d+", part("Not met, the most important first")))
    assert listed == Counter(row[0] for row in ROW.findall(DOCUMENT) if row[2] == "not met")


@pytest.mark.parametrize("text", named())
def test_what_is_named_exists(text: str) -> None:
    assert missing(text) is None


def test_every_attack_names_tests() -> None:
    attacks = dict(ATTACK.findall(part("Hostile input")))
    assert len(attacks) >= 9
    for attack, tests in attacks.items():
        assert any("::" in text for text in CODE.findall(tests)), attack


@pytest.mark.parametrize("text", ["docs/nowhere.md", "test_hostile_input.py::test_nothing", "nowhere.py::test_nothing"])
def test_the_check_itself_finds_what_is_not_there(text: str) -> None:
    assert PATH.fullmatch(text.partition("::")[0])
    assert missing(text) is not None
