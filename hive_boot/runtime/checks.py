"""Check runner: asynchronous checks, concurrently, each within the remaining time."""

from __future__ import annotations

import inspect
import math
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
    from hive_boot.secrets.sources.external import CustomSource
    from hive_boot.secrets.sources.files import Value

_TIMED_OUT = TimeoutError()
"""The failure of a check that exceeded its timeout."""


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
"""Errors about the value or the check itself, which a retry does not change."""


async def await_field_checks(
    pending: Sequence[PendingCheck], left: float, seconds: float
) -> list[Problem]:
    """Await the checks of single fields.

    Args:
        pending: the checks to await.
        left: seconds that are left.
        seconds: the whole timeout in seconds, for the message.

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
    """Close the coroutines that are not awaited, so that Python does not warn about them."""
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
        verdict: the awaitable that the check returned.
        values: the values that the message must not show.
        left: seconds that are left.
        seconds: the whole timeout in seconds, for the message.
    """
    fault = await _await_in_time(verdict, left)
    if fault is _TIMED_OUT:
        return check_timeout_problem(whose, seconds)
    return None if fault is None else check_failed_problem(whose, fault, values)


async def call_application_checks(  # noqa: PLR0913  (what a check needs)
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
    """Call the checks of an application concurrently.

    Args:
        checks: the checks, each with its call.
        injection_context: returns the arguments for their parameters.
        values: the values that no message may show.
        deadline: the deadline on the monotonic clock.
        seconds: the whole timeout in seconds, for the message.
        timeline: records each check.
        retry: whether a check that may pass later is called again until the deadline.
        timings: the delays between retries.

    Returns:
        The problems, in the order of ``checks``.
    """
    problems: list[Problem | None] = [None] * len(checks)

    async def call(index: int, work: BoundCall, check: CheckSpec) -> None:
        step = timeline.begin(work.display_name, "check")
        outcome: StepOutcome = "cancelled"
        problem: Problem | None = None
        # Many replicas call the same service, so the delays have jitter.
        backoff = Backoff(timings.check_retry_delay, timings.max_check_retry_delay, jitter=True)
        try:
            while True:
                left = deadline - time.monotonic()
                fault = await _await_in_time(
                    work(injection_context()), min(left, check.timeout or left)
                )
                if fault is None:
                    outcome = "done"
                    return
                outcome = "failed"
                if fault is not _TIMED_OUT:
                    problem = check_failed_problem(work.display_name, fault, values)
                elif problem is None or time.monotonic() < deadline:
                    # A timeout at the deadline explains less than the failure before it.
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
            group.start_soon(call, index, work, check)
    return [problem for problem in problems if problem is not None]


async def ask_source(source: CustomSource, *, seconds: float, deadline: float) -> None:
    """Ask a source of the application, which keeps its answer or its failure.

    Args:
        source: the source.
        seconds: the timeout in seconds.
        deadline: the end of a start, on the monotonic clock: until then a source that is not
            available is asked again. Infinite in a reload, which asks once.
    """
    is_start = deadline < math.inf
    while True:
        known = source.problem
        failure = await _await_verdict(source.load(), min(seconds, deadline - time.monotonic()))
        if failure is None and known is not None:
            log_messages.log_source_recovered(source.name)
        if failure is None or (failure is _TIMED_OUT and is_start and known is not None):
            # A timeout at the deadline explains less than the failure before it.
            return
        if failure is _TIMED_OUT:
            failure = f"no answer within {seconds:g} s"
        wait, may_pass = source.fail(failure)
        if is_start and not (may_pass and time.monotonic() + wait < deadline):
            source.due = math.inf
            return
        if source.problem is not None and source.problem != known:
            log_messages.log_check_failed(source.problem, wait)
        if not is_start:
            return
        await anyio.sleep(wait)


async def _await_in_time(verdict: Awaitable[object], left: float) -> BaseException | str | None:
    """Await a check as :func:`_await_verdict`; one that has blocked the loop may pass too late."""
    began = time.monotonic()
    fault = await _await_verdict(verdict, left)
    return _TIMED_OUT if fault is None and time.monotonic() - began > left else fault


async def _await_verdict(verdict: Awaitable[object], left: float) -> BaseException | str | None:
    """Await a check or a source, and return its failure; None when it has passed.

    It runs in its own task. One that cancels itself, or what it awaits, ends without
    a result, which is a failure.
    """
    fault: BaseException | str | None = "it was cancelled before it returned a result"

    async def await_one() -> None:
        nonlocal fault
        try:
            fault = rejection_reason(await verdict)
        except BaseException as exc:  # a check may raise anything
            if is_cancellation(exc):
                raise
            fault = exc.with_traceback(None)

    with anyio.move_on_after(max(0.0, left)) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(await_one)
    return _TIMED_OUT if scope.cancelled_caught else fault
