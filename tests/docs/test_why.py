"""The tables in docs/why.md and the scripts that measure them."""

import json
import re

import pytest

from benchmarks.comparison import Answer, Comparison, put_between_markers
from benchmarks.rotations.scenarios import ROTATIONS
from benchmarks.signals.scenarios import SIGNALS
from tests.support import ROOT, run_python

TEXT = (ROOT / "docs" / "why.md").read_text("utf-8")
COMPARISONS = pytest.mark.parametrize(
    "comparison", [SIGNALS, ROTATIONS], ids=lambda each: each.name
)


def measured(comparison: Comparison) -> str:
    """Return the text between the markers of a table."""
    return TEXT.split(comparison.begin)[1].split(comparison.end)[0]


def table(comparison: Comparison) -> list[list[str]]:
    """Return the rows of the measured table, without the separator row."""
    rows = [line for line in measured(comparison).splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in row.strip("|").split(" | ")] for row in rows if "---" not in row
    ]


def test_the_moments_are_as_many_as_the_page_names() -> None:
    """There are fifteen scenarios of signals and ten of rotations."""
    assert len(SIGNALS.scenarios) == 15
    assert len(ROTATIONS.scenarios) == 10


@COMPARISONS
def test_the_moments_are_those_of_the_script(comparison: Comparison) -> None:
    """The table has each of the scenarios, in order, with its question."""
    assert [row[0] for row in table(comparison)[1:]] == [
        f"**{scenario.title}** (`{scenario.name}`). {scenario.question}"
        for scenario in comparison.scenarios
    ]


@COMPARISONS
def test_each_subject_has_its_column(comparison: Comparison) -> None:
    """Every subject has a column, and no cell is empty or unmeasured."""
    head, *rows = table(comparison)
    assert head[1:] == [subject.name for subject in comparison.subjects]
    for row in rows:
        assert len(row) == len(head)
        for cell in row[1:]:
            assert re.match(r"\*\*(yes|no)\*\*: \S", cell), row[0]
            assert "not measured" not in cell


@COMPARISONS
def test_the_versions_are_listed(comparison: Comparison) -> None:
    """The page has the measured versions and the command."""
    for subject in comparison.subjects:
        for name in subject.distributions:
            version = rf"\b{re.escape(name)} \d[\w.]*"
            assert re.search(version, measured(comparison)), name
    assert f"python -m benchmarks.{comparison.name} --write docs/why.md" in TEXT


@COMPARISONS
def test_a_table_takes_the_place_of_the_one_before(comparison: Comparison) -> None:
    """A new measurement changes only the text between the markers."""
    answers = {
        (scenario.name, subject.name): Answer(good=True, seen="exit 0 | fake")
        for scenario in comparison.scenarios
        for subject in comparison.subjects
    }
    new = comparison.markdown(answers)
    markers = comparison.begin, comparison.end
    text = put_between_markers(TEXT, new, *markers)
    assert text.split(comparison.begin)[0] == TEXT.split(comparison.begin)[0]
    assert text.split(comparison.end)[1] == TEXT.split(comparison.end)[1]
    assert text.count("**yes**: exit 0 \\| fake") == len(answers)
    assert put_between_markers(text, new, *markers) == text
    with pytest.raises(ValueError, match="has no lines"):
        put_between_markers("nothing", new, *markers)


@pytest.mark.parametrize(
    ("comparison", "moments"),
    [(SIGNALS, ["ready", "stops-fail"]), (ROTATIONS, ["swap"])],
    ids=["signals", "rotations"],
)
def test_the_script_runs(comparison: Comparison, moments: list[str]) -> None:
    """The script reproduces the answers of hive_boot."""
    ours = comparison.subjects[0].name
    command = ["-m", f"benchmarks.{comparison.name}", "--subject", ours, "--json"]
    command += [f"--only={moment}" for moment in moments]
    child = run_python(*command)
    scenarios = json.loads(child.stdout)["scenarios"]
    for moment in moments:
        found = scenarios[moment][ours]
        assert found["good"], found["seen"]
    assert child.returncode == 0, child.stderr
