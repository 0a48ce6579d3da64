"""Whole applications, each in a process of its own, that tell by lines what they do."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support import run_child, started_child

if TYPE_CHECKING:
    import subprocess

STOPS = (signal.SIGTERM, signal.SIGINT)

ENVIRONMENT = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": "fake-jwt-secret-0123456789"}

HEAD = """
import os, signal, sys, threading, time
from hive_boot import Bootstrap, Secret, SecretSet, secret

backend = sys.argv[1]


class Needs(SecretSet):
    '''What the application needs.'''

    jwt_secret: Secret


def pulled():
    '''Tell whether the first signal has been handled.'''
    handler = signal.getsignal(signal.SIGTERM)
    return handler.__self__.pulled is not None


def is_open():
    return os.path.exists("gate")


def block():
    '''Keep the loop from turning until a signal was handled and the gate is open.'''
    print("here")
    while not pulled():
        time.sleep(0.005)
    print("held")
    while not is_open():
        time.sleep(0.005)


async def hold():
    '''Stand at the gate, whoever wants this to end.'''
    import anyio

    with anyio.CancelScope(shield=True):
        print("held")
        while not is_open():
            await anyio.sleep(0.005)


async def stay():
    '''Wait to be cancelled, and do not end before the gate is open.'''
    import anyio

    print("here")
    try:
        await anyio.sleep_forever()
    finally:
        await hold()
"""
"""What the sources have in common; a file called ``gate`` lets go what stands there."""

POOL = """
@boot.part
async def pool():
    print("pool starts")
    try:
        yield "pool"
    finally:
        print("pool stops")
"""

MAIN = """
@boot.main
async def main(pool: str) -> None:
    import anyio

    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends")
"""

RUN = """
boot.run(backend=backend)
print("not reached")
"""


class Ended(NamedTuple):
    """What is left of a process.

    Attributes:
        code: its exit status.
        out: the lines of its stdout that nobody has read.
        err: its stderr.
    """

    code: int
    out: list[str]
    err: str


class Life:
    """A process that lives."""

    def __init__(self, process: "subprocess.Popen[str]", cwd: Path) -> None:
        self.process = process
        self._gate = cwd / "gate"

    def line(self) -> str:
        """Wait for a line on stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def until_told(self, text: str) -> str:
        """Wait for a line on stderr that has a text in it, and give all lines up to it."""
        assert self.process.stderr is not None
        told = ""
        for line in self.process.stderr:
            told += line
            if text in line:
                return told
        raise AssertionError(told)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def open_gate(self) -> None:
        """Let go what stands at the gate."""
        self._gate.touch()

    def end(self) -> Ended:
        """Wait for the end."""
        out, err = self.process.communicate()
        return Ended(self.process.returncode, out.splitlines(), err)


@contextmanager
def living(source: str, *arguments: str, cwd: Path, **variables: str) -> Iterator[Life]:
    """Start a process; it is killed when it hangs, and at the end."""
    known = {**ENVIRONMENT, **variables}
    with started_child(HEAD + source, *arguments, cwd=cwd, **known) as process:
        yield Life(process, cwd)


def lived(source: str, *arguments: str, cwd: Path | None = None, **variables: str) -> Ended:
    """Run a process that needs nobody, and wait for its end."""
    child = run_child(HEAD + source, *arguments, cwd=cwd, **{**ENVIRONMENT, **variables})
    return Ended(child.returncode, child.stdout.splitlines(), child.stderr)
