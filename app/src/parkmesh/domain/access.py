"""Who may pass a gate: the one decision that gateway and server share.

The rule: an exact match of a valid credential opens. A misread (``plates.fits``) opens only if exactly one credential
of the whole list fits, that one is valid now, and no revoked one fits: a doubt never opens a gate.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct

from parkmesh.domain import plates


class Reason(StrEnum):
    """Why a passage was granted or denied; the word that travels in ``protocol.edge.Passage.reason``."""

    EXACT = "exact"
    FUZZY = "fuzzy"
    COMMAND = "command"
    NO_PLATE = "no_plate"
    UNKNOWN_PLATE = "unknown_plate"
    REVOKED = "revoked"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    AMBIGUOUS = "ambiguous"
    STALE = "stale"


class Entry(Protocol):
    """One credential as the decision needs it (``protocol.edge.AccessEntry`` is one). Times in ms, until excluded."""

    @property
    def credential_id(self) -> str: ...
    @property
    def plate(self) -> str: ...
    @property
    def status(self) -> Literal["active", "revoked"]: ...
    @property
    def valid_from(self) -> int | None: ...
    @property
    def valid_until(self) -> int | None: ...


class Decision(Struct, frozen=True):
    """The answer for one read. ``credential_id`` is the credential that decided, where a single one did."""

    outcome: Literal["granted", "denied"]
    reason: Reason
    credential_id: str | None = None

    @property
    def granted(self) -> bool:
        return self.outcome == "granted"


def _standing(entry: Entry, now: int) -> Reason | None:
    """Return why the entry doesn't open at ``now``, or None if it does."""
    if entry.status == "revoked":
        return Reason.REVOKED
    if entry.valid_from is not None and now < entry.valid_from:
        return Reason.NOT_YET_VALID
    if entry.valid_until is not None and now >= entry.valid_until:
        return Reason.EXPIRED
    return None


# Of several credentials of one plate that all refuse, the reason that a person should read first.
_GRAVITY = (Reason.REVOKED, Reason.NOT_YET_VALID, Reason.EXPIRED)


def decide(plate: str | None, entries: Iterable[Entry], now: int) -> Decision:
    """Decide on a normalised plate (None: the camera saw none) against a community's list at ``now`` (ms since 1970).

    A plate with several credentials opens when any of them is valid: revoking a visitor's pass doesn't lock out the
    resident who holds the same plate in his own right.
    """
    if plate is None:
        return Decision("denied", Reason.NO_PLATE)
    exact: list[Entry] = []
    fitting: list[Entry] = []
    for entry in entries:
        if entry.plate == plate:
            exact.append(entry)
        elif plates.fits(plate, entry.plate):
            fitting.append(entry)
    if exact:
        standings = [(_standing(entry, now), entry.credential_id) for entry in exact]
        valid = sorted(credential for refusal, credential in standings if refusal is None)
        if valid:
            return Decision("granted", Reason.EXACT, valid[0])
        for reason in _GRAVITY:
            refused = sorted(credential for refusal, credential in standings if refusal is reason)
            if refused:
                return Decision("denied", reason, refused[0])
    if not fitting:
        return Decision("denied", Reason.UNKNOWN_PLATE)
    if any(entry.status == "revoked" for entry in fitting):
        return Decision("denied", Reason.REVOKED)
    if len(fitting) > 1:
        return Decision("denied", Reason.AMBIGUOUS)
    only = fitting[0]
    refusal = _standing(only, now)
    if refusal is not None:
        return Decision("denied", refusal, only.credential_id)
    return Decision("granted", Reason.FUZZY, only.credential_id)
