"""Processes that crash leave tracebacks, and no value."""

from pathlib import Path

import pytest

from tests.canary.canaries import ENVIRONMENT
from tests.canary.conftest import Program
from tests.canary.outputs import Outputs
from tests.canary.programs.crashes import ASYNCIO_ONLY, OUTSIDE, SCENARIOS

INJECTED = {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}

CODES = {
    "exit with a text": 1,
    "exit with an object": 1,
    "interrupted": 130,
    "at exit": 0,
    "caller": 1,
    "own hooks": 1,
}
"""What is not 70."""


def crash(scenario: str, backend: str, how: str, program: Program, logs: Path) -> None:
    """Crash, and search what came out."""
    child = program("crashes", scenario, backend, how, **INJECTED)
    outputs = Outputs()
    outputs.add_child(child)
    outputs.add_files(logs)
    outputs.assert_silent()
    assert child.returncode == (1 if how == "inside" else CODES.get(scenario, 70)), outputs.text


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in ASYNCIO_ONLY])
def test_a_crash(scenario: str, anyio_backend: str, program: Program, logs: Path) -> None:
    """Wherever in an application something crashes, what Python shows has no value in it."""
    how = "logged" if anyio_backend == "trio" else "quiet"
    crash(scenario, anyio_backend, how, program, logs)


@pytest.mark.parametrize("how", ["logged", "quiet"])
@pytest.mark.parametrize("scenario", sorted(ASYNCIO_ONLY))
def test_a_crash_that_the_loop_tells_of(
    scenario: str, how: str, program: Program, logs: Path
) -> None:
    """What asyncio says about tasks and callbacks that nobody awaits has no value in it."""
    crash(scenario, "asyncio", how, program, logs)


@pytest.mark.parametrize("scenario", OUTSIDE)
def test_a_crash_that_the_caller_tells_of(
    scenario: str, anyio_backend: str, program: Program, logs: Path
) -> None:
    """Whoever logs what came out of ``boot.running`` logs no value, although it is over."""
    crash(scenario, anyio_backend, "inside", program, logs)
