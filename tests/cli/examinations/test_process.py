"""PID 1, and the limits of the process."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hive_boot.cli.examinations.process import limits, shell_as_the_first_process
from tests.cli.examinations.patients import kinds, patient_of, write


@contextmanager
def limited(what: int, soft: int) -> Iterator[None]:
    """Have another limit for a while."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


@pytest.mark.parametrize(
    "words",
    [
        ["/bin/sh", "-c", "uvicorn app:app"],
        ["bash", "/entrypoint.sh"],
        ["-dash", "-e", "start"],
    ],
)
def test_a_shell_in_front_is_named(machine: Path, words: list[str]) -> None:
    """CMD without brackets: the service never hears of SIGTERM, and dies in mid-request."""
    write(machine / ".dockerenv")
    write(machine / "proc/1/cmdline", "".join(f"{word}\0" for word in words))

    (symptom,) = shell_as_the_first_process(patient_of(machine))

    assert (symptom.severity, symptom.kind) == ("warning", "pid-1")
    assert 'CMD ["hive-boot", "run", "app:boot"]' in symptom.mend


@pytest.mark.parametrize(
    "words",
    [
        ["/usr/bin/python3", "-m", "app"],
        ["/bin/sh"],
        ["bash", "-l"],
        ["sh", "-c", "hive-boot doctor app:boot && echo fine"],
        [],
    ],
)
def test_anything_else_in_front_is_all_right(machine: Path, words: list[str]) -> None:
    """The service itself, somebody who looks around, or a step that comes before it."""
    write(machine / ".dockerenv")
    write(machine / "proc/1/cmdline", "".join(f"{word}\0" for word in words))

    assert shell_as_the_first_process(patient_of(machine)) == []


def test_outside_a_container_it_is_not_looked_at(machine: Path) -> None:
    """What the machine is started by is its own matter."""
    write(machine / "proc/1/cmdline", "/bin/sh\0-c\0init\0")

    assert shell_as_the_first_process(patient_of(machine)) == []


def test_few_descriptors_are_a_warning(machine: Path) -> None:
    """A connection takes one, and 200 are soon there."""
    with limited(resource.RLIMIT_NOFILE, 255), limited(resource.RLIMIT_CORE, 0):
        assert kinds(limits(patient_of(machine))) == [("warning", "few-descriptors")]


def test_a_core_dump_is_a_remark(machine: Path) -> None:
    """Docker allows it by default; all secrets would be in it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("no core dump is to be had here")
    with limited(resource.RLIMIT_CORE, hard):
        assert ("remark", "core-dump") in kinds(limits(patient_of(machine)))


def test_sensible_limits_are_passed_over(machine: Path) -> None:
    """Most machines have them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limited(resource.RLIMIT_NOFILE, hard), limited(resource.RLIMIT_CORE, 0):
        assert limits(patient_of(machine)) == []
