"""``hive-boot probe``: requests a health endpoint, for images without curl.

A health check starts an interpreter each time, so this module imports little more than
sockets.
"""

from __future__ import annotations

import socket
from time import monotonic

from hive_boot.cli.arguments import EXIT_FAILURE, Parser, UsageError
from hive_boot.cli.output import print_json, print_line

TYPE_CHECKING = False  # importing typing takes as long as all of a probe
if TYPE_CHECKING:
    from argparse import Namespace

_MOST_BYTES = 1 << 16
"""Bytes of a response that are read."""

_DEFAULT_PATH = "/readyz"

_MOST_SECONDS = 86400.0
"""More than a day is a mistake; more than a clock can count raises in the socket."""

_SHOWN = 200
"""Characters of a response that are printed."""


class _Target:
    """The endpoint to request.

    Attributes:
        secure: whether the scheme is https.
        host: a name or an address; one of IPv6 has no brackets.
        port: the port.
        path: the path and the query.
    """

    __slots__ = ("host", "path", "port", "secure")

    def __init__(self, host: str, port: int, path: str, *, secure: bool) -> None:
        self.host = host
        self.port = port
        self.path = path
        self.secure = secure

    @property
    def authority(self) -> str:
        """The host and the port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"http{'s' if self.secure else ''}://{self.authority}{self.path}"


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "probe",
        "Request a health endpoint, for health checks in images without curl.\n"
        "Exit 0 for a status from 200 to 399, as for the kubelet, else 1.",
        example="hive-boot probe --port 8000\nhive-boot probe http://127.0.0.1:8000/livez",
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="the endpoint")
    parser.add_argument("--port", type=int, help="the port, of this machine")
    parser.add_argument("--path", help=f"the path, with --port ({_DEFAULT_PATH})")
    parser.add_argument(
        "--timeout", type=float, default=3.0, metavar="SECONDS", help="in all (%(default)s)"
    )
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    target = _target(arguments)
    status, text = 0, ""
    try:
        status, text = _request(target, arguments.timeout)
    except UnicodeError:
        # Python raises this for a name with an empty or a long label.
        text = "this is not the name of a host"
    except OSError as exc:
        text = exc.strerror or (str(exc) or type(exc).__name__)
    ok = 200 <= status < 400  # noqa: PLR2004  (success for the kubelet)
    shown = "".join(each for each in text.strip().partition("\n")[0] if each.isprintable())[:_SHOWN]
    if arguments.json:
        print_json({"ok": ok, "url": target.url, "status": status or None, "text": shown})
    else:
        print_line(f"{target.url}: {f'{status} {shown}'.strip() if status else shown}")
    return 0 if ok else EXIT_FAILURE


def _target(arguments: Namespace) -> _Target:
    """Return the endpoint that the arguments name.

    Raises:
        UsageError: they name none, or more than one.
    """
    if not 0 < arguments.timeout <= _MOST_SECONDS:
        message = (
            f"--timeout must be a number of seconds, more than 0 and at most {_MOST_SECONDS:g}"
        )
        raise UsageError(message)
    if (arguments.url is None) == (arguments.port is None):
        message = "name the endpoint, by URL or by --port"
        raise UsageError(message)
    if arguments.url is None:
        path = _DEFAULT_PATH if arguments.path is None else arguments.path
        scheme, rest = "http", f"127.0.0.1:{arguments.port}/{path.lstrip('/')}"
    elif arguments.path is not None:
        message = "--path goes with --port; a URL ends with its path"
        raise UsageError(message)
    else:
        scheme, _, rest = arguments.url.partition("://")
    if scheme.lower() not in {"http", "https"} or not rest.isprintable() or " " in rest:
        message = "URL must be http://host:port/path"
        raise UsageError(message)
    authority, slash, path = rest.partition("/")
    host, port = _host_and_port(authority, 443 if scheme.lower() == "https" else 80)
    return _Target(host, port, slash + path or "/", secure=scheme.lower() == "https")


def _host_and_port(authority: str, usual: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, str(usual)
    host = host.removeprefix("[").removesuffix("]")
    most = 1 << 16
    if not host or "@" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < most):
        message = f"a URL must have a host, a port from 1 to {most - 1}, and no user"
        raise UsageError(message)
    return host, int(port)


def _request(target: _Target, timeout: float) -> tuple[int, str]:
    """Send one request and return the status and the body of the response.

    The request is HTTP/1.0, because its response is never chunked.

    Raises:
        OSError: there is no response in time, or it is not HTTP.
    """
    until = monotonic() + timeout
    request = (
        f"GET {target.path} HTTP/1.0\r\nHost: {target.authority}\r\n"
        "User-Agent: hive-boot-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    with (
        socket.create_connection((target.host, target.port), timeout) as plain,
        _secured(plain, target) as connection,
    ):
        connection.sendall(request.encode())
        received = b""
        while len(received) < _MOST_BYTES:
            connection.settimeout(max(0.001, until - monotonic()))
            chunk = connection.recv(_MOST_BYTES)
            if not chunk:
                break
            received += chunk
            if _is_whole(received):
                # Some servers keep the connection open all the same.
                break
    head, _, body = received.partition(b"\r\n\r\n")
    protocol, _, rest = head.partition(b" ")
    status = rest[:3]
    if not protocol.startswith(b"HTTP/") or not status.isdigit():
        message = "the response is not HTTP"
        raise OSError(message)
    return int(status), body.decode("utf-8", "replace")


def _is_whole(received: bytes) -> bool:
    """Return whether a response with a Content-Length is complete."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, length = line.partition(b":")
        if name.lower() == b"content-length" and length.strip().isdigit():
            return len(body) >= int(length)
    return False


def _secured(plain: socket.socket, target: _Target) -> socket.socket:
    if not target.secure:
        return plain
    from ssl import create_default_context  # noqa: PLC0415  (only for https: OpenSSL is slow to import)

    return create_default_context().wrap_socket(plain, server_hostname=target.host)
