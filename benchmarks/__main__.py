"""``python -m benchmarks [subject …]``: measure, print a table each, judge the bounds.

The exit status is 0 when every bound holds, 1 when one is broken.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import access, command, imports, load, redaction, rotation, spawn
from benchmarks.peers import PEERS, installed
from benchmarks.workplace import forget_surroundings, workplace

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
    "command": command.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Measure the subjects that were named, or all.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subject", nargs="*", help=f"one of {', '.join(SUBJECTS)}; default: all")
    wanted = parser.parse_args(arguments).subject or list(SUBJECTS)
    if unknown := [name for name in wanted if name not in SUBJECTS]:
        parser.error(f"no such subject: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, _leave)
    forget_surroundings()
    started = time.monotonic()
    broken = 0
    print(_machine(), flush=True)
    with workplace() as base:
        for name in dict.fromkeys(wanted):
            (base / name).mkdir()
            table = SUBJECTS[name](base / name)
            broken += len(table.broken)
            print(f"\n{table.text()}", flush=True)
    verdict = f"{broken} over" if broken else "all hold"
    print(f"\nBounds: {verdict}. Measured in {time.monotonic() - started:.0f} s.")
    return 1 if broken else 0


def _machine() -> str:
    libraries = ["anyio", "trio", "watchfiles", "python-dotenv", *(peer.name for peer in PEERS)]
    versions = [f"{name} {installed(name) or 'not installed'}" for name in libraries]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{python}, {platform.system()} {platform.release()}, {os.cpu_count()} cores\n"
        f"{', '.join(versions)}"
    )


def _leave(number: int, frame: FrameType | None) -> None:
    """End in order, so that nothing is left behind."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
