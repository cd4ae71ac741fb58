"""A gate's part of the configuration: its relay, what moves and reports the barrier, and the rules for it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from parkmesh.gateway import mapping as mappings
from parkmesh.gateway.hold_open import HoldOpen, HoldOpenError
from parkmesh.gateway.hold_open import check as check_hold_open
from parkmesh.gateway.mapping import MappingError, Path
from parkmesh.protocol.edge import Name

RelayUrl = Annotated[str, Meta(pattern=r"^((https?|modbus)://[^/\s@]+/?)?$", max_length=300)]
RelayKind = Literal[
    "shelly_gen2",
    "shelly_gen1",
    "tasmota",
    "esphome",
    "hikvision_gate",
    "modbus_tcp",
    "waveshare_modbus",
    "gpio",
    "http",
]
"""Each kind has a driver in ``gateway.drivers``."""
Contact = Annotated[int, Meta(ge=0, le=255)] | Annotated[str, Meta(pattern=r"^[A-Za-z0-9_ -]{1,64}$")]
"""A switch or an input: its number in the relay, or the name that the device calls it by."""
Question = Literal["closed", "clear"]
"""What a barrier's inputs tell: whether it is closed, and whether nothing is in its way."""
HttpPath = Annotated[str, Meta(pattern=r"^/[^\s#]*$", max_length=500)]

BY_NAME: frozenset[RelayKind] = frozenset({"esphome"})
"""Kinds whose switches and inputs have names; all others have numbers."""
HOLDS: frozenset[RelayKind] = frozenset({"shelly_gen2", "shelly_gen1", "modbus_tcp", "gpio"})
"""Kinds that can be kept switched on for as long as a barrier is to stay open."""
TIMED_HERE: frozenset[RelayKind] = frozenset({"modbus_tcp", "gpio"})
"""Kinds without a timer of their own: the gateway ends the pulse."""
_CLOSES: frozenset[RelayKind] = frozenset({"hikvision_gate", "http"})
"""Kinds that close a barrier by another request, not by another switch."""
_WITH_LOGIN: frozenset[RelayKind] = frozenset(
    {"shelly_gen2", "shelly_gen1", "tasmota", "esphome", "hikvision_gate", "http"}
)


class HttpCall(Struct, frozen=True, forbid_unknown_fields=True):
    """One request to a device; with ``expect``, its answer must contain this text. 200 to 299 is a success."""

    path: HttpPath
    method: Literal["GET", "POST", "PUT"] = "GET"
    body: Annotated[str, Meta(max_length=2000)] = ""
    content_type: Annotated[str, Meta(pattern=r"^[ -~]{1,100}$")] = "application/json"
    expect: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class HttpQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """A question to a device: what lies at ``field`` of its JSON answer (the whole answer without one) means yes if it
    is among ``yes``, no if it is among ``no``, and nothing else."""

    path: HttpPath
    yes: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=8)]
    no: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=8)]
    field: Path | None = None


class HttpCalls(Struct, frozen=True, forbid_unknown_fields=True):
    """How a barrier of the kind ``http`` is opened, closed and asked."""

    open: HttpCall
    close: HttpCall | None = None
    closed: HttpQuestion | None = None
    clear: HttpQuestion | None = None


class Relay(Struct, frozen=True, forbid_unknown_fields=True):
    """What moves the barrier: a switch that is turned on for ``pulse_s`` seconds.

    Inputs are on while all is safe: ``closed_input`` while the barrier is closed, ``clear_input`` while nothing is in
    its way. So a cut wire closes no barrier on a car. ``password`` never goes into a log.
    """

    url: RelayUrl = ""
    kind: RelayKind = "shelly_gen2"
    switch: Contact = 0
    pulse_s: Annotated[float, Meta(gt=0, le=60)] = 2
    closed_input: Contact | None = None
    """The relay's input that is on while the barrier is closed; None where none is connected."""
    clear_input: Contact | None = None
    """The relay's input that is on while nothing is in the barrier's way; None where none is connected."""
    close_switch: Contact | None = None
    """The switch that closes the barrier; None where the barrier closes by itself."""
    user: Annotated[str, Meta(pattern=r"^[^:\s]{1,64}$")] = "admin"
    password: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    unit: Annotated[int, Meta(ge=0, le=247)] = 1
    """The device's number on Modbus."""
    chip: Annotated[str, Meta(pattern=r"^/dev/gpiochip[0-9]{1,3}$")] = "/dev/gpiochip0"
    active_low: bool = False
    """Whether a GPIO line is low while its switch or input is on."""
    calls: HttpCalls | None = None

    def input_of(self, question: Question) -> Contact | None:
        """Return the input that answers a question, None where none is connected."""
        return self.closed_input if question == "closed" else self.clear_input

    @property
    def tells_closed(self) -> bool:
        """Whether anything tells whether the barrier is closed."""
        return self.closed_input is not None or (self.calls is not None and self.calls.closed is not None)

    @property
    def tells_clear(self) -> bool:
        """Whether anything tells whether the barrier's way is clear."""
        return self.clear_input is not None or (self.calls is not None and self.calls.clear is not None)

    @property
    def can_close(self) -> bool:
        """Whether the barrier can be told to close."""
        if self.kind == "http":
            return self.calls is not None and self.calls.close is not None
        return self.kind in _CLOSES or self.close_switch is not None


