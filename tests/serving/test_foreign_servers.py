"""A start that fails under somebody else's server: it never serves, and says why."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer

import pytest

from tests.fixtures.ports import free_port
from tests.serving.served import asked
from tests.support import child_environment

MODULE = "tests.serving.foreign"

SERVERS = {
    "uvicorn": (3, ["uvicorn", f"{MODULE}:{{app}}", "--port", "{port}"]),
    # It takes the failure of its only worker for an orderly end.
    "hypercorn": (0, ["hypercorn", f"{MODULE}:{{app}}", "--bind", "127.0.0.1:{port}"]),
    "hypercorn alone": (
        1,
        ["hypercorn", f"{MODULE}:{{app}}", "--bind", "127.0.0.1:{port}", "--workers", "0"],
    ),
    "hypercorn on trio": (1, [MODULE, "{app}", "127.0.0.1:{port}"]),
    "granian": (1, ["granian", "--interface", "asgi", f"{MODULE}:{{app}}", "--port", "{port}"]),
}
"""For each server the exit status after a failed start, and the command line."""


@contextmanager
def served(
    server: str, app: str, output: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server with what it starts; give it and its port, and end all of it."""
    port = free_port()
    line = [each.format(app=app, port=port) for each in SERVERS[server][1]]
    with output.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", *line],
            env=child_environment(HIVE_BOOT_MODE="environment", **variables),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        guard = Timer(60, kill)
        guard.start()
        try:
            yield process, port
        finally:
            guard.cancel()
            kill()
            process.wait()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("app", ["app", "wrapped"])
def test_a_failed_start_never_serves(server: str, app: str, tmp_path: Path) -> None:
    """Without its secrets an application answers nobody, ends, and leaves the report behind."""
    output = tmp_path / "output"
    with served(server, app, output) as (process, port):
        answers = {asked(port)}
        while process.poll() is None:
            answers.add(asked(port))
            time.sleep(0.01)
    assert answers == {None}
    assert process.returncode == SERVERS[server][0]
    written = output.read_text(encoding="utf-8")
    assert written.count("OPENAI_API_KEY") >= 2  # what is missing, and how to provide it
    # The wrapper is no framework, so it need not give a traceback to be heard.
    assert app == "app" or "hive_boot/bootstrap" not in written


@pytest.mark.parametrize("server", SERVERS)
def test_the_same_application_serves_with_its_secrets(server: str, tmp_path: Path) -> None:
    """With its secrets the application is served by each of them."""
    output = tmp_path / "output"
    with served(server, "wrapped", output, OPENAI_API_KEY="fake-key") as (process, port):
        while (status := asked(port)) is None and process.poll() is None:
            time.sleep(0.01)
    assert status == 200, output.read_text(encoding="utf-8")
