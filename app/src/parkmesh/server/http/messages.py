"""Texts that the server says to people: English, and ready to be said in another language.

A text without variables is a plain literal where a ``Problem`` is raised; one with variables is a ``Message``. Both are
found in the code when the catalogues of ``locale/`` are made (``locale/babel.cfg``), and ``web.language`` says them in
the reader's language. Programs get the English text.
"""

from typing import Self


class Message(str):
    """An English text that remembers what it was made of: ``id``, with ``%(name)s`` in it, and ``values``."""

    __slots__ = ("id", "values")

    id: str
    values: dict[str, object]

    def __new__(cls, message: str, /, **values: object) -> Self:
        made = super().__new__(cls, message % values if values else message)
        made.id, made.values = message, values
        return made
