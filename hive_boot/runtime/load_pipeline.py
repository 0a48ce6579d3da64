"""Load pipeline: read the sources, validate, run the checks, build the settings.

A start, a reload and a dry run (`hive-boot check`) use it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot._records import Record
from hive_boot.exceptions import InvalidSecretsError, Problem
from hive_boot.lifecycle.states import Timeline
from hive_boot.redaction.registry import scrub
from hive_boot.runtime import log_messages
from hive_boot.runtime.injection import InjectionContext, bind
from hive_boot.runtime.redaction_scope import RedactionScope
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, detect
from hive_boot.secrets.secret_set import SecretSet
from hive_boot.secrets.store import make_set

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Container, Sequence

    from hive_boot.exceptions import ProblemKind
    from hive_boot.runtime.declarations import AppDeclaration, CheckSpec
    from hive_boot.runtime.injection import BoundCall, Injectables
    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.sources.files import Value
    from hive_boot.secrets.validation import PendingCheck


def build_settings(
    factory: Callable[..., Any], values: Sequence[Value]
) -> tuple[Any, list[Problem]]:
    """Call the factory of the settings.

    pydantic's errors show the input, and with it the neighbours of what is wrong:
    so their parts are taken one by one, without it.

    Args:
        factory: what makes the settings.
        values: the secrets, which no message may show.

    Returns:
        The settings, or the problems.
    """
    try:
        return factory(), []
    except BaseException as exc:  # noqa: BLE001  (whatever a factory raises is a report's line)
        parts = _validation_errors(exc, getattr(factory, "model_fields", {}))
    name = getattr(factory, "__name__", type(factory).__name__)
    return None, [
        Problem(
            name=".".join([name, *where]),
            kind="config",
            message=f"is invalid: {_scrubbed(what, values)}",
            fix=_fix_hint(factory, where),
        )
        for where, what in parts
    ]


def _scrubbed(text: str, values: Sequence[Value]) -> str:
    return scrub(text, [value.reveal() for value in values])


def _fix_hint(factory: Callable[..., Any], where: Sequence[str]) -> str:
    """Name the variable of a pydantic-settings field; of anything else nothing is known."""
    settings: Any = getattr(factory, "model_config", {})
    if not where or "env_prefix" not in settings:
        return "correct the environment variables that the settings are read from"
    variable = f"{settings['env_prefix']}{where[0]}".upper()
    return f"set the environment variable {variable}"


def _validation_errors(exc: BaseException, known: Container[str]) -> list[tuple[list[str], str]]:
    """Take a failure apart: where in the settings, and what is wrong there.

    Args:
        exc: what the factory raised.
        known: the fields of the settings. Any other place is a text of the input's,
            a stray line of ``.env`` or the key of a mapping, and is not shown.
    """
    name = type(exc).__name__
    try:
        errors: Any = getattr(exc, "errors", None)
        if not callable(errors):
            text = str(exc)
            return [([], f"{name}: {text}" if text else name)]
        parts = errors(include_input=False, include_context=False, include_url=False)
        return [([str(s) for s in part["loc"][:1] if s in known], part["msg"]) for part in parts]
    except BaseException:  # noqa: BLE001  (a failure may fail to say what it is)
        return [([], name)]


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
        self._declaration = declaration
        self._checks = checks
        self._timeline = timeline
        self._declared: type[Any] = declaration.declared
        self._logged_warnings: set[str] = set()
        self._checking: set[tuple[str, Value]] = set()
        self._given_up = threading.Event()

    def detect_platform(self) -> SourceContext:
        """Decide where to look, once for the run.

        Raises:
            InvalidSecretsError: a variable that decides it means nothing.
        """
        try:
            self.source_context = detect(
                HostEnvironment(),
                self._declaration.source_options,
                self._declared._field_index.first_file,  # noqa: SLF001  (the declaration is ours to read)
            )
        except InvalidSecretsError as exc:
            raise self.build_error(exc.problems) from None
        log_messages.log_source_context(self.source_context)
        return self.source_context

    def read(self, *, during_run: bool = False) -> LoadResult:
        """Read everything once. It blocks, and may wait for a writer.

        Args:
            during_run: whether an application runs, so that there is time to see what becomes
                of a file that was just taken away. Default False.
        """
        return load(
            self._declared._field_index,  # noqa: SLF001  (the declaration is ours to read)
            self.source_context or self.detect_platform(),
            declaration=self._declared.__name__,
            overrides=self._declaration.overrides,
            recheck_recent_directories=during_run,
        )

    def load_with_wait(self) -> LoadResult:
        """Read everything, and wait for files that are missing. It blocks."""
        load_result = self.read()
        if not self._declaration.wait_for_files or not load_result.source_context.mounted:
            return load_result
        until = time.monotonic() + self._declaration.wait_for_files
        interval = self._declaration.timings.missing_file_interval
        missing = _missing(load_result)
        if missing:
            log_messages.log_waiting_for_files(missing, self._declaration.wait_for_files)
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
        from hive_boot.lifecycle.tasks import run_in_daemon_thread  # noqa: PLC0415  (many have none)
        from hive_boot.runtime.checks import await_field_checks, close_unawaited  # noqa: PLC0415  (many have none)
        from hive_boot.secrets.validation import call_checks  # noqa: PLC0415  (many have none)

        seconds = self._declaration.startup_timeout

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
        from hive_boot.runtime.checks import await_check  # noqa: PLC0415  (many have none)

        left, seconds = deadline - time.monotonic(), self._declaration.startup_timeout
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
        from hive_boot.runtime.checks import call_application_checks  # noqa: PLC0415  (many have none)

        candidate: S = make_set(self._declared, load_result.values)
        load_result.problems += await call_application_checks(
            checks,
            lambda: injection_context(candidate),
            list(load_result.values.values()),
            deadline=deadline,
            seconds=self._declaration.startup_timeout,
            timeline=self._timeline,
            retry=changed_fields is None,
            timings=self._declaration.timings,
        )

    def deadline(self) -> float:
        """Give until when the checks of what was just read may take."""
        return time.monotonic() + self._declaration.startup_timeout

    def log_warnings(self, load_result: LoadResult) -> None:
        """Log the warnings that were not logged before."""
        fresh = [text for text in load_result.warnings if text not in self._logged_warnings]
        self._logged_warnings.update(fresh)
        log_messages.log_warnings(fresh)

    def raise_if_invalid(self, load_result: LoadResult) -> None:
        """Raise what is wrong with a first set.

        Raises:
            InvalidSecretsError: something is.
        """
        if load_result.problems:
            raise self.build_error(
                load_result.problems, [*load_result.general_hints, *load_result.notes]
            )

    def build_error(
        self, problems: Sequence[Problem], general_hints: Sequence[str] = (), *, kept: bool = False
    ) -> InvalidSecretsError:
        """Make the error that reports problems.

        Args:
            problems: all of them.
            general_hints: what mends several of them.
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
            general_hints=general_hints,
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


