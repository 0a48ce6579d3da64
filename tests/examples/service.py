"""HIVE as its users have it: a process of its own, spoken to over HTTP."""

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.forking import Forked, Interpreter, shared
from tests.support import ROOT

FAKES = {
    "OPENAI_API_KEY": "fake-openai-key-0123456789",
    "HIVE_API_KEY": "fake-hive-key-0123456789",
    "JWT_SECRET": "fake-jwt-secret" + "-0123456789" * 5,
}
DEMO = {"username": "demo", "password": "correct horse battery staple"}

_PATIENCE = 60.0

_SERVES = re.compile(r"Uvicorn running on|(?s:http://[\d.]+:\d+\b.*\bReady\b)")
"""What is said when requests are answered: under uvicorn, and under ``boot.serve``."""


def copy_example(home: Path) -> Path:
    """Copy the example below ``home`` as a clone has it: without anybody's .env."""
    leave_out = shutil.ignore_patterns(".env", ".env.local", "*.db", "__pycache__")
    shutil.copytree(ROOT / "examples", home / "examples", ignore=leave_out)
    return home / "examples" / "hive"


class Service:
    """A running process, and what it has written so far."""

    def __init__(self, process: Forked, written: Path) -> None:
        self.process = process
        self._written = written

    @property
    def output(self) -> str:
        """What stdout and stderr have received."""
        return self._written.read_text("utf-8")

    @property
    def url(self) -> str:
        """Where it serves; this waits until it does."""
        self.wait_for(lambda: bool(_SERVES.search(self.output)))
        found = re.search(r"(http://[\d.]+:\d+)", self.output)
        assert found, self.output
        return found.group(1)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; an end of the process first is a failure."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)


_PRELOAD = """
import anyio._backends._asyncio, fastapi.middleware.cors, jwt, pydantic_settings, sqlite3
import uvicorn.protocols.http.h11_impl
import hive_boot.bootstrap, hive_boot.lifecycle.runner, hive_boot.runtime.process
import hive_boot.serving.uvicorn_server
"""
"""Modules that HIVE and uvicorn import."""

_RUN = """
import os, runpy, sys
file = os.open(sys.argv.pop(1), os.O_WRONLY)
os.dup2(file, 1)
os.dup2(file, 2)
os.close(file)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def interpreter() -> Interpreter:
    """Return an interpreter that has imported what most applications do."""
    return shared(_PRELOAD)


@contextmanager
def started(home: Path, *arguments: str, **variables: str) -> Iterator[Service]:
    """Run ``-m …`` in ``home``, on any free port unless PORT is given."""
    written = home / "output.txt"
    written.write_bytes(b"")
    variables = {"PORT": "0", **variables}
    command = (str(written), *arguments)
    with interpreter().started(_RUN, *command, cwd=home, **variables) as process:
        yield Service(process, written)
