"""Environment of the benchmarks: secret files, variables and child interpreters."""

from __future__ import annotations

import os
import shutil
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

    from benchmarks.timing import Measure

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
"""The eight secrets of the HIVE service, as an example of a small application."""

_TMPFS = "/dev/shm"  # noqa: S108  (only a temporary directory is created in it)
_TIMEOUT = 60.0
_SETTLE_TIMEOUT = 10.0

_REMOVED = (
    "KUBERNETES_SERVICE_HOST",
    "CREDENTIALS_DIRECTORY",
    "APP_ENV",
    "PYTHONDONTWRITEBYTECODE",
)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Create an empty directory, in memory if possible, and remove it at the end."""
    in_memory = os.access(_TMPFS, os.W_OK | os.X_OK)
    with tempfile.TemporaryDirectory(
        prefix="hive_boot-", dir=_TMPFS if in_memory else None
    ) as name:
        yield Path(name)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables within the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def clear_environment() -> None:
    """Remove the variables that influence how secrets are read."""
    secrets = {name.upper() for name in HIVE} | {f"{name.upper()}_FILE" for name in HIVE}
    for name in list(os.environ):
        if name.startswith("HIVE_BOOT_") or name in _REMOVED or name in secrets:
            del os.environ[name]


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child that imports these benchmarks, with further variables.

    The child does not report to the service manager of this process.
    """
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environ.pop("NOTIFY_SOCKET", None)
    return {**environ, **variables}


def fake_value(name: str) -> str:
    """Return a fake value for a secret, with a typical length."""
    return f"fake-{name.replace('_', '-')}-0123456789-0123456789"


def write_directory(directory: Path, names: Sequence[str]) -> None:
    """Write a plain directory of secret files, each with a final newline."""
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text(f"{fake_value(name)}\n", encoding="utf-8")


def write_volume(directory: Path, names: Sequence[str]) -> None:
    """Write a volume as the kubelet's AtomicWriter does."""
    target = "..2026_01_01_00_00_00.000000001"
    write_directory(directory / target, names)
    (directory / "..data").symlink_to(target)
    for name in names:
        (directory / name).symlink_to(f"..data/{name}")


class Kubelet:
    """Writer of a volume, which publishes one set of values after another like the AtomicWriter.

    ``hive_boot.testing.MountedVolume`` is not used, because the time directly before the rename
    is needed.

    Args:
        directory: the directory of the volume.
        names: the keys.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory, self._names = directory, names
        self._number = 0
        write_volume(directory, names)

    def prepare(self) -> str:
        """Write the next generation without publishing it, and return its last value."""
        self._number += 1
        fresh = self._directory / f"..2026_01_02_00_00_00.{self._number:09}"
        fresh.mkdir()
        value = ""
        for name in self._names:
            value = f"{self._number:06}-{fake_value(name)}"
            (fresh / name).write_text(value, encoding="utf-8")
        (self._directory / "..data_tmp").symlink_to(fresh.name)
        return value

    def swap(self) -> float:
        """Publish the prepared generation, remove the old one, and return the time before both."""
        data = self._directory / "..data"
        old = data.readlink()
        started = time.monotonic()
        os.rename(self._directory / "..data_tmp", data)  # noqa: PTH104  (this call is measured)
        shutil.rmtree(self._directory / old)
        return started


def wait_until_settled(root: Path) -> None:
    """Wait until all files below ``root`` are old enough to be read only once.

    Raises:
        TimeoutError: the files are still being written, or the clock does not advance.
    """
    policy = ReadPolicy()
    deadline = time.monotonic() + _SETTLE_TIMEOUT
    youngest = max(path.lstat().st_ctime for path in root.rglob("*"))
    while not policy.is_settled(youngest):
        if time.monotonic() > deadline:
            message = f"The files in {root} are still new after {_SETTLE_TIMEOUT:g} s."
            raise TimeoutError(message)
        time.sleep(0.02)


class InterpreterTimer:
    """Measures programs, each in a new interpreter with the same flags and environment.

    Compiled modules are cached in a separate directory; the first start fills it.

    Args:
        base: an empty directory.
        variables: further environment variables.
    """

    def __init__(self, base: Path, variables: Mapping[str, str]) -> None:
        self._cwd = base / "cwd"
        self._cwd.mkdir()
        self._environ = child_environment(PYTHONPYCACHEPREFIX=str(base / "compiled"), **variables)

    def measure(self, program: str, *, until_output: bool = False) -> Measure:
        """Return a measure of a process that runs ``program``.

        Args:
            program: the source of the program.
            until_output: whether the measurement ends at the monotonic time that the program
                prints, instead of the end of the process. Default False.
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
            # communicate(timeout=) would poll, and notice the end late.
            guard = threading.Timer(_TIMEOUT, process.kill)
            guard.start()
            output, errors = process.communicate()
            ended = time.monotonic()
            guard.cancel()
            if process.returncode:
                message = (
                    f"A program exited with {process.returncode}:\n{program}\n{errors.decode()}"
                )
                raise RuntimeError(message)
            return (float(output) if until_output else ended) - started

        return measure
