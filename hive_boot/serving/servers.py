"""HTTP service: selection of a server, and its run as a listener of an application."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import DeclarationError, LifecycleError
from hive_boot.lifecycle.tasks import log_event
from hive_boot.runtime.log_messages import fallback_handler
from hive_boot.secrets.fix_hints import did_you_mean
from hive_boot.serving.asgi import ProxyHeadersMiddleware, ReadinessMiddleware, app_lifespan
from hive_boot.serving.http_server import BACKLOG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from ssl import SSLContext

    from anyio.abc import TaskStatus

    from hive_boot._timings import Timings
    from hive_boot.lifecycle.states import State
    from hive_boot.runtime.run import Run
    from hive_boot.runtime.status import Status
    from hive_boot.secrets.platform import StrPath
    from hive_boot.serving.endpoints import App
    from hive_boot.serving.http_server import HttpServer
    from hive_boot.tls import ServerCertificate

_BACKENDS = {"uvicorn": ("asyncio",), "hypercorn": ("asyncio", "trio")}
"""The backends that each server supports."""


_ACCESS_LOG = {"uvicorn": "access_log", "hypercorn": "accesslog"}
"""The option of each server that decides about its access log."""


def bind(
    host: str, port: int, *, uds: StrPath | None = None, fd: int | None = None
) -> socket.socket:
    """Open a listening socket. Clients can connect at once, and wait until they are accepted.

    Args:
        host: an address of this machine, or a host name that resolves to one.
        port: the port; 0 for any free port.
        uds: the path of a Unix socket, instead of host and port.
        fd: the descriptor of a bound stream socket, instead of the others; it is taken over.

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
        sock.setblocking(False)  # noqa: FBT003  (its only argument)
        sock.set_inheritable(False)
        sock.listen(BACKLOG)
    except (OSError, OverflowError, TypeError, ValueError) as exc:
        if sock is not None:
            sock.close()
        reason = (exc.strerror if isinstance(exc, OSError) else None) or exc
        where = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        where = f"fd={fd}" if fd is not None else f"uds={str(uds)!r}" if uds is not None else where
        message = f"Cannot listen on {where}: {reason}."
        # The message contains the reason: a chained traceback adds nothing.
        raise LifecycleError(message) from None
    return sock


def _bind_path(sock: socket.socket, path: str) -> None:
    """Bind a Unix socket, in place of one that a process has left behind.

    Every user may connect, as to a port: the directory of the path decides who can reach it.
    """
    # BlockingIOError: a process listens, and its queue is full.
    with suppress(FileNotFoundError, BlockingIOError), socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)  # noqa: FBT003  (its only argument)
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            try:
                client.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)  # noqa: PTH108  (as it was passed)
    sock.bind(path)
    os.chmod(path, 0o666)  # noqa: PTH101, S103  (as uvicorn does)


@contextmanager
def _removed_at_end(path: StrPath | None) -> Iterator[None]:
    """Remove the path of a Unix socket at the end of the block, unless it is another one then."""
    if path is None:
        yield
        return
    own = os.stat(path)  # noqa: PTH116  (as it was passed)
    try:
        yield
    finally:
        with suppress(OSError):
            if os.path.samestat(own, os.stat(path)):  # noqa: PTH116
                os.unlink(path)  # noqa: PTH108


def http_server(
    name: str,
    backend: str,
    timings: Timings = DEFAULTS,
    options: Mapping[str, Any] | None = None,
    context: SSLContext | None = None,
) -> HttpServer:
    """Return a server that has not been started.

    Args:
        name: ``uvicorn`` or ``hypercorn``.
        backend: ``asyncio`` or ``trio``.
        timings: how long the server may take to end.
        options: options of the server's own configuration. Default: none.
        context: the context of TLS. Default None: plain HTTP.

    Raises:
        DeclarationError: the server is unknown, not installed, or does not support the backend; or
            an option is unknown, of the wrong type, or decided by hive_boot.
    """
    if name not in _BACKENDS:
        message = f"Invalid server {name!r}: expected {' or '.join(map(repr, _BACKENDS))}."
        raise DeclarationError(message)
    if backend not in _BACKENDS[name]:
        supported = " and ".join(_BACKENDS[name])
        message = (
            f"{name} supports only {supported}, not the backend {backend}. Fix: server='hypercorn'"
        )
        raise DeclarationError(message)
    if find_spec(name) is None:
        message = f"{name} is not installed. Fix: pip install {name}"
        raise DeclarationError(message)
    server: type[HttpServer]
    if name == "uvicorn":
        from hive_boot.serving.uvicorn_server import UvicornServer  # noqa: PLC0415  (optional)

        server = UvicornServer
    else:
        from hive_boot.serving.hypercorn_server import HypercornServer  # noqa: PLC0415  (optional)

        server = HypercornServer
    _validate_options(name, options or {}, server.known_options)
    return server(backend, options or {}, context, timings)


