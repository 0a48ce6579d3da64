"""``hive-boot probe``: ask an endpoint whether it is well.

A health check starts an interpreter each time, so this imports a socket and no more.
"""

from __future__ import annotations

import socket
from time import monotonic

from hive_boot.cli.showing import answer, say
from hive_boot.cli.usage import NO, Parser, UsageError

TYPE_CHECKING = False  # typing would take as long as all of a probe
if TYPE_CHECKING:
    from argparse import Namespace

_MOST = 1 << 16
"""Bytes of an answer that are read."""

_PATH = "/readyz"

_LONGEST = 86400.0
"""Seconds: more than a day is a slip, and more than a clock can count is an error."""

_SHOWN = 200
"""Characters of an answer that are shown."""


class _Place:
    """What is asked.

    Attributes:
        secure: whether it is https.
        host: a name or an address, of IPv6 without brackets.
        port: the port.
        target: the path and the query.
    """

    __slots__ = ("host", "port", "secure", "target")

    def __init__(self, host: str, port: int, target: str, *, secure: bool) -> None:
        self.host = host
        self.port = port
        self.target = target
        self.secure = secure

    @property
    def authority(self) -> str:
        """Give host and port as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Give the whole."""
        return f"http{'s' if self.secure else ''}://{self.authority}{self.target}"


def parser() -> Parser:
    """Give what it takes."""
    parser = Parser(
        "probe",
        "Ask an endpoint whether it is well, for health checks in images without curl.\n"
        "Exit 0 when it answers with a status from 200 to 399, as the kubelet judges, else 1.",
        example="hive-boot probe --port 8000\nhive-boot probe http://127.0.0.1:8000/livez",
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="what is asked")
    parser.add_argument("--port", type=int, help="the port, of this machine")
    parser.add_argument("--path", help=f"the path, with --port ({_PATH})")
    parser.add_argument(
        "--timeout", type=float, default=3.0, metavar="SECONDS", help="in all (%(default)s)"
    )
    parser.takes_json()
    return parser


def run(arguments: Namespace) -> int:
    """Do it."""
    place = _place(arguments)
    status, text = 0, ""
    try:
        status, text = _ask(place, arguments.timeout)
    except UnicodeError:
        # Python raises this of a name that no host can have: an empty part, a long one.
        text = "this is no name of a host"
    except OSError as exc:
        text = exc.strerror or (str(exc) or type(exc).__name__)
    well = 200 <= status < 400  # noqa: PLR2004  (what the kubelet takes for success)
    shown = "".join(each for each in text.strip().partition("\n")[0] if each.isprintable())[:_SHOWN]
    if arguments.json:
        answer({"ok": well, "url": place.url, "status": status or None, "text": shown})
    else:
        say(f"{place.url}: {f'{status} {shown}'.strip() if status else shown}")
    return 0 if well else NO


def _place(arguments: Namespace) -> _Place:
    """Find out what to ask.

    Raises:
        UsageError: it is not said, or not clearly.
    """
    if not 0 < arguments.timeout <= _LONGEST:
        message = f"--timeout has to be a number of seconds, more than 0, at most {_LONGEST:g}"
        raise UsageError(message)
    if (arguments.url is None) == (arguments.port is None):
        message = "say what to ask, by URL or by --port"
        raise UsageError(message)
    if arguments.url is None:
        path = _PATH if arguments.path is None else arguments.path
        scheme, rest = "http", f"127.0.0.1:{arguments.port}/{path.lstrip('/')}"
    elif arguments.path is not None:
        message = "--path goes with --port; a URL has its path at its end"
        raise UsageError(message)
    else:
        scheme, _, rest = arguments.url.partition("://")
    if scheme.lower() not in {"http", "https"} or not rest.isprintable() or " " in rest:
        message = "URL is http://host:port/path"
        raise UsageError(message)
    authority, slash, path = rest.partition("/")
    host, port = _host_and_port(authority, 443 if scheme.lower() == "https" else 80)
    return _Place(host, port, slash + path or "/", secure=scheme.lower() == "https")


def _host_and_port(authority: str, usual: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, str(usual)
    host = host.removeprefix("[").removesuffix("]")
    most = 1 << 16
    if not host or "@" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < most):
        message = f"a URL names a host, and a port from 1 to {most - 1}, and no user"
        raise UsageError(message)
    return host, int(port)


def _ask(place: _Place, timeout: float) -> tuple[int, str]:
    """Send one request, and give the status and the body of the answer.

    In HTTP/1.0, in which no body comes in chunks.

    Raises:
        OSError: nobody answers, or not in time, or not in HTTP.
    """
    until = monotonic() + timeout
    request = (
        f"GET {place.target} HTTP/1.0\r\nHost: {place.authority}\r\n"
        "User-Agent: hive-boot-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    with (
        socket.create_connection((place.host, place.port), timeout) as plain,
        _secured(plain, place) as connection,
    ):
        connection.sendall(request.encode())
        received = b""
        while len(received) < _MOST:
            connection.settimeout(max(0.001, until - monotonic()))
            chunk = connection.recv(_MOST)
            if not chunk:
                break
            received += chunk
            if _is_whole(received):
                # Some keep the connection, whatever they were asked.
                break
    head, _, body = received.partition(b"\r\n\r\n")
    protocol, _, rest = head.partition(b" ")
    status = rest[:3]
    if not protocol.startswith(b"HTTP/") or not status.isdigit():
        message = "what answers there does not speak HTTP"
        raise OSError(message)
    return int(status), body.decode("utf-8", "replace")


def _is_whole(received: bytes) -> bool:
    """Tell whether an answer that says how long it is has come to its end."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, length = line.partition(b":")
        if name.lower() == b"content-length" and length.strip().isdigit():
            return len(body) >= int(length)
    return False


def _secured(plain: socket.socket, place: _Place) -> socket.socket:
    if not place.secure:
        return plain
    from ssl import create_default_context  # noqa: PLC0415  (few ask it: OpenSSL takes its time)

    return create_default_context().wrap_socket(plain, server_hostname=place.host)
