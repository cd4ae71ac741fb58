"""Prepare an instance at its boot for people: read what it is and write what migration and server need.

Runs as root before the server. Running it again gives the same files. The overlay is for ``overlay``: a server
without a slot still serves people.
"""

import grp
import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from parkmesh.instance import files
from parkmesh.instance.imds import Imds
from parkmesh.instance.userdata import (
    Database,
    Login,
    Mail,
    UserData,
    UserDataError,
    parse_login,
    parse_user_data,
)

GROUP = "parkmesh"
RUN = "run/parkmesh"
EDGE_ADDRESS = "edge-address"
"""The file in ``RUN`` that has the slot's overlay address, once the instance holds one."""


class PrepareError(Exception):
    """The instance can't be prepared; one line, without secrets."""


class Owner(NamedTuple):
    uid: int = -1
    gid: int = -1


class Prepared(Struct, frozen=True):
    """What was done, for the log."""

    instance_id: str
    zone: str


def database_url(database: Database, login: Login) -> str:
    user, password = quote(login.username, safe=""), quote(login.password, safe="")
    return f"postgresql://{user}:{password}@{database.host}:{database.port}/{quote(database.name, safe='')}"


def secret(client: Any, secret_id: str) -> str:
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
    text = secret(client, secret_id).strip()
    if not text:
        raise UserDataError(f"secret {secret_id} is empty")
    return text


def _mail_settings(client: Any, mail: Mail | None) -> dict[str, str]:
    """Return the server's settings of mail (``mail_settings`` in parkmesh/server/settings.py); none without mails."""
    if mail is None:
        return {}
    reply_to = {"PARKMESH_MAIL_REPLY_TO": mail.reply_to} if mail.reply_to else {}
    return {"PARKMESH_SMTP_URL": _text(client, mail.secret_id), "PARKMESH_MAIL_FROM": mail.sender, **reply_to}


def owner_below(root: Path) -> Owner:
    """Return the owner of the server's files. Under another root (a test) the process keeps them."""
    if root != Path("/"):
        return Owner()
    try:
        return Owner(0, grp.getgrnam(GROUP).gr_gid)
    except KeyError:
        raise PrepareError(f"there is no group {GROUP} on this system") from None


def make_run(root: Path, owner: Owner) -> Path:
    """Make the folder of the run-time files and return it. The server's group may look into it."""
    run = root / RUN
    files.make_directory(run, mode=0o750)
    os.chown(run, owner.uid, owner.gid)  # also where systemd made it, as root's
    return run


def client_of(session: Any, data: UserData, service: str) -> Any:
    return session.client(service, region_name=data.region, endpoint_url=data.aws_endpoint_url)


def owner_environment(secrets: Any, database: Database, app: Login) -> dict[str, str]:
    """What ``parkmesh migrate`` needs, of the database's owner and of the servers' role."""
    if database.owner_secret_id is None:
        raise UserDataError("user data names no secret of the database's owner")
    owner = parse_login(database.owner_secret_id, secret(secrets, database.owner_secret_id))
    return {"PARKMESH_DATABASE_URL": database_url(database, owner), "PARKMESH_APP_PASSWORD": app.password}


def prepare(session: Any, imds: Imds, root: Path) -> Prepared:
    """Prepare the instance that ``imds`` describes, writing below ``root``; ``session`` is a boto3 session.

    Only where the user data names the owner's secret (an earlier release's launch template does) servers migrate the
    database themselves. An instance for maintenance is no server: nothing is written on it.
    Raises PrepareError, ImdsError or UserDataError before or between whole files; never half a file.
    """
    data: UserData = parse_user_data(imds.user_data())
    me, zone = imds.instance_id(), imds.availability_zone()
    if data.maintenance is not None:
        return Prepared(me, zone)
    owner = owner_below(root)
    secrets = client_of(session, data, "secretsmanager")
    app = parse_login(data.database.app_secret_id, secret(secrets, data.database.app_secret_id))
    session_secret = _text(secrets, data.session_secret_id)
    mail = _mail_settings(secrets, data.mail)
    try:
        server = files.environment(
            {
                "PARKMESH_DATABASE_URL": database_url(data.database, app),
                "PARKMESH_SESSION_SECRET": session_secret,
                "PARKMESH_EDGE_ADDRESS_FILE": f"/{RUN}/{EDGE_ADDRESS}",
                "PARKMESH_PUBLIC_URL": data.public_url,
                "PARKMESH_SERVER_ID": me,
                **mail,
            }
        )
        migrate = None
        if data.database.owner_secret_id is not None:
            migrate = files.environment(owner_environment(secrets, data.database, app))
        run = make_run(root, owner)
        files.write(run / "server.env", server, mode=0o640, uid=owner.uid, gid=owner.gid)
        if migrate is not None:
            files.write(run / "migrate.env", migrate, mode=0o600)
    except ValueError as error:
        raise PrepareError(f"a secret can't be handed on: {error}") from None
    except OSError as error:
        raise PrepareError(f"{error.filename or root}: {error.strerror}") from None
    return Prepared(me, zone)