class InitialLoad(Record):
    """What a run begins with.

    Attributes:
        result: what was read, all of it good.
        config: the settings; None without any.
        deadline: until when the rest of the start may take, on the monotonic clock.
    """

    result: LoadResult
    config: object
    deadline: float


async def load_initial(
    declaration: AppDeclaration,
    pipeline: LoadPipeline[Any],
    redaction: RedactionScope,
    start_watching: Callable[[FieldIndex, SourceContext], object] | None,
) -> InitialLoad:
    """Read, judge, and make the settings.

    Args:
        declaration: what was declared.
        pipeline: reads and judges.
        redaction: hides what was read, before anybody sees it.
        start_watching: starts the watcher, before the first read; None when nothing watches.

    Raises:
        InvalidSecretsError: something is wrong; all of it is in the report.
    """
    from hive_boot.lifecycle.tasks import run_in_daemon_thread  # noqa: PLC0415  (it needs a loop)

    def read() -> LoadResult:
        # In a thread, because it may wait for a writer.
        source_context = pipeline.detect_platform()
        if start_watching is not None:
            start_watching(declaration.declared._field_index, source_context)  # noqa: SLF001  (ours)
        load_result = pipeline.load_with_wait()
        redaction.register_values(load_result)
        return load_result

    load_result = await run_in_daemon_thread(read, "hive_boot load")
    pipeline.log_warnings(load_result)
    deadline = pipeline.deadline()
    await pipeline.run_field_checks(load_result, load_result.values.keys(), deadline)
    config = load_settings(declaration, load_result)
    await pipeline.run_set_check(load_result, deadline)
    pipeline.raise_if_invalid(load_result)
    log_messages.log_notes(load_result.notes)
    return InitialLoad(load_result, config, deadline)


