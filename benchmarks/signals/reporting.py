"""The table, for people and for programs."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.signals.plays import Answer
    from benchmarks.signals.scenarios import Scenario
    from benchmarks.signals.subjects import Subject

BEGIN = "<!-- signals: python -m benchmarks.signals --write writes what follows -->"
END = "<!-- signals: end -->"

Answers: TypeAlias = "Mapping[tuple[str, str], Answer | None]"
"""By scenario and subject; None when the subject is not installed."""


def markdown(scenarios: Iterable[Scenario], subjects: Sequence[Subject], answers: Answers) -> str:
    """Write the table, under what it was measured with."""
    lines = [
        f"Measured with {surroundings(subjects)}.",
        "",
        f"| moment | {' | '.join(subject.name for subject in subjects)} |",
        f"|---|{'---|' * len(subjects)}",
    ]
    for scenario in scenarios:
        cells = [f"**{scenario.title}** (`{scenario.name}`). {scenario.question}"]
        cells += [_cell(answers[scenario.name, subject.name]) for subject in subjects]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def data(
    scenarios: Iterable[Scenario], subjects: Sequence[Subject], answers: Answers
) -> dict[str, object]:
    """Give the same for a program."""
    return {
        "measured_with": surroundings(subjects),
        "scenarios": {
            scenario.name: {
                subject.name: None if answer is None else {"good": answer.good, "seen": answer.seen}
                for subject in subjects
                for answer in (answers[scenario.name, subject.name],)
            }
            for scenario in scenarios
        },
    }


def surroundings(subjects: Iterable[Subject]) -> str:
    """Name what was measured, and where."""
    versions: dict[str, None] = {}
    for subject in subjects:
        versions |= dict.fromkeys(subject.versions.split(", "))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{python} on {system}: {', '.join(versions)}"


def put_between_markers(text: str, table: str) -> str:
    """Replace what stands between the markers.

    Raises:
        ValueError: there are none.
    """
    before, found_begin, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        message = f"the file has no lines {BEGIN!r} and {END!r}"
        raise ValueError(message)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _cell(answer: Answer | None) -> str:
    if answer is None:
        return "not installed"
    return f"**{'yes' if answer.good else 'no'}**: {answer.seen}".replace("|", "\\|")
