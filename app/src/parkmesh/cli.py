"""The ``parkmesh`` command. Its commands are loaded by name when they are called.

A gateway is installed without the server's dependencies and the other way round, so nothing of either may be imported
before it is asked for.
"""

from importlib import import_module

import click

from parkmesh import __version__

# name: (module, attribute, extra of the distribution that it needs, one line for `parkmesh --help`)
COMMANDS = {
    "serve": ("parkmesh.server.commands.cli", "serve", "server", "Run the application server."),
    "migrate": ("parkmesh.server.commands.cli", "migrate", "server", "Bring the database's schema up to this release."),
    "doctor": (
        "parkmesh.server.commands.cli",
        "doctor",
        "server",
        "Say what is wrong with a deployment and how to mend it.",
    ),
    "admin": ("parkmesh.server.commands.cli", "admin", "server", "Manage communities, gateways and users."),
    "verify-audit": (
        "parkmesh.server.commands.audit_cli",
        "verify_audit",
        "server",
        "Check that the audit trail was not altered.",
    ),
    "retention": (
        "parkmesh.server.commands.retention_cli",
        "retention",
        "server",
        "Delete what has been kept long enough.",
    ),
    "gateway": ("parkmesh.gateway.cli", "gateway", "gateway", "Run and inspect a community's gateway."),
    "simulate": ("parkmesh.simulator.cli", "simulate", "gateway", "Simulate cameras, sensors and relays."),
    "instance": ("parkmesh.instance.cli", "instance", "server", "Prepare an instance at its boot."),
}


class LazyCommands(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, extra, _ = COMMANDS[cmd_name]
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "parkmesh":
                raise
            raise click.ClickException(
                f"'parkmesh {cmd_name}' needs parkmesh[{extra}], which is not installed here (no module {error.name!r})"
            ) from error
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, _, summary) in COMMANDS.items()])


@click.group(cls=LazyCommands)
@click.version_option(__version__, prog_name="parkmesh")
def main() -> None:
    """Parking management for many communities."""
