"""playbooks/publish-gateway-release.yml against an app server whose `systemd-run` notes what it is given.

app/tests/server/test_gateway_releases.py gives the same document to a real database.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from parkmesh.server.commands import release_publication

ROOT = Path(__file__).resolve().parents[3]
STUB = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[sys.argv.index("admin") + 1:]
if words[0] == "show-releases":
    print((here / "orders.json").read_text())
else:
    (here / "published.json").write_text(sys.stdin.read())
    print(json.dumps({{"changed": True, "serial": 9, "release": "abc", "ordered": 2, "unknown": [], "new_bytes": 5}}))
"""


class Environment:
    """An inventory with two gateways offline and one online, and a key."""

    def __init__(self, folder: Path, ansible_playbook: str, python: str) -> None:
        self.folder, self.ansible_playbook = folder, ansible_playbook
        self.public = self.sign("--new-key", str(folder / "key"))
        (folder / "systemd-run").write_text(STUB)
        (folder / "systemd-run").chmod(0o755)
        self.orders: list[dict[str, Any]] = []
        gateway = {"parking_gateway_release_key": self.public, "parking_gateway_python": "3.13"}
        gateway |= {"parking_gateway_arch": "x86_64"}
        self.inventory: dict[str, Any] = {
            "all": {
                "vars": {
                    "ansible_connection": "local",
                    "ansible_python_interpreter": python,
                    "publish_signing_key": (folder / "key").read_text(),
                },
                "children": {
                    "aws": {"hosts": {"control-node": None}},
                    "gateways": {
                        "hosts": {
                            "g1": {"parking_gateway_community": "a"},
                            "g2": {"parking_gateway_community": "a"},
                            "g3": {"parking_gateway_community": "b"},
                        },
                        "vars": gateway,
                    },
                    "app_servers": {"hosts": {"server": None}},
                    "answering_app_servers": {"hosts": {"server": None}},
                    "overlay_online": {"hosts": {"server": None, "g2": None}},
                },
            }
        }

    @staticmethod
    def sign(*arguments: str) -> str:
        command = [sys.executable, str(ROOT / "scripts/sign_release.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def publish(self, *arguments: str, code: int = 0) -> str:
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(self.inventory))
        (self.folder / "orders.json").write_text(json.dumps(self.orders))
        done = subprocess.run(
            [
                self.ansible_playbook,
                "playbooks/publish-gateway-release.yml",
                "-i",
                str(self.folder / "hosts.yml"),
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        shown = done.stdout + done.stderr
        assert "PRIVATE KEY" not in shown
        assert (self.folder / "key").read_text().splitlines()[1] not in shown
        return " ".join(shown.split())

    def published(self) -> tuple[release_publication.Publication, str] | None:
        """Return what the app server was given, and the release's id."""
        path = self.folder / "published.json"
        if not path.exists():
            return None
        publication, manifest = release_publication.read(path.read_bytes())
        path.unlink()
        return publication, manifest.release


@pytest.fixture
def environment(tmp_path: Path, ansible_playbook: str, python: str) -> Environment:
    return Environment(tmp_path, ansible_playbook, python)


def test_gateways_that_are_offline_are_to_fetch_the_release_once(environment: Environment) -> None:
    assert "Published the release for Python 3.13/x86_64: abc, number 9, for 2 gateways" in environment.publish("-vvv")
    found = environment.published()
    assert found is not None
    publication, release = found
    assert publication.gateways == {"a": ["g1"], "b": ["g3"]}
    assert len(publication.signature) == 64
    taken = {"release": release, "serial": 9, "reason": ""}
    environment.orders = [
        {"community": "a", "gateway": "g1", "state": "wanted", **taken},
        {"community": "b", "gateway": "g3", "state": "put back", **taken},
    ]
    again = environment.publish("--check")
    assert "Would publish" not in again
    environment.publish("-e", "publish_again=true")
    found = environment.published()
    assert found is not None
    assert found[0].gateways == {"b": ["g3"]}


def test_named_gateways_are_published_for_whether_online_or_not(environment: Environment) -> None:
    assert "Would publish the release for Python 3.13/x86_64" in environment.publish(
        "--check", "-e", "publish_gateways=g2"
    )
    assert environment.published() is None
    environment.publish("-e", "publish_gateways=g2")
    found = environment.published()
    assert found is not None
    assert found[0].gateways == {"a": ["g2"]}


def test_what_is_wrong_is_named_before_anything_is_published(environment: Environment) -> None:
    shown = environment.publish("-e", "publish_gateways=g1,g9", code=2)
    assert "publish_gateways (g1,g9) must be names of gateways of this inventory" in shown
    hosts = environment.inventory["all"]["children"]["gateways"]["hosts"]
    hosts["g1"]["parking_gateway_release_key"] = environment.sign("--new-key", str(environment.folder / "other"))
    assert "parking_gateway_release_key of g1 isn't the public half" in environment.publish(code=2)
    assert environment.published() is None
