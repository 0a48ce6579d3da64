"""Run of an application: from ARMED to STOPPED."""

from __future__ import annotations

import contextvars
import math
import os
import threading
import time
import warnings
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import anyio
import anyio.lowlevel

from hive_boot import secrets as applications
from hive_boot._timings import STOP_BUDGET_SHARE
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.runner import Runner
from hive_boot.lifecycle.shutdown import ShutdownController
from hive_boot.lifecycle.states import SERVING, State, StateMachine
from hive_boot.lifecycle.tasks import (
    BackgroundTask,
    CancellableBlock,
    combine,
    is_cancellation,
    open_tasks,
    run_shielded,
    task_name,
    threadsafe_scheduler,
    wait_for_tasks,
)
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import redact
from hive_boot.runtime import log_messages
from hive_boot.runtime.injection import InjectionContext, build_components
from hive_boot.runtime.load_pipeline import LoadPipeline
from hive_boot.secrets.secret_set import SecretSet
from hive_boot.secrets.store import Store
from hive_boot.secrets.value import misuse_warnings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.runtime.injection import BoundFunctions, Injectables
    from hive_boot.runtime.reload import Reloader
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.value import Change

    Listener = Callable[..., Awaitable[object]]
    AsgiComponent = Callable[["Run[Any, Any]"], AbstractAsyncContextManager[object]]

S = TypeVar("S", bound=SecretSet)


C = TypeVar("C")


