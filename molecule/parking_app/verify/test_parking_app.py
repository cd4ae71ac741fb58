"""As an image: units enabled and not started. As a server: with a real PostgreSQL it migrates, serves and comes back.

What AWS would hand to the instance is written here instead of by parkmesh-instance, as
app/src/parkmesh/instance/prepare.py writes it.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import eventually

UNITS = (
    "parkmesh-instance.service",
    "parkmesh-overlay.service",
    "parkmesh-migrate.service",
    "parkmesh-server.service",
    "parkmesh-retention.timer",
    "parkmesh-lifecycle.service",
    "parkmesh-maintenance.service",
)
PASSWORD = secrets.token_hex(12)
DROP_IN = "/run/systemd/system/{}.service.d/test.conf"
DATABASE = f"""set -e
pg_createcluster --pgoption=ssl=off --start "$(ls /usr/lib/postgresql)" main >/dev/null
runuser -u postgres -- psql --quiet --command="CREATE ROLE owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'"
runuser -u postgres -- createdb --owner=owner parkmesh
mkdir -p /run/parkmesh
chgrp parkmesh /run/parkmesh
chmod 0750 /run/parkmesh
cd /run/parkmesh
umask 077
printf '%s\\n' PARKMESH_DATABASE_URL=postgresql://owner:{PASSWORD}@127.0.0.1/parkmesh \\
  PARKMESH_APP_PASSWORD={PASSWORD} > migrate.env
printf '%s\\n' PARKMESH_DATABASE_URL=postgresql://parkmesh_app:{PASSWORD}@127.0.0.1/parkmesh \\
  PARKMESH_SESSION_SECRET={secrets.token_hex(24)} PARKMESH_EDGE_ADDRESS_FILE=/run/parkmesh/edge-address \\
  PARKMESH_PUBLIC_URL=http://127.0.0.1:8000 PARKMESH_SERVER_ID=test > server.env
"""


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_of_an_image_is_enabled_and_not_started(host: Any, unit: str) -> None:
    service = host.service(unit)
    assert (service.is_enabled, service.is_running, service.is_valid) == (True, False, True)


def test_zerotier_waits_for_the_slot(host: Any) -> None:
    assert "Requires=parkmesh-overlay.service" in host.check_output("systemctl cat zerotier-one")


def test_the_server_s_environment_has_what_was_given_and_no_secret(host: Any) -> None:
    environment = host.file("/etc/default/parkmesh-server")
    assert environment.mode == 0o644
    lines = environment.content_string.splitlines()[1:]
    assert dict(line.split("=", 1) for line in lines) == {
        "PARKMESH_DATABASE_CA": "/etc/parkmesh/database-ca.pem",
        "PARKMESH_DRAIN_SECONDS": "7",
        "PARKMESH_KEY_REQUESTS_PER_MINUTE": "1200",
        "PARKMESH_WEBHOOK_CA": "/etc/parkmesh/webhook-ca.pem",
        "PARKMESH_WEBHOOK_NETWORKS": "10.9.0.0/16 fd00::/8",
        "PARKMESH_WEBHOOK_PORTS": "8443 9443",
    }


@pytest.mark.parametrize("name", ["database-ca.pem", "webhook-ca.pem"])
def test_the_authorities_are_there(host: Any, name: str) -> None:
    file = host.file(f"/etc/parkmesh/{name}")
    assert (file.user, file.mode) == ("root", 0o644)
    assert "BEGIN CERTIFICATE" in file.content_string


def test_a_file_without_certificates_is_refused_before_anything_changes(scenario: Any) -> None:
    run = scenario.play(fails=True, parking_app_database_ca="/etc/hostname")
    assert "/etc/hostname, which holds no certificates in PEM" in " ".join(run.output.split())
    assert run.changed == 0


@pytest.fixture(scope="module")
def server(scenario: Any) -> Iterator[Any]:
    """The host as a server whose instance is prepared, with a database of its own."""
    host = scenario.host
    # No AWS: the instance is prepared, there is no group to tell anything, and no slot to lease.
    for name, program in {"instance": "true", "lifecycle": "true", "overlay": "false"}.items():
        drop_in = DROP_IN.format(f"parkmesh-{name}")
        lines = f"[Service]\nExecStart=\nExecStartPost=\nExecStart=/bin/{program}\nRestart=no\n"
        host.check_output("mkdir -p $(dirname %s)", drop_in)
        host.check_output("printf %s > %s", lines, drop_in)
    host.check_output("systemctl daemon-reload")
    host.run_expect([0], "sh -c %s", DATABASE)
    # The database is this host's and has no certificate of those authorities.
    run = scenario.play(parking_app_image=False, parking_app_database_ca="")
    assert run.changed > 0
    assert PASSWORD not in run.output
    yield host
    host.check_output("systemctl stop parkmesh-server parkmesh-migrate parkmesh-overlay parkmesh-instance")
    host.check_output("pg_dropcluster --stop $(ls /usr/lib/postgresql) main")
    host.check_output("rm -rf /run/parkmesh /run/systemd/system/parkmesh-*.service.d && systemctl daemon-reload")
    scenario.play()


def await_ready(host: Any) -> None:
    eventually(
        lambda: host.run("curl -sf http://127.0.0.1:8000/readyz").rc == 0,
        lambda: str(host.run("journalctl -u 'parkmesh-*' -n 30").stdout),
    )


def test_a_server_migrates_its_database_and_serves(server: Any) -> None:
    await_ready(server)
    assert server.service("parkmesh-migrate").is_running
    assert server.service("parkmesh-server").is_running
    assert server.socket("tcp://0.0.0.0:8000").is_listening
    # Without a slot of the overlay there is no address for gateways.
    assert not server.socket("tcp://0.0.0.0:8001").is_listening


def test_a_server_runs_as_its_user_and_shows_no_secret(server: Any) -> None:
    process = server.process.get(pid=server.service("parkmesh-server").systemd_properties["MainPID"])
    assert process.user == "parkmesh"
    assert PASSWORD not in server.check_output("ps -eo args")
    assert server.file("/run/parkmesh/migrate.env").mode == 0o600


def test_a_server_that_dies_comes_back(server: Any) -> None:
    server.check_output("systemctl kill --signal=KILL parkmesh-server")
    await_ready(server)
