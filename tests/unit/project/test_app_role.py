"""What role parking_app writes is what the server reads: its environment, and the certificates that it trusts."""

import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.filter.mathstuff import FilterModule as MathFilters
from parkmesh.server import settings
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
    limit = {"PARKMESH_KEY_REQUESTS_PER_MINUTE": "600"}
    assert environment() == limit
    made = environment(parking_app_environment={"PARKMESH_SECOND_FACTOR": "desk"})
    assert made == {"PARKMESH_SECOND_FACTOR": "desk", **limit}


def test_with_certificates_the_server_is_told_where_they_are() -> None:
    made = environment(parking_app_database_ca="/home/ops/rds-ca.pem", parking_app_environment={"B": "2", "A": "1"})
    assert (made["A"], made["B"], made["PARKMESH_DATABASE_CA"]) == ("1", "2", "/etc/parkmesh/database-ca.pem")
    made |= environment(parking_app_webhook_ca="/home/ops/receivers.pem")
    tasks = yaml.safe_load((ROLE / "tasks" / "present.yml").read_text())
    copied = [task["ansible.builtin.copy"] for task in tasks if "ansible.builtin.copy" in task]
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    names = ("database_ca", "webhook_ca")
    assert [copy["src"] for copy in copied] == [f"{{{{ parking_app_{name} }}}}" for name in names]
    assert [copy["dest"] for copy in copied] == [f"{{{{ __parking_app_{name} }}}}" for name in names]
    for name in names:
        assert variables[f"__parking_app_{name}"] == made[f"PARKMESH_{name.upper()}"]


def test_what_the_role_writes_the_server_takes(tmp_path: Path) -> None:
    given = {"parking_app_webhook_ports": [8443, 9443], "parking_app_webhook_networks": ["10.1.0.0/16", "fd00::/8"]}
    made = environment(**given, parking_app_key_requests_per_minute=60)
    at_boot = {"PARKMESH_DATABASE_URL": "postgresql://u@h/d", "PARKMESH_SESSION_SECRET": "x" * 20}
    taken = settings.from_environment(made | at_boot)
    assert taken.webhooks.ports == {443, 8443, 9443}
    assert [str(network) for network in taken.webhooks.networks] == ["10.1.0.0/16", "fd00::/8"]
    assert taken.key_requests_per_minute == 60
    assert settings.from_environment(environment() | at_boot).webhooks == settings.WebhookSettings()


def play(program: str, folder: Path, **inputs: Any) -> subprocess.CompletedProcess[str]:
    """Run the role in check mode, as far as its own checks of its inputs."""
    file = folder / "play.yml"
    role = {"name": "Check", "ansible.builtin.include_role": {"name": str(ROLE)}, "vars": inputs}
    file.write_text(yaml.safe_dump([{"name": "P", "hosts": "localhost", "gather_facts": False, "tasks": [role]}]))
    command = [program, "--check", "-c", "local", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parking_app_webhook_ports", [65536]),
        ("parking_app_webhook_ports", ["https"]),
        ("parking_app_webhook_networks", ["10.1.0.0"]),
        ("parking_app_webhook_networks", ["10.1.0.0/33"]),
        ("parking_app_webhook_networks", ["receivers.example"]),
        ("parking_app_webhook_ca", __file__),
        ("parking_app_key_requests_per_minute", 9),
    ],
)
def test_an_input_that_no_server_would_take_is_refused_before_anything_changes(
    ansible_playbook: str, tmp_path: Path, name: str, value: Any
) -> None:
    done = play(ansible_playbook, tmp_path, **{name: value})
    assert done.returncode == 2, done.stdout + done.stderr
    assert name in done.stdout + done.stderr
    assert "Install the release" not in done.stdout


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
