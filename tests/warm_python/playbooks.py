"""An ``ansible-playbook`` that has imported Ansible and its plugins: forks for each client and runs its playbook.

Usage: playbooks.py SOCKET FOLDER; prints "ready", keeps in the folder what modules are sent as; ends with its input.
"""

import atexit
import functools
import glob
import importlib
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path

from forking import end_at_once, serve
from services import import_boto3
from templates import keep_code

ORDINARY = str(Path(sys.executable).with_name("ansible-playbook"))
# Whose descriptions of modules and whose plugins the playbooks use.
COLLECTIONS = ("amazon.aws", "ansible.posix", "community.aws", "community.general", "containers.podman")
# What lookups ask. The descriptions of the rest would be copied, in part, for each task.
OF_LOOKUPS = ("secretsmanager", "ssm")


# Of how a run prints, which molecule and tests set: where a run writes to is no terminal.
OF_OUTPUT = {"ANSIBLE_CONFIG", "ANSIBLE_DEBUG", "ANSIBLE_FORCE_COLOR", "ANSIBLE_NOCOLOR", "ANSIBLE_VERBOSE_TO_STDERR"}
# What each run is told anew, below.
OF_A_RUN = {"ANSIBLE_STRATEGY"}


def settings() -> tuple[str, dict[str, str]]:
    """What Ansible reads when it is imported: its ansible.cfg and its own variables."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("ANSIBLE_")}
    return os.environ.get("ANSIBLE_CONFIG") or str(Path("ansible.cfg").absolute()), {
        name: value for name, value in kept.items() if name not in OF_OUTPUT | OF_A_RUN
    }


def import_what_playbooks_need() -> Callable[[Path], None]:
    """Import Ansible and its plugins, which a run else does again in the process of each task.

    Returns what makes a fork of this process a run of its own, given the folder that all of them may share.
    """
    from ansible import constants
    from ansible.config.manager import cleanup_tmp_file
    from ansible.playbook.play import Play
    from ansible.plugins import loader
    from ansible.utils.collection_loader._collection_finder import _get_collection_metadata

    importlib.import_module("ansible.cli.playbook")
    loader.init_plugin_loader()
    # Each run does it too, and is told that it is done.
    warnings.filterwarnings("ignore", message="AnsibleCollectionFinder has already been configured")
    for name in COLLECTIONS:
        _get_collection_metadata(name)
    # Those of the project's inventory first: they let the others find the project's module_utils.
    for kind in ("inventory", "filter", "test", "action", "become", "callback", "connection", "lookup", "shell"):
        for _ in getattr(loader, f"{kind}_loader").all(**({} if kind in {"filter", "test"} else {"class_only": True})):
            pass
    # Where the modules of a group are takes a look into a folder for each of them.
    loader.glob = types.SimpleNamespace(glob=glob.glob, iglob=functools.cache(glob.glob))
    for group in ("amazon.aws.aws", "community.aws.aws"):
        Play.load({"name": group, "hosts": "all", "module_defaults": {f"group/{group}": {}}})
    # Each look for a task's end costs, and a processor that does something else is of more use than the soonest answer.
    constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.01
    # A run's own folder for what it writes, made below.
    atexit.unregister(cleanup_tmp_file)
    theirs = Path(constants.DEFAULT_LOCAL_TMP)
    theirs.rmdir()

    def begin(kept: Path) -> None:
        own = tempfile.mkdtemp(prefix=f"ansible-local-{os.getpid()}", dir=theirs.parent)
        atexit.register(cleanup_tmp_file, own, warn=True)
        # Ansible puts a module together once in a run: here all runs do it once.
        Path(own, "ansiballz_cache").symlink_to(kept)
        constants.DEFAULT_LOCAL_TMP = own
        Play.__dict__["strategy"].default = constants.config.get_config_value("DEFAULT_STRATEGY")

    return begin


def main() -> None:
    address, folder = sys.argv[1:]
    kept = Path(folder)
    templates = kept / "templates"
    templates.mkdir(parents=True)
    at_start = settings()
    import_boto3(OF_LOOKUPS)
    begin = import_what_playbooks_need()
    keep_code(templates)
    if serve(address):
        if settings() != at_start:
            # Another verbosity, for instance: only a new process reads that.
            os.execv(sys.executable, [sys.executable, ORDINARY, *sys.argv[1:]])  # noqa: S606 - no shell wanted
        begin(kept)
        from ansible.cli.playbook import main as ansible_playbook

        sys.argv[0] = "ansible-playbook"
        end_at_once(ansible_playbook)


if __name__ == "__main__":
    main()
