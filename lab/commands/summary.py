"""`summary`: the addresses and the password that a person needs after `make demo`. The lab's desk password is shown: it
is worth nothing elsewhere."""

from typing import Any

from lab.machine import state
from lab.machine.names import Lab
from lab.machine.progress import say

DESK_USER = "desk@parkmesh.example"


def text(lab: Lab, facts: dict[str, Any], password: str) -> str:
    """The summary as lines."""
    prefix = "" if lab.name == "demo" else f"PARKMESH_LAB={lab.name} "
    overlay = facts["overlay"]
    rows = [
        ("Dashboard", f"{facts['load_balancer_url']}/"),
        ("API", f"{facts['load_balancer_url']}/api/v1 (described by {facts['load_balancer_url']}/api/v1/openapi.json)"),
        ("Sign in", f"{DESK_USER}, password {password} (kept in {lab.secrets / 'desk-password'})"),
        ("Overlay", f"{overlay['kind']}: {overlay['explanation']}"),
        ("AWS", f"{facts['aws_endpoint_url']} (emulated; region {facts['region']}, any credentials)"),
        ("Fleet", f"{prefix}.venv/bin/ansible-inventory -i inventory/lab --graph"),
        ("Mails", f"{prefix}make mail (the lab keeps what the servers send and delivers none of it)"),
        ("What runs", f"{prefix}make lab-status"),
        ("Send a car", f"{prefix}make car PLATE=1234BCD"),
        ("Tear down", f"{prefix}make lab-down"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"parkmesh lab {facts['id']}", *(f"  {name.ljust(width)}  {value}" for name, value in rows)])


def show(lab: Lab) -> None:
    facts = state.require(lab)
    say(text(lab, facts, (lab.secrets / "desk-password").read_text().strip()))
