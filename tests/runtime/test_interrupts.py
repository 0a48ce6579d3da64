"""SIGINT to an owned process: after an orderly stop CPython ends it by that signal."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.fixtures.owned_processes import BACKENDS, ENVIRONMENT, POOL, side_by_side, started
from tests.support import child_environment

APPLICATION = f"""
import atexit, signal, sys, threading, time
from hive_boot import Bootstrap, Secret, SecretSet

class Needs(SecretSet):
    jwt_secret: Secret

boot = Bootstrap(Needs, shutdown_timeout=0.5)
{POOL}
@boot.main{{how}}
async def main(pool: str) -> int | None:
    import anyio

    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        {{ending}}
"""

RUN = """
if __name__ == "__main__":
    backend = sys.argv[1]
    atexit.register(print, "atexit")
    thread = threading.Thread(target=lambda: (time.sleep(0.1), print("joined")))
    try:
        boot.run(backend=backend)
    finally:
        thread.start()
        print("finally")
"""

ENDS = ["pool stops", "finally", "joined", "atexit"]


def application(ending: str = "pass", how: str = "", run: str = RUN) -> str:
    """Return an application whose main ends in some way."""
    return APPLICATION.format(ending=ending, how=how) + run


def test_the_interpreter_ends_by_the_signal(tmp_path: Path) -> None:
    """`finally`, threads and `atexit` run as after any KeyboardInterrupt, without a traceback."""

    def scenario(backend: str, how: str, path: Path) -> None:
        with started(application(how=how), backend, cwd=path) as process:
            assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
            process.send(signal.SIGINT)
            code, out, err = process.wait()
        assert (code, out) == (-signal.SIGINT, ENDS), err
        assert "Traceback" not in err

    cells = [(backend, "") for backend in (*BACKENDS, "uvloop")]
    side_by_side(tmp_path, scenario, [*cells, ("asyncio", "(must_complete=True)")])


OTHER_ENDS = {
    "return 3": (3, ENDS),
    "sys.exit(4)": (4, ENDS),
    "raise RuntimeError('cannot flush')": (70, ENDS),
    "sys.exit(0)": (-signal.SIGINT, ENDS),
    "return 0": (-signal.SIGINT, ENDS),
    # A missed deadline: of the event loop, and of the thread joins after it.
    "time.sleep(60)": (70, []),
    "threading.Thread(target=time.sleep, args=[60]).start()": (70, ENDS[:3]),
}
"""What main does when it is cancelled, and the return code of the process."""


def test_a_failure_wins_over_the_signal(tmp_path: Path) -> None:
    """Only a stop without an error, and without a status of its own, ends by the signal."""

    def scenario(ending: str, path: Path) -> None:
        with started(application(ending), "asyncio", cwd=path) as process:
            assert [process.read_line(), process.read_line()] == ["pool starts", "ready"]
            process.send(signal.SIGINT)
            code, out, err = process.wait()
        assert (code, out) == OTHER_ENDS[ending], err

    side_by_side(tmp_path, scenario, [(ending,) for ending in OTHER_ENDS])


CAUGHT = """
sys.excepthook = lambda kind, exc, trace: print("hook", kind.__name__)
for _ in range(2):
    try:
        boot.run(backend=sys.argv[1])
    except KeyboardInterrupt as exc:
        print("caught", exc)
raise KeyboardInterrupt("of the application")
"""


def test_the_exception_can_be_caught_and_others_are_shown(tmp_path: Path) -> None:
    """A program may run the application again; the hook of the program gets its own exceptions."""
    source = application(run=CAUGHT).replace("await", "signal.raise_signal(signal.SIGINT); await")
    with started(source, "asyncio", cwd=tmp_path) as process:
        code, out, err = process.wait()
    once = ["pool starts", "ready", "pool stops", "caught SIGINT has stopped the application"]
    assert (code, out) == (-signal.SIGINT, [*once, *once, "hook KeyboardInterrupt"]), err


SHELL = {
    "a list": '"$PYTHON" -u app.py asyncio && echo deployed',
    "a loop": 'for each in 1 2 3; do "$PYTHON" -u app.py asyncio; done; echo deployed',
    "the command": (
        'for each in 1 2; do "$PYTHON" -um hive_boot run app:boot; done; echo deployed'
    ),
    "a module of the command": (
        'for each in 1 2; do "$PYTHON" -um hive_boot run -m app trio; done; echo deployed'
    ),
    "a module": 'for each in 1 2; do "$PYTHON" -um app asyncio; done; echo deployed',
    "a second signal": 'for each in 1 2; do "$PYTHON" -u hangs.py asyncio; done; echo deployed',
}
"""Command lines that go on after a process that ends with 0."""


BASH = shutil.which("bash") or "bash"


def test_a_shell_stops_too(tmp_path: Path) -> None:
    """Ctrl-C reaches the shell and the application; the shell does not run what follows."""

    def scenario(name: str, path: Path) -> None:
        (path / "app.py").write_text(application())
        hangs = application("print('hangs'), threading.Event().wait()")
        (path / "hangs.py").write_text(hangs.replace("timeout=0.5", "timeout=60"))
        shell = subprocess.Popen(
            [BASH, "-c", SHELL[name]],
            env=child_environment(**ENVIRONMENT, PYTHON=sys.executable),
            cwd=path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with shell:
            try:
                assert shell.stdout is not None
                assert [shell.stdout.readline() for _ in range(2)] == ["pool starts\n", "ready\n"]
                os.killpg(shell.pid, signal.SIGINT)
                if name == "a second signal":
                    assert shell.stdout.readline() == "hangs\n"
                    while shell.poll() is None:
                        os.killpg(shell.pid, signal.SIGINT)
                        with suppress(subprocess.TimeoutExpired):
                            shell.wait(0.05)
                out, err = shell.communicate(timeout=60)
            finally:
                shell.kill()
        assert shell.returncode == -signal.SIGINT, err
        assert "ready" not in out
        assert "deployed" not in out
        assert "Traceback" not in err

    side_by_side(tmp_path, scenario, [(name,) for name in SHELL])
