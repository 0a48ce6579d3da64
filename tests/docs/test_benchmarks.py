"""The tables and charts of docs/benchmarks.md and the command that measures them."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.__main__ import MACHINE, SUBJECTS, markers, write
from benchmarks.tables import Table
from benchmarks.timing import Figures
from tests.docs.reading import read_page
from tests.support import ROOT, run_child

TEXT = read_page("docs/benchmarks.md")
CHARTS = ROOT / "docs" / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"

EACH_SUBJECT = pytest.mark.parametrize("subject", SUBJECTS)

SMOKE = """
import json, sys
from benchmarks import __main__ as command
from benchmarks.tables import Table
from benchmarks.timing import Figures, alternate

def over(base):
    table = Table("over: a row that exceeds its bound")
    table.add("slow", alternate({"it": lambda: 2.0, "floor": lambda: 1.0}, 9), "it", "floor", 1.5)
    return table

def missing(base):
    table = Table("missing: a library that is not installed")
    table.add_missing("a library", "not installed")
    return table

def fails(base):
    table = Table("fails: a library that raises")
    table.add_missing("a library", "fails: OSError")
    return table

command.SUBJECTS |= {"over": over, "missing": missing, "fails": fails}
names = ("request", "over", "missing", "fails")
print(json.dumps({name: command.main(["--smoke", name]) for name in names}))
"""


def block(name: str) -> str:
    """Return the text between the markers of a subject."""
    begin, end = markers(name)
    return TEXT.split(begin)[1].split(end)[0]


def rows(name: str) -> list[list[str]]:
    """Return the cells of each row of a table, without the head."""
    lines = [line for line in block(name).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def fake_table() -> Table:
    """Return a table with a row within its bound, one over it, and one without times."""
    figures = Figures({"it": [2.0, 2.2, 2.4], "floor": [1.0, 1.0, 1.0]})
    table = Table("fake: a title", ("floor: nothing.",))
    table.add("a | b", figures, "it", "floor", 3.0)
    table.add("slow", figures, "it", "floor", 2.0, tail=True)
    table.add("late", figures, "it", "floor", tail=True, limit=2.3)
    table.add_missing("a library", "not installed")
    return table


@EACH_SUBJECT
def test_each_subject_has_a_table_and_a_chart(subject: str) -> None:
    """The page has a table of every subject, with times, and its chart has a bar for each row."""
    measured = [row for row in rows(subject) if re.match(r"[\d.]+", row[-4])]
    chart = ET.parse(CHARTS / f"{subject}.svg")  # noqa: S314  (a file of this repository)
    labels = {text.text for text in chart.iter(f"{SVG}text")}

    assert measured
    assert f"(benchmarks/{subject}.svg)" in block(subject)
    assert labels >= {row[0].replace("\\|", "|") for row in measured}


def test_the_charts_are_those_of_the_page() -> None:
    """The directory has a chart for each subject and nothing else."""
    assert {path.name for path in CHARTS.iterdir()} == {f"{name}.svg" for name in SUBJECTS}


def test_the_machine_is_described() -> None:
    """The page names the processor, the number of cores, the versions and the date."""
    described = r"Measured on \d+ \w+ 20\d\d on \d+ cores of \S.*, with CPython 3\.\d+"
    assert re.search(described, block(MACHINE))
    assert re.search(r"\bhive_boot \d[\w.]*", block(MACHINE))


def test_every_row_over_its_bound_has_a_reason() -> None:
    """The section about rows over their bound names each of them, with its subject."""
    section = TEXT.split("## Rows over their bound\n")[1].split("\n## ")[0]
    over = {(name, row[0]) for name in SUBJECTS for row in rows(name) if row[-1] == "over"}
    explained = {
        (subject, label)
        for subject, text in re.findall(
            r"^- \*\*(\w+)\*\*(.*?)(?=^- |\Z)", section, re.MULTILINE | re.DOTALL
        )
        for label in re.findall(r"`([^`]+)`", " ".join(text.split()))
    }

    assert over - explained == set()


def test_a_table_is_written_between_its_markers(tmp_path: Path) -> None:
    """Writing replaces the blocks, creates the charts, and leaves all other text as it is."""
    document = tmp_path / "page.md"
    blocks = ["\n".join([*markers(name), f"after {name}"]) for name in (MACHINE, "fake")]
    document.write_text("\n".join(["before", *blocks]), "utf-8")

    write(document, {"fake": fake_table()}, "Measured on a machine.")
    text = document.read_text("utf-8")

    assert text.splitlines()[0] == "before"
    assert "Measured on a machine." in text.split("after machine")[0]
    assert "![Ratios of the table fake as bars](page/fake.svg)" in text.split("after machine")[1]
    assert [line for line in text.splitlines() if line.startswith("| ")] == [
        "| measured | time | p99 | floor | ratio | middle half | bound |  |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| a \\| b | 2.2 s |  | 1 s | 2.20 | 2.00-2.40 | 3.00 | ok |",
        "| slow | 2.2 s | 2.4 s | 1 s | 2.20 | 2.00-2.40 | 2.00 | over |",
        "| late | 2.2 s | 2.4 s | 1 s | 2.20 | 2.00-2.40 | p99 2.3 s | over |",
        "| a library | not installed |  |  |  |  |  |  |",
    ]
    chart = (tmp_path / "page" / "fake.svg").read_text("utf-8")
    write(document, {"fake": fake_table()}, "Measured on a machine.")
    assert document.read_text("utf-8") == text
    assert (tmp_path / "page" / "fake.svg").read_text("utf-8") == chart


def test_a_page_without_markers_is_not_written(tmp_path: Path) -> None:
    """A document without the markers of a table is refused, and nothing is written."""
    document = tmp_path / "pages" / "page.md"
    document.parent.mkdir()
    document.write_text("\n".join(markers(MACHINE)), "utf-8")

    with pytest.raises(ValueError, match="has no lines"):
        write(document, {"fake": fake_table()}, "Measured on a machine.")

    assert [path.name for path in document.parent.iterdir()] == ["page.md"]


def test_smoke_fails_only_for_a_failed_measurement() -> None:
    """A subject runs with few rounds; a bound does not count, an exception of a library does."""
    child = run_child(SMOKE)

    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1]) == {
        "request": 0,
        "over": 0,
        "missing": 0,
        "fails": 1,
    }
