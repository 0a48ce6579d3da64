"""Terminal of a reader: a shell that types the commands of a page, also with jobs in background.

``python -m tests.docs.terminal PAGE...`` writes the real output of its commands into a page.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import NamedTuple

from tests.docs.reading import make_laptop
from tests.fixtures.ports import free_port

_SECONDS = 240
"""Timeout of a page, after which its shell and the jobs of the shell are killed."""

OBSERVATION = 40.0
"""Seconds until a state must be the one that the page shows."""

_OBSERVES = re.compile(r"(?:sleep \d+; )?((?:curl|grep|tail|hive-boot probe|ls)\b.*)", re.DOTALL)
"""Commands that only show a state, and are repeated until they show what the page shows.

A reader types them once, after a wait; a command that is repeated needs no wait.
"""

_UNUSED_PLUGINS = (
    "-p no:asyncio -p no:cacheprovider -p no:xdist -W ignore::pytest.PytestAssertRewriteWarning"
)
"""Plugins of this environment that a reader does not have; the simulated laptop imports hive_boot
before pytest does.
"""

_END = "\x1e"


class Terminal:
    """A shell, and the text that has to be replaced on its screen.

    Args:
        process: the shell.
        shown_as: texts of the test, and those of the page.
    """

    def __init__(self, process: "subprocess.Popen[str]", shown_as: Mapping[str, str]) -> None:
        self._process = process
        self._shown_as = shown_as

    def type(self, command: str) -> str:
        """Type a command, and return what is on the screen when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = f"status=$?; printf '{_END}\\n'; (exit $status)"
        self._process.stdin.write(f"{{ {self.real(command)}\n}} < /dev/null\n{end}\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.endswith(f"{_END}\n"):
                return self._screen("".join([*lines, line.removesuffix(f"{_END}\n")]))
            lines.append(line)
        raise AssertionError("".join(lines))

    def replay(self, transcript: str) -> str:
        """Type the commands of a transcript, and return the transcript of this terminal.

        A command that shows a state is repeated until its output is that of the transcript.
        """
        shown = []
        for command, output in commands_of(transcript):
            typed = command.replace("\n> ", "\n")
            if observation := _OBSERVES.match(typed):
                typed = observation[1]
            screen = self.type(typed)
            deadline = time.monotonic() + OBSERVATION
            while observation and same(screen) != same(output) and time.monotonic() < deadline:
                time.sleep(0.05)
                screen = self.type(typed)
            shown.append(f"$ {command}\n{screen}")
        return "".join(shown)

    def real(self, text: str) -> str:
        """Return a text of the page with the port and the paths of this terminal."""
        for real, shown in self._shown_as.items():
            text = text.replace(shown, real)
        return text

    def _screen(self, text: str) -> str:
        for real, shown in self._shown_as.items():
            text = text.replace(real, shown)
        # An interactive shell begins its prompt on a new line.
        return f"{text}\n" if text and text[-1] != "\n" else text


def commands_of(transcript: str) -> list[tuple[str, str]]:
    """Return the commands of a transcript, each with its output."""
    found = re.split(r"^\$ (.*(?:\n> .*)*)\n", transcript, flags=re.MULTILINE)
    assert found[0] == ""
    return list(zip(found[1::2], found[2::2], strict=True))


def same(text: str) -> str:
    """Return a text without durations, which differ in each run."""
    return re.sub(r"\b\d+(\.\d+)? ?(s|ms)\b", "N s", text)


@contextmanager
def terminal(
    cwd: Path, environment: Mapping[str, str], shown_as: Mapping[str, str]
) -> Iterator[Terminal]:
    """Open a terminal for the block; its shell and the jobs of the shell are killed at the end.

    Args:
        cwd: the directory.
        environment: the variables.
        shown_as: texts of the test, such as a port, and those of the page.
    """
    process = subprocess.Popen(
        ["bash"],  # noqa: S607  (the bash of the PATH)
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        bufsize=1,
        start_new_session=True,
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    guard = Timer(_SECONDS, kill)
    guard.start()
    with process:
        try:
            yield Terminal(process, shown_as)
        finally:
            guard.cancel()
            kill()


class Block(NamedTuple):
    """A block of a page.

    Attributes:
        language: the word behind the fence.
        text: the content.
        file: the name in its first line, ``# name``, or "".
    """

    language: str
    text: str
    file: str


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    named = re.compile(r"# ([\w./-]+)\n")
    return [
        Block(language, text, match[1] if (match := named.match(text)) else "")
        for language, text in found
    ]


def walk_through(page: str, base: Path) -> Iterator[tuple[str, str]]:
    """Write the files of a page, and replay its transcripts, in order.

    Args:
        page: the text of the page.
        base: an empty directory; the reader works in ``shop`` below it.

    Returns:
        Each transcript of the page, and that of the terminal.
    """
    place = base / "shop"
    place.mkdir()
    shown_as = {str(free_port()): "8000", str(place): "/home/ann/shop"}
    environment = make_laptop(base) | {"PYTEST_ADDOPTS": _UNUSED_PLUGINS}
    with terminal(place, environment, shown_as) as screen:
        for block in blocks_of(page):
            if block.language == "console":
                yield block.text, screen.replay(block.text)
            elif block.file:
                path = place / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(screen.real(block.text), "utf-8")


def main(arguments: list[str]) -> None:
    """Write the output of the commands into pages, where it is not the same."""
    for path in map(Path, arguments):
        page = written = path.read_text("utf-8")
        with TemporaryDirectory() as name:
            for shown, real in walk_through(page, Path(name)):
                if same(shown) != same(real):
                    written = written.replace(
                        f"```console\n{shown}```", f"```console\n{real}```", 1
                    )
        path.write_text(written, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
