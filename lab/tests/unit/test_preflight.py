"""The preflight: one line per problem, with what was found and what to do."""

import ast
import os
import platform
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.commands import preflight
from lab.machine import checks, inotify, system
from lab.machine.checks import Facts, Port, Volume
from lab.machine.errors import LabError
from lab.machine.names import Lab
from lab.zerotier_package import build, choice

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
    assert checks.problems(facts) == []


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
        (replace(GOOD, free_inotify=8), ["8 left", "30 needed", "sysctl fs.inotify.max_user_instances=1024"]),
        (
            replace(GOOD, ports=(Port(8080, "LAB_HTTP_PORT", "nginx (process 812)"),)),
            ["8080", "nginx (process 812)", "LAB_HTTP_PORT=<port>"],
        ),
        (replace(GOOD, ports=(Port(4566, "LAB_AWS_PORT", ""),)), ["port 4566 on 127.0.0.1 is taken;", "LAB_AWS_PORT"]),
    ],
)
def test_a_problem_is_one_line_that_says_what_to_do(facts: Facts, parts: list[str]) -> None:
    (line,) = checks.problems(facts)
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_every_problem_is_told_at_once() -> None:
    facts = replace(GOOD, user_id=7, has_tun=False, ports=(Port(1, "LAB_HTTP_PORT", ""), Port(2, "LAB_AWS_PORT", "")))
    assert len(checks.problems(facts)) == 4


def test_a_listener_is_seen_on_loopback_and_on_all_addresses() -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as listener:
            listener.bind((host, 0))
            listener.listen()
            assert checks.holder_of(listener.getsockname()[1]) is not None
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert checks.holder_of(port) is None


def _open_files() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


def test_inotify_instances_are_counted_and_given_back() -> None:
    before = _open_files()
    assert inotify.free(2) == 2
    assert _open_files() == before
    script = (
        "from lab.machine import inotify; import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)); print(inotify.free(30))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(checks.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 < int(done.stdout) < 8, done.stderr


@pytest.mark.parametrize(("before", "after"), [("128\n", 1024), ("1024\n", None), ("524288\n", None)])
def test_a_limit_that_is_low_is_set_and_another_is_left(tmp_path: Path, before: str, after: int | None) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text(before)
    said = inotify.raise_limit(limit)
    if after is None:
        assert (said, limit.read_text()) == (None, before)
    else:
        assert said is not None
        assert "until the next boot: 128 are too few" in said
        assert int(limit.read_text()) == after
    assert not inotify.may_raise(limit)


def test_a_kernel_without_the_limit_is_left_alone(tmp_path: Path) -> None:
    limit = tmp_path / "max_user_instances"
    assert not inotify.may_raise(limit)
    assert inotify.raise_limit(limit) is None
    assert not limit.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"not a package", "not a Debian package")],
)
def test_a_wrong_overlay_package_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    package = tmp_path / "zerotier-one.deb"
    if content is not None:
        package.write_bytes(content)
    lab = Lab("demo", tmp_path, "trixie", 8080, 4566)
    with pytest.raises(LabError, match=f"ZEROTIER_PACKAGE=.*{message}"):
        choice.choose(lab, {"ZEROTIER_PACKAGE": str(package)}, None)


def test_a_lab_keeps_its_overlay_while_it_stands(tmp_path: Path) -> None:
    lab = Lab("demo", tmp_path, "trixie", 8080, 4566)
    kept = {"kind": "repository", "package": None, "explanation": "it answered"}
    assert choice.choose(lab, {}, kept)["kind"] == "repository"


def test_the_overlays_package_is_built_again_when_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build._RULES in choice.sources()
    folder = tmp_path / "lab" / "zerotier_package"
    program = tmp_path / "lab" / "zerotier"
    rules = tmp_path / "module_utils" / "zerotier_rules.py"
    for path in (folder / "build.py", program / "daemon.py", rules):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    monkeypatch.setattr(choice, "BUILDER", folder / "build.py")
    monkeypatch.setattr(choice, "PROGRAM", program)
    monkeypatch.setattr(choice, "RULES", rules)
    seen = {choice.fingerprint_of(choice.sources())}
    (program / "__pycache__").mkdir()
    (program / "__pycache__" / "daemon.pyc").write_text("made by Python")
    assert {choice.fingerprint_of(choice.sources())} == seen
    for path in (rules, program / "daemon.py"):
        path.write_text("after")
        seen.add(choice.fingerprint_of(choice.sources()))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n', "PRETTY_NAME", "Debian GNU/Linux 13 (trixie)"),
        ("# a comment\n\nVERSION_ID='12'\n", "VERSION_ID", "12"),
        ('ID="cut short', "ID", '"cut short'),
        ("\xff\nID=debian", "ID", "debian"),
    ],
)
def test_a_system_is_read_from_its_release_file(tmp_path: Path, text: str, field: str, value: str) -> None:
    path = tmp_path / "os-release"
    path.write_bytes(text.encode("latin-1"))
    assert system.os_release((str(tmp_path / "missing"), str(path)))[field] == value


def test_a_system_without_a_release_file_is_called_what_its_kernel_is() -> None:
    assert system.os_release(()) == {"ID": "Linux"}


def test_the_entry_holds_nothing_that_an_old_python_3_cannot_read() -> None:
    """The file is parsed as a whole before its first line runs: one f-string and Python 3.5 gives a traceback."""
    new = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match, ast.AsyncFunctionDef, ast.Starred)
    tree = ast.parse(Path(preflight.__file__).read_text() + Path(system.__file__).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, new)]
    # A star in a call's arguments is as old as Python 3.
    starred = [value for node in ast.walk(tree) if isinstance(node, ast.Call) for value in node.args]
    assert [ast.unparse(node) for node in found if node not in starred] == []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            annotations = [argument.annotation for argument in node.args.args] + [node.returns]
            assert all(isinstance(note, ast.Constant | ast.Name) for note in annotations), node.name
            assert not node.args.posonlyargs


def test_an_old_python_hands_over_to_a_newer_one(tmp_path: Path) -> None:
    older, newer = tmp_path / "older", tmp_path / "newer"
    older.write_text("#!/bin/sh\nexit 127\n")
    newer.write_text('#!/bin/sh\n[ "$2" = -c ] || echo "went on: $*"\n')
    for program in (older, newer):
        program.chmod(0o755)
    script = (
        "from lab.commands import preflight; preflight.NEEDED = (99,)\n"
        f"preflight.CANDIDATES = ('/missing', {str(older)!r}, {str(newer)!r})\n"
        "preflight.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(preflight.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == f"went on: -E {preflight.__file__}\n", done.stderr


@pytest.mark.parametrize(
    ("user_id", "found", "part"),
    [(0, "debian", "Python"), (1000, "debian", "not root"), (0, "ubuntu", "unsupported system")],
)
def test_an_old_python_alone_says_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], user_id: int, found: str, part: str
) -> None:
    monkeypatch.setattr(preflight, "NEEDED", (99,))
    monkeypatch.setattr(preflight, "CANDIDATES", ("/missing/python3", sys.executable))
    monkeypatch.setattr(os, "geteuid", lambda: user_id)
    monkeypatch.setattr(system, "os_release", lambda: {"ID": found, "VERSION_ID": "13"})
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert preflight.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line
