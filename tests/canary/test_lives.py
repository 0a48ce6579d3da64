"""Runs that go wrong: their output names the failure, and contains no value."""

from itertools import product
from pathlib import Path

import pytest

from tests.canary.canaries import ENVIRONMENT
from tests.canary.children import Case, Child, check_cases, make_place
from tests.canary.outputs import Outputs

INJECTED = {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}

TOLD = {
    "resource fails": (70, [" failing ", "OddError", "ValueError"]),
    "resources fail": (70, [" failing ", " failing_too "]),
    "resource hangs": (70, ["0.2 s", "hanging", "anyio.sleep_forever()"]),
    "resource crashes": (70, ["crashing ", "OddError"]),
    "service crashes": (70, ["crashing ", "OddError"]),
    "stops fail": (70, [" failing", " failing_too"]),
    "never ends": (70, ["hanging"]),
    "thread hangs": (70, ["threading.py"]),
    "forced": (-2, ["SIGINT", "in the middle of ***"]),
    "asked again": (0, ["ConnectionError"]),
    "shown": (0, ["plain", "text"]),
    "probed": (0, ["GET /boot 200 OK", "GET /metrics 200 OK", "GET elsewhere 404 Not Found"]),
}
"""For each scenario its exit status, and texts that show that it took place."""


ENDS_AT_ONCE = {"forced", "never ends"}
"""Scenarios whose process exits before it can write down its messages to systemd."""


def shown(case: Case, child: Child) -> Outputs:
    """Search the output of a process, and return it together with the exit status."""
    outputs = Outputs()
    outputs.add_child(child)
    outputs.add_files(case.logs)
    outputs.assert_silent()
    outputs.add("the exit status", f"exit status {child.returncode}")
    return outputs


def check_life(case: Case, child: Child) -> None:
    """Assert that the scenario took place, and that no output contains a value."""
    status, told = TOLD[case.name]
    outputs = shown(case, child)
    assert f"exit status {status}" in outputs.text, outputs.text
    for text in told:
        assert text in outputs.text, text
    assert ("STATUS=" in outputs.text) == (case.name not in ENDS_AT_ONCE)


@pytest.mark.both_backends
def test_lives(anyio_backend: str, tmp_path: Path) -> None:
    """Whatever fails between the start and the end of a run, no output contains a value."""
    cases = [
        Case(
            name=scenario,
            place=make_place(tmp_path, number),
            arguments=[scenario, anyio_backend],
            variables=INJECTED,
        )
        for number, scenario in enumerate(TOLD)
    ]
    check_cases("lives", cases, check_life)


def check_served(case: Case, child: Child) -> None:
    """Assert that the server has logged the failed start, and that no output contains a value."""
    outputs = shown(case, child)
    assert "Application startup failed" in outputs.text
    assert "exit status 3" in outputs.text


def test_starts_under_a_server(tmp_path: Path) -> None:
    """A server logs why a resource has failed to start, without a value."""
    scenarios = ("resource fails", "resources fail", "resource hangs")
    cases = [
        Case(
            name=f"{scenario}, {how}",
            place=make_place(tmp_path, number),
            arguments=[scenario, how],
            variables=INJECTED,
        )
        for number, (scenario, how) in enumerate(product(scenarios, ("lifespan", "asgi")))
    ]
    check_cases("lives", cases, check_served)
