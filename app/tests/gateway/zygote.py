"""Start gateways quickly: a process that has imported everything forks one for each line with a configuration's path.

The gateway that comes of it is a process like any other, without the second that Python takes to import. Its number is
written on a line of its own; what it says goes to the file that is this process's standard error.
"""

import os
import signal
import sys

from parkmesh.gateway import cli


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            cli.gateway.main(["run", "--config", line.strip()], standalone_mode=True)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
