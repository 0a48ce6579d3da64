"""Benchmark command: ``python -m benchmarks [SUBJECT ...]`` prints a table for each subject.

The exit status is 0 if each row is within its bound, or over it for a reason and within the maximum
that ``docs/benchmarks.md`` accepts; otherwise 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    access,
    command,
    fleet,
    imports,
    load,
    memory,
    rebuild,
    redaction,
    requests,
    rotation,
    spawn,
)
from benchmarks.accepted import PAGE, accepted_maxima
from benchmarks.comparison import prepare, put_between_markers, versions_of
from benchmarks.environment import temporary_directory
from benchmarks.peers import FRAMEWORKS, MISSING, PEERS
from benchmarks.timing import use_few_rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.tables import Table

SUBJECTS: dict[str, Callable[[Path], Table]] = {
    "load": load.measure,
    "access": access.measure,
    "import": imports.measure,
    "spawn": spawn.measure,
    "redaction": redaction.measure,
    "rotation": rotation.measure,
    "rebuild": rebuild.measure,
    "idle": rotation.measure_idle,
    "command": command.measure,
    "request": requests.measure,
    "memory": memory.measure,
    "fleet": fleet.measure,
}

MACHINE = "machine"
"""Name of the block that describes the machine."""

_LIBRARIES = ("hive_boot", "anyio", "trio", "uvloop", "watchfiles", "python-dotenv", "fastapi")
_CPU = Path("/proc/cpuinfo")


def main(arguments: Sequence[str]) -> int:
    """Measure the named subjects, or all.

    Returns:
        The exit status.
    """
    options = _parse(arguments)
    prepare()
    started = time.monotonic()
    machine = describe_machine()
    print(machine, flush=True)
    if options.smoke:
        use_few_rounds()
        return _smoke(options.subject)
    tables = {}
    for name, table in _measure(options.subject):
        tables[name] = table
        print(f"\n{table.text()}", flush=True)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    duration = f"Measured in {minutes} min {seconds} s."
    over, reason = (
        sum(len(table.with_verdict(verdict)) for table in tables.values())
        for verdict in ("over", "reason")
    )
    print(f"\nRows over their bound: {over}, and {reason} for an accepted reason. {duration}")
    if options.write:
        complete = len(tables) == len(SUBJECTS)
        write(options.write, tables, f"{machine} {duration}" if complete else None)
    return 1 if over else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subject", nargs="*", help=f"one of {', '.join(SUBJECTS)}; default: all")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="replace the tables of the subjects in a document, and their charts; and the "
        "description of the machine, if all are measured",
    )
    mode.add_argument(
        "--smoke",
        action="store_true",
        help="measure two rounds of each row and print no figures; the exit status is 1 only if a "
        "measurement fails",
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.subject if name not in SUBJECTS]:
        parser.error(f"unknown subject: {', '.join(unknown)}")
    options.subject = list(dict.fromkeys(options.subject or SUBJECTS))
    return options


def _measure(names: Sequence[str]) -> Iterator[tuple[str, Table]]:
    maxima = accepted_maxima(PAGE.read_text("utf-8"))
    with temporary_directory() as base:
        for name in names:
            (base / name).mkdir()
            table = SUBJECTS[name](base / name)
            table.accept(maxima.get(name, {}))
            yield name, table


def _smoke(names: Sequence[str]) -> int:
    """Measure with few rounds, and return 1 if a measurement has failed."""
    failed = 0
    started = time.monotonic()
    for name, table in _measure(names):
        remarks = [f"{row.label}: {row.remark}" for row in table.rows if row.remark]
        failed += sum(not row.remark.endswith(MISSING) for row in table.rows if row.remark)
        elapsed = time.monotonic() - started
        print("\n  ".join([f"{name}: {len(table.rows)} rows after {elapsed:.0f} s", *remarks]))
    return 1 if failed else 0


def describe_machine() -> str:
    """Return the processor, the versions and the date as a sentence."""
    peers = [each.name for each in (*PEERS, *FRAMEWORKS)]
    versions = versions_of([*_LIBRARIES, *peers, "starlette"])
    date = datetime.now(tz=UTC)
    return (
        f"Measured on {date:%-d %B %Y} on {os.cpu_count()} cores of {_processor()}, "
        f"with {versions}."
    )


def _processor() -> str:
    """Return the name of the processor."""
    lines = _CPU.read_text("utf-8").splitlines() if _CPU.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def markers(name: str) -> tuple[str, str]:
    """Return the lines before and after the block of a subject in a document."""
    return f"<!-- {name}: generated by python -m benchmarks --write -->", f"<!-- {name}: end -->"


def write(document: Path, tables: Mapping[str, Table], machine: str | None) -> None:
    """Replace the tables in a document, and the charts in the directory beside it.

    Args:
        document: a Markdown file with the markers of every table.
        tables: the tables by subject.
        machine: the description of the machine; None to leave that of the document.

    Raises:
        ValueError: the document has no markers for a table; nothing is written.
    """
    from benchmarks.charts import draw  # noqa: PLC0415  (many modules, after the measurement)

    charts = document.with_suffix("")
    text = document.read_text("utf-8")
    if machine is not None:
        text = put_between_markers(text, machine, *markers(MACHINE))
    for name, table in tables.items():
        image = f"![Ratios of the table {name} as bars]({charts.name}/{name}.svg)"
        text = put_between_markers(text, f"{table.markdown()}\n\n{image}", *markers(name))
    charts.mkdir(exist_ok=True)
    for name, table in tables.items():
        (charts / f"{name}.svg").write_text(draw(table), "utf-8")
    document.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
