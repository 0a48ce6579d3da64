"""Sources of an application that owns its process: SIGHUP, and a stop while a source is asked."""

import signal
from itertools import product
from pathlib import Path

from tests.fixtures.owned_processes import BACKENDS, side_by_side, started

SOURCE = """
import anyio
from contextlib import suppress


async def ignore():
    while True:
        with suppress(BaseException):
            await anyio.sleep(0.05)
        time.sleep(0.005)  # a cancelled sleep ends at once


class Source:
    name = "vault"
    number = 0

    async def load(self, names):
        self.number += 1
        print("asked")
        try:
            {wait}
        finally:
            print("left")
        return {{"API_KEY": f"fake-api-key-00000{{self.number}}"}}


class OfSource(SecretSet):
    api_key: Secret


boot = Bootstrap(OfSource, sources=[Source()], shutdown_timeout=1)


@boot.on_rotate()
async def tell(change):
    print("rotated", change.generation)


@boot.main
async def main() -> None:
    print("ready")
    await anyio.sleep_forever()


boot.run(backend=backend)
"""


def test_sighup_asks_again(tmp_path: Path) -> None:
    """The application reloads, and a rotation follows."""

    def scenario(backend: str, cwd: Path) -> None:
        with started(SOURCE.format(wait="pass"), backend, cwd=cwd) as process:
            assert [process.read_line() for _ in range(3)] == ["asked", "left", "ready"]
            process.send(signal.SIGHUP)
            assert [process.read_line() for _ in range(3)] == ["asked", "left", "rotated 2"]
            process.send(signal.SIGTERM)
            assert process.wait().code == 0

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])


WAITS = {
    "await anyio.sleep_forever()": (0, ["left"]),
    "time.sleep(600)": (70, []),
    "await ignore()": (70, []),
}
"""What a source does, and the exit status and the output after SIGTERM."""


def test_a_stop_ends_a_source_that_a_start_asks(tmp_path: Path) -> None:
    """One that awaits is cancelled; for others there is the forced exit."""

    def scenario(backend: str, wait: str, cwd: Path) -> None:
        code, out = WAITS[wait]
        with started(SOURCE.format(wait=wait), backend, cwd=cwd) as process:
            assert process.read_line() == "asked"
            process.send(signal.SIGTERM)
            ended = process.wait()
        assert (ended.code, ended.out) == (code, out)
        assert "fake-" not in ended.err

    side_by_side(tmp_path, scenario, product(BACKENDS, WAITS))
