"""What the world sees of an application: answers over HTTP, and what systemd is told."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_HOST = "127.0.0.1"
_STEP = 0.02
_SOON = 1.0
_HUNG = 20.0
_DATAGRAM = 4096


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as it:
        it.bind((_HOST, 0))
        port: int = it.getsockname()[1]
        return port


def get(port: int, path: str = "/", policy: float = _SOON) -> int | None:
    """Ask on a new connection.

    Returns:
        The status, or None when there was no answer.
    """
    connection = HTTPConnection(_HOST, port, timeout=policy)
    with suppress(OSError, HTTPException):
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        return response.status
    return None


def wait_until_served(port: int, seconds: float) -> None:
    """Wait until there is an answer.

    Raises:
        TimeoutError: there is none.
    """
    deadline = time.monotonic() + seconds
    while get(port) != 200:  # noqa: PLR2004  (OK)
        if time.monotonic() > deadline:
            message = f"nothing is served on port {port}"
            raise TimeoutError(message)
        time.sleep(_STEP)


class Asking(threading.Thread):
    """Asks again and again on new connections, as long as the block lasts.

    Attributes:
        answers: when an answer was asked for, by the monotonic clock, and its status.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._over = threading.Event()
        self.answers: list[tuple[float, int | None]] = []

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Ask."""
        while not self._over.wait(_STEP):
            now = time.monotonic()
            self.answers.append((now, get(self._port)))

    def last_answer(self) -> float | None:
        """Give when the last request was made that was answered with 200."""
        return max((when for when, status in self.answers if status == 200), default=None)  # noqa: PLR2004  (OK)


class AskingOnce(threading.Thread):
    """Asks for one page in the background.

    Attributes:
        status: what came; None when there was no answer.
    """

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._path = path
        self.status: int | None = None
        self.start()

    def run(self) -> None:
        """Ask."""
        self.status = get(self._port, self._path, _HUNG)


class Notifications:
    """The socket on which a service manager hears of READY, as systemd makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"benchmarks-signals-{os.getpid()}-{id(self)}"
        self._socket.bind(f"\0{name}")
        self._socket.settimeout(0)
        self.address = f"@{name}"

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._socket.close()

    def received(self) -> list[str]:
        """Give the lines that have come since the last time."""
        lines: list[str] = []
        with suppress(BlockingIOError):
            while True:
                lines += self._socket.recv(_DATAGRAM).decode("utf-8", "replace").splitlines()
        return lines
