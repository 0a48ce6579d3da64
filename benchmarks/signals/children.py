"""The applications as processes of their own, which are watched, and killed in any case."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

TO_START = 30.0
"""Seconds after which a child that has not come so far never will."""

_TO_CLOSE = 2.0
_MARK = "@"

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")
"""Makes what follows PID 1, as it is in a container; it takes the rights of root."""


@dataclass(frozen=True, slots=True)
class End:
    """How a process came to its end.

    Attributes:
        code: the exit status, or minus the signal; None when it had to be killed.
        seconds: how long it took.
    """

    code: int | None
    seconds: float

    @property
    def is_death(self) -> bool:
        """Whether a signal has struck the process down, in whose place nothing was done."""
        return self.code is not None and self.code < 0

    def __str__(self) -> str:
        """Say it in a few words."""
        if self.code is None:
            return "does not end"
        told = f"exit {self.code}"
        if self.is_death:
            told = f"ended by {signal.Signals(-self.code).name}"
        return f"{told} after {self.seconds:.1f} s"


class Child:
    """A process, what it has said, and when.

    Args:
        command: what to run.
        environ: its whole environment.
        first: whether it is to be PID 1.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], *, first: bool = False
    ) -> None:
        self._first = first
        self._lines: list[str] = []
        self._news = threading.Condition()
        # A group of its own: workers that outlive their parent are found by its number.
        self._process = subprocess.Popen(
            [*(UNSHARE if first else ()), *command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Give the child."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing behind."""
        self._kill()
        self._process.wait()
        self._reader.join(_TO_CLOSE)

    @property
    def marks(self) -> list[str]:
        """What the application has said so far."""
        with self._news:
            return [line[1:] for line in self._lines if line.startswith(_MARK)]

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def said(self) -> str:
        """Give what the subject has printed, when the process has ended."""
        self._reader.join(_TO_CLOSE)
        with self._news:
            return "\n".join(line for line in self._lines if not line.startswith(_MARK))

    def wait_for(self, mark: str) -> None:
        """Wait until the application has said something.

        Raises:
            TimeoutError: it does not, or has ended.
        """
        deadline = time.monotonic() + TO_START
        while mark not in self.marks:
            if time.monotonic() > deadline or not self._reader.is_alive():
                message = f"never said {mark!r}, but:\n{self.said()}"
                raise TimeoutError(message)
            with self._news:
                self._news.wait(0.05)

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal.

        Args:
            number: which.
            group: to the workers too, as a terminal does. Default False.
        """
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._pid(), number)

    def wait(self, seconds: float) -> End:
        """Wait for its end, and bring it about when it does not come."""
        started = time.monotonic()
        try:
            code: int | None = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
            code = None
        return End(code, time.monotonic() - started)

    def _pid(self) -> int:
        pid = self._process.pid
        if not self._first:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        return int(children[0]) if children else pid

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  (it is a pipe)
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
