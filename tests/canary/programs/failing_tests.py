"""Tests as users write them; each of them fails in a frame of hive_boot.

They are run with ``pytest --showlocals``, in a separate process.
"""

import os
from collections.abc import AsyncIterator

import pytest

from hive_boot import Bootstrap
from tests.canary import test_frames as outer
from tests.canary.programs import starts
from tests.canary.programs.declared import Canaries

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Return one backend: the frames are the same on both."""
    return "asyncio"


@pytest.fixture
async def running() -> AsyncIterator[Canaries]:
    """Yield the secrets of a running application."""
    async with Bootstrap(Canaries).running() as secrets:
        yield secrets


@pytest.mark.parametrize("name", outer.WRONG)
async def test_wrong(name: str, running: Canaries) -> None:
    """Call a function of hive_boot with a wrong argument."""
    outer.WRONG[name](running)


@pytest.mark.parametrize("scenario", ["as declared", "plain check", "set check", "too short"])
async def test_start(scenario: str) -> None:
    """Fail during startup, or in the block."""
    async with starts.SCENARIOS[scenario]().running():
        raise ValueError(os.environ["JWT_SECRET"])


@pytest.mark.parametrize("fault", outer.REACHED["environment"].split())
async def test_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail deep inside a start."""
    boot = starts.judged(min_length=5000) if fault == "fault" else Bootstrap(Canaries)
    await outer.start_broken(boot, fault, monkeypatch)


@pytest.mark.usefixtures("running")
async def test_logging() -> None:
    """Log a value to a handler that fails."""
    with outer.handling(outer.Tracking([], emits=True)) as log:
        log.error("it is %s", os.environ["JWT_SECRET"])
