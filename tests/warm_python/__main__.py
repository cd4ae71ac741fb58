"""Run a command with quicker Pythons for Ansible and its modules on this machine: python -m tests.warm_python COMMAND…

It finds an ``ansible-playbook`` on its path; PARKMESH_TEST_PYTHON is to be used as ``ansible_python_interpreter``.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.warm_python import interpreter, playbook_program

with interpreter() as python, playbook_program() as program:
    path = f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PARKMESH_TEST_PYTHON": python}
    sys.exit(subprocess.run(sys.argv[1:], env=environment, check=False).returncode)
