"""What is examined: the files that hold secrets, and where the process stands."""

from pathlib import Path

import pytest

from hive_boot.cli.examinations.patient import counted, is_file, listed, status_of
from hive_boot.testing import MountedVolume
from tests.cli.examinations.patients import mounted, patient_of, write


def test_the_files_of_a_directory_are_known_with_their_secrets(machine: Path) -> None:
    """Every file that a start reads is examined, and no other."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/JWT_SECRET")
    write(machine / "secrets/other")

    files = mounted(machine).secret_files

    assert {(file.name, file.path) for file in files} == {
        ("API_KEY", machine / "secrets/api_key"),
        ("JWT_SECRET", machine / "secrets/JWT_SECRET"),
    }


def test_files_that_contradict_each_other_are_examined_too(machine: Path) -> None:
    """A start refuses two values of one secret; both files may be read by others."""
    write(machine / "secrets/api_key", "fake-one")
    write(machine / "secrets/API_KEY", "fake-two")
    (machine / "secrets/sentry_dsn").symlink_to("nowhere")

    files = mounted(machine).secret_files

    assert {file.path.name for file in files} == {"api_key", "API_KEY"}


def test_the_files_of_a_volume_are_those_behind_its_link(machine: Path) -> None:
    """In a kubelet volume the links beside ``..data`` may be missing."""
    MountedVolume(machine / "secrets").publish({"api_key": "fake-value"})
    (machine / "secrets/api_key").unlink()

    files = mounted(machine).secret_files

    assert [file.path for file in files] == [machine / "secrets/..data/api_key"]


def test_a_file_that_a_variable_names_is_examined(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``NAME_FILE`` leads anywhere, relative to where the service is started, too."""
    write(machine / "cwd/keys/api")
    monkeypatch.chdir(machine / "cwd")
    environ = {"API_KEY_FILE": "keys/api", "SENTRY_DSN": "fake=value"}

    files = patient_of(machine, environ).secret_files

    assert [(file.name, file.path) for file in files] == [("API_KEY", machine / "cwd/keys/api")]


@pytest.mark.parametrize(
    ("marker", "environ", "pid"),
    [
        (".dockerenv", {}, 4711),
        ("run/.containerenv", {}, 4711),
        ("", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 4711),
        ("", {}, 1),
    ],
)
def test_a_container_is_known_by_its_marks(
    machine: Path, marker: str, environ: dict[str, str], pid: int
) -> None:
    """Docker, Podman, Kubernetes, and whatever makes the process the first one."""
    assert not patient_of(machine).is_contained
    if marker:
        write(machine / marker)

    assert patient_of(machine, environ, pid=pid).is_contained


def test_what_is_not_there_says_nothing(machine: Path) -> None:
    """A machine without /proc, as macOS, or a file out of sight, is no failure."""
    assert patient_of(machine).system_text("/proc/1/cmdline") == ""
    assert status_of(Path("a\0b")) is None
    assert not is_file(machine)


def test_numbers_and_names_read_as_a_person_writes_them() -> None:
    """One file, two files; names in order, each once."""
    assert [counted(1, "file"), counted(2, "file")] == ["1 file", "2 files"]
    assert listed(["b", "a", "b"]) == "a, b"
