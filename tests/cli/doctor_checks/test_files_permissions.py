"""Files of secrets that other users can read or change."""

import os
from dataclasses import replace
from pathlib import Path

from hive_boot.cli.doctor_checks.files import (
    owned_by_others,
    readable_by_others,
    writable_by_others,
)
from hive_boot.testing import MountedVolume
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write


def test_readable_files_of_a_directory_are_one_finding(machine: Path) -> None:
    """Files with a shell's usual mode 0644, with the command that closes the directory."""
    directory = machine / "secrets"
    write(directory / "api_key", mode=0o644)
    write(directory / "jwt_secret", mode=0o644)
    write(directory / "sentry_dsn", mode=0o640)

    (finding,) = readable_by_others(mounted(machine))

    assert kinds([finding]) == [("warning", "readable-file")]
    assert finding.names == ("API_KEY", "JWT_SECRET")
    assert finding.locations == (str(directory / "api_key"), str(directory / "jwt_secret"))
    assert "0644" in finding.message
    assert f"chmod 700 {directory}" in finding.fix


def test_files_in_a_closed_directory_are_not_readable(machine: Path) -> None:
    """``migrate`` writes 0444 files in a 0700 directory, as a bind mount needs."""
    write(machine / "secrets/api_key", mode=0o444)
    (machine / "secrets").chmod(0o700)

    assert not list(readable_by_others(mounted(machine)))


def test_a_link_has_the_permissions_of_its_target(machine: Path) -> None:
    """The closed directory of the link does not protect a target in an open one."""
    write(machine / "open/api_key", mode=0o644)
    write(machine / "secrets/sentry_dsn")
    (machine / "secrets/api_key").symlink_to(machine / "open/api_key")
    (machine / "secrets").chmod(0o700)

    assert kinds(readable_by_others(mounted(machine))) == [("warning", "readable-file")]


def test_a_readable_dotenv_file_is_closed_itself(machine: Path) -> None:
    """Its directory is the project, which stays open."""
    file = write(machine / "cwd/.env", "API_KEY=fake-value", mode=0o644)

    (finding,) = readable_by_others(context_of(machine))

    assert kinds([finding]) == [("warning", "readable-file")]
    assert finding.locations == (str(file),)
    assert f"chmod 600 {file}" in finding.fix


def test_readable_files_in_a_container_are_a_note(machine: Path) -> None:
    """Swarm and Podman mount with mode 0444, and a container usually has one user."""
    write(machine / ".dockerenv")
    write(machine / "secrets/api_key", mode=0o444)

    (finding,) = readable_by_others(mounted(machine))

    assert finding.severity == "note"


def test_the_mode_of_a_volume_is_set_in_the_manifest(machine: Path) -> None:
    """``chmod`` is impossible in a kubelet volume."""
    MountedVolume(machine / "secrets").publish({"api_key": "fake-value"})
    for file in (machine / "secrets").rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    (finding,) = readable_by_others(context_of(machine, environ, secrets_dirs=machine / "secrets"))

    assert finding.severity == "note"
    assert "defaultMode: 0400" in finding.fix


def test_writable_files_and_directories_are_reported(machine: Path) -> None:
    """Each with the command that closes it."""
    file = write(machine / "secrets/api_key", mode=0o602)
    file.parent.chmod(0o777)

    load_result = list(writable_by_others(mounted(machine)))

    assert kinds(load_result) == [("warning", "writable-file"), ("warning", "writable-directory")]
    assert [finding.names for finding in load_result] == [("API_KEY",), ()]
    for finding, path in zip(load_result, (file, file.parent), strict=True):
        assert finding.locations == (str(path),)
        assert f"chmod o-w {path}" in finding.fix


def test_a_sticky_directory_is_not_writable(machine: Path) -> None:
    """The kubelet's volumes have mode 1777."""
    write(machine / "secrets/api_key")
    (machine / "secrets").chmod(0o1777)

    assert not list(writable_by_others(mounted(machine)))


def test_a_file_that_disappears_meanwhile_is_skipped(machine: Path) -> None:
    """It existed when the secrets were loaded."""
    file = write(machine / "cwd/keys/api", mode=0o602)
    context = context_of(machine, {"API_KEY_FILE": str(file)})
    assert list(writable_by_others(context))

    file.unlink()

    assert not list(writable_by_others(context))
    assert not list(owned_by_others(replace(context, user_id=1)))


def test_a_file_of_another_user_is_reported(machine: Path) -> None:
    """Except to root and to its owner, and except in a container, which has the host's numbers."""
    file = write(machine / "secrets/api_key")
    if os.geteuid() == 0:
        os.chown(file, 54321, -1)
    owner = file.stat().st_uid

    (finding,) = owned_by_others(mounted(machine, user_id=owner + 1))

    assert kinds([finding]) == [("warning", "foreign-file")]
    assert (finding.names, finding.locations) == (("API_KEY",), (str(file),))
    assert "sudo chown " in finding.fix
    assert not list(owned_by_others(mounted(machine, user_id=0)))
    assert not list(owned_by_others(mounted(machine, user_id=owner)))
    write(machine / ".dockerenv")
    assert not list(owned_by_others(mounted(machine, user_id=owner + 1)))
