"""SIGHUP to an owned process: the answers for ``Type=notify-reload``, and retried checks."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hive_boot.testing import MountedVolume
from tests.fixtures.owned_processes import BACKENDS, OwnedProcess, side_by_side, started

SOURCE = """
os.setsid()
import anyio
from hive_boot._timings import Timings

def judge(value):
    print("judges", value[-3:])
    while value.endswith("slow") and not is_open():
        time.sleep(0.005)
    return "refuse" not in value or is_open()

class Needs(SecretSet):
    jwt_secret: Secret = secret(check=judge)

options = {"watch": sys.argv[2] == "watch"}
if len(sys.argv) > 4:
    options["secrets_dirs"] = sys.argv[4]
boot = Bootstrap(Needs, mode=sys.argv[3], **options)
# A refused set is not tried again by itself.
boot._declaration.timings = Timings(reload_retry_delay=1000, max_reload_retry_delay=1000)

@boot.on_rotate()
async def tell(change) -> None:
    print("rotated", change.generation)

@boot.main
async def main() -> None:
    if "CANCEL" in os.environ:
        import asyncio

        await boot.reload()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await anyio.sleep(0.01)
    print("main")
    await anyio.sleep_forever()

boot.run(backend=backend)
"""


class Message(NamedTuple):
    """A datagram for systemd, and its time in microseconds of the monotonic clock."""

    kind: str
    at: int


class Systemd:
    """The service manager of one process."""

    def __init__(self, reader: socket.socket, process: OwnedProcess) -> None:
        self._reader = reader
        self.process = process

    def read(self) -> Message:
        """Wait for the next message that is not only a status."""
        while True:
            first, *more = self._reader.recv(4096).decode().splitlines()
            if not first.startswith("STATUS="):
                moment = [line for line in more if line.startswith("MONOTONIC_USEC=")]
                return Message(first, int(moment[0].partition("=")[2]) if moment else 0)

    def signal(self) -> int:
        """Send SIGHUP, and return the time before it, as systemd records it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.process.send(signal.SIGHUP)
        return now

    def wait_reloaded(self, since: int) -> None:
        """Wait for the answer to a signal; as systemd, ignore an older answer."""
        while not ((message := self.read()).kind == "RELOADING=1" and message.at >= since):
            assert message.kind in {"RELOADING=1", "READY=1"}
        assert self.read().kind == "READY=1"

    def reload(self) -> None:
        """Send SIGHUP, as ``systemctl reload`` does, and wait for the answer."""
        self.wait_reloaded(self.signal())

    def stop(self) -> str:
        """Stop the process in order, and return its stderr."""
        self.process.send(signal.SIGTERM)
        while (message := self.read()).kind != "STOPPING=1":
            assert message.kind in {"RELOADING=1", "READY=1"}  # because of a file
        code, _, err = self.process.wait()
        assert code == 0, err
        assert "Traceback" not in err
        return err


@contextmanager
def managed(path: Path, *arguments: str, **variables: str) -> Iterator[Systemd]:
    """Start the application under a service manager."""
    # The path of a pytest directory can be too long for a socket.
    with (
        TemporaryDirectory(dir="/tmp") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader,
    ):
        address = f"{directory}/notify"
        reader.bind(address)
        reader.settimeout(30)
        with started(SOURCE, *arguments, cwd=path, NOTIFY_SOCKET=address, **variables) as process:
            yield Systemd(reader, process)


@contextmanager
def mounted(path: Path, backend: str, watch: str = "", **variables: str) -> Iterator[Systemd]:
    """Start the application with a mounted volume."""
    publish(path, "001")
    where = str(path / "volume")
    with managed(path, backend, watch, "kubernetes", where, **variables) as systemd:
        yield systemd


def publish(path: Path, end: str) -> None:
    """Publish a value with this end."""
    MountedVolume(path / "volume").publish({"jwt_secret": f"fake-jwt-secret-{end}"})


