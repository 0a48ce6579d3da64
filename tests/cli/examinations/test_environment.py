"""What the first process of a container was given."""

from pathlib import Path

import pytest

from hive_boot.cli.examinations.environment import environment_of_the_container
from tests.cli.examinations.patients import mounted, patient_of, write


@pytest.fixture
def container(machine: Path) -> Path:
    """Be in a container whose PID 1 was given two secrets, one of them empty."""
    write(machine / ".dockerenv")
    write(machine / "secrets/api_key")
    write(machine / "proc/1/environ", "PATH=/bin\0API_KEY=fake-value\0SENTRY_DSN=\0")
    return machine


def test_a_secret_that_the_container_was_started_with_is_named(container: Path) -> None:
    """``docker inspect`` shows it, although an entry point has taken it away."""
    (symptom,) = environment_of_the_container(mounted(container))

    assert (symptom.severity, symptom.kind) == ("warning", "environment-copy")
    assert symptom.what.startswith("API_KEY: ")
    assert "fake-value" not in str(symptom)


def test_what_this_process_has_too_is_told_by_the_check(container: Path) -> None:
    """The same copy is not told twice."""
    assert environment_of_the_container(mounted(container, environ={"API_KEY": "fake"})) == []


def test_where_variables_are_meant_it_is_no_copy(container: Path) -> None:
    """A platform that injects variables gives them to PID 1, of course."""
    assert environment_of_the_container(patient_of(container, mode="environment")) == []


def test_outside_a_container_the_first_process_is_nobody_of_ours(container: Path) -> None:
    """It is the machine's init."""
    (container / ".dockerenv").unlink()

    assert environment_of_the_container(mounted(container)) == []
