"""Processes that crash: their tracebacks contain no value."""

from itertools import product
from pathlib import Path

import pytest

from tests.canary.canaries import ENVIRONMENT
from tests.canary.children import Case, Child, check_cases, make_place
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
"""Exit statuses other than 70."""


def check_crash(case: Case, child: Child) -> None:
    """Assert that the process has crashed, and that no output holds a value."""
    scenario, _, how = case.arguments
    outputs = Outputs()
    outputs.add_child(child)
    outputs.add_files(case.logs)
    outputs.assert_silent()
    assert child.returncode == (1 if how == "inside" else CODES.get(scenario, 70)), outputs.text


@pytest.mark.both_backends
def test_crashes(anyio_backend: str, tmp_path: Path) -> None:
    """Wherever something crashes, what Python, the loop or the caller shows has no value in it.

    What is ``inside`` crashes in a block of ``boot.running``, and its caller logs it when the
    application is over. The report of asyncio about tasks that are never awaited is shown
    with and without logging.
    """
    on_asyncio = anyio_backend == "asyncio"
    crashes = [
        (scenario, "quiet" if on_asyncio else "logged")
        for scenario in SCENARIOS
        if scenario not in ASYNCIO_ONLY
    ]
    if on_asyncio:
        crashes += product(sorted(ASYNCIO_ONLY), ("logged", "quiet"))
    crashes += [(scenario, "inside") for scenario in OUTSIDE]
    cases = [
        Case(
            name=f"{scenario}, {how}",
            place=make_place(tmp_path, number),
            arguments=[scenario, anyio_backend, how],
            variables=INJECTED,
        )
        for number, (scenario, how) in enumerate(crashes)
    ]
    check_cases("crashes", cases, check_crash)
