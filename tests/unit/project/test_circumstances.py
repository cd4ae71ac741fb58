"""The project runs where and how people run it: from another folder and another project, by another locale, by other
settings of Ansible. A read-only checkout is tested by tests/awx/test_runner.py, `strategy: free` on a host by every
role's molecule scenario, `--limit` by lab/tests/whole/test_gateway_rollout.py.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
HOSTS = {f"host-{number}": {} for number in range(8)}


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a playbook; returns what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "LC_", "LANG"))}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *arguments],
        cwd=cwd,
        env={**kept, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """The inventory of an environment in a folder with a space and an accent in its name."""
    folder = tmp_path / "mi dirección"
    (folder / "communities").mkdir(parents=True)
    (folder / "communities.yml").write_text("plugin: communities\n")
    hosts = {"all": {"vars": {"overlay_cidr": "10.242.0.0/16"}, "children": {"aws": {"hosts": {"control-node": {}}}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    return folder


ANSWERS = ("-e", "community=greenhill", "-e", "title=Greenhill", "-e", "new_lan=192.0.2.40")


def test_a_playbook_runs_from_another_folder_by_a_path_with_spaces(inventory: Path, tmp_path: Path) -> None:
    """ansible.cfg is found by its variable; everything that it names is beside it."""
    checkout = tmp_path / "a checkout"
    checkout.symlink_to(ROOT)
    config = {"ANSIBLE_CONFIG": str(checkout / "ansible.cfg")}
    run(str(checkout / "playbooks/new-community.yml"), "-i", str(inventory), *ANSWERS, cwd=tmp_path, **config)
    assert "Greenhill" in (inventory / "communities/greenhill.yml").read_text()


@pytest.fixture(scope="module")
def spanish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the locale es_ES.UTF-8, which most machines don't have."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/es_ES").exists():
        pytest.skip("needs localedef and the sources of locales (package locales)")
    folder = tmp_path_factory.mktemp("locales")
    subprocess.run(["localedef", "-i", "es_ES", "-f", "UTF-8", str(folder / "es_ES.UTF-8")], check=True)
    return folder


def test_a_playbook_runs_in_another_language_with_a_cache_of_facts(
    inventory: Path, spanish: Path, tmp_path: Path
) -> None:
    cache = {"ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "c")}
    place = {"LC_ALL": "es_ES.UTF-8", "LOCPATH": str(spanish)}
    playbook = ("playbooks/new-community.yml", "-i", str(inventory), *ANSWERS)
    first = run(*playbook, "--check", **cache, **place)
    assert 'title: "Greenhill"' in first
    # What an earlier run remembered of this host decides nothing: only what this run finds does.
    run(*playbook, "-e", "title=Otro", **cache, **place)
    assert 'title: "Otro"' in (inventory / "communities/greenhill.yml").read_text()


MANY = """
- name: All at once
  hosts: aws
  gather_facts: false
  connection: local
  strategy: free
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - name: Take ops away
      ansible.builtin.include_role: {name: ops_access}
      vars: {ops_access_state: absent, ops_access_user: nobody-of-this-name}
    - name: Each has its own answer
      ansible.builtin.assert: {that: "ansible_facts['getent_passwd']['nobody-of-this-name'] is none"}
"""


def test_another_project_takes_a_role_from_git_and_runs_it_on_many_hosts_at_once(tmp_path: Path) -> None:
    """As docs/production.md says: the repository as it is, its folders named in the project's own ansible.cfg."""
    vendor = tmp_path / "vendor/parkmesh"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(vendor)], check=True)
    folders = ("library", "module_utils", "filter_plugins", "action_plugins")
    settings = "".join(f"{name} = vendor/parkmesh/{name}\n" for name in folders)
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\nroles_path = vendor/parkmesh/roles\n{settings}inject_facts_as_vars = False\n"
    )
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"aws": {"hosts": HOSTS}}))
    (tmp_path / "play.yml").write_text(MANY)
    shown = run("play.yml", "-i", "hosts.yml", "--check", "--forks", "50", cwd=tmp_path)
    assert shown.count("changed=0    unreachable=0    failed=0") == len(HOSTS)


def test_a_run_starts_at_a_task_of_the_playbook(inventory: Path) -> None:
    shown = run(
        "playbooks/new-community.yml", "-i", str(inventory), *ANSWERS, "--check", "--start-at-task", "Look for the file"
    )
    assert "Check that the answers are there" not in shown
    assert 'title: "Greenhill"' in shown
