"""What is left of several failures: one comes out bare, several as one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Sequence


def unwrap_single(failure: BaseException) -> BaseException:
    """Take a single exception out of the groups that task groups put it into.

    On trio those of its tasks that were only cancelled are in the group as well.
    """
    if isinstance(failure, BaseExceptionGroup):
        cancelled, others = failure.split(is_cancellation)
        # To split is to copy, also where there is nothing to part with.
        failure = failure if cancelled is None or others is None else others
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def combine(failures: Sequence[BaseException]) -> BaseException:
    """Give what is to be raised for failures, of which there is at least one."""
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup(f"{len(failures)} failures in one run", failures)


def is_cancellation(failure: BaseException) -> bool:
    """Tell whether it says only that somebody was cancelled; outside a loop nobody is."""
    if isinstance(failure, BaseExceptionGroup):
        return all(map(is_cancellation, failure.exceptions))
    try:
        return isinstance(failure, anyio.get_cancelled_exc_class())
    except RuntimeError:
        return False
