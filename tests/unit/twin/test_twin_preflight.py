"""The preflight: one line per problem, with what was found and what to do."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from twin import overlay_package, preflight
from twin.errors import TwinError
from twin.names import Lab
from twin.preflight import Facts, Port, Volume

GOOD = Facts(
    user_id=0,
    system={"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)"},
    machine="x86_64",
    volumes=(Volume("/var/lib/containers", 1, 20.0, 3.0), Volume("/srv/parkmesh", 1, 20.0, 1.7)),
    missing_programs=(),
    podman_error=None,
    has_tun=True,
    ports=(Port(8080, "LAB_HTTP_PORT", None), Port(4566, "LAB_AWS_PORT", None)),
)


@pytest.mark.parametrize(
    "facts",
    [
        GOOD,
        replace(GOOD, machine="aarch64", system={"ID": "debian", "VERSION_ID": "12"}),
        replace(GOOD, ports=(Port(8080, "LAB_HTTP_PORT", "conmon (process 5)", ours=True),)),
        replace(GOOD, volumes=(Volume("/a", 1, 3.1, 3.0), Volume("/b", 2, 1.8, 1.7))),
    ],
    ids=["debian 13", "debian 12 arm64", "port held by this lab", "two small devices"],
)
def test_a_good_machine_has_no_problem(facts: Facts) -> None:
    assert preflight.problems(facts) == []


@pytest.mark.parametrize(
    ("facts", "parts"),
    [
        (replace(GOOD, user_id=1000), ["root", "1000"]),
        (
            replace(GOOD, system={"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04 LTS"}),
            ["Ubuntu 24.04 LTS", "Debian 12 and 13"],
        ),
        (
            replace(GOOD, system={"ID": "debian", "VERSION_ID": "11", "PRETTY_NAME": "Debian GNU/Linux 11"}),
            ["Debian GNU/Linux 11"],
        ),
        (replace(GOOD, system={}), ["an unknown system"]),
        (replace(GOOD, machine="riscv64"), ["riscv64", "amd64 and arm64"]),
        (replace(GOOD, volumes=(Volume("/var/lib/containers", 1, 1.24, 3.0),)), ["1.2 GB free", "3.0 GB needed"]),
        (
            replace(GOOD, volumes=(Volume("/a", 1, 4.0, 3.0), Volume("/b", 1, 4.0, 1.7))),
            ["4.0 GB free for /a and /b", "4.7 GB needed"],
        ),
        (replace(GOOD, missing_programs=("mmdebstrap", "ip")), ["mmdebstrap", "apt-get install iproute2 mmdebstrap"]),
        (replace(GOOD, podman_error="cannot set up namespace"), ["podman", "cannot set up namespace"]),
        (replace(GOOD, has_tun=False), ["/dev/net/tun", "modprobe"]),
        (
            replace(GOOD, ports=(Port(8080, "LAB_HTTP_PORT", "nginx (process 812)"),)),
            ["8080", "nginx (process 812)", "LAB_HTTP_PORT=<port>"],
        ),
        (replace(GOOD, ports=(Port(4566, "LAB_AWS_PORT", ""),)), ["port 4566 on 127.0.0.1 is taken;", "LAB_AWS_PORT"]),
    ],
)
def test_a_problem_is_one_line_that_says_what_to_do(facts: Facts, parts: list[str]) -> None:
    (line,) = preflight.problems(facts)
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_every_problem_is_told_at_once() -> None:
    facts = replace(GOOD, user_id=7, has_tun=False, ports=(Port(1, "LAB_HTTP_PORT", ""), Port(2, "LAB_AWS_PORT", "")))
    assert len(preflight.problems(facts)) == 4


def test_a_listener_is_seen_on_loopback_and_on_all_addresses() -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as listener:
            listener.bind((host, 0))
            listener.listen()
            assert preflight.holder_of(listener.getsockname()[1]) is not None
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert preflight.holder_of(port) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"not a package", "not a Debian package")],
)
def test_a_wrong_overlay_package_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    package = tmp_path / "zerotier-one.deb"
    if content is not None:
        package.write_bytes(content)
    lab = Lab("demo", tmp_path, "trixie", 8080, 4566)
    with pytest.raises(TwinError, match=f"ZEROTIER_PACKAGE=.*{message}"):
        overlay_package.choose(lab, {"ZEROTIER_PACKAGE": str(package)}, None)


def test_a_lab_keeps_its_overlay_while_it_stands(tmp_path: Path) -> None:
    lab = Lab("demo", tmp_path, "trixie", 8080, 4566)
    kept = {"kind": "repository", "package": None, "explanation": "it answered"}
    assert overlay_package.choose(lab, {}, kept)["kind"] == "repository"
