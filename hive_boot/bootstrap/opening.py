"""Read and judge the first set of a run, and make its settings: all problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.bootstrap import logs

if TYPE_CHECKING:
    from hive_boot.bootstrap.intake import LoadPipeline
    from hive_boot.bootstrap.plan import AppDeclaration
    from hive_boot.bootstrap.rotating import Reloader
    from hive_boot.bootstrap.secrecy import RedactionScope
    from hive_boot.secrets.findings import LoadResult


class InitialLoad(NamedTuple):
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
    reloader: Reloader[Any] | None,
) -> InitialLoad:
    """Read, judge, and make the settings.

    Args:
        declaration: what was declared.
        pipeline: reads and judges.
        redaction: hides what was read, before anybody sees it.
        reloader: looks for changes from before the first read on; None when nothing does.

    Raises:
        InvalidSecrets: something is wrong; all of it is in the report.
    """
    from hive_boot.lifecycle.waking import run_in_daemon_thread  # noqa: PLC0415  (it needs a loop)

    def read() -> LoadResult:
        # In a thread, because it may wait for a writer.
        source_context = pipeline.detect_platform()
        if reloader is not None:
            reloader.watch_supervisor.start(declaration.declared._field_index, source_context)  # noqa: SLF001  (ours)
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
    logs.log_notes(load_result.notes)
    return InitialLoad(load_result, config, deadline)


def load_settings(declaration: AppDeclaration, load_result: LoadResult) -> object:
    """Make the settings, and note what is wrong with them; None without any."""
    if declaration.config_factory is None:
        return None
    from hive_boot.bootstrap.configuring import build_settings  # noqa: PLC0415  (many have none)

    values = [*load_result.values.values(), *load_result.unused_values]
    config, problems = build_settings(declaration.config_factory, values)
    load_result.problems += problems
    made: object = config
    return made
