"""zerotier-idtool, zerotier-cli and the daemon's files: output, exit status and modes as the real ones have them."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from lab.zerotier.addressing import device_name, node_mac, node_of_mac, rfc4193_address, sixplane_address
from lab.zerotier.identity import Identity
from lab.zerotier.world import WorldError, parse_world

from .conftest import TOKEN, Daemon, make_identity, run_tool

NWID = "1122334455667788"
# Observed on a real 1.14.1 node.
REAL_NODE, REAL_NETWORK = "d2b96726bc", 0xFAFFB94BC5000001


def test_names_and_addresses_are_those_of_a_real_node() -> None:
    assert node_mac(REAL_NODE, REAL_NETWORK).hex(":") == "02:d2:b9:a2:6d:05"
    assert node_of_mac(bytes.fromhex("02d2b9a26d05"), REAL_NETWORK) == REAL_NODE
    assert device_name(REAL_NETWORK) == "ztwe5lss6e"
    assert device_name(0xFFFFFFFFFFFFFFFF) == "ztaaaaaaaa"
    assert rfc4193_address(REAL_NODE, REAL_NETWORK) == "fdfa:ffb9:4bc5:0:199:93d2:b967:26bc"
    assert sixplane_address(REAL_NODE, REAL_NETWORK) == "fc3f:ffb9:4ad2:b967:26bc::1"


def test_identities_agree_on_a_key_only_they_know() -> None:
    one, two, other = Identity.generate(), Identity.generate(), Identity.generate()
    assert one.agree(two) == two.agree(one)
    assert one.agree(two) != one.agree(other)


def test_generate_writes_secret_and_public(tmp_path: Path) -> None:
    secret, public = tmp_path / "identity.secret", tmp_path / "identity.public"
    done = run_tool("idtool", "generate", str(secret), str(public))
    assert (done.returncode, done.stdout) == (0, f"{secret} written\n{public} written\n")
    assert re.fullmatch(r"[0-9a-f]{10}:0:[0-9a-f]{128}:[0-9a-f]{128}", secret.read_text())
    assert secret.read_text().startswith(public.read_text() + ":")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert run_tool("idtool", "getpublic", str(secret)).stdout == public.read_text()
    assert run_tool("idtool", "validate", str(secret)).stdout == f"{secret} is a valid identity\n"


def test_generate_prints_without_a_file() -> None:
    assert re.fullmatch(r"[0-9a-f]{10}:0:[0-9a-f]{128}:[0-9a-f]{128}", run_tool("idtool", "generate").stdout)


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["validate", "missing"], 1, "Identity argument invalid or file unreadable: missing\n"),
        (["getpublic", "missing"], 1, "Identity argument invalid or file unreadable: missing\n"),
        (["initmoon", "missing"], 1, "missing is not a valid identity\n"),
        (["genmoon", "missing"], 1, "cannot read missing\n"),
        (["generate", "/no/such/folder/x"], 1, "Error writing to /no/such/folder/x\n"),
        (["validate", f"0000000001:0:{'ab' * 64}"], 1, f"0000000001:0:{'ab' * 64} FAILED validation.\n"),
        (["bogus"], 1, ""),
    ],
)
def test_idtool_refuses(tmp_path: Path, arguments: list[str], status: int, error: str) -> None:
    done = run_tool("idtool", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (status, error)


def test_moon_is_made_and_shown(daemon: Daemon) -> None:
    document = json.loads(run_tool("idtool", "initmoon", str(daemon.home / "identity.public")).stdout)
    assert sorted(document) == [
        "id",
        "objtype",
        "roots",
        "signingKey",
        "signingKey_SECRET",
        "updatesMustBeSignedBy",
        "worldType",
    ]
    document["roots"][0]["stableEndpoints"] = ["10.0.0.1/9993", "fd00::1/9993"]
    moons = daemon.home / "moons.d"
    moons.mkdir()
    (moons / "moon.json").write_text(json.dumps(document))
    done = run_tool("idtool", "genmoon", "moon.json", cwd=moons)
    name = f"000000{daemon.address}.moon"
    assert re.fullmatch(rf"wrote {name} \(signed world with timestamp \d+\)\n", done.stdout)
    daemon.stop()
    daemon.start()
    shown = json.loads(daemon.cli("listmoons").stdout)
    assert shown[0]["id"] == f"000000{daemon.address}"
    assert shown[0]["roots"][0]["stableEndpoints"] == ["10.0.0.1/9993", "fd00::1/9993"]
    assert daemon.cli("status").stdout == f"200 info {daemon.address} 1.14.1 ONLINE\n"
    assert daemon.cli("orbit", daemon.address, daemon.address).stdout == "200 orbit OK\n"


@pytest.mark.parametrize("size", [0, 1, 100, 200, 258])
def test_truncated_moon_is_refused(daemon: Daemon, tmp_path: Path, size: int) -> None:
    document = json.loads(run_tool("idtool", "initmoon", str(daemon.home / "identity.public")).stdout)
    document["roots"][0]["stableEndpoints"] = ["10.0.0.1/9993"]
    (tmp_path / "moon.json").write_text(json.dumps(document))
    run_tool("idtool", "genmoon", "moon.json", cwd=tmp_path)
    data = next(tmp_path.glob("*.moon")).read_bytes()
    assert parse_world(data).to_bytes() == data
    if size < len(data) - 2:
        with pytest.raises(WorldError):
            parse_world(data[:size])


def test_home_has_the_files_of_a_real_one(daemon: Daemon) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in daemon.home.iterdir()}
    assert modes["identity.secret"] == modes["authtoken.secret"] == modes["metricstoken.secret"] == 0o600
    assert modes["identity.public"] == 0o644
    assert modes["controller.d"] == 0o700
    assert (daemon.home / "zerotier-one.port").read_text() == str(daemon.port)
    assert (daemon.home / "authtoken.secret").read_text() == TOKEN


def test_tokens_and_identity_are_made_when_missing(daemon: Daemon) -> None:
    daemon.stop()
    for name in ("authtoken.secret", "metricstoken.secret", "identity.secret", "identity.public"):
        (daemon.home / name).unlink()
    daemon.start()
    assert re.fullmatch("[a-z0-9]{24}", (daemon.home / "authtoken.secret").read_text())
    assert re.fullmatch("[a-z0-9]{24}", (daemon.home / "metricstoken.secret").read_text())
    assert daemon.cli("status").returncode == 0


def test_identity_of_the_real_daemon_is_refused_with_a_reason(daemon: Daemon) -> None:
    daemon.stop()
    identity = Identity.generate()
    (daemon.home / "identity.secret").write_text("0123456789" + identity.secret_text[10:])
    with pytest.raises(pytest.fail.Exception, match="the address doesn't belong to the public key"):
        daemon.start()


def test_status_and_lists(daemon: Daemon) -> None:
    assert daemon.cli("info").stdout == f"200 info {daemon.address} 1.14.1 OFFLINE\n"
    assert daemon.cli("listnetworks").stdout == (
        "200 listnetworks <nwid> <name> <mac> <status> <type> <dev> <ZT assigned ips>\n"
    )
    assert daemon.cli("-j", "listnetworks").stdout == "[]\n"
    lines = daemon.cli("listpeers").stdout.splitlines()
    assert lines[:2] == [
        "200 listpeers <ztaddr> <path> <latency> <version> <role>",
        "200 listpeers 62f865ae71 - -1 - PLANET",
    ]
    assert json.loads(daemon.cli("-j", "info").stdout)["address"] == daemon.address
    assert json.loads(daemon.cli("/status").stdout)["address"] == daemon.address


@pytest.mark.parametrize(
    ("arguments", "status", "output"),
    [
        (["join", "zzz"], 2, "invalid network id\n"),
        (["join"], 2, "invalid network id\n"),
        (["leave", "123"], 2, "invalid network id\n"),
        (["leave", NWID], 0, "200 leave OK\n"),
        (["get", NWID, "allowManaged"], 0, ""),
        (["set"], 2, ""),
        (["get", "12"], 2, ""),
        (["orbit", "1", "2"], 1, "404 orbit \n"),
        (["bogus"], 0, ""),
        ([], 2, ""),
        (["-Tbad", "status"], 1, "401 status {}\n"),
        (["-D/no/such/home", "status"], 2, ""),
        (["-v"], 0, "1.14.1\n"),
    ],
)
def test_cli_answers(shared_daemon: Daemon, arguments: list[str], status: int, output: str) -> None:
    done = shared_daemon.cli(*arguments)
    assert (done.returncode, done.stdout) == (status, output)


def test_cli_tells_that_the_service_is_down(daemon: Daemon) -> None:
    daemon.stop()
    done = daemon.cli("status")
    assert done.returncode == 1
    assert done.stdout.startswith("Error connecting to the ZeroTier service: connection failed\n")


def test_cli_sends_a_token_file_as_it_is(daemon: Daemon) -> None:
    """A newline at the end of authtoken.secret: the daemon takes the token without it, the tool fails."""
    (daemon.home / "authtoken.secret").write_text(TOKEN + "\n")
    daemon.stop()
    daemon.start()
    assert daemon.cli("status").stdout == "401 status {}\n"
    assert daemon.ask("GET", "/status").status == 200


def test_second_daemon_on_the_same_port_says_so(daemon: Daemon, tmp_path: Path) -> None:
    make_identity(tmp_path / "second")
    second = Daemon(tmp_path / "second", daemon.port)
    with pytest.raises(pytest.fail.Exception, match=f"cannot bind to port {daemon.port}"):
        second.start()
