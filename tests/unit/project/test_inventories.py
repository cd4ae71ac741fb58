"""The example of a production inventory is one that Ansible takes, with every playbook."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted(path for path in (ROOT / "playbooks").glob("*.yml"))


def ansible(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZEROTIER_")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def production() -> dict[str, Any]:
    done = ansible("ansible-inventory", "-i", "inventory/production", "--list")
    assert done.returncode == 0, done.stderr
    listed: dict[str, Any] = json.loads(done.stdout)
    return listed


def test_production_lists_and_says_that_it_could_not_ask_for_members(production: dict[str, Any]) -> None:
    assert production["gateways"]["hosts"] == ["gateway-riverside-1"]
    warned = ansible("ansible-inventory", "-i", "inventory/production", "--graph").stderr
    assert "ZEROTIER_TOKEN" in warned


def test_gateways_belong_to_communities_that_exist_and_use_their_gates_and_spaces(production: dict[str, Any]) -> None:
    for host in production["gateways"]["hosts"]:
        variables = production["_meta"]["hostvars"][host]
        community = next(c for c in variables["communities"] if c["name"] == variables["parking_gateway_community"])
        gates = {gate["name"] for gate in community["gates"]}
        assert {gate["name"] for gate in variables["parking_gateway_gates"]} <= gates
        assert {camera["gate"] for camera in variables["parking_gateway_cameras"]} <= gates
        assert {s["space"] for s in variables["parking_gateway_sensors"]} <= {s["name"] for s in community["spaces"]}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_is_accepted_with_the_production_inventory(ansible_playbook: str, playbook: Path) -> None:
    done = ansible(ansible_playbook, "--syntax-check", "-i", "inventory/production", str(playbook))
    assert done.returncode == 0, done.stderr


def test_every_play_names_hosts_that_something_makes() -> None:
    """Ansible only warns of a group that nothing makes, and leaves the play out."""
    plays = [
        (path.name, play)
        for path in sorted((ROOT / "playbooks").glob("*.yml"))
        for play in yaml.safe_load(path.read_text())
    ]
    made = {"localhost", "overlay_online", "community_"}
    for path in (ROOT / "inventory").glob("*/hosts.yml"):
        made |= set(yaml.safe_load(path.read_text())["all"]["children"])
    for path in (ROOT / "playbooks").rglob("*.yml"):
        for key in re.findall(r"group_by:\n +key: (.*)", path.read_text()):
            made |= set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", key) if "{{" in key else [key])
    named = set()
    for name, play in plays:
        pattern = re.sub(r"\{\{.*?default\('([^']*)'\).*?\}\}", r"\1", str(play.get("hosts", "")))
        named |= {(name, part.lstrip("&!")) for part in pattern.split(":") if part}
    assert len(named) > 40
    assert sorted((name, part) for name, part in named if part not in made) == []


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_opens_with_what_it_does_and_an_example(playbook: Path) -> None:
    head = [line for line in playbook.read_text().splitlines() if line.startswith("#")]
    assert head
    assert any("Example:" in line for line in head)


EXAMPLE = ROOT / "inventory" / "production"
EXAMPLES = sorted(path for path in EXAMPLE.rglob("*.yml") if path.name != "hosts.yml")
MARK = re.compile(r"#.*?\b(required|optional)\b")


def marks(text: str) -> dict[str, str | None]:
    """Whether each line with a key says that it is required or optional; the key with its line's number -> the word."""
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if key := re.match(r"[ -]*(\w+):( |$)", line):
            mark = MARK.search(line)
            found[f"{key[1]} ({number})"] = mark[1] if mark else None
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(EXAMPLE)))
def test_each_line_of_the_example_says_whether_it_is_required(path: Path) -> None:
    found = marks(path.read_text())
    assert found
    assert [key for key, mark in found.items() if mark is None] == []


def test_each_group_of_the_example_says_whether_it_is_required() -> None:
    text = (EXAMPLE / "hosts.yml").read_text()
    groups = [line for line in text.splitlines() if re.match(r"    \w", line)]
    assert len(groups) == len(yaml.safe_load(text)["all"]["children"])
    assert [line for line in groups if not MARK.search(line)] == []


def test_a_planted_line_without_a_mark_is_found() -> None:
    text = "a: 1  # required\nb:  # optional\n  - c: 2\n    d: 3  # optional: whatever\n"
    assert marks(text) == {"a (1)": "required", "b (2)": "optional", "c (3)": None, "d (4)": "optional"}


@pytest.mark.parametrize("path", [path for path in EXAMPLES if "vars" in str(path)], ids=lambda path: path.stem)
def test_the_example_agrees_with_the_roles_and_says_where_their_inputs_are(path: Path) -> None:
    text = path.read_text()
    words = {key.partition(" ")[0]: mark for key, mark in marks(text).items()}
    for readme in re.findall(r"roles/\w+/README.md", text):
        assert "## Inputs" in (ROOT / readme).read_text()
    for role in sorted((ROOT / "roles").iterdir()):
        specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        for name in sorted(set(specs["main"]["options"]) & set(yaml.safe_load(text))):
            option = specs["main"]["options"][name]
            if option.get("required") or option.get("default"):
                assert words[name] == ("required" if option.get("required") else "optional"), name
            if name.startswith(f"{role.name}_"):
                assert f"roles/{role.name}/README.md" in text or "roles/<role>/README.md" in text, name
