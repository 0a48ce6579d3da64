"""Soak test, ``python -m tests.soak``: correct and faulty writers, and an application under load.

It is a test, not a benchmark: nothing may go wrong, however long it runs. It prints a
report, and its exit status is 1 if the report contains a problem.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.writers import publish_continuously
from tests.soak.account import Account
from tests.soak.clients import Client, Line
from tests.soak.values import make_set
from tests.soak.writers import PlainWriter, VolumeWriter, wait_for

ROOT = Path(__file__).parent.parent.parent

_TMPFS = "/dev/shm"  # noqa: S108  (only a temporary directory is created in it)

_CLIENTS = 8
_GOOD = 60.0
"""Seconds after which a good set has to be in use, whatever there was before."""

_EVERY = 10.0
"""Seconds between two waits for a good set."""

_STORM = 90
"""Rotations after which what stays hidden because it was in use has reached its limit."""

_SHORT = 0.5
"""Minutes below which a soak has no warm-up, so that growth is not reported."""

_ENDING = 15.0


class Soak:
    """One run of the soak test.

    Args:
        base: an empty directory.
        backend: ``asyncio`` or ``trio``.
        seed: the seed of the random choices of the writers.
        warm_up: whether to let memory grow to its limit before the first measurement.
    """

    def __init__(self, base: Path, backend: str, seed: str, *, warm_up: bool) -> None:
        self._seed = seed
        self._stop = threading.Event()
        self._halt = threading.Event()
        judge = base / "judge-is-away"
        self._volume = VolumeWriter(base / "volume", judge, seed, self._stop)
        self._volume.heal()
        self._plain = PlainWriter(base / "plain", seed, self._stop)
        places = (self._volume.volume.path, self._plain.directory.path, judge)
        # The application's memory is to be its own, not that of what measures coverage.
        environ = {name: text for name, text in os.environ.items() if "COVERAGE" not in name}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.application", backend, *map(str, places)],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.account = Account(is_warm=warm_up)

    def run(self, seconds: float) -> None:
        """Warm up, run the writers for ``seconds``, and measure before and after."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, "the application does not start"
        port = int(said)
        self._line = Line(port)
        clients = [Client(port, self._halt, f"{self._seed} {each}") for each in range(_CLIENTS)]
        for client in clients:
            client.start()
        if self.account.is_warm:
            self._warm_up(seconds)
        self.account.before = self._measure()
        self._write(seconds)
        self.account.after = self._measure()
        self.account.told = self._line.ask_for_facts("tell")
        self._halt.set()
        for client in clients:
            client.join()
            self.account.requests += client.requests
            self.account.failures += client.failures
            self.account.slowest = max(self.account.slowest, client.slowest)
        self._line.close()

    def end(self) -> None:
        """Stop the application, and record its exit status."""
        self._stop.set()
        self._halt.set()
        self._process.send_signal(signal.SIGTERM)
        try:
            self.account.status = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _warm_up(self, seconds: float) -> None:
        """Rotate until memory no longer grows by it, and run writers for up to 20 s."""
        writer = self._volume

        def next_set(_number: int) -> dict[str, str | bytes]:
            return make_set(writer.new_tag())

        with publish_continuously(writer.volume, next_set, rate=50, seconds=_GOOD):
            wait_for(lambda: self._line.ask_for_facts("tell")["generation"] > _STORM, _GOOD)
        writer.heal()
        until = time.monotonic() + min(seconds / 2, 20)
        while time.monotonic() < until:
            writer.work()

    def _write(self, seconds: float) -> None:
        self._plain.start()
        until = time.monotonic() + seconds
        next_wait = time.monotonic() + _EVERY
        while time.monotonic() < until and self._process.poll() is None:
            self._volume.work()
            if time.monotonic() > next_wait:
                self._expect_good_set()
                next_wait = time.monotonic() + _EVERY
        self._stop.set()
        self._plain.join()
        self.account.done = self._volume.done + self._plain.done

    def _expect_good_set(self) -> None:
        """Publish a good set, and wait until it is in use."""
        with self._plain.turn:
            self._volume.heal()
            tags = {**self._volume.tags, **self._plain.tags}
            seconds = wait_for(lambda: self._line.ask_for_facts("tell")["tags"] == tags, _GOOD)
            self.account.waits.append(seconds)

    def _measure(self) -> dict[str, int]:
        """Wait until the application is at rest with a good set, and return its measurements."""
        self._expect_good_set()
        wait_for(self._is_at_rest, _GOOD)
        measured: dict[str, int] = self._line.ask_for_facts("measure")
        return measured

    def _is_at_rest(self) -> bool:
        told = self._line.ask_for_facts("tell")
        is_well = told["watcher"] == "inotify" and not told["degraded"]
        return is_well and (told["accepted"] == 1 or not self.account.is_warm)


@contextmanager
def _workplace() -> Iterator[Path]:
    in_memory = os.access(_TMPFS, os.W_OK | os.X_OK)
    with tempfile.TemporaryDirectory(prefix="soak-", dir=_TMPFS if in_memory else None) as at:
        yield Path(at)


def main(arguments: Sequence[str]) -> int:
    """Run the soak, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="default: 1")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="repeats what was written")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    options = parser.parse_args(arguments)
    say = sys.stdout.write
    say(f"Soaking for {options.minutes:g} min on {options.backend}, --seed {options.seed}\n")
    sys.stdout.flush()
    with _workplace() as base:
        soak = Soak(base, options.backend, options.seed, warm_up=options.minutes >= _SHORT)
        try:
            soak.run(options.minutes * 60)
        finally:
            soak.end()
    say(f"{soak.account.text()}\n")
    return 1 if soak.account.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
