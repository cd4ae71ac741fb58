"""What all tests share: a loaded machine is no failure, so no generated test is judged by the clock.

And what runs playbooks quicker: see tests/warm_python.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.warm_python import interpreter, playbook_program

settings.register_profile("parkmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parkmesh")


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """A program to use as ``ansible_python_interpreter`` on this host."""
    with interpreter() as program:
        yield program


@pytest.fixture(scope="session")
def ansible_playbook() -> Iterator[str]:
    """A program to call as ``ansible-playbook``, in the repository's root."""
    with playbook_program() as program:
        yield program
