"""What role parking_app writes is what the server reads: its environment, and the certificates that it trusts."""

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.filter.mathstuff import FilterModule as MathFilters
from parkmesh.server.commands import run

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "parking_app"


def environment(**inputs: Any) -> dict[str, str]:
    values = {
        **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
        **yaml.safe_load((ROLE / "vars" / "main.yml").read_text()),
        "ansible_managed": "managed",
        **inputs,
    }
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 -- no page
    made.filters.update({**MathFilters().filters(), **FilterModule().filters()})
    text = made.from_string((ROLE / "templates" / "server.env.j2").read_text()).render(values)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_without_certificates_the_server_is_told_of_none() -> None:
    assert environment() == {}
    assert environment(parking_app_environment={"PARKMESH_SECOND_FACTOR": "desk"}) == {"PARKMESH_SECOND_FACTOR": "desk"}


def test_with_certificates_the_server_is_told_where_they_are() -> None:
    made = environment(parking_app_database_ca="/home/ops/rds-ca.pem", parking_app_environment={"B": "2", "A": "1"})
    assert made == {"A": "1", "B": "2", "PARKMESH_DATABASE_CA": "/etc/parkmesh/database-ca.pem"}
    tasks = yaml.safe_load((ROLE / "tasks" / "present.yml").read_text())
    (copied,) = [task for task in tasks if "ansible.builtin.copy" in task]
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    assert copied["ansible.builtin.copy"]["src"] == "{{ parking_app_database_ca }}"
    assert copied["ansible.builtin.copy"]["dest"] == "{{ __parking_app_database_ca }}"
    assert variables["__parking_app_database_ca"] == made["PARKMESH_DATABASE_CA"]


@pytest.mark.parametrize("unit", ["parkmesh-server", "parkmesh-migrate", "parkmesh-retention"])
def test_whatever_connects_to_the_database_verifies_it(unit: str) -> None:
    text = (ROLE / "templates" / f"{unit}.service.j2").read_text()
    files = [line.partition("=")[2] for line in text.splitlines() if line.startswith("EnvironmentFile=")]
    # What the instance found out at its boot comes last, and wins.
    assert files[0] == "/etc/default/parkmesh-server"
    assert files[1].startswith("/run/parkmesh/")


def test_so_does_what_the_playbook_runs() -> None:
    text = (ROOT / "playbooks" / "apply-communities.yml").read_text()
    assert text.index("EnvironmentFile=/etc/default/parkmesh-server") < text.index("EnvironmentFile=/run/parkmesh/")


def test_the_load_balancer_closes_quiet_connections_before_the_server_does() -> None:
    defaults = yaml.safe_load((ROOT / "roles" / "aws_service" / "defaults" / "main.yml").read_text())
    assert defaults["aws_service_idle_timeout_s"] < run.KEEP_ALIVE_S
