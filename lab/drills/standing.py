"""A lab that stands, as drills see it: its AWS API, its hosts, its database, and the application as people use it."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

import boto3

from lab.commands import status
from lab.commands.summary import DESK_USER
from lab.machine import engine, state
from lab.machine.errors import LabError
from lab.machine.names import REGION, Lab
from lab.machine.podman import Podman

REQUEST_S = 5.0
"""How long a person waits for an answer before it counts as refused."""
PATIENCE_S = 300


class StandingLab:
    """A lab that stands. ``token`` is the desk's, empty until ``sign_in``."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.facts = lab, state.require(lab)
        self.podman: Podman = engine.podman_for(lab, write=False)[0]
        self.token = ""

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "lab"}
        return boto3.client(service, endpoint_url=self.facts["aws_endpoint_url"], region_name=REGION, **keys)

    def instances(self, kind: str) -> list[dict[str, Any]]:
        """Instances that run, ``app`` servers or ``nat`` instances: rows of `python -m lab status --json`."""
        return [
            each
            for each in status.collect(self.lab)["cloud"].get("instances", [])
            if each["running"] and (each["group"] or "").startswith(f"parkmesh-lab-{kind}")
        ]

    def healthy(self) -> int:
        """How many targets of the load balancer are healthy."""
        return len(self.healthy_targets())

    def healthy_targets(self) -> set[str]:
        """Instances that the load balancer takes for healthy."""
        arn = self.target_group()["TargetGroupArn"]
        found = self.client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {each["Target"]["Id"] for each in found if each["TargetHealth"]["State"] == "healthy"}

    def target_group(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("elbv2").describe_target_groups()["TargetGroups"][0]
        return found

    def hosts(self, kind: str) -> dict[str, list[str]]:
        """Zone → instances that run, ``app`` servers or ``nat`` instances."""
        found: dict[str, list[str]] = {}
        for each in self.instances(kind):
            found.setdefault(each["zone"], []).append(each["id"])
        return found

    def database(self) -> dict[str, Any]:
        """The database and its container. Raises LabError while a failover is between two."""
        databases = status.collect(self.lab)["cloud"]["databases"]
        if len(databases) != 1:
            raise LabError(f"the lab has {len(databases)} databases that run")
        (found,) = databases
        return {**found, "container": self.lab.thing(f"db-{found['identifier']}")}

    def query(self, sql: str) -> list[str]:
        """The rows of a query, as PostgreSQL's superuser sees them."""
        name = self.client("rds").describe_db_instances()["DBInstances"][0]["DBName"]
        script = f"runuser -u postgres -- psql -d {name} -v ON_ERROR_STOP=1 -At <<'SQL'\n{sql}\nSQL\n"
        return self.podman.shell(self.database()["container"], script).splitlines()

    def passages(self) -> Counter[str]:
        """How many passages the database has of each plate."""
        return Counter(self.query("SELECT plate FROM passage"))

    def gateway(self, name: str) -> dict[str, Any]:
        """What a gateway says of itself (`parkmesh gateway status`)."""
        words = "parkmesh gateway status --config /etc/parkmesh/gateway.json"
        found: dict[str, Any] = json.loads(self.podman.shell(self.lab.thing(name), words))
        return found

    def revision(self) -> str:
        """The database's revision of the schema."""
        return "".join(self.query("SELECT version_num FROM alembic_version"))

    def told(self, gateway: str) -> bool:
        """Whether a gateway has told the servers of all that it took; a refusal waits a moment for a better read."""
        status = self.gateway(gateway)
        return bool(status["undecided"] == status["backlog"] == 0)

    def sign_in(self) -> None:
        """Get a session of the operator's desk. Raises OSError where nobody has an account yet."""
        password = (self.lab.secrets / "desk-password").read_text().strip()
        self.token = self.ask("POST", "/api/v1/sessions", {"email": DESK_USER, "password": password}, 30)["token"]

    def ask(self, method: str, path: str, body: object = None, within_s: float = REQUEST_S) -> Any:
        """The application's answer through the load balancer: JSON, or the text of a page.

        Raises:
            OSError: no answer in time, or not the one that was asked for; the text says which.
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self.facts['load_balancer_url']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
                **({} if body is None else {"Content-Type": "application/json"}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=within_s) as answer:  # noqa: S310
                text = answer.read().decode()
                return json.loads(text) if answer.headers.get_content_type() == "application/json" else text
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:300]}") from error
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error


def until(look: Callable[[], object], what: str, every_s: float = 0.5, within_s: float = PATIENCE_S) -> float:
    """Seconds until ``look`` is true."""
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > within_s:
            raise SystemExit(f"waited {within_s:.0f} s for {what}")
        time.sleep(every_s)
    return time.monotonic() - began