def load_settings(declaration: AppDeclaration, load_result: LoadResult) -> object:
    """Make the settings, and note what is wrong with them; None without any."""
    if declaration.config_factory is None:
        return None
    values = [*load_result.values.values(), *load_result.unused_values]
    config, problems = build_settings(declaration.config_factory, values)
    load_result.problems += problems
    made: object = config
    return made


class DryRunResult(Record):
    """What a start would find.

    Attributes:
        load_result: what the sources hold, with everything that is wrong.
        config: the settings; None without any, and when they are wrong.
        error: what a start would end with; None when it would go on.
    """

    load_result: LoadResult
    config: object
    error: InvalidSecretsError | None

    @property
    def source_context(self) -> SourceContext:
        """Mode, profile and places."""
        return self.load_result.source_context


def dry_run(declaration: AppDeclaration, injectables: Injectables, boot: object) -> DryRunResult:
    """Load and validate everything once, as a start would.

    What was read stays hidden in logs and tracebacks until the process ends.

    Args:
        declaration: the declared application.
        injectables: what its functions may ask for.
        boot: the Bootstrap, for functions that ask for it.

    Raises:
        DeclarationError: a parameter of a declared function cannot be filled, or resources
            depend on each other.
        InvalidSecretsError: a variable that decides the mode or the profile means nothing.
    """
    checks = _bind_all(declaration, injectables)
    pipeline: LoadPipeline[Any] = LoadPipeline(declaration, checks, Timeline())
    redaction_scope = RedactionScope()
    redaction_scope.start()
    try:
        pipeline.detect_platform()
        load_result = pipeline.load_with_wait()
        redaction_scope.register_values(load_result)
        config = _run_all_checks(declaration, boot, pipeline, load_result, waits=bool(checks))
        error = None
        if load_result.problems:
            error = pipeline.build_error(
                load_result.problems, [*load_result.general_hints, *load_result.notes]
            )
    finally:
        redaction_scope.stop(keep_redacting=True)
    return DryRunResult(load_result, config, error)


def _bind_all(declaration: AppDeclaration, injectables: Injectables) -> Sequence[tuple[Any, Any]]:
    """Bind every declared function to its arguments, as a start does before it reads."""
    declaration.bind_resources(injectables)
    declaration.bind_services(injectables)
    declaration.bind_hooks(injectables)
    if declaration.main is not None:
        bind(declaration.main, injectables)
    return declaration.bind_checks(injectables)


def _run_all_checks(
    declaration: AppDeclaration,
    boot: object,
    pipeline: LoadPipeline[Any],
    load_result: LoadResult,
    *,
    waits: bool,
) -> object:
    """Run all checks in the order of a start, and return the settings.

    Args:
        declaration: the declared application.
        boot: the Bootstrap, for checks that ask for it.
        pipeline: runs the checks.
        load_result: what was read; problems are added to it.
        waits: whether there are checks of the application, which are awaited.
    """
    deadline = pipeline.deadline()
    pending = _call_checks(declaration, load_result)
    waits = waits or bool(pending) or hasattr(declaration.declared, "check")
    if not waits:
        return load_settings(declaration, load_result)

    async def run_checks() -> object:
        from hive_boot.runtime.checks import await_field_checks  # noqa: PLC0415  (it needs a loop)

        seconds = declaration.startup_timeout
        load_result.add_check_problems(await await_field_checks(pending, seconds, seconds))
        config = load_settings(declaration, load_result)
        await pipeline.run_set_check(load_result, deadline)

        def injection_context(secrets: Any) -> InjectionContext:  # noqa: ANN401  (of the author's type)
            return InjectionContext({"secrets": secrets, "config": config, "boot": boot})

        await pipeline.run_application_checks(load_result, injection_context, deadline)
        return config

    import anyio  # noqa: PLC0415  (only for what has to be awaited)

    return anyio.run(run_checks)


def _call_checks(declaration: AppDeclaration, load_result: LoadResult) -> list[PendingCheck]:
    """Call the checks of single fields, and give those that have to be awaited."""
    to_check = fields_to_check(load_result, load_result.values.keys())
    if not to_check:
        return []
    from hive_boot.secrets.validation import call_checks  # noqa: PLC0415  (many have none)

    seconds = declaration.startup_timeout
    problems, pending = call_checks(to_check, left=seconds, seconds=seconds)
    load_result.add_check_problems(problems)
    return pending
