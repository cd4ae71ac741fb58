"""Command line of the lab: `python -m lab`, and one of the commands that `--help` lists."""

import argparse
import os
import sys
from pathlib import Path

from lab.machine import ports
from lab.machine.errors import LabError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="The parkmesh lab on this machine (see docs/lab.md)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("preflight", help="say what keeps the lab from starting; exit 1 if anything does")
    commands.add_parser("up", help="start the lab, or continue starting it")
    down = commands.add_parser("down", help="remove exactly what the lab made")
    down.add_argument("--all", action="store_true", help="also the base images and their cache")
    for verb, what in {"up": "start a host for a molecule scenario", "down": "remove it"}.items():
        commands.add_parser(f"host-{verb}", help=what).add_argument("scenario")
    status = commands.add_parser("status", help="what runs and how it is")
    status.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser("summary", help="how to use the lab: addresses, sign-in, commands")
    mail = commands.add_parser("mail", help="print the latest mails that the app servers sent")
    mail.add_argument("--count", type=_positive, help="how many (default: 5)")
    cgnat = commands.add_parser("cgnat", help="put a site behind a carrier's NAT")
    cgnat.add_argument("site", choices=("site-a", "site-b"))
    cgnat.add_argument("kind", choices=("symmetric", "port-preserving", "none"))
    zone = commands.add_parser("zone", help="let a zone of the lab's AWS fail, or come back")
    zone.add_argument("deed", choices=("fail", "recover"))
    zone.add_argument("zone", help="such as eu-west-1a")
    execute = commands.add_parser("exec", help="run a command in a container of the lab")
    execute.add_argument("thing", help="a host (gateway-a), an instance id, or db-<id>, lb-<name>")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="-- command …")
    daemon = commands.add_parser("daemon", help="the lab's background process (started by up)")
    daemon.add_argument("--lab", required=True)
    daemon.add_argument("--root", required=True, type=Path)
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: run the same command again to continue\n")
        return 130


def _run(options: argparse.Namespace) -> int:
    lab = ports.settle(os.environ)
    # Each command imports what it needs: the daemon's AWS libraries take a second that the others don't have to wait.
    match options.command:
        case "preflight":
            from lab.commands import up

            if found := up.check(lab):
                raise LabError("\n".join(found))
        case "up":
            from lab.commands import up

            up.up(lab)
        case "down":
            from lab.commands import down

            down.down(lab, everything=options.all)
        case "host-up" | "host-down":
            from lab.commands import role_host

            (role_host.up if options.command == "host-up" else role_host.down)(lab, options.scenario)
        case "status":
            from lab.commands import status

            return status.show(lab, as_json=options.json)
        case "summary":
            from lab.commands import summary

            summary.show(lab)
        case "mail":
            from lab.commands import mail

            mail.show(lab, options.count or mail.LATEST)
        case "cgnat":
            from lab.commands import cgnat

            cgnat.put(lab, options.site, options.kind)
        case "zone":
            from lab.commands import zone

            (zone.fail if options.deed == "fail" else zone.recover)(lab, options.zone)
        case "exec":
            from lab.commands import status

            words = options.words[1:] if options.words[:1] == ["--"] else options.words
            return status.execute(lab, options.thing, words or ["/bin/bash"])
        case "daemon":
            from lab.driver import daemon

            if options.lab != lab.name or options.root != lab.root:
                raise LabError(f"this is lab {lab.name!r} of {lab.root}: start the daemon with `up`")
            daemon.run(lab)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
