"""Take in what the sources hold, and judge it by everything that the author declared."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot.bootstrap import logs
from hive_boot.exceptions import InvalidSecretsError
from hive_boot.secrets.findings import LoadResult
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import detect
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import make_set
from hive_boot.secrets.surroundings import HostEnvironment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from hive_boot.bootstrap.plan import AppDeclaration, CheckSpec
    from hive_boot.bootstrap.wiring import BoundCall, InjectionContext
    from hive_boot.exceptions import Problem, ProblemKind
    from hive_boot.lifecycle.timeline import Timeline
    from hive_boot.secrets.checks import PendingCheck
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.mode import SourceContext
    from hive_boot.secrets.sources.reading import Value

S = TypeVar("S", bound=SecretSet)

_WAITABLE_KINDS: frozenset[ProblemKind] = frozenset(
    {"broken-link", "directory", "empty", "missing", "unreadable", "unstable"}
)
"""What is wrong with a file that somebody has yet to write."""


class LoadPipeline(Generic[S]):
    """Reads and judges the sets of one run.

    Args:
        declaration: what was declared.
        checks: what judges a set, beside its own rules.
        timeline: is told of the checks.

    Attributes:
        source_context: mode, profile and places; None before they are known.
    """

    source_context: SourceContext | None = None

    def __init__(
        self,
        declaration: AppDeclaration,
        checks: Sequence[tuple[BoundCall, CheckSpec]],
        timeline: Timeline,
    ) -> None:
        self._plan = declaration
        self._checks = checks
        self._timeline = timeline
        self._declared: type[Any] = declaration.declared
        self._logged_warnings: set[str] = set()
        self._checking: set[tuple[str, Value]] = set()
        self._given_up = threading.Event()

    def detect_platform(self) -> SourceContext:
        """Decide where to look, once for the run.

        Raises:
            InvalidSecrets: a variable that decides it means nothing.
        """
        try:
            self.source_context = detect(HostEnvironment(), self._plan.source_options)
        except InvalidSecretsError as exc:
            raise self.build_error(exc.problems) from None
        logs.log_source_context(self.source_context)
        return self.source_context

    def read(self, *, again: bool = False) -> LoadResult:
        """Read everything once. It blocks, and may wait for a writer.

        Args:
            again: whether an application runs, so that there is time to see what becomes
                of a file that was just taken away. Default False.
        """
        return load(
            self._declared._field_index,  # noqa: SLF001  (the declaration is ours to read)
            self.source_context or self.detect_platform(),
            declaration=self._declared.__name__,
            given=self._plan.overrides,
            recheck_recent_directories=again,
        )

    def load_with_wait(self) -> LoadResult:
        """Read everything, and wait for files that are missing. It blocks."""
        load_result = self.read()
        if not self._plan.wait_for_files or not load_result.source_context.mounted:
            return load_result
        until = time.monotonic() + self._plan.wait_for_files
        interval = self._plan.timings.missing_file_interval
        missing = _missing(load_result)
        if missing:
            logs.log_waiting_for_files(missing, self._plan.wait_for_files)
        while missing and (left := until - time.monotonic()) > 0:
            if self._given_up.wait(min(interval, left)):
                break
            load_result = self.read()
            missing = _missing(load_result)
        return load_result

    def empty_result(self) -> LoadResult:
        """Give what is known when nothing could be read."""
        source_context = self.source_context or self.detect_platform()
        return LoadResult(self._declared._field_index, source_context, self._declared.__name__)  # noqa: SLF001  (ours)

    def close_unawaited(self) -> None:
        """Wait for no file any more: nobody wants to know."""
        self._given_up.set()

    async def run_field_checks(
        self, load_result: LoadResult, changed_fields: Collection[str], deadline: float
    ) -> None:
        """Run the checks of single fields, and note what they refuse.

        Args:
            load_result: what was read.
            changed_fields: the attributes to judge.
            deadline: until when, on the monotonic clock.
        """
        to_check = fields_to_check(load_result, changed_fields)
        if not to_check:
            return
        from hive_boot.bootstrap.checking import await_field_checks, close_unawaited  # noqa: PLC0415  (many have none)
        from hive_boot.lifecycle.waking import run_in_daemon_thread  # noqa: PLC0415  (many have none)
        from hive_boot.secrets.checks import call_checks  # noqa: PLC0415  (many have none)

        seconds = self._plan.startup_timeout

        def call() -> tuple[list[Problem], list[PendingCheck]]:
            left = deadline - time.monotonic()
            return call_checks(to_check, left=left, seconds=seconds, running=self._checking)

        problems, pending = await run_in_daemon_thread(
            call, "hive_boot checks", discard=lambda late: close_unawaited(late[1])
        )
        problems += await await_field_checks(pending, deadline - time.monotonic(), seconds)
        load_result.add_check_problems(problems)

    async def run_set_check(self, load_result: LoadResult, deadline: float) -> None:
        """Run the check of the set, if its values have passed theirs.

        Args:
            load_result: what was read.
            deadline: until when, on the monotonic clock.
        """
        candidate: S = make_set(self._declared, load_result.values)
        check: Callable[[], Awaitable[object]] | None = getattr(candidate, "check", None)
        if check is None or load_result.problems:
            return
        from hive_boot.bootstrap.checking import await_check  # noqa: PLC0415  (many have none)

        left, seconds = deadline - time.monotonic(), self._plan.startup_timeout
        values = list(load_result.values.values())
        problem = await await_check(
            self._declared.__name__, check(), values, left=left, seconds=seconds
        )
        load_result.problems += [] if problem is None else [problem]

    async def run_application_checks(
        self,
        load_result: LoadResult,
        injection_context: Callable[[S], InjectionContext],
        deadline: float,
        changed_fields: Collection[str] | None = None,
    ) -> None:
        """Run the checks of the application, side by side, if all others have passed.

        Args:
            load_result: what was read.
            injection_context: what there is to give to a check, with the set.
            deadline: until when, on the monotonic clock.
            changed_fields: the attributes that have changed; None at a start, where there is
                time to try a check again.
        """
        checks = [
            (work, check)
            for work, check in self._checks
            if changed_fields is None or not check.names or check.names.intersection(changed_fields)
        ]
        if not checks or load_result.problems:
            return
        from hive_boot.bootstrap.checking import call_application_checks  # noqa: PLC0415  (many have none)

        candidate: S = make_set(self._declared, load_result.values)
        load_result.problems += await call_application_checks(
            checks,
            lambda: injection_context(candidate),
            list(load_result.values.values()),
            deadline=deadline,
            seconds=self._plan.startup_timeout,
            timeline=self._timeline,
            retry=changed_fields is None,
            timings=self._plan.timings,
        )

    def deadline(self) -> float:
        """Give until when the checks of what was just read may take."""
        return time.monotonic() + self._plan.startup_timeout

    def log_warnings(self, load_result: LoadResult) -> None:
        """Log the warnings that were not logged before."""
        fresh = [text for text in load_result.warnings if text not in self._logged_warnings]
        self._logged_warnings.update(fresh)
        logs.log_warnings(fresh)

    def raise_if_invalid(self, load_result: LoadResult) -> None:
        """Raise what is wrong with a first set.

        Raises:
            InvalidSecrets: something is.
        """
        if load_result.problems:
            raise self.build_error(
                load_result.problems, [*load_result.general_hints, *load_result.notes]
            )

    def build_error(
        self, problems: Sequence[Problem], advice: Sequence[str] = (), *, kept: bool = False
    ) -> InvalidSecretsError:
        """Make the error that reports problems.

        Args:
            problems: all of them.
            advice: what mends several of them.
            kept: whether an earlier set stays in use. Default False.
        """
        facts = []
        if source_context := self.source_context:
            facts.append(("mode", f"{source_context.mode} ({source_context.mode_reason})"))
            facts.append(("profile", f"{source_context.profile} ({source_context.profile_reason})"))
        return InvalidSecretsError(
            problems,
            declaration=self._declared.__name__,
            facts=facts,
            general_hints=advice,
            kept=kept,
        )


def fields_to_check(
    load_result: LoadResult, changed_fields: Collection[str]
) -> list[tuple[Field, Value]]:
    """Give the fields that have a check, and the values that it judges.

    Args:
        load_result: what was read.
        changed_fields: the attributes to judge.
    """
    return [
        (field, load_result.values[field.attribute])
        for field in load_result.field_index.all_fields
        if field.check is not None
        and field.attribute in load_result.values
        and field.attribute in changed_fields
    ]


def _missing(load_result: LoadResult) -> list[str]:
    """Name what may yet be written."""
    return [problem.name for problem in load_result.problems if problem.kind in _WAITABLE_KINDS]