class Run(Generic[S, C]):
    """One run of an application: everything that its start creates.

    Args:
        declaration: everything declared on the Bootstrap.
        injectables: the objects that parameters of declared functions can receive.
        boot: the Bootstrap, for functions with a parameter for it.
        handles: the handles of the resources, by name.
        listeners: the HTTP listeners by name, open from before the first load until the end.
        asgi_component: the last resource, started after all others: the ASGI application that
            the run serves; None if it serves none.
        cancel: cancels main, the block, or the server that uses the run, which should then end
            within so many seconds.
        describe_pending: describes what has not stopped, before a forced exit; None if the
            process has another owner.
        describe_main: returns the line at which main waits; empty when it has ended.
        loaded: the store of ``boot.load()``, whose live secrets and config this run takes over;
            None without.
        resources: whether resources, services and hooks are part of the run. Default True.

    Attributes:
        reloader: loads the secrets again; None until it is needed.
        states: the states of the run.
        shutdown: the shutdown of the run.
        runner: the resources, services and listeners.
        bound: the declared functions, with the sources of their arguments.
        pipeline: the steps from the sources to the secrets.

    Raises:
        DeclarationError: nothing fills a parameter of a declared function.
    """

    reloader: Reloader | None = None

    def __init__(
        self,
        declaration: AppDeclaration,
        injectables: Injectables,
        boot: object,
        handles: Mapping[str, object],
        *,
        listeners: Sequence[tuple[str, Listener]] = (),
        asgi_component: AsgiComponent | None = None,
        cancel: Callable[[float], object] = lambda _: None,
        describe_pending: Callable[[], str] | None = None,
        describe_main: Callable[[], Sequence[str]] = tuple,
        loaded: Store[S] | None = None,
        resources: bool = True,
    ) -> None:
        self._declaration = declaration
        self._boot = boot
        self._handles = handles
        self._listeners = listeners
        self._owns_process = describe_pending is not None
        self._has_asgi_component = asgi_component is not None
        self._context = contextvars.copy_context()
        self.states: StateMachine = StateMachine()
        self.shutdown: ShutdownController = ShutdownController(
            self.states,
            delay=declaration.shutdown_delay or 0.0,
            timeout=declaration.shutdown_timeout,
            cancel=cancel,
            context=self._context,
            describe_pending=describe_pending,
            waits_for=lambda: self.runner.waits_for(),  # created below
            grace_period=declaration.main_grace_period,
            on_stop=declaration.main_on_stop if self._owns_process else None,
            timings=declaration.timings,
        )
        self.bound: BoundFunctions = declaration.bind(injectables, resources=resources)
        starts_last = None if asgi_component is None else partial(asgi_component, self)
        self.runner: Runner = Runner(
            self.states,
            self.shutdown,
            context=self._context,
            timings=declaration.timings,
            components=build_components(self.bound, self.injection_context, starts_last),
        )
        self.runner.describe_with(describe_main)
        self.runner.describe_with(self._describe_tasks)
        self._redaction = Redaction(declaration.field_index.redacted_whole)
        self.pipeline: LoadPipeline = LoadPipeline(
            declaration, self.bound.checks, self.states.timeline, self._redaction, loaded
        )
        declared: type[Any] = declaration.declared
        view = None if loaded is None else loaded.view
        self.store: Store[S] = Store(declared, prepare=self.pipeline.config_for, view=view)
        self._log: AbstractContextManager[None] = log_messages.fallback_handler(
            "hive_boot", shows_warnings=self._owns_process
        )
        self._pid = os.getpid()
        self._thread_id = threading.get_ident()
        self._soon = threadsafe_scheduler()
        self._later = BackgroundTask(self._start_reloader, "hive_boot start of rotations")
        self._tasks_before: set[Any] = set()
        self._finishing: set[Any] = set()
        self._loop: Any = anyio.lowlevel.current_token().native_token

    async def start(self) -> None:
        """Load, validate, accept the secrets, and start the resources and services.

        Raises:
            InvalidSecretsError: secrets or settings are invalid; the report has every problem.
            UnavailableError: something outside could not be reached in time.
            StartupError: a resource could not start; several are raised as a group.
        """
        runner = self.runner
        self._redaction.open()
        self._log.__enter__()
        for name, listener in self._listeners:
            await runner.start_listener(listener, name)
        self.states.transition(State.LOADING)
        start_watching = None
        if self._declaration.watch and self._declaration.wait_for_files:
            # A file that appears meanwhile is read when its writer has closed it.
            start_watching = self._get_reloader().start_watching
        load_result, deadline = await self.pipeline.start(
            self.injection_context,
            start_watching=start_watching,
            before_application_checks=self._begin_starting,
        )
        if (
            self._declaration.shutdown_delay is None
            and self._has_asgi_component
            and load_result.source_context.mode == "kubernetes"
        ):
            self.shutdown.delay = self._declaration.timings.kubernetes_shutdown_delay
        await runner.start_resources(deadline, self._declaration.startup_timeout)
        await runner.start_services()
        await anyio.lowlevel.checkpoint_if_cancelled()
        if runner.failure is not None:
            raise runner.failure
        self.states.transition(State.READY)
        self._tasks_before = open_tasks()
        log_messages.log_ready(self.states.timeline.elapsed, self.store.versions)
        if self._declaration.watch or self.pipeline.sources_due < math.inf:
            # While main waits: a main that ends at once needs none of its modules.
            self._later.start()
        self.shutdown.prepare()

    async def _begin_starting(self, load_result: LoadResult) -> None:
        """Leave LOADING: the secrets and the config are valid."""
        log_messages.log_notes(load_result.notes)
        # A stop that was requested meanwhile cancels here, before STARTING.
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.store.accept(load_result)
        if self._declaration.unset_env:
            self._redaction.unset_environ(load_result.field_index.by_variable)
        applications.register(self.store)
        self.states.transition(State.STARTING)
        await self.runner.start_watchdog()

    @asynccontextmanager
    async def active(self) -> AsyncIterator[None]:
        """Start for the block, and stop at its end.

        Raises:
            Exception: as :meth:`start`, or the failure of a component; several are raised as a
                group.
        """
        raised: BaseException | None = None
        try:
            await self.start()
            yield
        except BaseException as exc:
            raised = exc
            if isinstance(exc, SystemExit) and not isinstance(exc.code, int | None):
                # Python writes this text to stderr itself, without calling any hook.
                exc.code = redact(str(exc.code))
            raise
        finally:
            # The failure is reported later, by the caller. A cancelled task only receives
            # CancelledError; it cannot see the original failure.
            failures = await self.stop(keep_redacting=self._owns_process or raised is not None)
            _raise_failures(raised, failures)

    async def stop(self, *, keep_redacting: bool) -> list[BaseException]:
        """Stop everything that has started, in whichever state the run is.

        Args:
            keep_redacting: whether redaction continues, because the caller still has to report
                a failure.

        Returns:
            The failures: the one that ended the run, and those of the stop.
        """
        runner = self.runner
        failures: list[BaseException] = []
        self.pipeline.stop_waiting()
        try:
            if self.is_orphaned:
                # A forked child, or another loop, has none of the tasks.
                if self.reloader is not None:
                    self.reloader.abandon()
                self._later.abandon()
                runner.abandon()
                return []
            cancelled = await run_shielded(partial(self._unwind, failures))
            if cancelled is not None:
                failures.append(cancelled)
            if runner.failure is not None:
                failures.insert(0, runner.failure)
            if self.states.started and keep_redacting:
                log_messages.log_stopped(time.monotonic() - self.shutdown.requested_at)
        finally:
            applications.unregister(self.store)
            self._log.__exit__(None, None, None)
            misuse_warnings.owners.discard(self._redaction)
            self._redaction.close(linger=keep_redacting or bool(failures))
        return failures

    async def _unwind(self, failures: list[BaseException]) -> None:
        """Stop what has started, in reverse order, and collect the failures."""
        runner = self.runner
        self.shutdown.begin_stop()
        failures += await runner.stop_services()
        if self._owns_process:
            await self._finish_tasks()
        await self._later.stop()
        if self.reloader is not None:
            await self.reloader.stop()
        failures += await runner.stop_resources()
        await runner.end()
        if self._owns_process:
            log_messages.log_cut_off(map(task_name, open_tasks()))

    async def _finish_tasks(self) -> None:
        """Wait for the tasks that the application has started, and for those that they start."""
        left = (self.shutdown.deadline - time.monotonic()) * STOP_BUDGET_SHARE
        end = time.monotonic() + min(self._declaration.finish_tasks, left)
        while (left := end - time.monotonic()) > 0:
            self._finishing = open_tasks() - self._tasks_before
            if not self._finishing:
                return
            await wait_for_tasks(self._finishing, left)
        self._finishing = set()

    def _describe_tasks(self) -> list[str]:
        """Return a line for each task that the stop waits for."""
        from hive_boot.lifecycle.forced_exit import describe_work  # only a hang needs it

        tasks = sorted(self._finishing, key=task_name)
        return [describe_work(f"the task {task_name(each)}", each.get_coro()) for each in tasks]

    @property
    def ready(self) -> bool:
        """Whether the run is ready, also during a reload."""
        return self.states.state in SERVING

    @property
    def state(self) -> State:
        """State of the run."""
        return self.states.state

    @property
    def accepts_nested_lifespan(self) -> bool:
        """Whether the lifespan of the served application can join this run."""
        starts_last = self._has_asgi_component and self.runner.only_asgi_component_pending
        return (self.ready or starts_last) and self._is_here and not self.is_orphaned

    @property
    def _is_here(self) -> bool:
        """Whether the caller is in the event loop of the run."""
        return anyio.lowlevel.current_token().native_token is self._loop

    @property
    def how_to_share(self) -> str:
        """Sentences for a caller that cannot start a second run."""
        if self._is_here:
            return (
                "Inside the block of boot.running(), and under boot.run() and boot.serve(), use "
                "boot.secrets. A second run can start when this one has ended."
            )
        return (
            "It runs in another event loop. TestClient(app) starts the application itself, so use "
            "it without boot.running(); or beside boot.running() use "
            "httpx.AsyncClient(transport=httpx.ASGITransport(app))."
        )

    @property
    def request_state(self) -> dict[str, Any]:
        """Content of ``request.state``: the secrets, the settings, the resources by name.

        Of a resource that can be rebuilt it has the handle.
        """
        resources = {
            name: self._handles[name] if name in self.bound.rebuilds else self.resource_value(name)
            for name in self.bound.resources
        }
        return {**resources, "secrets": self.store.view, "config": self.store.config}

    def lease_for_request(self) -> AbstractContextManager[Callable[[], dict[str, Any]]] | None:
        """Return a block in which no instance is stopped that is in use; None if none ever is.

        It yields a function that returns the values of the resources that can be rebuilt.
        """
        rebuilds = self.bound.rebuilds
        if not rebuilds or (manager := self.runner.resources) is None:
            return None
        return manager.lease_all(rebuilds, holds=threading.get_ident() == self._thread_id)

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that started the run."""
        return os.getpid() != self._pid

    @property
    def is_orphaned(self) -> bool:
        """Whether nothing will stop the run: its process or its event loop is another one."""
        is_closed = getattr(self._loop, "is_closed", bool)
        return self.forked or is_closed()

    def request_stop(self, reason: str) -> None:
        """Log the reason, and request a stop; may be called in any thread.

        Raises:
            LifecycleError: the run belongs to another process, or its event loop is closed.
        """
        if self.is_orphaned:
            raise LifecycleError("the run belongs to another process, or its event loop is closed")
        if self.shutdown.stopping.is_set():
            return
        log_messages.log_stop_requested(reason)
        if threading.get_ident() == self._thread_id:
            self.shutdown.request()
        else:
            self._soon(self.shutdown.request)

    def set_reload_state(self, state: State) -> None:
        """Enter READY or RELOADING, unless the run is stopping."""
        if self.ready and self.state is not state:
            self.states.transition(state)

    def injection_context(
        self, secrets: S | None = None, config: object = None
    ) -> InjectionContext:
        """Return the values for the parameters of declared functions.

        Args:
            secrets: a candidate. Default: the live set.
            config: the config of a candidate. Default: the config in use.
        """
        known = {
            "secrets": self.store.view if secrets is None else secrets,
            "config": self.store.config if config is None else config,
            "boot": self._boot,
            **{f"{name}.handle": handle for name, handle in self._handles.items()},
        }
        return InjectionContext(known, self.resource_value)

    def resource_value(self, resource: str) -> object:
        """Return the value of a resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        if self.runner.resources is None:
            raise LifecycleError(f"The resource {resource} is not running.")
        return self.runner.resources.value(resource)

    def lease(self, resource: str) -> AbstractContextManager[Any]:
        """Return a block for which an instance is not stopped, and which yields its value.

        Raises:
            LifecycleError: the resource is not running, or this is not the event loop that started
                the application.
        """
        if self.runner.resources is None:
            return nullcontext(self.resource_value(resource))  # which raises
        if threading.get_ident() != self._thread_id:
            message = f"{resource}.use() has to be entered in the loop that started the application"
            raise LifecycleError(message)
        return self.runner.resources.lease(resource)

    async def reload(self, *, now: bool) -> Change | None:
        """Load everything again now.

        Raises:
            ProblemsError: the new set is rejected; the last good set stays in use.
            LifecycleError: this process was forked from the one that started the run, or this
                is not the event loop that started it.
        """
        if self.forked:
            raise LifecycleError("a forked child keeps the secrets that it was born with")
        if not self._is_here:
            message = "reload() has to be awaited in the loop that started the application"
            raise LifecycleError(message)
        reloader = self._get_reloader()
        reloader.start()
        return await reloader.reload(now=now)

    def request_reload(self) -> None:
        """Request a reload without waiting for it; called in the event loop."""
        if not self.ready:
            return
        reloader = self._get_reloader()
        reloader.start()
        reloader.request_reload(on_demand=True)

    async def _start_reloader(self) -> None:
        if self.ready and not self.forked:
            self._get_reloader().start()

    def _get_reloader(self) -> Reloader:
        """Return the reloader; the first call creates it."""
        if self.reloader is None:
            from hive_boot.runtime.reload import Reloader  # many never rotate
            from hive_boot.runtime.rotation import Rebuilder  # many never rotate

            rebuilder = Rebuilder(
                self.store,
                self.bound,
                self.runner,
                stopping=self.shutdown.stopping,
                injection_context=self.injection_context,
                startup_timeout=self._declaration.startup_timeout,
                stop_timeout=self._declaration.timings.old_resource_stop_timeout,
            )
            self.reloader = Reloader(
                self.store,
                self.pipeline,
                self.bound.hooks,
                injection_context=self.injection_context,
                rebuilder=rebuilder,
                set_reload_state=self.set_reload_state,
                on_exit=partial(self.runner.report_failure, "rotation hook"),
                context=self._context,
                timings=self._declaration.timings,
                watched=self._declaration.field_index if self._declaration.watch else None,
            )
        return self.reloader


