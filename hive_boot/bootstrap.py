"""Bootstrap: the public declaration of an application, and its entry points."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    NoReturn,
    Protocol,
    TypeVar,
    overload,
)

from hive_boot.exceptions import DeclarationError, IllegalTransitionError, LifecycleError
from hive_boot.lifecycle.states import State
from hive_boot.redaction.registry import redact
from hive_boot.runtime.declarations import (
    AppDeclaration,
    CheckSpec,
    ResourceSpec,
    RotationHook,
    TaskSpec,
    forbid_main_with_serve,
    require_async,
    require_single_main,
    require_unique_name,
    validate_backend,
    validate_field_names,
    validate_resource,
    validate_seconds,
    validate_service,
)
from hive_boot.runtime.injection import Injectables, bind
from hive_boot.secrets.platform import Mode, SourceOptions, StrPath, StrPaths
from hive_boot.secrets.secret_set import SecretSet

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Coroutine,
        Mapping,
        Sequence,
    )
    from typing import Concatenate, Self

    from typing_extensions import TypeVar as TypeVarWithDefault

    from hive_boot.runtime.load_pipeline import DryRunResult
    from hive_boot.runtime.run import Listener, Run
    from hive_boot.runtime.status import Status
    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.value import Change, Secret, SecretBytes
    from hive_boot.serving.endpoints import App

T = TypeVar("T")


class ResourceHandle(Generic[T]):
    """A resource, for those who ask for its value while the application runs.

    ``await handle()`` gives it, and so does FastAPI's ``Depends(handle)``.

    Attributes:
        fn: the decorated function, for tests.
        name: what functions of the application ask for it by.
    """

    def __init__(self, fn: Callable[..., Any], boot: Any) -> None:  # noqa: ANN401  (it is above)
        self.fn = fn
        self.name: str = fn.__name__
        self._boot = boot
        self.__doc__ = fn.__doc__

    @property
    def value(self) -> T:
        """The running value.

        Raises:
            LifecycleError: the resource is not running.
        """
        value: T = self._boot._resource_value(self.name)  # noqa: SLF001  (ours)
        return value

    async def __call__(self) -> T:
        """Give the running value.

        Raises:
            LifecycleError: the resource is not running.
        """
        return self.value

    def __repr__(self) -> str:
        return f"<resource {self.name}>"


class ResourceDecorator(Protocol):
    """What ``@boot.resource(timeout=...)`` is."""

    @overload
    def __call__(
        self, function: Callable[..., AsyncGenerator[T, None]], /
    ) -> ResourceHandle[T]: ...
    @overload
    def __call__(self, function: Callable[..., AsyncIterator[T]], /) -> ResourceHandle[T]: ...
    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> ResourceHandle[T]: ...
    def __call__(self, function: Callable[..., Any], /) -> ResourceHandle[Any]: ...  # noqa: D102  (it is called by an @)


S = TypeVar("S", bound=SecretSet)


if TYPE_CHECKING:
    C = TypeVarWithDefault("C", default=None)
else:
    C = TypeVar("C")


MainFunction = TypeVar("MainFunction", bound="Callable[..., Coroutine[Any, Any, int | None]]")


TaskFunction = TypeVar("TaskFunction", bound="Callable[..., Coroutine[Any, Any, object]]")


CheckFunction = TypeVar("CheckFunction", bound="Callable[..., Coroutine[Any, Any, bool | None]]")


HookFunction = TypeVar(
    "HookFunction", bound="Callable[Concatenate[Change, ...], Coroutine[Any, Any, object]]"
)


class Bootstrap(Generic[S, C]):
    """The declaration of an application, typed by its secrets and its settings.

    Each start makes a fresh run, so one Bootstrap can be started many times, one
    run at a time.

    Args:
        secrets: the declared :class:`SecretSet`.
        config: makes the settings that are not secret, once for each run: a
            pydantic-settings class, or any callable. What it raises is reported
            together with the problems of the secrets.
        watch: take up changed files while the application runs. Default False.
        mode: where secrets come from: ``kubernetes``, ``systemd``, ``docker``,
            ``environment`` or ``development``. Default: ``HIVE_BOOT_MODE``, else
            detected.
        profile: how strict the declaration is read: ``development``, ``test``,
            ``staging`` or ``production``. Default: ``HIVE_BOOT_PROFILE``, else
            decided.
        secrets_dirs: the mounted directory, or several. Default:
            ``HIVE_BOOT_SECRETS_DIR``, else ``/run/secrets`` and the volumes in it.
        dotenv: the ``.env`` file that development mode reads; the same path with
            ``.local`` is stronger. Default: ``.env`` in the working directory.
        env_fallback: take from the environment what a mounted mode does not find
            in its directories. Default False.
        unset_env: take the variables of the declared secrets out of
            ``os.environ`` as soon as they are read, so that child processes do not
            inherit them; they are put back when the run ends. What the process was
            started with stays in ``/proc/<pid>/environ``. Default False.
        wait: seconds that a start waits for files that are missing in mounted
            directories, because a sidecar has yet to write them. Default 0.
        probe_port: where ``/livez``, ``/readyz`` and the other endpoints are answered, from
            before the first read until the end, for workers without HTTP. 0 for any port
            that is free. Default: nowhere.
        startup_timeout: seconds that the checks and the resources of a start, or the checks of a
            rotation, may take in all. Default 30.
        drain: seconds between the first signal and the stop, in which it goes on serving
            and is not ready. Default: 5 under ``serve`` in kubernetes mode, else 0.
        shutdown_timeout: seconds that the stop may take in all, after the drain. Default 8:
            Docker kills after 10.

    Raises:
        DeclarationError: ``secrets`` is no SecretSet, ``config`` cannot be called,
            the mode or the profile is unknown, or a number is none.
    """

    _inspection_only = False
    """Whether a tool imports what declares it, so that nothing may start."""

    _run: Run[S, C] | None = None

    def __init__(  # noqa: PLR0913  (each is a promised name, and none has to be given)
        self,
        secrets: type[S],
        *,
        config: Callable[..., C] | None = None,
        watch: bool = False,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        env_file: StrPath | None = None,
        env_fallback: bool = False,
        unset_env: bool = False,
        probe_port: int | None = None,
        wait_for_files: float = 0.0,
        startup_timeout: float = 30,
        shutdown_delay: float | None = None,
        shutdown_timeout: float = 8,
    ) -> None:
        source_options = SourceOptions(
            mode=mode,
            profile=profile,
            secrets_dirs=secrets_dirs,
            env_file=env_file,
            env_fallback=env_fallback,
        )
        self._declaration = AppDeclaration(
            secrets,
            config,
            source_options,
            watch=watch,
            wait_for_files=wait_for_files,
            startup_timeout=startup_timeout,
            unset_env=unset_env,
            probe_port=probe_port,
            shutdown_delay=shutdown_delay,
            shutdown_timeout=shutdown_timeout,
        )

    def __class_getitem__(cls, parameters: Any) -> Any:  # noqa: ANN401  (as Generic's own)
        # A type variable has a default since Python 3.13 only, and type checkers know it here.
        given = parameters if isinstance(parameters, tuple) else (parameters, type(None))
        return super().__class_getitem__(given)  # type: ignore[misc]

    def __repr__(self) -> str:
        # A frame of __init__ is shown, too, when it has refused its arguments.
        declaration = vars(self).get("_declaration")
        return f"Bootstrap({declaration.declared.__name__ if declaration else ''})"

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> Never:
        message = f"{self!r} cannot be pickled: it is this process's"
        raise TypeError(message)

    @overload
    def main(self, function: MainFunction, /) -> MainFunction: ...
    @overload
    def main(self, /, *, must_complete: bool) -> Callable[[MainFunction], MainFunction]: ...
    def main(self, function: Any = None, /, *, must_complete: bool = False) -> Any:
        """Register the application's main; it is called when everything is ready.

        Its parameters are filled by their names, with the resources of these names, and by
        their types: the SecretSet, the class of the settings, Bootstrap.

        Args:
            function: an ``async def``. What it returns is the exit status; None
                is 0.
            must_complete: whether a stop by a signal before its end is no success: the exit
                status is then 128 + n, as a Kubernetes Job needs it. Default False.

        Raises:
            DeclarationError: it is not async, or there is a main already.
        """

        def register(function: MainFunction) -> MainFunction:
            require_async("@boot.main", function)
            require_single_main(self._declaration.main)
            self._declaration.main, self._declaration.must_complete = function, must_complete
            return function

        return register if function is None else register(function)

    @overload
    def resource(
        self, function: Callable[..., AsyncGenerator[T, None]], /
    ) -> ResourceHandle[T]: ...
    @overload
    def resource(self, function: Callable[..., AsyncIterator[T]], /) -> ResourceHandle[T]: ...
    @overload
    def resource(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> ResourceHandle[T]: ...
    @overload
    def resource(self, /, *, timeout: float) -> ResourceDecorator: ...
    def resource(self, function: Any = None, /, *, timeout: float | None = None) -> Any:
        """Register a resource: what is started before main, and stopped after it.

        It is started when the resources are there that its parameters name, side by side with
        those that do not need each other, and stopped in reverse. Its own parameters are
        filled as those of :meth:`main`.

        Args:
            function: an ``async def`` with one ``yield``: what stands above it starts the
                resource, what it yields is the value, what stands below it stops the resource. Or
                one without, which returns the value and has nothing to stop.
            timeout: seconds that its start, and its stop, may take, within
                ``startup_timeout`` and ``shutdown_timeout``. Default: no bound of its own.

        Returns:
            A handle: ``handle.value`` is the running value, ``handle.fn`` the function.

        Raises:
            DeclarationError: it is not async, or there is a resource of this name already.
        """
        if timeout is not None:
            validate_seconds("timeout=", timeout)

        def register(function: Callable[..., Any]) -> ResourceHandle[Any]:
            validate_resource(function, self._declaration.resources)
            handle: ResourceHandle[Any] = ResourceHandle(function, self)
            self._declaration.resources[handle.name] = ResourceSpec(function, timeout)
            return handle

        return register if function is None else register(function)

    @overload
    def service(self, function: TaskFunction, /) -> TaskFunction: ...
    @overload
    def service(
        self,
        /,
        *,
        restart: Literal["never", "on-failure"] = "on-failure",
        max_restarts: int = 5,
        restart_window: float = 60,
    ) -> Callable[[TaskFunction], TaskFunction]: ...
    def service(
        self,
        function: Any = None,
        /,
        *,
        restart: Literal["never", "on-failure"] = "on-failure",
        max_restarts: int = 5,
        restart_window: float = 60,
    ) -> Any:
        """Register a service: work in the background, from READY to the stop.

        One that fails is started again, after a jittered pause that grows from 0.1 to 30 s.
        One that has spent its budget ends the application. One that returns has done its
        work. Its parameters are filled as those of :meth:`main`.

        Args:
            function: an ``async def``; it is cancelled when the application stops.
            restart: ``on-failure`` or ``never``. Default ``on-failure``.
            max_restarts: how many times it is started again within ``restart_window``. Default 5.
            restart_window: seconds. Default 60.

        Raises:
            DeclarationError: it is not async, there is a service of this name already, or a
                number is none.
        """
        validate_service(restart, max_restarts)
        validate_seconds("restart_window=", restart_window)

        def register(function: TaskFunction) -> TaskFunction:
            require_async("@boot.service", function)
            require_unique_name(function, [service.work for service in self._declaration.services])
            again = restart == "on-failure"
            self._declaration.services.append(
                TaskSpec(function, again, max_restarts, restart_window)
            )
            return function

        return register if function is None else register(function)

    @overload
    def check(self, function: CheckFunction, /) -> CheckFunction: ...
    @overload
    def check(
        self, /, *names: str, timeout: float | None = None
    ) -> Callable[[CheckFunction], CheckFunction]: ...
    def check(self, /, *names: Any, timeout: float | None = None) -> Any:
        """Register what judges a set before it is used, at a start and at each rotation.

        A parameter annotated with the SecretSet is given the set that is judged; the
        others are filled as those of :meth:`main`, but there are no resources yet. Checks run
        side by side, after those of the fields and of the set.

        It passes by True or None, and refuses by False, or by what is raised for a wrong
        value: ValueError, TypeError, LookupError, AssertionError and the like. Whatever
        else it raises, and a time that is over, may be the network's fault: at a start it
        is tried again, after 0.1 to 5 s, while ``startup_timeout`` lasts.

        Args:
            names: the fields that it is about; a rotation of others does not call it.
                Default: every one.
            timeout: seconds that one call may take. Default: what the start has left.

        Raises:
            DeclarationError: it is not async, or a field is not declared.
        """
        if timeout is not None:
            validate_seconds("timeout=", timeout)

        def register(function: CheckFunction) -> CheckFunction:
            require_async("@boot.check", function)
            self._declaration.checks.append(CheckSpec(function, frozenset(fields), timeout))
            return function

        fields: tuple[str, ...] = ()
        if len(names) == 1 and not isinstance(names[0], str):
            return register(names[0])
        validate_field_names(names, self._fields, self._declaration.declared.__name__)
        fields = names
        return register

    def on_rotate(self, *names: str, timeout: float = 30) -> Callable[[HookFunction], HookFunction]:
        """Register what is to be done when secrets have changed.

        The decorated ``async def`` takes the :class:`Change` first; its other parameters
        are filled as those of :meth:`main`. Hooks run in the order of their declaration,
        after the new values are in use. One that raises, or takes too long, is called
        again after 1 to 60 s, until it succeeds; the others do not wait for that.

        Args:
            names: the fields that it is about. Default: every one.
            timeout: seconds that one call may take. Default 30.

        Raises:
            DeclarationError: a field is not declared, or it is not async.
        """
        if any(map(callable, names)):
            message = "on_rotate takes the names of fields: write @boot.on_rotate()"
            raise DeclarationError(message)
        validate_field_names(names, self._fields, self._declaration.declared.__name__)
        validate_seconds("timeout=", timeout)

        def register(function: HookFunction) -> HookFunction:
            require_async("@boot.on_rotate()", function)
            self._declaration.hooks.append(RotationHook(function, frozenset(names), timeout))
            return function

        return register

    def run(self, *, backend: str = "asyncio") -> NoReturn:
        """Own the process: start, run main, stop, exit.

        The first SIGTERM or SIGINT stops in order, after ``shutdown_delay`` seconds; the second
        ends the process at once. What has not stopped a second after ``shutdown_timeout`` is
        named, and left behind: exit 70.

        Args:
            backend: ``asyncio``, ``uvloop`` (asyncio on uvloop, which has to be installed)
                or ``trio``.

        Raises:
            SystemExit: always. 0, or what main returned; 70 when main or a resource has failed,
                or the declaration is wrong; 78 when secrets or settings are, after a report
                on stderr; 128 + n after a second signal, and after the first when main
                ``must_complete``.
        """
        from hive_boot.runtime.process import run_process  # noqa: PLC0415  (no tool needs it)

        self._forbid_start_in_inspection("run")
        start = partial(self._running, owns_process=True)
        raise SystemExit(
            run_process(
                lambda: self._resolve_main(backend),
                start,
                backend,
                must_complete=self._declaration.must_complete,
            )
        )

    def serve(
        self,
        app: App,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        server: str = "uvicorn",
        backend: str = "asyncio",
    ) -> NoReturn:
        """Own the process, and serve an ASGI application in it.

        The socket is open before anything is read: ``/livez``, ``/readyz`` and ``/startupz``
        are answered from then on, and everything else by 503 until the application is
        ready. Its own lifespan is run as the last resource. At the first SIGTERM ``/readyz``
        turns 503; for ``shutdown_delay`` seconds connections are accepted still; then what is in
        flight ends, and the resources stop.

        Args:
            app: the application; ``lifespan=boot.lifespan`` in it only joins this run.
            host: the address to listen on. Default: this machine alone.
            port: the port; 0 for any that is free.
            server: ``uvicorn``, on asyncio, or ``hypercorn``.
            backend: as for :meth:`run`.

        Raises:
            SystemExit: always, as :meth:`run` does.
        """
        from hive_boot.runtime.process import run_process  # noqa: PLC0415  (no tool needs it)
        from hive_boot.serving.servers import HttpService  # noqa: PLC0415  (many serve elsewhere)

        serving = HttpService(
            app,
            host,
            port,
            status=self.status,
            phase=lambda: self._state,
            timings=self._declaration.timings,
        )

        def arm() -> Callable[[Run[S, C]], Coroutine[Any, Any, object]]:
            validate_backend(backend)
            forbid_main_with_serve(self._declaration.main)
            serving.select_server(server, backend)
            return serving.wait_until_stopped

        self._forbid_start_in_inspection("serve")
        start = partial(
            self._running,
            owns_process=True,
            listeners=[*self._listeners(), ("the HTTP server", serving.start_listening)],
            asgi_component=serving.lifespan,
            serves=True,
        )
        raise SystemExit(run_process(arm, start, backend))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[S]:
        """Start, give the live secrets, and stop at the end of the block.

        When a resource or a service fails for good, the block is cancelled.

        Raises:
            InvalidSecretsError: secrets or settings are wrong; ``str()`` is the report.
            StartupError: a resource could not start; several come as a group.
            ShutdownTimeoutError: a resource has not stopped in time.
            IllegalTransitionError: it is running already.
            Exception: what a resource, or a service that has spent its budget, has raised.
        """
        from hive_boot.lifecycle.tasks import CancellableBlock  # noqa: PLC0415  (it needs a loop's library)

        async with self._running() as run:
            with CancellableBlock() as body:
                run.runner.on_fatal_error = body.cancel
                yield run.store.view

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG002  (servers pass it)
        """Be the lifespan of an ASGI application: ``FastAPI(lifespan=boot.lifespan)``.

        Inside a running run it only joins it. When a resource or a service fails for good, the
        server is told to end by SIGTERM.

        Args:
            app: the application; it is not used.

        Yields:
            The live secrets, the settings, and the resources by name, for ``request.state``.

        Raises:
            InvalidSecretsError: secrets or settings are wrong: the server does not serve.
            StartupError: a resource could not start: the server does not serve.
            IllegalTransitionError: it is starting or stopping at this moment.
        """
        from hive_boot.lifecycle.signals import terminate_self  # noqa: PLC0415  (many have no server)

        if self._run is not None and self._run.accepts_nested_lifespan:
            yield self._run.request_state
        else:
            async with self._running() as run:
                run.runner.on_fatal_error = terminate_self
                yield run.request_state

    def asgi(self, app: App) -> App:
        """Wrap an ASGI application, as its outermost layer, for any server.

        Its lifespan starts this application first, and it answers ``/livez``, ``/readyz``
        and ``/startupz``. A failed start is a failed start-up of the server.

        Args:
            app: the application to wrap.
        """
        from hive_boot.serving.asgi import LifespanMiddleware  # noqa: PLC0415  (as above)

        return LifespanMiddleware(app, self.lifespan, self.status, phase=lambda: self._state)

    @property
    def probes(self) -> App:
        """The bare ASGI application of all the endpoints, to be mounted where you choose."""
        from hive_boot.serving.endpoints import Endpoints  # noqa: PLC0415  (as above)

        return Endpoints(self.status, self._name)

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

        A rotated value is in here at once, and in use after the field's ``activate_after``; the one
        that it replaces stays in here for the field's ``accept_old_for`` after that.

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
            now: use new values at once, whatever ``activate_after`` their fields have, because an
                old one has leaked. Default False.

        Returns:
            What has changed in the values in use; None when nothing has.

        Raises:
            InvalidSecretsError: what was read is refused; the last good set stays in use.
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
        if self._run is None:
            from hive_boot.runtime.status import Status  # noqa: PLC0415  (few ask)

            return Status()
        from hive_boot.runtime.run import build_status  # noqa: PLC0415  (few ask)

        return build_status(self._run)

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
        from hive_boot.runtime.run import Run  # noqa: PLC0415  (it needs a loop's library)

        if self._run is not None and self._run.is_orphaned:
            self._run.abandon()
            self._run = None
        if self._run is not None:
            raise IllegalTransitionError(self._run.state, "start")
        more.setdefault("listeners", self._listeners())
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

    def _dry_run(self) -> DryRunResult:
        """Load and validate once, as a start would, for commands that inspect an application."""
        from hive_boot.runtime.load_pipeline import dry_run  # noqa: PLC0415  (few ask)

        return dry_run(self._declaration, self._injectables(), self)

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

    @property
    def _state(self) -> State:
        return State.ARMED if self._run is None else self._run.state

    def _resource_value(self, resource: str) -> object:
        if self._run is None:
            message = f"the resource {resource} is not running"
            raise LifecycleError(message)
        return self._run.resource_value(resource)

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

    def _listeners(self) -> Sequence[tuple[str, Listener]]:
        port = self._declaration.probe_port
        if port is None:
            return ()
        from hive_boot.serving.probe_server import serve_probes  # noqa: PLC0415  (as above)

        return [
            (
                "the probe server",
                partial(serve_probes, self.status, self._name, port, self._declaration.timings),
            )
        ]

    @property
    def _name(self) -> str:
        return self._declaration.declared.__name__

    def _injectables(self) -> Injectables:
        """Give what a function of the author's may ask for."""
        injectables: dict[type, str] = {self._declaration.declared: "secrets", type(self): "boot"}
        if isinstance(self._declaration.config_factory, type):
            injectables[self._declaration.config_factory] = "config"
        return Injectables(injectables, self._declaration.resources)

    @property
    def _fields(self) -> Mapping[str, Field]:
        fields: Mapping[str, Field] = self._declaration.declared._field_index.fields  # noqa: SLF001  (ours)
        return fields


def _raise_failures(raised: BaseException | None, failures: Sequence[BaseException]) -> None:
    """Raise what a run has failed with, beside what its body raises anyway.

    Who was cancelled is told the reason instead.
    """
    from hive_boot.lifecycle.tasks import combine, is_cancellation  # noqa: PLC0415  (as above)

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
