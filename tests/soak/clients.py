"""Those who talk to the application: one who asks how it is, and many who use it."""

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
    """A connection on which one line is answered by one line."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._file = self._socket.makefile("rw", encoding="utf-8", newline="\n")

    def ask(self, text: str) -> str:
        """Send a line, and give the answer.

        Raises:
            OSError: none came.
        """
        self._file.write(f"{text}\n")
        self._file.flush()
        answer = self._file.readline()
        if not answer:
            message = "the application has closed the connection"
            raise ConnectionError(message)
        return answer.rstrip("\n")

    def ask_for_facts(self, text: str) -> Any:  # noqa: ANN401  (JSON)
        """Send a line, and give what the answer says."""
        return json.loads(self.ask(text))

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()


class Client(threading.Thread):
    """Uses the application: each request has the token that the one before it was given.

    Attributes:
        requests: how many there were.
        failures: what was wrong with those that failed.
        slowest: the seconds that the slowest answer took.
    """

    def __init__(self, port: int, stop: threading.Event, seed: str) -> None:
        super().__init__(name=f"client {seed}", daemon=True)
        self._port, self._halt = port, stop
        self._chance = random.Random(seed)  # noqa: S311  (a pause, no secret)
        self.requests = 0
        self.failures: list[str] = []
        self.slowest = 0.0

    def run(self) -> None:
        """Go on until the end."""
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