def _raise_failures(raised: BaseException | None, failures: Sequence[BaseException]) -> None:
    """Raise the failures of a run, together with the exception of its block.

    A cancellation of the block is replaced by the failures that caused it.
    """
    cancelled = [failure for failure in failures if is_cancellation(failure)]
    failures = [each for each in failures if each is not raised and each not in cancelled]
    if not failures:
        # A cancellation that arrived during the stop must reach the caller.
        if cancelled and raised is None:
            raise cancelled[0]
        return
    if raised is not None and not is_cancellation(raised):
        failures.insert(0, raised)
    raise combine(failures) from None


class RunningBlock(AbstractAsyncContextManager[S]):
    """Context manager of ``boot.running()``, which reports that ``async with`` is missing.

    Args:
        start: returns the context manager of a run.
        resources: whether resources, and what may need one, are part of the run.
    """

    _is_used = False

    def __init__(
        self, start: Callable[..., AbstractAsyncContextManager[Run[S, Any]]], *, resources: bool
    ) -> None:
        self._block = _run_block(start, resources=resources)

    async def __aenter__(self) -> S:
        if self._is_used:
            raise LifecycleError("Each block needs a new call: `async with boot.running()`.")
        self._is_used = True
        return await self._block.__aenter__()

    async def __aexit__(self, *exc_info: object) -> bool | None:
        return await self._block.__aexit__(*exc_info)  # type: ignore[arg-type]

    def __enter__(self) -> NoReturn:
        self._is_used = True
        raise LifecycleError(_HOW_TO_RUN)

    __await__ = __enter__

    def __exit__(self, *exc_info: object) -> None:
        """Exist, so that a ``with`` block calls ``__enter__``."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(_HOW_TO_RUN)

    def __del__(self) -> None:
        if not self._is_used:
            warnings.warn(_HOW_TO_RUN, RuntimeWarning, stacklevel=2)


@asynccontextmanager
async def _run_block(
    start: Callable[..., AbstractAsyncContextManager[Run[S, Any]]], *, resources: bool
) -> AsyncIterator[S]:
    block = CancellableBlock()
    more: dict[str, Any] = {} if resources else {"resources": False, "listeners": ()}
    async with start(cancel=block.cancel, **more) as run:
        with block:
            yield run.store.view


_HOW_TO_RUN = "boot.running() starts nothing by itself. Write `async with boot.running()`."
