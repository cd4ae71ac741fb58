"""What can be wrong with a table that people send."""

from dataclasses import dataclass

from parkmesh.server.http.messages import Message


class Wrong(ValueError):
    """A cell that can't be read, and why."""

    def __init__(self, what: Message) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in a table: ``line`` counts from 1, the header included; ``column`` is null for a whole line."""

    line: int
    column: str | None
    what: str


@dataclass(frozen=True, slots=True)
class Confusion:
    """A plate of a table that gates may confuse with ``plates`` of the community or of the table itself; the import
    takes it all the same."""

    line: int
    plate: str
    plates: list[str]


class Unreadable(Exception):
    """A file that is no table, or of which a part is lost."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(*mistakes)
        self.mistakes = list(mistakes)


def lost(line: int) -> Mistake:
    """Return the mistake of a line with the sign that stands for lost letters (U+FFFD)."""
    what = Message("the sign � stands where a letter was lost: save the file again from the original, as 'CSV UTF-8'")
    return Mistake(line, None, what)
