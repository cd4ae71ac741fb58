"""An old read is told from a wrong clock."""

import random

import pytest
from parkmesh.gateway.freshness import CameraClock

BOUND = 20_000
NOW = 1_700_000_000_000
HOUR = 3_600_000


def arrive(clock: CameraClock, device: int | None, received: int) -> bool:
    """Return whether the read counts as fresh, and learn from it, as the decider does."""
    before = clock.age_ms(device, received)
    clock.learn(device, received, BOUND)
    return min(before, clock.age_ms(device, received)) <= BOUND


def test_a_right_clock() -> None:
    clock = CameraClock()
    assert arrive(clock, NOW - 300, NOW)
    assert not arrive(clock, NOW - 30_000, NOW + 1_000)
    assert arrive(clock, NOW + 60_000, NOW + 60_500)


def test_no_device_time_counts_as_now() -> None:
    assert arrive(CameraClock(), None, NOW)


def test_a_clock_an_hour_off_is_learned_from_its_second_read() -> None:
    for off in (-HOUR, HOUR, 10 * HOUR):
        clock = CameraClock()
        assert not arrive(clock, NOW + off, NOW)
        assert arrive(clock, NOW + off + 5_000, NOW + 5_100)
        assert arrive(clock, NOW + off + 600_000, NOW + 600_400)
        # and an old one of that camera is still old
        assert not arrive(clock, NOW + off + 300_000, NOW + 700_000)


def test_a_backlog_sent_in_one_go_never_counts_as_fresh() -> None:
    clock = CameraClock()
    for i in range(50):
        assert not arrive(clock, NOW - HOUR + i * 30_000, NOW + i * 200)


def test_a_clock_that_jumps_is_learned_anew() -> None:
    clock = CameraClock()
    assert arrive(clock, NOW, NOW)
    assert not arrive(clock, 1_000_000, NOW + 10_000)
    assert arrive(clock, 1_004_000, NOW + 14_000)


def test_slow_drift_is_followed() -> None:
    clock = CameraClock()
    for minute in range(2_000):  # half a second per minute, far beyond the bound in the end
        assert arrive(clock, NOW + minute * 60_000 - minute * 500, NOW + minute * 60_000)


@pytest.mark.parametrize("a_day", [5_000, -5_000, 15_000])
@pytest.mark.parametrize("reads", [1, 3, 40])
def test_a_drift_is_learned_and_a_silence_survived(a_day: int, reads: int) -> None:
    chance = random.Random(a_day + reads)
    clock, days, day = CameraClock(), 60, 86_400_000
    received = NOW
    for number in range(days * reads):
        received = NOW + number * day // reads
        device = NOW + (received - NOW) * (day - a_day) // day - chance.randrange(2_000)
        assert arrive(clock, device, received), f"refused on day {number // reads}"
    assert abs(clock.drift * day - a_day) < abs(a_day) * 0.4
    received += 14 * day  # a holiday
    device = NOW + (received - NOW) * (day - a_day) // day
    assert not arrive(clock, device - 90_000, received - 30_000), "an old read counts as fresh"
    assert arrive(clock, device, received)


def test_the_gateways_own_clock_is_set() -> None:
    clock = CameraClock()
    for number in range(30):
        assert arrive(clock, NOW + number * HOUR, NOW + number * HOUR)
    clock.moved(HOUR * 5_000)
    at = NOW + 30 * HOUR
    assert arrive(clock, at, at + HOUR * 5_000)
    assert not arrive(clock, at + 60_000, at + HOUR * 5_000 + 120_000)
