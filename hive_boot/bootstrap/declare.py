"""The declaration of an application. Declaring starts nothing and reads nothing.

Whatever needs a loop is imported when a run begins: a module that declares an
application is imported by tools that never start it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from hive_boot.bootstrap.registry import C, Registry, S
from hive_boot.bootstrap.wiring import wire
from hive_boot.exceptions import DeclarationError, IllegalTransition, LifecycleError
from hive_boot.redaction.hidden import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from hive_boot.bootstrap.run import Run
    from hive_boot.bootstrap.status import Status
    from hive_boot.secrets.change import Change
    from hive_boot.secrets.value import Secret, SecretBytes


class Bootstrap(Registry[S, C]):
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
        scrub_environ: take the variables of the declared secrets out of
            ``os.environ`` as soon as they are read, so that child processes do not
            inherit them; they are put back when the run ends. What the process was
            started with stays in ``/proc/<pid>/environ``. Default False.
        wait: seconds that a start waits for files that are missing in mounted
            directories, because a sidecar has yet to write them. Default 0.
        start_timeout: seconds that the checks of a start, or of a rotation, may take
            in all. Default 30.

    Raises:
        DeclarationError: ``secrets`` is no SecretSet, ``config`` cannot be called,
            the mode or the profile is unknown, or seconds are none.
    """

    _run: Run[S, C] | None = None

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
            IllegalTransition: it is starting or stopping at this moment.
        """
        if self._run is not None and self._run.ready and not self._run.lost:
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

        A rotated value is in here at once, and in use after the field's ``lead``; the one
        that it replaces stays in here for the field's ``grace`` after that.

        Args:
            attribute: the field of the SecretSet.

        Raises:
            DeclarationError: no such field is declared.
            LifecycleError: it is not running.
        """
        if attribute not in self._fields:
            message = f"{self._plan.declared.__name__} declares no {attribute}"
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
        return await self._current().reload(now=now)

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

        if self._run is not None and self._run.lost:
            self._run.disown()
            self._run = None
        if self._run is not None:
            raise IllegalTransition(self._run.state, "start")
        run = self._run = Run(self._plan, self._offered(), self)
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
            try:
                await run.stop(linger=own or failed)
            finally:
                if self._run is run:
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
        main = self._plan.main
        if main is None:
            message = f"{self!r} has no main: decorate an async def with @boot.main"
            raise DeclarationError(message)
        wired = wire(main, self._offered())
        return lambda run: wired(run.given(run.store.view))


def _state(run: Run[Any, Any]) -> dict[str, Any]:
    return {"secrets": run.store.view, "config": run.config}
