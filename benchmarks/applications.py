"""Applications in child processes that obey commands: one line on stdin, one answer on stdout."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from benchmarks.environment import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator


class Memory(NamedTuple):
    """The memory of a process, in bytes.

    Attributes:
        resident: its resident set (RSS).
        private: the part that it does not share with other processes (USS).
    """

    resident: int
    private: int


class Application:
    """A child process that has printed its first line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        # Not None: both are pipes.
        self._commands = cast("IO[str]", process.stdin)
        self._output = cast("IO[str]", process.stdout)

    def send(self, command: str) -> None:
        """Send a command."""
        self._commands.write(f"{command}\n")
        self._commands.flush()

    def receive(self) -> str:
        """Return the next answer.

        Raises:
            RuntimeError: the process has ended; the reason is on stderr.
        """
        line = self._output.readline()
        if not line:
            message = f"The application {self._process.args!r} has ended."
            raise RuntimeError(message)
        return line.strip()

    def ask(self, command: str) -> str:
        """Send a command, and return the answer."""
        self.send(command)
        return self.receive()

    def memory(self) -> Memory:
        """Return the memory that the process uses now."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text("ascii")
        lines = (line.split() for line in text.splitlines()[1:])
        sizes = {words[0]: int(words[1]) * 1024 for words in lines}
        return Memory(sizes["Rss:"], sizes["Private_Clean:"] + sizes["Private_Dirty:"])


@contextmanager
def started(*arguments: str, quiet: bool = False, **variables: str) -> Iterator[Application]:
    """Start a Python process, wait for its first line, and kill it at the end.

    Args:
        arguments: the arguments of the interpreter.
        quiet: whether its stderr is discarded, which has the log. Default False.
        variables: further environment variables.

    Yields:
        The application.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=child_environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
    )
    with process:
        try:
            application = Application(process)
            application.receive()
            yield application
        finally:
            process.kill()
