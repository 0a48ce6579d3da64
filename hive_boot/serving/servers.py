"""HTTP service: selection of a server, its run as a listener, and its shutdown."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from math import inf
from types import NoneType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._timings import DEFAULTS, Timings
from hive_boot.exceptions import DeclarationError, LifecycleError, did_you_mean
from hive_boot.lifecycle.tasks import log_event, unwrap_single
from hive_boot.runtime.log_messages import fallback_handler
from hive_boot.serving.asgi import (
    InFlightRequests,
    ProxyHeadersMiddleware,
    ReadinessMiddleware,
    app_lifespan,
    no_lease,
)
from hive_boot.serving.endpoints import App, validate_asgi

if TYPE_CHECKING:
    from ssl import SSLContext

    from anyio.abc import TaskStatus

    from hive_boot.lifecycle.states import State
    from hive_boot.runtime.run import Run
    from hive_boot.runtime.status import Status
    from hive_boot.secrets.platform import StrPath
    from hive_boot.serving.asgi import Lease
    from hive_boot.serving.hypercorn_server import HypercornServer
    from hive_boot.serving.uvicorn_server import UvicornServer
    from hive_boot.tls import LiveContext

BACKLOG = 2048
"""Maximum number of connections that wait to be accepted; the kernel may allow fewer."""


_BACKENDS = {"uvicorn": ("asyncio",), "hypercorn": ("asyncio", "trio")}
"""The backends that each server supports."""


_ACCESS_LOG = {"uvicorn": "access_log", "hypercorn": "accesslog"}
"""The option of each server that enables its access log."""


def bind(
    host: str, port: int, *, uds: StrPath | None = None, fd: int | None = None
) -> socket.socket:
    """Open a listening socket. Clients can connect at once, and wait until they are accepted.

    Args:
        host: an address of this machine, or a host name that resolves to one.
        port: the port; 0 for any free port.
        uds: the path of a Unix socket, instead of host and port.
        fd: the descriptor of a bound stream socket, instead of the other arguments; the returned
            socket owns it.

    Raises:
        LifecycleError: the address is invalid, in use or not allowed.
    """
    sock = None
    try:
        if fd is not None:
            sock = socket.socket(fileno=fd)
        elif uds is not None:
            sock = socket.socket(socket.AF_UNIX)
            _bind_path(sock, os.fspath(uds))
        else:
            # Without the port: getaddrinfo() accepts 70000 and returns 4464.
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, address = found[0]
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address[0], port, *address[2:]))
        sock.set_inheritable(False)
        sock.listen(BACKLOG)
    except (OSError, OverflowError, TypeError, ValueError) as exc:
        if sock is not None:
            sock.close()
        reason = (exc.strerror if isinstance(exc, OSError) else None) or exc
        where = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        where = f"fd={fd}" if fd is not None else f"uds={str(uds)!r}" if uds is not None else where
        message = f"Cannot listen on {where}: {str(reason).removesuffix('.')}."
        # The message contains the reason: a chained traceback adds nothing.
        raise LifecycleError(message) from None
    return sock


def _bind_path(sock: socket.socket, path: str) -> None:
    """Bind a Unix socket, and replace one that an ended process has left.

    Every user may connect, as to a port. The permissions of the directory can restrict this.
    """
    # BlockingIOError: a process listens, and its queue is full.
    with suppress(FileNotFoundError, BlockingIOError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            try:
                client.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)  # as it was passed
    sock.bind(path)
    os.chmod(path, 0o666)  # noqa: S103  (as uvicorn does)


_RESERVED_OPTIONS = re.compile(
    "app|(.+_)?bind|callback_notify|cert_reqs|certfile|daemon|debug|env_file|factory|fd|group|host"
    "|graceful_timeout|interface|keyfile.*|lifespan|log|loop|(limit_)?max_requests.*|pid_path|port"
    "|(use_)?reload.*|(shutdown|startup)_timeout|ssl_(certfile|context|enabled|keyfile|version).*"
    "|timeout_graceful_shutdown|uds|umask|user|work.*"
)
"""Options of uvicorn and hypercorn that hive_boot decides, or that need their own process."""


_COMMON_OPTIONS = {"proxy_headers": "bool", "forwarded_allow_ips": "list[str] | str | None"}
"""The types of the options that mean the same for both servers."""


_TYPES: dict[str, Any] = {
    "bool": bool | None,
    "dict": Mapping,
    "float": int | float,
    "int": int | float,
    "list": list | tuple | set | frozenset,
    "logging.Logger": logging.Logger,
    "None": NoneType,
    "str": str | os.PathLike,
}
"""Accepted classes by the names in annotations; the server checks values of other annotations."""


def _validate_options(name: str, options: object, known: Mapping[str, str]) -> dict[str, Any]:
    """Return the options as a new dictionary."""
    if not isinstance(options, Mapping):
        raise DeclarationError("server_options= must be a mapping of names to values.")
    for option, value in options.items():
        if _RESERVED_OPTIONS.fullmatch(str(option)):
            raise DeclarationError(
                f"server_options= cannot set {option!r}. Fix: use the arguments of serve() (host, "
                "port, uds, fd, tls, backend) or of Bootstrap (shutdown_timeout)."
            )
        if option not in known:
            allowed = [each for each in known if not _RESERVED_OPTIONS.fullmatch(each)]
            near = did_you_mean(str(option), allowed)
            raise DeclarationError(f"{name} has no option {option!r}.{near}")
        kinds = [each.partition("[")[0] for each in known[option].split(" | ")]
        may_be_none = re.search("None|Optional", known[option]) is not None
        is_unchecked = (value is not None or may_be_none) and not _TYPES.keys() >= {*kinds}
        if not (is_unchecked or any(isinstance(value, _TYPES.get(each, ())) for each in kinds)):
            raise DeclarationError(
                f"Invalid option {option!r} of {name}: expected {known[option]}, not {value!r}."
            )
    return dict(options)


class HttpServer:
    """HTTP server that serves one application once.

    It installs no signal handlers, configures no logging and does not run the lifespan of the
    application. Its caller decides when it stops.

    Args:
        name: ``uvicorn`` or ``hypercorn``.
        backend: ``asyncio`` or ``trio``.
        timings: how long the server may take to answer cancelled requests.
        options: options of the server's own configuration, and two that mean the same for both:
            ``proxy_headers`` and ``forwarded_allow_ips``. Default: none.

    Attributes:
        access_loggers: the loggers of requests.
        trusted_proxies: the addresses of proxies whose headers are used; None for no proxy.

    Raises:
        DeclarationError: the server is unknown, not installed, or does not support the backend; or
            an option is unknown, of the wrong type, or decided by hive_boot.
    """

    def __init__(
        self, name: str, backend: str, timings: Timings = DEFAULTS, options: object = None
    ) -> None:
        if name not in _BACKENDS:
            message = f"Invalid server {name!r}: expected {' or '.join(map(repr, _BACKENDS))}."
            raise DeclarationError(message)
        if backend not in _BACKENDS[name]:
            supported = " and ".join(_BACKENDS[name])
            message = f"{name} supports only {supported}, not the backend {backend}. Fix: "
            raise DeclarationError(message + "server='hypercorn'")
        if find_spec(name) is None:
            raise DeclarationError(f"{name} is not installed. Fix: pip install {name}")
        self._engine_class: type[UvicornServer | HypercornServer]
        if name == "uvicorn":
            from hive_boot.serving.uvicorn_server import UvicornServer  # optional

            self._engine_class = UvicornServer
        else:
            from hive_boot.serving.hypercorn_server import HypercornServer

            self._engine_class = HypercornServer
        known = {**self._engine_class.known_options, **_COMMON_OPTIONS}
        self._options = _validate_options(name, {} if options is None else options, known)
        trusted = self._options.pop("forwarded_allow_ips", None)
        if trusted is None:
            trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
        uses_headers = self._options.pop("proxy_headers", True)
        self.trusted_proxies: list[str] | None = None
        if uses_headers:
            self.trusted_proxies = trusted.split(",") if isinstance(trusted, str) else [*trusted]
        is_logged = self._options.get(_ACCESS_LOG[name], True) is True
        self.access_loggers: list[str] = [f"{name}.access"] if is_logged else []
        self._backend = backend
        self._stop_timeout = timings.server_stop_timeout
        self._deadlines = inf, inf
        self._engine: UvicornServer | HypercornServer | None = None
        self._requests: InFlightRequests | None = None
        self._scopes: tuple[anyio.CancelScope, anyio.CancelScope] | None = None

    async def serve(
        self,
        app: App,
        sock: socket.socket,
        context: SSLContext | None = None,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until :meth:`stop`. A cancellation is a stop with 0 seconds of grace.

        Args:
            app: the application; its lifespan is not run here.
            sock: the socket that :func:`bind` returned; it is closed at the stop.
            context: the SSL context. Default None: plain HTTP.
            task_status: notified when connections are accepted.

        Raises:
            DeclarationError: the server did not start with its options.
            Exception: the server crashed.
        """
        requests = self._requests = InFlightRequests(app)
        failures: list[Exception] = []
        accepting = anyio.Event()
        is_started = False
        grace_scope = anyio.CancelScope()
        server_scope = anyio.CancelScope(shield=True)
        self._scopes = grace_scope, server_scope
        async with anyio.create_task_group() as group:

            async def serve_until_stopped() -> None:
                try:
                    with server_scope:
                        start = self._engine_class
                        self._engine = start(requests, self._options, context, accepting.set)
                        self._apply_deadlines()
                        await self._engine.run_on(sock, self._backend)
                except Exception as exc:  # noqa: BLE001  (raised after the group)
                    # hypercorn on asyncio raises when it is cancelled.
                    if not server_scope.cancel_called:
                        failures.append(exc)
                finally:
                    if server_scope.cancel_called:
                        requests.report_unfinished()
                    sock.close()
                    accepting.set()
                    group.cancel_scope.cancel()

            async def end_requests_after_grace() -> None:
                try:
                    with grace_scope:
                        await anyio.sleep_forever()
                finally:
                    requests.end(self._deadlines[1] - anyio.current_time())

            group.start_soon(serve_until_stopped)
            group.start_soon(end_requests_after_grace)
            try:
                await accepting.wait()
                if not failures:
                    task_status.started()
                    is_started = True
                await anyio.sleep_forever()
            finally:
                self.stop(0)
        for failure in map(unwrap_single, failures):
            if self._options and not is_started:
                names = ", ".join(self._options)
                message = f"server_options= with {names} cannot be used: {failure!r}."
                raise DeclarationError(message) from None
            raise failure

    def describe_requests(self) -> list[str]:
        """Return a line for each request in flight."""
        lines = [] if self._requests is None else self._requests.describe()
        return [f"{'request':<9} {line}" for line in lines]

    def stop(self, grace: float, cleanup: float = 0.0) -> None:
        """Stop accepting connections and begin the shutdown; to be called in the loop.

        Args:
            grace: seconds until requests in flight are cancelled. A second call can only
                shorten the time.
            cleanup: seconds after that, in which cancelled requests can clean up. Default 0.
        """
        now = anyio.current_time()
        cancel, end = self._deadlines
        self._deadlines = min(cancel, now + grace), min(end, now + grace + cleanup)
        self._apply_deadlines()

    def _apply_deadlines(self) -> None:
        cancel, end = self._deadlines
        if end < inf and self._engine is not None and self._scopes is not None:
            grace_scope, server_scope = self._scopes
            grace_scope.deadline = cancel
            server_scope.deadline = end + 2 * self._stop_timeout
            self._engine.begin_shutdown(end - anyio.current_time() + self._stop_timeout)


