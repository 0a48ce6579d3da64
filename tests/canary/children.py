"""Child processes of the canary tests, one for each case of a table."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support import child_environment

SWITCH = "CANARIES_WITHOUT_REDACTION"
"""Variable that switches redaction off: a JSON list of the cases to run."""

Child = CompletedProcess[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One process of a program, with its own directory.

    Attributes:
        name: its name in the message of a failure.
        place: its directory, which contains ``cwd``, the default working directory, and
            ``logs``.
        arguments: the arguments of the program.
        variables: its variables, in addition to those of every child process.
        stdin: the content of its stdin.
        cwd: its working directory. Default: ``cwd`` in ``place``.
    """

    name: str
    place: Path
    arguments: Sequence[str]
    variables: Mapping[str, str] = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    cwd: Path | None = None

    @property
    def logs(self) -> Path:
        """The directory for log files."""
        return self.place / "logs"


def make_place(parent: Path, number: int) -> Path:
    """Create the directory of a case."""
    place = parent / f"{number:02}"
    for path in (place, place / "cwd", place / "logs"):
        path.mkdir(parents=True)
    return place


def run_cases(program: str, cases: Sequence[Case], *, workers: int = 2) -> list[Child]:
    """Run each case in its own process, forked from one interpreter.

    Args:
        program: the name of a module in ``programs``.
        cases: the cases, whose names differ.
        workers: the number of processes that run at the same time.
    """
    described = []
    for case in cases:
        (case.place / "stdin").write_bytes(case.stdin)
        environ = child_environment(LOG_DIR=str(case.logs), **case.variables)
        described.append(
            {
                "name": case.name,
                "place": str(case.place),
                "cwd": str(case.cwd or case.place / "cwd"),
                "arguments": list(case.arguments),
                "environ": environ,
            }
        )
    forking = subprocess.run(
        [sys.executable, "-m", "tests.canary.programs.forked", program, str(workers)],
        env=child_environment(),
        input=json.dumps(described).encode(),
        capture_output=True,
        timeout=60 + 60 * len(cases),
        check=False,
    )
    assert forking.returncode == 0, forking.stderr.decode()
    statuses = json.loads(forking.stdout)
    return [
        Child(
            case.arguments,
            statuses[case.name],
            (case.place / "stdout").read_bytes(),
            (case.place / "stderr").read_bytes(),
        )
        for case in cases
    ]


def check_cases(program: str, cases: Sequence[Case], check: Callable[[Case, Child], None]) -> None:
    """Run the cases, check each, and fail with the name and the error of every failed check."""
    failures = []
    if SWITCH in os.environ:
        only = json.loads(os.environ[SWITCH])
        cases = [case for case in cases if case.name in only]
    for case, child in zip(cases, run_cases(program, cases), strict=True):
        try:
            check(case, child)
        except AssertionError as exc:
            failures.append(f"=== {case.name}\n{exc}")
    if failures:
        pytest.fail(os.linesep.join(failures), pytrace=False)
