"""Forms that change something: they carry a mark of the state that they were filled with, as the API's If-Match does.

A form whose state is not the present one any more changes nothing and is shown again with the present state.
"""

import hashlib

import msgspec

from parkmesh.server.http.problems import Problem
from parkmesh.server.web.pages.visit import Visit

FIELD = "seen"
STALE = 412


def mark(shown: object) -> str:
    """Return what a form carries that shows this state."""
    return hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:32]


def check(visit: Visit, present: object, field: str = FIELD) -> None:
    """Raise ``Problem`` 412 where the form was filled with another state than the present one, which is held.

    ``field`` is what carries the mark: pages with several such forms give each its own.
    """
    if visit.form.value(field) != mark(present):
        raise Problem(
            STALE,
            "Somebody changed this in the meantime. Look at it again, then save.",
            kind="precondition-failed",
        )


def refused(visit: Visit, problem: Problem, name: str = "") -> None:
    """Note what was refused, as ``Form.refused`` does; where the state was an old one, let the fields show the new."""
    stale = problem.status_code == STALE
    visit.form.refused(problem, "" if stale else name, visit.zone)
    if stale:
        visit.form.sent = False
