"""Takes the lease of module environment_lease for this run of ansible-playbook, and starts its keeper."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.plugins.action import ActionBase

if TYPE_CHECKING:
    from module_utils import environment_lease as leases
else:
    from ansible.module_utils import environment_lease as leases

CONNECTION = ("region", "endpoint_url", "access_key", "secret_key")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the control node: the process that holds the lease is the one of which this worker is a child."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        host = leases.this_host()
        run = leases.run_of(host, os.getppid())
        keeper = arguments.pop("keeper", None)
        if keeper and leases.lives(keeper):
            # It ends when the lease is lost, so there is nothing to ask.
            return result | {"changed": False, "lease": None, "taken": False, "taken_over": "", "keeper": keeper}
        if arguments.get("state", "held") == "held":
            arguments.setdefault("holder", leases.holder_of(task_vars or {}))
            arguments["run"] = run
        result |= self._execute_module(module_args=arguments, task_vars=task_vars)
        if result.get("taken"):
            terms = {"table": arguments["table"], "run": run, **{key: arguments.get(key) for key in CONNECTION}}
            # The keeper lets the signal through when it can act on it.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            try:
                process = subprocess.Popen(
                    [sys.executable, str(Path(leases.__file__))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            assert process.stdin is not None
            process.stdin.write(json.dumps(terms))
            process.stdin.close()
            result["keeper"] = leases.run_of(host, process.pid)
        return result
