"""Signal benchmark command: ``python -m benchmarks.signals`` prints the table of all scenarios.

The exit status is 0 if hive_boot passes every selected scenario, otherwise 1.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import clear_environment
from benchmarks.signals.measurements import Answer
from benchmarks.signals.reporting import data, describe_environment, markdown, put_between_markers
from benchmarks.signals.scenarios import SCENARIOS
from benchmarks.signals.subjects import OURS, SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from benchmarks.signals.scenarios import Scenario
    from benchmarks.signals.subjects import Subject


def main(arguments: Sequence[str]) -> int:
    """Measure the selected scenarios and subjects, or all.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signals", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument(
        "--only", action="append", choices=names, help="a scenario; may be repeated"
    )
    parser.add_argument(
        "--subject",
        action="append",
        choices=[subject.name for subject in SUBJECTS],
        help="a library; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="replace the table in a document"
    )
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.subject):
        parser.error("--write cannot be combined with --only or --subject")
    scenarios = [each for each in SCENARIOS if options.only is None or each.name in options.only]
    subjects = [each for each in SUBJECTS if not options.subject or each.name in options.subject]
    signal.signal(signal.SIGTERM, _exit_on_signal)
    clear_environment()
    print(describe_environment(subjects), file=sys.stderr)
    answers: dict[tuple[str, str], Answer | None] = {}
    for scenario in scenarios:
        # Subjects run concurrently: they mostly wait.
        with ThreadPoolExecutor(len(subjects)) as pool:
            found = pool.map(_answer, [scenario] * len(subjects), subjects)
            answers |= {
                (scenario.name, subject.name): answer
                for subject, answer in zip(subjects, found, strict=True)
            }
        for subject in subjects:
            answer = answers[scenario.name, subject.name]
            print(f"{scenario.name}: {subject.name}: {answer or 'not installed'}", file=sys.stderr)
    if options.json:
        print(json.dumps(data(scenarios, subjects, answers), indent=2))
    else:
        print(table := markdown(scenarios, subjects, answers))
        if options.write:
            text = options.write.read_text("utf-8")
            options.write.write_text(put_between_markers(text, table), "utf-8")
    ours = [answer for (_, name), answer in answers.items() if name == OURS.name]
    return 0 if all(answer is not None and answer.good for answer in ours) else 1


def _answer(scenario: Scenario, subject: Subject) -> Answer | None:
    if not subject.is_installed:
        return None
    try:
        return scenario.run(subject)
    except TimeoutError as exc:
        return Answer(good=False, seen=f"not measured: {str(exc).splitlines()[0]}")


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit, so that child processes are killed."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
