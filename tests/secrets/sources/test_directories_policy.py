"""How long a reader waits for a writer."""

import time

from hive_boot.secrets.sources.directories import ReadPolicy
from tests.support import FakeClock


def test_pauses_grow_from_two_milliseconds_to_a_hundred() -> None:
    """A volume that is being swapped is looked at again soon, and then more calmly."""
    policy = ReadPolicy()

    pauses = [policy.pause(attempt) for attempt in range(9)]

    assert pauses == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.1, 0.1]


def test_a_pause_is_never_longer_however_often_it_was_tried() -> None:
    """A long wait goes on in steps of a tenth of a second."""
    assert ReadPolicy().pause(10_000) == 0.1


def test_a_file_is_settled_when_nobody_touched_it_for_two_seconds() -> None:
    """What was written long ago is written by nobody now; what is from the future may be."""
    clock = FakeClock(now=1000.0)
    policy = clock.policy()

    assert policy.is_settled(997.9)
    assert not policy.is_settled(998.0)
    assert not policy.is_settled(1000.0)
    assert not policy.is_settled(2000.0)


def test_without_a_test_it_runs_by_the_clocks_of_the_machine() -> None:
    """A load waits by the real clocks, within the limits that are promised."""
    policy = ReadPolicy()

    assert (policy.wall, policy.monotonic, policy.sleep) == (
        time.time,
        time.monotonic,
        time.sleep,
    )
    assert (policy.settled_age, policy.quiet_interval, policy.unstable_timeout) == (
        2.0,
        0.3,
        10.0,
    )
    assert (policy.missing_timeout, policy.tries) == (2.0, 8)
