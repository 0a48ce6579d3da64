"""Examples and commands of README.md, run as a reader would run them."""

import os
import re
import runpy
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.docs.reading import (
    Block,
    blocks_of,
    make_laptop,
    make_workplace,
    name_of,
    read_page,
    replay,
)
from tests.pictures import FAILED_START, draw_failed_start
from tests.support import ROOT, run_child

README = read_page("README.md")

BLOCKS = blocks_of(README)
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language == "sh"]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory with app.py, the first example."""
    return make_workplace(tmp_path)


@pytest.fixture
def laptop(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine without a terminal: the examples select the profile."""
    return make_laptop(tmp_path, terminal="")


def test_the_readme_is_short() -> None:
    """README.md has fewer than 150 lines, and the first example fewer than 20."""
    assert len(README.splitlines()) < 150
    assert len(PYTHON[0].text.splitlines()) < 20
    promise = re.search(r"^\*\*(.*)\.\*\*$", README, re.MULTILINE)
    assert promise
    assert len(promise[1].split()) == 5


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    assert len(BLOCKS) * 2 == len(re.findall(r"^```", README, re.MULTILINE))
    assert (len(PYTHON), len(SHELL), len(BLOCKS)) == (2, 2, 4)


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_a_python_block_runs(block: Block, workplace: Path) -> None:
    """Each Python block runs without an error or a warning."""
    done = run_child(
        block.text,
        cwd=workplace,
        HIVE_BOOT_MODE="environment",
        OPENAI_API_KEY="fake-openai-key",
        JWT_SECRET="fake-jwt-secret-0123456789-0123456789",
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_the_first_example_shows_no_value(workplace: Path, laptop: dict[str, str]) -> None:
    """A printed secret is masked in the first example."""
    (workplace / ".env").write_text("OPENAI_API_KEY=fake-key\nJWT_SECRET=" + "fake" * 8)
    output = replay("$ python app.py 2> /dev/null", workplace, laptop)
    assert output.splitlines()[1:] == ["ready with Secret('OPENAI_API_KEY', '***')"]


def test_the_web_example_serves(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block for FastAPI starts with its secrets, and fails without them."""
    (_, block) = PYTHON
    (workplace / "web.py").write_text(block.text)
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    web = runpy.run_path(str(workplace / "web.py"))["web"]
    boot = sys.modules.pop("app").boot
    with pytest.raises(Exception, match="OPENAI_API_KEY"), TestClient(web):
        pass
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key")
    monkeypatch.setenv("JWT_SECRET", "fake-jwt-secret-0123456789-0123456789")
    with TestClient(web) as client:
        assert boot.status().ready
        assert client.get("/internal/readyz").text == "ready\n"


def test_the_picture_is_of_this_report() -> None:
    """The picture of a failed start has the text that the first example prints today."""

    def texts(svg: str) -> list[str]:
        return re.findall(r">([^<>]+)</text>", svg)

    assert "missing" in str(texts(FAILED_START.read_text("utf-8")))
    assert texts(draw_failed_start()) == texts(FAILED_START.read_text("utf-8"))
    assert re.findall(r"https?://\S+", draw_failed_start()) == [
        'http://www.w3.org/2000/svg">',
        "https://www.textualize.io",
    ]


def test_every_extra_is_named() -> None:
    """The table has the extras of the package, and the command installs some of them."""
    table = re.findall(r"^\| (`[^|]+`) \|", README[README.index("| extra |") :], re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(table))
    assert sorted(named) == sorted(metadata("hive_boot").get_all("Provides-Extra") or [])
    (command,) = [line for line in SHELL[0].text.splitlines() if line.startswith("pip ")]
    installed = re.fullmatch(r"pip install '\.\[([\w,]+)\]' fastapi", command)
    assert installed
    assert {*installed[1].split(",")} <= {*named}


def test_the_commands_exist() -> None:
    """Each command is a documented target of the Makefile, and a dry run succeeds."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in SHELL[1].text.splitlines():
        target = re.match(r"make (\w+) +# ", line)
        assert target, f"{line!r} is not a command that this test knows"
        assert re.search(rf"^{target[1]}:.* ## ", makefile, re.MULTILINE)
        planned = subprocess.run(
            ["make", "--dry-run", target[1]],  # noqa: S607  (whichever make a reader has)
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert planned.returncode == 0, planned.stderr


def test_make_run_selects_the_profile() -> None:
    """Without a terminal too; a profile of the caller has precedence."""
    planned = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "run"],  # noqa: S607  (whichever make a reader has)
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (start,) = [line for line in planned.stdout.splitlines() if "examples.hive" in line]
    start = start.replace(".venv/bin/python -m examples.hive", "env")
    for environ in ({}, {"HIVE_BOOT_PROFILE": "test"}):
        shown = subprocess.run(
            ["sh", "-c", start],  # noqa: S607  (the shell of the PATH)
            env={"PATH": os.environ["PATH"], **environ},
            capture_output=True,
            text=True,
            check=True,
        )
        profile = environ.get("HIVE_BOOT_PROFILE", "development")
        assert f"HIVE_BOOT_PROFILE={profile}" in shown.stdout.splitlines()


def test_links_lead_somewhere() -> None:
    """Every link target of README.md is in the repository, or a heading of it."""
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        assert path or anchor in anchors, target


def test_every_variable_in_the_readme_exists() -> None:
    """Every variable that README.md names is read by the package."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "hive_boot").rglob("*.py"))
    named = set(re.findall(r"HIVE_BOOT_[A-Z_]+", README))
    assert named
    for name in named:
        assert name in source
