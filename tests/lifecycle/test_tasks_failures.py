"""What is left of failures: one is bare, several are a group."""

import anyio
import pytest

from hive_boot.lifecycle.tasks import combine, is_cancellation, unwrap_single

pytestmark = pytest.mark.both_backends

ONE, OTHER = ValueError("one"), KeyError("other")


def test_a_single_failure_comes_out_of_its_groups() -> None:
    """However many task groups it went through, people see what was raised."""
    assert unwrap_single(ONE) is ONE
    assert unwrap_single(ExceptionGroup("inner", [ONE])) is ONE
    assert unwrap_single(ExceptionGroup("outer", [ExceptionGroup("inner", [ONE])])) is ONE
    stop = SystemExit(3)
    assert unwrap_single(BaseExceptionGroup("group", [stop])) is stop


def test_several_failures_stay_together() -> None:
    """None is dropped to make the others simpler."""
    group = ExceptionGroup("two", [ONE, OTHER])
    for given in (group, ExceptionGroup("outer", [group])):
        left = unwrap_single(given)
        assert isinstance(left, ExceptionGroup)
        assert (left.message, left.exceptions) == ("two", (ONE, OTHER))


def test_one_failure_is_raised_as_it_is() -> None:
    """There is no group of one."""
    assert combine([ONE]) is ONE


def test_several_failures_are_raised_as_a_group() -> None:
    """Several failures become one group; ``except Exception`` catches it if it catches each."""
    group = combine([ONE, OTHER])
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (ONE, OTHER)
    assert not isinstance(combine([ONE, SystemExit()]), Exception)


async def a_cancellation() -> BaseException:
    """Return what a cancelled task is told."""
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
    """A group of nothing but cancellations is one, too; with a failure in it, it is none."""
    cancelled = await a_cancellation()
    assert is_cancellation(cancelled)
    assert is_cancellation(BaseExceptionGroup("group", [cancelled, cancelled]))
    assert not is_cancellation(BaseExceptionGroup("group", [cancelled, ONE]))
    assert not is_cancellation(ONE)


@pytest.mark.anyio
async def test_a_failure_comes_out_from_among_the_cancelled() -> None:
    """Tasks that were cancelled because one has failed are not told beside it."""
    cancelled = await a_cancellation()
    assert unwrap_single(BaseExceptionGroup("group", [cancelled, ONE, cancelled])) is ONE
    only = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [cancelled])])
    assert unwrap_single(only) is cancelled


def test_outside_a_loop_nobody_is_cancelled() -> None:
    """What a program has raised is looked at after its loop, too."""
    assert not is_cancellation(ONE)
    assert not is_cancellation(ExceptionGroup("group", [ONE, OTHER]))
