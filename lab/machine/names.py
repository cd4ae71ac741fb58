"""A lab's identity: its id, its name prefix, its folders and its ports, all derived from the clone and PARKMESH_LAB.

Two clones on one machine, or two labs of one clone, never share a name: the id carries the lab's name and a hash of the
clone's path, and everything that is created is named and labelled with it.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from lab.machine.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
LABEL = "parkmesh.lab"
BASE_LABEL = "parkmesh.base"
REGION = "eu-west-1"
ACCOUNT = "123456789012"
# Elastic IPs: addresses that nobody has (RFC 5737, TEST-NET-3). This machine leads them to whoever has them in a lab.
PUBLIC_ADDRESSES = IPv4Network("203.0.113.0/24")
SUITES = ("trixie", "bookworm")
EGRESSES = ("none", "nat_instance", "nat_gateway")
# CloudWatch's minute. With a shorter one, groups follow their load sooner.
METRIC_PERIOD_S = 60

# The demonstration has ports a person remembers; other labs get a pair of their own, so that the tests run beside it.
DEMO_HTTP_PORT = 8080
DEMO_AWS_PORT = 4566
# On the VPC's gateway address only, which each lab has for itself.
MAIL_PORT = 2525
PORT_BASE = 20000
PORT_PAIRS = 4000


@dataclass(frozen=True)
class Lab:
    """A lab's fixed facts. `http_port` and `aws_port` are loopback ports of the host. `egress` is how app servers get
    out (aws_network_egress), `metric_period_s` for how long metrics are gathered; None where nobody chose."""

    name: str
    root: Path
    suite: str
    http_port: int
    aws_port: int
    egress: str | None = None
    metric_period_s: int | None = None

    @property
    def id(self) -> str:
        return lab_id(self.name, self.root)

    @property
    def prefix(self) -> str:
        return f"parkmesh-{self.id}-"

    @property
    def label(self) -> str:
        return f"{LABEL}={self.id}"

    @property
    def state(self) -> Path:
        return self.root / ".lab" / self.name

    @property
    def cache(self) -> Path:
        return self.root / ".cache" / "lab"

    @property
    def lab_json(self) -> Path:
        return self.state / "lab.json"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def mails(self) -> Path:
        return self.state / "mails"

    @property
    def aws_endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def load_balancer_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def thing(self, name: str) -> str:
        """The container, volume or network name of one thing of this lab."""
        return f"{self.prefix}{name}"

    def image(self, ami_id: str) -> str:
        """The local image that stands for an AMI baked in this lab."""
        return f"localhost/parkmesh-{self.id}-image:{ami_id}"


def lab_id(name: str, root: Path) -> str:
    return f"{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def from_environment(
    environment: Mapping[str, str],
    root: Path = ROOT,
    *,
    recorded: tuple[int, int] | None = None,
    claimed: Collection[int] = (),
) -> Lab:
    """The lab that PARKMESH_LAB, LAB_DEBIAN, LAB_EGRESS, LAB_METRIC_PERIOD_S, LAB_HTTP_PORT and LAB_AWS_PORT describe.

    Args:
        environment: what was given; it wins over everything below.
        root: the clone.
        recorded: (HTTP, AWS) ports that the lab has already.
        claimed: ports of other labs on this machine.

    Raises:
        LabError: a variable holds something that cannot be used; the text names the variable.
    """
    name = environment.get("PARKMESH_LAB") or "demo"
    if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", name):
        raise LabError(
            f"PARKMESH_LAB={name!r}: a lab's name is a lower-case letter followed by up to 15 letters or digits"
        )
    suite = environment.get("LAB_DEBIAN") or SUITES[0]
    if suite not in SUITES:
        raise LabError(f"LAB_DEBIAN={suite!r}: choose one of {', '.join(SUITES)}")
    egress = environment.get("LAB_EGRESS") or None
    if egress not in (None, *EGRESSES):
        raise LabError(f"LAB_EGRESS={egress!r}: choose one of {', '.join(EGRESSES)}")
    period = environment.get("LAB_METRIC_PERIOD_S") or None
    if period is not None and not (re.fullmatch(r"[0-9]{1,2}", period) and 1 <= int(period) <= METRIC_PERIOD_S):
        raise LabError(f"LAB_METRIC_PERIOD_S={period!r}: give whole seconds from 1 to {METRIC_PERIOD_S}")
    given = _port(environment, "LAB_HTTP_PORT"), _port(environment, "LAB_AWS_PORT")
    defaults = recorded or default_ports(name, root, given, claimed)
    http_port, aws_port = given[0] or defaults[0], given[1] or defaults[1]
    if http_port == aws_port:
        raise LabError(f"LAB_HTTP_PORT and LAB_AWS_PORT are both {http_port}: give them two different ports")
    return Lab(
        name=name,
        root=root,
        suite=suite,
        http_port=http_port,
        aws_port=aws_port,
        egress=egress,
        metric_period_s=int(period) if period else None,
    )


def default_ports(
    name: str,
    root: Path,
    given: tuple[int | None, int | None] = (None, None),
    claimed: Collection[int] = (),
) -> tuple[int, int]:
    """(HTTP, AWS) loopback ports of a new lab, of which those not `given` are used.

    The demonstration leaves the well-known pair to another lab that has one of those it would use. A stranger's port is
    not avoided: the preflight names it, and a person decides.
    """
    if name == "demo":
        known = DEMO_HTTP_PORT, DEMO_AWS_PORT
        if not any(port in claimed for port, chosen in zip(known, given, strict=True) if chosen is None):
            return known
    digest = hashlib.sha256(lab_id(name, root).encode()).digest()
    pair = int.from_bytes(digest[:4], "big") % PORT_PAIRS
    return PORT_BASE + 2 * pair, PORT_BASE + 2 * pair + 1


def mac_address(lab: str, thing: str) -> str:
    """A fixed, locally administered MAC: with a random one, neighbours keep a stale entry after a restart."""
    digest = hashlib.sha256(f"{lab}/{thing}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _port(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable)
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1024 <= int(text) <= 65535:
        raise LabError(f"{variable}={text!r}: give a port between 1024 and 65535")
    return int(text)
