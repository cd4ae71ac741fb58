"""Prepare an instance at its boot: read what it is, lease an overlay slot, write what the services need.

Runs as root before zerotier-one and the server. Running it again gives the same slot and the same files.
"""

import base64
import binascii
import grp
import random
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from parkmesh.instance import files
from parkmesh.instance.imds import Imds
from parkmesh.instance.slots import Slot, SlotTable, lease
from parkmesh.instance.userdata import (
    Database,
    Login,
    Mail,
    SlotSecret,
    UserData,
    UserDataError,
    parse_login,
    parse_slot,
    parse_user_data,
)

GROUP = "parkmesh"


class PrepareError(Exception):
    """The instance can't be prepared; one line, without secrets."""


class Owner(NamedTuple):
    uid: int = -1
    gid: int = -1


class Prepared(Struct, frozen=True):
    """What was done, for the log."""

    instance_id: str
    zone: str
    slot: Slot


def database_url(database: Database, login: Login) -> str:
    user, password = quote(login.username, safe=""), quote(login.password, safe="")
    return f"postgresql://{user}:{password}@{database.host}:{database.port}/{quote(database.name, safe='')}"


def _secret(client: Any, secret_id: str) -> str:
    try:
        return str(client.get_secret_value(SecretId=secret_id)["SecretString"])
    except KeyError:
        raise PrepareError(f"secret {secret_id} has no text") from None
    except ClientError as error:
        raise PrepareError(f"secret {secret_id}: {error.response['Error']['Code']}") from None
    except BotoCoreError as error:
        raise PrepareError(f"secret {secret_id}: {error}") from None


def _text(client: Any, secret_id: str) -> str:
    """Return the text of a secret that is a text and not JSON."""
    text = _secret(client, secret_id).strip()
    if not text:
        raise UserDataError(f"secret {secret_id} is empty")
    return text


def _mail_settings(client: Any, mail: Mail | None) -> dict[str, str]:
    """Return the server's settings of mail (``mail_settings`` in parkmesh/server/settings.py); none without mails."""
    if mail is None:
        return {}
    reply_to = {"PARKMESH_MAIL_REPLY_TO": mail.reply_to} if mail.reply_to else {}
    return {"PARKMESH_SMTP_URL": _text(client, mail.secret_id), "PARKMESH_MAIL_FROM": mail.sender, **reply_to}


def _write_overlay(root: Path, secret: SlotSecret) -> None:
    home = root / "var/lib/zerotier-one"
    files.make_directory(home, mode=0o755)
    # The daemon drops its privileges to those of its home's owner.
    owner = home.stat()
    uid, gid = owner.st_uid, owner.st_gid
    for name, content, mode in (
        ("identity.secret", secret.identity_secret, 0o600),
        ("identity.public", secret.identity_public, 0o644),
    ):
        files.write(home / name, content.encode(), mode=mode, uid=uid, gid=gid)
    files.make_directory(home / "networks.d", mode=0o755, uid=uid, gid=gid)
    files.write(home / "networks.d" / f"{secret.network_id}.conf", b"", mode=0o644, uid=uid, gid=gid)
    if secret.moon is not None:
        try:
            moon = base64.b64decode(secret.moon, validate=True)
        except (binascii.Error, ValueError):
            raise PrepareError(f"slot {secret.slot}'s secret: moon isn't base64") from None
        files.make_directory(home / "moons.d", mode=0o755, uid=uid, gid=gid)
        files.write(home / "moons.d" / f"{secret.moon_id}.moon", moon, mode=0o644, uid=uid, gid=gid)


def _owner(root: Path) -> Owner:
    """Return the owner of the server's files. Under another root (a test) the process keeps them."""
    if root != Path("/"):
        return Owner()
    try:
        return Owner(0, grp.getgrnam(GROUP).gr_gid)
    except KeyError:
        raise PrepareError(f"there is no group {GROUP} on this system") from None


def prepare(session: Any, imds: Imds, root: Path, *, source: random.Random | None = None) -> Prepared:
    """Prepare the instance that ``imds`` describes, writing below ``root``; ``session`` is a boto3 session.

    Raises PrepareError, ImdsError, UserDataError or SlotError before or between whole files; never half a file.
    """
    data: UserData = parse_user_data(imds.user_data())
    me, zone = imds.instance_id(), imds.availability_zone()
    owner = _owner(root)

    def client(service: str) -> Any:
        return session.client(service, region_name=data.region, endpoint_url=data.aws_endpoint_url)

    # Everything that can fail without a slot goes first: a broken instance holds none.
    secrets = client("secretsmanager")
    database_owner = parse_login(data.database.owner_secret_id, _secret(secrets, data.database.owner_secret_id))
    app = parse_login(data.database.app_secret_id, _secret(secrets, data.database.app_secret_id))
    session_secret = _text(secrets, data.session_secret_id)
    mail = _mail_settings(secrets, data.mail)
    table = SlotTable(data.overlay.slot_table, client("dynamodb"), lambda: client("ec2"))
    slot = lease(table, me, source=source)
    secret_id = f"{data.overlay.slot_secret_prefix}{slot.number}"
    overlay = parse_slot(secret_id, _secret(secrets, secret_id), slot.number)
    if overlay.address != slot.address or overlay.ip != slot.ip:
        raise UserDataError(f"secret {secret_id} and the slot table disagree on slot {slot.number}'s address")
    try:
        server = files.environment(
            {
                "PARKMESH_DATABASE_URL": database_url(data.database, app),
                "PARKMESH_SESSION_SECRET": session_secret,
                "PARKMESH_EDGE_ADDRESS": overlay.ip,
                "PARKMESH_PUBLIC_URL": data.public_url,
                "PARKMESH_SERVER_ID": me,
                **mail,
            }
        )
        migrate = files.environment(
            {
                "PARKMESH_DATABASE_URL": database_url(data.database, database_owner),
                "PARKMESH_APP_PASSWORD": app.password,
            }
        )
        _write_overlay(root, overlay)
        run = root / "run/parkmesh"
        files.make_directory(run, mode=0o750, uid=owner.uid, gid=owner.gid)
        files.write(run / "server.env", server, mode=0o640, uid=owner.uid, gid=owner.gid)
        files.write(run / "migrate.env", migrate, mode=0o600)
    except ValueError as error:
        raise PrepareError(f"a secret can't be handed on: {error}") from None
    except OSError as error:
        raise PrepareError(f"{error.filename or root}: {error.strerror}") from None
    return Prepared(me, zone, slot)
