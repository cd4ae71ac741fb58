"""Every role says what it takes, and says the same in its argument specs, its defaults and its README."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


def options(role: Path) -> dict[str, dict[str, Any]]:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    merged: dict[str, dict[str, Any]] = {}
    for entry in specs.values():
        merged.update(entry.get("options", {}))
    return merged


def defaults(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_argument_specs_agree(role: Path) -> None:
    specified = {name: spec["default"] for name, spec in options(role).items() if "default" in spec}
    assert specified == defaults(role)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_option_is_required_and_has_a_default(role: Path) -> None:
    both = [name for name, spec in options(role).items() if spec.get("required") and "default" in spec]
    assert both == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_inputs_carry_the_role_s_name(role: Path) -> None:
    # The project's name, environment and region are the same for every role and carry no prefix.
    shared = {"project", "parkmesh_environment", "parkmesh_public_url", "aws_region"}
    assert [name for name in options(role) if not name.startswith(f"{role.name}_") and name not in shared] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_readme_says_how_a_second_run_a_dry_run_and_the_way_back_behave(role: Path) -> None:
    headings = [line for line in (role / "README.md").read_text().splitlines() if line.startswith("## ")]
    fixed = [
        f"## {name}" for name in ("Outcome", "Outputs", "Idempotence", "Check mode", "Rollback", "Example", "Inputs")
    ]
    assert [heading for heading in headings if heading in fixed] == fixed


def example_faults(text: str) -> list[str]:
    """What is wrong with the example play of a README: inputs that no role has, values of another type."""
    faults = []
    example = re.search(r"## Example\n\n```yaml\n(.*?)```", text, re.DOTALL)
    plays = yaml.safe_load(example[1]) if example else []
    for entry in [entry for play in plays for entry in play["roles"]]:
        given = {name: value for name, value in entry.items() if name != "role"}
        specs = options(ROOT / "roles" / entry["role"])
        included = options(ROOT / "roles" / "parking_runtime") if entry["role"].startswith("parking_") else {}
        taken = {name: {**option, "required": False} for name, option in {**included, **specs}.items()}
        faults += ArgumentSpecValidator(taken).validate(given).error_messages
    return faults if plays else ["there is no example"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_example_of_the_readme_is_one_that_the_role_takes(role: Path) -> None:
    text = (role / "README.md").read_text()
    assert f"- role: {role.name}\n" in text
    assert example_faults(text) == []


def test_a_planted_fault_in_an_example_is_found() -> None:
    text = (ROOT / "roles" / "aws_network" / "README.md").read_text()
    assert "int" in example_faults(text.replace("aws_network_zones: 2", "aws_network_zones: [a, b]"))[0]
    assert "aws_network_zone" in example_faults(text.replace("aws_network_zones: 2", "aws_network_zone: 2"))[0]
    assert example_faults(text.replace("## Example", "## Elsewhere")) == ["there is no example"]


ON_AWS = [role for role in ROLES if role.name.startswith("aws_")]
ON_PREMISES = [role for role in ROLES if role not in ON_AWS]


@pytest.mark.parametrize("role", ON_PREMISES, ids=lambda role: role.name)
def test_roles_of_hosts_can_be_taken_back(role: Path) -> None:
    """What `absent` does is tested on a host, by the role's molecule scenario."""
    state = options(role)[f"{role.name}_state"]
    assert (state["choices"], state["default"]) == (["present", "absent"], "present")
    assert all((role / "tasks" / f"{choice}.yml").exists() for choice in state["choices"])
    assert f"{role.name}_state: absent" in " ".join((role / "README.md").read_text().split())


# Inputs that no scenario turns, and why.
NOT_TURNED = {
    "zerotier_repository_url": "there is no repository of ZeroTier on the machines of the tests",
    "zerotier_repository_key": "there is no repository of ZeroTier on the machines of the tests",
    "zerotier_home": "the package's unit knows one folder",
    "zerotier_controller_home": "the package's unit knows one folder",
    "zerotier_controller_secure_logging": "it only shows what the tests look for as a secret",
    "aws_data_secure_logging": "it only shows what the tests look for as a secret",
    "aws_data_noted": "restore-data.yml gives it, not a person; tests/emulator/test_restore.py runs that playbook",
    "aws_data_upgrade_wait_s": "how long a run waits: tests/unit/project/test_database_upgrade.py",
    "aws_image_wait_s": "how long module amazon.aws.ec2_ami waits",
    "aws_service_certificate_wait_s": "how long a run waits: tests/unit/project/test_environment_domain.py",
    "aws_service_migration_s": "how long a run waits: tests/unit/project/test_service_maintenance.py",
}


def given_in(document: Any, name: str) -> list[Any]:
    """The values that a parsed YAML document gives to a variable, wherever it stands."""
    if isinstance(document, dict):
        here = [document[name]] if name in document else []
        return here + [value for each in document.values() for value in given_in(each, name)]
    return [value for each in document for value in given_in(each, name)] if isinstance(document, list) else []


