"""Which job templates the whole-lab test launches as AWX does (molecule/site/verify/test_jobs.py), and why not the
others. tests/unit/project/test_awx_data.py fails for a template that isn't here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Launch:
    """How a template is launched in the lab.

    ``answers``: to its survey, besides the defaults. ``check``: as a dry run. ``limit``: a pattern of hosts.
    """

    answers: Mapping[str, str | int] = field(default_factory=dict)
    check: bool = False
    limit: str = ""


PODMAN = "reaches a host of the lab through podman, which only root may; "
SLOW = "takes long even as a dry run; "
ENDS = "takes away what the lab's other tests need; "

LAUNCHES: Mapping[str, Launch | str] = {
    "apply-communities": Launch(),
    "bake-image": PODMAN + "tests/emulator/test_playbooks.py, molecule/site/converge.yml",
    "check-drift": Launch({"format": "json"}),
    "deploy-gateways": Launch(check=True, limit="gateway-a"),
    "deploy-service": SLOW + "tests/emulator/test_playbooks.py, also as a job that is killed",
    "destroy-environment": ENDS + "tests/emulator/test_destroy.py",
    "destroy-overlay": ENDS + "tests/unit/plugins/test_playbook_overlay.py",
    "enroll-gateways": Launch(limit="aws,gateways"),
    "explain-access": Launch({"explain_from": "gateway-a", "explain_to": "slot-1", "explain_port": 8001}),
    "install-simulators": PODMAN + "molecule/parking_simulator, molecule/site/converge.yml",
    "move-gateway": Launch({"gateway": "gateway-a"}, check=True),
    "offboard-community": ENDS + "molecule/onboarding",
    "onboard-community": PODMAN + "molecule/onboarding",
    "provision-data": SLOW + "tests/emulator/test_playbooks.py",
    "provision-egress": "does nothing where the way out is the lab's machine; tests/emulator/test_egress.py",
    "provision-network": SLOW + "tests/emulator/test_playbooks.py",
    "provision-overlay": "reaches the lab's controller through podman; tests/awx/test_runner.py",
    "reconcile-members": Launch(),
    "replace-gateway": PODMAN + "molecule/replacement",
    "restore-data": ENDS + "tests/emulator/test_restore.py",
    "roll-gateways": Launch({"roll_wait_s": 5}),
    "rollback-service": "returns the servers to an image that a lab doesn't have; tests/emulator/test_rollback.py",
    "rotate-codes": Launch({"rotate_communities": "a"}),
    "rotate-overlay": PODMAN + "molecule/site/verify/test_overlay.py",
    "run-retention": Launch(),
    "show-status": Launch(),
    "site": PODMAN + "molecule/site/converge.yml",
    "upgrade-database": ENDS + "tests/emulator/test_playbooks.py",
    "verify": Launch(),
}
"""Template -> how it is launched, or why it isn't and what tests it instead."""
