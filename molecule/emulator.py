"""The emulator of AWS of a molecule scenario: `python molecule/emulator.py up aws_network`, and `down` or `serve`.

`up` starts a process of its own, known by the lab's and the scenario's name on its command line. It serves lab.aws on a
free port of the loopback, and has a Python that has imported what Ansible's modules need (tests/warm_python). Both are
in `.lab/<lab>/<scenario>.json`. `down` ends it and removes what is written about it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 300


def facts_of(scenario: str) -> Path:
    return ROOT / ".lab" / os.environ["PARKMESH_LAB"] / f"{scenario}.json"


def words_of(scenario: str) -> list[str]:
    return [str(Path(__file__).resolve()), "serve", scenario, os.environ["PARKMESH_LAB"]]


def is_it(pid: int, scenario: str) -> bool:
    """Whether a process is the scenario's emulator: a number alone may be of another by now."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False
    return words[1:-1] == words_of(scenario)


def up(scenario: str) -> None:
    down(scenario)
    facts = facts_of(scenario)
    facts.parent.mkdir(parents=True, exist_ok=True)
    with facts.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *words_of(scenario)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + PATIENCE_S
    while not facts.exists():
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"The emulator didn't start: see {facts.with_suffix('.log')}.")
        time.sleep(0.1)


def serve(scenario: str) -> None:
    from lab.aws import serve as emulate
    from tests.warm_python import interpreter

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server = emulate([("127.0.0.1", 0)])
    with interpreter() as python:
        host, port = server.addresses[0]
        facts, made = facts_of(scenario), facts_of(scenario).with_suffix(".new")
        made.write_text(json.dumps({"pid": os.getpid(), "url": f"http://{host}:{port}", "python": python}))
        made.rename(facts)
        ended.wait()
    server.shutdown()


def down(scenario: str) -> None:
    facts = facts_of(scenario)
    if facts.exists():
        pid = json.loads(facts.read_text())["pid"]
        while is_it(pid, scenario):
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.1)
    for path in (facts, facts.with_suffix(".log"), facts.with_name(f"{scenario}-before.json")):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    {"up": up, "serve": serve, "down": down}[sys.argv[1]](sys.argv[2])
