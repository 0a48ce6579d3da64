"""The tables and charts of docs/benchmarks.md and the command that measures them."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.__main__ import MACHINE, SUBJECTS, markers, write
from benchmarks.accepted import accepted_maxima
from benchmarks.fleet import METRICS
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
names = ("access", "over", "missing", "fails")
print(json.dumps({name: command.main(["--smoke", name]) for name in names}))
"""

ACCEPTED = """
import json, sys
from pathlib import Path
from benchmarks import __main__ as command
from benchmarks.tables import Table
from benchmarks.timing import alternate

def slow(base):
    table = Table("slow: a row that takes twice the time of its floor")
    table.add("a row", alternate({"it": lambda: 2.0, "floor": lambda: 1.0}, 9), "it", "floor", 1.5)
    return table

command.SUBJECTS["slow"] = slow
page = command.PAGE = Path("page.md")
results = []
for maximum in json.loads(sys.argv[1]):
    page.write_text(f"## Rows over their bound\\n\\n- **slow**: `a row`{maximum}. It is slow.\\n")
    results.append(command.main(["slow"]))
print(json.dumps(results))
"""

LIST = """
`before` (accepted up to 9)

## Rows over their bound

- **access**: `secrets.name` (accepted up to 7), `a, wrapped
  row` (accepted
  up to 1.25). A `SecretSet` has (accepted up to 3) a method.
- **rotation**: `swap of 10` (accepted up to p99 20 ms), `without`. Values are hidden.
- **access**: `another` (accepted up to 2). A subject may have several reasons.

## Access

- **load**: `after` (accepted up to 9)
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
    table.add("slow for a reason", figures, "it", "floor", 2.0)
    table.add("late for a reason", figures, "it", "floor", tail=True, limit=2.3)
    table.add_missing("a library", "not installed")
    maxima = {"slow": (2.1, 9.0), "late": (9.0, 2.35)}
    table.accept(maxima | {f"{name} for a reason": (2.3, 2.4) for name in maxima})
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
    """Each row over its bound is within the accepted maximum of the list, which names real rows."""
    maxima = accepted_maxima(TEXT)
    verdicts = {(name, row[0]): row[-1] for name in SUBJECTS for row in rows(name)}
    accepted = {(name, label) for name, labels in maxima.items() for label in labels}

    assert [row for row, verdict in verdicts.items() if verdict == "over"] == []
    assert {row for row, verdict in verdicts.items() if verdict == "reason"} <= accepted
    assert accepted <= verdicts.keys()


def test_the_list_has_the_accepted_maxima() -> None:
    """A maximum is that of a ratio, or of a 99th percentile; other code of the list has none."""
    maxima = accepted_maxima(LIST)

    assert maxima == {
        "access": {
            "secrets.name": (7.0, 0.0),
            "a, wrapped row": (1.25, 0.0),
            "another": (2.0, 0.0),
        },
        "rotation": {"swap of 10": (0.0, 0.02)},
    }


def test_a_row_over_its_bound_fails_the_command(tmp_path: Path) -> None:
    """The exit status is 1, unless the list accepts a maximum that the row does not exceed."""
    maxima = ["", " (accepted up to 2)", " (accepted up to 1.9)", " (accepted up to p99 9 s)"]
    child = run_child(ACCEPTED, json.dumps(maxima), cwd=tmp_path)

    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1]) == [1, 0, 1, 1]
    assert "docs/benchmarks.md#rows-over-their-bound" in child.stdout


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
        "| slow for a reason | 2.2 s |  | 1 s | 2.20 | 2.00-2.40 | 2.00 | reason |",
        "| late for a reason | 2.2 s | 2.4 s | 1 s | 2.20 | 2.00-2.40 | p99 2.3 s | reason |",
        "| a library | not installed |  |  |  |  |  |  |",
    ]
    assert "[accepted maximum](#rows-over-their-bound)" in text
    chart = (tmp_path / "page" / "fake.svg").read_text("utf-8")
    write(document, {"fake": fake_table()}, "Measured on a machine.")
    assert document.read_text("utf-8") == text
    assert (tmp_path / "page" / "fake.svg").read_text("utf-8") == chart


def test_some_tables_leave_the_description_of_the_machine(tmp_path: Path) -> None:
    """A document whose tables are replaced in part describes the machine of the others."""
    document = tmp_path / "page.md"
    blocks = ["\n".join(markers(name)) for name in (MACHINE, "fake")]
    document.write_text("\n".join(blocks), "utf-8")

    write(document, {"fake": fake_table()}, None)
    text = document.read_text("utf-8")

    assert text.startswith(f"{blocks[0]}\n")
    assert "| slow | " in text


def test_a_table_of_memory_has_its_units() -> None:
    """A table of memory has bytes, in units of 1,024, instead of times."""
    figures = Figures({"it": [3.0 * 2**20] * 2, "floor": [1536.0] * 2})
    table = Table("fake: a title", quantity="memory")
    table.add("a row", figures, "it", "floor")

    assert table.markdown().splitlines()[1].startswith("| measured | memory | floor |")
    assert table.markdown().splitlines()[3].startswith("| a row | 3 MiB | 1.5 KiB |")


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
        "access": 0,
        "over": 0,
        "missing": 0,
        "fails": 1,
    }


def test_the_simulated_instances_export_metrics_that_exist() -> None:
    """Each name, with its labels, is in the table of docs/reference/metrics.md."""
    exported = re.findall(r"^(hive_boot_\w+)(?:\{\{(.*)\}\})? ", METRICS, re.MULTILINE)
    shown = re.findall(
        r"^\| `(hive_boot_\w+)(?:\{([\w,]+)\})?` \|",
        read_page("docs/reference/metrics.md"),
        re.MULTILINE,
    )
    names = {(name, ",".join(re.findall(r"(\w+)=", labels))) for name, labels in exported}

    assert len(names) > 15
    assert {(name, frozenset(labels.split(","))) for name, labels in names} <= {
        (name, frozenset(labels.split(","))) for name, labels in shown
    }
