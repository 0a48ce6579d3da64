"""Exception groups: a single failure is unwrapped, several stay in a group."""

import anyio
import pytest

from hive_boot.lifecycle.tasks import combine, is_cancellation, unwrap_single

pytestmark = pytest.mark.both_backends

ONE, OTHER = ValueError("one"), KeyError("other")


def test_a_single_failure_comes_out_of_its_groups() -> None:
    """A single failure is unwrapped from any number of groups."""
    assert unwrap_single(ONE) is ONE
    assert unwrap_single(ExceptionGroup("inner", [ONE])) is ONE
    assert unwrap_single(ExceptionGroup("outer", [ExceptionGroup("inner", [ONE])])) is ONE
    stop = SystemExit(3)
    assert unwrap_single(BaseExceptionGroup("group", [stop])) is stop


def test_several_failures_stay_together() -> None:
    """Several failures stay in their group."""
    group = ExceptionGroup("two", [ONE, OTHER])
    for given in (group, ExceptionGroup("outer", [group])):
        left = unwrap_single(given)
        assert isinstance(left, ExceptionGroup)
        assert (left.message, left.exceptions) == ("two", (ONE, OTHER))


def test_one_failure_is_raised_as_it_is() -> None:
    """One failure is not wrapped in a group."""
    assert combine([ONE]) is ONE


def test_several_failures_are_raised_as_a_group() -> None:
    """Several failures become one group; ``except Exception`` catches it if it catches each."""
    group = combine([ONE, OTHER])
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (ONE, OTHER)
    assert not isinstance(combine([ONE, SystemExit()]), Exception)


async def a_cancellation() -> BaseException:
    """Return the exception that a cancelled task receives."""
    told: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            told.append(exc)
            raise
    return told[0]


@pytest.mark.anyio
async def test_a_cancellation_is_no_failure() -> None:
    """A group is a cancellation only if it contains nothing else."""
    cancelled = await a_cancellation()
    assert is_cancellation(cancelled)
    assert is_cancellation(BaseExceptionGroup("group", [cancelled, cancelled]))
    assert not is_cancellation(BaseExceptionGroup("group", [cancelled, ONE]))
    assert not is_cancellation(ONE)


@pytest.mark.anyio
async def test_a_failure_comes_out_from_among_the_cancelled() -> None:
    """Cancellations beside a failure are dropped."""
    cancelled = await a_cancellation()
    assert unwrap_single(BaseExceptionGroup("group", [cancelled, ONE, cancelled])) is ONE
    only = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [cancelled])])
    assert unwrap_single(only) is cancelled


def test_outside_a_loop_nobody_is_cancelled() -> None:
    """Without an event loop no exception is a cancellation."""
    assert not is_cancellation(ONE)
    assert not is_cancellation(ExceptionGroup("group", [ONE, OTHER]))
