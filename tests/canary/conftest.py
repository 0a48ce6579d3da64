"""Fixtures of the canary suite: an environment without local variables, and a redaction switch."""

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, CompletedProcess, run
from sys import executable

import pytest

from tests.canary.canaries import CANARIES
from tests.canary.children import SWITCH
from tests.support import child_environment

Program = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture(autouse=True)
def bare_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the canaries of the local shell; on request, disable redaction in child processes."""
    for canary in CANARIES:
        for name in (canary.name, f"{canary.name}_FILE"):
            monkeypatch.delenv(name, raising=False)
    if os.environ.get(SWITCH):
        # Python imports the `sitecustomize` in it before anything else.
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("switched_off")))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return an empty directory for log files."""
    place = tmp_path / "logs"
    place.mkdir()
    return place


@pytest.fixture
def program(logs: Path, tmp_path: Path) -> Program:
    """Return a function that runs a program to its end: name, arguments, environment variables."""

    def run_program(name: str, *arguments: str, **variables: str) -> "CompletedProcess[bytes]":
        return run(
            [executable, "-m", f"tests.canary.programs.{name}", *arguments],
            env=child_environment(LOG_DIR=str(logs), **variables),
            cwd=tmp_path / "cwd",
            stdin=DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )

    return run_program
