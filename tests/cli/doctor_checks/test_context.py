"""The doctor's context: the files of secrets, and container detection."""

from pathlib import Path

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.cli.doctor_checks import file_status, is_file
from hive_boot.testing import MountedVolume
from tests.cli.doctor_checks.contexts import context_of, mounted, write


def test_declared_files_are_known_with_their_secrets(machine: Path) -> None:
    """A file that is not declared is not among them."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/JWT_SECRET")
    write(machine / "secrets/other")

    files = mounted(machine).secret_files

    assert {(name, path) for path, name in files.items()} == {
        ("API_KEY", machine / "secrets/api_key"),
        ("JWT_SECRET", machine / "secrets/JWT_SECRET"),
    }


def test_conflicting_files_are_included(machine: Path) -> None:
    """A start rejects two values of one secret, and other users may read both files."""
    write(machine / "secrets/api_key", "fake-one")
    write(machine / "secrets/API_KEY", "fake-two")
    (machine / "secrets/sentry_dsn").symlink_to("nowhere")

    files = mounted(machine).secret_files

    assert {path.name for path in files} == {"api_key", "API_KEY"}


def test_files_of_a_volume_are_found_without_their_links(machine: Path) -> None:
    """In a kubelet volume the links beside ``..data`` may be missing."""
    MountedVolume(machine / "secrets").publish({"api_key": "fake-value"})
    (machine / "secrets/api_key").unlink()

    files = mounted(machine).secret_files

    assert list(files) == [machine / "secrets/..data/api_key"]


def test_a_file_variable_is_followed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``NAME_FILE`` may be relative to the working directory."""
    write(machine / "cwd/keys/api")
    monkeypatch.chdir(machine / "cwd")
    environ = {"API_KEY_FILE": "keys/api", "SENTRY_DSN": "fake=value"}

    files = context_of(machine, environ).secret_files

    assert [(name, path) for path, name in files.items()] == [("API_KEY", machine / "cwd/keys/api")]


def test_a_file_variable_of_an_older_name_is_followed(machine: Path) -> None:
    """The file belongs to the field, whichever name leads to it."""

    class Renamed(SecretSet):
        api_key: Secret = secret(aliases="OLD_KEY")

    old = write(machine / "keys/old")
    files = context_of(machine, {"OLD_KEY_FILE": str(old)}, declared=Renamed).secret_files
    assert [(name, path) for path, name in files.items()] == [("API_KEY", old)]


def test_a_container_is_detected(machine: Path) -> None:
    """Docker, Podman, Kubernetes, and every process that is PID 1."""
    assert not context_of(machine).in_container
    assert context_of(machine, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).in_container
    assert context_of(machine, pid=1).in_container
    for marker in (".dockerenv", "run/.containerenv"):
        file = write(machine / marker)
        assert context_of(machine).in_container, marker
        file.unlink()


def test_missing_files_are_not_an_error(machine: Path) -> None:
    """A machine without /proc, a path that cannot exist, and a directory."""
    assert context_of(machine).read_system_file("/proc/1/cmdline") == ""
    assert file_status(Path("a\0b")) is None
    assert not is_file(machine)


def test_a_file_under_an_older_name_is_a_file_of_the_secret(machine: Path) -> None:
    """Also beside a file with the newer name."""

    class Renamed(SecretSet):
        api_key: Secret = secret(aliases="OLD_KEY")
        jwt_secret: Secret = secret(aliases="OLD_SECRET")

    files = {
        write(machine / "secrets/old_key"): "API_KEY",
        write(machine / "secrets/old_secret"): "JWT_SECRET",
        write(machine / "secrets/jwt_secret"): "JWT_SECRET",
    }
    assert mounted(machine, declared=Renamed).secret_files == files
