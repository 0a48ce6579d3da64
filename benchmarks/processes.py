"""Child processes whose output is read, and calls that are repeated beside them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

START_TIMEOUT = 30.0
"""Timeout for an expected step of a child, in seconds."""

_CLOSE_TIMEOUT = 2.0
_MARK = "@"

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")
"""Command that runs another one as PID 1, as in a container; it requires root."""


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def repeated(call: Callable[[], T], pause: float) -> Iterator[list[tuple[float, T]]]:
    """Call a function again and again in a thread during the block.

    Args:
        call: the function.
        pause: the seconds before each call.

    Yields:
        The monotonic time of each call, and its result.
    """
    results: list[tuple[float, T]] = []
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(pause):
            results.append((time.monotonic(), call()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield results
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class End:
    """The end of a process.

    Attributes:
        code: the exit status, or minus the signal; None if it was killed after a timeout.
        seconds: the time until the end.
    """

    code: int | None
    seconds: float

    @property
    def is_terminated(self) -> bool:
        """Whether the process was terminated by a signal instead of exiting."""
        return self.code is not None and self.code < 0

    def __str__(self) -> str:
        """Return a short description."""
        if self.code is None:
            return "does not end"
        text = f"exit {self.code}"
        if self.is_terminated:
            text = f"ended by {signal.Signals(-self.code).name}"
        return f"{text} after {self.seconds:.1f} s"


class Child:
    """A child process and its output.

    Args:
        command: the command line.
        environ: the complete environment.
        first: whether the process is PID 1 of a new namespace. Default False.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], *, first: bool = False
    ) -> None:
        self._first = first
        self._lines: list[str] = []
        self._changed = threading.Condition()
        # A separate process group, so that workers that outlive their parent can be killed.
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
        """Return the child."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Kill the process group."""
        self._kill()
        self._process.wait()
        self._reader.join(_CLOSE_TIMEOUT)

    @property
    def marks(self) -> list[str]:
        """The steps that the application has reported so far."""
        with self._changed:
            return [line[1:] for line in self._lines if line.startswith(_MARK)]

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def output(self) -> str:
        """Return the output of the subject, after the process has ended."""
        self._reader.join(_CLOSE_TIMEOUT)
        with self._changed:
            return "\n".join(line for line in self._lines if not line.startswith(_MARK))

    def wait_for(self, mark: str) -> None:
        """Wait until the application has reported a step.

        Raises:
            TimeoutError: the step was not reported in time, or the process has ended.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while mark not in self.marks:
            if time.monotonic() > deadline or not self._reader.is_alive():
                message = f"The step {mark!r} was not reported. Output:\n{self.output()}"
                raise TimeoutError(message)
            with self._changed:
                self._changed.wait(0.05)

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal.

        Args:
            number: the signal.
            group: whether the workers receive it too, as from a terminal. Default False.
        """
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._pid(), number)

    def children(self) -> list[int]:
        """Return the process ids of the child processes of the application."""
        pid = self._pid()
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]

    def wait(self, seconds: float) -> End:
        """Wait for the end of the process, and kill it after ``seconds``."""
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
            with self._changed:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
