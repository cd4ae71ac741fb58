"""playbooks/rotate-codes.yml against an app server whose `systemd-run` notes what it is given and answers.

app/tests/server/test_visitors_codes.py runs the command on a real database.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STUB = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
(here / "asked.json").write_text(json.dumps(sys.argv[sys.argv.index("admin") + 1:]))
print(json.dumps({{"changed": True, "renewed": ["riverside"], "kept": ["harbour"], "refused": [], "unknown": [],
                   "outdated_gateways": ["riverside/south"]}}))
"""


@pytest.mark.parametrize(
    ("communities", "code", "asked", "said"),
    [
        (
            "riverside,harbour",
            0,
            ["renew-code-keys", "--older-than-hours=24", "--community=riverside", "--community=harbour"],
            "New keys: riverside. As they were: harbour. New codes do not open yet at: riverside/south.",
        ),
        ("all", 0, ["renew-code-keys", "--older-than-hours=24", "--all"], "New keys: riverside."),
        ("River side", 2, None, "rotate_communities must be all, or names of communities"),
    ],
)
def test_an_app_server_renews_the_keys(
    tmp_path: Path,
    ansible_playbook: str,
    python: str,
    communities: str,
    code: int,
    asked: list[str] | None,
    said: str,
) -> None:
    (tmp_path / "systemd-run").write_text(STUB)
    (tmp_path / "systemd-run").chmod(0o755)
    server = {"hosts": {"server": None}}
    inventory = {
        "all": {
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": python},
            "children": {
                "aws": {"hosts": {"control-node": None}},
                **dict.fromkeys(("app_servers", "answering_app_servers", "overlay_online"), server),
            },
        }
    }
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    values = json.dumps({"rotate_communities": communities, "rotate_older_than_hours": 24})
    done = subprocess.run(
        [ansible_playbook, "playbooks/rotate-codes.yml", "-i", str(tmp_path / "hosts.json"), "-e", values],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, shown
    assert said in shown
    noted = tmp_path / "asked.json"
    assert (json.loads(noted.read_text()) if noted.exists() else None) == asked
