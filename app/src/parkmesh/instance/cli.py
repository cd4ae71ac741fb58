"""``parkmesh instance``: what systemd runs once on an app server before its services."""

import sys
from pathlib import Path

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from parkmesh.instance.imds import Imds, ImdsError
from parkmesh.instance.overlay import join
from parkmesh.instance.prepare import PrepareError
from parkmesh.instance.prepare import prepare as prepare_instance
from parkmesh.instance.slots import SlotError, primary_port
from parkmesh.instance.userdata import UserDataError


@click.group()
def instance() -> None:
    """Prepare an instance of the application at its boot."""


_root = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    show_default=True,
    help="Write below this directory.",
)
_FAILURES = (PrepareError, ImdsError, UserDataError, SlotError, ClientError, BotoCoreError)


@instance.command()
@_root
def prepare(root: Path) -> None:
    """Read the instance's data and write the run-time files of migration and server."""
    try:
        done = prepare_instance(boto3.session.Session(), Imds(), root)
    except _FAILURES as error:
        click.echo(f"parkmesh instance: {error}", err=True)
        sys.exit(1)
    click.echo(f"{done.instance_id} in {done.zone} is prepared")


@instance.command()
@_root
def lease(root: Path) -> None:
    """Lease an overlay slot, and write what ZeroTier and the edge API need."""
    try:
        slot = join(boto3.session.Session(), Imds(), root)
    except _FAILURES as error:
        click.echo(f"parkmesh instance: {error}", err=True)
        sys.exit(1)
    click.echo(f"{slot.holder} holds overlay slot {slot.number} ({slot.ip}, UDP port {primary_port(slot.number)})")
