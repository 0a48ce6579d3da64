"""The suite finds what redaction takes out: with redaction switched off, it fails."""

import re
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL
from xml.etree import ElementTree as ET

from tests.canary.canaries import CANARIES
from tests.canary.conftest import SWITCH
from tests.canary.programs.crashes import ASYNCIO_ONLY, OUTSIDE, SCENARIOS
from tests.canary.test_failed_starts import TELLING, WAITED_FOR
from tests.canary.test_lives import TOLD
from tests.support import ROOT, child_environment

TESTS = [
    "test_crashes.py::test_crashes[asyncio]",
    "test_failed_starts.py::test_starts_that_the_application_refuses",
    "test_failed_starts.py::test_starts_under_a_server",
    "test_lifespans.py::test_lifespans_that_crash[uvicorn]",
    "test_lifespans.py::test_lifespans_that_crash[hypercorn alone]",
    "test_lives.py::test_lives[trio]",
    "test_lives.py::test_starts_under_a_server",
    "test_requests.py::test_hive_as_a_program",
    "test_requests.py::test_values_that_are_logged_and_raised",
]
"""Tests in which only redaction keeps the processes silent."""

ROTATIONS = {"accepted", "refused", "hooks", "watched", "crash"}
"""Scenarios of ``test_rotations.py`` of which the same is true."""

CASES = {
    "test_crashes.py::test_crashes[asyncio]": {
        *(f"{scenario}, quiet" for scenario in SCENARIOS.keys() - {"speechless"}),
        *(f"{scenario}, logged" for scenario in ASYNCIO_ONLY),
        *(f"{scenario}, inside" for scenario in OUTSIDE),
    },
    "test_failed_starts.py::test_starts_that_the_application_refuses": {
        *(f"{scenario} on asyncio" for scenario in {*TELLING} - {"grouped check"}),
        *(f"{scenario} on trio" for scenario in {*WAITED_FOR} - {"grouped check"}),
    },
    "test_failed_starts.py::test_starts_under_a_server": {
        f"{scenario} under uvicorn" for scenario in ("plain check", "set check", "settings class")
    },
    "test_lives.py::test_lives[trio]": {*TOLD},
    "test_lives.py::test_starts_under_a_server": {
        f"{scenario}, {how}"
        for scenario in ("part fails", "parts fail", "part hangs")
        for how in ("lifespan", "asgi")
    },
}
"""Cases of these tests that are not silent by themselves."""

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


def failures(place: Path) -> dict[str, str]:
    """Run a part of the suite without redaction; return why each test failed."""
    here = Path(__file__).parent
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--tb=short",
            f"--basetemp={place / 'base'}",
            f"--junitxml={place / 'report.xml'}",
            "-k",
            f"not test_a_rotation or {' or '.join(sorted(ROTATIONS))}",
            *(f"{here / test}" for test in TESTS),
            f"{here / 'test_rotations.py'}::test_a_rotation",
        ],
        env=child_environment(**{SWITCH: "1"}),
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
    return told


def found_in(report: str) -> set[str]:
    """Return the cases of a test in which a canary was found."""
    sections = [section.split("\n", 2) for section in report.split("=== ")[1:]]
    return {name for name, why, *_ in sections if "canaries were found" in why}


def test_the_suite_fails_without_redaction(tmp_path: Path) -> None:
    """No scenario is silent by itself: each canary is found, in each form and each file."""
    told = failures(tmp_path)
    rotations = {name for name in told if "::test_a_rotation[" in name}
    assert {*told} - rotations == {*TESTS}
    for name, why in told.items():
        assert "canaries were found" in why, name
    for name, cases in CASES.items():
        assert cases - found_in(told[name]) == set(), name
    scenarios = {re.split(r"[\[\]-]", name)[-2] for name in rotations}
    assert scenarios == ROTATIONS
    everything = "\n".join(told.values())
    for canary in CANARIES:
        assert f"{canary.name} in " in everything
    for form in FORMS:
        assert form in everything
    logged = told["test_requests.py::test_values_that_are_logged_and_raised"]
    for file in FILES:
        assert f" in {file}: " in logged, file
