"""Runs lab.aws alone, for tests and for looking at it: `python -m lab.aws --port N`."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from . import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.aws", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one, printed)")
    parser.add_argument("--record", type=Path, help="file to which each operation that is called is added, as JSON")
    arguments = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = serve([(arguments.host, arguments.port)], record=arguments.record)
    except OSError as error:
        parser.exit(1, f"{error}\n")
    host, port = server.addresses[0]
    print(f"http://{host}:{port}", flush=True)
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
