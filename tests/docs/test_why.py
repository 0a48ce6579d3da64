"""The table in docs/why.md and the script that measures it."""

import json
import re
import subprocess
import sys

import pytest

from benchmarks.signals import reporting
from benchmarks.signals.measurements import Answer
from benchmarks.signals.scenarios import SCENARIOS
from benchmarks.signals.subjects import OURS, SUBJECTS
from tests.support import ROOT, child_environment

TEXT = (ROOT / "docs" / "why.md").read_text("utf-8")


def table() -> list[list[str]]:
    """Return the rows of the measured table, without the separator row."""
    measured = TEXT.split(reporting.BEGIN)[1].split(reporting.END)[0]
    rows = [line for line in measured.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in row.strip("|").split(" | ")] for row in rows if "---" not in row
    ]


def test_the_moments_are_those_of_the_script() -> None:
    """The table has each of the fifteen scenarios, in order, with its question."""
    moments = [row[0] for row in table()[1:]]
    assert len(moments) == 15
    assert [re.findall(r"\(`([\w-]+)`\)", moment) for moment in moments] == [
        [scenario.name] for scenario in SCENARIOS
    ]
    for moment, scenario in zip(moments, SCENARIOS, strict=True):
        assert moment == f"**{scenario.title}** (`{scenario.name}`). {scenario.question}"


def test_each_subject_has_its_column() -> None:
    """Every subject has a column, and no cell is empty or unmeasured."""
    head, *rows = table()
    assert [cell.strip() for cell in head[1:]] == [subject.name for subject in SUBJECTS]
    for row in rows:
        assert len(row) == len(head)
        for cell in row[1:]:
            assert re.match(r"\*\*(yes|no)\*\*: \S", cell), row[0]
            assert "not measured" not in cell


def test_the_versions_are_listed() -> None:
    """The page has the measured versions and the command."""
    measured = TEXT.split(reporting.BEGIN)[1]
    for subject in SUBJECTS:
        for name in subject.distributions:
            assert re.search(rf"\b{re.escape(name)} \d[\w.]*", measured), name
    assert "python -m benchmarks.signals --write docs/why.md" in TEXT


def test_a_table_takes_the_place_of_the_one_before() -> None:
    """A new measurement changes only the text between the markers."""
    answers = {
        (scenario.name, subject.name): Answer(good=True, seen="exit 0")
        for scenario in SCENARIOS
        for subject in SUBJECTS
    }
    new = reporting.markdown(SCENARIOS, SUBJECTS, answers)
    text = reporting.put_between_markers(TEXT, new)
    assert text.split(reporting.BEGIN)[0] == TEXT.split(reporting.BEGIN)[0]
    assert text.split(reporting.END)[1] == TEXT.split(reporting.END)[1]
    assert text.count("**yes**: exit 0") == len(answers)
    assert reporting.put_between_markers(text, new) == text
    with pytest.raises(ValueError, match="has no lines"):
        reporting.put_between_markers("nothing", new)


def test_the_script_runs() -> None:
    """The script reproduces the answers of hive_boot."""
    moments = ["ready", "stops-fail"]
    command = ["-m", "benchmarks.signals", "--subject", OURS.name, "--json"]
    command += [f"--only={moment}" for moment in moments]
    child = subprocess.run(
        [sys.executable, *command],
        env=child_environment(),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    scenarios = json.loads(child.stdout)["scenarios"]
    for moment in moments:
        found = scenarios[moment][OURS.name]
        assert found["good"], found["seen"]
    assert child.returncode == 0, child.stderr
