"""Cases of a program, each in a process that is forked from one interpreter.

``python -m tests.canary.programs.forked PROGRAM WORKERS`` reads the cases as JSON from stdin and
prints the exit status of each. The module of the program is imported once. Each case calls its
``main`` in its own forked process and ends as a process does: an exception leaves this
module, the interpreter shows it and runs what is registered for its end.
"""

import gc
import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio._backends._asyncio  # imported once, before the first fork
import anyio._backends._trio  # noqa: F401  (as above)

TIMEOUT = 60.0
"""Timeout of a case, in seconds."""

Case = dict[str, Any]


def fork_each(cases: list[Case], workers: int) -> Case | None:
    """Start every case, a few at a time.

    Returns:
        The case, in its forked process; None in the first process, when all cases have ended.
    """
    waiting = cases[::-1]
    running: dict[int, tuple[str, float]] = {}
    statuses: dict[str, int] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            case = waiting.pop()
            pid = os.fork()
            if pid == 0:
                return case
            running[pid] = case["name"], time.monotonic() + TIMEOUT
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            name, _ = running.pop(pid)
            statuses[name] = os.waitstatus_to_exitcode(status)
            continue
        for late, (_, deadline) in running.items():
            if time.monotonic() > deadline:
                os.kill(late, signal.SIGKILL)
        time.sleep(0.002)
    sys.stdout.write(json.dumps(statuses))
    return None


def enter(case: Case) -> None:
    """Enter the environment, the directory and the files of a case."""
    place = Path(case["place"])
    for descriptor, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        file = os.open(place / name, flags, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(case["environ"])
    os.chdir(case["cwd"])


if __name__ == "__main__":
    program = import_module(f"tests.canary.programs.{sys.argv[1]}")
    # Else the garbage collection at the end of each fork copies the pages of what is imported.
    gc.freeze()
    mine = fork_each(json.load(sys.stdin), int(sys.argv[2]))
    if mine is not None:
        enter(mine)
        sys.argv[1:] = mine["arguments"]
        # Only the environment holds the values from here on.
        del mine
        program.main(*sys.argv[1:])
