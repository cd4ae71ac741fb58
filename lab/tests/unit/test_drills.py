"""What drills take from what they see: tasks that changed something, records that were lost, cars' passages."""

from collections import Counter

from lab.drills.checkout import changes
from lab.drills.load import Load
from lab.drills.upgrade import lost

QUIET = """
TASK [aws_network : Make the VPC] **********************************************
ok: [control-node]

PLAY RECAP *********************************************************************
control-node               : ok=87   changed=0    unreachable=0    failed=0    skipped=9    rescued=0    ignored=0
"""
BUSY = """
TASK [parking_gateway : Write its configuration] *******************************
ok: [gateway-a]
changed: [gateway-b]

RUNNING HANDLER [parking_gateway : Restart the agent] **************************
changed: [gateway-b]
changed: [gateway-a] => (item=1)

PLAY RECAP *********************************************************************
gateway-b                  : ok=87   changed=2    unreachable=0    failed=0    skipped=9    rescued=0    ignored=0
"""


def test_a_run_that_changed_nothing_names_no_task() -> None:
    assert changes(QUIET) == []


def test_a_run_names_each_task_and_handler_that_changed_something_once() -> None:
    assert changes(BUSY) == ["parking_gateway : Write its configuration", "parking_gateway : Restart the agent"]


def test_a_change_that_only_the_recap_tells_does_not_pass_for_none() -> None:
    assert changes(QUIET.replace("changed=0 ", "changed=1 ")) == ["a task whose line isn't understood"]


def test_records_that_are_gone_or_say_something_else_are_lost_and_new_ones_are_not() -> None:
    before = {"/units": [{"id": 1, "name": "1A"}, {"id": 2, "name": "2B"}, {"id": 3, "name": "3C"}]}
    now = {"/units": [{"id": 1, "name": "1A", "lots": 2}, {"id": 3, "name": "3D"}, {"id": 4, "name": "4E"}]}
    assert lost(before, now) == [
        "/units/2 is gone",
        "/units/3 said {'name': '3C'}, and says {'name': '3D'}",
    ]


def test_each_car_that_was_answered_must_be_one_passage() -> None:
    load = Load(cars=["1111BBB", "2222CCC", "3333DDD"])
    rows = Counter({"1111BBB": 1, "2222CCC": 2, "9999ZZZ": 3})
    assert (load.missing(rows), load.doubled(rows)) == (["3333DDD"], ["2222CCC"])
