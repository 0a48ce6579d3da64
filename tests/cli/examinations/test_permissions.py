"""Who else may read or change the files of secrets."""

import os
from pathlib import Path

from hive_boot.cli.examinations.permissions import (
    files_of_others,
    files_that_others_may_read,
    files_that_others_may_write,
)
from hive_boot.testing import MountedVolume
from tests.cli.examinations.patients import kinds, mounted, patient_of, write


def test_files_that_every_user_may_read_are_named_together(machine: Path) -> None:
    """Files of a shell's usual 0644 are one finding, with the command that mends it."""
    write(machine / "secrets/api_key", mode=0o644)
    write(machine / "secrets/jwt_secret", mode=0o644)
    write(machine / "secrets/sentry_dsn", mode=0o640)

    (symptom,) = files_that_others_may_read(mounted(machine))

    assert (symptom.severity, symptom.kind) == ("warning", "readable-file")
    assert "2 files" in symptom.what
    assert "0644" in symptom.what
    assert symptom.where == f"{machine / 'secrets'}: api_key, jwt_secret"
    assert symptom.mend == f"chmod 700 {machine / 'secrets'}"


def test_a_closed_directory_keeps_others_out(machine: Path) -> None:
    """0444 files in a 0700 directory are what ``migrate`` writes: a bind mount needs them."""
    write(machine / "secrets/api_key", mode=0o444)
    (machine / "secrets").chmod(0o700)

    assert files_that_others_may_read(mounted(machine)) == []


def test_a_link_is_as_open_as_what_it_leads_to(machine: Path) -> None:
    """A closed directory does not help a file that lies in an open one."""
    write(machine / "open/api_key", mode=0o644)
    write(machine / "secrets/sentry_dsn")
    (machine / "secrets/api_key").symlink_to(machine / "open/api_key")
    (machine / "secrets").chmod(0o700)

    assert kinds(files_that_others_may_read(mounted(machine))) == [("warning", "readable-file")]


def test_an_open_dotenv_file_is_named_by_itself(machine: Path) -> None:
    """Closing the directory would close the project: the file is what has to be closed."""
    file = write(machine / "cwd/.env", "API_KEY=fake-value", mode=0o644)

    (symptom,) = files_that_others_may_read(patient_of(machine))

    assert symptom.severity == "warning"
    assert symptom.mend == f"chmod 600 {file}"


def test_in_a_container_it_is_only_a_remark(machine: Path) -> None:
    """Swarm and Podman mount 0444, and mostly one user runs everything there."""
    write(machine / ".dockerenv")
    write(machine / "secrets/api_key", mode=0o444)

    (symptom,) = files_that_others_may_read(mounted(machine))

    assert symptom.severity == "remark"
    assert "container" in symptom.what


def test_in_a_pod_the_volume_is_what_mends_it(machine: Path) -> None:
    """Nobody can chmod a kubelet volume: its mode is in the manifest."""
    MountedVolume(machine / "secrets").publish({"api_key": "fake-value"})
    for file in (machine / "secrets").rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    patient = patient_of(machine, environ, secrets_dirs=machine / "secrets")
    (symptom,) = files_that_others_may_read(patient)

    assert symptom.severity == "remark"
    assert "defaultMode: 0400" in symptom.mend


def test_what_every_user_may_write_is_named(machine: Path) -> None:
    """Who may write a secret decides what the service signs with."""
    file = write(machine / "secrets/api_key", mode=0o602)
    (machine / "secrets").chmod(0o777)

    symptoms = files_that_others_may_write(mounted(machine))

    assert [(symptom.kind, symptom.where) for symptom in symptoms] == [
        ("writable-file", str(file)),
        ("writable-directory", str(machine / "secrets")),
    ]
    assert [symptom.mend for symptom in symptoms] == [
        f"chmod o-w {file}",
        f"chmod o-w {machine / 'secrets'}",
    ]


def test_nobody_replaces_files_in_a_sticky_directory(machine: Path) -> None:
    """The kubelet's volumes are 1777."""
    write(machine / "secrets/api_key")
    (machine / "secrets").chmod(0o1777)

    assert files_that_others_may_write(mounted(machine)) == []


def test_a_file_that_goes_meanwhile_is_no_failure(machine: Path) -> None:
    """Somebody may be tidying up while the doctor looks."""
    file = write(machine / "cwd/keys/api", mode=0o602)
    patient = patient_of(machine, {"API_KEY_FILE": str(file)})
    files = patient.secret_files
    file.unlink()

    assert files
    assert files_that_others_may_write(patient) == []
    assert files_of_others(patient._replace(user=1)) == []


def owned(machine: Path) -> Path:
    """Have a secret that does not belong to root, also when root runs the tests."""
    file = write(machine / "secrets/api_key")
    if os.geteuid() == 0:
        os.chown(file, 54321, -1)
    return file


def test_a_file_of_somebody_else_is_named(machine: Path) -> None:
    """Whoever owns the file changes it whenever he wants."""
    file = owned(machine)
    owner = file.stat().st_uid

    (symptom,) = files_of_others(mounted(machine, user=owner + 1))

    assert (symptom.severity, symptom.kind) == ("warning", "foreign-file")
    assert symptom.where == str(file)
    assert symptom.mend.startswith("sudo chown ")


def test_root_and_the_owner_have_nothing_to_fear(machine: Path) -> None:
    """Root asks for somebody else, and the owner is who asks."""
    owner = owned(machine).stat().st_uid

    assert files_of_others(mounted(machine, user=0)) == []
    assert files_of_others(mounted(machine, user=owner)) == []


def test_in_a_container_owners_are_the_hosts(machine: Path) -> None:
    """A bind mount carries the numbers of another machine's users."""
    write(machine / ".dockerenv")
    write(machine / "secrets/api_key")

    assert files_of_others(mounted(machine, user=54322)) == []