_DECIDED = re.compile(
    "app|(.+_)?bind|callback_notify|cert_reqs|certfile|daemon|debug|env_file|factory|fd|group|host"
    "|graceful_timeout|interface|keyfile.*|lifespan|log|loop|(limit_)?max_requests.*|pid_path|port"
    "|(use_)?reload.*|(shutdown|startup)_timeout|ssl_(certfile|context|enabled|keyfile|version).*"
    "|timeout_graceful_shutdown|uds|umask|user|work.*"
)
"""Options of uvicorn and hypercorn that hive_boot decides, or that need their own process."""


_TYPES: dict[str, tuple[str, Any]] = {
    "bool": ("True or False", bool),
    "float": ("a number", int | float),
    "int": ("a number", int | float),
    "str": ("a str", str | os.PathLike),
}
"""The types of options that are checked; the server itself refuses other wrong values."""


def _validate_options(name: str, options: Mapping[str, Any], known: Mapping[str, str]) -> None:
    for option, value in options.items():
        if _DECIDED.fullmatch(str(option)):
            message = (
                f"server_options= cannot set {option!r}. Fix: use the arguments of serve() (host, "
                "port, uds, fd, tls, backend) or of Bootstrap (shutdown_timeout)."
            )
            raise DeclarationError(message)
        if option not in known:
            allowed = [each for each in known if not _DECIDED.fullmatch(each)]
            near = did_you_mean(str(option), allowed)
            message = f"{name} has no option {option!r}.{near}"
            raise DeclarationError(message)
        expected, kind = _TYPES.get(known[option].removesuffix(" | None"), ("", object))
        if not (value is None or isinstance(value, kind)):
            message = f"Invalid option {option!r} of {name}: expected {expected}, not {value!r}."
            raise DeclarationError(message)


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
        certificate: the certificate of TLS; None for plain HTTP.
    """

    certificate: ServerCertificate | None = None

    def __init__(  # noqa: PLR0913  (the address, and functions of the run)
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
        self._middleware: App = ReadinessMiddleware(app, status, lambda: self._values, phase=phase)
        self._server: HttpServer | None = None
        self._done = anyio.Event()
        self._accepting = anyio.Event()

    def select_server(
        self, server: str, backend: str, options: Mapping[str, Any] | None = None
    ) -> None:
        """Select a server, and check that it can run.

        Args:
            server: ``uvicorn`` or ``hypercorn``.
            backend: ``asyncio``, ``uvloop`` or ``trio``.
            options: options of the server; ``proxy_headers`` and ``forwarded_allow_ips`` mean the
                same for both. Default: none.

        Raises:
            DeclarationError: the server is unknown, not installed, or does not support the backend;
                or an option is invalid.
        """
        given: object = options or {}
        if not isinstance(given, Mapping):
            message = "server_options= must be a mapping of names to values."
            raise DeclarationError(message)
        own = dict(given)
        trusted = own.pop("forwarded_allow_ips", None)
        if own.pop("proxy_headers", True):
            if trusted is None:
                trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
            if isinstance(trusted, list | tuple | set | frozenset):
                trusted = ",".join(map(str, trusted))
            self._middleware = ProxyHeadersMiddleware(self._middleware, str(trusted))
        self._selected = server, "trio" if backend == "trio" else "asyncio"
        self._options = own
        http_server(*self._selected, options=own)

    async def start_listening(self, *, task_status: TaskStatus[None]) -> None:
        """Listen and serve until the stop; requests get 503 until the application is ready.

        With TLS the socket is open at once too, and clients wait for the certificate.

        Raises:
            LifecycleError: the address is invalid, in use or not allowed.
        """
        sock = bind(*self._address, uds=self._uds, fd=self._fd)
        log_event(logging.INFO, "Listening on %s", self._url(sock))
        is_logged = self._options.get(_ACCESS_LOG[self._selected[0]], True) is True
        loggers = [f"{self._selected[0]}.access"] if is_logged else []
        try:
            with _removed_at_end(self._uds), fallback_handler(*loggers):
                status: Any = task_status
                context = None
                if self.certificate is not None:
                    task_status.started()
                    status = SimpleNamespace(started=self._accepting.set)
                    context = await self.certificate.wait()
                self._server = http_server(*self._selected, self._timings, self._options, context)
                await self._server.serve(self._middleware, sock, task_status=status)
        finally:
            sock.close()
            self._done.set()

    def _url(self, sock: socket.socket) -> str:
        """Return the address of a socket for the log."""
        name = sock.getsockname()
        if not isinstance(name, tuple):
            return f"unix:{os.fsdecode(name)}"
        host, port = name[:2]
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @asynccontextmanager
    async def lifespan(self, run: Run[Any, Any]) -> AsyncIterator[None]:
        """Run the lifespan of the ASGI application.

        Raises:
            LifecycleError: the application reported that its startup or shutdown failed.
        """
        if self.certificate is not None:
            await self._accepting.wait()
        self._values = run.request_state
        async with app_lifespan(self._app, self._values):
            yield

    async def wait_until_stopped(self, run: Run[Any, Any]) -> None:
        """Wait until the stop, then stop the server and give requests in flight time to end.

        Raises:
            LifecycleError: the server ended before the stop.
        """
        if self._server is None:
            return
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
            message = "The HTTP server ended before hive_boot stopped it."
            raise LifecycleError(message)
