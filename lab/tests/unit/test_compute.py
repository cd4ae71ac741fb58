"""The compute driver's plan: what the records want against what the containers are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.driver.compute import Act, Action, Instance, Retries, Running, plan, unhealthy


def record(state: str, name: str = "i-1", group: str | None = None) -> Instance:
    return Instance(id=name, state=state, image_id="ami-1", address="10.0.0.4", group=group)


def container(running: bool, name: str = "i-1") -> Running:
    return Running(name, running, 10 if running else 0)


@pytest.mark.parametrize(
    ("state", "present", "created", "stopped", "expected"),
    [
        ("running", None, False, False, Act.CREATE),
        ("pending", None, False, False, Act.CREATE),
        ("running", True, True, False, None),
        ("running", None, True, False, Act.DIED),
        ("running", False, True, False, Act.DIED),
        ("running", False, False, False, Act.CREATE),
        ("running", False, True, True, Act.START),
        ("stopped", True, True, False, Act.STOP),
        ("stopping", True, True, False, Act.STOP),
        ("stopped", False, True, True, None),
        ("stopped", None, False, False, None),
        ("terminated", True, True, False, Act.REMOVE),
        ("terminated", False, True, False, Act.REMOVE),
        ("shutting-down", True, True, False, Act.REMOVE),
        ("terminated", None, True, False, None),
    ],
)
def test_one_instance(state: str, present: bool | None, created: bool, stopped: bool, expected: Act | None) -> None:
    containers = [] if present is None else [container(present)]
    actions = plan(
        [record(state)],
        containers,
        frozenset({"i-1"} if created else ()),
        frozenset({"i-1"} if stopped else ()),
    )
    assert actions == ([] if expected is None else [Action(expected, "i-1")])


@pytest.mark.parametrize(
    ("present", "created", "checked", "expected"),
    [
        (True, True, False, Act.KILL),
        (True, True, True, Act.KILL),
        (False, True, False, Act.DIED),
        (False, True, True, None),
        (None, False, False, None),
    ],
)
def test_an_instance_in_a_failed_zone(present: bool | None, created: bool, checked: bool, expected: Act | None) -> None:
    one = Instance("i-1", "running", "ami-1", "10.0.0.4", zone="eu-west-1a")
    containers = [] if present is None else [container(present)]
    known, watched = frozenset({"i-1"} if created else ()), frozenset({"i-1"} if checked else ())
    failed = frozenset({"eu-west-1a"})
    assert plan([one], containers, known, frozenset(), failed, watched) == (
        [Action(expected, "i-1")] if expected else []
    )
    assert Act.KILL not in {each.act for each in plan([one], containers, known, frozenset(), frozenset({"eu-west-1b"}))}


def test_containers_of_a_forgotten_api_are_removed() -> None:
    assert plan([], [container(True, "i-9")], frozenset(), frozenset()) == [Action(Act.REMOVE, "i-9")]


def test_removals_come_first_because_addresses_are_used_again() -> None:
    actions = plan(
        [record("running", "i-new"), record("terminated", "i-old")],
        [container(True, "i-old")],
        frozenset(),
        frozenset(),
    )
    assert actions == [Action(Act.REMOVE, "i-old"), Action(Act.CREATE, "i-new")]


STATES = st.sampled_from(["pending", "running", "stopping", "stopped", "shutting-down", "terminated"])


@given(
    records=st.dictionaries(st.sampled_from("abcde"), STATES),
    present=st.dictionaries(st.sampled_from("abcde"), st.booleans()),
)
def test_carrying_out_the_plan_leaves_nothing_to_do(records: dict[str, str], present: dict[str, bool]) -> None:
    created, stopped = set(present), {name for name, running in present.items() if not running}

    def actions() -> list[Action]:
        return plan(
            [record(state, name) for name, state in records.items()],
            [container(running, name) for name, running in present.items()],
            frozenset(created),
            frozenset(stopped),
        )

    for action in actions():
        match action.act:
            case Act.CREATE | Act.START:
                present[action.instance_id] = True
                stopped.discard(action.instance_id)
                created.add(action.instance_id)
            case Act.STOP:
                present[action.instance_id] = False
                stopped.add(action.instance_id)
            case Act.REMOVE:
                del present[action.instance_id]
            case Act.DIED:
                records[action.instance_id] = "terminated"
                present.pop(action.instance_id, None)
    assert actions() == []
    assert {name for name, running in present.items() if running} == {
        name for name, state in records.items() if state in ("running", "pending")
    }


@pytest.mark.parametrize(
    ("checks", "age", "states", "expected"),
    [
        (True, 100, ["unhealthy"], True),
        (True, 100, ["healthy", "unhealthy"], True),
        (True, 29, ["unhealthy"], False),
        (True, 100, ["initial"], False),
        (True, 100, [], False),
        (False, 100, ["unhealthy"], False),
    ],
)
def test_target_health_counts_only_where_the_group_asks_for_it(
    checks: bool, age: float, states: list[str], expected: bool
) -> None:
    assert unhealthy(checks, age, 30, states) is expected


def test_failures_are_retried_ever_more_slowly_but_at_least_each_minute() -> None:
    retries, now, waits = Retries(), 0.0, []
    for _ in range(10):
        retries.failed("x", now)
        begun = now
        while not retries.due("x", now):
            now += 0.5
        waits.append(now - begun)
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert max(waits) == Retries.LONGEST_S
    assert retries.due("another", 0)
    retries.succeeded("x")
    assert retries.due("x", now)
