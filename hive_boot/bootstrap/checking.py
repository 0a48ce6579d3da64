"""Await the checks that need a loop, side by side, each within what time is left."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import anyio

from hive_boot.secrets.checks import Pending, overdue, refused, verdict_fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from hive_boot.exceptions import Problem
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.sources.reading import Value


async def await_checks(pending: Sequence[Pending], left: float, seconds: float) -> list[Problem]:
    """Await the checks of single fields.

    Args:
        pending: what to await.
        left: seconds that are left.
        seconds: seconds that there were; what a person is told.

    Returns:
        The problems, in the order of ``pending``.
    """
    problems: list[Problem | None] = [None] * len(pending)

    async def judge(index: int, check: Pending) -> None:
        problems[index] = await await_check(
            check.field, check.verdict, [check.value], left=left, seconds=seconds
        )

    try:
        async with anyio.create_task_group() as group:
            for index, check in enumerate(pending):
                group.start_soon(judge, index, check)
    finally:
        give_up(pending)
    return [problem for problem in problems if problem is not None]


def give_up(pending: Sequence[Pending]) -> None:
    """Close what nobody will await, so that Python does not warn of it."""
    for check in pending:
        if inspect.iscoroutine(check.verdict):
            check.verdict.close()


async def await_check(
    whose: Field | str,
    verdict: Awaitable[object],
    values: Sequence[Value],
    *,
    left: float,
    seconds: float,
) -> Problem | None:
    """Await one check, of a field or of the whole set.

    It runs in a task of its own, and it has not passed until it has said so: one
    that cancels itself, or what it awaits, ends without a verdict.

    Args:
        whose: the field, or the name of the set.
        verdict: what to await.
        values: what its message must not show.
        left: seconds that are left.
        seconds: seconds that there were.
    """
    fault: BaseException | str | None = "it was cancelled before it came to a verdict"

    async def judge() -> None:
        nonlocal fault
        try:
            fault = verdict_fault(await verdict)
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001  (a check refuses by raising anything)
            fault = exc.with_traceback(None)

    with anyio.move_on_after(max(0.0, left)) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(judge)
    if scope.cancelled_caught:
        return overdue(whose, seconds)
    return None if fault is None else refused(whose, fault, values)
