"""Check runner: checks of fields, of the set and of the application, concurrently, with retries."""

from __future__ import annotations

import math
import time
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._output import describe
from hive_boot._records import Record
from hive_boot._timings import Backoff, Timings
from hive_boot.exceptions import Problem, unavailable_reason
from hive_boot.lifecycle.tasks import is_cancellation, run_in_daemon_thread
from hive_boot.redaction.registry import drop_frames, line_of, redact, scrub
from hive_boot.runtime import rotation_messages
from hive_boot.secrets.sources.external import AnswerError, CustomSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hive_boot.lifecycle.states import StepOutcome, Timeline
    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.sources.files import Value

_TIMED_OUT = TimeoutError()
"""The failure of a check that exceeded its timeout."""


UNREACHED = "could not be checked"
"""The message about a field or a set whose check could not reach something outside."""


def rejection_reason(verdict: object) -> str | None:
    """Return why the result of a check is a rejection; None for True and None, which pass."""
    if verdict is None or verdict is True:
        return None
    if verdict is False:
        return "it returned False"
    return f"it returned {type(verdict).__name__}; expected True, False or None"


def check_problem(
    whose: Field | str,
    failure: BaseException | str,
    values: Iterable[Value],
    *,
    unavailable: str = "",
    rejected: str = "was refused by its check",
) -> Problem:
    """Return the problem of a check that failed, without the values that its text may contain.

    Args:
        whose: the checked field; or the name of the set, or of a check of the application.
        failure: the exception, or why the result is a rejection.
        values: the values that must not be shown.
        unavailable: the message if the check could not reach something outside; empty if the
            values were refused. Default: empty.
        rejected: the message if the values were refused.
    """
    text = failure if isinstance(failure, str) else describe(failure) + line_of(failure)
    # The values at hand are removed even when they are too short for redaction.
    shown = redact(scrub(text, [value.reveal() for value in values]))
    name, used_by = (whose, "") if isinstance(whose, str) else (whose.name, whose.used_by)
    message = f"{unavailable or rejected}: {shown}"
    return Problem(name, "unavailable" if unavailable else "check", message, used_by=used_by)


class FieldCheck:
    """One call of the check of a field.

    Attributes:
        verdict: what the check returned, such as an awaitable.
        failure: what the check raised; None if it has returned.
    """

    def __init__(self, field: Field, value: Value) -> None:
        self._field = field
        self._value = value
        self.verdict: Any = None
        self.failure: BaseException | None = None

    @property
    def may_block(self) -> bool:
        """Whether the call may block; that of an ``async def`` only creates a coroutine."""
        return not iscoroutinefunction(self._field.check)

    def call(self) -> None:
        """Call the check, and keep what it returns or raises."""
        try:
            self.verdict = self._field.check(self._value.reveal())  # type: ignore[misc]
        except BaseException as exc:  # noqa: BLE001  (SystemExit must not end only the thread)
            self.failure = drop_frames(exc)

    def close(self) -> None:
        """Close a coroutine that is not awaited, so that Python does not warn about it."""
        if iscoroutine(self.verdict):
            self.verdict.close()


class CheckCall(Record):
    """A check of the application, of the whole set or of a field, and its arguments.

    Attributes:
        whose: the name of the check or of the set; or the field.
        attempt: calls the check, and returns what has to be awaited.
        values: the values that no message may show.
        timeline: records a check of the application; None for another one.
        timeout: seconds for one call; None for the rest of the time.
        retry_on: types of exceptions that mean that something outside could not be reached.
        subject: the names of the fields that a check of the application is declared for.
        places: the locations of their values.
        used_by: what needs them.
    """

    whose: Field | str
    attempt: Callable[[], Awaitable[object]]
    values: Sequence[Value]
    timeline: Timeline | None = None
    timeout: float | None = None
    retry_on: tuple[type[Exception], ...] = ()
    subject: str = ""
    places: tuple[str, ...] = ()
    used_by: str = ""


def field_check(field: Field, value: Value, running: set[tuple[str, Value]]) -> CheckCall:
    """Return the check of a field.

    Args:
        field: the field.
        value: the value to check.
        running: the fields and values whose check has not ended since an earlier call. Such a
            check is not called again, because each call that hangs occupies a thread.
    """
    key = (field.attribute, value)

    async def attempt() -> object:
        check = FieldCheck(field, value)

        def call() -> None:
            running.add(key)
            try:
                check.call()
            finally:
                running.discard(key)

        if not check.may_block:
            check.call()
        elif key in running:
            raise TimeoutError("an earlier call has not ended")
        else:
            name = f"hive_boot check of {field.name}"
            await run_in_daemon_thread(call, name, discard=lambda _: check.close())
        if check.failure is not None:
            raise check.failure
        return await check.verdict if isawaitable(check.verdict) else check.verdict

    return CheckCall(field, attempt, [value])


