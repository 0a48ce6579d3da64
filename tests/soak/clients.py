"""Clients of the application: one that reads its state, and many that use it."""

import json
import random
import socket
import threading
import time
from typing import Any

_PATIENCE = 10.0
"""Seconds after which an answer that has not come is a failed request."""

_PAUSE = 0.005, 0.025
"""Seconds between two requests of one client, at least and at most."""


class Line:
    """A connection on which each line is answered by one line."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._file = self._socket.makefile("rw", encoding="utf-8", newline="\n")

    def ask(self, text: str) -> str:
        """Send a line, and return the response.

        Raises:
            OSError: the application has closed the connection, or does not answer.
        """
        self._file.write(f"{text}\n")
        self._file.flush()
        answer = self._file.readline()
        if not answer:
            message = "the application has closed the connection"
            raise ConnectionError(message)
        return answer.rstrip("\n")

    def ask_for_facts(self, text: str) -> Any:  # noqa: ANN401  (JSON)
        """Send a line, and return the response, decoded from JSON."""
        return json.loads(self.ask(text))

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


class Client(threading.Thread):
    """A client that uses the application: each request sends the token of the previous response.

    Attributes:
        requests: the number of requests.
        failures: a description of each failed request.
        slowest: the duration of the slowest request, in seconds.
    """

    def __init__(self, port: int, stop: threading.Event, seed: str) -> None:
        super().__init__(name=f"client {seed}", daemon=True)
        self._port, self._halt = port, stop
        self._chance = random.Random(seed)  # noqa: S311  (a pause, no secret)
        self.requests = 0
        self.failures: list[str] = []
        self.slowest = 0.0

    def run(self) -> None:
        """Send requests until the end."""
        line, token, given = Line(self._port), "-", 0.0
        while not self._halt.wait(self._chance.uniform(*_PAUSE)):
            self.requests += 1
            began = time.monotonic()
            try:
                word, _, token = line.ask(f"use {token}").partition(" ")
            except OSError as exc:
                self.failures.append(f"{type(exc).__name__}: {exc}")
                line, token = Line(self._port), "-"
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            if word != "ok":
                self.failures.append(f"{word}, {began - given:.2f} s after its token was given")
                token = "-"
            given = time.monotonic()
        line.close()
