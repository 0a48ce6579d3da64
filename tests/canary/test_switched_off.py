"""The canary suite without redaction: its tests fail."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from subprocess import DEVNULL
from xml.etree import ElementTree as ET

from tests.canary.canaries import CANARIES
from tests.canary.children import SWITCH
from tests.support import FEW_PLUGINS, ROOT, child_environment

CASES = {
    "test_crashes.py::test_crashes[asyncio]": [
        "chained, quiet",
        "syntax, quiet",
        "exit with a text, quiet",
        "thread, quiet",
        "finalizer, quiet",
        "warned, quiet",
        "last finalizer, quiet",
        "at exit, quiet",
        "own hooks, quiet",
        "unawaited task, quiet",
        "loop that ends, logged",
        "plain, inside",
    ],
    "test_failed_starts.py::test_starts_that_the_application_refuses": [
        "plain check on asyncio",
        "set check on trio",
        "settings class on asyncio",
    ],
    "test_failed_starts.py::test_starts_under_a_server": ["plain check under uvicorn"],
    "test_lives.py::test_lives[trio]": [
        "resource fails",
        "resources fail",
        "resource crashes",
        "service crashes",
        "stops fail",
        "thread hangs",
        "asked again",
    ],
    "test_lives.py::test_starts_under_a_server": [
        "resources fail, asgi",
        "resource fails, lifespan",
    ],
}
"""Cases of tests, in each of which only redaction keeps the process silent."""

WHOLE = [
    "test_lifespans.py::test_lifespans_that_crash[uvicorn]",
    "test_lifespans.py::test_lifespans_that_crash[hypercorn alone]",
    "test_requests.py::test_hive_as_a_program",
    "test_requests.py::test_values_that_are_logged_and_raised",
]
"""Tests of which the same is true."""

ROTATIONS = {"accepted", "refused", "hooks", "watched", "crash"}
"""Scenarios of ``test_rotations.py`` of which the same is true."""

FORMS = {
    "plainly",
    "as a repr",
    "as the repr of bytes",
    "as Latin-1",
    "in JSON",
    "in a URL",
    "in base64",
    "in hex",
    "in capital hex",
    "as the system's text",
}

FILES = {
    "alone.txt",
    "extra.txt",
    "json.txt",
    "late.txt",
    "memory.txt",
    "plain.txt",
    "queue.txt",
    "rotating.txt",
    "stdout or stderr",
    "tracker.txt",
    "watched.txt",
}


def failures(place: Path, tests: Iterable[str], *options: str) -> dict[str, str]:
    """Run tests without redaction, and return the reason of each failure."""
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *FEW_PLUGINS,
            "--tb=short",
            f"--basetemp={place / 'base'}",
            f"--junitxml={place / 'report.xml'}",
            *options,
            *(f"{Path(__file__).with_name(test)}" for test in tests),
        ],
        env=child_environment(**{SWITCH: json.dumps(list(chain(*CASES.values())))}),
        cwd=ROOT,
        stdin=DEVNULL,
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert child.returncode == 1, child.stdout.decode()
    told: dict[str, str] = {}
    for case in ET.parse(place / "report.xml").iter("testcase"):  # noqa: S314  (pytest wrote it)
        file = case.get("classname", "").rpartition(".")[2]
        name = f"{file}.py::{case.get('name')}"
        why = [each.text or "" for each in case if each.tag in {"failure", "error"}]
        told[name] = "\n".join([told.get(name, ""), *why])
    for name, text in told.items():
        assert "canaries were found" in text, name
    return told


def test_no_case_is_silent_without_redaction(tmp_path: Path) -> None:
    """Canaries are found in the output of processes that crash, or fail to start or stop."""
    told = failures(tmp_path, CASES)
    assert told.keys() == CASES.keys()
    for name, text in told.items():
        sections = [section.split("\n", 2) for section in text.split("=== ")[1:]]
        found = [case for case, why, *_ in sections if "canaries were found" in why]
        assert sorted(found) == sorted(CASES[name])


def test_no_service_is_silent_without_redaction(tmp_path: Path) -> None:
    """Each canary is found in the output of services, in each form and each file."""
    rotations = f"not test_a_rotation or {' or '.join(sorted(ROTATIONS))}"
    told = failures(tmp_path, [*WHOLE, "test_rotations.py::test_a_rotation"], "-k", rotations)
    rotated = {name for name in told if "::test_a_rotation[" in name}
    assert {*told} - rotated == {*WHOLE}
    assert {re.split(r"[\[\]-]", name)[-2] for name in rotated} == ROTATIONS
    everything = "\n".join(told.values())
    for canary in CANARIES:
        assert f"{canary.name} in " in everything
    for form in FORMS:
        assert form in everything
    for file in FILES:
        assert f" in {file}: " in told[WHOLE[-1]], file
