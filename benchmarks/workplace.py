"""Where the benchmarks work: secret files of their own, and child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.secrets.sources.directories import ReadPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.measuring import Measure

HIVE = (
    "openai_api_key",
    "hive_api_key",
    "jwt_secret",
    "stripe_secret_key",
    "stripe_webhook_secret",
    "langsmith_api_key",
    "sentry_dsn",
    "github_token",
)
"""The eight secrets of the HIVE service: what a small application has."""

_TMPFS = "/dev/shm"  # noqa: S108  (only a directory of our own is made in it)
_HUNG = 60.0
_TO_SETTLE = 10.0

_TOLD = ("KUBERNETES_SERVICE_HOST", "CREDENTIALS_DIRECTORY", "APP_ENV", "PYTHONDONTWRITEBYTECODE")


@contextmanager
def workplace() -> Iterator[Path]:
    """Make an empty directory, in memory where there is such a place, and remove it."""
    in_memory = os.access(_TMPFS, os.W_OK | os.X_OK)
    with tempfile.TemporaryDirectory(prefix="hive_boot-", dir=_TMPFS if in_memory else None) as at:
        yield Path(at)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def forget_surroundings() -> None:
    """Take out of the environment whatever would decide how secrets are read."""
    answers = {name.upper() for name in HIVE} | {f"{name.upper()}_FILE" for name in HIVE}
    for name in list(os.environ):
        if name.startswith("HIVE_BOOT_") or name in _TOLD or name in answers:
            del os.environ[name]


def fake_value(name: str) -> str:
    """Give the value of a secret: as long as most are, and plainly not one."""
    return f"fake-{name.replace('_', '-')}-0123456789-0123456789"


def write_directory(directory: Path, names: Sequence[str]) -> None:
    """Write a plain directory of secret files, each with the final newline of an editor."""
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text(f"{fake_value(name)}\n", encoding="utf-8")


def write_volume(directory: Path, names: Sequence[str]) -> None:
    """Write what the kubelet's AtomicWriter writes."""
    target = "..2026_01_01_00_00_00.000000001"
    write_directory(directory / target, names)
    (directory / "..data").symlink_to(target)
    for name in names:
        (directory / name).symlink_to(f"..data/{name}")


def wait_until_settled(root: Path) -> None:
    """Wait until no file below ``root`` is so young that it would be read twice.

    Raises:
        TimeoutError: somebody goes on writing them, or the clock stands.
    """
    policy = ReadPolicy()
    deadline = time.monotonic() + _TO_SETTLE
    youngest = max(path.lstat().st_ctime for path in root.rglob("*"))
    while not policy.is_settled(youngest):
        if time.monotonic() > deadline:
            message = f"the files in {root} are still new after {_TO_SETTLE:g} s"
            raise TimeoutError(message)
        time.sleep(0.02)


class Interpreters:
    """Starts interpreters that are all alike but for their program.

    All of them have the same flags and the same environment. Their compiled modules
    lie in a place of their own, which the first start fills.

    Args:
        base: an empty directory.
        variables: what they find in their environment.
    """

    def __init__(self, base: Path, variables: Mapping[str, str]) -> None:
        self._cwd = base / "cwd"
        self._cwd.mkdir()
        root = str(Path(__file__).parent.parent)
        paths = [root, os.environ.get("PYTHONPATH", "")]
        self._environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONPYCACHEPREFIX": str(base / "compiled"),
            **variables,
        }

    def measure(self, program: str, *, until_said: bool = False) -> Measure:
        """Make a measure of the life of a process that runs ``program``.

        Args:
            program: the text of the program.
            until_said: measure until the moment that the program writes to stdout, in seconds
                of the monotonic clock, and not until its end. Default False.
        """

        def measure() -> float:
            started = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            # A wait with a timeout of its own would look only now and then.
            guard = threading.Timer(_HUNG, process.kill)
            guard.start()
            said, errors = process.communicate()
            ended = time.monotonic()
            guard.cancel()
            if process.returncode:
                message = (
                    f"a program ended with {process.returncode}:\n{program}\n{errors.decode()}"
                )
                raise RuntimeError(message)
            return (float(said) if until_said else ended) - started

        return measure
