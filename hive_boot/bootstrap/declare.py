"""The declaration of an application. Declaring starts nothing and reads nothing.

Whatever needs a loop is imported when a run begins: a module that declares an
application is imported by tools that never start it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from hive_boot.bootstrap.refusals import validate_backend
from hive_boot.bootstrap.registry import C, Registry, S
from hive_boot.bootstrap.wiring import bind
from hive_boot.exceptions import DeclarationError, IllegalTransitionError, LifecycleError
from hive_boot.lifecycle.states import State
from hive_boot.redaction.hidden import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from hive_boot.bootstrap.run import Listener, Run
    from hive_boot.bootstrap.status import Status
    from hive_boot.secrets.change import Change
    from hive_boot.secrets.value import Secret, SecretBytes


class Application(Registry[S, C]):
    """What can be started: each start makes a fresh run, one at a time."""

    _inspection_only = False
    """Whether a tool imports what declares it, so that nothing may start."""

    _run: Run[S, C] | None = None

    def run(self, *, backend: str = "asyncio") -> NoReturn:
        """Own the process: start, run main, stop, exit.

        The first SIGTERM or SIGINT stops in order, after ``drain`` seconds; the second ends
        the process at once. What has not stopped a second after ``stop_timeout`` is named,
        and left behind: exit 70.

        Args:
            backend: ``asyncio``, ``uvloop`` (asyncio on uvloop, which has to be installed)
                or ``trio``.

        Raises:
            SystemExit: always. 0, or what main returned; 70 when main or a part has failed,
                or the declaration is wrong; 78 when secrets or settings are, after a report
                on stderr; 128 + n after a second signal, and after the first when main
                ``must_finish``.
        """
        from hive_boot.bootstrap.process import run_process  # noqa: PLC0415  (no tool needs it)

        self._forbid_start_in_inspection("run")
        start = partial(self._running, own=True)
        raise SystemExit(
            run_process(
                lambda: self._resolve_main(backend),
                start,
                backend,
                must_finish=self._declaration.must_complete,
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[S]:
        """Start, give the live secrets, and stop at the end of the block.

        When a part or a service fails for good, the block is cancelled.

        Raises:
            InvalidSecrets: secrets or settings are wrong; ``str()`` is the report.
            StartupFailed: a part could not start; several come as a group.
            ShutdownTimeout: a part has not stopped in time.
            IllegalTransition: it is running already.
            Exception: what a part, or a service that has spent its budget, has raised.
        """
        from hive_boot.lifecycle.bodies import CancellableBlock  # noqa: PLC0415  (it needs a loop's library)

        async with self._running() as run:
            with CancellableBlock() as body:
                run.runner.on_fatal_error = body.cancel
                yield run.store.view

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG002  (servers pass it)
        """Be the lifespan of an ASGI application: ``FastAPI(lifespan=boot.lifespan)``.

        Inside a running run it only joins it. When a part or a service fails for good, the
        server is told to end by SIGTERM.

        Args:
            app: the application; it is not used.

        Yields:
            The live secrets, the settings, and the parts by name, for ``request.state``.

        Raises:
            InvalidSecrets: secrets or settings are wrong: the server does not serve.
            StartupFailed: a part could not start: the server does not serve.
            IllegalTransition: it is starting or stopping at this moment.
        """
        from hive_boot.lifecycle.signals import terminate_self  # noqa: PLC0415  (many have no server)

        if self._run is not None and self._run.accepts_nested_lifespan:
            yield self._run.request_state
        else:
            async with self._running() as run:
                run.runner.on_fatal_error = terminate_self
                yield run.request_state

    @property
    def secrets(self) -> S:
        """The live secrets of the running application.

        Raises:
            LifecycleError: it is not running.
        """
        return self._current().store.view

    @property
    def config(self) -> C:
        """The settings of the running application.

        Raises:
            LifecycleError: it is not running.
        """
        config: C = self._current().config
        return config

    def accepted(self, attribute: str) -> tuple[Secret | SecretBytes, ...]:
        """Give every value of a secret that is valid now, the current one first.

        A rotated value is in here at once, and in use after the field's ``lead``; the one
        that it replaces stays in here for the field's ``grace`` after that.

        Args:
            attribute: the field of the SecretSet.

        Raises:
            DeclarationError: no such field is declared.
            LifecycleError: it is not running.
        """
        if attribute not in self._fields:
            message = f"{self._declaration.declared.__name__} declares no {attribute}"
            del attribute
            raise DeclarationError(message)
        return self._current().store.accepted(attribute)

    async def reload(self, *, now: bool = False) -> Change | None:
        """Read everything again, and use what has changed.

        It does what a changed file does by itself with ``watch=True``. When it returns
        the new values are in use, and the hooks are about to be called.

        Args:
            now: use new values at once, whatever ``lead`` their fields have, because an
                old one has leaked. Default False.

        Returns:
            What has changed in the values in use; None when nothing has.

        Raises:
            InvalidSecrets: what was read is refused; the last good set stays in use.
            LifecycleError: it is not running, or not in this process and this loop; or a
                check of a rotation asks.
        """
        run = self._current()
        if not run.ready:
            message = f"{self!r} is stopping"
            raise LifecycleError(message)
        return await run.reload(now=now)

    def status(self) -> Status:
        """Describe the application at this moment, without any value."""
        from hive_boot.bootstrap.status import Status, build_status  # noqa: PLC0415  (few ask)

        return Status() if self._run is None else build_status(self._run)

    @asynccontextmanager
    async def _running(
        self,
        on_run_created: Callable[[Run[S, C]], object] = lambda _: None,
        *,
        owns_process: bool = False,
        **more: Any,  # noqa: ANN401  (what a run takes)
    ) -> AsyncIterator[Run[S, C]]:
        """Be one run.

        Args:
            on_run_created: called with the run before it starts.
            owns_process: whether the process ends with it.
            more: as for :class:`Run`.
        """
        from hive_boot.bootstrap.run import Run  # noqa: PLC0415  (it needs a loop's library)

        if self._run is not None and self._run.is_orphaned:
            self._run.abandon()
            self._run = None
        if self._run is not None:
            raise IllegalTransitionError(self._run.state, "start")
        more.setdefault("doors", self._listeners())
        run = self._run = Run(self._declaration, self._injectables(), self, **more)
        on_run_created(run)
        raised: BaseException | None = None
        try:
            await run.start()
            yield run
        except BaseException as exc:
            raised = exc
            if isinstance(exc, SystemExit) and not isinstance(exc.code, int | None):
                # Python writes this text itself, and asks nobody.
                exc.code = redact(str(exc.code))
            raise
        finally:
            # What went wrong is told by others, and later. Who is cancelled does not know
            # what it was.
            try:
                failures = await run.stop(keep_redacting=owns_process or raised is not None)
            finally:
                if self._run is run:
                    self._run = None
            _raise_failures(raised, failures)

    def _forbid_start_in_inspection(self, method: str) -> None:
        """Refuse to own the process of a tool that only imports what is declared.

        Raises:
            DeclarationError: this is one.
        """
        if self._inspection_only:
            message = (
                f"boot.{method}() is called when the module is imported: it belongs below "
                '`if __name__ == "__main__":`'
            )
            raise DeclarationError(message)

    def _listeners(self) -> Sequence[tuple[str, Listener]]:
        """Give what answers from outside while it runs."""
        return ()

    @property
    def _state(self) -> State:
        return State.ARMED if self._run is None else self._run.state

    def _resource_value(self, part: str) -> object:
        if self._run is None:
            message = f"the part {part} is not running"
            raise LifecycleError(message)
        return self._run.resource_value(part)

    def _current(self) -> Run[S, C]:
        """Give the run, from its first READY to its end: a drain still serves."""
        if self._run is None or not self._run.runner.started:
            message = f"{self!r} is not running"
            raise LifecycleError(message)
        return self._run

    def _resolve_main(self, backend: str) -> Callable[[Run[S, C]], Coroutine[Any, Any, object]]:
        """Give what calls main with the values that its parameters ask for."""
        validate_backend(backend)
        main = self._declaration.main
        if main is None:
            message = f"{self!r} has no main: decorate an async def with @boot.main"
            raise DeclarationError(message)
        wired = bind(main, self._injectables())
        return lambda run: wired(run.injection_context(run.store.view))


def _raise_failures(raised: BaseException | None, failures: Sequence[BaseException]) -> None:
    """Raise what a run has failed with, beside what its body raises anyway.

    Who was cancelled is told the reason instead.
    """
    from hive_boot.lifecycle.failures import combine, is_cancellation  # noqa: PLC0415  (as above)

    cancelled = [failure for failure in failures if is_cancellation(failure)]
    failures = [each for each in failures if each is not raised and each not in cancelled]
    if not failures:
        # Who is cancelled while all stops has to hear of it.
        if cancelled and raised is None:
            raise cancelled[0]
        return
    if raised is not None and not is_cancellation(raised):
        failures.insert(0, raised)
    raise combine(failures) from None
