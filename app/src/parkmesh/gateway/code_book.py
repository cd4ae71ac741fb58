"""What a gateway knows of the visitors' codes: which are valid, which have come in, who guesses PINs.

No I/O and no clock of its own. ``memory`` is what has to survive a restart. No text that was scanned or typed is kept.
"""

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from parkmesh.domain import pass_codes
from parkmesh.domain.access import Decision, Reason
from parkmesh.domain.pass_codes import Code
from parkmesh.protocol.edge import Direction, PassCode, PassCodes

WRONG_PINS = 5
"""So many wrong PINs at a gate within ``LOCKED_MS`` lock it for PINs."""
LOCKED_MS = 600_000


class Use(Struct):
    """A pass whose code opened a gate last in this direction, at ``at`` (ms). It is forgotten at ``until``. The gate of
    another gateway has no name here."""

    gate: str
    direction: Direction
    at: int
    until: int


class _Memory(Struct):
    uses: dict[int, Use] = {}
    wrong: dict[str, list[int]] = {}
    locked: dict[str, int] = {}


class Verdict(Struct, frozen=True):
    """The answer to a code. ``kind`` is what was presented. ``again``: it opened this gate a moment ago, and the
    passage is the same. ``locked_ms``: the gate takes no PINs for so long. ``new``: it is worth a record."""

    kind: Literal["qr", "pin", "none"]
    decision: Decision
    code: Code | None = None
    again: bool = False
    locked_ms: int = 0
    new: bool = True


def credential(visitor_pass: int) -> str:
    """Return how passages name a pass."""
    return f"pass-{visitor_pass}"


def _code(entry: PassCode) -> Code:
    return Code(entry.visitor_pass, entry.number, entry.valid_from, entry.valid_until)


