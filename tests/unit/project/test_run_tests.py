"""The test runner counts what happened and never turns silence into success."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "run_tests.py"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tests", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    monkeypatch.setitem(sys.modules, "run_tests", module)
    spec.loader.exec_module(module)
    return module


RESULT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="AssertionError: no&#10;assert 1 == 2"/></testcase>
<testcase classname="a" name="three"><error/></testcase>
<testcase classname="a" name="four"><skipped message="no broker here"/></testcase>
</testsuite></testsuites>"""


def test_counts_come_from_the_result_file(runner: ModuleType, tmp_path: Path) -> None:
    junit = tmp_path / "r.xml"
    junit.write_text(RESULT)
    tally = runner.count(runner.Step("s", [], junit), 1)
    assert (tally.passed, tally.failed, tally.skipped) == (1, 2, ["a::four: no broker here"])
    assert tally.failures == ["a::two: AssertionError: no", "a::three: no reason given"]


@pytest.mark.parametrize(
    "text", [None, "<testsuites/>", '<testsuites><testcase classname="a" name="one"/></testsuites>']
)
def test_a_run_that_broke_off_is_a_failure_whatever_it_wrote(
    runner: ModuleType, tmp_path: Path, text: str | None
) -> None:
    junit = tmp_path / "r.xml"
    if text is not None:
        junit.write_text(text)
    assert runner.count(runner.Step("s", [], junit), 2).failed == 1


def test_a_step_that_failed_without_a_failed_test_ends_the_summary_with_its_last_lines(
    runner: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "r.xml"
    write = (
        f"""echo '{RESULT.splitlines()[0]}<testcase classname="a" name="one"/></testsuite></testsuites>' > {junit}"""
    )
    step = runner.Step("policies", ["sh", "-c", f"{write}; seq 20; echo a.json lacks s3:GetObject >&2; exit 1"], junit)
    tally = runner.run(step)
    assert (tally.passed, tally.failed) == (1, 1)
    runner.summarise([tally])
    lines = capfd.readouterr().out.splitlines()
    assert "20" in lines
    begin = lines.index("failed: policies (exit 1, no failed test)")
    assert lines[begin + 1 :] == [
        *(f"    {number}" for number in range(14, 21)),
        "    a.json lacks s3:GetObject",
        "1 passed, 1 failed, 0 skipped",
    ]


def test_the_last_line_sums_the_stages_and_skipped_ones_are_told(
    runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    tallies = [runner.Tally(passed=2), runner.Tally(passed=1, skipped=["x: no daemon"])]
    assert runner.summarise(tallies) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "skipped: x: no daemon" in lines
    assert lines[-1] == "3 passed, 0 failed, 1 skipped"


def test_bytecode_is_kept_apart_from_the_sources_whatever_the_caller_s_shell_says(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported.py").touch()
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(runner, "BYTECODE", tmp_path / "kept")
    step = runner.Step(
        "import", [sys.executable, "-c", f"import sys; sys.path[0] = {str(tmp_path)!r}; import imported"]
    )
    assert runner.run(step).passed == 1
    assert [path.name.split(".")[0] for path in (tmp_path / "kept").rglob("imported.*.pyc")] == ["imported"]
    assert not list(tmp_path.glob("**/__pycache__"))


def test_nothing_passed_is_a_failure(runner: ModuleType) -> None:
    assert runner.summarise([runner.Tally()]) == 1
    assert runner.summarise([runner.Tally(passed=1, failed=1, failures=["x"])]) == 1


def test_each_stage_and_all_of_them_say_their_time(runner: ModuleType) -> None:
    lint = [("ruff", runner.Tally(passed=1, seconds=2)), ("mypy", runner.Tally(passed=1, seconds=30))]
    results = {
        "lint": runner.Stage(lint, 30.2),
        "lab": runner.Stage([("molecule", runner.Tally(passed=1, seconds=600))], 600),
    }
    lines = [" ".join(line.split()) for line in runner.times(results, 625)]
    assert lines == ["lint 30 s (ruff 2, mypy 30)", "lab 600 s (molecule 600)", "all 625 s"]


# Each of two waits until the other has begun.
WAIT = "touch {}; echo begun; n=0; until [ -e {} ] || [ $n = 600 ]; do sleep 0.1; n=$((n+1)); done; [ $n != 600 ]"


def test_some_stages_run_side_by_side_and_the_others_in_their_order(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "SIDE_BY_SIDE", ("one", "three"))
    one, three = tmp_path / "one", tmp_path / "three"
    stages = {
        "one": [runner.Step("first", ["sh", "-c", WAIT.format(one, three)])],
        "two": [runner.Step("second", ["test", "-e", str(three)])],
        "three": [runner.Step("third", ["sh", "-c", WAIT.format(three, one)])],
    }
    results = runner.run_stages(stages)
    assert [(name, stage.steps[0][1].failed) for name, stage in results.items()] == [
        ("one", 0),
        ("three", 0),
        ("two", 0),
    ]
    assert "=== third\nbegun\n=== third: ok in " in capfd.readouterr().out


def test_lanes_run_side_by_side_and_each_step_shows_its_output_in_one_piece(
    runner: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    stage = runner.run_stage(
        [
            runner.Step("one", ["sh", "-c", WAIT.format(one, two)]),
            runner.Step("two", ["sh", "-c", WAIT.format(two, one)], lane=1),
            runner.Step("three", ["false"]),
        ]
    )
    assert [(name, tally.failed) for name, tally in stage.steps] == [("one", 0), ("three", 1), ("two", 0)]
    shown = capfd.readouterr().out
    assert all(f"=== {name}\nbegun\n=== {name}: ok in " in shown for name in ("one", "two")), shown
