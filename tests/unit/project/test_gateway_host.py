"""What role parking_gateway does with the host itself: security updates at a quiet hour, a copy of who it is."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.test.core import TestModule as CoreTests

ROLE = Path(__file__).resolve().parents[3] / "roles" / "parking_gateway"

# As Debian's package unattended-upgrades has it in 50unattended-upgrades.
DEBIANS_OWN = """
Unattended-Upgrade::Origins-Pattern {
        "origin=Debian,codename=${distro_codename},label=Debian";
        "origin=Debian,codename=${distro_codename},label=Debian-Security";
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
};
Unattended-Upgrade::Package-Blacklist {
};
"""


def environment() -> jinja2.Environment:
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 -- no page
    made.filters.update(FilterModule().filters())
    made.tests.update(CoreTests().tests())
    return made


def inputs(**changes: Any) -> dict[str, Any]:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    return {**defaults, "ansible_managed": "by hand", **changes}


def rendered(template: str, **changes: Any) -> str:
    return environment().from_string((ROLE / "templates" / template).read_text()).render(inputs(**changes))


def accepted(tasks: str, **changes: Any) -> bool:
    """Tell whether the checks before anything changes let these inputs through."""
    check = yaml.safe_load((ROLE / "tasks" / tasks).read_text())[0]["ansible.builtin.assert"]
    made = environment()
    return all(made.from_string("{{ (" + one + ") }}").render(inputs(**changes)) == "True" for one in check["that"])


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="needs apt")
@pytest.mark.parametrize(
    ("reboot_at", "told"),
    [("", {"Automatic-Reboot": "false"}), ("04:30", {"Automatic-Reboot": "true", "Automatic-Reboot-Time": "04:30"})],
)
def test_apt_takes_security_updates_and_no_others(tmp_path: Path, reboot_at: str, told: dict[str, str]) -> None:
    (tmp_path / "20auto-upgrades").write_text('APT::Periodic::Unattended-Upgrade "0";\n')
    (tmp_path / "50unattended-upgrades").write_text(DEBIANS_OWN)
    text = rendered("apt-updates.conf.j2", parking_gateway_updates_reboot_at=reboot_at)
    (tmp_path / "60parkmesh-updates").write_text(text)
    command = ["apt-config", "-o", "Dir::Etc::main=/dev/null", "dump"]
    found = subprocess.run(
        command, env={"APT_CONFIG": str(_only(tmp_path))}, capture_output=True, text=True, check=True
    ).stdout
    lines = dict(line.rstrip(";").split(" ", 1) for line in found.splitlines() if " " in line)
    origins = [line for line in found.splitlines() if line.startswith("Unattended-Upgrade::Origins-Pattern::")]
    assert origins == [
        "Unattended-Upgrade::Origins-Pattern:: "
        '"origin=Debian,codename=${distro_codename}-security,label=Debian-Security";'
    ]
    assert (lines["APT::Periodic::Unattended-Upgrade"], lines["APT::Periodic::Update-Package-Lists"]) == ('"1"', '"1"')
    for name, value in told.items():
        assert lines[f"Unattended-Upgrade::{name}"] == f'"{value}"'
    assert ("Unattended-Upgrade::Automatic-Reboot-Time" in lines) == (reboot_at != "")


def _only(parts: Path) -> Path:
    """Return a configuration that reads the folder in the place of the machine's own."""
    path = parts.with_name("apt.conf")
    path.write_text(f'Dir::Etc::parts "{parts}";\n')
    return path


