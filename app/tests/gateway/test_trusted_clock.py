"""What is certain of the time, when nobody tells it."""

import pytest
from parkmesh.gateway.trusted_clock import TrustedClock

NOW = 1_700_000_000_000
MINUTE = 60_000
DAY = 86_400_000
YEAR = 365 * DAY


class Machine:
    """A computer: a clock that can be set, and the time since it was switched on."""

    def __init__(self, time: int) -> None:
        self.time, self.on = time, 5_000

    def passes(self, ms: int) -> None:
        self.time += ms
        self.on += ms

    def clock(self, highest: int = 0) -> TrustedClock:
        return TrustedClock(lambda: self.time, lambda: self.on, highest)


@pytest.mark.parametrize("off", [-YEAR, -NOW, -2 * MINUTE, 31 * DAY, YEAR])
def test_a_clock_that_can_not_be_right_is_not_followed(off: int) -> None:
    machine = Machine(NOW + off)
    clock = machine.clock(NOW)
    assert clock.doubtful
    assert clock() == NOW
    machine.passes(3 * MINUTE)
    assert clock() == NOW + 3 * MINUTE
    machine.time = NOW + 3 * MINUTE  # somebody sets it right
    assert (clock(), clock.doubtful) == (NOW + 3 * MINUTE, False)


@pytest.mark.parametrize("off", [-30_000, 0, DAY, 29 * DAY])
def test_a_clock_that_may_be_right_is_followed(off: int) -> None:
    clock = Machine(NOW + off).clock(NOW)
    assert (clock(), clock.doubtful) == (NOW + off, False)


def test_where_nothing_was_ever_trusted_the_clock_is_followed() -> None:
    clock = Machine(1_000).clock()
    assert (clock(), clock.doubtful, clock.highest) == (1_000, False, 0)


@pytest.mark.parametrize("jump", [-YEAR, YEAR, 2 * MINUTE])
def test_a_clock_that_jumps_does_not_take_the_time_along(jump: int) -> None:
    machine = Machine(NOW)
    clock = machine.clock()
    assert clock.trust(NOW + 100) == 0
    machine.passes(DAY)
    machine.time += jump
    assert (clock(), clock.doubtful) == (NOW + DAY, False)
    assert clock.highest == NOW + 100 + DAY
    # A server's word ends it: the machine's clock is followed again, with the skew that the server told.
    assert clock.trust(NOW + 100 + DAY) == jump
    assert clock() == NOW + DAY + jump


def test_a_servers_word_ends_the_doubt() -> None:
    machine = Machine(1_000)
    clock = machine.clock(NOW)
    assert clock.trust(NOW + YEAR) == 0
    assert (clock(), clock.doubtful, clock.highest) == (1_000, False, NOW + YEAR)
