"""The texts of pages: every one is in both catalogues, and a translation fits its text.

What the server refuses is a text of pages too: each ``Problem`` and each mistake in a table can be translated.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from parkmesh.server.http.messages import Message
from parkmesh.server.web import language

SERVER = Path(language.__file__).parents[1]
PLACEHOLDER = re.compile(r"%\(\w+\)s")


@cache
def extracted() -> frozenset[str]:
    """Return the ids of all texts in templates and code."""
    with (language.FOLDER / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    keywords = {"N_": None, "_": None, "gettext": None, "ngettext": (1, 2), "Message": None, "Problem": (2,)}
    found = extract_from_dir(SERVER.parent, methods, options, keywords=keywords)
    return frozenset(text if isinstance(text, str) else text[0] for _, _, text, _, _ in found)


@cache
def catalogue(code: str) -> Catalog:
    with language.catalogue_file(code).open("rb") as file:
        return read_po(file, locale=code)


ONLY_PROGRAMS_READ = ("edge/", "db/migrations/", "web/api/", "web/preconditions.py")
TEXT_OF = {"Problem": 1, "Message": 0, "Wrong": 0, "Mistake": 2, "outside_rules": 0, "overlap": 2}
"""Which argument of a call is a text for people."""
MADE_ELSEWHERE = {"error.detail", "problem.detail", "wrong.what", "why"}
"""Texts that are passed on: of a ``Problem``, of ``Wrong``, of ``passwords.weakness``; the type checker knows them."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Return the modules whose texts people read."""
    for file in sorted(SERVER.rglob("*.py")):
        name = file.relative_to(SERVER).as_posix()
        if not name.startswith(ONLY_PROGRAMS_READ):
            yield name, ast.parse(file.read_text())


def untranslatable(name: str, module: ast.Module) -> list[str]:
    """Return the texts of a module that no catalogue can have: put together where they are used."""
    known = {
        target.id
        for node in ast.walk(module)
        if isinstance(node, ast.Assign) and _is_text(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known |= {
        node.arg
        for node in ast.walk(module)
        if isinstance(node, ast.arg) and node.annotation and ast.unparse(node.annotation) == "Message"
    }
    return [
        f"{name}:{node.lineno}: {ast.unparse(node.args[TEXT_OF[called]])}"
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and (called := ast.unparse(node.func).rpartition(".")[2]) in TEXT_OF
        and len(node.args) > TEXT_OF[called]
        and not _is_text(node.args[TEXT_OF[called]], known, literal=called in ("Problem", "Message"))
    ]


def _is_text(node: ast.expr, known: set[str], literal: bool = False) -> bool:
    if isinstance(node, ast.Constant):
        return literal
    if isinstance(node, ast.Call):
        # Functions that return a message are found where they make it.
        return ast.unparse(node.func).rpartition(".")[2] in ("Message", "gettext", "_too_long")
    shown = ast.unparse(node)
    return shown in known | MADE_ELSEWHERE or shown.startswith(("labels.", "overlaps."))


def test_whatever_is_refused_can_be_translated() -> None:
    assert [text for name, module in sources() for text in untranslatable(name, module)] == []


@pytest.mark.parametrize(
    "code",
    [
        'Problem(409, f"There are {n} already.")',
        'Problem(409, str(error), kind="x")',
        'Message(f"{n} rows")',
        'Mistake(1, None, "twice")',
        'bookings.outside_rules("Too long.", rule="x")',
    ],
)
def test_a_text_that_nobody_can_translate_is_found(code: str) -> None:
    assert len(untranslatable("x", ast.parse(code))) == 1


def test_what_is_refused_is_among_the_texts() -> None:
    refused = {"The booking is over.", "There is a gate %(name)s already.", "not yes or no", "Sign in first."}
    assert refused <= extracted()


def test_texts_are_found() -> None:
    assert {"Sign in", "Known plate", "Book a space", "%(count)s space is free"} <= extracted()


@pytest.mark.parametrize("code", language.LANGUAGES)
def test_every_text_is_in_the_catalogue_and_nothing_else(code: str) -> None:
    ids = {message.id if isinstance(message.id, str) else message.id[0] for message in catalogue(code) if message.id}
    assert ids == extracted()


def test_everything_is_translated() -> None:
    untranslated = [
        message.id
        for message in catalogue("es")
        if message.id and not all(message.string if isinstance(message.string, tuple) else (message.string,))
    ]
    assert untranslated == []


def test_translations_keep_what_is_filled_in() -> None:
    for message in catalogue("es"):
        ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
        wanted = {name for text in ids for name in PLACEHOLDER.findall(text)}
        for text in message.string if isinstance(message.string, tuple | list) else (message.string,):
            if message.id:
                assert set(PLACEHOLDER.findall(text)) == wanted, message.id


def test_a_message_is_said_in_the_reader_s_language_with_its_values() -> None:
    message = Message("more than %(most)s rows", most=10_000)
    assert message == "more than 10000 rows"
    assert language.language("es").say(message) == "más de 10.000 filas"
    assert language.language("en").say(message) == "more than 10,000 rows"
    assert language.language("es").say("The booking is over.") == "La reserva ya ha terminado."
    assert language.language("es").say("100 % of it") == "100 % of it"


def test_a_catalogue_is_read_once_and_only_when_it_is_needed() -> None:
    assert language.language("es") is language.language("es")
    assert language.language("es").gettext("Sign in") == "Entrar"
    assert language.language("en").gettext("Sign in") == "Sign in"
    assert language.language("es").ngettext("%(num)s x", "%(num)s xs", 1234) == "1.234 xs"