def not_turned(role: Path, documents: list[Any], tests: str) -> set[str]:
    """Inputs of a role that tests don't name, and to which documents give no other value than the default."""
    return {
        name
        for name, option in options(role).items()
        if not re.search(rf"\b{name}\b", tests)
        and all(value == option.get("default") for document in documents for value in given_in(document, name))
    }


def not_turned_in_its_scenario(role: Path) -> set[str]:
    folder = ROOT / "molecule" / role.name
    tests = "\n".join(file.read_text() for file in (folder / "verify").glob("test_*.py"))
    return not_turned(role, [yaml.safe_load((folder / "converge.yml").read_text())], tests)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_has_a_scenario(role: Path) -> None:
    # That of NAT instances needs a network through which packets go: lab/tests/whole/test_way_out.py.
    there = (ROOT / "molecule" / role.name / "molecule.yml").exists() or role.name == "aws_egress"
    assert there, "docs/contributing.md, A scenario"


@pytest.mark.parametrize("role", ON_PREMISES, ids=lambda role: role.name)
def test_the_scenario_of_a_role_of_hosts_turns_each_of_its_inputs(role: Path) -> None:
    # The shared test of what absent does turns the state.
    assert not_turned_in_its_scenario(role) - {f"{role.name}_state"} - NOT_TURNED.keys() == set()


def given_by_playbooks() -> dict[str, str]:
    """Inputs of roles that a playbook takes from its command line, by what they are called there."""
    texts = [path.read_text() for path in (ROOT / "playbooks").glob("*.yml")]
    return dict(pair for text in texts for pair in re.findall(r"\b(aws_\w+): \"\{\{ (\w+) \| default\(''\)", text))


@pytest.mark.parametrize("role", ON_AWS, ids=lambda role: role.name)
def test_the_tests_on_the_emulator_turn_each_input_of_a_role_for_aws(role: Path) -> None:
    folder = ROOT / "tests" / "emulator"
    tests = "\n".join(path.read_text() for path in folder.glob("*.py"))
    documents = [
        yaml.safe_load(path.read_text())
        for path in [*(folder / "inventory/group_vars").glob("*.yml"), *(folder / "playbooks").glob("*.yml")]
    ]
    # What every environment has.
    own = {name for name in not_turned(role, documents, tests) if name.startswith(f"{role.name}_")}
    asked = {name for name, word in given_by_playbooks().items() if re.search(rf"\b{word}\b", tests)}
    assert own - asked - NOT_TURNED.keys() == set()


def test_what_is_said_not_to_be_turned_is_an_input() -> None:
    assert NOT_TURNED.keys() - {name for role in ROLES for name in options(role)} == set()


def test_an_input_that_is_not_turned_is_found() -> None:
    assert "zerotier_home" in not_turned_in_its_scenario(ROOT / "roles" / "zerotier")
    network = ROOT / "roles" / "aws_network"
    for zones, turned in ((3, False), (2, True)):
        documents = [{"aws": [{"vars": {"aws_network_zones": zones}}]}]
        assert ("aws_network_zones" not in not_turned(network, documents, "")) == turned
    assert "aws_network_zones" not in not_turned(network, [], "-e aws_network_zones=2")


def test_the_documentation_says_what_tests_each_role() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text()
    of_roles, _, of_whole_lab = text.partition("What tests a role:")[2].partition("have the whole system in a lab")
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", of_roles, re.MULTILINE)
    named = {role: where for roles, where in rows for role in re.findall(r"`(\w+)`", roles)}
    assert sorted(named) == [role.name for role in ROLES]
    for role, where in named.items():
        for scenario in re.findall(r"scenario `(\w+)`", where):
            assert (ROOT / "molecule" / scenario / "molecule.yml").exists(), role
        for path in re.findall(r"`(\w+/[\w/.]+)`", where):
            assert (ROOT / path).exists(), role
    whole = re.findall(r"^\| `(\w+)` \|", of_whole_lab, re.MULTILINE)
    there = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}
    assert set(whole) == there - {role.name for role in ROLES}


def restarting_tasks(tasks: list[dict[str, Any]]) -> list[str]:
    """The names of tasks that restart a service by themselves, in blocks too."""
    found = []
    for task in tasks:
        inner = [entry for key in ("block", "rescue", "always") for entry in task.get(key, [])]
        restarts = any(isinstance(value, dict) and value.get("state") == "restarted" for value in task.values())
        found += [task["name"]] if restarts else restarting_tasks(inner)
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_services_are_restarted_by_handlers(role: Path) -> None:
    files = sorted((role / "tasks").glob("*.yml"))
    assert [name for path in files for name in restarting_tasks(yaml.safe_load(path.read_text()))] == []


def test_a_planted_restart_is_found() -> None:
    restart = {"name": "Restart", "ansible.builtin.systemd_service": {"name": "x", "state": "restarted"}}
    assert restarting_tasks([{"name": "Block", "block": [restart]}, {"name": "Start", "command": "true"}]) == [
        "Restart"
    ]
