"""Programs of docs/frameworks.md in child processes, whose jobs wait for a file."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING

from hive_boot.testing import MountedVolume
from tests.docs.reading import python_files, read_page
from tests.support import started_child, wait_until

if TYPE_CHECKING:
    import subprocess

PAGE = read_page("docs/frameworks.md")

PROGRAMS = python_files(PAGE)

_TOKEN = "4711:fake-bot-token-0123456789-0123456789"

_RUN = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"

_SLEEP = "    await asyncio.sleep(1)\n"

_WAIT = """\
    while __import__("os").path.exists("closed"):
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.3)
"""
"""The work of a job: it takes as long as the test wants, and then longer than a stop without it."""


def fingerprint(key: str) -> str:
    """Return what a job prints of the key that it uses."""
    return sha256(key.encode()).hexdigest()[:8]


class Program:
    """A running program.

    Attributes:
        out: lines of stdout.
        err: lines of stderr.
    """

    def __init__(self, process: "subprocess.Popen[str]", workplace: Path) -> None:
        self._process = process
        self._volume = MountedVolume(workplace / "secrets")
        self._closed = workplace / "closed"
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [
            Thread(target=_read, args=[stream, lines])
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, text: str) -> None:
        """Wait until a line of the program contains a text."""

        def seen() -> bool:
            return any(text in line for line in [*self.out, *self.err])

        with suppress(AssertionError):
            wait_until(lambda: seen() or self._process.poll() is not None, 40)
        if self._process.poll() is not None:  # its last lines may not have been read
            self.wait()
        assert seen(), self.report()

    def rotate(self, key: str) -> None:
        """Rotate the secret, and wait until the program uses the new value."""
        publish(self._volume, key)
        self.wait_for("Rotated API_KEY")

    def hold_jobs(self) -> None:
        """Hold every job from now on."""
        self._closed.touch()

    def release_jobs(self) -> None:
        """Allow every job to continue."""
        self._closed.unlink(missing_ok=True)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM, and wait until the program has received it."""
        self._process.send_signal(signal.SIGTERM)
        self.wait_for("Received SIGTERM")

    def wait(self) -> int:
        """Return the exit status."""
        code = self._process.wait()
        for thread in self._threads:
            thread.join()
        return code

    def report(self) -> str:
        """Return everything that the program has printed."""
        return "\n".join([*self.out, "", *self.err])


def _read(stream: IO[str] | None, lines: list[str]) -> None:
    assert stream is not None
    # extend() adds each line when it comes: the test waits for some.
    lines.extend(line.rstrip("\n") for line in stream)


def publish(volume: MountedVolume, key: str) -> None:
    """Write the secrets as the kubelet does."""
    volume.publish({"api_key": key, "bot_token": _TOKEN})


@contextmanager
def started(
    workplace: Path, name: str, key: str, files: dict[str, str], replace: dict[str, str]
) -> Iterator[Program]:
    """Start a program of the page.

    Args:
        workplace: a directory.
        name: the file of the program.
        key: the secret.
        files: files that are not on the page, by name.
        replace: addresses on the page, and those of the test.
    """
    for file, source in {**PROGRAMS, **files}.items():
        for old, new in {**replace, _SLEEP: _WAIT}.items():
            source = source.replace(old, new)  # noqa: PLW2901
        (workplace / file).write_text(source, "utf-8")
    publish(MountedVolume(workplace / "secrets"), key)
    variables = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_PROFILE": "production"}
    variables["HIVE_BOOT_SECRETS_DIR"] = str(workplace / "secrets")
    with started_child(_RUN, name, cwd=workplace, **variables) as process:
        program = Program(process, workplace)
        try:
            yield program
        finally:
            program.release_jobs()
