"""Custom sources: the objects of `sources=`, what they answered, and when to ask them again."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from hive_boot._timings import Backoff, Timings
from hive_boot.exceptions import Problem, unavailable_reason
from hive_boot.redaction import conceal
from hive_boot.redaction.registry import line_of
from hive_boot.secrets.fields import Field, ValueProblem
from hive_boot.secrets.sources.files import NOT_UTF_8, ValueOrProblem, value_of_content
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from hive_boot.exceptions import ProblemKind

_SHOWN = 3
"""The number of names in a message about a source, which may be asked for a thousand."""


_UNAVAILABLE_STATUS = {408, 429, *range(500, 600)}
"""The HTTP status of a server that is not available."""


_MAX_CAUSES = 10
"""The number of exceptions, each the cause of the one before, that are searched for details."""


class Source(Protocol):
    """A source of secrets that the application provides, such as a client of a secrets manager.

    A source is asked for the names that no file and no variable provides: by a start, by
    ``boot.reload()`` and by SIGHUP. It may have an attribute ``interval``, a positive number of
    seconds; then it is also asked that often while the application runs.

    .. versionadded:: 0.2.0
    """

    @property
    def name(self) -> str:
        """The name in reports, in the log and in the status; no other source has the same."""

    async def load(self, names: Sequence[str], /) -> Mapping[str, str | bytes]:
        """Return the values of the names that this source knows.

        It is awaited in the event loop of the application, so a client that blocks belongs in
        a thread (``anyio.to_thread.run_sync``). If it raises, only the type of the exception
        and its HTTP status or errno are shown.

        Args:
            names: the declared names to return values for, such as ``JWT_SECRET``.
        """


class AnswerError(Exception):
    """Unusable return value of a source. The text contains no part of it."""


class CustomSource:
    """One source, its last good answer, and the failure after it.

    Args:
        source: the object of the application.
        timings: the delays before a source that failed is asked again.

    Attributes:
        name: the name of the source.
        fields: the fields that nothing before this source provides, as of the last load.
        results: the last good answer, by the names of the secrets.
        answered: the names that it was asked for when it gave that answer.
        due: when it has to be asked again, on the monotonic clock; infinite for never.
        problem: the failure of the last attempt; None after an answer.
    """

    def __init__(self, source: Source, timings: Timings) -> None:
        self.name: str = source.name
        self.fields: Sequence[Field] = ()
        self.results: Mapping[str, ValueOrProblem] = {}
        self.answered: frozenset[str] = frozenset()
        self.due: float = math.inf
        self.problem: Problem | None = None
        self._load = source.load
        self._interval: float = getattr(source, "interval", None) or math.inf
        # Many replicas ask the same server, so the delays have jitter.
        initial, maximum = timings.check_retry_delay, timings.max_check_retry_delay
        self._backoff = Backoff(initial, maximum, jitter=True)

    def set_fields(self, fields: Sequence[Field]) -> None:
        """Set the fields that nothing before this source provides."""
        self.fields = fields
        if not fields:
            self.due, self.answered = math.inf, frozenset()

    def is_due(self, moment: float) -> bool:
        """Return whether it has to be asked at a moment of the monotonic clock."""
        is_new = not self.answered.issuperset(field.name for field in self.fields)
        return self.due <= moment or (is_new and self.problem is None)

    async def load(self) -> None:
        """Ask the source, and replace its last good answer.

        Raises:
            AnswerError: what it returned cannot be used.
        """
        fields = {field.name: field for field in self.fields}
        answer = conceal(await self._load(tuple(fields)))
        if not isinstance(answer(), Mapping):
            message = f"load() returned {type(answer()).__name__}, not a mapping"
            raise AnswerError(message)
        answer = conceal(dict(answer()))
        # The unknown names are not shown: the mapping may be the wrong way round.
        if unknown := len(answer().keys() - fields.keys()):
            message = f"load() returned more than it was asked for ({unknown} unknown)"
            raise AnswerError(message)
        if self.results and not answer():
            # A failure, as for an empty directory: secrets are removed one by one, not all at once.
            message = "load() returned nothing, although it has provided values before"
            raise AnswerError(message)
        names = fields.keys() & answer().keys()
        self.results = {name: _result(fields[name], conceal(answer()[name])) for name in names}
        self.answered, self.problem = frozenset(fields), None
        self.due = time.monotonic() + self._interval
        self._backoff.reset()

    def record_failure(self, failure: BaseException | str) -> tuple[float, bool]:
        """Keep the last good answer, and record why there is no new one.

        Args:
            failure: the exception, or why there was no answer in time.

        Returns:
            Seconds before the next attempt, and whether the source was unavailable.
        """
        text, may_pass = (failure, True) if isinstance(failure, str) else _describe(failure)
        if isinstance(failure, BaseException) and not may_pass:
            text += line_of(failure)
        self.problem = self.describe(self.fields, text, "unavailable" if may_pass else "source")
        wait = self._backoff.next_delay()
        self.due = time.monotonic() + wait
        return wait, may_pass

    def describe(
        self, fields: Sequence[Field], reason: str, kind: ProblemKind = "source"
    ) -> Problem:
        """Return the problem that the source has not provided fields, for a reason."""
        more = len(fields) - _SHOWN
        names = ", ".join(field.name for field in fields[:_SHOWN])
        message = f"did not provide {names}{f' and {more} more' if more > 0 else ''}: {reason}"
        fix = f"check the source {self.name}: its address, its credentials, and what load() returns"
        return Problem(name=self.name, kind=kind, message=message, fix=fix)


def _result(field: Field, read: Callable[[], Any]) -> ValueOrProblem:
    """Return what a source returned for a field, by the rules for the content of a file."""
    if isinstance(read(), str):
        try:
            read = conceal(str.encode(read()))
        except UnicodeEncodeError:
            return NOT_UTF_8
    elif not isinstance(read(), bytes):
        return ValueProblem("source", f"is {type(read()).__name__}, not str or bytes")
    return value_of_content(conceal(bytes(read())), field.name, is_text=field.kind is Secret)


def _describe(failure: BaseException) -> tuple[str, bool]:
    """Return the type of a failure with its HTTP status or errno, and whether it was unavailable.

    The text of an exception may contain a value or a credential, so it is not used.
    """
    if isinstance(failure, AnswerError):
        return str(failure), False
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    detail, may_pass = "", unavailable_reason(failure) is not None
    each: BaseException | None = failure
    for _ in range(_MAX_CAUSES):
        # An attribute of the exception of a library may be a property that raises.
        with suppress(Exception):
            response = getattr(each, "response", None)
            owners = (response, each)
            codes = [getattr(o, n, 0) for o in owners for n in ("status_code", "status", "code")]
            if isinstance(response, Mapping):  # of botocore
                codes.append(response["ResponseMetadata"]["HTTPStatusCode"])
            status = next((code for code in codes if code in range(100, 600)), None)
            # The numbers of OpenSSL are not those of the system.
            number: Any = None if hasattr(each, "library") else getattr(each, "errno", None)
            may_pass = may_pass or status in _UNAVAILABLE_STATUS
            code = errno.errorcode.get(number, "") if status is None else f"HTTP {status:d}"
            detail = detail or code
        if isinstance(each, BaseExceptionGroup):
            each = each.exceptions[0]
        elif each is not None:
            each = each.__cause__ or each.__context__
    return ", ".join(filter(None, [type(failure).__name__, detail])), may_pass
