"""Secrets in FIFOs: read once per start, and again only by ``boot.reload()``."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretBytes, SecretSet, get_secret
from hive_boot.runtime.reload import Rejection
from hive_boot.secrets.sources import files
from tests.fixtures.timings import EVENTS_ONLY, QUICK_RETRIES, set_timings
from tests.support import child_environment, failed_start, move_to, run_child, until, wait_until

pytestmark = pytest.mark.anyio

PATIENT = 60.0
"""A timeout for a writer, in seconds, that is never reached."""

NO_TIME = 0.0
"""A timeout for a writer, in seconds, that is reached at once."""


class Needs(SecretSet):
    """A secret that is required, and one that may be absent."""

    api_key: Secret
    token: Secret | None


APP = """
from hive_boot import Bootstrap, Secret, SecretSet
class Needs(SecretSet):
    api_key: Secret
boot = Bootstrap(Needs)
@boot.main
async def main(secrets: Needs) -> None:
    print("main", len(secrets.api_key.reveal()), secrets.api_key.reveal() == "fake-key")
if __name__ == "__main__":
    boot.run()
"""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Forget the contents of FIFOs: a later test may get the same number of a descriptor."""
    yield
    files._fifo_contents.clear()  # noqa: SLF001  (a process has no reason to forget them)


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a FIFO as `.env` of a simulated machine in development mode."""
    move_to(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path / "cwd")
    path = tmp_path / "cwd/.env"
    os.mkfifo(path)
    return path


@pytest.fixture
def boot(fifo: Path) -> Bootstrap[Needs, None]:
    """Declare an application that waits for the writer of the FIFO."""
    assert fifo.is_fifo()
    boot = Bootstrap(Needs, watch=True)
    set_timings(boot, fifo_timeout=PATIENT, **QUICK_RETRIES, **EVENTS_ONLY)
    return boot


@contextmanager
def written(path: Path, text: str) -> Iterator[threading.Thread]:
    """Write into a FIFO in another thread, which blocks until there is a reader."""
    thread = threading.Thread(target=path.write_text, args=[text], daemon=True)
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()


def has_no_reader(path: Path) -> bool:
    """Return whether no process has opened the FIFO for reading."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as exc:
        return exc.errno == errno.ENXIO
    return False


def is_open(process: int, path: Path) -> bool:
    """Return whether a process has opened a file."""
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            if entry.readlink() == path:
                return True
    return False


async def resync(boot: Bootstrap[Needs, None]) -> Rejection | None:
    """Request a reload as after an event, wait for the read, and return a rejection."""
    run: Any = boot._run  # noqa: SLF001  (what the watcher uses)
    reloader = run._get_reloader()  # noqa: SLF001
    before = reloader.last_read
    reloader.start()
    reloader.request_reload()
    await until(lambda: reloader.last_read > before or reloader.rejection)
    rejection: Rejection | None = reloader.rejection
    return rejection


@pytest.mark.both_backends
async def test_a_start_reads_a_fifo_once(fifo: Path, boot: Bootstrap[Needs, None]) -> None:
    """A resync keeps what the start has read, also when the FIFO is removed."""
    with written(fifo, "API_KEY=fake-1\nTOKEN=${API_KEY}-token\n"):
        async with boot.running() as secrets:
            assert await resync(boot) is None
            assert has_no_reader(fifo)
            fifo.unlink()  # noqa: ASYNC240  (it does not block)
            assert await resync(boot) is None
            assert secrets.api_key.reveal() == "fake-1"
            assert secrets.token is not None
            assert secrets.token.reveal() == "fake-1-token"


@pytest.mark.both_backends
async def test_a_reload_reads_it_again(fifo: Path, boot: Bootstrap[Needs, None]) -> None:
    """As SIGHUP, `boot.reload()` gets the new content; without a writer it fails."""
    with written(fifo, "API_KEY=fake-1\n"):
        async with boot.running() as secrets:
            with written(fifo, "API_KEY=fake-2\n"):
                change = await boot.reload()
            assert change is not None
            assert change.names == ("api_key",)
            assert secrets.api_key.reveal() == "fake-2"
            with written(fifo, "API_KEY=fake-3\n"):
                boot._run.request_reload()  # type: ignore[union-attr]  # noqa: SLF001  (SIGHUP)
                await until(lambda: secrets.api_key.reveal() == "fake-3")

            reader = boot._run._get_reloader()._reader  # type: ignore[union-attr]  # noqa: SLF001
            reader._fifo_timeout = NO_TIME  # noqa: SLF001  (a timing of the running application)
            with pytest.raises(InvalidSecretsError) as caught:
                await boot.reload()
            assert [(each.name, each.kind) for each in caught.value.problems] == [
                (str(fifo), "unreadable")
            ]
            assert secrets.api_key.reveal() == "fake-3"
            # The next read needs no writer, so the application is not degraded for long.
            await until(lambda: boot.status().degraded is False)


