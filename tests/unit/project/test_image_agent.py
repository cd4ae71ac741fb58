"""A host puts an agent of AWS's in only if AWS signed it. Doubles stand for apt and the bucket."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jinja2
import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


class Agent(NamedTuple):
    """A script that installs an agent, and what it is given."""

    script: str
    package: str
    region: str
    """The input that has the region."""
    prefix: str
    """How the variables with the key begin."""
    folder: str

    def armor(self) -> str:
        variables = yaml.safe_load((ROLES / self.script).parents[1].joinpath("vars", "main.yml").read_text())
        return str(variables[f"{self.prefix}armor"])


AGENTS = [
    Agent(
        "aws_image/templates/agent.sh.j2",
        "amazon-ssm-agent.deb",
        "aws_region",
        "__aws_image_agent_",
        "https://s3.eu-west-1.amazonaws.com/amazon-ssm-eu-west-1/latest/debian_amd64",
    ),
    Agent(
        "log_agent/templates/install.sh.j2",
        "amazon-cloudwatch-agent.deb",
        "log_agent_region",
        "__log_agent_",
        "https://amazoncloudwatch-agent-eu-west-1.s3.eu-west-1.amazonaws.com/debian/amd64/latest",
    ),
]

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


@pytest.fixture(params=AGENTS, ids=["Session Manager's", "CloudWatch's"])
def agent(request: pytest.FixtureRequest) -> Agent:
    given: Agent = request.param
    return given


@pytest.fixture
def boot(agent: Agent, signer: Path, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs the script with a key's text; what was installed is in ``installed``, what was fetched in ``addresses``."""
    bucket, programs = tmp_path / "bucket", tmp_path / "bin"
    bucket.mkdir()
    programs.mkdir()
    (bucket / agent.package).write_text("the agent")
    gpg(signer, "--detach-sign", "--output", str(bucket / f"{agent.package}.sig"), str(bucket / agent.package))
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
        found = re.match(agent.armor(), key)
        assert found is not None
        given = {agent.region: "eu-west-1", f"{agent.prefix}key": re.sub(r"\s", "", found[1])}
        text = jinja2.Template((ROLES / agent.script).read_text()).render(given)
        path = f"{programs}:{os.environ['PATH']}"
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, env={"PATH": path}, check=False)

    return run


def test_the_region_s_package_is_put_in_when_its_signature_is_right(
    agent: Agent, boot: Callable[[str], subprocess.CompletedProcess[str]], signer: Path, tmp_path: Path
) -> None:
    done = boot(gpg(signer, "--armor", "--export"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed").read_text() == "the agent"
    address = f"{agent.folder}/{agent.package}"
    assert (tmp_path / "addresses").read_text().split() == [address, f"{address}.sig"]
    # The builder needs Session Manager now; role log_agent enables the other when it is configured.
    enables = (tmp_path / "enabled").exists()
    assert enables == (agent.package == "amazon-ssm-agent.deb")


def test_another_package_is_not(
    agent: Agent, boot: Callable[[str], subprocess.CompletedProcess[str]], signer: Path, tmp_path: Path
) -> None:
    (tmp_path / "bucket" / agent.package).write_text("another agent")
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


@pytest.mark.parametrize("agent", AGENTS)
def test_a_key_is_read_with_and_without_headers_and_checksum(agent: Agent) -> None:
    body = base64.encodebytes(bytes(range(120))).decode()
    block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n{}\n{}{}-----END PGP PUBLIC KEY BLOCK-----\n"
    for headers in ("", "Version: GnuPG v2.0.22 (GNU/Linux)\n"):
        for checksum in ("", "=AbC+\n"):
            found = re.match(agent.armor(), block.format(headers, body, checksum))
            assert found is not None
            assert base64.b64decode(re.sub(r"\s", "", found[1])) == bytes(range(120))
    assert re.match(agent.armor(), "no key") is None
