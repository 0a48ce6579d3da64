"""Call the checks that the author declared.

Checks are the author's code, so they are called where they can hurt nobody: each
in a thread of its own, all side by side, none waited for longer than the start
may take. What an async check returns is awaited by whoever has a loop.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.exceptions import Problem
from hive_boot.redaction.hidden import redact, scrub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.sources.reading import Value


class PendingCheck(NamedTuple):
    """A check that has to be awaited.

    Attributes:
        field: the field that it judges.
        value: what it judges.
        verdict: what has to be awaited.
    """

    field: Field
    value: Value
    verdict: Awaitable[object]


def call_checks(
    values: Sequence[tuple[Field, Value]],
    *,
    left: float,
    seconds: float,
    running: set[tuple[str, Value]] | None = None,
) -> tuple[list[Problem], list[PendingCheck]]:
    """Call the checks of fields that have one.

    Args:
        values: the fields and the values that were found for them.
        left: seconds that are left for all of them together.
        seconds: seconds that there were; what a person is told.
        running: the fields and values whose check has not ended since an earlier call: it
            is not called again before it has, because each call that hangs keeps a thread.

    Returns:
        The problems, and what remains to be awaited.
    """
    from inspect import isawaitable  # noqa: PLC0415  (many have no check)

    running = set() if running is None else running
    calls = [_CheckCall(field, value, running) for field, value in values]
    problems = [check_timeout_problem(call.field, seconds) for call in calls if call.key in running]
    calls = [call for call in calls if call.key not in running]
    pending = []
    deadline = time.monotonic() + left
    for call in calls:
        call.start()
    for call in calls:
        if not call.done.wait(max(0.0, deadline - time.monotonic())):
            problems.append(check_timeout_problem(call.field, seconds))
        elif call.failure is not None:
            problems.append(check_failed_problem(call.field, call.failure, [call.value]))
        elif isawaitable(call.verdict):
            pending.append(PendingCheck(call.field, call.value, call.verdict))
        elif fault := rejection_reason(call.verdict):
            problems.append(check_failed_problem(call.field, fault, [call.value]))
    return problems, pending


def rejection_reason(verdict: object) -> str | None:
    """Tell what is wrong with a check's answer: True and None pass, all else does not."""
    if verdict is None or verdict is True:
        return None
    if verdict is False:
        return "it returned False"
    return f"it returned {type(verdict).__name__}, and a check returns True, False or None"


def check_failed_problem(
    field: Field | str, failure: BaseException | str, values: Iterable[Value]
) -> Problem:
    """Describe the refusal of a check, without the values that it may have told.

    Args:
        field: whose check it was; the name of a set for the check of a set.
        failure: what it raised, or what is wrong with its answer.
        values: what must not be shown.
    """
    text = failure if isinstance(failure, str) else describe(failure)
    # Its own value whatever it is, and those of the others, which it may know as well.
    shown = redact(scrub(text, [value.reveal() for value in values]))
    return problem(field, "check", f"was refused by its check: {shown}")


def check_timeout_problem(field: Field | str, seconds: float) -> Problem:
    """Describe a check that did not answer in time."""
    return problem(field, "check", f"was not judged: its check took more than {seconds:g} s")


def problem(field: Field | str, kind: Any, message: str, **more: Any) -> Problem:  # noqa: ANN401
    """Make the problem of a field, with the words that its declaration has for people."""
    if isinstance(field, str):
        return Problem(name=field, kind=kind, message=message, **more)
    return Problem(name=field.name, kind=kind, message=message, used_by=field.used_by, **more)


def describe(failure: BaseException) -> str:
    """Give type and text of an exception."""
    name = type(failure).__name__
    try:
        text = str(failure)
    except BaseException:  # noqa: BLE001  (an exception of the author's may fail to say what it is)
        return name
    return f"{name}: {text}" if text else name


class _CheckCall:
    """One call of a check, in a daemon thread: a check that hangs ends with the process."""

    def __init__(self, field: Field, value: Value, running: set[tuple[str, Value]]) -> None:
        self.field = field
        self.value = value
        self.key = (field.attribute, value)
        self._running = running
        self.verdict: object = None
        self.failure: BaseException | None = None
        self.done = threading.Event()

    def start(self) -> None:
        from inspect import iscoroutinefunction  # noqa: PLC0415  (as above)

        if iscoroutinefunction(self.field.check):
            # It only makes a coroutine here, which cannot hang.
            self._run()
            return
        self._running.add(self.key)
        name = f"hive_boot check of {self.field.name}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self.verdict = self.field.check(self.value.reveal())  # type: ignore[misc]
        except BaseException as exc:  # noqa: BLE001  (SystemExit must not end only the thread)
            self.failure = exc.with_traceback(None)
        finally:
            self._running.discard(self.key)
            self.done.set()
