"""Check runner: asynchronous checks, side by side, each within the time that is left."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING

import anyio

from hive_boot._timings import Backoff
from hive_boot.lifecycle.tasks import is_cancellation
from hive_boot.runtime import log_messages
from hive_boot.secrets.validation import (
    PendingCheck,
    check_failed_problem,
    check_timeout_problem,
    rejection_reason,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hive_boot._timings import Timings
    from hive_boot.exceptions import Problem
    from hive_boot.lifecycle.states import StepOutcome, Timeline
    from hive_boot.runtime.declarations import CheckSpec
    from hive_boot.runtime.injection import BoundCall, InjectionContext
    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.sources.files import Value

_TIMED_OUT = TimeoutError()
"""What speaks against a check whose time is over."""


_PERMANENT_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What is raised about the value, or the check itself: to ask again would change nothing."""


async def await_field_checks(
    pending: Sequence[PendingCheck], left: float, seconds: float
) -> list[Problem]:
    """Await the checks of single fields.

    Args:
        pending: what to await.
        left: seconds that are left.
        seconds: seconds that there were; what a person is told.

    Returns:
        The problems, in the order of ``pending``.
    """
    problems: list[Problem | None] = [None] * len(pending)

    async def await_one(index: int, check: PendingCheck) -> None:
        problems[index] = await await_check(
            check.field, check.verdict, [check.value], left=left, seconds=seconds
        )

    try:
        async with anyio.create_task_group() as group:
            for index, check in enumerate(pending):
                group.start_soon(await_one, index, check)
    finally:
        close_unawaited(pending)
    return [problem for problem in problems if problem is not None]


def close_unawaited(pending: Sequence[PendingCheck]) -> None:
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

    Args:
        whose: the field, or the name of the set.
        verdict: what to await.
        values: what its message must not show.
        left: seconds that are left.
        seconds: seconds that there were; what a person is told.
    """
    fault = await _await_verdict(verdict, left)
    if fault is _TIMED_OUT:
        return check_timeout_problem(whose, seconds)
    return None if fault is None else check_failed_problem(whose, fault, values)


async def call_application_checks(  # noqa: PLR0913  (what a check is asked with, and how)
    checks: Sequence[tuple[BoundCall, CheckSpec]],
    injection_context: Callable[[], InjectionContext],
    values: Sequence[Value],
    *,
    deadline: float,
    seconds: float,
    timeline: Timeline,
    retry: bool,
    timings: Timings,
) -> list[Problem]:
    """Ask the checks of an application, side by side.

    Args:
        checks: what to ask, each with what calls it.
        injection_context: gives what their parameters ask for.
        values: what no message may show.
        deadline: until when, on the monotonic clock.
        seconds: seconds that there were; what a person is told.
        timeline: is told of each of them.
        retry: whether what may pass by itself is asked again until then.
        timings: when it is asked again.

    Returns:
        The problems, in the order of ``checks``.
    """
    problems: list[Problem | None] = [None] * len(checks)

    async def ask(index: int, work: BoundCall, check: CheckSpec) -> None:
        step = timeline.begin(work.display_name, "check")
        outcome: StepOutcome = "cancelled"
        problem: Problem | None = None
        # Many replicas ask.
        backoff = Backoff(timings.check_retry_delay, timings.max_check_retry_delay, jitter=True)
        try:
            while True:
                left = deadline - time.monotonic()
                fault = await _await_verdict(
                    work(injection_context()), min(left, check.timeout or left)
                )
                if fault is None:
                    outcome = "done"
                    return
                outcome = "failed"
                if fault is not _TIMED_OUT:
                    problem = check_failed_problem(work.display_name, fault, values)
                elif problem is None or time.monotonic() < deadline:
                    # What the end of the start cuts short says less than what came before it.
                    problem = check_timeout_problem(
                        work.display_name, min(seconds, check.timeout or seconds)
                    )
                wait = backoff.next_delay()
                may_pass = isinstance(fault, Exception) and not isinstance(fault, _PERMANENT_ERRORS)
                is_final = not (may_pass and retry)
                if is_final or time.monotonic() + wait >= deadline:
                    problems[index] = problem
                    return
                log_messages.log_check_failed(problem, wait)
                await anyio.sleep(wait)
        finally:
            timeline.end(step, outcome)

    async with anyio.create_task_group() as group:
        for index, (work, check) in enumerate(checks):
            group.start_soon(ask, index, work, check)
    return [problem for problem in problems if problem is not None]


async def _await_verdict(verdict: Awaitable[object], left: float) -> BaseException | str | None:
    """Await a verdict, and give what speaks against it.

    It runs in a task of its own, and it has not passed until it has said so: one
    that cancels itself, or what it awaits, ends without a verdict.
    """
    fault: BaseException | str | None = "it was cancelled before it came to a verdict"

    async def await_one() -> None:
        nonlocal fault
        try:
            fault = rejection_reason(await verdict)
        except BaseException as exc:  # a check refuses by raising anything
            if is_cancellation(exc):
                raise
            fault = exc.with_traceback(None)

    with anyio.move_on_after(max(0.0, left)) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(await_one)
    return _TIMED_OUT if scope.cancelled_caught else fault
