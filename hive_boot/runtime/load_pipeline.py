"""Load pipeline: the steps from the sources to a set of secrets that has passed every check.

A start, a reload and a dry run (`hive-boot check`, `hive-boot doctor`) go through the same steps
in the same order; they differ only by arguments.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from hive_boot.exceptions import (
    InvalidSecretsError,
    Problem,
    ProblemsError,
    UnavailableError,
)
from hive_boot.lifecycle.signals import stop_requested
from hive_boot.runtime import log_messages
from hive_boot.secrets.load_result import location_text
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceContext, detect
from hive_boot.secrets.sources.files import FifoReader, Value
from hive_boot.secrets.store import Store, make_set
from hive_boot.secrets.value import misuse_warnings

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Collection,
        Iterable,
        Mapping,
        Sequence,
    )

    from hive_boot.exceptions import ProblemKind
    from hive_boot.lifecycle.states import Timeline
    from hive_boot.redaction.hooks import Redaction
    from hive_boot.runtime.checks import CheckCall
    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.runtime.injection import BoundCall, CheckSpec, InjectionContext
    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.load_result import LoadNote, LoadResult, LoadWarning
    from hive_boot.secrets.sources.external import CustomSource

_WAITABLE_KINDS: frozenset[ProblemKind] = frozenset(
    {
        *("broken-link", "bundle", "conflict", "directory", "empty", "environment-only"),
        *("missing", "unreadable", "unstable"),
    }
)
"""The kinds of problems that end when a sidecar has written its files."""


class LoadPipeline:
    """Load pipeline of one run.

    :meth:`load` detects the platform, reads the sources, validates the values and hides them in
    logs. :meth:`check` runs the checks of fields, builds the config, and runs the check of the set
    and the checks of the application. A start and a dry run call both. A reload calls
    :meth:`read`, and :meth:`check` when a value has changed.

    Between two loads :meth:`ask_sources` awaits the sources of the application in the event loop,
    for what the first one did not find; the second one uses their answers.

    The config is built before the last checks, because they may take it as a parameter.

    Args:
        declaration: the declared application.
        checks: the checks of the application.
        timeline: the record of all steps of the run.
        redaction: hides the values that were read.
        loaded: the store of ``boot.load()``, whose config is taken over while its values are the
            same; None without.

    Attributes:
        source_context: mode, profile and locations; None before they are detected.
        custom: the sources of the application.
        is_being_written: returns whether a program has one of some files open, and may write more;
            None without a watcher.
    """

    source_context: SourceContext | None = None
    custom: Sequence[CustomSource] = ()
    is_being_written: Callable[[Iterable[str]], bool] | None = None
    _fifo_reader: FifoReader | None = None  # one for all loads of a start

    def __init__(
        self,
        declaration: AppDeclaration,
        checks: Sequence[tuple[BoundCall, CheckSpec]],
        timeline: Timeline,
        redaction: Redaction,
        loaded: Store[Any] | None = None,
    ) -> None:
        self._declaration = declaration
        self._declared_checks = checks
        self._timeline = timeline
        self._redaction = redaction
        self._declared: type[Any] = declaration.declared
        self._logged_warnings: set[LoadWarning] = set()
        self._takes_secrets = getattr(declaration.config_factory, "takes_secrets", False)
        self._config: object = None if loaded is None else loaded.config
        self._config_set: Any = None if loaded is None else loaded.view.current
        self._quiet_contents: dict[object, object] = {}
        self._checking: set[tuple[str, Value]] = set()
        self._waiting_stopped = threading.Event()
        if declaration.sources:
            from hive_boot.secrets.sources.external import CustomSource  # many have none

            self.custom = [CustomSource(each, declaration.timings) for each in declaration.sources]

    async def start(
        self,
        injection_context: Callable[..., InjectionContext],
        *,
        start_watching: Callable[[], object] | None,
        before_application_checks: Callable[[LoadResult], Awaitable[None]],
    ) -> tuple[LoadResult, float]:
        """Load and check the first set of a run.

        Args:
            injection_context: returns the arguments for checks of the application.
            start_watching: starts the watcher before the first read; None to start it later.
            before_application_checks: awaited before the checks of the application.

        Returns:
            The values, and the end of the time for resources, on the monotonic clock.

        Raises:
            InvalidSecretsError: there are problems; all of them are in the report.
            UnavailableError: only that something outside could not be reached.
        """
        from hive_boot.lifecycle.tasks import run_in_daemon_thread  # it needs a loop

        result = await run_in_daemon_thread(partial(self.load, start_watching), "hive_boot load")
        began = time.monotonic()
        deadline = began + self._declaration.startup_timeout
        while await self.ask_sources(began, deadline=deadline):
            result = await run_in_daemon_thread(self.load, "hive_boot load")
        self.log_warnings(result)
        result = await self.check(
            result,
            injection_context,
            before_application_checks=before_application_checks,
            deadline=deadline,
        )
        if result.problems:
            raise self.build_error(result.problems, result.report_notes)
        return result, deadline

    def load(
        self, start_watching: Callable[[], object] | None = None, *, read_fifos: bool = True
    ) -> LoadResult:
        """Detect the platform, read and validate everything, and hide the values. It blocks.

        Args:
            start_watching: starts the watcher before the first read; None to start it later.
            read_fifos: whether to read FIFOs, which takes their content away. Default True.

        Raises:
            InvalidSecretsError: a variable that selects the mode or the profile is invalid.
        """
        if read_fifos and self._fifo_reader is None:
            self._fifo_reader = FifoReader(self._declaration.timings.fifo_timeout)
        self.detect_platform()
        if start_watching is not None:
            start_watching()
        return self.hide_values(self._read_with_wait())

    def load_once(
        self, store: Store[Any], publish: Callable[[], object], *, read_fifos: bool
    ) -> None:
        """Load, validate and build the config, without an event loop, and run no check. It blocks.

        Args:
            store: accepts valid secrets, and later their config.
            publish: called in between: the factory of the config may need the secrets.
            read_fifos: as for :meth:`load`.

        Raises:
            InvalidSecretsError: there are problems; all of them are in the report.
        """
        result = self.load(read_fifos=read_fifos)
        self.log_warnings(result)
        if not result.problems:
            store.accept(result)
            publish()
        result = result.with_problems(self._build_config(result))
        if result.problems:
            raise self.build_error(result.problems, result.report_notes)
        store.set_config(self._config)

    async def check(
        self,
        result: LoadResult,
        injection_context: Callable[..., InjectionContext],
        *,
        changed_fields: Collection[str] | None = None,
        before_application_checks: Callable[[LoadResult], Awaitable[None]] | None = None,
        deadline: float | None = None,
    ) -> LoadResult:
        """Run every check, each step only if the ones that it depends on have passed.

        Args:
            result: the values.
            injection_context: returns the arguments for checks of the application, from the
                candidate and its config.
            changed_fields: the attributes whose values have changed, in a reload, which checks
                only these, once. None in a start or a dry run, which checks every field and
                retries a check that could not reach something outside.
            before_application_checks: awaited before the checks of the application, unless a
                problem was found before; None in a reload.
            deadline: the end of the time for checks, on the monotonic clock. Default:
                ``startup_timeout`` seconds from now.

        Returns:
            The values, with the problems of every step.
        """
        deadline = deadline or time.monotonic() + self._declaration.startup_timeout
        is_reload = changed_fields is not None

        async def run(calls: Sequence[CheckCall]) -> list[Problem]:
            from hive_boot.runtime.checks import run_checks  # many have none

            return await run_checks(
                calls,
                deadline=deadline,
                seconds=self._declaration.startup_timeout,
                retry=not is_reload,
                timings=self._declaration.timings,
            )

        if fields := _fields_to_check(result, changed_fields):
            from hive_boot.runtime.checks import field_check  # many have none

            checks = [field_check(*each, self._checking) for each in fields]
            result = result.with_check_problems(await run(checks))
        if any(warning.kind == "not-asked" for warning in result.warnings):
            return result
        result = result.with_problems(self._build_config(result, is_reload=is_reload))
        candidate = make_set(self._declared, result.values)
        if hasattr(self._declared, "check") and not result.problems:
            from hive_boot.runtime.checks import CheckCall  # many have none

            call = CheckCall(self._declaration.name, candidate.check, [*result.values.values()])
            result = result.with_problems(await run([call]))
        if result.problems:
            return result
        if before_application_checks is not None:
            await before_application_checks(result)
        if calls := self._application_checks(result, candidate, changed_fields, injection_context):
            # Two TLS contexts of one certificate have the same problem.
            problems = await run(calls)
            once = [each for at, each in enumerate(problems) if each not in problems[:at]]
            result = result.with_problems(once)
        return result

    def detect_platform(self) -> SourceContext:
        """Detect mode, profile and locations, once for the run.

        Raises:
            InvalidSecretsError: a variable that selects the mode or the profile is invalid.
        """
        if self.source_context is None:
            try:
                self.source_context = detect(
                    HostEnvironment(),
                    self._declaration.source_options,
                    self._declaration.field_index,
                    self._fifo_reader,
                )
            except InvalidSecretsError as exc:
                raise self.build_error(exc.problems) from None
            log_messages.log_source_context(self.source_context)
            if self.source_context.profile in {"development", "test"}:
                misuse_warnings.owners.add(self._redaction)
        return self.source_context

    def read(
        self, *, during_run: bool = False, fifo_reader: FifoReader | None = None
    ) -> LoadResult:
        """Read and validate everything once. It blocks, and may wait for a writer.

        Args:
            during_run: whether the application already runs, so that changed files must look the
                same twice. Default False.
            fifo_reader: reads FIFOs; None to use what an earlier load has read. Default None.
        """
        return load(
            self._declaration.field_index,
            self.detect_platform(),
            declaration=self._declaration.name,
            overrides=self._declaration.overrides,
            is_reread=during_run,
            quiet_contents=self._quiet_contents,
            is_being_written=self.is_being_written,
            custom=self.custom,
            fifo_reader=fifo_reader,
        )

    @property
    def sources_due(self) -> float:
        """When a source has to be asked next, on the monotonic clock; infinite for never."""
        return min((source.due for source in self.custom), default=math.inf)

    async def ask_sources(
        self, at: float, *, again: bool = False, deadline: float = math.inf
    ) -> bool:
        """Ask the first source that was due at a moment, or that was not asked for a field yet.

        Args:
            at: when this load began, on the monotonic clock, or it might never end.
            again: whether every source is due. Default False.
            deadline: the end of a start, on the monotonic clock. Default: this is a reload.

        Returns:
            Whether a source was asked. Then everything has to be loaded again, because its answer
            determines what the next source is asked for.
        """
        for source in self.custom if again else ():
            source.due = 0.0 if source.fields else math.inf
        due = [source for source in self.custom if source.is_due(at)]
        if not due:
            return False
        if time.monotonic() >= deadline:
            if due[0].problem is None:
                due[0].record_failure("no time was left to ask it")
            due[0].due = math.inf
            return True
        from hive_boot.runtime.checks import ask_source  # many have no source

        seconds = self._declaration.startup_timeout
        if deadline == math.inf:
            seconds = min(seconds, self._declaration.timings.source_timeout)
        await ask_source(due[0], seconds=seconds, deadline=deadline)
        return True

    def hide_values(self, result: LoadResult, accepted: Sequence[Value] = ()) -> LoadResult:
        """Hide all values in logs, and return the result with a warning for short ones.

        Args:
            result: the values.
            accepted: the values that are accepted now, whatever was read.
        """
        self._redaction.hide(result.secret_values, accepted)
        return result.with_short_values()

    async def drop_surplus(self) -> None:
        """Hide no longer what need not stay hidden, after the swap, which does not wait for it."""
        if self._redaction.surplus:
            from hive_boot.lifecycle.tasks import run_in_daemon_thread  # it needs a loop

            with suppress(RuntimeError):  # without a thread, they stay hidden until the next one
                await run_in_daemon_thread(self._redaction.drop_surplus, "hive_boot redaction")

    def report_expiry(self) -> dict[str, float]:
        """Return when each TLS certificate in use expires, by name, and log those that are near."""
        certificates = list(self._declaration.certificates)
        return {name: at for each in certificates for name, at in each.report_expiry().items()}

    @property
    def _checks(self) -> list[tuple[BoundCall, CheckSpec]]:
        """The checks of the application, and of the TLS contexts that exist now."""
        certificates = list(self._declaration.certificates)
        return [*self._declared_checks, *(each.check for each in certificates)]

    def stop_waiting(self) -> None:
        """Stop waiting for files, because the start was cancelled."""
        self._waiting_stopped.set()

    def needs_event_loop(self, result: LoadResult) -> bool:
        """Return whether a check or a source exists."""
        calls = [*self._checks, *self.custom, *_fields_to_check(result, None)]
        return bool(calls) or hasattr(self._declared, "check")

    def log_warnings(self, result: LoadResult) -> None:
        """Log the warnings that were not logged before."""
        fresh = [each for each in result.warnings if each not in self._logged_warnings]
        self._logged_warnings.update(fresh)
        log_messages.log_warnings(fresh)

    def build_error(
        self,
        problems: Sequence[Problem],
        notes: Sequence[LoadNote] = (),
        *,
        set_in_use: bool = False,
    ) -> ProblemsError:
        """Return the error that reports problems.

        It is an UnavailableError if nothing else is wrong: then another start may succeed.

        Args:
            problems: all problems.
            notes: the notes about the load as a whole.
            set_in_use: whether an earlier set stays in use. Default False.
        """
        facts = []
        if source_context := self.source_context:
            facts.append(("mode", f"{source_context.mode} ({source_context.mode_reason})"))
            facts.append(("profile", f"{source_context.profile} ({source_context.profile_reason})"))
        are_unavailable = all(problem.kind == "unavailable" for problem in problems)
        return (UnavailableError if are_unavailable else InvalidSecretsError)(
            problems,
            declaration=self._declaration.name,
            facts=facts,
            general_hints=[log_messages.note_text(note) for note in notes],
            kept=set_in_use,
        )

    def _read_with_wait(self) -> LoadResult:
        """Read everything, and wait up to ``wait_for_files`` for files that are missing."""
        result = self.read(fifo_reader=self._fifo_reader)
        seconds = self._declaration.wait_for_files
        if not seconds or not result.source_context.mounted:
            return result
        until = time.monotonic() + seconds
        interval = self._declaration.timings.missing_file_interval
        if missing := _missing(result):
            log_messages.log_waiting_for_files(missing, seconds)
        while missing and (left := until - time.monotonic()) > 0:
            if self._waiting_stopped.wait(min(interval, left)) or stop_requested():
                break
            result = self.read(fifo_reader=self._fifo_reader)
            missing = _missing(result)
        return result

    def config_for(self, values: Mapping[str, Value]) -> object:
        """Return the config for values that are about to come into use.

        Raises:
            InvalidSecretsError: the factory of the config has failed.
        """
        if self._takes_secrets:
            candidate = make_set(self._declared, values)
            if not self._is_config_of(candidate):
                problems = self._call_factory(candidate, list(values.values()))
                if problems:
                    raise self.build_error(problems, set_in_use=True)
        return self._config

    def _build_config(self, result: LoadResult, *, is_reload: bool = False) -> list[Problem]:
        """Build the config if it may differ from the one before, and return the problems."""
        # Without a required secret a factory that takes the secrets cannot be called.
        is_needed = not result.problems if self._takes_secrets else not is_reload
        if self._declaration.config_factory is None or not is_needed:
            return []
        candidate = make_set(self._declared, result.values)
        if self._is_config_of(candidate):
            return []
        return self._call_factory(candidate, [*result.values.values(), *result.unused_values])

    def _is_config_of(self, candidate: object) -> bool:
        """Return whether the config exists, and was built beside these values."""
        return self._config_set is not None and vars(candidate) == vars(self._config_set)

    def _call_factory(self, candidate: object, hidden: Sequence[Value]) -> list[Problem]:
        config, problems = self._declaration.config_factory.build(candidate, hidden)  # type: ignore[union-attr]
        if not problems:
            self._config, self._config_set = config, candidate
        return problems

    def _application_checks(
        self,
        result: LoadResult,
        candidate: object,
        changed_fields: Collection[str] | None,
        injection_context: Callable[..., InjectionContext],
    ) -> list[CheckCall]:
        """Return the checks of the application that concern a start, or the changed fields."""
        left_out = "rotation" if changed_fields is None else "start"
        checks = [
            (work, check)
            for work, check in self._checks
            if check.at != left_out
            and (changed_fields is None or not check.names or check.names & {*changed_fields})
        ]
        if not checks:
            return []
        from hive_boot.runtime.checks import CheckCall  # many have none

        def call(work: BoundCall, check: CheckSpec) -> CheckCall:
            fields = [
                each for each in result.field_index.all_fields if each.attribute in check.names
            ]
            found = [each.attribute for each in fields if each.attribute in result.values]
            users = [user for each in fields for user in each.used_by.split(", ") if user]
            return CheckCall(
                work.display_name,
                lambda: work(injection_context(candidate, self._config)),
                [*result.values.values()],
                timeline=self._timeline,
                timeout=check.timeout,
                retry_on=check.retry_on,
                subject=", ".join(each.name for each in fields),
                places=tuple(dict.fromkeys(location_text(result.origin(each)) for each in found)),
                used_by=", ".join(dict.fromkeys(users)),
            )

        return [call(*each) for each in checks]


def _fields_to_check(
    result: LoadResult, changed_fields: Collection[str] | None
) -> list[tuple[Field, Value]]:
    """Return the fields that have a check and a value, all of them or the changed ones."""
    return [
        (field, result.values[field.attribute])
        for field in result.field_index.all_fields
        if field.check is not None
        and field.attribute in result.values
        and (changed_fields is None or field.attribute in changed_fields)
    ]


def _missing(result: LoadResult) -> list[str]:
    """Return the names whose files may still be written."""
    return [problem.name for problem in result.problems if problem.kind in _WAITABLE_KINDS]
