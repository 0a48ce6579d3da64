"""Observations from outside a process: HTTP answers, and messages to systemd."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Self

from benchmarks.processes import repeated

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_HOST = "127.0.0.1"
_STEP = 0.02
_SHORT_TIMEOUT = 1.0
_TIMEOUT = 20.0
_DATAGRAM = 4096


def get(port: int, path: str = "/", timeout: float = _SHORT_TIMEOUT) -> int | None:
    """Send a request on a new connection.

    Returns:
        The status, or None without an answer.
    """
    connection = HTTPConnection(_HOST, port, timeout=timeout)
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
    """Wait until the port answers 200.

    Raises:
        TimeoutError: there was no such answer in time.
    """
    deadline = time.monotonic() + seconds
    while get(port) != 200:  # noqa: PLR2004  (OK)
        if time.monotonic() > deadline:
            message = f"No answer on port {port}."
            raise TimeoutError(message)
        time.sleep(_STEP)


def repeated_requests(port: int) -> AbstractContextManager[list[tuple[float, int | None]]]:
    """Return a block during which requests are sent on new connections.

    It yields the monotonic time of each request, and the status of its answer.
    """
    return repeated(partial(get, port), _STEP)


def last_answer(answers: list[tuple[float, int | None]]) -> float | None:
    """Return the time of the last request that was answered with 200, or None."""
    return max((when for when, status in answers if status == 200), default=None)  # noqa: PLR2004  (OK)


class BackgroundRequest(threading.Thread):
    """Thread that sends one request.

    Attributes:
        status: the status of the answer; None without an answer.
    """

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._path = path
        self.status: int | None = None
        self.start()

    def run(self) -> None:
        """Send the request."""
        self.status = get(self._port, self._path, _TIMEOUT)


class Notifications:
    """Socket that receives the messages of ``sd_notify``, as systemd creates it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"benchmarks-signals-{os.getpid()}-{id(self)}"
        self._socket.bind(f"\0{name}")
        self._socket.settimeout(0)
        self.address = f"@{name}"

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Close the socket."""
        self._socket.close()

    def received(self) -> list[str]:
        """Return the lines that were received since the last call."""
        lines: list[str] = []
        with suppress(BlockingIOError):
            while True:
                lines += self._socket.recv(_DATAGRAM).decode("utf-8", "replace").splitlines()
        return lines
