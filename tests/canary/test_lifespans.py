"""A crash around ``boot.lifespan`` is told by the server, without a value."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest

from tests.canary.canaries import ENVIRONMENT
from tests.canary.outputs import Outputs
from tests.support import child_environment

APP = "tests.canary.programs.lifespans:app"

SERVERS = {
    "uvicorn": ("uvicorn", APP, "--port", "0", "--log-level", "debug"),
    "hypercorn": ("hypercorn", APP, "--bind", "127.0.0.1:0", "--log-level", "DEBUG"),
    "hypercorn alone": ("hypercorn", APP, "--bind", "127.0.0.1:0", "--workers", "0"),
    "hypercorn on trio": ("tests.canary.programs.lifespans",),
}
"""Command lines; hypercorn starts a process for the application unless it is told not to."""

STAGES = ["start", "grouped start", "stop"]


def serve(server: str, stage: str, logs: Path) -> Outputs:
    """Serve until the start crashes, or until the stop does; give what came out."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *SERVERS[server]],
        env=child_environment(
            LOG_DIR=str(logs), STAGE=stage, HIVE_BOOT_MODE="environment", **ENVIRONMENT
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    to_stop = stage == "stop"
    written = []
    guard = Timer(60, kill)
    guard.start()
    with process:
        assert process.stdout is not None
        # It ends when the last process that writes has ended.
        for line in process.stdout:
            written.append(line)
            # It is told twice, and a second signal would end the process at once.
            if to_stop and b"unning on http" in line:
                process.send_signal(signal.SIGTERM)
                to_stop = False
        guard.cancel()
    kill()
    outputs = Outputs()
    outputs.add("stdout or stderr", b"".join(written))
    outputs.add_files(logs)
    return outputs


@pytest.mark.parametrize("server", SERVERS)
def test_lifespans_that_crash(server: str, tmp_path: Path) -> None:
    """A server logs why it does not start, or did not end well, and no value."""

    def serve_stage(stage: str) -> Outputs:
        logs = tmp_path / stage
        logs.mkdir()
        return serve(server, stage, logs)

    with ThreadPoolExecutor(2) as threads:
        served = dict(zip(STAGES, threads.map(serve_stage, STAGES), strict=True))
    for stage, outputs in served.items():
        assert "The lifespan has begun" in outputs.text, stage
        # On trio hypercorn tells nobody that a lifespan did not end well.
        is_told = (server, stage) != ("hypercorn on trio", "stop")
        assert "RuntimeError" in outputs.text or not is_told, stage
        outputs.assert_silent()
