"""``parkmesh instance``: what systemd runs once on an app server before its services."""

import sys
from pathlib import Path

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from parkmesh.instance.imds import Imds, ImdsError
from parkmesh.instance.prepare import PrepareError
from parkmesh.instance.prepare import prepare as prepare_instance
from parkmesh.instance.slots import SlotError
from parkmesh.instance.userdata import UserDataError


@click.group()
def instance() -> None:
    """Prepare an instance of the application at its boot."""


@instance.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    show_default=True,
    help="Write below this directory.",
)
def prepare(root: Path) -> None:
    """Read the instance's data, lease an overlay slot, and write the services' run-time files."""
    try:
        done = prepare_instance(boto3.session.Session(), Imds(), root)
    except (PrepareError, ImdsError, UserDataError, SlotError, ClientError, BotoCoreError) as error:
        click.echo(f"parkmesh instance: {error}", err=True)
        sys.exit(1)
    click.echo(f"{done.instance_id} in {done.zone} holds overlay slot {done.slot.number} ({done.slot.ip})")
