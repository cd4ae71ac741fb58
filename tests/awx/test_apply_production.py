"""The project's own data in AWX, as the example for production has it: made, repeated and compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from lab.awx.server import serving

from .conftest import KEY, ROOT, TOKEN, Run, System

PREFIX = "parkmesh-production-"
SECRETS = {
    "ZEROTIER_TOKEN": "t0kenOfTheOverlay",
    "PARKMESH_DESK_PASSWORD": "passw0rdOfTheDesk",  # pragma: allowlist secret
    "PARKMESH_SMTP_URL": "smtp://desk:passw0rdOfMail@mail.example.org",  # pragma: allowlist secret
    "AWS_ACCESS_KEY_ID": "keyOfAwx",
    "AWS_SECRET_ACCESS_KEY": "s3cretKeyOfAwx",  # pragma: allowlist secret
    "SLACK_TOKEN": "xoxb-t0kenOfTheChat",
}


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory, python: str, ansible_playbook: str) -> Iterator[System]:
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    (home / ".ssh/id_ed25519").write_text(KEY)
    given = yaml.safe_load((ROOT / "inventory/production/awx/environment.yml").read_text())
    with serving({given["project"]["scm_url"]: ROOT}, {TOKEN}) as (url, double):
        yield System(url, double, home, python, ansible_playbook, variables={**SECRETS, "HOME": str(home)})


def apply(awx: System, *arguments: str) -> Run:
    run = awx.play(ROOT / "inventory/production", *arguments)
    assert run.status == 0, run.output
    return run


def test_a_dry_run_changes_nothing(awx: System) -> None:
    run = apply(awx, "--check")
    assert run.writes == []
    assert f"job template {PREFIX}destroy-environment" in run.shown


def test_the_first_run_makes_all_of_it_and_shows_no_secret(awx: System) -> None:
    run = apply(awx)
    operations = yaml.safe_load((ROOT / "playbooks/files/awx/job_templates.yml").read_text())["job_templates"]
    workflows = yaml.safe_load((ROOT / "playbooks/files/awx/workflows.yml").read_text())["workflows"]
    assert awx.names("job_templates") == sorted(PREFIX + name for name in operations)
    assert awx.names("workflow_job_templates") == sorted(PREFIX + name for name in workflows)
    assert len(awx.names("inventory_sources")) == 4
    for secret in ("k3yOfTheTests", *(value for name, value in SECRETS.items() if name != "AWS_ACCESS_KEY_ID")):
        assert secret not in run.output


def test_a_second_run_and_its_dry_run_change_nothing(awx: System) -> None:
    for arguments in ((), ("--check",)):
        run = apply(awx, *arguments)
        assert (run.changed, run.writes) == (0, []), run.output
    (role,) = [one for one in awx.awx.store.objects["credentials"].values() if one["name"] == f"{PREFIX}aws"]
    assert role["inputs"]["access_key"] == SECRETS["AWS_ACCESS_KEY_ID"]
    assert role["inputs"]["secret_key"] == SECRETS["AWS_SECRET_ACCESS_KEY"]


def test_operators_launch_what_ends_nothing(awx: System) -> None:
    store = awx.awx.store
    team = next(one["id"] for one in store.objects["teams"].values() if one["name"] == f"{PREFIX}operators")
    launched = set()
    for kind in ("job_templates", "workflow_job_templates"):
        for thing in store.objects[kind].values():
            role = awx.awx.form(kind, thing)["summary_fields"]["object_roles"]["execute_role"]["id"]
            if team in store.grants.get(role, []):
                launched.add(str(thing["name"]).removeprefix(PREFIX))
    assert {"deploy-service", "verify", "release"} <= launched
    assert not {name for name in launched if name.startswith(("destroy", "offboard", "restore"))}
