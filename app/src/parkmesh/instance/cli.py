"""``parkmesh instance``: what systemd runs on an app server before its services, and beside them until its end."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from parkmesh.instance import lifecycle as instance_lifecycle
from parkmesh.instance import maintenance, measures
from parkmesh.instance.imds import Imds, ImdsError
from parkmesh.instance.overlay import join
from parkmesh.instance.prepare import PrepareError
from parkmesh.instance.prepare import prepare as prepare_instance
from parkmesh.instance.slots import SlotError, SlotTable, primary_port
from parkmesh.instance.userdata import UserDataError, parse_user_data


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


@instance.command()
def maintain() -> None:
    """Do what the instance was started for as the database's owner; nothing on a server.

    Writes the result into a parameter of Systems Manager. Exits with 1 only where it couldn't write it.
    """
    imds = Imds()
    try:
        data = parse_user_data(imds.user_data())
        if data.maintenance is None:
            click.echo("This instance is a server: it has no maintenance to do.")
            return
        result = maintenance.run(boto3.session.Session(), imds, data, data.maintenance)
    except _FAILURES as error:
        click.echo(f"parkmesh instance: {error}", err=True)
        sys.exit(1)
    click.echo(f"{result.task} {result.state}: {result.message}")
    if result.task == maintenance.MIGRATE:
        # A retention's instance ends with its group's window: if it ended itself, the group would replace it.
        subprocess.run(["/usr/bin/systemctl", "poweroff"], check=False)


@instance.command()
def lifecycle() -> None:
    """Say when the server is ready, and drain it when the Auto Scaling group ends it."""
    logging.basicConfig(level=logging.INFO, format="parkmesh instance: %(message)s", stream=sys.stdout)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    imds = Imds()
    try:
        data, me = parse_user_data(imds.user_data()), imds.instance_id()
    except (ImdsError, UserDataError) as error:
        click.echo(f"parkmesh instance: {error}", err=True)
        sys.exit(1)
    if data.lifecycle is None:
        click.echo("The instance's group waits for no word of it.")
        return
    session = boto3.session.Session()

    def client(service: str) -> Any:
        return session.client(service, region_name=data.region, endpoint_url=data.aws_endpoint_url)

    slots = SlotTable(data.overlay.slot_table, client("dynamodb"), lambda: client("ec2"))
    watch = client("cloudwatch") if data.measures else None

    def measure() -> None:
        if watch is not None:
            values = {
                "SlotsUsedPercent": measures.slots_used_percent(slots.read()),
                "GatewaysBacklog": measures.gateways_backlog(measures.server_metrics()),
            }
            measures.publish(watch, f"{data.project}-{data.environment}", values)

    instance_lifecycle.run(
        imds,
        data.lifecycle,
        instance_lifecycle.Actions(client("autoscaling"), data.lifecycle, me),
        slots,
        instance_lifecycle.SystemdHost(),
        me,
        measure=measure,
    )