class HttpService:
    """HTTP listener of an ASGI application.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 for any free port.
        uds: the path of a Unix socket, instead of host and port.
        fd: the descriptor of a bound socket, instead of the others.
        status: returns the status that the probes report.
        phase: returns the state of the run.
        timings: how long the server may take to end.

    Attributes:
        tls: the context for TLS; None for plain HTTP.
    """

    tls: LiveContext | None = None
    _server: HttpServer

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        *,
        uds: StrPath | None = None,
        fd: int | None = None,
        status: Callable[[], Status],
        phase: Callable[[], State],
        timings: Timings = DEFAULTS,
    ) -> None:
        self._app = app
        self._address = host, port
        self._uds = None if fd is not None else uds
        self._fd = fd
        self._timings = timings
        self._values: dict[str, Any] = {}
        self._lease: Lease = no_lease
        self._middleware: App = ReadinessMiddleware(
            app,
            status,
            lambda: self._values,
            phase=phase,
            lease=lambda: self._lease(),  # the run replaces it
        )
        self._done = anyio.Event()
        self._accepting = anyio.Event()

    def select_server(
        self, server: str, backend: str, options: Mapping[str, Any] | None = None
    ) -> None:
        """Select a server, and check that it can run.

        Args:
            server: ``uvicorn`` or ``hypercorn``.
            backend: ``asyncio``, ``uvloop`` or ``trio``.
            options: as for :class:`HttpServer`.

        Raises:
            DeclarationError: as for :class:`HttpServer`; or the application is not one.
        """
        validate_asgi(self._app)
        backend = "trio" if backend == "trio" else "asyncio"
        self._server = HttpServer(server, backend, self._timings, options)
        if (trusted := self._server.trusted_proxies) is not None:
            self._middleware = ProxyHeadersMiddleware(self._middleware, trusted)

    async def start_listening(self, *, task_status: TaskStatus[None]) -> None:
        """Listen and serve until the stop; requests get 503 until the application is ready.

        With TLS the socket is open at once too, and clients wait for the certificate.

        Raises:
            LifecycleError: the address is invalid, in use or not allowed.
        """
        sock = bind(*self._address, uds=self._uds, fd=self._fd)
        path = self._uds
        created = path and os.stat(path)  # as it was passed
        log_event(logging.INFO, "Listening on %s", self._url(sock))
        try:
            with fallback_handler(*self._server.access_loggers):
                status: Any = task_status
                if self.tls is not None:
                    task_status.started()
                    status = SimpleNamespace(started=self._accepting.set)
                    await self.tls.wait()
                await self._server.serve(self._middleware, sock, self.tls, task_status=status)
        finally:
            sock.close()
            self._done.set()
            with suppress(OSError):
                # Another process may have replaced the Unix socket.
                if path and created and os.path.samestat(created, os.stat(path)):
                    os.unlink(path)

    def _url(self, sock: socket.socket) -> str:
        """Return the address of a socket for the log."""
        name = sock.getsockname()
        if not isinstance(name, tuple):
            return f"unix:{os.fsdecode(name)}"
        host, port = name[:2]
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @asynccontextmanager
    async def lifespan(self, run: Run[Any, Any]) -> AsyncIterator[None]:
        """Run the lifespan of the ASGI application.

        Raises:
            LifecycleError: the application reported that its startup or shutdown failed.
        """
        if self.tls is not None:
            await self._accepting.wait()
        self._values, self._lease = run.request_state, run.lease_for_request
        async with app_lifespan(self._app, self._values):
            yield

    async def wait_until_stopped(self, run: Run[Any, Any]) -> None:
        """Wait until the stop, then stop the server and give requests in flight time to end.

        Raises:
            LifecycleError: the server ended before the stop.
        """
        run.runner.describe_with(self._server.describe_requests)
        try:
            await self._done.wait()
        finally:
            # Half of the time is for requests, a quarter for the clean-up of those that are
            # cancelled, and the rest for the resources. A request that runs in a thread cannot be
            # cancelled, so the wait is limited.
            run.shutdown.start_deadline()
            left = max(0.0, run.shutdown.deadline - time.monotonic())
            self._server.stop(left / 2, left / 4)
            with anyio.move_on_after(left * 7 / 8, shield=True):
                await self._done.wait()
        if run.runner.failure is None:
            raise LifecycleError("The HTTP server ended before hive_boot stopped it.")
