"""The release is the current one, belongs to root, and those before it stay for going back."""

import io
import tarfile
from pathlib import Path
from typing import Any

HOME = "/srv/parking"
TOLD = "Another release is the current one."
FIRST, SECOND = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def small_release(folder: Path) -> str:
    """An archive as scripts/build_release.py makes it, with next to nothing in it."""
    path = folder / "small.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"lib/small.py": b"answer = 42\n", "bin/parkmesh": b"#!/bin/sh\necho small\n"}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def releases(host: Any) -> set[str]:
    return set(host.file(f"{HOME}/releases").listdir())


def current(host: Any) -> str:
    return str(host.file(f"{HOME}/current").linked_to).rpartition("/")[2]


def test_the_command_is_the_current_release_s(host: Any) -> None:
    assert host.file("/usr/local/bin/parkmesh").linked_to == f"{HOME}/releases/{current(host)}/bin/parkmesh"
    assert "parkmesh" in host.check_output("runuser -u parking -- parkmesh --version")


def test_the_release_is_root_s_and_compiled(host: Any) -> None:
    folder = f"{HOME}/releases/{current(host)}"
    assert host.file(f"{folder}/.complete").content_string.strip() == current(host)
    assert host.check_output(f"find {folder} ! -user root -o ! -type l -perm /022") == ""
    compiled = host.check_output(f"find {folder}/lib/parkmesh/domain/__pycache__ -name '*.pyc'")
    assert compiled


def test_the_user_can_t_sign_in(host: Any) -> None:
    user = host.user("parking")
    assert (user.shell, user.home, user.password) == ("/usr/sbin/nologin", "/var/lib/parkmesh", "!")
    assert user.uid < 1000
    assert not host.file("/var/lib/parkmesh").exists


def test_a_release_without_an_id_is_refused(scenario: Any) -> None:
    run = scenario.play(parking_runtime_release_id="", fails=True)
    assert "parking_runtime_archive and parking_runtime_release_id are needed" in " ".join(run.output.split())


def test_another_release_is_laid_and_the_one_before_stays(scenario: Any) -> None:
    before = current(scenario.host)
    run = scenario.play(parking_runtime_archive=small_release(scenario.folder), parking_runtime_release_id=FIRST)
    assert TOLD in run.output
    assert scenario.host.check_output("parkmesh") == "small"
    assert releases(scenario.host) == {before, FIRST}


def test_a_release_can_be_laid_without_being_the_current_one(scenario: Any) -> None:
    """Nor does one whose unpacking was interrupted stay as it is."""
    scenario.host.check_output(f"mkdir {HOME}/releases/{SECOND}")
    run = scenario.play(
        parking_runtime_archive=small_release(scenario.folder),
        parking_runtime_release_id=SECOND,
        parking_runtime_make_current=False,
    )
    assert TOLD not in run.output
    assert current(scenario.host) == FIRST
    assert scenario.host.file(f"{HOME}/releases/{SECOND}/lib/small.py").exists


def test_going_back_changes_a_link_and_the_oldest_release_goes(scenario: Any) -> None:
    run = scenario.play()
    assert TOLD in run.output
    assert "parkmesh" in scenario.host.check_output("parkmesh --version")
    assert releases(scenario.host) == {current(scenario.host), SECOND}


def test_a_service_that_runs_it_keeps_it_unless_it_goes_too(scenario: Any) -> None:
    units = [f"/etc/systemd/system/parkmesh-{name}.service" for name in ("leaving", "other")]
    for unit in units:
        scenario.host.check_output("echo 'ExecStart=/usr/local/bin/parkmesh serve' > %s", unit)
    run = scenario.play(parking_runtime_state="absent", parking_runtime_leaving=["parkmesh-leaving.service"])
    assert run.changed == 0
    assert "these services run it: parkmesh-other.service." in " ".join(run.output.split())
    scenario.host.check_output("rm %s %s", *units)
