"""``python -m benchmarks.signals``: run ten moments with real signals, and print the table.

The exit status is 0 when hive_boot, where it was asked, answers yes to every question.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.signals.plays import Answer
from benchmarks.signals.reporting import data, markdown, put_between_markers, surroundings
from benchmarks.signals.scenarios import SCENARIOS
from benchmarks.signals.subjects import OURS, SUBJECTS
from benchmarks.workplace import forget_surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from benchmarks.signals.scenarios import Scenario
    from benchmarks.signals.subjects import Subject


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for, or everything.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signals", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", action="append", choices=names, help="a moment; may be repeated")
    parser.add_argument(
        "--subject",
        action="append",
        choices=[subject.name for subject in SUBJECTS],
        help="who is measured; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into a document")
    wanted = parser.parse_args(arguments)
    if wanted.write and (wanted.only or wanted.subject):
        parser.error("--write takes the whole table")
    scenarios = [each for each in SCENARIOS if wanted.only is None or each.name in wanted.only]
    subjects = [each for each in SUBJECTS if not wanted.subject or each.name in wanted.subject]
    signal.signal(signal.SIGTERM, _leave)
    forget_surroundings()
    print(surroundings(subjects), file=sys.stderr)
    answers: dict[tuple[str, str], Answer | None] = {}
    for scenario in scenarios:
        # Side by side: nearly all of the time is spent on waiting.
        with ThreadPoolExecutor(len(subjects)) as pool:
            found = pool.map(_answer, [scenario] * len(subjects), subjects)
            answers |= {(scenario.name, who.name): it for who, it in zip(subjects, found)}  # noqa: B905  (map ends with them)
        for subject in subjects:
            it = answers[scenario.name, subject.name]
            print(f"{scenario.name}: {subject.name}: {it or 'not installed'}", file=sys.stderr)
    if wanted.json:
        print(json.dumps(data(scenarios, subjects, answers), indent=2))
    else:
        print(table := markdown(scenarios, subjects, answers))
        if wanted.write:
            text = wanted.write.read_text("utf-8")
            wanted.write.write_text(put_between_markers(text, table), "utf-8")
    ours = [it for (_, who), it in answers.items() if who == OURS.name]
    return 0 if all(it is not None and it.good for it in ours) else 1


def _answer(scenario: Scenario, subject: Subject) -> Answer | None:
    if not subject.is_installed:
        return None
    try:
        return scenario.run(subject)
    except TimeoutError as exc:
        return Answer(good=False, seen=f"not measured: {str(exc).splitlines()[0]}")


def _leave(number: int, frame: FrameType | None) -> None:
    """End in order, so that nothing is left behind."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
