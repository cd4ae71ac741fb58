"""``parkmesh gateway doctor``: what was found, for people or as JSON."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from parkmesh.gateway import config as configuration
from parkmesh.gateway import doctor, doctor_looks
from parkmesh.gateway.config import Config, ConfigError
from parkmesh.gateway.doctor import Finding

_MARKS = {"well": "ok  ", "finding": "!!  ", "unknown": "?   "}


def run(config: Config, status: dict[str, Any] | None, now: Callable[[], int], *, as_json: bool) -> int:
    """Look, print what was found, and return the exit code: 0 well, 1 something to do, 2 couldn't look.

    ``status`` is the agent's, or what the spool tells, None where neither could be read.
    """
    looks = doctor_looks.look(config, status or {}, _token(config), now())
    findings = doctor.judge(config, looks)
    if as_json:
        shown = [_plain(finding) for finding in findings]
        click.echo(json.dumps({"gateway": config.name, "looked": status is not None, "findings": shown}, indent=2))
    else:
        click.echo("\n".join(lines(findings)))
    if status is None:
        click.echo("parkmesh gateway: neither the agent nor its spool could be read; run it as root", err=True)
        return 2
    return 1 if any(finding.state == "finding" for finding in findings) else 0


def lines(findings: Iterable[Finding]) -> Iterable[str]:
    """Return the findings for a terminal: what to do stands under what is wrong."""
    for finding in findings:
        subject = f" {finding.subject}" if finding.subject else ""
        yield f"{_MARKS[finding.state]}{finding.check}{subject}: {finding.text()}"
        if finding.todo:
            yield f"      -> {finding.advice()}"


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "subject": finding.subject,
        "state": finding.state,
        "text": finding.text(),
        "todo": finding.advice(),
        "values": msgspec.to_builtins(finding.values),
    }


def _token(config: Config) -> str | None:
    try:
        return configuration.load_token(Path(config.token_file))
    except ConfigError:
        return None
