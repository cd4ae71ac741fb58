"""The lab's folder: lab.json (facts for the inventory, no secrets), the secrets beside it, and the lock on the
folder."""

import fcntl
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from lab.driver.hosts import HOSTS, address
from lab.machine import subnets
from lab.machine.errors import LabError
from lab.machine.names import MAIL_PORT, REGION, Lab

_SIGN_RELEASE = Path(__file__).resolve().parents[2] / "scripts/sign_release.py"


def load(lab: Lab) -> dict[str, Any] | None:
    """lab.json, or None before the first `up` (or when a crash cut it short)."""
    try:
        facts: dict[str, Any] = json.loads(lab.lab_json.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return facts


def require(lab: Lab) -> dict[str, Any]:
    facts = load(lab)
    if facts is None:
        raise LabError(f"lab {lab.name!r} is not up: run `make lab-up`, or say which lab with PARKMESH_LAB=<name>")
    return facts


def save(path: Path, facts: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(facts, indent=2) + "\n")
    temporary.replace(path)


def failed_zones(lab: Lab) -> frozenset[str]:
    """Names of the zones that were told to fail (`python -m lab zone`)."""
    try:
        return frozenset(json.loads(_failed_zones(lab).read_text()))
    except FileNotFoundError:
        return frozenset()


def save_failed_zones(lab: Lab, zones: frozenset[str]) -> None:
    temporary = _failed_zones(lab).with_suffix(".new")
    temporary.write_text(json.dumps(sorted(zones)) + "\n")
    temporary.replace(_failed_zones(lab))


def _failed_zones(lab: Lab) -> Path:
    return lab.state / "failed-zones.json"


def facts_of(
    lab: Lab,
    networks: dict[str, IPv4Network],
    overlay: dict[str, Any],
    containers_conf: str | None,
    image: str,
    egress: str,
    metric_period_s: int,
) -> dict[str, Any]:
    """What the inventory reads. Addresses are text; nothing secret."""
    return {
        "id": lab.id,
        "name": lab.name,
        "prefix": lab.prefix,
        "root": str(lab.root),
        "state": str(lab.state),
        "debian": lab.suite,
        "region": REGION,
        "image": image,
        "containers_conf": containers_conf,
        "ssh_key": str(lab.secrets / "ssh_key"),
        "ports": {"http": lab.http_port, "aws": lab.aws_port},
        "aws_endpoint_url": lab.aws_endpoint_url,
        "aws_endpoint_url_instances": f"http://{subnets.gateway(networks['vpc'])}:{lab.aws_port}",
        "smtp_url": f"smtp://{subnets.gateway(networks['vpc'])}:{MAIL_PORT}",
        "egress": egress,
        "metric_period_s": metric_period_s,
        "vpc_cidr": str(networks["vpc"]),
        "load_balancer_url": lab.load_balancer_url,
        "networks": {
            name: {"name": lab.thing(name), "subnet": str(network), "gateway": str(subnets.gateway(network))}
            for name, network in networks.items()
        },
        "hosts": {
            host.name: {
                "container": lab.thing(host.name),
                "address": str(address(host, networks)),
                "network": host.network,
            }
            for host in HOSTS
        },
        "overlay": overlay,
    }


def ensure_secrets(lab: Lab) -> None:
    """The lab's own keys (to sign in, to sign releases), desk password, controller token and the password of devices at
    the brokers; made once, kept until `down`."""
    lab.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    lab.secrets.chmod(0o700)
    _secret(lab.secrets / "desk-password", lambda: secrets.token_urlsafe(15))
    _secret(lab.secrets / "controller-authtoken", lambda: secrets.token_hex(12))
    _secret(lab.secrets / "mqtt-password", lambda: secrets.token_hex(16))
    key = lab.secrets / "ssh_key"
    if not (key.exists() and key.with_suffix(".pub").exists()):
        key.unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"parkmesh {lab.id}", "-f", str(key)],
            check=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
    signing_key, public = lab.secrets / "release_key", lab.secrets / "release_key.pub"
    if not (signing_key.exists() and public.exists() and public.read_text()):
        signing_key.unlink(missing_ok=True)
        made = subprocess.run(
            [sys.executable, str(_SIGN_RELEASE), "--new-key", str(signing_key)],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        public.write_text(made.stdout)


def _secret(path: Path, make: Any) -> None:
    if path.exists() and path.read_text().strip():
        return
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(f"{make()}\n")


@contextmanager
def held(lab: Lab) -> Iterator[None]:
    """Only one `up` or `down` of a lab at a time.

    Raises:
        LabError: another one is at work.
    """
    lab.state.parent.mkdir(parents=True, exist_ok=True)
    with (lab.state.parent / f"{lab.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(f"another `up` or `down` of lab {lab.name!r} is at work: wait for it to end") from error
        yield
        if not lab.state.exists():
            Path(handle.name).unlink(missing_ok=True)