def test_each_hang_up_is_answered_in_every_mode(tmp_path: Path) -> None:
    """``systemctl reload`` gets an answer also without a change and without a watcher."""

    def scenario(backend: str, watch: str, mode: str, path: Path) -> None:
        where = []
        if mode in {"kubernetes", "docker", "systemd"}:
            where = [str(path / "volume")]
            publish(path, "001")
        with managed(path, backend, watch, mode, *where) as systemd:
            assert systemd.read().kind == "READY=1"
            systemd.reload()
            systemd.reload()
            systemd.stop()

    cells = [
        *(("asyncio", "", mode) for mode in ("environment", "development", "docker", "systemd")),
        *((backend, watch, "kubernetes") for backend in BACKENDS for watch in ("", "watch")),
    ]
    side_by_side(tmp_path, scenario, cells)


def test_each_hang_up_is_answered_whatever_the_reload_finds(tmp_path: Path) -> None:
    """The answer is the same for a new set, a rejected set, and one that is rejected again."""

    def scenario(backend: str, watch: str, path: Path) -> None:
        with mounted(path, backend, watch) as systemd:
            assert systemd.read().kind == "READY=1"
            publish(path, "002")
            systemd.reload()
            MountedVolume(path / "volume").publish({})
            systemd.reload()
            systemd.reload()
            publish(path, "refuse")
            systemd.reload()
            publish(path, "003")
            systemd.reload()
            assert "JWT_SECRET" in systemd.stop()

    side_by_side(tmp_path, scenario, [("asyncio", ""), ("asyncio", "watch"), ("trio", "")])


def test_a_hang_up_is_answered_while_the_process_is_busy(tmp_path: Path) -> None:
    """A signal during a reload is answered by the next reload, one during startup after READY."""

    def reloading(backend: str, path: Path) -> None:
        with mounted(path, backend) as systemd:
            assert systemd.read().kind == "READY=1"
            assert [systemd.process.read_line() for _ in range(2)] == ["judges 001", "main"]
            publish(path, "slow")
            first = systemd.signal()
            assert systemd.process.read_line() == "judges low"
            second = systemd.signal()
            systemd.process.open_gate()
            systemd.wait_reloaded(first)
            systemd.wait_reloaded(second)
            systemd.stop()

    def starting(backend: str, path: Path) -> None:
        publish(path, "slow")
        with managed(path, backend, "", "kubernetes", str(path / "volume")) as systemd:
            assert systemd.process.read_line() == "judges low"
            since = systemd.signal()
            systemd.process.open_gate()
            assert systemd.read().kind == "READY=1"
            systemd.wait_reloaded(since)
            systemd.stop()

    side_by_side(tmp_path, reloading, [(backend,) for backend in BACKENDS])
    side_by_side(tmp_path, starting, [(backend,) for backend in BACKENDS])


def test_a_hang_up_is_answered_when_other_code_has_cancelled_every_task(tmp_path: Path) -> None:
    """Tasks of hive_boot are not listed by ``asyncio.all_tasks``."""
    with mounted(tmp_path, "asyncio", CANCEL="yes") as systemd:
        assert systemd.read().kind == "READY=1"
        while systemd.process.read_line() != "main":
            pass
        systemd.reload()
        assert "hive_boot rotation" not in systemd.stop()


def test_a_hang_up_asks_a_check_again(tmp_path: Path) -> None:
    """SIGHUP runs a check again, as ``boot.reload()`` does, on values that it has rejected."""

    def scenario(backend: str, path: Path) -> None:
        with mounted(path, backend) as systemd:
            lines = [systemd.process.read_line() for _ in range(2)]
            publish(path, "refuse")
            systemd.process.send(signal.SIGHUP)
            lines.append(systemd.process.read_line())
            systemd.process.read_until("generation 1")
            systemd.process.open_gate()
            systemd.process.send(signal.SIGHUP)
            lines += [systemd.process.read_line() for _ in range(2)]
            assert lines == ["judges 001", "main", *["judges use"] * 2, "rotated 2"]

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])
