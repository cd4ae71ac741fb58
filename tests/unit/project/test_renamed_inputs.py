"""An input that is given by the name of an earlier release stops the run and is told its present name."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = """
all:
  children:
    aws:
      hosts:
        localhost:
          ansible_connection: local
"""


@pytest.mark.parametrize(
    ("playbook", "earlier", "present"),
    [
        ("deploy-service", "aws_service_image_id=ami-1", "image"),
        ("explain-access", "from=gateway-a", "explain_from"),
        ("reconcile-members", "purge=true", "reconcile_purge"),
        ("rotate-overlay", "slots=1", "rotate_slots"),
    ],
)
def test_an_earlier_name_is_refused_before_anything_is_done(
    ansible_playbook: str, tmp_path: Path, playbook: str, earlier: str, present: str
) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY)
    done = subprocess.run(
        [
            ansible_playbook,
            f"playbooks/{playbook}.yml",
            "-i",
            str(inventory),
            "-e",
            earlier,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    name = earlier.partition("=")[0]
    assert f"The input {name} is called {present} now. Give it by that name." in " ".join(done.stdout.split())
    assert "Check the inputs" not in done.stdout
