"""Make the bucket that AWS keeps its CloudWatch agent in, with a stand-in for the agent, for this scenario's host.

Usage: bucket.py FOLDER. FOLDER/home is for /root of the host: the bucket, a program that serves it, and curl's
settings, which lead the bucket's name to that program. FOLDER/signer.asc is the public key of who signed the package.

The package is made as Tools/src/create_deb.sh of aws/amazon-cloudwatch-agent makes it: paths, links, user, unit, what
runs before its removal. The agent in it does what Amazon's does at its start (cmd/start-amazon-cloudwatch-agent and
translator/cmdutil/userutil.go): it takes its folders over and becomes run_as_user with that user's groups. Then it
writes what it was told to ship of the journal to a file instead of to AWS.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HOST = "amazoncloudwatch-agent-eu-west-1.s3.eu-west-1.amazonaws.com"
FOLDER = "opt/aws/amazon-cloudwatch-agent"
UNIT = f"""[Unit]
Description=A stand-in for the Amazon CloudWatch Agent
After=network.target

[Service]
Type=simple
ExecStart=/{FOLDER}/bin/start-amazon-cloudwatch-agent
KillMode=process
Restart=on-failure
RestartSec=60s

[Install]
WantedBy=multi-user.target
"""
START = f"""#!/bin/sh
set -eu
cd /{FOLDER}
chown -R cwagent:cwagent logs etc var
exec setpriv --reuid=cwagent --regid=cwagent --init-groups bin/amazon-cloudwatch-agent
"""
AGENT = f"""#!/usr/bin/python3
import json
import os

told = json.load(open("/{FOLDER}/etc/amazon-cloudwatch-agent.json"))
(entry,) = told["logs"]["logs_collected"]["journald"]["collect_list"]
os.dup2(os.open("/{FOLDER}/logs/shipped", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
units = [f"--unit={{unit}}" for unit in entry["units"]]
os.execvp("journalctl", ["journalctl", "--follow", "--output=cat", f"--priority={{entry['priority']}}", *units])
"""
BEFORE_INSTALLATION = """#!/bin/sh
getent group cwagent >/dev/null || groupadd -r cwagent
id cwagent >/dev/null 2>&1 || useradd -r -M cwagent -d /home/cwagent -g cwagent -s /usr/sbin/nologin
"""
BEFORE_REMOVAL = """#!/bin/sh
set -e
if [ "$1" = remove ]; then
    systemctl stop amazon-cloudwatch-agent.service
    systemctl disable amazon-cloudwatch-agent.service
    systemctl daemon-reload
    systemctl reset-failed
fi
"""
SERVE = """import http.server
import ssl

server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/bucket.pem", "/root/bucket.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def package(root: Path, architecture: str, made: Path) -> None:
    """Build the package from a new folder."""
    control = f"Package: amazon-cloudwatch-agent\nArchitecture: {architecture}\nVersion: 1.300070.0-1\n"
    write(root / "DEBIAN/control", f"{control}Maintainer: none\nDescription: A stand-in for Amazon's agent\n")
    write(root / "DEBIAN/conffiles", f"/{FOLDER}/etc/common-config.toml\n")
    write(root / "DEBIAN/preinst", BEFORE_INSTALLATION, 0o755)
    write(root / "DEBIAN/prerm", BEFORE_REMOVAL, 0o755)
    write(root / FOLDER / "etc/common-config.toml", "")
    write(root / FOLDER / "bin/start-amazon-cloudwatch-agent", START, 0o755)
    write(root / FOLDER / "bin/amazon-cloudwatch-agent", AGENT, 0o755)
    write(root / "etc/systemd/system/amazon-cloudwatch-agent.service", UNIT)
    for name in ("logs", "var"):
        (root / FOLDER / name).mkdir()
    (root / "etc/amazon").mkdir()
    (root / "etc/amazon/amazon-cloudwatch-agent").symlink_to(f"/{FOLDER}/etc")
    run("dpkg-deb", "--build", "--root-owner-group", "-Zgzip", root, made)


def main() -> None:
    folder = Path(sys.argv[1])
    home, architecture = folder / "home", run("dpkg", "--print-architecture").strip()
    made = home / "bucket/debian" / architecture / "latest/amazon-cloudwatch-agent.deb"
    made.parent.mkdir(parents=True)
    # GnuPG's agent wants a short path for its socket.
    with tempfile.TemporaryDirectory() as work:
        package(Path(work, "root"), architecture, made)
        keys = Path(work, "keys")
        keys.mkdir(mode=0o700)
        gpg = ("gpg", "--homedir", keys, "--batch", "--pinentry-mode=loopback", "--passphrase=")
        try:
            for name in ("signer", "other"):
                run(*gpg, "--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never")
                (folder / f"{name}.asc").write_text(run(*gpg, "--armor", "--export", f"{name}@example.org"))
            run(*gpg, "--local-user=signer@example.org", "--output", f"{made}.sig", "--detach-sign", made)
        finally:
            run("gpgconf", "--homedir", keys, "--kill", "all")
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "9", "-subj", "/CN=bucket", "-addext", f"subjectAltName=DNS:{HOST}"),
        *("-keyout", home / "bucket.key", "-out", home / "bucket.pem"),
    )
    write(home / "serve.py", SERVE)
    write(home / ".curlrc", f"cacert = /root/bucket.pem\nresolve = {HOST}:443:127.0.0.1\n")


if __name__ == "__main__":
    main()
