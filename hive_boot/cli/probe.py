"""Probe command: one HTTP request to a health endpoint, for images without curl; an HTTP client.

Each health check starts a new interpreter, so this module imports little besides ``socket``.
"""

from __future__ import annotations

import re
import socket
from io import BufferedReader, RawIOBase
from time import monotonic

from hive_boot.cli import EXIT_FAILURE, Parser, UsageError, print_json, print_line

TYPE_CHECKING = False  # typing takes as long to import as the rest of a probe
if TYPE_CHECKING:
    from argparse import Namespace
    from http.client import HTTPResponse
    from urllib.parse import SplitResult

    from _typeshed import WriteableBuffer

_MAX_BYTES = 1 << 16
"""Limit of the bytes that are read from a response."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
"""The first line of a response: https://www.rfc-editor.org/rfc/rfc9112#section-4"""

_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]{1,18})[ \t]*\r?$")
"""The header Content-Length; int() refuses thousands of digits."""

_PORT = re.compile("[0-9]{1,5}")

_DEFAULT_PATH = "/readyz"

_MAX_TIMEOUT = 86400.0
"""Limit of ``--timeout``: one day. Much larger values make ``settimeout`` raise OverflowError."""

_MAX_PRINTED = 200
"""Limit of the characters that are printed from a response."""


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "probe",
        "Request a health endpoint, for health checks in images without curl.\n"
        "Exit 0 for an HTTP status from 200 to 399, as in the kubelet; otherwise exit 1.",
        example="hive-boot probe --port 8000\nhive-boot probe http://127.0.0.1:8000/livez",
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="URL of the endpoint")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1, instead of URL")
    parser.add_argument("--path", help=f"path, with --port (default: {_DEFAULT_PATH})")
    parser.add_argument(
        "--timeout",
        type=float,
        default=3.0,
        metavar="SECONDS",
        help="time to wait for the response (default: %(default)s)",
    )
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    url, host, port = _endpoint(arguments)
    status, text = 0, ""
    try:
        status, text = _request(url, host, port, arguments.timeout)
    except UnicodeError:
        # Python encodes a host name with IDNA, which rejects an empty or a long label.
        text = "invalid host name"
    except OSError as exc:
        text = exc.strerror or (str(exc) or type(exc).__name__)
    ok = status in range(200, 400)  # success for the kubelet
    shown = text.strip().partition("\n")[0].rstrip()[:_MAX_PRINTED]
    if arguments.json:
        print_json({"ok": ok, "url": url, "status": status or None, "text": shown})
    else:
        print_line(f"{url}: {f'{status} {shown}'.strip() if status else shown}")
    return 0 if ok else EXIT_FAILURE


def _endpoint(arguments: Namespace) -> tuple[str, str, int]:
    """Return the URL that the arguments specify, its host (IPv6 without brackets) and its port.

    Raises:
        UsageError: an argument is missing, invalid, or conflicts with another one.
    """
    if not 0 < arguments.timeout <= _MAX_TIMEOUT:
        message = f"--timeout must be a positive number of seconds, at most {_MAX_TIMEOUT:g}"
        raise UsageError(message)
    if (arguments.url is None) == (arguments.port is None):
        raise UsageError("Specify the endpoint with either URL or --port")
    if arguments.url is None:
        path = _DEFAULT_PATH if arguments.path is None else arguments.path
        scheme, rest = "http", f"127.0.0.1:{arguments.port}/{path.lstrip('/')}"
    elif arguments.path is not None:
        raise UsageError("--path is only valid with --port. Append the path to URL instead.")
    else:
        scheme, _, rest = arguments.url.partition("://")
    scheme = scheme.lower()
    if scheme not in {"http", "https"} or not rest.isprintable() or " " in rest:
        raise UsageError(
            "Invalid URL or --path: expected http://host:port/path or https://host:port/path, "
            "without spaces and control characters"
        )
    authority, _, path = rest.partition("/")
    host, port = _host_and_port(authority, 443 if scheme == "https" else 80)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}/{path}", host, port


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    is_port = _PORT.fullmatch(port) and 0 < int(port) < 1 << 16
    if not host or "@" in host or not is_port:
        message = "Invalid URL or --port: expected a host without user, and a port from 1 to 65535"
        raise UsageError(message)
    return host, int(port)


