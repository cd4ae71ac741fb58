"""The texts of pages: every one is in both catalogues, and a translation fits its text."""

import re
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from parkmesh.server.web import language

SERVER = Path(language.__file__).parents[1]
PLACEHOLDER = re.compile(r"%\(\w+\)s")


@cache
def extracted() -> frozenset[str]:
    """Return the ids of all texts in templates and code."""
    found = extract_from_dir(
        SERVER,
        [("web/**.py", "python"), ("templates/**.html", "jinja2")],
        {"templates/**.html": {"newstyle_gettext": "true", "silent": "false"}},
        keywords={"N_": None, "_": None, "gettext": None, "ngettext": (1, 2)},
    )
    return frozenset(text if isinstance(text, str) else text[0] for _, _, text, _, _ in found)


@cache
def catalogue(code: str) -> Catalog:
    with language.catalogue_file(code).open("rb") as file:
        return read_po(file, locale=code)


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


def test_a_catalogue_is_read_once_and_only_when_it_is_needed() -> None:
    assert language.language("es") is language.language("es")
    assert language.language("es").gettext("Sign in") == "Entrar"
    assert language.language("en").gettext("Sign in") == "Sign in"
    assert language.language("es").ngettext("%(num)s x", "%(num)s xs", 1234) == "1.234 xs"
