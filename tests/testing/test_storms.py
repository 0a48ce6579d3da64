"""A thread that publishes until a block ends, or its time is over."""

import math
import threading

import pytest

from hive_boot.testing import Storm


def numbered(number: int) -> dict[str, str]:
    """Give a content that tells its number."""
    return {"number": str(number)}


def test_numbers_begin_with_one() -> None:
    """Each time has its number, and none is left out."""
    seen = []

    def publish(number: int) -> dict[str, str]:
        seen.append(number)
        return numbered(number)

    with Storm(publish, rate=math.inf, seconds=60) as storm:
        assert storm.wait(100)

    assert seen == list(range(1, storm.count + 1))
    assert storm.published == numbered(storm.count)


def test_a_storm_ends_when_its_time_is_over() -> None:
    """A block may go on after the storm; whoever waits for more is told that there is none."""
    with Storm(numbered, rate=50, seconds=0.2) as storm:
        assert storm.wait()
        assert 1 <= storm.count <= 10
        assert storm.wait(storm.count)
        assert not storm.wait(storm.count + 1)


def test_a_storm_without_time_is_a_lull() -> None:
    """Nothing at all is published in no time."""
    with Storm(numbered, rate=200, seconds=0) as storm:
        assert storm.wait()

    assert storm.count == 0
    assert storm.published is None


def test_the_end_of_the_block_ends_a_pause() -> None:
    """Nobody waits for the next time when the block is over."""
    with Storm(numbered, rate=1 / 3600, seconds=math.inf) as storm:
        assert storm.wait(1)

    assert storm.count == 1


def test_what_goes_wrong_is_raised_where_the_block_ends() -> None:
    """A failure ends the storm, wakes who waits, and is not lost in the thread."""

    def publish(number: int) -> dict[str, str]:
        if number == 3:
            message = "the disk is full"
            raise OSError(message)
        return numbered(number)

    with pytest.raises(OSError, match="the disk is full"):  # noqa: PT012  (and what is before it)
        with Storm(publish, rate=math.inf, seconds=60) as storm:
            assert not storm.wait(3)
        pytest.fail("the block ends by the failure")

    assert storm.count == 2
    assert storm.published == numbered(2)


def test_a_failing_block_leaves_no_thread() -> None:
    """Whatever ends the block ends the storm."""
    before = set(threading.enumerate())
    with pytest.raises(LookupError), Storm(numbered, rate=200, seconds=math.inf):
        raise LookupError

    assert set(threading.enumerate()) <= before