async def test_a_fifo_without_a_writer(fifo: Path, boot: Bootstrap[Needs, None]) -> None:
    """The start fails with one problem, which names what the FIFO may contain."""
    set_timings(boot, fifo_timeout=NO_TIME)
    (problem,) = (await failed_start(boot)).problems
    assert (problem.name, problem.kind) == (str(fifo), "unreadable")
    assert "API_KEY" in problem.details[0]


async def test_a_named_fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fields may name one FIFO, in every mode, and a wait for files does not read it again."""

    class Two(SecretSet):
        """One content as text and as bytes."""

        api_key: Secret
        raw_key: SecretBytes

    move_to(tmp_path, monkeypatch)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    monkeypatch.setenv("API_KEY_FILE", str(path))
    monkeypatch.setenv("RAW_KEY_FILE", str(path))
    for mode in ("development", "environment", "docker"):
        monkeypatch.setenv("HIVE_BOOT_MODE", mode)
        boot = Bootstrap(Two)
        set_timings(boot, fifo_timeout=PATIENT)
        with written(path, f"fake-{mode}\n"):
            async with boot.running() as secrets:
                assert secrets.api_key.reveal() == f"fake-{mode}"
                assert secrets.raw_key.reveal() == f"fake-{mode}\n".encode()
    late = Bootstrap(Two, wait_for_files=NO_TIME + 0.01)
    set_timings(late, fifo_timeout=NO_TIME)
    failure = await failed_start(late)
    assert [each.kind for each in failure.problems] == ["unreadable", "unreadable"]


def test_a_process_substitution(tmp_path: Path) -> None:
    """`API_KEY_FILE=<(command)` of a shell is a pipe, and `9<<<` is a pipe or a file."""
    (tmp_path / "app.py").write_text(APP)
    for command in (
        'API_KEY_FILE=<(printf fake-key) "$0" app.py',
        'API_KEY_FILE=/dev/fd/9 "$0" app.py 9<<<fake-key',
        'printf fake-key | API_KEY_FILE=/dev/stdin "$0" app.py',
        'API_KEY_FILE=/proc/self/fd/9 "$0" app.py 9< <(printf fake-; printf key)',
    ):
        done = subprocess.run(
            ["/bin/bash", "-c", command, sys.executable],
            cwd=tmp_path,
            env=child_environment(HIVE_BOOT_PROFILE="development"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "main 8 True\n"), command + done.stderr


async def test_a_pipe_is_kept_by_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second read of /dev/fd/N is empty, and is not taken as a new value."""
    move_to(tmp_path, monkeypatch)
    read_end, write_end = os.pipe()
    os.write(write_end, b"fake-key")
    os.close(write_end)
    monkeypatch.setenv("API_KEY_FILE", f"/dev/fd/{read_end}")
    boot = Bootstrap(Needs)
    async with boot.running() as secrets:
        assert await boot.reload() is None
        os.close(read_end)
        assert await resync(boot) is None
        assert secrets.api_key.reveal() == "fake-key"


@pytest.mark.parametrize("command", ["check", "doctor", "migrate"])
async def test_commands_leave_it_to_the_service(fifo: Path, command: str) -> None:
    """A command does not open the FIFO: its writer waits for the service."""
    (fifo.parent / "app.py").write_text(APP)
    source = "import sys; from hive_boot.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with written(fifo, "API_KEY=fake-key\n") as writer:
        done = run_child(source, command, "app:boot", cwd=fifo.parent, HIVE_BOOT_MODE="development")
        status, word = (64, "not a file") if command == "migrate" else (78, "FIFO")
        assert done.returncode == status, done.stdout + done.stderr
        assert word in done.stderr
        assert writer.is_alive()
        boot = Bootstrap(Needs)
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-key"


def test_a_stop_while_it_waits(fifo: Path) -> None:
    """SIGTERM ends a start that waits for a writer."""
    (fifo.parent / "app.py").write_text(APP)
    with subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=fifo.parent,
        env=child_environment(HIVE_BOOT_MODE="development"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_until(lambda: is_open(process.pid, fifo))
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert out == b""
    assert b"SIGTERM" in err


def test_get_secret_reads_it_once(fifo: Path) -> None:
    """``get_secret`` without an application reads a FIFO once, for every name in it."""
    with written(fifo, "API_KEY=fake-1\nTOKEN=fake-2\n"):
        assert get_secret("API_KEY") == "fake-1"
    assert get_secret("TOKEN") == "fake-2"
    assert get_secret("OTHER") is None
