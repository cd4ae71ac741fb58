"""playbooks/apply-communities.yml, as far as it can be run without a server."""

import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_a_dry_run_on_a_built_environment_ends_well_and_shows_no_password(
    ansible_playbook: str, python: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse battery staple\n")
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(
        yaml.safe_dump(
            {
                "all": {
                    "vars": {
                        "ansible_connection": "local",
                        "ansible_python_interpreter": python,
                        "communities": [],
                        "users": [{"email": "desk@parking.example", "password_file": str(password)}],
                    },
                    "children": {
                        "aws": {"hosts": {"control-node": None}},
                        "gateways": {"hosts": {}},
                        "app_servers": {"hosts": {"server": None}},
                        "overlay_online": {"hosts": {"server": None}},
                    },
                }
            }
        )
    )
    done = subprocess.run(
        [ansible_playbook, "playbooks/apply-communities.yml", "-i", str(inventory), "--check", "--diff"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "correct horse" not in done.stdout + done.stderr
