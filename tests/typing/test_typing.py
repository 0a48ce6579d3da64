"""Typing is a promise: what mypy and pyright accept, and what they refuse."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.typing.design import EXAMPLE, POOL

HERE = Path(__file__).parent

ACCEPTED = HERE / "accepted.py"

REFUSED = HERE / "refused.py"

MARK = re.compile(r"  # (type|pyright): ignore\[[\w-]+\]$", re.MULTILINE)


def judge(tool: str, *arguments: str | Path) -> str:
    """Run a type checker from the root of the project, and give what it prints."""
    told = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode in {0, 1}, told.stdout + told.stderr
    return told.stdout


Found = dict[Path, dict[int, str]]
"""What a checker says about the lines of each file."""


def mypy(files: list[Path], cache: Path) -> Found:
    """Return the errors of mypy in these files."""
    told = judge("mypy", "--strict", "--config-file=", "--cache-dir", cache, *files)
    assert "Success" in told or "Found" in told, told
    found: Found = {file: {} for file in files}
    for line in told.splitlines():
        match = re.match(r"(.+?):(\d+): error: (.*)", line)
        if match and (file := (ROOT / match[1]).resolve()) in found:
            found[file][int(match[2])] = match[3]
    return found


def pyright(files: list[Path], _: Path) -> Found:
    """Return the errors of pyright in these files."""
    told = judge("pyright", "--pythonpath", sys.executable, "--outputjson", *files)
    report = json.loads(told)
    assert report["summary"]["filesAnalyzed"] == len(files), told
    found: Found = {file: {} for file in files}
    for each in report["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        found[Path(each["file"]).resolve()][line] = each["message"]
    return found


USED = """

async def use() -> None:
    pool: AgentPool = await agents()
    also: AgentPool = agents.value
    await reconnect(Change((), {}, {}, 2), pool)
    await main(boot.secrets, also)
"""
"""What may be done with what the example declares."""

CHECKERS = {"mypy": mypy, "pyright": pyright}


@pytest.mark.parametrize("checker", CHECKERS)
def test_types_are_what_was_promised(checker: str, tmp_path: Path) -> None:
    """A checker accepts an honest program and the example, and refuses each misuse.

    It is started once: most of its time is for the package and its dependencies.
    """
    place = tmp_path.resolve()
    example = place / "app.py"
    example.write_text(POOL + EXAMPLE + USED)
    marked = REFUSED.read_text()
    misuse = place / "misuse.py"
    misuse.write_text(MARK.sub("", marked))
    expected = {
        number
        for number, line in enumerate(marked.splitlines(), 1)
        if (match := MARK.search(line)) and (match[1] == "type" or checker == "pyright")
    }
    assert len(expected) >= 100
    assert not MARK.search(ACCEPTED.read_text())

    found = CHECKERS[checker]([ACCEPTED.resolve(), example, misuse], place / "cache")

    assert found[ACCEPTED.resolve()] == {}
    assert found[example] == {}
    assert found[misuse].keys() == expected, found


def test_every_public_name_has_a_type(tmp_path: Path) -> None:
    """Pyright knows the type of each exported symbol without inferring it."""
    scripts = Path(sys.prefix) / "bin"
    found = subprocess.run(
        [scripts / "pyright", "--verifytypes", "hive_boot", "--ignoreexternal", "--outputjson"],
        cwd=tmp_path,  # in a project pyright looks for the package there, and finds none
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(scripts), os.environ["PATH"]]),
            "VIRTUAL_ENV": sys.prefix,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = json.loads(found.stdout)["typeCompleteness"]
    unknown = [
        symbol["name"]
        for symbol in report["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"]
    ]
    assert len(report["symbols"]) > 500
    assert unknown == []
