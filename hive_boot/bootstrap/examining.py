"""Judge an application as a start would, and start nothing.

A tool asks, and waits: so the event loop, which is most of what a start imports, is
imported only for a check that has to be awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.bootstrap.intake import LoadPipeline, fields_to_check
from hive_boot.bootstrap.opening import load_settings
from hive_boot.bootstrap.secrecy import RedactionScope
from hive_boot.bootstrap.wiring import InjectionContext, bind
from hive_boot.lifecycle.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hive_boot.bootstrap.declare import Application
    from hive_boot.bootstrap.plan import AppDeclaration
    from hive_boot.exceptions import InvalidSecretsError
    from hive_boot.secrets.checks import PendingCheck
    from hive_boot.secrets.findings import LoadResult
    from hive_boot.secrets.mode import SourceContext


class DryRunResult(NamedTuple):
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


def dry_run(application: Application[Any, Any]) -> DryRunResult:
    """Read and judge everything once, as a start would.

    What was read stays scrubbed out of logs and tracebacks until the process ends.

    Args:
        application: what is declared.

    Raises:
        DeclarationError: a parameter of a function of the author's asks for what there is
            not, or parts ask for each other.
        InvalidSecrets: a variable that decides the mode or the profile means nothing.
    """
    plan = application._declaration  # noqa: SLF001  (ours)
    checks = _wire(application)
    pipeline: LoadPipeline[Any] = LoadPipeline(plan, checks, Timeline())
    redaction_scope = RedactionScope()
    redaction_scope.start()
    try:
        pipeline.detect_platform()
        load_result = pipeline.load_with_wait()
        redaction_scope.register_values(load_result)
        config = _run_all_checks(application, pipeline, load_result, waits=bool(checks))
        error = None
        if load_result.problems:
            error = pipeline.build_error(
                load_result.problems, [*load_result.general_hints, *load_result.notes]
            )
    finally:
        redaction_scope.stop(keep_redacting=True)
    return DryRunResult(load_result, config, error)


def _wire(application: Application[Any, Any]) -> Sequence[tuple[Any, Any]]:
    """Find out what each function of the author's gets, as a start does before it reads."""
    plan, injectables = application._declaration, application._injectables()  # noqa: SLF001  (ours)
    plan.bind_resources(injectables)
    plan.bind_services(injectables)
    plan.bind_hooks(injectables)
    if plan.main is not None:
        bind(plan.main, injectables)
    return plan.bind_checks(injectables)


def _run_all_checks(
    application: Application[Any, Any],
    pipeline: LoadPipeline[Any],
    load_result: LoadResult,
    *,
    waits: bool,
) -> object:
    """Judge in the order of a start, and give the settings.

    Args:
        application: what is declared.
        pipeline: judges.
        load_result: what was read; what is wrong is noted there.
        waits: whether there are checks of the application, which are awaited.
    """
    plan: AppDeclaration = application._declaration  # noqa: SLF001  (ours)
    deadline = pipeline.deadline()
    pending = _call_checks(plan, load_result)
    waits = waits or bool(pending) or hasattr(plan.declared, "check")
    if not waits:
        return load_settings(plan, load_result)

    async def judge() -> object:
        from hive_boot.bootstrap.checking import await_field_checks  # noqa: PLC0415  (it needs a loop)

        seconds = plan.startup_timeout
        load_result.add_check_problems(await await_field_checks(pending, seconds, seconds))
        config = load_settings(plan, load_result)
        await pipeline.run_set_check(load_result, deadline)

        def given(secrets: Any) -> InjectionContext:  # noqa: ANN401  (of the author's type)
            return InjectionContext({"secrets": secrets, "config": config, "boot": application})

        await pipeline.run_application_checks(load_result, given, deadline)
        return config

    import anyio  # noqa: PLC0415  (only for what has to be awaited)

    return anyio.run(judge)


def _call_checks(declaration: AppDeclaration, load_result: LoadResult) -> list[PendingCheck]:
    """Call the checks of single fields, and give those that have to be awaited."""
    to_check = fields_to_check(load_result, load_result.values.keys())
    if not to_check:
        return []
    from hive_boot.secrets.checks import call_checks  # noqa: PLC0415  (many have none)

    seconds = declaration.startup_timeout
    problems, pending = call_checks(to_check, left=seconds, seconds=seconds)
    load_result.add_check_problems(problems)
    return pending