def test_the_hour_is_set_and_spread(tmp_path: Path) -> None:
    text = rendered(
        "apt-daily-upgrade.timer.j2", parking_gateway_updates_at="02:15", parking_gateway_updates_window_min=45
    )
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines == [
        "[Timer]",
        "OnCalendar=",
        "OnCalendar=*-*-* 02:15",
        "RandomizedDelaySec=45min",
        "Persistent=false",
    ]
    if shutil.which("systemd-analyze"):
        subprocess.run(["systemd-analyze", "calendar", "*-*-* 02:15"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("changes", "well"),
    [
        ({}, True),
        ({"parking_gateway_updates_at": "23:59", "parking_gateway_updates_reboot_at": "04:00"}, True),
        ({"parking_gateway_updates_at": "24:00"}, False),
        ({"parking_gateway_updates_at": "3:00"}, False),
        ({"parking_gateway_updates_reboot_at": "now"}, False),
        ({"parking_gateway_updates_window_min": 0}, False),
    ],
)
def test_a_wrong_hour_is_refused(changes: dict[str, Any], well: bool) -> None:
    assert accepted("updates.yml", **changes) is well


AGE = shutil.which("age") is not None and shutil.which("age-keygen") is not None


class Backup:
    """The program on a host whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.into = folder / "root", folder / "into"
        for name, content in FILES.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        text = (ROLE / "files" / "parkmesh-backup").read_text()
        text = text.replace("root=/\n", f"root={self.root}\n").replace("/var/lib/parkmesh-backup", str(self.into))
        self._program = folder / "parkmesh-backup"
        self._program.write_text(text)
        self._program.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(self._program), *arguments], capture_output=True, text=True, check=False)

    def said(self, what: str, recipient: str) -> str:
        done = self.run(what, recipient)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


FILES = {
    "var/lib/zerotier-one/identity.secret": "08d0b323c3:0:public:private-half\n",
    "var/lib/zerotier-one/identity.public": "08d0b323c3:0:public\n",
    "etc/parkmesh/gateway.token": "token-of-the-gateway",
}


def key(folder: Path, kind: str) -> tuple[str, Path]:
    """Make a key; return its public half and the file with the private one."""
    path = folder / f"key-{kind}"
    if kind == "age":
        subprocess.run(["age-keygen", "--output", path], check=True, capture_output=True)
        line = next(line for line in path.read_text().splitlines() if line.startswith("# public key: "))
        return line.removeprefix("# public key: "), path
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip(), path


@pytest.mark.skipif(not AGE, reason="needs age")
@pytest.mark.parametrize("kind", ["age", "ed25519"])
def test_only_the_operator_reads_the_copy(tmp_path: Path, kind: str) -> None:
    backup = Backup(tmp_path)
    recipient, private = key(tmp_path, kind)
    assert accepted("backup.yml", parking_gateway_backup_recipient=recipient, parking_gateway_backup_into="/srv/vault")
    assert backup.said("compare", recipient) == "different"
    assert not backup.into.exists(), "comparing makes nothing"
    assert backup.said("make", recipient) == "made"
    copy = (backup.into / "backup.age").read_bytes()
    assert [backup.said("compare", recipient), backup.said("make", recipient)] == ["same", "same"]
    assert (backup.into / "backup.age").read_bytes() == copy
    for content in FILES.values():
        assert content.strip().encode() not in copy
    assert {one.stat().st_mode & 0o777 for one in backup.into.iterdir()} == {0o600}
    new = tmp_path / "new"
    new.mkdir()
    opened = subprocess.run(
        ["age", "--decrypt", "--identity", private, backup.into / "backup.age"], check=True, capture_output=True
    )
    subprocess.run(["tar", "--extract", "--directory", new], input=opened.stdout, check=True)
    assert {name: (new / name).read_text() for name in FILES} == FILES

    (backup.root / "etc/parkmesh/gateway.token").write_text("another token")
    assert backup.said("compare", recipient) == "different"
    assert backup.said("make", recipient) == "made"
    # Another key: a new copy, though nothing else has changed.
    other, _ = key(tmp_path / "new", "age")
    assert backup.said("make", other) == "made"


@pytest.mark.skipif(not AGE, reason="needs age")
def test_a_copy_that_cant_be_made_leaves_the_one_before(tmp_path: Path) -> None:
    backup = Backup(tmp_path)
    recipient, _ = key(tmp_path, "age")
    assert backup.said("make", recipient) == "made"
    before = (backup.into / "backup.age").read_bytes()
    failed = backup.run("make", "age1nonsense")
    assert failed.returncode != 0
    assert "token-of-the-gateway" not in failed.stdout + failed.stderr
    assert (backup.into / "backup.age").read_bytes() == before
    assert sorted(one.name for one in backup.into.iterdir()) == ["backup.age", "backup.of"]
    assert backup.run("make").returncode == 2
    assert backup.run("show", recipient).returncode == 2


@pytest.mark.parametrize(
    "recipient",
    ["", "age1short", "AGE-SECRET-KEY-1QQQQ", "ssh-ed25519", "ssh-dss AAAAB3NzaC1kc3M", "-----BEGIN"],
)
def test_what_is_no_public_key_is_refused(recipient: str) -> None:
    assert not accepted(
        "backup.yml", parking_gateway_backup_recipient=recipient, parking_gateway_backup_into="/srv/vault"
    )
