"""A builder puts Session Manager's agent in only if AWS signed it. Doubles stand for apt and the bucket."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "aws_image"
ARMOR = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__aws_image_agent_armor"]
PACKAGE = "amazon-ssm-agent.deb"

pytestmark = pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpgv")), reason="needs GnuPG")


def gpg(home: Path, *arguments: str) -> str:
    command = ["gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg(home, "--quick-generate-key", "signer@example.org", "ed25519", "sign", "never")
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.fixture
def boot(signer: Path, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs the script with a key's text; what was installed is in ``installed``, what was fetched in ``addresses``."""
    bucket, programs = tmp_path / "bucket", tmp_path / "bin"
    bucket.mkdir()
    programs.mkdir()
    (bucket / PACKAGE).write_text("the agent")
    gpg(signer, "--detach-sign", "--output", str(bucket / f"{PACKAGE}.sig"), str(bucket / PACKAGE))
    doubles = {
        "apt-get": "exit 0",
        "curl": f'for last; do :; done; echo "$last" >>{tmp_path}/addresses; cp "{bucket}/${{last##*/}}" .',
        "dpkg": f'case $1 in --print-architecture) echo amd64 ;; *) cat "$2" >{tmp_path}/installed ;; esac',
        "systemctl": f'echo "$*" >{tmp_path}/enabled',
    }
    for name, body in doubles.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)

    def run(key: str) -> subprocess.CompletedProcess[str]:
        found = re.match(ARMOR, key)
        assert found is not None
        given = {"aws_region": "eu-west-1", "__aws_image_agent_key": re.sub(r"\s", "", found[1])}
        text = jinja2.Template((ROLE / "templates" / "agent.sh.j2").read_text()).render(given)
        path = f"{programs}:{os.environ['PATH']}"
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, env={"PATH": path}, check=False)

    return run


def test_the_region_s_package_is_put_in_when_its_signature_is_right(
    boot: Callable[[str], subprocess.CompletedProcess[str]], signer: Path, tmp_path: Path
) -> None:
    done = boot(gpg(signer, "--armor", "--export"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed").read_text() == "the agent"
    assert (tmp_path / "enabled").read_text() == "enable --now amazon-ssm-agent.service\n"
    folder = "https://s3.eu-west-1.amazonaws.com/amazon-ssm-eu-west-1/latest/debian_amd64"
    assert (tmp_path / "addresses").read_text().split() == [f"{folder}/{PACKAGE}", f"{folder}/{PACKAGE}.sig"]


def test_another_package_is_not(
    boot: Callable[[str], subprocess.CompletedProcess[str]], signer: Path, tmp_path: Path
) -> None:
    (tmp_path / "bucket" / PACKAGE).write_text("another agent")
    done = boot(gpg(signer, "--armor", "--export"))
    assert done.returncode != 0
    assert "BAD signature" in done.stderr
    assert not (tmp_path / "installed").exists()


def test_nor_is_what_another_key_has_signed(
    boot: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    gpg(other, "--quick-generate-key", "other@example.org", "ed25519", "sign", "never")
    done = boot(gpg(other, "--armor", "--export"))
    subprocess.run(["gpgconf", "--homedir", str(other), "--kill", "all"], check=False)
    assert done.returncode != 0
    assert not (tmp_path / "installed").exists()


def test_a_key_is_read_with_and_without_headers_and_checksum() -> None:
    body = base64.encodebytes(bytes(range(120))).decode()
    block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n{}\n{}{}-----END PGP PUBLIC KEY BLOCK-----\n"
    for headers in ("", "Version: GnuPG v2.0.22 (GNU/Linux)\n"):
        for checksum in ("", "=AbC+\n"):
            found = re.match(ARMOR, block.format(headers, body, checksum))
            assert found is not None
            assert base64.b64decode(re.sub(r"\s", "", found[1])) == bytes(range(120))
    assert re.match(ARMOR, "no key") is None
