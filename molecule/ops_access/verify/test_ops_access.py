"""People sign in as the user with a listed key only, and may become root."""

from typing import Any

import pytest
import testinfra
from conftest import SSH_OPTIONS

KEYS = "/home/operator/.ssh/authorized_keys"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDcKZXhhbXBsZQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA other"


@pytest.fixture(scope="module")
def operator(scenario: Any) -> Any:
    return testinfra.get_host(
        f"ssh://operator@{scenario.facts['address']}",
        ssh_identity_file=scenario.facts["ssh_key"],
        ssh_extra_args=SSH_OPTIONS,
    )


def test_a_person_signs_in_and_becomes_root(operator: Any) -> None:
    assert operator.check_output("id -un") == "operator"
    assert operator.check_output("sudo -n id -un") == "root"


def test_the_user_has_a_shell_and_no_password(host: Any) -> None:
    user = host.user("operator")
    assert (user.exists, user.shell, user.home, user.password) == (True, "/bin/bash", "/home/operator", "*")


def test_only_the_user_reads_the_keys_and_root_the_rights(host: Any) -> None:
    keys, rights = host.file(KEYS), host.file("/etc/sudoers.d/ops-access")
    assert (keys.user, keys.mode) == ("operator", 0o600)
    assert (rights.user, rights.group, rights.mode) == ("root", "root", 0o440)
    assert host.run("visudo --check --quiet").rc == 0


def test_the_server_starts_at_boot(host: Any) -> None:
    assert host.service("ssh").is_enabled
    assert host.service("ssh").is_running
    assert host.socket("tcp://0.0.0.0:22").is_listening


def test_a_key_that_was_added_by_hand_goes(scenario: Any) -> None:
    scenario.host.check_output("echo %s >> %s", OTHER, KEYS)
    assert scenario.play().changed == 1
    assert scenario.host.file(KEYS).content_string.strip() == scenario.public_key


def test_who_signs_in_as_the_user_can_t_remove_it(scenario: Any) -> None:
    run = scenario.play(ops_access_state="absent", ansible_user="operator", fails=True)
    assert "Ansible signs in to host as operator, the user to remove." in " ".join(run.output.split())
    assert scenario.host.user("operator").exists
