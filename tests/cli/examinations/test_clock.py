"""A clock that is behind."""

from pathlib import Path

import pytest

from hive_boot.cli.examinations.clock import clock_behind
from tests.cli.examinations.patients import mounted, write


@pytest.mark.parametrize(
    ("behind", "said"),
    [(20, "20 seconds"), (600, "10 minutes"), (3 * 3600, "3 hours"), (5 * 86400, "5 days")],
)
def test_a_file_from_the_future_shows_it(machine: Path, behind: int, said: str) -> None:
    """Tokens are refused by everybody else, and nobody looks at the clock first."""
    file = write(machine / "secrets/api_key")
    now = file.stat().st_ctime - behind

    (symptom,) = clock_behind(mounted(machine, now=now))

    assert (symptom.severity, symptom.kind) == ("warning", "clock")
    assert said in symptom.what
    assert symptom.where == str(file)


def test_a_clock_that_is_right_is_passed_over(machine: Path) -> None:
    """So is one that is a few seconds off, as those of two machines are."""
    file = write(machine / "secrets/api_key")

    assert clock_behind(mounted(machine)) == []
    assert clock_behind(mounted(machine, now=file.stat().st_ctime - 2)) == []


def test_the_package_was_installed_before(machine: Path) -> None:
    """A clock that starts in 1970, as on a board without a battery, is seen without a file."""
    (symptom,) = clock_behind(mounted(machine, now=0))

    assert symptom.where.endswith("hive_boot/__init__.py")
