"""The suite finds what redaction takes out: with redaction switched off, it fails."""

import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL
from xml.etree import ElementTree as ET

from tests.canary.canaries import CANARIES
from tests.canary.conftest import SWITCH
from tests.support import ROOT, child_environment

PART = {
    "test_crashes.py": [
        *(
            f"test_a_crash[asyncio-{scenario}]"
            for scenario in (
                "chained",
                "syntax",
                "exit with a text",
                "thread",
                "finalizer",
                "warned",
                "last finalizer",
                "at exit",
                "own hooks",
            )
        ),
        "test_a_crash_that_the_loop_tells_of[unawaited task-quiet]",
        "test_a_crash_that_the_loop_tells_of[loop that ends-logged]",
        "test_a_crash_that_the_caller_tells_of[trio-plain]",
    ],
    "test_failed_starts.py": [
        "test_a_start_that_the_application_refuses[asyncio-plain check]",
        "test_a_start_that_the_application_refuses[trio-set check]",
        "test_a_start_that_the_application_refuses[asyncio-settings class]",
        "test_a_start_under_a_server[plain check]",
    ],
    "test_lifespans.py": [
        "test_a_lifespan_that_crashes[start-uvicorn]",
        "test_a_lifespan_that_crashes[stop-hypercorn alone]",
    ],
    "test_lives.py": [
        *(
            f"test_a_life[asyncio-{scenario}]"
            for scenario in ("part fails", "part crashes", "stops fail", "asked again")
        ),
        "test_a_life[trio-parts fail]",
        "test_a_life[trio-service crashes]",
        "test_a_life[trio-thread hangs]",
        "test_a_start_under_a_server[parts fail-asgi]",
        "test_a_start_under_a_server[part fails-lifespan]",
    ],
    "test_requests.py": [
        "test_hive_as_a_program",
        "test_values_that_are_logged",
        "test_values_that_are_raised",
    ],
    "test_rotations.py": [
        "test_a_rotation[asyncio-accepted]",
        "test_a_rotation[trio-refused]",
        "test_a_rotation[asyncio-hooks]",
        "test_a_rotation[trio-watched]",
        "test_a_rotation[asyncio-crash]",
    ],
}
"""Tests in each of which only redaction keeps the process silent."""

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
    """Run a part of the suite without redaction; give why each test failed."""
    wanted = [
        f"{Path(__file__).with_name(file)}::{name}"
        for file, names in PART.items()
        for name in names
    ]
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
            *wanted,
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
        name = case.get("name", "")
        why = [each.text or "" for each in case if each.tag in {"failure", "error"}]
        told[name] = "\n".join([told.get(name, ""), *why])
    return told


def test_the_suite_fails_without_redaction(tmp_path: Path) -> None:
    """No scenario is silent by itself: each canary is found, in each form and each file."""
    told = failures(tmp_path)
    assert {*told} == {name for names in PART.values() for name in names}
    for name, why in told.items():
        assert "canaries were found" in why, name
    everything = "\n".join(told.values())
    for canary in CANARIES:
        assert f"{canary.name} in " in everything
    for form in FORMS:
        assert form in everything
    for file in FILES:
        assert f" in {file}: " in told["test_values_that_are_logged"], file
