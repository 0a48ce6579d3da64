"""Benchmark command: ``python -m benchmarks [SUBJECT ...]`` prints a table for each subject.

The exit status is 0 if all measured ratios are within their bounds, otherwise 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import access, command, imports, load, redaction, requests, rotation, spawn
from benchmarks.environment import clear_environment, temporary_directory
from benchmarks.peers import PEERS, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FrameType

    from benchmarks.tables import Table

SUBJECTS: dict[str, Callable[[Path], Table]] = {
    "load": load.measure,
    "access": access.measure,
    "import": imports.measure,
    "spawn": spawn.measure,
    "redaction": redaction.measure,
    "rotation": rotation.measure,
    "idle": rotation.measure_idle,
    "command": command.measure,
    "request": requests.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Measure the named subjects, or all.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subject", nargs="*", help=f"one of {', '.join(SUBJECTS)}; default: all")
    names = parser.parse_args(arguments).subject or list(SUBJECTS)
    if unknown := [name for name in names if name not in SUBJECTS]:
        parser.error(f"unknown subject: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, _exit_on_signal)
    clear_environment()
    started = time.monotonic()
    broken = 0
    print(_describe_machine(), flush=True)
    with temporary_directory() as base:
        for name in dict.fromkeys(names):
            (base / name).mkdir()
            table = SUBJECTS[name](base / name)
            broken += len(table.broken)
            print(f"\n{table.text()}", flush=True)
    verdict = f"{broken} exceeded" if broken else "none exceeded"
    print(f"\nBounds: {verdict}. Measured in {time.monotonic() - started:.0f} s.")
    return 1 if broken else 0


def _describe_machine() -> str:
    libraries = ["anyio", "trio", "watchfiles", "python-dotenv", *(peer.name for peer in PEERS)]
    versions = [f"{name} {installed(name) or 'not installed'}" for name in libraries]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{python}, {platform.system()} {platform.release()}, {os.cpu_count()} cores\n"
        f"{', '.join(versions)}"
    )


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit, so that child processes and temporary files are removed."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
