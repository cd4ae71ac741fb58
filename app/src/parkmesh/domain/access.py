"""The decision whether a car may pass a gate; gateway and server share it.

The list (``decide``): an exact match of a valid credential opens. A misread (``plates.fits``) opens only if exactly one
plate of the whole list fits and that plate itself would pass now, and the read isn't nearer to another whole plate
(``plate_series``), which may be a stranger's: a doubt never opens a gate. The community's rule ``plate_matching`` says
whether misreads open at all, and whether worse ones do (``plates.flaws``). How many credentials the plate has is no
doubt. A plate that staff barred doesn't pass, whoever holds it; a neighbour's plate that only reads
alike isn't barred with it.

A gateway whose clock is known to be wrong (``doubtful``) refuses nobody for it: ``now`` is then the earliest that it
can be. What is over by then is over; what may be valid opens, with a reason that says so.

The rules (``admit``), for cars that the list lets in: anti-passback (a car that is inside doesn't come in again) and
lots (no more cars of a unit inside than it has lots). No rule keeps a car from leaving, and a car of which nothing is
known may come in: a missed passage must not lock people in or out.

The free exit (``let_out``), for cars that the list doesn't let in: whoever is inside may leave, unless the community
wants it otherwise. A gate lets such a car out only after it has waited for a better read of it (``domain.free_exit``).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct

from parkmesh.domain import plate_series, plates
from parkmesh.domain.community_rules import GateRules, PlateMatching


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
    ANTI_PASSBACK = "anti_passback"
    LOTS_FULL = "lots_full"
    BARRED = "barred"
    CLOCK_DOUBTED = "clock_doubted"
    EXIT_IS_FREE = "exit_is_free"
    UNSURE = "unsure"
    BY_CODE = "by_code"
    UNKNOWN_CODE = "unknown_code"
    CODE_USED = "code_used"
    CODES_LOCKED = "codes_locked"


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
    @property
    def unit(self) -> str | None: ...
    @property
    def lots(self) -> int | None: ...


class Listed(Protocol):
    """An access list as decisions ask it (``access_index.AccessIndex`` is one)."""

    def of_plate(self, plate: str) -> Sequence[Entry]:
        """Return the entries of exactly this plate."""

    def alike(self, plate: str) -> Sequence[Sequence[Entry]]:
        """Return the entries of each other plate that ``plate`` can be a misreading of (``plates.fits``)."""

    def near(self, plate: str) -> Sequence[Sequence[Entry]]:
        """Return the entries of each plate that ``plate`` can be a worse misreading of (``plates.flaws``)."""

    def credential(self, credential_id: str) -> Entry | None:
        """Return the entry with this id, None if the list has none."""

    def of_unit(self, unit: str) -> Sequence[Entry]:
        """Return the entries of a unit."""


class Decision(Struct, frozen=True):
    """The answer for one read. ``credential_id`` is the credential that decided, where a single one did; below 0 it is
    a bar."""

    outcome: Literal["granted", "denied"]
    reason: Reason
    credential_id: str | None = None

    @property
    def granted(self) -> bool:
        return self.outcome == "granted"


def sure_enough(decision: Decision, confidence: float | None, least: float, least_misread: float) -> Decision:
    """Return the decision on a read of which its camera was so sure (0 to 1; None or 0: it doesn't say).

    A read below ``least`` opens nothing, and one that opens as a misread must be at least ``least_misread``.
    """
    if not decision.granted or not confidence:
        return decision
    needed = max(least, least_misread) if decision.reason is Reason.FUZZY else least
    return decision if confidence >= needed else Decision("denied", Reason.UNSURE)


def is_bar(entry: Entry) -> bool:
    """Tell whether an entry is no credential but a plate that staff barred: its id is below 0."""
    return entry.credential_id.startswith("-")


def _standing(entry: Entry, now: int, doubtful: bool) -> Reason | None:
    """Return why the entry doesn't open at ``now``, or None if it does or, by a doubtful clock, may."""
    if entry.status == "revoked":
        return Reason.REVOKED
    if entry.valid_from is not None and now < entry.valid_from and not doubtful:
        return Reason.NOT_YET_VALID
    if entry.valid_until is not None and now >= entry.valid_until:
        return Reason.EXPIRED
    return None


def _age(credential: str) -> tuple[int, str]:
    """Return what orders credentials by age: their ids are numbers, written without zeros in front."""
    return len(credential), credential


# Of several credentials of one plate that all refuse, the reason that a person should read first.
_GRAVITY = (Reason.REVOKED, Reason.NOT_YET_VALID, Reason.EXPIRED)


def decide(
    plate: str | None,
    listed: Listed,
    now: int,
    *,
    doubtful: bool = False,
    matching: PlateMatching = "careful",
) -> Decision:
    """Decide on a normalised plate (None: the camera saw none) against a community's list at ``now`` (ms since 1970).

    A plate with several credentials opens when any of them is valid: revoking a visitor's pass doesn't lock out the
    resident who holds the same plate.
    """
    if plate is None:
        return Decision("denied", Reason.NO_PLATE)
    if exact := listed.of_plate(plate):
        return _of_one_plate(exact, now, doubtful)
    if matching == "exact":
        return Decision("denied", Reason.UNKNOWN_PLATE)
    # Where a look-alike fits, worse misreads aren't asked: what `careful` decides stands with `generous` too.
    fitting = listed.alike(plate) or (listed.near(plate) if matching == "generous" else ())
    if not fitting:
        return Decision("denied", Reason.UNKNOWN_PLATE)
    decisions = [_of_one_plate(entries, now, doubtful) for entries in fitting]
    # Which credential or bar refused is told for what was read, not for a guess.
    if any(decision.reason in (Reason.REVOKED, Reason.BARRED) for decision in decisions):
        return Decision("denied", Reason.REVOKED)
    if len(decisions) > 1:
        return Decision("denied", Reason.AMBIGUOUS)
    [only], [[entry, *_]] = decisions, fitting
    if _is_rather_another(plate, entry.plate):
        return Decision("denied", Reason.UNKNOWN_PLATE)
    return Decision("granted", Reason.FUZZY, only.credential_id) if only.reason is Reason.EXACT else only


def _is_rather_another(read: str, plate: str) -> bool:
    """Tell whether a read that may be a misread of ``plate`` is as likely another car's plate."""
    least = plate_series.to_a_whole_plate(read, plate)
    if least is None:
        return False
    wrong = plates.confusions(read, plate)
    if wrong is not None:
        return least < wrong
    # Something was lost or added: then another plate of the read's own length is the better guess even if as far.
    return least <= (plates.flaws(read, plate) or 0)


def _of_one_plate(entries: Sequence[Entry], now: int, doubtful: bool) -> Decision:
    """Decide on a plate by all entries that it has, at least one."""
    if bar := next((entry for entry in entries if is_bar(entry)), None):
        return Decision("denied", Reason.BARRED, bar.credential_id)
    standings = [(_standing(entry, now, doubtful), entry.credential_id) for entry in entries]
    # The oldest decides: who registers a plate later than its holder doesn't take over its passages.
    valid = sorted((credential for refusal, credential in standings if refusal is None), key=_age)
    if valid and doubtful:
        bounded = {e.credential_id for e in entries if (e.valid_from or 0) > now or e.valid_until is not None}
        certain = next((credential for credential in valid if credential not in bounded), None)
        reason = Reason.EXACT if certain else Reason.CLOCK_DOUBTED
        return Decision("granted", reason, certain or valid[0])
    if valid:
        return Decision("granted", Reason.EXACT, valid[0])
    gravest = min((refusal for refusal, _ in standings if refusal is not None), key=_GRAVITY.index)
    return Decision("denied", gravest, min((c for refusal, c in standings if refusal is gravest), key=_age))


def vehicle(plate: str, decision: Decision, listed: Listed) -> str:
    """Return the plate of the vehicle that was read as ``plate``: the credential's, where the read was a misread."""
    if decision.reason is Reason.EXACT:
        return plate
    entry = _deciding(decision, listed)
    return entry.plate if entry else plate


def _deciding(decision: Decision, listed: Listed) -> Entry | None:
    return None if decision.credential_id is None else listed.credential(decision.credential_id)


def admit(
    plate: str,
    decision: Decision,
    listed: Listed,
    direction: Literal["entry", "exit"],
    rules: GateRules,
    inside: Mapping[str, bool],
    *,
    doubtful: bool = False,
) -> Decision:
    """Apply the rules to a read that the list lets pass; ``inside`` says where plates are, as far as it is known.

    A granted passage that contradicts what is known has the reason ``ANTI_PASSBACK``, so that it can be looked at. By a
    doubtful clock nobody knows which of two words on a car is the later: then a contradiction only marks.
    """
    if not decision.granted:
        return decision
    car = vehicle(plate, decision, listed)
    entering = direction == "entry"
    contradiction = rules.anti_passback != "off" and inside.get(car) is entering
    marked = Decision("granted", Reason.ANTI_PASSBACK, decision.credential_id) if contradiction else decision
    if not entering:
        return marked
    if contradiction and rules.anti_passback == "hard" and not doubtful:
        return Decision("denied", Reason.ANTI_PASSBACK, decision.credential_id)
    if not inside.get(car) and not _has_lot(car, decision, listed, rules, inside):
        return Decision("denied", Reason.LOTS_FULL, decision.credential_id)
    return marked


def _has_lot(car: str, decision: Decision, listed: Listed, rules: GateRules, inside: Mapping[str, bool]) -> bool:
    """Tell whether the unit of the deciding credential has a lot left. A car without a unit needs none."""
    entry = _deciding(decision, listed)
    if entry is None or entry.unit is None:
        return True
    lots = rules.lots_per_unit if entry.lots is None else entry.lots
    if lots is None:
        return True
    parked = {other.plate for other in listed.of_unit(entry.unit) if inside.get(other.plate)} - {car}
    return len(parked) < lots


def judge(
    plate: str | None,
    listed: Listed,
    now: int,
    direction: Literal["entry", "exit"],
    rules: GateRules,
    inside: Mapping[str, bool],
    *,
    doubtful: bool = False,
) -> Decision:
    """Decide on a read by list and rules: what a gateway does at the gate, and what the server predicts."""
    decision = decide(plate, listed, now, doubtful=doubtful, matching=rules.plate_matching)
    return decision if plate is None else admit(plate, decision, listed, direction, rules, inside, doubtful=doubtful)


def let_out(decision: Decision, direction: Literal["entry", "exit"], rules: GateRules) -> Decision:
    """Return the decision on a car that list and rules refused and of which no better read has come.

    What the list said of its plate stays with the passage as its credential. A read that is too old opens nothing: no
    car may stand there any more.
    """
    if decision.granted or direction != "exit" or not rules.exit_is_free or decision.reason is Reason.STALE:
        return decision
    return Decision("granted", Reason.EXIT_IS_FREE, decision.credential_id)
