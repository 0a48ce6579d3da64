"""``hive-boot run``: child processes under real signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from hive_boot.cli.main import main
from hive_boot.lifecycle.signals import SignalHandler, acquire, install_early
from tests.fixtures.ports import free_port
from tests.support import child_environment

MODULE = """
import os, sys, time
from hive_boot import Bootstrap, Secret, SecretSet

{importing}


class Needs(SecretSet):
    jwt_secret: Secret


boot = Bootstrap(Needs, mode="environment", shutdown_delay=0)


@boot.resource
async def pool():
    print("pool starts", flush=True)
    yield
    print("pool stops", flush=True)


async def web(scope, receive, send):
    if scope["type"] == "http":
        start = {{"type": "http.response.start", "status": 200, "headers": []}}
        await send(start)
        await send({{"type": "http.response.body", "body": b"served"}})
"""

MAIN = """

@boot.main{how}
async def main():
    import anyio, sniffio
    print("ready", sys.argv[1:], sniffio.current_async_library(), flush=True)
    {then}
"""

IMPORTING = """
print("importing", flush=True)
while not os.path.exists("gate"):
    time.sleep(0.01)
print("imported", flush=True)
"""


def write(
    *, importing: str = "", then: str = "await anyio.sleep_forever()", how: str = "", end: str = ""
) -> None:
    """Write the program ``program.py``."""
    source = MODULE.format(importing=importing)
    if then:
        source += MAIN.format(how=how, then=then)
    Path("program.py").write_text(f"{source}\n{end}\n", "utf-8")


@contextmanager
def running(*typed: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a command; it is killed when it hangs."""
    variables = {"JWT_SECRET": "fake-jwt-secret-0123456789", **variables}
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "hive_boot", *typed],
        env=child_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = Timer(60, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """Wait for the next line of its stdout."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[str], str]:
    """Wait for its end: the exit status, the lines that were left, and its stderr."""
    out, err = process.communicate()
    return process.returncode, out.splitlines(), err


def test_run_runs_an_application() -> None:
    """It works as boot.run() does, and main returns the exit status."""
    write(then="return 3")
    with running("run", "program:boot", "--backend", "trio") as process:
        status, out, err = ended(process)
    assert (status, out[0], out[2]) == (3, "pool starts", "pool stops"), err
    assert out[1].endswith("] trio")


def test_a_signal_stops_the_application_in_order() -> None:
    """The run takes over the handlers that were installed before its import."""
    write()
    with running("run", "program:boot") as process:
        assert line(process) == "pool starts"
        assert line(process).startswith("ready")
        process.send_signal(signal.SIGTERM)
        status, out, err = ended(process)
    assert (status, out) == (0, ["pool stops"]), err


def test_a_signal_during_the_import_is_not_lost() -> None:
    """The import completes, nothing starts, and the process ends by SIGINT."""
    write(importing=IMPORTING)
    with running("run", "program:boot") as process:
        assert line(process) == "importing"
        process.send_signal(signal.SIGINT)
        Path("gate").touch()
        status, out, err = ended(process)
    assert (status, out) == (-signal.SIGINT, ["imported"]), err
    assert "Traceback" not in err


def test_a_job_that_was_stopped_during_the_import_is_not_a_success() -> None:
    """Kubernetes takes 0 for success: with must_complete the status is 128 + n."""
    write(importing=IMPORTING, how="(must_complete=True)")
    with running("run", "program:boot") as process:
        assert line(process) == "importing"
        process.send_signal(signal.SIGTERM)
        Path("gate").touch()
        status, out, err = ended(process)
    assert (status, out) == (143, ["imported"]), err


def test_a_second_signal_during_the_import_ends_the_process_at_once() -> None:
    """This holds for an import that hangs forever too."""
    write(importing=IMPORTING)
    with running("run", "program:boot") as process:
        assert line(process) == "importing"
        # The kernel keeps no order among signals that wait, and Python takes the lower one first.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        status, out, err = ended(process)
    assert (status, out) == (143, []), err
    assert "SIGTERM" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a PID namespace here")
def test_as_pid_1_a_signal_during_the_import_is_not_lost() -> None:
    """The kernel drops a signal to PID 1 that has no handler."""
    write(importing="assert os.getpid() == 1\n" + IMPORTING)
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-u"]
    with subprocess.Popen(
        [*command, "-m", "hive_boot", "run", "program:boot"],
        env=child_environment(JWT_SECRET="fake-jwt-secret-0123456789"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = Timer(60, process.kill)
        guard.start()
        assert line(process) == "importing"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8")
        os.kill(int(children.split()[0]), signal.SIGTERM)
        Path("gate").touch()
        status, out, err = ended(process)
        guard.cancel()
    assert (status, out) == (0, ["imported"]), err


@pytest.mark.parametrize("server", [[], ["--server", "hypercorn", "--backend", "trio"]])
def test_serve_serves_an_application(server: list[str]) -> None:
    """`--serve` names the ASGI application, and the probe shows when it is ready."""
    write(then="")
    port = str(free_port())
    where = ["--host", "127.0.0.1", "--port", port]
    with running("run", "program:boot", "--serve", "program:web", *where, *server) as process:
        assert line(process) == "pool starts"
        while main(["probe", "--port", port]) and process.poll() is None:
            pass
        assert main(["probe", "--port", port, "--path", "/anything"]) == 0
        process.send_signal(signal.SIGTERM)
        status, out, err = ended(process)
    assert (status, out) == (0, ["pool stops"]), err


def test_a_module_is_run_as_python_m_does() -> None:
    """`-m` passes its own arguments, and the early signal handlers are taken over."""
    write(importing=IMPORTING, end="if __name__ == '__main__':\n    boot.run()")
    Path("gate").touch()
    with running("run", "-m", "program", "--its", "own") as process:
        assert [line(process) for _ in range(3)] == ["importing", "imported", "pool starts"]
        assert line(process) == "ready ['--its', 'own'] asyncio"
        process.send_signal(signal.SIGTERM)
        assert ended(process)[:2] == (0, ["pool stops"])
    Path("gate").unlink()
    with running("run", "-m", "program") as process:
        assert line(process) == "importing"
        process.send_signal(signal.SIGTERM)
        Path("gate").touch()
        assert ended(process)[:2] == (0, ["imported"])


def test_a_module_that_returns_is_a_success() -> None:
    """Its threads are waited for, as with python -m."""
    source = "import sys; print('plain', sys.argv[1:])\n"
    source += "from threading import Thread, main_thread\n"
    source += "Thread(target=lambda: (main_thread().join(), print('done'))).start()\n"
    Path("plain.py").write_text(source, "utf-8")
    with running("run", "-m", "plain", "one") as process:
        assert ended(process)[:2] == (0, ["plain ['one']", "done"])


def test_a_failed_start_and_a_failed_import_have_different_exit_statuses() -> None:
    """78 with the report of the secrets; 70 with the traceback of a failed import."""
    write()
    with running("run", "program:boot", JWT_SECRET="") as process:
        status, out, err = ended(process)
    assert (status, out) == (78, [])
    assert "JWT_SECRET" in err
    Path("program.py").write_text("1 / 0", "utf-8")
    with running("run", "program:boot") as process:
        status, _, err = ended(process)
    assert status == 70
    assert "program" in err
    assert "ZeroDivisionError" in err


def test_arguments_that_name_nothing_to_run_are_64(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started."""
    for typed, data in (
        ([], "-m MODULE"),
        (["-m"], "-m MODULE"),
        (["tests.cli.declared:boot", "-m", "plain"], "-m MODULE"),
        (["--serve", "a:b", "-m", "plain"], "-m MODULE"),
        (["--port", "1", "-m", "plain"], "-m MODULE"),
        (["a:b", "--port", "1"], "--port: only valid with --serve"),
        (["a:b", "--serve", "a:c", "--port", "65536"], "--port"),
        (["nowhere:boot"], "nowhere"),
        (["-m", "nowhere"], "nowhere"),
        (["-m", "tests.cli"], "tests.cli.__main__"),
        (["tests.cli.declared:boot", "--serve", "nowhere:web"], "nowhere"),
    ):
        try:
            assert main(["run", *typed]) == 64, typed
        finally:
            with acquire():
                pass
        assert data in capsys.readouterr().err


def test_an_object_that_is_not_an_asgi_application_is_not_served(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The service would become ready, and answer each request with 500."""
    for web in ("boot", "Needs", "something_else"):
        try:
            typed = ["run", "tests.cli.declared:Needs", "--serve", f"tests.cli.declared:{web}"]
            assert main(typed) == 70
        finally:
            with acquire():
                pass
        assert f"tests.cli.declared:{web}" in capsys.readouterr().err


def test_early_signal_handlers_are_taken_over_once() -> None:
    """A later run installs its own, and the old handlers are restored."""
    before = signal.getsignal(signal.SIGTERM)
    install_early()
    early = signal.getsignal(signal.SIGTERM)
    assert early is not before
    with acquire() as latch:
        assert signal.getsignal(signal.SIGTERM) is early
        os.kill(os.getpid(), signal.SIGTERM)
        assert latch.first_signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert isinstance(acquire(), SignalHandler)
