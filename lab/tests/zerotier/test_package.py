"""The Debian package: same sources, same bytes; the right files; scripts the shell accepts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.zerotier_package import build as builder
from lab.zerotier_package.build import FILE_NAME, build

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "-R", str(build(folder)), str(folder / "root")], check=True)
    return folder / "root"


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "one")
    assert first.name == FILE_NAME == "zerotier-one_1.14.1+parkmesh.lab_all.deb"
    os.utime(builder.__file__)
    second = build(tmp_path / "two" / "given.deb")
    assert second.read_bytes() == first.read_bytes()


def test_the_package_says_that_it_is_the_labs(unpacked: Path) -> None:
    control = (unpacked / "DEBIAN/control").read_text()
    assert "Package: zerotier-one\n" in control
    assert "Depends: python3 (>= 3.11), iproute2\n" in control
    assert "This is not ZeroTier" in control
    for program in ("zerotier-one", "zerotier-cli", "zerotier-idtool"):
        lines = (unpacked / "usr/sbin" / program).read_text().splitlines()
        assert lines[0] == "#!/usr/bin/python3"
        assert lines[1].startswith(f'"""The parkmesh lab\'s own {program} 1.14.1')


def test_installed_programs_run_without_the_repository(unpacked: Path, tmp_path: Path) -> None:
    for program, arguments in (("zerotier-one", ["-v"]), ("zerotier-cli", ["-v"]), ("zerotier-idtool", ["generate"])):
        text = (unpacked / "usr/sbin" / program).read_text()
        script = tmp_path / program
        script.write_text(text.replace("/usr/lib/", f"{unpacked}/usr/lib/"))
        done = subprocess.run(
            [sys.executable, "-I", "-B", str(script), *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_valid_shell(unpacked: Path, script: str) -> None:
    path = unpacked / "DEBIAN" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)


def test_nothing_makes_an_identity_at_install_time(unpacked: Path) -> None:
    assert "generate" not in (unpacked / "DEBIAN/postinst").read_text()
    assert not list((unpacked / "var/lib/zerotier-one").glob("identity*"))
