"""Lives that go wrong tell what has happened, and no value."""

from pathlib import Path

import pytest

from tests.canary.canaries import ENVIRONMENT
from tests.canary.conftest import Program
from tests.canary.outputs import Outputs

INJECTED = {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}

TOLD = {
    "part fails": (70, ["StartupFailed: the part failing failed to start: OddError", "ValueError"]),
    "parts fail": (70, ["2 failures in one run", "the part failing_too failed to start"]),
    "part hangs": (70, ["it takes more than 0.2 s", "hanging", "anyio.sleep_forever()"]),
    "part crashes": (70, ["crashing has failed, and the application cannot go on", "OddError"]),
    "service crashes": (70, ["is started again in", "crashing has failed, and the application"]),
    "stops fail": (70, ["3 failures in one run", "(raised by the part failing_too)"]),
    "never ends": (70, ["not everything has stopped in time", "stopping  hanging"]),
    "thread hangs": (70, ["not everything has stopped in time", "stands at"]),
    "forced": (130, ["a second signal, SIGINT, while stopping: forced"]),
    "asked again": (0, ["it is asked again in", "ConnectionError"]),
    "shown": (0, ["<part plain>", "Step(name='plain', kind='part'"]),
    "probed": (0, ["GET /boot 200 OK", "GET /metrics 200 OK", "GET elsewhere 404 Not Found"]),
}
"""For each scenario its exit status, and what shows that it took place."""


def live(scenario: str, how: str, program: Program, logs: Path) -> Outputs:
    """Live, and search what came out."""
    child = program("lives", scenario, how, **INJECTED)
    outputs = Outputs()
    outputs.add_child(child)
    outputs.add_files(logs)
    outputs.assert_silent()
    outputs.add("the exit status", f"exit status {child.returncode}")
    return outputs


@pytest.mark.parametrize("scenario", TOLD)
def test_a_life(scenario: str, anyio_backend: str, program: Program, logs: Path) -> None:
    """Whatever goes wrong between the start and the end, what is said of it holds no value."""
    status, told = TOLD[scenario]
    outputs = live(scenario, anyio_backend, program, logs)
    assert f"exit status {status}" in outputs.text, outputs.text
    for text in told:
        assert text in outputs.text, text
    # A process that ends at once cannot write down what its manager was told.
    ends_at_once = {"forced", "never ends"}
    assert ("STATUS=" in outputs.text) == (scenario not in ends_at_once)


@pytest.mark.parametrize("how", ["lifespan", "asgi"])
@pytest.mark.parametrize("scenario", ["part fails", "parts fail", "part hangs"])
def test_a_start_under_a_server(scenario: str, how: str, program: Program, logs: Path) -> None:
    """A server that is told why a part did not start tells it, and no value."""
    outputs = live(scenario, how, program, logs)
    assert "Application startup failed" in outputs.text
    assert "failed to start" in outputs.text
    assert "exit status 3" in outputs.text