class Gate(Struct, frozen=True, forbid_unknown_fields=True):
    """A gate with its relay.

    ``input`` is what a pulse does to the barrier: ``open`` always opens it, ``step`` opens, stops or closes it in turn.
    ``min_gap_s`` is the least time from the end of a pulse to the start of the next.
    """

    name: Name
    relay: Relay
    input: Literal["open", "step"] = "step"
    min_gap_s: Annotated[float, Meta(ge=0, le=60)] = 1
    still_open_s: Annotated[float, Meta(ge=5, le=86_400)] = 300
    """A barrier that is open for longer than this is reported."""
    others_open: bool = True
    """Whether something else, such as a remote control or a loop, opens the barrier, too."""
    close_after_clear_s: Annotated[float, Meta(ge=0.2, le=60)] | None = None
    """The gateway closes the barrier when its way has been clear for this long after a car; None: it doesn't."""
    close_unused_s: Annotated[float, Meta(ge=5, le=600)] = 60
    """The same where no car came."""
    hold_open: Annotated[list[HoldOpen], Meta(max_length=32)] = []
    interlock: Annotated[list[Name], Meta(max_length=8)] = []
    """Gates that must be closed before this one opens, and the other way round."""


def fault(gates: Sequence[Gate]) -> str | None:
    """Return what is wrong with the gates, or None."""
    for gate in gates:
        wrong = _relay_fault(gate.relay) or _rules_fault(gate)
        if wrong:
            return f"gate {gate.name!r}: {wrong}"
    named = {gate.name: gate for gate in gates}
    for gate in gates:
        for other in gate.interlock:
            if other == gate.name or other not in named:
                return f"gate {gate.name!r}: interlock names {other!r}, which is no other gate"
            for one in (gate, named[other]):
                if not one.relay.tells_closed:
                    return f"gate {gate.name!r}: interlock: the relay of gate {one.name!r} needs a closed_input"
    return None


def _relay_fault(relay: Relay) -> str | None:
    contacts = ("switch", "closed_input", "clear_input", "close_switch")
    for name in contacts:
        value = getattr(relay, name)
        if value is not None and isinstance(value, str) is not (relay.kind in BY_NAME):
            return f"{name} of the kind {relay.kind} is a {'name' if relay.kind in BY_NAME else 'number'}"
    scheme = "modbus" if relay.kind in ("modbus_tcp", "waveshare_modbus") else "http"
    if relay.kind == "gpio":
        if relay.url:
            return "the kind gpio has a chip, and no url"
    elif not relay.url.startswith(scheme):
        return f"the kind {relay.kind} needs a url that begins with {scheme}://"
    if relay.password is not None and relay.kind not in _WITH_LOGIN:
        return f"the kind {relay.kind} takes no password"
    if (relay.kind == "http") is not (relay.calls is not None):
        return "the kind http needs calls, and no other kind has them"
    if relay.kind == "http" and any(getattr(relay, name) is not None for name in contacts[1:]):
        return "the kind http has its inputs and its closing under calls"
    if relay.close_switch is not None and relay.close_switch == relay.switch:
        return "close_switch and switch are the same"
    if relay.kind == "hikvision_gate" and relay.clear_input is not None:
        return "the kind hikvision_gate has no clear_input"
    for question in (relay.calls.closed, relay.calls.clear) if relay.calls else ():
        if question is not None and question.field is not None:
            try:
                mappings.steps(question.field)
            except MappingError as error:
                return f"calls: {error}"
    return None


def _rules_fault(gate: Gate) -> str | None:
    if gate.close_after_clear_s is not None and not (gate.relay.tells_clear and gate.relay.can_close):
        return "close_after_clear_s needs a clear_input and a way to close (close_switch)"
    if gate.hold_open and gate.input != "open":
        return "hold_open needs input: open, as a longer pulse must not close the barrier"
    if gate.hold_open and gate.relay.kind not in HOLDS:
        return f"hold_open needs a switch that stays on, which the kind {gate.relay.kind} can't do"
    try:
        for times in gate.hold_open:
            check_hold_open(times)
    except HoldOpenError as error:
        return f"hold_open: {error}"
    return None