async def run_checks(
    calls: Sequence[CheckCall], *, deadline: float, seconds: float, retry: bool, timings: Timings
) -> list[Problem]:
    """Run checks concurrently.

    Args:
        calls: the checks.
        deadline: the deadline on the monotonic clock.
        seconds: the whole timeout in seconds, for the message.
        retry: whether a check that could not reach something outside is called again until the
            deadline.
        timings: the delays between retries.

    Returns:
        The problems, in the order of ``calls``.
    """
    problems: list[Problem | None] = [None] * len(calls)
    rejected = anyio.Event()

    async def run(index: int, check: CheckCall) -> None:
        timeline = check.timeline
        step = -1 if timeline is None else timeline.begin(str(check.whose), "check")
        outcome: StepOutcome = "cancelled"
        # Many replicas call the same service, so the delays have jitter.
        backoff = Backoff(timings.check_retry_delay, timings.max_check_retry_delay, jitter=True)
        try:
            while True:
                left = deadline - time.monotonic()
                limit = min(left, check.timeout or left)
                failure = await _await_verdict(check.attempt, limit)
                if failure is None and deadline - time.monotonic() < left - limit:
                    # The check has blocked the loop, so that it could not be cancelled in time.
                    failure = _TIMED_OUT
                if failure is None:
                    outcome, problems[index] = "done", None
                    return
                outcome, problem, now = "failed", problems[index], time.monotonic()
                # A timeout at the deadline explains less than the failure before it.
                if problem is None or failure is not _TIMED_OUT or now < deadline:
                    problem = problems[index] = _problem(check, failure, seconds)
                if problem.kind == "check":
                    rejected.set()
                wait = backoff.next_delay()
                if not retry or rejected.is_set() or now + wait >= deadline:
                    return
                rotation_messages.log_check_failed(problem, wait)
                with anyio.move_on_after(wait):
                    # A rejection is final, so nothing is gained by waiting for the others.
                    await rejected.wait()
                    return
        finally:
            if timeline is not None:
                timeline.end(step, outcome)

    async with anyio.create_task_group() as group:
        for index, check in enumerate(calls):
            group.start_soon(run, index, check)
    return [problem for problem in problems if problem is not None]


def _problem(check: CheckCall, failure: BaseException | str, seconds: float) -> Problem:
    """Return the problem of a check that failed, of the kind ``check`` or ``unavailable``."""
    reason = None
    if failure is _TIMED_OUT:
        reason = f"no answer within {min(seconds, check.timeout or seconds):g} s"
    elif isinstance(failure, BaseException):
        reason = unavailable_reason(failure, check.retry_on)
    texts = {"unavailable": UNREACHED}
    if check.timeline is not None:
        about = f"(a check of {check.subject or 'the application'})"
        texts = {"unavailable": f"{about} could not be reached", "rejected": f"{about} has failed"}
    if reason is None:
        texts["unavailable"] = ""
    problem = check_problem(check.whose, reason or failure, check.values, **texts)
    return problem.replace(places=check.places, used_by=problem.used_by or check.used_by)


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
        failure = await _await_verdict(source.load, min(seconds, deadline - time.monotonic()))
        if failure is None and known is not None:
            rotation_messages.log_source_recovered(source.name)
        if failure is None or (failure is _TIMED_OUT and is_start and known is not None):
            # A timeout at the deadline explains less than the failure before it.
            return
        if isinstance(failure, str):
            failure = AnswerError(failure)
        elif failure is _TIMED_OUT:
            failure = f"no answer within {seconds:g} s"
        wait, may_pass = source.record_failure(failure)
        if is_start and not (may_pass and time.monotonic() + wait < deadline):
            source.due = math.inf
            return
        if source.problem is not None and source.problem != known:
            rotation_messages.log_check_failed(source.problem, wait)
        if not is_start:
            return
        await anyio.sleep(wait)


async def _await_verdict(
    attempt: Callable[[], Awaitable[object]], left: float
) -> BaseException | str | None:
    """Await a check or a source, and return its failure; None when it has passed.

    The call runs in its own task. If it cancels this task, or what it awaits, there is no result,
    which is a failure.
    """
    failure: BaseException | str | None = "it was cancelled before it returned a result"

    async def await_one() -> None:
        nonlocal failure
        try:
            failure = rejection_reason(await attempt())
        except BaseException as exc:  # a check may raise anything
            if is_cancellation(exc):
                raise
            failure = drop_frames(exc)

    with anyio.move_on_after(max(0.0, left)) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(await_one)
    return _TIMED_OUT if scope.cancelled_caught else failure
