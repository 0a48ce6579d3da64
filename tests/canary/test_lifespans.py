"""Crashes around ``boot.lifespan``, as the server logs them: without a value."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.canary.canaries import ENVIRONMENT
from tests.canary.outputs import Outputs
from tests.serving.served import interpreter

APP = "tests.canary.programs.lifespans:app"

SERVERS = {
    "uvicorn": ("uvicorn", APP, "--port", "0", "--log-level", "debug"),
    "hypercorn": ("hypercorn", APP, "--bind", "127.0.0.1:0", "--log-level", "DEBUG"),
    "hypercorn alone": ("hypercorn", APP, "--bind", "127.0.0.1:0", "--workers", "0"),
    "hypercorn on trio": ("tests.canary.programs.lifespans",),
}
"""Command lines; by default hypercorn starts a process for the application."""

STAGES = ["start", "grouped start", "stop"]


_RUN = """
import os, runpy, sys
os.setsid()
os.dup2(1, 2)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def serve(server: str, stage: str, logs: Path) -> Outputs:
    """Run a server until the start or the stop crashes, and return its outputs."""
    told = {"LOG_DIR": str(logs), "STAGE": stage, "HIVE_BOOT_MODE": "environment"}
    written = []
    with interpreter().started(
        _RUN, *SERVERS[server], cwd=Path.cwd(), **told, **ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        to_stop = stage == "stop"
        # It ends when the last process that writes has ended.
        for line in process.stdout:
            written.append(line)
            # The line may be printed twice, and a second signal would force the exit.
            if to_stop and "unning on http" in line:
                process.send_signal(signal.SIGTERM)
                to_stop = False
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    outputs = Outputs()
    outputs.add("stdout or stderr", "".join(written).encode())
    outputs.add_files(logs)
    return outputs


@pytest.mark.parametrize("server", SERVERS)
def test_lifespans_that_crash(server: str, tmp_path: Path) -> None:
    """A server logs why a start or a stop has failed, without a value."""

    def serve_stage(stage: str) -> Outputs:
        logs = tmp_path / stage
        logs.mkdir()
        return serve(server, stage, logs)

    with ThreadPoolExecutor(2) as threads:
        served = dict(zip(STAGES, threads.map(serve_stage, STAGES), strict=True))
    for stage, outputs in served.items():
        assert "The lifespan has begun" in outputs.text, stage
        # On trio hypercorn does not log the failed end of a lifespan.
        is_told = (server, stage) != ("hypercorn on trio", "stop")
        assert "RuntimeError" in outputs.text or not is_told, stage
        outputs.assert_silent()
