"""Bring an instance into the overlay: lease a slot, write what ZeroTier needs, tell the server its overlay address.

Runs as root after ``prepare`` and before zerotier-one. Running it again gives the same slot and the same files.
"""

import base64
import binascii
import json
import random
from pathlib import Path
from typing import Any

from parkmesh.instance import files
from parkmesh.instance.imds import Imds
from parkmesh.instance.prepare import EDGE_ADDRESS, PrepareError, client_of, make_run, owner_below, secret
from parkmesh.instance.slots import Place, Slot, SlotTable, lease, primary_port
from parkmesh.instance.userdata import SlotSecret, UserData, UserDataError, parse_slot, parse_user_data


def _local_conf(path: Path, slot: int) -> bytes:
    """Return ZeroTier's settings with the slot's UDP port, and no others: what the image set otherwise stays."""
    try:
        document = json.loads(path.read_text())
        settings = dict(document["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        document, settings = {}, {}
    settings |= {"primaryPort": primary_port(slot), "allowSecondaryPort": False, "portMappingEnabled": False}
    return f"{json.dumps({**document, 'settings': settings}, indent=4, sort_keys=True)}\n".encode()


def _write_overlay(root: Path, slot: SlotSecret) -> None:
    home = root / "var/lib/zerotier-one"
    files.make_directory(home, mode=0o755)
    # The daemon drops its privileges to those of its home's owner.
    owner = home.stat()
    uid, gid = owner.st_uid, owner.st_gid
    for name, content, mode in (
        ("identity.secret", slot.identity_secret.encode(), 0o600),
        ("identity.public", slot.identity_public.encode(), 0o644),
        ("local.conf", _local_conf(home / "local.conf", slot.slot), 0o644),
    ):
        files.write(home / name, content, mode=mode, uid=uid, gid=gid)
    files.make_directory(home / "networks.d", mode=0o755, uid=uid, gid=gid)
    files.write(home / "networks.d" / f"{slot.network_id}.conf", b"", mode=0o644, uid=uid, gid=gid)
    if slot.moon is not None:
        try:
            moon = base64.b64decode(slot.moon, validate=True)
        except (binascii.Error, ValueError):
            raise PrepareError(f"slot {slot.slot}'s secret: moon isn't base64") from None
        files.make_directory(home / "moons.d", mode=0o755, uid=uid, gid=gid)
        files.write(home / "moons.d" / f"{slot.moon_id}.moon", moon, mode=0o644, uid=uid, gid=gid)


def join(session: Any, imds: Imds, root: Path, *, source: random.Random | None = None) -> Slot:
    """Lease a slot for the instance that ``imds`` describes and write its files below ``root``.

    ``session`` is a boto3 session. Raises PrepareError, ImdsError, UserDataError or SlotError before or between whole
    files; never half a file.
    """
    data: UserData = parse_user_data(imds.user_data())
    me, place = imds.instance_id(), Place(imds.private_ip(), imds.availability_zone())
    owner = owner_below(root)
    table = SlotTable(
        data.overlay.slot_table, client_of(session, data, "dynamodb"), lambda: client_of(session, data, "ec2")
    )
    held = lease(table, me, place, source=source)
    secret_id = f"{data.overlay.slot_secret_prefix}{held.number}"
    slot = parse_slot(secret_id, secret(client_of(session, data, "secretsmanager"), secret_id), held.number)
    if slot.address != held.address or slot.ip != held.ip:
        raise UserDataError(f"secret {secret_id} and the slot table disagree on slot {held.number}'s address")
    try:
        _write_overlay(root, slot)
        # Last: the server opens its edge API as soon as it is there.
        address = f"{slot.ip}\n".encode()
        files.write(make_run(root, owner) / EDGE_ADDRESS, address, mode=0o640, uid=owner.uid, gid=owner.gid)
    except OSError as error:
        raise PrepareError(f"{error.filename or root}: {error.strerror}") from None
    return held
