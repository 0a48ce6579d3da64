"""Back-off: the delays before retries."""

from hive_boot._timings import DEFAULTS, Backoff


def delays(backoff: Backoff, count: int) -> list[float]:
    """Return the delays after so many failures."""
    return [backoff.next_delay() for _ in range(count)]


def test_a_delay_doubles_up_to_the_maximum() -> None:
    """The second retry comes after two seconds, and no retry after more than 60."""
    assert delays(Backoff(1, 60), 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_refused_rotation_is_retried_every_five_seconds() -> None:
    """A database may be behind the mounted password, so nothing is gained by a longer delay."""
    backoff = Backoff(DEFAULTS.reload_retry_delay, DEFAULTS.max_reload_retry_delay)
    assert delays(backoff, 5) == [1, 2, 4, 5, 5]


def test_a_maximum_below_the_initial_delay_counts() -> None:
    """The maximum holds for the first delay too, also after a reset."""
    backoff = Backoff(5, 2)
    assert delays(backoff, 3) == [2, 2, 2]
    backoff.reset()
    assert delays(backoff, 1) == [2]


def test_a_reset_returns_to_the_initial_delay() -> None:
    """After a success the next failure is a first one."""
    backoff = Backoff(0.5, 4)
    assert delays(backoff, 5) == [0.5, 1, 2, 4, 4]
    backoff.reset()
    assert delays(backoff, 2) == [0.5, 1]


def test_delays_go_on_for_years() -> None:
    """Doubling overflows nothing, and an initial delay of 0 stays 0."""
    assert delays(Backoff(0.1, 60), 5000)[-1] == 60
    assert set(delays(Backoff(0.0, 60), 5000)) == {0.0}


def test_jitter_shortens_a_delay_by_up_to_a_half() -> None:
    """No two replicas have the same delays, and the doubling does not see what was shortened."""
    bounds = [1, 2, 4, 8, 8]
    rows = [delays(Backoff(1, 8, jitter=True), 5) for _ in range(50)]
    outside = [
        (delay, bound)
        for row in rows
        for delay, bound in zip(row, bounds, strict=True)
        if not bound / 2 <= delay <= bound
    ]
    assert outside == []
    assert len(set(map(tuple, rows))) > 1
