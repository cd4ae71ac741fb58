"""The running lab as tests of the whole system see it: its facts, its hosts, the browser at its dashboard."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
import requests
import testinfra
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".lab" / os.environ.get("PARKMESH_LAB", "demo")
GROUP = "parkmesh-lab-app"
"""The Auto Scaling group of the app servers."""
CHROMIUM = "/usr/bin/chromium"
# A browser of a machine without a screen, and one that looks for nothing outside.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

T = TypeVar("T")


def eventually(read: Callable[[], T], within_s: float, what: str) -> T:
    """Return the first true answer of ``read``; fail with ``what`` and the last answer after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        answer = read()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}; last seen: {answer!r}")
        time.sleep(0.5)


@dataclass(frozen=True)
class Lab:
    """What the lab wrote about itself, and how to work in it."""

    facts: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.facts["load_balancer_url"])

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=self.facts["aws_endpoint_url"],
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
        )

    def podman(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode:
            pytest.fail(f"podman {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def run(self, thing: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on one of the lab's own hosts, or in a container of this name."""
        container = self.facts["hosts"].get(thing, {}).get("container", thing)
        return subprocess.run(
            ["podman", "exec", container, *command], capture_output=True, text=True, check=False, timeout=120
        )

    def simulate(self, thing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        return self.run(thing, "parkmesh", "simulate", verb, "--site", "/etc/parkmesh/site.json", *rest)

    def gateway_status(self, name: str) -> dict[str, Any]:
        done = self.run(name, "parkmesh", "gateway", "status", "--config", "/etc/parkmesh/gateway.json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def play(self, playbook: str, project: Path = ROOT, **extra: object) -> str:
        """Run a playbook, of another checkout of the project if one is given, and return what it printed."""
        done = subprocess.run(
            [
                "ansible-playbook",
                *("-i", str(project / "inventory" / "lab"), "-i", str(project / "molecule" / "site" / "inventory")),
                str(project / "playbooks" / f"{playbook}.yml"),
                *(argument for name, value in extra.items() for argument in ("-e", f"{name}={value}")),
            ],
            cwd=project,
            env={**os.environ, "ANSIBLE_CONFIG": str(project / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def controller(self, method: str, path: str, body: object = None) -> Any:
        """Ask the overlay's controller, like a person who changes things by hand."""
        answer = requests.request(
            method,
            f"http://{self.facts['hosts']['overlay']['address']}:9993/controller/network{path}",
            json=body,
            headers={"X-ZT1-Auth": (STATE / "secrets" / "controller-authtoken").read_text().strip()},
            timeout=10,
        )
        answer.raise_for_status()
        return answer.json()

    def app_servers(self) -> dict[str, str]:
        """Instance id to container name, of the instances that the group has in service."""
        groups = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
        (group,) = groups["AutoScalingGroups"]
        ids = [i["InstanceId"] for i in group["Instances"] if i["LifecycleState"] == "InService"]
        return {instance: f"{self.facts['prefix']}{instance}" for instance in ids}

    def healthy_targets(self) -> set[str]:
        elb = self.client("elbv2")
        group = elb.describe_target_groups()["TargetGroups"][0]["TargetGroupArn"]
        health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"] for entry in health if entry["TargetHealth"]["State"] == "healthy"}


@pytest.fixture(scope="session")
def lab() -> Lab:
    facts = json.loads((STATE / "lab.json").read_text())
    if facts.get("containers_conf"):
        os.environ["CONTAINERS_CONF"] = facts["containers_conf"]
    return Lab(facts)


def overlay_address(lab: Lab, container: str) -> str:
    """The overlay address that a container has."""
    addresses = json.loads(lab.podman("exec", container, "ip", "-j", "-4", "address"))
    found = [a["local"] for link in addresses for a in link["addr_info"] if a["local"].startswith("10.242.")]
    assert len(found) == 1, found
    return str(found[0])


def connects(lab: Lab, thing: str, address: str, port: int) -> bool:
    """Whether one of the lab's own hosts, or a container of this name, can open a TCP connection."""
    return lab.run(thing, "nc", "-z", "-w", "2", address, str(port)).returncode == 0


@pytest.fixture(scope="session")
def host(lab: Lab) -> Callable[[str], Any]:
    """A testinfra host by the lab's word for it, or by its container's name."""

    def find(thing: str) -> Any:
        container = lab.facts["hosts"].get(thing, {}).get("container", thing)
        return testinfra.get_host(f"podman://{container}")

    return find


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def desk(browser: Browser, lab: Lab) -> Iterator[Page]:
    """The operator's desk, signed in through the load balancer."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(lab.url)
    page.get_by_test_id("email").fill("desk@parkmesh.example")
    page.get_by_test_id("password").fill((STATE / "secrets" / "desk-password").read_text().strip())
    page.get_by_test_id("submit").click()
    page.wait_for_url(f"{lab.url}/")
    yield page
    context.close()