class CodeBook:
    """The codes that came with the access list (None: no server has told any), and what has been done with them."""

    def __init__(self, codes: PassCodes | None, memory: bytes | None) -> None:
        self._told: dict[str, tuple[bytes, int]] = {}
        try:
            self._memory = _Memory() if memory is None else msgspec.json.decode(memory, type=_Memory)
        except ValueError:  # damaged, or written by another release
            self._memory = _Memory()
        self.take_over(codes)

    def take_over(self, codes: PassCodes | None) -> None:
        """Decide by these codes from now on, and by where the community's other gateways saw them later than we did."""
        self.codes = codes
        known = codes or PassCodes()
        self._key = bytes.fromhex(known.key)
        self._former = {former.number: bytes.fromhex(former.key) for former in known.former}
        self._by_pass: dict[int, PassCode] = {code.visitor_pass: code for code in known.codes}
        self._by_pin: dict[str, PassCode] = {code.pin: code for code in known.codes}
        for code in known.codes:
            own = self._memory.uses.get(code.visitor_pass)
            if code.used is not None and (own is None or own.at < code.used_at):
                self._memory.uses[code.visitor_pass] = Use("", code.used, code.used_at, code.valid_until)

    def memory(self) -> bytes:
        """Return what to store."""
        return msgspec.json.encode(self._memory)

    def locked_ms(self, gate: str, now: int) -> int:
        """Return for how long a gate takes no PINs. A clock that was set back prolongs nothing."""
        return max(0, min(self._memory.locked.get(gate, 0) - now, LOCKED_MS))

    def find(self, gate: str, presented: str, now: int) -> tuple[Literal["qr", "pin", "none"], Code | None]:
        """Return which code was scanned or typed. Takes some 20 ms for a PIN, and as much for each former key; a locked
        gate looks up none."""
        code = pass_codes.read(self._key, presented) or self._read_former(presented)
        if code is not None:
            return "qr", code
        typed = pass_codes.typed_pin(presented)
        if typed is None:
            return "none", None
        if not self._key or self.locked_ms(gate, now):
            return "pin", None
        digests = (pass_codes.pin_digest(key, typed) for key in (self._key, *self._former.values()))
        entry = next((self._by_pin[digest] for digest in digests if digest in self._by_pin), None)
        return "pin", None if entry is None else _code(entry)

    def judge(
        self,
        kind: Literal["qr", "pin", "none"],
        code: Code | None,
        presented: str,
        *,
        gate: str,
        direction: Direction,
        now: int,
        time: int,
        window_ms: int,
        doubtful: bool,
    ) -> Verdict:
        """Decide on what ``find`` found. The same code at the same gate within ``window_ms`` is the same passage.

        ``now`` is the gateway's clock, ``time`` the right time as far as it is known (ms); ``doubtful``: that at
        least.
        """
        if kind == "pin" and (locked := self.locked_ms(gate, now)):
            return Verdict(kind, Decision("denied", Reason.CODES_LOCKED), locked_ms=locked, new=False)
        if code is None:
            locked = self._count_wrong(gate, now) if kind == "pin" else 0
            refused = Decision("denied", Reason.CODES_LOCKED if locked else Reason.UNKNOWN_CODE)
            verdict = Verdict(kind, refused, locked_ms=locked)
        else:
            reason = self._standing(code, time, doubtful)
            used = self._memory.uses.get(code.visitor_pass)
            if reason is None and used is not None and used.direction == direction and used.until > now:
                if used.gate == gate and abs(now - used.at) <= window_ms:
                    decision = Decision("granted", Reason.BY_CODE, credential(code.visitor_pass))
                    return Verdict(kind, decision, code, again=True, new=False)
                # Nobody is kept inside for it.
                reason = Reason.CODE_USED if direction == "entry" else None
            outcome: Literal["granted", "denied"] = "denied" if reason else "granted"
            decision = Decision(outcome, reason or Reason.BY_CODE, credential(code.visitor_pass))
            if reason is None:
                return Verdict(kind, decision, code)
            verdict = Verdict(kind, decision, code)
        return msgspec.structs.replace(verdict, new=self._is_new(gate, verdict, presented, now, window_ms))

    def use(self, code: Code, gate: str, direction: Direction, now: int) -> Use | None:
        """Note that a code opens a gate; return what was noted before."""
        uses = self._memory.uses
        for old in [key for key, use in uses.items() if use.until <= now]:
            del uses[old]
        before = uses.get(code.visitor_pass)
        uses[code.visitor_pass] = Use(gate, direction, now, max(code.valid_until, now + 1))
        return before

    def unuse(self, code: Code, before: Use | None) -> None:
        """Take back a use: the barrier surely didn't open."""
        if before is None:
            self._memory.uses.pop(code.visitor_pass, None)
        else:
            self._memory.uses[code.visitor_pass] = before

    def _read_former(self, presented: str) -> Code | None:
        """Return the code that a former key signed, as the list has it. Somebody else may have that key: what isn't
        listed as signed with it opens nothing."""
        for number, key in self._former.items():
            code = pass_codes.read(key, presented)
            entry = None if code is None else self._by_pass.get(code.visitor_pass)
            if code is not None and entry is not None:
                if code.number < entry.number:
                    return code  # of a link before, so that it is told as such
                if (code.number, number) == (entry.number, entry.key):
                    return _code(entry)
        return None

    def _standing(self, code: Code, time: int, doubtful: bool) -> Reason | None:
        entry = self._by_pass.get(code.visitor_pass)
        # A higher number than the list's is of a link that is newer than the list.
        if entry is not None and (entry.status == "revoked" or code.number < entry.number):
            return Reason.REVOKED
        if time < code.valid_from and not doubtful:
            return Reason.NOT_YET_VALID
        return Reason.EXPIRED if time >= code.valid_until else None

    def _count_wrong(self, gate: str, now: int) -> int:
        """Count a wrong PIN; return for how long (ms) the gate is locked with it."""
        wrong = [at for at in self._memory.wrong.get(gate, []) if 0 <= now - at < LOCKED_MS] + [now]
        if len(wrong) < WRONG_PINS:
            self._memory.wrong[gate] = wrong
            return 0
        self._memory.wrong[gate], self._memory.locked[gate] = [], now + LOCKED_MS
        return LOCKED_MS

    def _is_new(self, gate: str, verdict: Verdict, presented: str, now: int, window_ms: int) -> bool:
        """Tell whether a refusal isn't the one of a moment ago: a scanner reads a code several times a second. Each
        wrong PIN is a refusal of its own."""
        if verdict.kind == "pin" and verdict.code is None:
            return True
        seen = hashlib.sha256(f"{verdict.decision.reason}/{presented}".encode("utf-8", "replace")).digest()
        before, at = self._told.get(gate, (b"", 0))
        if before == seen and abs(now - at) <= window_ms:
            return False
        self._told[gate] = (seen, now)
        return True
