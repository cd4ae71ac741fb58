"""playbooks/apply-communities.yml, as far as it can be run without a server."""

import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


def written(folder: Path, python: str, gateways: tuple[str, ...] = (), **variables: object) -> Path:
    """An inventory of one server and gateways, all of which are this machine."""
    inventory = folder / "inventory.yml"
    everybody = {"ansible_connection": "local", "ansible_python_interpreter": python, "communities": [], "users": []}
    inventory.write_text(
        yaml.safe_dump(
            {
                "all": {
                    "vars": {**everybody, **variables},
                    "children": {
                        "aws": {"hosts": {"control-node": None}},
                        "gateways": {"hosts": dict.fromkeys(gateways)},
                        "app_servers": {"hosts": {"server": None}},
                        "overlay_online": {"hosts": {"server": None}},
                    },
                }
            }
        )
    )
    return inventory


def test_a_dry_run_on_a_built_environment_ends_well_and_shows_no_password(
    ansible_playbook: str, python: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse battery staple\n")
    users = [{"email": "desk@parking.example", "password_file": str(password)}]
    inventory = written(tmp_path, python, users=users)
    done = subprocess.run(
        [ansible_playbook, "playbooks/apply-communities.yml", "-i", str(inventory), "--check", "--diff"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "correct horse" not in done.stdout + done.stderr


@pytest.mark.skipif(Path("/etc/parkmesh/gateway.token").exists(), reason="this machine is a gateway")
def test_a_gateway_that_was_never_rolled_is_told_what_to_do(ansible_playbook: str, python: str, tmp_path: Path) -> None:
    inventory = written(tmp_path, python, gateways=("gateway-a",))
    done = subprocess.run(
        [ansible_playbook, "playbooks/apply-communities.yml", "-i", str(inventory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "gateway-a has no token yet" in done.stdout
    assert "roll-gateways.yml -e roll_hosts=gateway-a" in done.stdout
