"""The edge API: what a gateway and a server say to each other over the overlay (port 8001).

Every body is JSON of one of these structs. All times are integers, milliseconds since the Unix epoch (UTC).

| call | body -> answer |
|---|---|
| ``POST /edge/v1/events`` | ``EventBatch`` -> ``EventAck`` |
| ``GET /edge/v1/access-list?version=N`` | ``AccessList`` (``full`` is true unless N is a version the server can diff) |
| ``POST /edge/v1/heartbeat`` | ``Heartbeat`` -> ``HeartbeatAck`` |
| ``GET /edge/v1/stream`` | ``access-list`` (``ListChanged``), ``command`` (``Command``), ``presence``, ``ping`` |
| ``GET /edge/v1/servers`` | ``Servers``: the live servers, so that gateways spread their calls |

``releases.py`` has the calls by which a gateway fetches a release.

A gateway asks for what it understands: ``GET /edge/v1/access-list?version=N&epoch=E&features=rules``. What came after
the first release (``epoch`` and the named ``features``) is in the answer only if the gateway asks, since a gateway
refuses members that it doesn't know; a server of the first release ignores the parameters, and the gateway goes by its
own configuration.

The feature ``codes`` asks for what a gateway needs to check the QR codes and PINs of visitor passes (``PassCodes``):
all of it with each answer, since few passes are valid at once. Passages by a code have the reason ``by_code`` and as
their credential ``pass-`` with the pass's id; servers of the release before show both as they are. ``codes-2`` asks for
what came later besides: which codes were used, and former keys with the codes that they signed.

``GET /edge/v1/stream?features=presence`` asks for presence as other gateways see it and people correct it (``Moved``),
where the community's rules use presence: first all that is known, then the changes. Of two words on a plate the later
holds.

``gates=main-in,main-out`` on the stream names the gates of the gateway's configuration: a server tells people at once
when no gateway of a gate is connected. A server of an earlier release ignores it.

The list's ``version`` counts within an ``epoch``, which changes when the database was restored to an earlier moment:
who holds another epoch takes the full list, whatever the versions say.

A gateway authenticates with ``Authorization: Bearer <gateway token>``; the server keeps only the token's SHA-256.
Errors are problem details (RFC 9457). 503 carries ``Retry-After``. A batch that leaves a gap, or whose epoch is below
the gateway's, is refused whole with 409; ``expected_epoch`` and ``expected_seq`` say what the server takes next. So is
a batch with other events under numbers that are stored already: it comes of a spool that was put back to an earlier
state (a disk's image, a power cut that took what had been written). ``expected_seq`` is then the first number that
differs.

Exactly-once effect: events of one gateway carry ``(epoch, seq)``; ``seq`` starts at 1 and has no gaps within an epoch.
A new spool starts a new, larger epoch. The server applies a batch and advances the mark in one transaction and
acknowledges the highest contiguous ``seq``; the gateway deletes only at or below it.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from parkmesh.domain.community_rules import GateRules

EDGE_PORT = 8001
WEB_PORT = 8000
MAX_BATCH = 1000
FEATURE_RULES = "rules"
FEATURE_PRESENCE = "presence"
FEATURE_CODES = "codes"
FEATURE_CODES_2 = "codes-2"
MAX_MOVES = 400
GAP_SPOOL = "spool"
"""A broken spool was set aside; how many records it held isn't known."""
GAP_SPOOL_LOST = "spool_lost"
"""A spool was set aside or is gone; it held so many records that no server had acknowledged, by its marks."""
GAP_SPOOL_END_LOST = "spool_end_lost"
"""A spool has lost its last records, at most so many, by its marks."""
GAP_SPOOL_PUT_BACK = "spool_put_back"
"""A spool was put back to an earlier state; how many records are lost isn't known."""
GAP_MEMORY_LOST = "memory_lost"
"""A gateway whose disk took nothing ended; how many records were only in its memory isn't known."""
GAP_GATEWAY_LOST = "gateway_lost"
"""A gateway was replaced or left, and its spool could not be read; the server records this one itself."""
UNCOUNTED_GAPS = frozenset({GAP_SPOOL, GAP_SPOOL_PUT_BACK, GAP_MEMORY_LOST, GAP_GATEWAY_LOST})
"""Kinds of gaps that stand for an unknown number of records: ``dropped`` is 1, and says nothing."""

Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
Name = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Plate = Annotated[str, Meta(max_length=16)]
Text = Annotated[str, Meta(max_length=200)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Sequence = Annotated[int, Meta(ge=1, le=2**63 - 1)]

Direction = Literal["entry", "exit"]
Decision = Literal["granted", "denied"]
SpaceStatus = Literal["free", "occupied", "unknown"]


class Times(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The clocks of one observation: the device's own (often wrong, may be absent) and the gateway's at receipt."""

    received: Millis
    device: Millis | None = None


class Passage(Struct, frozen=True, gc=False, tag="passage", tag_field="type", forbid_unknown_fields=True):
    """A vehicle asked to pass a gate and the gateway decided.

    ``reason`` is a word of ``parkmesh.domain.access.Reason``; ``opened`` tells whether the barrier confirmed the pulse
    (None: not tried, because the decision was ``denied``). ``device_event_id`` is the camera's own id, for tracing.
    """

    seq: Sequence
    times: Times
    gate: Name
    direction: Direction
    plate: Plate
    decision: Decision
    reason: Text
    opened: bool | None = None
    credential_id: Text | None = None
    access_list_version: Count = 0
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    camera: Text | None = None
    device_event_id: Text | None = None


class SpaceState(Struct, frozen=True, gc=False, tag="space_state", tag_field="type", forbid_unknown_fields=True):
    """A sensor reported the state of one space. ``space`` is the space's name within the community, e.g. ``a-01``."""

    seq: Sequence
    times: Times
    space: Name
    status: SpaceStatus
    sensor: Text | None = None


class Gap(Struct, frozen=True, gc=False, tag="gap", tag_field="type", forbid_unknown_fields=True):
    """Records are lost: an explicit record instead of silence.

    ``dropped`` tells how many, unless ``kind`` is one of ``UNCOUNTED_GAPS``. Other kinds: ``space_state`` (the spool
    overflowed), ``refused_*`` and ``damaged_record`` (set aside), ``unstored_*`` (the memory was full) and
    ``lost_by_server`` (its database was restored).
    """

    seq: Sequence
    times: Times
    kind: Text
    dropped: Sequence


Event = Passage | SpaceState | Gap


class EventBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Consecutive events of one epoch, in rising ``seq`` order without gaps."""

    epoch: Sequence
    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_BATCH)]


class EventAck(Struct, frozen=True):
    """Everything at or below ``acked`` of ``epoch`` is durable on the server."""

    epoch: int
    acked: int


class AccessEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One plate's standing at this community's gates.

    ``plate`` is normalised (``parkmesh.domain.plates.normalise``). ``status`` ``revoked`` must be kept by the gateway:
    a fuzzy match never opens when a revoked plate fits too. ``valid_*`` bound the entry; None is unbounded.
    ``unit`` (feature ``rules``) names the unit whose lots the car takes, ``lots`` how many that unit has where it
    differs from the community's rule. A ``credential_id`` below 0 is a bar: the plate may not pass, whoever holds
    it; its entry and all others of the plate are revoked, so that a gateway which knows no bars refuses it too.
    """

    credential_id: str
    plate: Plate
    status: Literal["active", "revoked"]
    valid_from: Millis | None = None
    valid_until: Millis | None = None
    unit: str | None = None
    lots: Count | None = None


class PresenceUpdate(Struct, frozen=True):
    """A plate is inside or outside since ``at``, by a person's word or what other deliveries said."""

    plate: Plate
    inside: bool
    at: Millis


class Moved(Struct, frozen=True):
    """Where plates are by the word of others than the gateway that is told; at most ``MAX_MOVES``."""

    presence: list[PresenceUpdate]


class PassCode(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The code of a visitor pass: ``number`` tells it from those that the pass had before, ``pin`` is
    ``pass_codes.pin_digest`` of its PIN. Times in ms, until excluded. ``used`` is the direction in which a code of the
    pass opened a gate of the community last, as far as the server knows, and ``used_at`` when that gateway had it.
    ``key`` is the number of the former key that signed it, 0: the present one did."""

    visitor_pass: Sequence
    number: Count
    pin: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    valid_from: Millis
    valid_until: Millis
    status: Literal["active", "revoked"] = "active"
    used: Direction | None = None
    used_at: Millis = 0
    key: Count = 0


class FormerKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key that signed codes of passes which aren't over (hex). It signs no more."""

    number: Sequence
    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class PassCodes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The codes of the passes that aren't over, and the key that signs them (hex; empty: the community takes no
    codes). A code that is signed with it and isn't here is of a pass that is newer than the list. ``former`` keys are
    good for what is here only: whoever has such a key may not be trusted any more."""

    key: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    codes: list[PassCode] = []
    former: list[FormerKey] = []


class AccessList(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The community's access list. ``full``: replace everything; else upsert ``entries`` and delete ``removed`` ids.

    The gateway builds the new list aside and activates it in one step. With the feature ``rules`` come the community's
    rules, and of its presence all that is known (``full``) or the corrections made since (else). ``codes`` (feature
    ``codes``) replaces what the gateway held of them; None: the server doesn't tell.
    """

    version: int
    full: bool
    entries: list[AccessEntry]
    removed: list[str] = []
    epoch: int = 0
    rules: GateRules | None = None
    presence: list[PresenceUpdate] = []
    codes: PassCodes | None = None


class ListChanged(Struct, frozen=True):
    """There is a newer access list. ``epoch`` 0: the server doesn't count any."""

    version: int
    epoch: int = 0


class DeviceFault(Struct, frozen=True, forbid_unknown_fields=True):
    """Something is wrong with a device. ``name`` is a sensor's space or a barrier's gate; a server shows the word of a
    kind that it doesn't know."""

    kind: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}$")]
    name: Name


class CounterReading(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a facility counter has counted since ``since``: totals, so that a reading which is lost costs nothing.

    Another ``since`` is another count, which began at zero (a new spool). ``known`` false: it is silent, or vehicles
    pass that it can't see. ``told`` is when its detectors spoke last. ``capacity``: vehicles that there is room for.
    """

    name: Name
    since: Millis
    entries: Count
    exits: Count
    known: bool
    told: Millis | None = None
    capacity: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A gateway's health, every ``interval`` of its settings.

    ``device_faults`` and ``counters`` are given only to a server whose HeartbeatAck said that it takes them; None says
    nothing. ``counters`` are all that the gateway has.
    """

    sent: Millis
    version: Text
    backlog: Count
    access_list_version: Count
    silent_cameras: Annotated[list[Text], Meta(max_length=256)] = []
    device_faults: Annotated[list[DeviceFault], Meta(max_length=256)] | None = None
    counters: Annotated[list[CounterReading], Meta(max_length=64)] | None = None


class HeartbeatAck(Struct, frozen=True):
    """``server_time`` lets the gateway report its clock's skew; ``access_list_version`` is the newest one."""

    server_time: Millis
    access_list_version: int
    access_list_epoch: int = 0
    takes_device_faults: bool = False
    release: int = 0
    """The number of the release that the gateway should take (``releases.py``), 0 for none."""
    takes_counters: bool = False


class Servers(Struct, frozen=True):
    """Base addresses of the edge APIs that take calls now; none where the server doesn't know."""

    servers: list[str]


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """Open a gate now. Refused by the gateway at or after ``expires``; never replayed after a reconnect."""

    id: str
    gate: Name
    expires: Millis
    reason: Text
