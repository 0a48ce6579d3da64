"""The declaration of an application. Declaring starts nothing and reads nothing.

Whatever needs a loop is imported when a run begins: a module that declares an
application is imported by tools that never start it.
"""

from __future__ import annotations

import inspect
import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Never, NoReturn, TypeVar, overload

from hive_boot.bootstrap.wiring import plan
from hive_boot.exceptions import DeclarationError, IllegalTransition, LifecycleError
from hive_boot.redaction.hidden import redact
from hive_boot.secrets.mode import Mode, StrPath, StrPaths, Wishes
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Self

    from hive_boot.bootstrap.run import Run
    from hive_boot.bootstrap.status import Status
    from hive_boot.secrets.value import Secret, SecretBytes

S = TypeVar("S", bound=SecretSet)
C = TypeVar("C")
Main = TypeVar("Main", bound="Callable[..., Coroutine[Any, Any, int | None]]")


class Bootstrap(Generic[S, C]):
    """The declaration of an application, typed by its secrets and its settings.

    Each start makes a fresh run, so one Bootstrap can be started many times, one
    run at a time.

    Args:
        secrets: the declared :class:`SecretSet`.
        config: makes the settings that are not secret, once for each run: a
            pydantic-settings class, or any callable. What it raises is reported
            together with the problems of the secrets.
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
        scrub_environ: take the variables of the declared secrets out of
            ``os.environ`` as soon as they are read, so that child processes do not
            inherit them; they are put back when the run ends. What the process was
            started with stays in ``/proc/<pid>/environ``. Default False.
        start_timeout: seconds that the checks of a start may take in all.
            Default 30.

    Raises:
        DeclarationError: ``secrets`` is no SecretSet, ``config`` cannot be called,
            or the mode or the profile is unknown.
    """

    @overload
    def __init__(
        self: Bootstrap[S, None],
        secrets: type[S],
        *,
        config: None = None,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        dotenv: StrPath | None = None,
        env_fallback: bool = False,
        scrub_environ: bool = False,
        start_timeout: float = 30,
    ) -> None: ...

    @overload
    def __init__(
        self,
        secrets: type[S],
        *,
        config: Callable[..., C],
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        dotenv: StrPath | None = None,
        env_fallback: bool = False,
        scrub_environ: bool = False,
        start_timeout: float = 30,
    ) -> None: ...

    def __init__(  # noqa: PLR0913  (each is a promised name, and none has to be given)
        self,
        secrets: type[S],
        *,
        config: Callable[..., C] | None = None,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        dotenv: StrPath | None = None,
        env_fallback: bool = False,
        scrub_environ: bool = False,
        start_timeout: float = 30,
    ) -> None:
        given: object = secrets
        if not (isinstance(given, type) and issubclass(given, SecretSet)):
            message = "Bootstrap takes a class that derives from SecretSet"
            raise DeclarationError(message)
        factory: object = config
        if factory is not None and not callable(factory):
            message = "config= has to be a class or a function that makes the settings"
            raise DeclarationError(message)
        if inspect.iscoroutinefunction(factory):
            message = "config= cannot be an async def: settings are made without a loop"
            raise DeclarationError(message)
        seconds: object = start_timeout
        if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            message = "start_timeout= has to be a number of seconds above 0"
            raise DeclarationError(message)
        self._declared = secrets
        self._factory = config
        self._wishes = Wishes(
            mode=mode,
            profile=profile,
            secrets_dirs=secrets_dirs,
            dotenv=dotenv,
            env_fallback=env_fallback,
        )
        self._start_timeout = start_timeout
        self._scrub_environ = scrub_environ
        self._main: Callable[..., Coroutine[Any, Any, int | None]] | None = None
        self._run: Run[S, C] | None = None

    def __repr__(self) -> str:
        # A frame of __init__ is shown, too, when it has refused its arguments.
        declared = vars(self).get("_declared")
        return f"Bootstrap({getattr(declared, '__name__', '')})"

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> Never:
        message = f"{self!r} cannot be pickled: it is this process's"
        raise TypeError(message)

    def main(self, function: Main) -> Main:
        """Register the application's main; it is called when everything is ready.

        Its parameters are filled by their types: the SecretSet, the class of the
        settings, Bootstrap.

        Args:
            function: an ``async def``. What it returns is the exit status; None
                is 0.

        Raises:
            DeclarationError: it is not async, or there is a main already.
        """
        if not inspect.iscoroutinefunction(function):
            message = f"@boot.main takes an async def, and {function!r} is none"
            raise DeclarationError(message)
        if self._main is not None:
            known = getattr(self._main, "__qualname__", repr(self._main))
            message = f"there is a main already: {known}"
            raise DeclarationError(message)
        self._main = function
        return function

    def run(self, *, backend: str = "asyncio") -> NoReturn:
        """Own the process: start, run main, stop, exit.

        The first SIGTERM or SIGINT stops in order, the second ends the process at
        once.

        Args:
            backend: ``asyncio`` or ``trio``.

        Raises:
            SystemExit: always. 0, or what main returned; 70 when main raised or
                the declaration is wrong; 78 when secrets or settings are, after
                a report on stderr; 128 + n after a second signal.
        """
        from hive_boot.bootstrap.process import own  # noqa: PLC0415  (no tool needs it)

        start = partial(self._running, own=True)
        raise SystemExit(own(lambda: self._arm(backend), start, backend))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[S]:
        """Start, give the live secrets, and stop at the end of the block.

        Raises:
            InvalidSecrets: secrets or settings are wrong; ``str()`` is the report.
            IllegalTransition: it is running already.
        """
        async with self._running() as run:
            yield run.store.view

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG002  (servers pass it)
        """Be the lifespan of an ASGI application: ``FastAPI(lifespan=boot.lifespan)``.

        Inside a running run it only joins it.

        Args:
            app: the application; it is not used.

        Yields:
            The live secrets and the settings, for ``request.state``.

        Raises:
            InvalidSecrets: secrets or settings are wrong: the server does not serve.
        """
        if self._run is not None and self._run.ready:
            yield _state(self._run)
        else:
            async with self._running() as run:
                yield _state(run)

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

        Args:
            attribute: the field of the SecretSet.

        Raises:
            DeclarationError: no such field is declared.
            LifecycleError: it is not running.
        """
        if attribute not in self._declared._inventory.fields:  # noqa: SLF001  (the declaration is ours to read)
            message = f"{self._declared.__name__} declares no {attribute}"
            del attribute
            raise DeclarationError(message)
        return self._current().store.accepted(attribute)

    def status(self) -> Status:
        """Describe the application at this moment, without any value."""
        from hive_boot.bootstrap.status import Status, status_of  # noqa: PLC0415  (few ask)

        return Status() if self._run is None else status_of(self._run)

    @asynccontextmanager
    async def _running(self, *, own: bool = False) -> AsyncIterator[Run[S, C]]:
        """Be one run.

        Args:
            own: whether the process ends with it.
        """
        from hive_boot.bootstrap.run import Run  # noqa: PLC0415  (it needs a loop's library)

        if self._run is not None:
            raise IllegalTransition(self._run.state, "start")
        run = self._run = Run(
            self._declared,
            self._factory,
            self._wishes,
            self._start_timeout,
            scrub_environ=self._scrub_environ,
        )
        failed = True
        try:
            await run.start()
            yield run
            failed = False
        except SystemExit as exc:
            # Python writes this text itself, and asks nobody.
            if not isinstance(exc.code, int | None):
                exc.code = redact(str(exc.code))
            raise
        finally:
            # What went wrong is told by others, and later. Who is cancelled does not know
            # what it was.
            run.stop(linger=own or failed)
            self._run = None

    def _current(self) -> Run[S, C]:
        if self._run is None or not self._run.ready:
            message = f"{self!r} is not running"
            raise LifecycleError(message)
        return self._run

    def _arm(self, backend: str) -> Callable[[Run[S, C]], Coroutine[Any, Any, int | None]]:
        """Give what calls main with the values that its parameters ask for."""
        if backend not in {"asyncio", "trio"}:
            message = f"backend={backend!r} is none of asyncio, trio"
            raise DeclarationError(message)
        main = self._main
        if main is None:
            message = f"{self!r} has no main: decorate an async def with @boot.main"
            raise DeclarationError(message)
        offered: dict[type, str] = {self._declared: "secrets", type(self): "boot"}
        if isinstance(self._factory, type):
            offered[self._factory] = "config"
        keys = plan(main, offered)

        def call(run: Run[S, C]) -> Coroutine[Any, Any, int | None]:
            given = {"secrets": run.store.view, "config": run.config, "boot": self}
            return main(**{parameter: given[key] for parameter, key in keys.items()})

        return call


def _state(run: Run[Any, Any]) -> dict[str, Any]:
    return {"secrets": run.store.view, "config": run.config}
