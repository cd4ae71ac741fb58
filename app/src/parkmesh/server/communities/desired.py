"""The desired state that ``parkmesh admin apply`` takes: its form, and the checks that need no database.

Absent keys keep what is there; nothing is ever deleted. Errors name the path within the document.
"""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from parkmesh.domain import plates
from parkmesh.domain.community_rules import Rules
from parkmesh.protocol.edge import Name

# No control characters: PostgreSQL stores no NUL, and none of the others belongs in a name.
_PRINTABLE = r"^[^\x00-\x1f]*$"
Title = Annotated[str, Meta(min_length=1, max_length=120, pattern=_PRINTABLE)]
Word = Annotated[str, Meta(min_length=1, max_length=60, pattern=_PRINTABLE)]
Level = Annotated[str, Meta(max_length=60, pattern=_PRINTABLE)]
Email = Annotated[str, Meta(max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]
TokenHash = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]

T = TypeVar("T")

MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 1024


class DocumentError(ValueError):
    """The document can't be applied; ``str()`` is one line with the path of the culprit."""


class Gate(Struct, forbid_unknown_fields=True):
    name: Name
    title: Title | UnsetType = UNSET
    direction: Literal["entry", "exit", "both"] | UnsetType = UNSET


class Space(Struct, forbid_unknown_fields=True):
    name: Name
    level: Level | UnsetType = UNSET
    category: Word | UnsetType = UNSET


class Gateway(Struct, forbid_unknown_fields=True):
    """``token_sha256`` is required for a gateway that is new."""

    name: Name
    token_sha256: TokenHash | UnsetType = UNSET


class Resident(Struct, forbid_unknown_fields=True):
    email: Email
    name: Title | UnsetType = UNSET
    unit: Word | UnsetType = UNSET
    plates: list[str] = []


class Community(Struct, forbid_unknown_fields=True):
    """``title`` and ``time_zone`` (a name of the IANA database) are required for a community that is new. ``language``
    is that of messages to people who haven't chosen one, English where it was never given. ``rules`` are those that a
    new community begins with; afterwards they belong to its administrators."""

    name: Name
    title: Title | UnsetType = UNSET
    time_zone: Word | UnsetType = UNSET
    language: Literal["en", "es"] | UnsetType = UNSET
    rules: Rules | UnsetType = UNSET
    gates: list[Gate] = []
    spaces: list[Space] = []
    gateways: list[Gateway] = []
    residents: list[Resident] = []


class User(Struct, forbid_unknown_fields=True):
    """Who may sign in. ``community`` belongs to the roles administrator and resident, and only to them."""

    email: Email
    name: Title | UnsetType = UNSET
    role: Literal["operator", "administrator", "resident"] | UnsetType = UNSET
    community: Name | UnsetType = UNSET
    password_file: str | UnsetType = UNSET


class Document(Struct, forbid_unknown_fields=True):
    communities: list[Community] = []
    users: list[User] = []


def parse(text: bytes) -> Document:
    """Return the document with e-mail addresses in lower case and plates normalised; raise ``DocumentError``."""
    try:
        document = msgspec.json.decode(text, type=Document)
    except msgspec.ValidationError as error:
        raise DocumentError(_path_first(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"$: not JSON: {error}") from None
    _check_once(document.communities, "$.communities", lambda community: community.name, "community")
    for index, community in enumerate(document.communities):
        _check_community(community, f"$.communities[{index}]")
    for index, user in enumerate(document.users):
        user.email = user.email.lower()
        path = f"$.users[{index}]"
        needs_community = user.role in ("administrator", "resident")
        if needs_community and user.community is UNSET:
            raise DocumentError(f"{path}: the role {user.role} needs a community")
        if not needs_community and user.community is not UNSET:
            raise DocumentError(f"{path}.community: only the roles administrator and resident have one")
    _check_once(document.users, "$.users", lambda user: (user.email, user.community), "user")
    hashes = [
        (gateway.token_sha256, f"$.communities[{c}].gateways[{g}].token_sha256")
        for c, community in enumerate(document.communities)
        for g, gateway in enumerate(community.gateways)
        if gateway.token_sha256 is not UNSET
    ]
    seen: dict[Hashable, str] = {}
    for value, path in hashes:
        if value in seen:
            raise DocumentError(f"{path}: the same token as {seen[value]}; every gateway needs its own")
        seen[value] = path
    return document


def read_password(path_in_document: str, file: str) -> str:
    """Return a password file's first line; raise ``DocumentError`` naming where the document asks for it."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DocumentError(f"{path_in_document}: {file}: {reason}") from None
    password = lines[0] if lines else ""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise DocumentError(
            f"{path_in_document}: {file}: a password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters"
        )
    return password


def _check_community(community: Community, path: str) -> None:
    if community.time_zone is not UNSET:
        try:
            ZoneInfo(community.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise DocumentError(f"{path}.time_zone: {community.time_zone!r} is not a known time zone") from None
    _check_once(community.gates, f"{path}.gates", lambda gate: gate.name, "gate")
    _check_once(community.spaces, f"{path}.spaces", lambda space: space.name, "space")
    _check_once(community.gateways, f"{path}.gateways", lambda gateway: gateway.name, "gateway")
    for gateway in community.gateways:
        if gateway.token_sha256 is not UNSET:
            gateway.token_sha256 = gateway.token_sha256.lower()
    for index, resident in enumerate(community.residents):
        resident.email = resident.email.lower()
        resident.plates = [
            _plate(text, f"{path}.residents[{index}].plates[{p}]") for p, text in enumerate(resident.plates)
        ]
        _check_once(resident.plates, f"{path}.residents[{index}].plates", lambda plate: plate, "plate")
    _check_once(community.residents, f"{path}.residents", lambda resident: resident.email, "resident")


def _plate(text: str, path: str) -> str:
    plate = plates.normalise(text)
    if plate is None:
        raise DocumentError(f"{path}: {text!r} is not a licence plate")
    return plate


def _check_once(items: Iterable[T], path: str, key: Callable[[T], Hashable], thing: str) -> None:
    seen: dict[Hashable, int] = {}
    for index, item in enumerate(items):
        value = key(item)
        if value in seen:
            raise DocumentError(f"{path}[{index}]: the same {thing} as {path}[{seen[value]}]")
        seen[value] = index


def _path_first(message: str) -> str:
    """Turn msgspec's ``Expected … - at `$.path` `` round: the path is what the reader looks for."""
    what, separator, path = message.rpartition(" - at `")
    return f"{path.rstrip('`')}: {what}" if separator else f"$: {message}"
