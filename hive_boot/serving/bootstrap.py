"""The public face: an application, and the doors by which it answers.

The doors stand above everything; whoever needs none of them imports none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from hive_boot.bootstrap.declare import Application
from hive_boot.bootstrap.refusals import forbid_main_with_serve, validate_backend
from hive_boot.bootstrap.registry import C, S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from hive_boot.bootstrap.run import Listener, Run
    from hive_boot.serving.asgi import App


class Bootstrap(Application[S, C]):
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
        probe_port: where ``/livez``, ``/readyz`` and the other endpoints are answered, from
            before the first read until the end, for workers without HTTP. 0 for any port
            that is free. Default: nowhere.
        start_timeout: seconds that the checks and the parts of a start, or the checks of a
            rotation, may take in all. Default 30.
        drain: seconds between the first signal and the stop, in which it goes on serving
            and is not ready. Default: 5 under ``serve`` in kubernetes mode, else 0.
        stop_timeout: seconds that the stop may take in all, after the drain. Default 8:
            Docker kills after 10.

    Raises:
        DeclarationError: ``secrets`` is no SecretSet, ``config`` cannot be called,
            the mode or the profile is unknown, or a number is none.
    """

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
        ready. Its own lifespan is run as the last part. At the first SIGTERM ``/readyz``
        turns 503; for ``drain`` seconds connections are accepted still; then what is in
        flight ends, and the parts stop.

        Args:
            app: the application; ``lifespan=boot.lifespan`` in it only joins this run.
            host: the address to listen on. Default: this machine alone.
            port: the port; 0 for any that is free.
            server: ``uvicorn``, on asyncio, or ``hypercorn``.
            backend: as for :meth:`run`.

        Raises:
            SystemExit: always, as :meth:`run` does.
        """
        from hive_boot.bootstrap.process import run_process  # noqa: PLC0415  (no tool needs it)
        from hive_boot.serving.http import HttpService  # noqa: PLC0415  (many serve elsewhere)

        serving: HttpService[S, C] = HttpService(self, app, host, port)

        def arm() -> Callable[[Run[S, C]], Coroutine[Any, Any, object]]:
            validate_backend(backend)
            forbid_main_with_serve(self._declaration.main)
            serving.select_server(server, backend)
            return serving.wait_until_stopped

        self._forbid_start_in_inspection("serve")
        start = partial(
            self._running,
            own=True,
            doors=[*self._listeners(), ("the HTTP server", serving.start_listening)],
            last=serving.lifespan,
            serves=True,
        )
        raise SystemExit(run_process(arm, start, backend))

    def asgi(self, app: App) -> App:
        """Wrap an ASGI application, as its outermost layer, for any server.

        Its lifespan starts this application first, and it answers ``/livez``, ``/readyz``
        and ``/startupz``. A failed start is a failed start-up of the server.

        Args:
            app: the application to wrap.
        """
        from hive_boot.serving.outermost import LifespanMiddleware  # noqa: PLC0415  (as above)

        return LifespanMiddleware(app, self.lifespan, self.status, phase=lambda: self._state)

    @property
    def probes(self) -> App:
        """The bare ASGI application of all the endpoints, to be mounted where you choose."""
        from hive_boot.serving.endpoints import Endpoints  # noqa: PLC0415  (as above)

        return Endpoints(self.status, self._name)

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
