"""Bootstrap: the public declaration of an application, and its entry points."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Never, NoReturn, TypeVar, overload

from hive_boot import secrets as applications
from hive_boot.exceptions import BootError, DeclarationError, IllegalTransitionError, LifecycleError
from hive_boot.lifecycle.states import State
from hive_boot.redaction.registry import trim_traceback
from hive_boot.runtime.declarations import (
    AppDeclaration,
    forbid_main_with_serve,
    forbid_unknown_options,
    validate_backend,
)
from hive_boot.runtime.injection import Injectables, ResourceHandle
from hive_boot.secrets.platform import SourceOptions
from hive_boot.secrets.secret_set import SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Concatenate, Self, TypeAlias

    from typing_extensions import TypeVar as TypeVarWithDefault

    from hive_boot.lifecycle.services import RestartPolicy, StopEvent
    from hive_boot.runtime.config import SecretProperty
    from hive_boot.runtime.injection import CheckMoment, ResourceDecorator, Started
    from hive_boot.runtime.loaded import DryRunResult, LoadedApplication
    from hive_boot.runtime.run import Listener, Run
    from hive_boot.runtime.status import Status
    from hive_boot.secrets.platform import Mode, StrPath, StrPaths
    from hive_boot.secrets.sources.external import Source
    from hive_boot.secrets.store import Store
    from hive_boot.secrets.value import Change, Secret, SecretBytes
    from hive_boot.serving.endpoints import App

    RequestLease: TypeAlias = AbstractContextManager[Callable[[], dict[str, Any]]]
    OnStop: TypeAlias = Callable[[], object] | None
    RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...]
    After: TypeAlias = "ResourceHandle[Any] | str | Sequence[ResourceHandle[Any] | str]"

    T = TypeVar("T")
    AsyncAttempt: TypeAlias = Callable[[Any], Coroutine[Any, Any, T]]
    MainFunction = TypeVar("MainFunction", bound="Callable[..., Coroutine[Any, Any, int | None]]")
    TaskFunction = TypeVar("TaskFunction", bound="Callable[..., Coroutine[Any, Any, object]]")
    CheckFunction = TypeVar(
        "CheckFunction", bound="Callable[..., Coroutine[Any, Any, bool | None]]"
    )
    HookFunction = TypeVar(
        "HookFunction", bound="Callable[Concatenate[Change, ...], Coroutine[Any, Any, object]]"
    )


S = TypeVar("S", bound=SecretSet)

if TYPE_CHECKING:
    C = TypeVarWithDefault("C", default=None)
else:
    C = TypeVar("C")


class Bootstrap(Generic[S, C]):
    """The declaration of an application, typed by its secrets and its settings.

    Each start creates a fresh run, so one Bootstrap can be started many times, one run at a time.

    Args:
        secrets: the declared :class:`SecretSet`.
        config: creates the settings: a pydantic-settings class, or any callable that is not async.
            It is called once for each run; a run after :meth:`load` takes the settings over, if
            the secrets are the same. If it has a parameter for the secrets, it is called again
            before each switch to new values, in the event loop, and its failure refuses the
            rotation. An error that it raises at a start is reported together with the problems of
            the secrets. Functions receive the settings by the type of the class, or by the return
            annotation of a function. Default: no settings.
        watch: whether changed files are loaded while the application runs. Default False.
        mode: where secrets come from: ``kubernetes``, ``systemd``, ``docker``, ``environment`` or
            ``development``. Default: ``HIVE_BOOT_MODE``, otherwise detected.
        profile: how strictly the declaration is validated: ``development``, ``test``, ``staging``
            or ``production``. Default: ``HIVE_BOOT_PROFILE``, otherwise chosen by the mode.
        secrets_dirs: the mounted directory, or several; a path that is a file is a bundle of
            several secrets. Default: ``HIVE_BOOT_SECRETS_DIR``, otherwise ``/run/secrets``.
        env_file: the ``.env`` file that development mode reads; the same path with
            ``.local`` takes precedence. Default: ``.env`` in the working directory.
        env_fallback: whether a mounted mode reads from the environment what its
            directories do not contain. Default False.
        unset_env: whether the variables of the declared secrets are removed from
            ``os.environ`` when the first set is accepted, so that child processes do not
            inherit them. They are restored when the run ends. Default False.
            ``/proc/<pid>/environ`` keeps the initial environment.
        sources: objects such as :class:`hive_boot.Source`, for example a client of a secrets
            manager. They are asked in this order, for the names that no file and no variable
            provides. Default: none.
        probe_port: the port on which ``/livez``, ``/readyz`` and the other endpoints are
            answered, from before the first read until the end, for workers without HTTP.
            0 selects a free port. Default: no port.
        probe_host: the address of the probe port, such as ``127.0.0.1`` or ``::1``. Default: all
            interfaces, as a kubelet needs it.
        wait_for_files: seconds that a start waits for files that are missing in mounted
            directories, because a sidecar has not written them yet. Default 0.
        startup_timeout: seconds for the sources of ``sources=``, all checks and resources of a
            start together, and for all checks of a rotation together. Default 30.
        shutdown_delay: seconds between the first signal and the stop, in which the application
            serves and is not ready. Default: 5 under ``serve`` in kubernetes mode, otherwise 0.
        shutdown_timeout: seconds for the whole stop, after the shutdown delay and the grace
            periods. Default 8, because Docker kills after 10.
        finish_tasks: seconds in which asyncio tasks that main, services and requests have started
            may end, after main and services and before resources stop; under :meth:`run` and
            :meth:`serve`. Default 0: they are cancelled when the event loop ends.

    Raises:
        DeclarationError: ``secrets`` is not a SecretSet, ``config`` is not callable,
            or has a parameter that cannot be filled, the mode or the profile is unknown,
            a source or a number is invalid, or an argument has an unknown name.
    """

    _inspection_only = False
    """Whether a tool imports the declaration only to inspect it; then run() and serve() raise."""
    _failed_load: Bootstrap[Any, Any] | None = None
    """The Bootstrap whose load() has ended the import by a tool that inspects it."""
    _run: Run[S, C] | None = None
    _stopping: StopEvent | None = None
    _loaded: LoadedApplication[S] | None = None

    def __init__(
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
        sources: Sequence[Source] = (),
        probe_port: int | None = None,
        probe_host: str | None = None,
        wait_for_files: float = 0.0,
        startup_timeout: float = 30,
        shutdown_delay: float | None = None,
        shutdown_timeout: float = 8,
        finish_tasks: float = 0,
        **unknown: Never,
    ) -> None:
        forbid_unknown_options(unknown, Bootstrap.__init__)
        self._declaration = AppDeclaration(
            secrets,
            config,
            SourceOptions(mode, profile, secrets_dirs, env_file, env_fallback=env_fallback),
            watch=watch,
            wait_for_files=wait_for_files,
            startup_timeout=startup_timeout,
            unset_env=unset_env,
            sources=sources,
            probe_port=probe_port,
            probe_host=probe_host,
            shutdown_delay=shutdown_delay,
            shutdown_timeout=shutdown_timeout,
            finish_tasks=finish_tasks,
        )
        self._handles: dict[str, ResourceHandle[Any]] = {}
        applications.declare(self._declaration)

    def __class_getitem__(cls, parameters: Any) -> Any:
        # Before Python 3.13 a TypeVar has no default at run time: complete Bootstrap[S] here.
        given = parameters if isinstance(parameters, tuple) else (parameters, type(None))
        return super().__class_getitem__(given)  # type: ignore[misc]

    def __repr__(self) -> str:
        # A traceback with local variables calls this when __init__ has rejected its arguments.
        declaration = vars(self).get("_declaration")
        return f"Bootstrap({declaration.name if declaration else ''})"

    def __copy__(self, memo: object = None) -> Self:
        return self

    __deepcopy__ = __copy__

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError(f"{self!r} cannot be pickled: it belongs to this process.")

    @overload
    def main(self, function: MainFunction, /) -> MainFunction: ...
    @overload
    def main(
        self, /, *, must_complete: bool = False, grace_period: float = 0, on_stop: OnStop = None
    ) -> Callable[[MainFunction], MainFunction]: ...
    def main(
        self,
        function: Any = None,
        /,
        *,
        must_complete: bool = False,
        grace_period: float = 0,
        on_stop: OnStop = None,
    ) -> Any:
        """Register the main function, which is called when everything is ready.

        A parameter receives the resource that has its name, or, by its type, the secrets, the
        settings or the Bootstrap.

        Args:
            function: an ``async def``. Its return value is the exit status; None is 0.
            must_complete: whether a stop by signal n before main has returned is a failure
                with the exit status 128 + n, as a Kubernetes Job needs it. Default False.
            grace_period: seconds that main may continue after a stop was requested, before it is
                cancelled: a main that watches :attr:`stopping` completes its work. Default 0.
            on_stop: called without arguments when a stop is requested, for a library that is
                asked to stop (``on_stop=dispatcher.stop_polling``). It may be async. Default: none.

        Returns:
            The function, unchanged; without a function, a decorator.

        Raises:
            DeclarationError: the function is not async, a main is already registered, or an
                argument is invalid.
        """
        options = grace_period, on_stop
        register = self._declaration.main_decorator(*options, must_complete=must_complete)
        return register if function is None else register(function)

    @overload
    def resource(self, function: Callable[..., Started[T]], /) -> ResourceHandle[T]: ...
    @overload
    def resource(
        self,
        /,
        *,
        timeout: float | None = None,
        retry_on: RetryOn = (),
        after: After = (),
        rebuild_on: str | Sequence[str] = (),
        overlap: float = 30,
    ) -> ResourceDecorator: ...
    def resource(
        self,
        function: Any = None,
        /,
        *,
        timeout: float | None = None,
        retry_on: RetryOn = (),
        after: After = (),
        rebuild_on: str | Sequence[str] = (),
        overlap: float = 30,
    ) -> Any:
        """Register a resource, which is started before main and stopped after it.

        A resource starts as soon as the resources that its parameters name have started,
        concurrently with independent ones, and stops in reverse order. Its other parameters
        are filled like those of :meth:`main`.

        A start that raises because of a timeout, an unknown host or a refused connection, also as
        a cause, is retried until ``startup_timeout`` expires. Any other failure is final.

        Args:
            function: an ``async def`` with one ``yield``: the code above it starts the
                resource, the yielded object is the value, the code below it stops the
                resource. It may be below ``@asynccontextmanager``. Without a ``yield``, the return
                value is the value, and there is nothing to stop.
            timeout: seconds for its start, and seconds for its stop, within
                ``startup_timeout`` and ``shutdown_timeout``. Default: only those two limits.
            retry_on: further types of exceptions that are retried, one or a tuple, such as
                ``psycopg.OperationalError``. Default: none.
            after: resources whose values it does not take, and that start before it and stop
                after it: a handle, a name, or a list of them. Default: none.
            rebuild_on: fields, by attribute or declared name. Before new values of them are used,
                a new instance is started with them, also of each resource that takes the value;
                a failure refuses the rotation. Not for what can exist only once, such as a port:
                take a :class:`ResourceHandle` there. Default: none.
            overlap: seconds for which the old instance continues after the switch; up to ten
                times as long while a request or a ``use()`` block uses it. Default 30.

        Returns:
            A handle: ``handle.value`` is the running value, ``handle.fn`` the function.

        Raises:
            DeclarationError: the function is not async, a resource or service of this name is
                already registered, or an argument is invalid.
        """
        options = timeout, retry_on, after, rebuild_on, overlap
        add = self._declaration.resource_decorator(*options)

        def register(function: Callable[..., Any]) -> ResourceHandle[Any]:
            add(function)
            handle = self._handles[function.__name__] = ResourceHandle(function, self)
            return handle

        return register if function is None else register(function)

    @overload
    def service(self, function: TaskFunction, /) -> TaskFunction: ...
    @overload
    def service(
        self,
        /,
        *,
        restart: RestartPolicy = "on-failure",
        max_restarts: int = 5,
        restart_window: float = 60,
        grace_period: float = 0,
        on_stop: OnStop = None,
    ) -> Callable[[TaskFunction], TaskFunction]: ...
    def service(
        self,
        function: Any = None,
        /,
        *,
        restart: RestartPolicy = "on-failure",
        max_restarts: int = 5,
        restart_window: float = 60,
        grace_period: float = 0,
        on_stop: OnStop = None,
    ) -> Any:
        """Register a service: background work that runs from READY to the stop.

        A service that raises is restarted after a jittered back-off that grows from 0.1 to
        30 s. A service that has used up its restarts ends the application. A service that
        returns has completed, and is not restarted unless ``restart`` is ``always``. Its
        parameters are filled like those of :meth:`main`.

        Args:
            function: an ``async def``; it is cancelled when the application stops.
            restart: ``on-failure``, ``always`` (also after it has returned) or ``never``.
                Default ``on-failure``.
            max_restarts: the number of restarts allowed within ``restart_window``, also those
                after a return. Default 5.
            restart_window: seconds over which restarts are counted. Default 60.
            grace_period: seconds that the service may continue after a stop was requested,
                before it is cancelled. Default 0.
            on_stop: as for :meth:`main`.

        Returns:
            The function, unchanged; without a function, a decorator.

        Raises:
            DeclarationError: the function is not async, a resource or service of this name is
                already registered, or an argument is invalid.
        """
        options = restart, max_restarts, restart_window, grace_period, on_stop
        register = self._declaration.service_decorator(*options)
        return register if function is None else register(function)

    @overload
    def check(self, function: CheckFunction, /) -> CheckFunction: ...
    @overload
    def check(
        self,
        /,
        *names: str,
        timeout: float | None = None,
        retry_on: RetryOn = (),
        at: CheckMoment = "always",
    ) -> Callable[[CheckFunction], CheckFunction]: ...
    def check(
        self, /, *names: Any, timeout: Any = None, retry_on: Any = (), at: Any = "always"
    ) -> Any:
        """Register a check, which validates a set before it is used: at start and rotation.

        A parameter annotated with the SecretSet receives the candidate; the other parameters
        are filled like those of :meth:`main`, but no resources exist yet. Checks run
        concurrently, after the checks of the fields and of the set.

        A check passes by returning True or None, and rejects by returning False or by raising.
        If it exceeds ``timeout`` or cannot reach something outside, as for :meth:`resource`, it
        has no result: a start retries it and fails with :class:`UnavailableError`; a rotation
        keeps the last good set, and retries it after 1, 2, 4, then every 5 s.

        Args:
            names: the fields that the check is about, by their attributes or declared names;
                a rotation of other fields does not call it. Default: every field.
            timeout: seconds for one call. Default: the rest of ``startup_timeout``.
            retry_on: as for :meth:`resource`. Default: none.
            at: ``start`` or ``rotation`` limits it to one of them. Default ``always``.

        Returns:
            The function, unchanged; with arguments, a decorator.

        Raises:
            DeclarationError: the function is not async, or an argument is invalid.
        """
        if len(names) == 1 and not isinstance(names[0], str):
            return self._declaration.check_decorator((), timeout, retry_on, at)(names[0])
        return self._declaration.check_decorator(names, timeout, retry_on, at)

    @overload
    def readiness(self, function: CheckFunction, /) -> CheckFunction: ...
    @overload
    def readiness(
        self, /, name: str | None = None, *, interval: float = 5, timeout: float = 2
    ) -> Callable[[CheckFunction], CheckFunction]: ...
    def readiness(self, /, name: Any = None, *, interval: float = 5, timeout: float = 2) -> Any:
        """Register a readiness contributor, whose failures make ``/readyz`` answer 503.

        The ``async def`` fails by returning False or raising. ``/readyz`` is 503 until it has
        passed once, and later from two failures in a row until it passes; nothing else waits for
        it. Its parameters are filled like those of :meth:`main`. A dependency that all replicas
        share makes all of them unready at once.

        Args:
            name: the name, in ``/readyz/<name>`` too. Default: the name of the function.
            interval: seconds between the end of a call and the next one. Default 5.
            timeout: seconds for one call, which is then cancelled and has failed. Default 2.

        Returns:
            The function, unchanged; with arguments, a decorator.

        Raises:
            DeclarationError: the function is not async, or its name or a number is invalid.
        """
        given = None if callable(name) else name
        register = self._declaration.readiness_decorator(given, interval, timeout)
        return register(name) if callable(name) else register

    def on_rotate(self, *names: str, timeout: float = 30) -> Callable[[HookFunction], HookFunction]:
        """Register a rotation hook, which is called when secrets have changed.

        The decorated ``async def`` takes the :class:`Change` first; its other parameters
        are filled like those of :meth:`main`. Hooks run in the order of their declaration,
        after the new values are in use. A hook that raises or exceeds ``timeout`` is retried
        after 1 to 60 s, until it succeeds; the other hooks do not wait for it. One that calls
        ``sys.exit`` stops the application.

        Args:
            names: the fields whose changes call the hook, by their attributes or declared
                names. Default: every field.
            timeout: seconds for one call. Default 30.

        Returns:
            A decorator, which returns the function unchanged.

        Raises:
            DeclarationError: a field is not declared, the function is not async, or
                ``timeout`` is invalid.
        """
        if any(map(callable, names)):
            message = "@boot.on_rotate expects names of fields. Write @boot.on_rotate()."
            raise DeclarationError(message)
        return self._declaration.hook_decorator(names, timeout)

    def run(self, *misplaced: Never, backend: str = "asyncio") -> NoReturn:
        """Run the application as the owner of the process: start, call main, stop, exit.

        The first SIGTERM or SIGINT stops in order, after ``shutdown_delay`` seconds; the second
        ends the process at once. A second after ``shutdown_timeout`` the process exits with 70,
        and the log names what has not stopped.

        Args:
            misplaced: nothing; main is declared with ``@boot.main``.
            backend: ``asyncio``, ``uvloop`` (asyncio on uvloop, which must be installed)
                or ``trio``. Default ``asyncio``.

        Raises:
            DeclarationError: an argument was given by position.
            SystemExit: the code is 0, or the return value of main; 70 when main, a resource or
                a service has failed, something has not stopped in time, or the declaration is
                invalid; 75 when something outside could not be reached; 78 when secrets or
                settings are invalid; 128 + n after a second signal n, and after the first one
                when main ``must_complete`` and has not returned.
            KeyboardInterrupt: instead of the code 0 after SIGINT; no traceback is printed, and
                CPython ends the process by SIGINT, so that a shell stops too.
        """
        if misplaced:
            message = "boot.run() expects no function: decorate main with @boot.main, and write "
            raise DeclarationError(message + "`boot.run()`. The backend is a keyword argument.")
        main, must_complete = partial(self._resolve_main, backend), self._declaration.must_complete
        self._own_process("run", main, self._running, backend, must_complete=must_complete)

    def serve(
        self,
        app: App,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        uds: StrPath | None = None,
        fd: int | None = None,
        tls: tuple[str, str] | None = None,
        server: str = "uvicorn",
        backend: str = "asyncio",
        server_options: Mapping[str, Any] | None = None,
    ) -> NoReturn:
        """Serve an ASGI application as the owner of the process.

        The socket is open before anything is read: ``/livez``, ``/readyz`` and ``/startupz`` are
        answered from then on (with ``tls`` when the certificate is valid), and everything else with
        503 until the application is ready. The lifespan of the ASGI application runs last. At the
        first SIGTERM ``/readyz`` becomes 503; connections are accepted for ``shutdown_delay``
        seconds more; then requests in flight complete, and resources stop.

        Args:
            app: the ASGI application; ``lifespan=boot.lifespan`` in it joins this run.
            host: the address to listen on. Default 127.0.0.1.
            port: the port; 0 selects a free one. Default 8000.
            uds: the path of a Unix socket to listen on, instead of host and port. Default None.
            fd: the descriptor of a bound stream socket to take over instead. Default None.
            tls: the fields of the certificate chain and of its key; each connection uses the pair
                in use. Default None: plain HTTP.
            server: ``uvicorn``, on asyncio only, or ``hypercorn``. Default ``uvicorn``.
            backend: as for :meth:`run`. Default ``asyncio``.
            server_options: options of ``uvicorn.Config`` or ``hypercorn.Config``; for both also
                ``proxy_headers`` and ``forwarded_allow_ips`` of uvicorn. Default: none.

        Raises:
            SystemExit: as :meth:`run` does; 78 when ``tls`` names an unusable pair.
            KeyboardInterrupt: as :meth:`run` does.
        """
        from hive_boot.serving.servers import HttpService  # only for HTTP

        address, timings = (host, port, uds, fd), self._declaration.timings
        serving = HttpService(app, address, self.status, self._current_state, timings)

        def resolve_serving() -> Callable[[Run[S, C]], Coroutine[Any, Any, object]]:
            validate_backend(backend)
            forbid_main_with_serve(self._declaration.main)
            serving.select_server(server, backend, server_options)
            if tls is not None:
                from hive_boot.tls import serving_context  # few serve TLS

                serving.tls = serving_context(self, tls)
            return serving.wait_until_stopped

        start = partial(
            self._running,
            listeners=[*self._listeners(), ("the HTTP server", serving.start_listening)],
            asgi_component=serving.lifespan,
        )
        self._own_process("serve", resolve_serving, start, backend)

    def running(self, *misplaced: Never, resources: bool = True) -> AbstractAsyncContextManager[S]:
        """Start the application for an ``async with`` block, and stop it at the end of the block.

        When a resource fails while it runs, or a service has used up its restarts, the block
        is cancelled.

        Args:
            misplaced: nothing; a server is given ``boot.lifespan``.
            resources: whether the resources are started, and what may need one: services, hooks
                and the probe port. With False only secrets and settings are loaded, checked and,
                with ``watch=True``, followed, for scripts and fixtures. Default True.

        Returns:
            A context manager, whose value is the live secrets.

        Raises:
            InvalidSecretsError: secrets or settings are invalid; ``str()`` is the report.
            UnavailableError: something outside could not be reached in time.
            StartupError: a resource could not start; several are raised as a group.
            ShutdownTimeoutError: a resource has not stopped in time.
            IllegalTransitionError: the application is already running.
            DeclarationError: an argument was given by position.
            LifecycleError: the context manager was used in another way than by ``async with``.
            Exception: the exception of a failed resource or service.
        """
        if misplaced:
            message = "boot.running() expects no application. Write `lifespan=boot.lifespan`."
            raise DeclarationError(message)
        from hive_boot.runtime.run import RunningBlock  # imports anyio

        return RunningBlock(self._running, resources=resources)

    def lifespan(self, app: object = ...) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Start and stop the application as an ASGI lifespan: ``FastAPI(lifespan=boot.lifespan)``.

        Inside an active run the lifespan joins that run. When a resource fails while it runs,
        or a service has used up its restarts, the process sends SIGTERM to itself.

        Args:
            app: the ASGI application, which the server passes.

        Returns:
            A context manager, whose value is for ``request.state``: the live secrets, the settings,
            and the resources by name, or the handles of those that can be rebuilt.

        Raises:
            InvalidSecretsError: secrets or settings are invalid: the server does not serve.
            UnavailableError: something outside could not be reached in time.
            StartupError: a resource could not start: the server does not serve.
            IllegalTransitionError: the application is starting or stopping.
            DeclarationError: it was called without an application.
        """
        if app is ...:
            message = "The server calls boot.lifespan. Write `lifespan=boot.lifespan`, without "
            raise DeclarationError(message + "parentheses; elsewhere `async with boot.running()`.")
        return self._lifespan()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[dict[str, Any]]:
        from hive_boot.lifecycle.signals import terminate_self  # only under a server

        if self._run is not None and self._run.accepts_nested_lifespan:
            yield self._run.request_state
        else:
            listeners = self._listeners(is_worker=True)
            async with self._running(cancel=lambda _: terminate_self(), listeners=listeners) as run:
                yield run.request_state

    def load(self) -> S:
        """Load and validate secrets and settings once, without an event loop.

        For code that needs values at import (settings, engines), and for migrations and scripts.
        No check is called, no resource is started, and ``sources=`` are not asked: a required
        secret that only they can provide is a problem. The call blocks while it reads files; later
        calls return the same object. A run takes the object over: it then has the values of the
        run. The values are removed from logs until the process ends.

        Returns:
            The live secrets.

        Raises:
            InvalidSecretsError: secrets or settings are invalid; ``str()`` is the report. If it is
                not caught, the process writes the report without a traceback and exits with 78.
            LifecycleError: ``config=`` calls this method.
        """
        from hive_boot.runtime.loaded import LoadedApplication  # few load without a run

        with applications.load_lock:
            if self._loaded is None or self._loaded.is_abandoned:
                self._loaded = LoadedApplication(self._declaration, lambda: self._run)
                try:
                    self._loaded.read(read_fifos=not self._inspection_only)
                except BaseException:
                    from hive_boot.runtime.process import handle_uncaught  # only a failure needs it

                    self._unload(keep_redacting=True)
                    handle_uncaught()
                    if self._inspection_only:
                        Bootstrap._failed_load = self
                    raise
            elif self._loaded.store is None:
                message = f"config= of {self!r} must not call boot.load(), which calls it."
                raise LifecycleError(message)
            else:
                self._loaded.holders += 1
            return self._store().view

    @contextmanager
    def loaded(self) -> Iterator[S]:
        """Load secrets and settings for a block, as :meth:`load` does, with redaction in it.

        Yields:
            The live secrets.

        Raises:
            SystemExit: secrets or settings are invalid (78), or the declaration is (70); the report
                is on stderr, as after a failed start.
        """
        from hive_boot.runtime.process import report_boot_error  # not needed to declare

        try:
            self.load()
        except BootError as exc:
            if self._inspection_only:
                raise
            raise SystemExit(report_boot_error(exc)) from None
        has_failed = True
        try:
            yield self._store().view
            has_failed = False
        finally:
            with applications.load_lock:
                if self._loaded is not None:
                    self._loaded.holders -= 1
                    if not self._loaded.holders:
                        self._unload(keep_redacting=has_failed)

    @overload
    def as_property(self, attribute: str) -> property: ...
    @overload
    def as_property(
        self, attribute: str, converter: Callable[[str], T] | Callable[[bytes], T]
    ) -> SecretProperty[T]: ...
    def as_property(self, attribute: str, converter: Any = None) -> Any:
        """Return a property that reveals the current value of a secret, or None if it is absent.

        For a pydantic-settings class: ``SECRET_KEY = boot.as_property("secret_key")``, without an
        annotation. It raises LifecycleError while the application is neither running nor loaded.
        A pydantic class raises TypeError for a value that is passed for it.

        Args:
            attribute: the attribute of the field, or its declared name.
            converter: called with the plain value at each access, such as ``SecretStr``; its
                result is the value of the property. Default: the plain value.

        Raises:
            DeclarationError: no such field is declared, or ``converter`` is not callable.
        """
        from hive_boot.runtime.config import SecretProperty  # few declare one

        (attribute,) = self._declaration.resolve_field_names([attribute])
        return SecretProperty(self, attribute, converter)

    def asgi(self, app: App) -> App:
        """Return an ASGI application wrapped in the outermost layer, for any server.

        Its lifespan starts this Bootstrap first, and it answers ``/livez``, ``/readyz``
        and ``/startupz``. A failed start is a failed lifespan startup of the server.

        Args:
            app: the ASGI application to wrap. Anything else is a DeclarationError.
        """
        from hive_boot.serving.asgi import LifespanMiddleware  # only for HTTP
        from hive_boot.serving.endpoints import validate_asgi  # only for HTTP

        validate_asgi(app)
        return LifespanMiddleware(
            app,
            self.lifespan,
            self.status,
            phase=self._current_state,
            lease=self._lease_for_request,
        )

    @property
    def probes(self) -> App:
        """ASGI application with all endpoints, to be mounted under any path."""
        from hive_boot.serving.endpoints import Endpoints  # only for HTTP

        return Endpoints(self.status, self._declaration.name)

    @property
    def secrets(self) -> S:
        """The live secrets of the running or loaded application.

        Raises:
            LifecycleError: the application is neither running nor loaded.
        """
        return self._store().view

    @property
    def config(self) -> C:
        """The settings of the running or loaded application, of the values in use.

        Raises:
            LifecycleError: the application is neither running nor loaded.
        """
        return self._store().config  # type: ignore[return-value]

    def accepted(self, attribute: str) -> tuple[Secret | SecretBytes, ...]:
        """Return every value of a secret that is valid now, the current one first.

        A rotated value is included at once, and in use after the ``activate_after`` seconds of
        the field; the value that it replaces stays included for the ``accept_old_for`` seconds
        of the field after that.

        Args:
            attribute: the attribute of the field, or its declared name.

        Raises:
            DeclarationError: no such field is declared.
            LifecycleError: the application is neither running nor loaded.
        """
        attribute = self._attribute_of(attribute)
        return self._store().accepted(attribute)

    def verify(self, attribute: str, attempt: Callable[[Any], T], *, rejected: RetryOn = ()) -> T:
        """Call ``attempt`` with each value of :meth:`accepted`, until one is not rejected.

        Which value succeeded (current, pending, old) is counted, to prove that a value is unused.

        Args:
            attribute: the attribute of the field, or its declared name.
            attempt: not async; receives a Secret or SecretBytes, and rejects it by False.
            rejected: exceptions that reject it, one type or a tuple. Any other one is raised.

        Returns:
            What the last call returned; False if all values were rejected by it.

        Raises:
            MissingSecretError: the secret is absent.
            Exception: the exception of the last call; those of :meth:`accepted`.
        """
        attribute = self._attribute_of(attribute)
        for each in self._store().attempts(attribute, rejected):
            with each:
                each.set_result(attempt(each.value))
        return each.result  # type: ignore[no-any-return]

    async def verify_async(
        self, attribute: str, attempt: AsyncAttempt[T], *, rejected: RetryOn = ()
    ) -> T:
        """Call an async ``attempt``, otherwise as :meth:`verify`."""
        attribute = self._attribute_of(attribute)
        for each in self._store().attempts(attribute, rejected):
            with each:
                each.result = await attempt(each.value)
        return each.result  # type: ignore[no-any-return]

    @property
    def stopping(self) -> StopEvent:
        """Event that is set when a stop is requested, with ``is_set()`` and ``await wait()``.

        Under :meth:`run` and :meth:`serve` it is set at the first signal, inside another server
        when the lifespan ends, and in :meth:`running` at the end of the block. It stays set until
        the next start. In a service it is also set when the service is restarted, because a
        resource that it takes was rebuilt. ``is_set()`` may be called in any thread.

        Raises:
            LifecycleError: the application has never been started.
        """
        if self._stopping is None:
            raise LifecycleError(f"{self!r} has not been started, so nothing can be stopping.")
        from hive_boot.lifecycle.services import ServiceStop  # it needs a loop

        of_service = ServiceStop.current.get()
        if of_service is not None and of_service.run is self._stopping:
            return of_service
        return self._stopping

    def stop(self, reason: str) -> None:
        """Request a stop, as the first signal does. A second request does nothing.

        Under :meth:`run` and :meth:`serve` the process then exits with 0. Inside another server
        the process sends SIGTERM to itself, and the block of :meth:`running` is cancelled. May be
        called in any thread.

        Args:
            reason: the reason, for the log.

        Raises:
            LifecycleError: the application is not running in this process.
        """
        if self._run is None:
            raise self._not_running()
        self._run.request_stop(reason)

    async def reload(self, *, now: bool = False) -> Change | None:
        """Load all sources again, and use the values that have changed.

        With ``watch=True`` a changed file has the same effect. When the call returns, the new
        values are in use, and the hooks are about to be called.

        Args:
            now: whether new values are used at once, regardless of the ``activate_after`` of
                their fields, for example because an old value has leaked. Default False.

        Returns:
            The change in the values in use; None when nothing has changed.

        Raises:
            InvalidSecretsError: the new set is rejected, also because a resource cannot be rebuilt;
                the last good set stays in use.
            UnavailableError: something outside could not be reached; the last set stays in use.
            LifecycleError: the application is stopping, or not running in this process and
                event loop; or the caller is a check, a source or a rebuild in a rotation.
        """
        run = self._current()
        if not run.ready:
            raise LifecycleError(f"{self!r} is starting or stopping.")
        return await run.reload(now=now)

    def status(self) -> Status:
        """Return the status of the application at this moment, without any value."""
        from hive_boot.runtime.status import Status, build_status  # rarely called

        return Status() if (run := self._run) is None else build_status(run)

    @asynccontextmanager
    async def _running(
        self, on_run_created: Callable[[Run[S, C]], object] = lambda _: None, **more: Any
    ) -> AsyncIterator[Run[S, C]]:
        """Start one run for the block, and stop it at the end of the block.

        Args:
            on_run_created: called with the run before it starts.
            more: further arguments of :class:`Run`.
        """
        from hive_boot.runtime.run import Run  # imports anyio

        if self._run is not None and self._run.is_orphaned:
            applications.unregister(self._run.store)
            self._run = None
        if self._run is not None:
            raise IllegalTransitionError(self._run.state, "start", self._run.how_to_share)
        more.setdefault("listeners", self._listeners())
        more["loaded"] = self._loaded_store
        injectables = self._injectables()
        run = self._run = Run(self._declaration, injectables, self, self._handles, **more)
        self._stopping = run.shutdown.stopping
        on_run_created(run)
        try:
            async with run.active():
                yield run
        except BaseException as exc:
            trim_traceback(exc)
            raise
        finally:
            if self._run is run:
                self._run = None
            if self._loaded is not None and run.store.is_filled:
                self._loaded.continue_after(run.store)

    def _dry_run(self, *, ask: bool = True) -> DryRunResult:
        """Load and validate once, as a start would, for commands that inspect an application.

        Args:
            ask: whether the sources of ``sources=`` are asked. Default True.
        """
        from hive_boot.runtime.loaded import dry_run  # rarely called

        may_ask = None if Bootstrap._failed_load is self else ask
        return dry_run(self._declaration, self._injectables(), self, ask=may_ask)

    def _own_process(self, method: str, *arguments: Any, **options: Any) -> NoReturn:
        """Run the application in this process, and exit with its status.

        Raises:
            DeclarationError: a tool imports the declaration only to inspect it.
        """
        from hive_boot.runtime.process import run_process  # not needed by tools

        if self._inspection_only:
            message = f"boot.{method}() was called while the module was imported. Call it below "
            raise DeclarationError(message + '`if __name__ == "__main__":`.')
        raise SystemExit(run_process(*arguments, **options))

    def _current_state(self) -> State:
        return State.ARMED if self._run is None else self._run.states.state

    def _lease_for_request(self) -> RequestLease | None:
        return None if self._run is None else self._run.lease_for_request()

    def _resource_value(self, resource: str) -> object:
        if self._run is None:
            raise self._not_running(f"The resource {resource!r} of {self!r}")
        return self._run.resource_value(resource)

    def _lease(self, resource: str) -> AbstractContextManager[Any]:
        return self._current().lease(resource)

    def _unload(self, *, keep_redacting: bool) -> None:
        """Undo :meth:`load`."""
        if self._loaded is not None:
            self._loaded.close(keep_redacting=keep_redacting)
        self._loaded = None

    @property
    def _loaded_store(self) -> Store[S] | None:
        return None if self._loaded is None else self._loaded.store

    def _store(self) -> Store[S]:
        """Return the store of the run; before STARTING and after the end, that of :meth:`load`."""
        loaded, run = self._loaded_store, self._run
        return self._current().store if loaded is None or (run and run.store.is_filled) else loaded

    def _attribute_of(self, name: str) -> str:
        """Return the attribute of a field, which is named by it or by its declared name."""
        if name not in self._declaration.field_index.fields:
            (name,) = self._declaration.resolve_field_names([name])
        return name

    def _current(self) -> Run[S, C]:
        """Return the run, from STARTING to its end; raise LifecycleError before and after."""
        if self._run is None or not self._run.store.is_filled:
            raise self._not_running()
        return self._run

    def _not_running(self, what: str = "") -> LifecycleError:
        from hive_boot.runtime.loaded import not_running  # only a failure needs it

        return not_running(self, what)

    def _resolve_main(self, backend: str) -> Callable[[Run[S, C]], Coroutine[Any, Any, object]]:
        """Return a function that calls main with the values of its parameters."""
        validate_backend(backend)
        main = self._declaration.main
        if main is None:
            message = f"{self!r} has no main function. Decorate an `async def` with @boot.main."
            raise DeclarationError(message)
        bound = self._declaration.bind_main(main, self._injectables())

        async def call_main(run: Run[S, C]) -> object:
            with run.states.timeline.record("main", "main"):
                return await bound(run.injection_context())

        return call_main

    def _listeners(self, *, is_worker: bool = False) -> Sequence[tuple[str, Listener]]:
        declaration = self._declaration
        if declaration.probe_port is None:
            return ()
        from hive_boot.serving.probe_server import serve_probes  # only with a probe port

        where = declaration.name, declaration.probe_port, declaration.timings
        host = declaration.probe_host
        probes = partial(serve_probes, self.status, *where, host=host, is_worker=is_worker)
        return [("the probe server", probes)]

    def _injectables(self) -> Injectables:
        """Return the objects that parameters of declared functions can receive."""
        injectables: dict[type, str] = {self._declaration.declared: "secrets", type(self): "boot"}
        factory = self._declaration.config_factory
        if factory is not None and (config_type := factory.config_type) is not None:
            injectables.setdefault(config_type, "config")
        return Injectables(injectables, self._declaration.resources)