def _request(url: str, host: str, port: int, timeout: float) -> tuple[int, str]:
    """Send a GET request and return the status and the body of the response.

    The request is HTTP/1.0, whose responses are never chunked.

    Args:
        url: the URL.
        host: the host of the URL; an IPv6 address without brackets.
        port: the port of the URL.
        timeout: seconds for each of connecting, the TLS handshake and sending. The response
            must be received within this time after the call.

    Raises:
        OSError: the connection fails, the timeout expires, or the response is not HTTP.
    """
    deadline = monotonic() + timeout
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    request = (
        f"GET /{path} HTTP/1.0\r\nHost: {authority}\r\n"
        "User-Agent: hive-boot-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    with (
        socket.create_connection((host, port), timeout) as plain,
        _wrap_tls(plain, host) if scheme == "https" else plain as connection,
    ):
        connection.sendall(request.encode())
        received = b""
        # Some servers ignore `Connection: close` and keep the connection open.
        while len(received) < _MAX_BYTES and not _is_complete(received):
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            connection.settimeout(left)
            chunk = connection.recv(_MAX_BYTES)
            if not chunk:
                break
            received += chunk
    status_line = _STATUS_LINE.match(received)
    if status_line is None:
        raise OSError("the response is not HTTP/1.0 or HTTP/1.1")
    return int(status_line[1]), received.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")


def _is_complete(received: bytes) -> bool:
    """Return whether all bytes of Content-Length have arrived; False without that header."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head) if end else None
    return length is not None and len(body) >= int(length[1])


def _wrap_tls(plain: socket.socket, host: str) -> socket.socket:
    from ssl import create_default_context  # only for https; slow to import

    return create_default_context().wrap_socket(plain, server_hostname=host)


class Unanswered(Exception):  # noqa: N818  (the text of a straggler)
    """A server did not answer, or not as expected; the text is the reason."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(text[:_MAX_PRINTED])
        self.status = status


def parse_url(option: str, text: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        UsageError: it is not a URL of HTTP, or contains a user or a fragment.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or "@" in parts.netloc or parts.fragment or not re.fullmatch("[!-~]+", text):
        raise UsageError(
            f"{option} must be http://host:port/path or https://host:port/path, without a user: "
            "credentials are read from --credentials-file"
        )
    return parts


class _DeadlineReader(RawIOBase):
    """Reads a socket until a deadline, which slow bytes do not prolong."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the stream that HTTPResponse reads."""
        return BufferedReader(self, 1 << 16)


class Client:
    """HTTP client: each request has a deadline and a limit, and follows no redirect.

    Args:
        authorization: the header ``Authorization``. Default: none.
        timeout: seconds for a whole request. Default 10.
    """

    def __init__(self, *, authorization: str = "", timeout: float = 10.0) -> None:
        self._authorization = authorization
        self._timeout = timeout

    def get(self, url: SplitResult, path: str, *, limit: int, address: str = "") -> bytes:
        """Return the body of a response.

        Args:
            url: the URL with scheme and host.
            path: the path, with the query.
            limit: the maximum number of bytes.
            address: the address to connect to. Default: each address of the host, in turn.

        Raises:
            Unanswered: there is no complete response with the status 200.
        """
        from http.client import HTTPException  # as slow to import as the rest of a probe

        try:
            return self._get(url, path, limit, address)
        except TimeoutError:
            raise Unanswered(f"no response within {self._timeout:g} s") from None
        except OSError as exc:
            raise Unanswered(exc.strerror or str(exc) or type(exc).__name__) from None
        except (HTTPException, ValueError):
            # A host name that IDNA rejects is a ValueError too.
            raise Unanswered("the response is not HTTP, or is cut off") from None

    def _get(self, url: SplitResult, path: str, limit: int, address: str) -> bytes:
        from http.client import HTTPResponse

        deadline = monotonic() + self._timeout
        host = str(url.hostname)
        port = url.port or (443 if url.scheme == "https" else 80)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {url.netloc}",
            "User-Agent: hive-boot-fleet",
            "Accept: application/json, text/plain;version=0.0.4",
            "Accept-Encoding: identity",
            "Cache-Control: no-cache",
            "Connection: close",
        ]
        if self._authorization:
            lines.append(f"Authorization: {self._authorization}")
        with (
            socket.create_connection((address or host, port), self._timeout) as plain,
            _wrap_tls(plain, host) if url.scheme == "https" else plain as connection,
        ):
            connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
            stream = _DeadlineReader(connection, deadline)
            response = HTTPResponse(stream, method="GET")  # type: ignore[arg-type]
            response.begin()
            return _body(response, limit)


def _body(response: HTTPResponse, limit: int) -> bytes:
    if response.length is not None and response.length > limit:
        raise Unanswered(f"the response is longer than {limit} bytes")
    # Only without a limit does http.client notice that a response with a length is cut off.
    body = response.read() if response.length is not None else response.read(limit + 1)
    if len(body) > limit:
        raise Unanswered(f"the response is longer than {limit} bytes")
    if response.status != 200:  # noqa: PLR2004
        text = f"HTTP status {response.status}"
        if location := response.headers.get("Location"):
            text = f"{text}: redirects are not followed; it leads to {location}"
        elif error := re.search(rb'"error":"((?:[^"\\]|\\.)*)"', body):
            text = f"{text}: {error[1].decode('utf-8', 'replace')}"
        raise Unanswered(text, status=response.status)
    return body
