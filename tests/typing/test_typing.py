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


def mypy(file: Path, cache: Path) -> dict[int, str]:
    """Give what mypy says about the lines of ``file``."""
    told = judge("mypy", "--strict", "--config-file=", "--cache-dir", cache, file)
    assert "Success" in told or "Found" in told, told
    found: dict[int, str] = {}
    for line in told.splitlines():
        match = re.match(r"(.+?):(\d+): error: (.*)", line)
        if match and (ROOT / match[1]).resolve() == file.resolve():
            found[int(match[2])] = match[3]
    return found


def pyright(file: Path, _: Path) -> dict[int, str]:
    """Give what pyright says about the lines of ``file``."""
    told = judge("pyright", "--pythonpath", sys.executable, "--outputjson", file)
    report = json.loads(told)
    assert report["summary"]["filesAnalyzed"] == 1, told
    return {
        each["range"]["start"]["line"] + 1: each["message"] for each in report["generalDiagnostics"]
    }


USED = """

async def use() -> None:
    pool: AgentPool = await agents()
    also: AgentPool = agents.value
    await reconnect(Change((), {}, {}, 2), pool)
    await main(boot.secrets, also)
"""
"""What may be done with what the example declares."""

CHECKERS = {"mypy": mypy, "pyright": pyright}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory in which mypy keeps what it knows of the package."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("checker", CHECKERS)
def test_code_as_users_write_it_is_accepted(checker: str, cache: Path) -> None:
    """Nothing in an honest program is marked, and every type is what was promised."""
    assert not MARK.search(ACCEPTED.read_text())
    assert CHECKERS[checker](ACCEPTED, cache) == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_example_is_accepted_word_for_word(checker: str, cache: Path, tmp_path: Path) -> None:
    """What a reader copies first has no error, and the types of its parts are known."""
    file = tmp_path / "app.py"
    file.write_text(POOL + EXAMPLE + USED)
    assert CHECKERS[checker](file, cache) == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_misuse_is_refused_line_by_line(checker: str, cache: Path, tmp_path: Path) -> None:
    """Each misuse is marked while it is typed, and nothing beside it."""
    marked = REFUSED.read_text()
    expected = {
        number
        for number, line in enumerate(marked.splitlines(), 1)
        if (match := MARK.search(line)) and (match[1] == "type" or checker == "pyright")
    }
    assert len(expected) >= 100
    bare = tmp_path / "misuse.py"
    bare.write_text(MARK.sub("", marked))
    found = CHECKERS[checker](bare, cache)
    assert found.keys() == expected, found
