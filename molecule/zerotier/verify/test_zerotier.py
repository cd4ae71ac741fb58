"""The node runs by its settings and is in the listed network; a daemon that dies comes back."""

import json
import time
from typing import Any

HOME = "/var/lib/zerotier-one"
NETWORK = "8056c2e21c000001"


def test_the_service_runs_and_starts_at_boot(host: Any) -> None:
    assert host.package("zerotier-one").is_installed
    service = host.service("zerotier-one")
    assert (service.is_running, service.is_enabled) == (True, True)


def test_the_settings_are_in_force(host: Any) -> None:
    configuration = host.file(f"{HOME}/local.conf")
    assert configuration.mode == 0o644
    assert json.loads(configuration.content_string)["settings"]["primaryPort"] == 29993
    assert host.socket("udp://0.0.0.0:29993").is_listening
    assert host.socket("tcp://127.0.0.1:29993").is_listening
    assert not host.socket("udp://0.0.0.0:9993").is_listening


def test_what_is_secret_is_the_daemon_s_alone(host: Any) -> None:
    for name in ("identity.secret", "authtoken.secret"):
        assert host.file(f"{HOME}/{name}").mode & 0o077 == 0
    assert host.file(HOME).mode == 0o750


def networks(host: Any) -> list[str]:
    return [each["nwid"] for each in json.loads(host.check_output("zerotier-cli -j listnetworks"))]


def test_the_node_is_in_the_listed_network_also_after_its_daemon_died(host: Any) -> None:
    assert networks(host) == [NETWORK]
    before = host.service("zerotier-one").systemd_properties["MainPID"]
    host.check_output(f"kill -KILL {before}")
    until = time.monotonic() + 20
    while host.run("zerotier-cli -j info").rc or host.service("zerotier-one").systemd_properties["MainPID"] == before:
        assert time.monotonic() < until
        time.sleep(0.3)
    assert networks(host) == [NETWORK]


def test_the_package_s_file_isn_t_left(host: Any) -> None:
    assert not host.file("/var/cache/zerotier-one.deb").exists
