"""A community's rules, each defined once: name, type, default, bounds, unit, label and description.

The database's row, the REST API's models, the form, the message to gateways, the gateway's configuration and the
documentation follow from these fields. The table ``community_rules`` repeats defaults and bounds, because the database
enforces them; a test compares. A wider range of a rule that acts at gates changes the wire format: a gateway refuses
values outside the range that it knows. So gateways get the wider range one release before servers offer it.
"""

from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct, structs


def N_(text: str) -> str:
    """Mark a label for the catalogues of the pages."""
    return text


def _seconds(least: int, most: int, label: str, description: str) -> Meta:
    return Meta(ge=least, le=most, title=label, description=description, extra={"unit": "s"})


def _count(least: int, most: int, label: str, description: str, unit: str = "") -> Meta:
    return Meta(ge=least, le=most, title=label, description=description, extra={"unit": unit})


AntiPassback = Literal["off", "soft", "hard"]
PlateMatching = Literal["exact", "careful", "generous"]

LotsPerUnit = Annotated[
    int,
    _count(
        0,
        1000,
        N_("Cars of a unit inside at once"),
        "How many cars of one unit may be inside at the same time. Null: no limit. A unit may have a different number.",
    ),
]
RefusalHold = Annotated[
    int,
    _seconds(
        0,
        600,
        N_("Seconds to hold a refused read"),
        "How long the gateway waits for a better read of the same car before it records a refused read.",
    ),
]
SamePlateWindow = Annotated[
    int,
    _seconds(
        1,
        3600,
        N_("Seconds in which the same plate counts once"),
        "Reads of one car at one gate and in one direction within this time are one passage.",
    ),
]


class GateRules(Struct, frozen=True, kw_only=True):
    """The rules that act at the gates. Gateways get them with the access list."""

    lots_per_unit: LotsPerUnit | None = None
    anti_passback: Annotated[
        AntiPassback,
        Meta(
            title=N_("A car that is inside comes again"),
            description="`off`: the car may enter. `soft`: it may enter, and the passage is marked. `hard`: denied.",
        ),
    ] = "off"
    entry_hold_s: Annotated[
        int, _seconds(0, 60, N_("Seconds to wait before an entry"), "How long the gateway waits before an entry.")
    ] = 0
    exit_hold_s: Annotated[
        int, _seconds(0, 60, N_("Seconds to wait before an exit"), "How long the gateway waits before an exit.")
    ] = 0
    exit_is_free: Annotated[
        bool,
        Meta(
            title=N_("Cars that are not on the list may leave"),
            description="Whether a car that may not come in is let out: an unknown or unreadable plate, or one that is "
            "not valid, revoked or barred. It waits `refusal_hold_s`, at least 2 s, for a better read.",
        ),
    ] = True
    refusal_hold_s: RefusalHold = 5
    same_plate_window_s: SamePlateWindow = 30
    plate_matching: Annotated[
        PlateMatching,
        Meta(
            title=N_("A camera misreads a plate"),
            description="`exact`: only the plate as it is on the list opens. `careful`: up to two look-alike "
            "characters (8 and B, 0 and O) may differ. `generous`: three, or one or two characters too many or one too "
            "few. A read that fits several plates, or is more likely another car's, opens nothing.",
        ),
    ] = "careful"


class Rules(GateRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rules of a community, with the defaults where its administrators changed nothing."""

    residents_open_gates: Annotated[
        bool,
        Meta(
            title=N_("Residents may open gates from their page"),
            description="Whether residents may open the community's gates from their page.",
        ),
    ] = False
    visitors_open_gates: Annotated[
        bool,
        Meta(
            title=N_("Visitors may open gates by the link of their pass while it is valid"),
            description="Whether people with the link of a visitor pass may open gates while the pass is valid.",
        ),
    ] = False
    visitor_codes: Annotated[
        bool,
        Meta(
            title=N_("Visitors get a QR code and a PIN for the gates"),
            description="Whether visitor passes have a QR code and a PIN, and gates with a reader open for them.",
        ),
    ] = False
    accessible_needs_permit: Annotated[
        bool,
        Meta(
            title=N_("Accessible spaces only with a permit"),
            description="Whether a unit may book accessible spaces only while one of its people has a permit for them.",
        ),
    ] = False
    visitor_passes_per_unit: Annotated[
        int, _count(0, 10000, N_("Visitor passes for a unit in a month"), "Visitor passes of one unit in a month.")
    ] = 10
    visitor_pass_max_hours: Annotated[
        int, _count(1, 8760, N_("Hours that a visitor pass lasts at most"), "The longest visitor pass.", "h")
    ] = 72
    booking_max_hours: Annotated[
        int, _count(1, 8760, N_("Hours that a booking lasts at most"), "The longest booking.", "h")
    ] = 336
    booking_days_ahead: Annotated[
        int, _count(1, 730, N_("Days ahead that can be booked"), "How far ahead a booking may begin.", "d")
    ] = 60
    bookings_per_unit: Annotated[
        int, _count(0, 1000, N_("Bookings that a unit may have at once"), "Bookings of one unit that are not over yet.")
    ] = 5
    no_show_minutes: Annotated[
        int,
        _count(
            0,
            1440,
            N_("Minutes after which a booking that nobody uses ends"),
            "A booking ends so long after its start if its space stayed free and no car of its unit came. 0: never.",
            "min",
        ),
    ] = 0
    overstay_grace_minutes: Annotated[
        int,
        _count(
            0,
            1440,
            N_("Minutes that a car may stay after its pass or booking"),
            "How long a visitor's car or one in a booked space may stay after the end, before it is an overstay.",
            "min",
        ),
    ] = 30
    visitor_nights_in_28_days: Annotated[
        int,
        _count(
            0,
            28,
            N_("Nights that a visitor's car may stay in 28 days"),
            "Nights of one plate as a visitor of one unit, in any 28 days. 0: no limit.",
        ),
    ] = 0


class Rule(Struct, frozen=True):
    """One rule as data. A rule that is a number has ``minimum`` and ``maximum``, a rule with fixed words ``choices``.

    ``unit`` is ``s``, ``min``, ``h``, ``d`` or empty. ``optional``: the rule may be null.
    """

    name: str
    kind: type
    default: Any
    label: str
    description: str
    unit: str
    minimum: int | None
    maximum: int | None
    choices: tuple[str, ...]
    optional: bool
    acts_at_gates: bool

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value of the rule. Raises ValueError for a rule that is not a number."""
        if self.minimum is None or self.maximum is None:
            raise ValueError(f"{self.name} is not a number")
        return self.minimum, self.maximum


def _rule(name: str, annotation: Any, default: Any) -> Rule:
    optional = type(None) in get_args(annotation)
    annotated = next(part for part in (annotation, *get_args(annotation)) if get_origin(part) is Annotated)
    plain, meta = get_args(annotated)
    choices = get_args(plain) if get_origin(plain) is Literal else ()
    return Rule(
        name=name,
        kind=str if choices else plain,
        default=default,
        label=meta.title,
        description=meta.description,
        unit=(meta.extra or {}).get("unit", ""),
        minimum=meta.ge,
        maximum=meta.le,
        choices=choices,
        optional=optional,
        acts_at_gates=name in GateRules.__struct_fields__,
    )


_ANNOTATIONS = get_type_hints(Rules, include_extras=True)
RULES = {field.name: _rule(field.name, _ANNOTATIONS[field.name], field.default) for field in structs.fields(Rules)}
"""Every rule by its name, in the order in which people see them."""
