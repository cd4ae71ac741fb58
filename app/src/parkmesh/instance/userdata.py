"""The instance's user data and the secrets it names: their shapes, checked before anything is written."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1, max_length=2048)]
Hex10 = Annotated[str, Meta(pattern=r"^[0-9a-f]{10}$")]
Hex16 = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]


class UserDataError(Exception):
    """User data or a secret hasn't the expected shape. The message names the place, never a secret's content."""


class Database(Struct, frozen=True):
    """Where the database is. ``owner_secret_id`` None: the instance has no part in what only the owner may do."""

    host: Text
    name: Text
    app_secret_id: Text
    owner_secret_id: Text | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 5432


class Overlay(Struct, frozen=True):
    slot_table: Text
    slot_secret_prefix: Text


class Mail(Struct, frozen=True):
    """How the servers send mails. The secret's text is the mail server's address, as PARKMESH_SMTP_URL has it."""

    secret_id: Text
    sender: Text
    reply_to: Text | None = None


class Lifecycle(Struct, frozen=True):
    """The instance's Auto Scaling group, and its lifecycle hooks for the launch and the end; None for no hook."""

    group: Text
    launch_hook: Text | None = None
    termination_hook: Text | None = None


class Maintenance(Struct, frozen=True):
    """Marks an instance that works as the database's owner and is no server; names the parameters for its results."""

    migration_parameter: Text
    retention_parameter: Text


class UserData(Struct, frozen=True):
    """What the launch template says: names of things, no secrets.

    ``mail`` None: the servers send no mails. ``lifecycle`` None: the group waits for no word of its instances.
    ``measures``: whether instances tell CloudWatch what it needs for alarms. ``maintenance`` None: a server.

    An image passes over a key that it doesn't know, so a newer role can start an older image.
    """

    project: Text
    environment: Text
    region: Text
    database: Database
    session_secret_id: Text
    public_url: Text
    overlay: Overlay
    aws_endpoint_url: Text | None = None
    mail: Mail | None = None
    lifecycle: Lifecycle | None = None
    measures: bool = False
    maintenance: Maintenance | None = None


class Login(Struct, frozen=True):
    """A database login secret (RDS's own has more fields; they are passed over)."""

    username: Text
    password: Text


class SlotSecret(Struct, frozen=True):
    """One overlay slot: an identity that is a member of the network already. ``moon`` is base64."""

    slot: int
    address: Hex10
    identity_public: Annotated[str, Meta(pattern=r"^[0-9a-f]{10}:0:[0-9a-f]{128}$")]
    identity_secret: Annotated[str, Meta(pattern=r"^[0-9a-f]{10}:0:[0-9a-f]{128}:[0-9a-f]{128}$")]
    ip: Text
    network_id: Hex16
    moon_id: Hex16 | None = None
    moon: str | None = None


def parse_user_data(text: str) -> UserData:
    """Read the launch template's JSON."""
    try:
        return msgspec.json.decode(text, type=UserData)
    except msgspec.DecodeError as error:
        raise UserDataError(f"user data: {error}") from None


def parse_login(secret_id: str, text: str) -> Login:
    try:
        return msgspec.json.decode(text, type=Login)
    except msgspec.DecodeError as error:
        raise UserDataError(f"secret {secret_id}: {error}") from None


def parse_slot(secret_id: str, text: str, slot: int) -> SlotSecret:
    """Read a slot's secret and check that it is this slot's and consistent."""
    try:
        secret = msgspec.json.decode(text, type=SlotSecret)
    except msgspec.DecodeError as error:
        raise UserDataError(f"secret {secret_id}: {error}") from None
    if secret.slot != slot:
        raise UserDataError(f"secret {secret_id} is slot {secret.slot}'s, not slot {slot}'s")
    identities = (secret.identity_public, secret.identity_secret)
    if any(identity.partition(":")[0] != secret.address for identity in identities):
        raise UserDataError(f"secret {secret_id}: the identity isn't that of address {secret.address}")
    if (secret.moon is None) != (secret.moon_id is None):
        raise UserDataError(f"secret {secret_id}: moon and moon_id go together")
    return secret
