"""Start a Python for Ansible's modules on hosts of a lab, which are containers that boot systemd.

Usage: python -m tests.warm_python.hosts HOST…, in the repository's root; PARKMESH_LAB names the lab. Then PROGRAM is
there to be the hosts' ``ansible_python_interpreter``.
"""

import io
import os
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ansible

from lab.machine import engine, ports
from lab.machine.podman import Podman

HERE = Path(__file__).parent
ANSIBLE = Path(ansible.__file__).parent
# What makes a package of it.
PACKAGE = ("__init__.py", "release.py", "_vendor/__init__.py")
FOLDER = "/warm-python"
PROGRAM = f"{FOLDER}/python"
PARTS = ("client.py", "forking.py", "modules.py", "services.py")
START = f"""set -e
mkdir -p {FOLDER}
tar --extract --directory={FOLDER}
cat > {PROGRAM} <<'END'
#!/bin/sh
exec /usr/bin/python3 -IS {FOLDER}/client.py {FOLDER}/socket modules "$@"
END
chmod 0755 {PROGRAM}
systemd-run --quiet --collect --unit=warm-python --property=LimitNOFILE=10000 \
  /usr/bin/python3 {FOLDER}/modules.py {FOLDER}/socket {FOLDER}/kept
"""


def parts() -> str:
    """The programs, and Ansible's own part of modules, as an archive, which is text as they are."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in PARTS:
            archive.add(HERE / name, arcname=name)
        for path in (*(ANSIBLE / name for name in PACKAGE), *sorted((ANSIBLE / "module_utils").rglob("*.py"))):
            archive.add(path, arcname=f"ansible/{path.relative_to(ANSIBLE)}")
    return packed.getvalue().decode()


def start(podman: Podman, container: str, packed: str | None = None) -> None:
    """Start it in a container; then PROGRAM is there. After another boot PROGRAM is the host's own Python."""
    podman.run("exec", "--interactive", container, "/bin/sh", "-c", START, text=packed or parts())


def main() -> None:
    lab = ports.settle(os.environ)
    podman, _ = engine.podman_for(lab)
    packed = parts()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: start(podman, lab.thing(host), packed), sys.argv[1:]))


if __name__ == "__main__":
    main()
