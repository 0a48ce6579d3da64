"""Loads without a run: `boot.load()`, and the dry run of `hive-boot check`; the error of no run."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot import secrets as applications
from hive_boot._records import Record
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.states import Timeline
from hive_boot.redaction.hooks import Redaction
from hive_boot.runtime.injection import InjectionContext
from hive_boot.runtime.load_pipeline import LoadPipeline
from hive_boot.secrets.secret_set import SecretSet
from hive_boot.secrets.store import Store
from hive_boot.secrets.value import misuse_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from hive_boot.exceptions import ProblemsError
    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.runtime.injection import Injectables, Rebuild
    from hive_boot.runtime.run import Run
    from hive_boot.secrets.load_result import LoadResult

S = TypeVar("S", bound=SecretSet)


class LoadedApplication(Generic[S]):
    """Values and config that ``boot.load()`` has read, until the last holder releases them.

    Args:
        declaration: the application.
        current_run: returns its run; None before and after a run.

    Attributes:
        store: the values and the config; None until the values are valid.
        holders: the blocks of ``boot.loaded()`` that have not ended, and the calls of ``load()``.
    """

    def __init__(
        self, declaration: AppDeclaration, current_run: Callable[[], Run[S, Any] | None]
    ) -> None:
        self._declaration = declaration
        self._current_run = current_run
        self._pid = os.getpid()
        self._redaction = Redaction(declaration.field_index.redacted_whole)
        self._redaction.open()
        self.store: Store[S] | None = None
        self.holders: int = 1

    @property
    def is_abandoned(self) -> bool:
        """Whether this process was forked while its parent was loading."""
        return self.store is None and self._pid != os.getpid()

    def read(self, *, read_fifos: bool = True) -> None:
        """Load everything, or take over what the run has loaded.

        Raises:
            InvalidSecretsError: secrets or settings are invalid.
        """
        run, before = self._current_run(), self.store
        known = before or (None if run is None else run.store)
        store = Store(self._declaration.declared, view=None if known is None else known.view)

        def publish() -> None:
            if before is not None:
                applications.unregister(before)
            applications.register(store, is_loaded=True)
            self.store = store

        if run is not None and run.store.is_filled:
            self._redaction.hide(run.store.generation.load_result.secret_values)
            publish()
        else:
            pipeline = LoadPipeline(self._declaration, (), Timeline(), self._redaction, before)
            pipeline.load_once(store, publish, read_fifos=read_fifos)

    @contextmanager
    def read_again(self) -> Iterator[None]:
        """Replace for a block what was loaded, because a test overrides secrets."""
        before: Any = self.store
        values = vars(before.view)
        try:
            with applications.load_lock:
                self.read()
            yield
        finally:
            if self.store is not None and self._current_run() is None:
                applications.unregister(self.store)
                applications.register(before, is_loaded=True)
                self.store = before
                object.__setattr__(before.view, "__dict__", values)

    def continue_after(self, store: Store[S]) -> None:
        """Continue with the values and the config of a run that has ended."""
        if self.store is None:
            return
        applications.unregister(self.store)
        self.store = store
        applications.register(store, is_loaded=True)
        result = store.generation.load_result
        accepted = (*result.unused_values, *store.all_accepted_values())
        self._redaction.hide(result.replace(unused_values=accepted).secret_values)

    def close(self, *, keep_redacting: bool) -> None:
        """Undo :meth:`read`."""
        if self.store is not None:
            applications.unregister(self.store)
        self.store = None
        misuse_warnings.owners.discard(self._redaction)
        self._redaction.close(linger=keep_redacting)


class DryRunResult(Record):
    """The result of a dry run.

    Attributes:
        load_result: the values, with every problem.
        error: the error that a start would end with; None if a start would accept the set.
        rebuilds: when each resource is rebuilt, by name.
    """

    load_result: LoadResult
    error: ProblemsError | None
    rebuilds: Mapping[str, Rebuild]


def dry_run(
    declaration: AppDeclaration, injectables: Injectables, boot: object, *, ask: bool | None
) -> DryRunResult:
    """Load and check everything once, as a start would, and start nothing.

    The values stay hidden in logs and tracebacks until the process ends.

    Args:
        declaration: the declared application.
        injectables: what its functions may ask for.
        boot: the Bootstrap, for functions that ask for it.
        ask: whether the sources of the application are asked. False: the checks that need a
            whole set are left out. None: as load() does, which does not ask.

    Raises:
        DeclarationError: a parameter of a declared function cannot be filled, or resources
            depend on each other in a cycle.
        InvalidSecretsError: a variable that selects the mode or the profile is invalid.
    """
    bound = declaration.bind(injectables)
    if declaration.main is not None:
        declaration.bind_main(declaration.main, injectables)
    redaction = Redaction(declaration.field_index.redacted_whole)
    pipeline = LoadPipeline(declaration, bound.checks, Timeline(), redaction)

    def injection_context(secrets: object, config: object) -> InjectionContext:
        return InjectionContext({"boot": boot, "secrets": secrets, "config": config})

    async def check(result: LoadResult) -> LoadResult:
        began = time.monotonic()
        deadline = began + declaration.startup_timeout
        if ask is False:
            others = tuple(each for each in result.problems if each.kind != "source")
            result = result.replace(problems=others)
        while ask and await pipeline.ask_sources(began, deadline=deadline):
            result = pipeline.load(read_fifos=False)
        return await pipeline.check(result, injection_context)

    redaction.open()
    try:
        # The FIFOs are left to the service: this process would take their content away from it.
        result = pipeline.load(read_fifos=False)
        if pipeline.needs_event_loop(result):
            import anyio  # only for what has to be awaited

            result = anyio.run(check, result)
        else:
            result = _run_without_loop(check(result))
    finally:
        misuse_warnings.owners.discard(redaction)
        redaction.close(linger=True)
    error = pipeline.build_error(result.problems, result.report_notes) if result.problems else None
    return DryRunResult(result, error, bound.rebuilds)


def _run_without_loop(coroutine: Coroutine[Any, Any, LoadResult]) -> LoadResult:
    """Return the result of a coroutine that awaits nothing, without importing anyio."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: LoadResult = done.value
        return result
    coroutine.close()
    raise RuntimeError("a step of the load pipeline awaited something without a check")


def not_running(boot: object, what: str = "") -> LifecycleError:
    """Return the error that an application is not running, with the way to run it.

    Args:
        boot: the Bootstrap.
        what: what is not running. Default: the Bootstrap.
    """
    subject = f"{what or repr(boot)} is not running."
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    twins = [
        (name, module)
        for name, module in list(sys.modules.items())
        if file and module is not main and getattr(module, "__file__", None) == file
    ]
    for name, module in twins:
        for key, value in (*vars(main).items(), *vars(module).items()):
            if value is boot:
                return LifecycleError(
                    f"{subject} {file} was imported twice, as __main__ and as {name}, so there are "
                    "two applications, and another one runs. Fix: start it with "
                    f"`hive-boot run {name}:{key}`, or declare it in another module."
                )
    return LifecycleError(
        f"{subject} In FastAPI pass lifespan=boot.lifespan, or run the object that boot.asgi(app) "
        "has returned; in tests enter `with TestClient(...)` with the same object; at import time "
        "only boot.load() provides secrets."
    )
