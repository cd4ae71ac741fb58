"""An old read is told from a wrong clock."""

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
