"""Helpers of the document tests: blocks of a page, a simulated laptop, a shell replay."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT, TERMINAL, child_environment

DASHBOARD = ROOT / "deploy" / "grafana" / "hive_boot.json"

# Simulates a laptop on any machine: nothing is mounted, and there is no container.
_LAPTOP = """
from functools import partial
from hive_boot.runtime import load_pipeline
load_pipeline.HostEnvironment = partial(
    load_pipeline.HostEnvironment, root={root!r}, pid=1000, terminal={terminal!r}
)
"""

_TOOLS = {
    "python": '#!/bin/sh\nexec "{python}" "$@"\n',
    "hive-boot": '#!/bin/sh\nexec "{python}" -m hive_boot "$@"\n',
    "uvicorn": '#!/bin/sh\nexec "{python}" -m uvicorn "$@"\n',
}


class Block(NamedTuple):
    """A block of code, and the line on which it begins."""

    language: str
    text: str
    line: int


def read_page(path: str) -> str:
    """Return the text of a page, by its path in the repository."""
    return (ROOT / path).read_text("utf-8")


def blocks_of(page: str) -> list[Block]:
    """Return every code block of a page."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [Block(match[1], match[2], page.count("\n", 0, match.start()) + 2) for match in found]


def dashboard_expressions() -> list[str]:
    """Return the expressions of the dashboard, as Grafana sends them for all jobs."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    return [each.replace("$__rate_interval", "1m").replace("$job", ".*") for each in found]


def python_files(page: str) -> dict[str, str]:
    """Return the blocks of Python that begin with the name of a file, by that name."""
    return dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


def write_files(base: Path, files: Mapping[str, str]) -> Path:
    """Write files into a new directory, and return the directory."""
    place = base / "workplace"
    place.mkdir()
    for name, source in files.items():
        (place / name).write_text(source, "utf-8")
    return place


def name_of(block: Block) -> str:
    """Return the name of a test for a block."""
    return f"line {block.line}"


def make_workplace(base: Path) -> Path:
    """Return a new directory with app.py, the first example of the README."""
    place = base / "srv" / "app"
    place.mkdir(parents=True)
    first = next(block for block in blocks_of(read_page("README.md")) if block.language == "python")
    assert first.text.startswith("# app.py\n")
    (place / "app.py").write_text(first.text, "utf-8")
    return place


def make_laptop(base: Path, terminal: str = TERMINAL) -> dict[str, str]:
    """Return the environment of a laptop, where ``python`` is the interpreter of this test."""
    tools, site, root = (base / name for name in ("tools", "site", "root"))
    for directory in (tools, site, root):
        directory.mkdir()
    (site / "sitecustomize.py").write_text(
        _LAPTOP.format(root=str(root), terminal=terminal), "utf-8"
    )
    for name, script in _TOOLS.items():
        (tools / name).write_text(script.format(python=sys.executable), "utf-8")
        (tools / name).chmod(0o755)
    environment = child_environment()
    del environment["APP_ENV"]
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{environment['PYTHONPATH']}"
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"
    return environment


def replay(transcript: str, cwd: Path, environment: dict[str, str]) -> str:
    """Run the commands of a transcript in a shell, and return the new transcript."""
    script = ["last=0"]
    for command in re.findall(r"^\$ (.*(?:\n> .*)*)", transcript, re.MULTILINE):
        typed = command.replace("\n> ", "\n")
        script += ["cat <<'TYPED'", f"$ {command}", "TYPED", f"(exit $last); {typed}", "last=$?"]
    done = subprocess.run(
        ["bash"],  # noqa: S607  (the bash of the PATH)
        input="\n".join(script),
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    return done.stdout
