"""What lies beside the secrets."""

from pathlib import Path

import pytest

from hive_boot.cli.examinations.strangers import (
    leftovers,
    links_that_lead_out,
    near_names,
    unknown_files,
)
from hive_boot.testing import MountedVolume
from tests.cli.examinations.patients import mounted, patient_of, write

LEFT = [
    "api_key~",
    ".api_key.swp",
    "api_key.bak",
    "#api_key#",
    "API_KEY.old",
    "api-key.txt.orig",
    "api_key.20260101",
    "api_key.20260101T101500Z.bak",
    "api_key.bak~",
]


@pytest.mark.parametrize("name", LEFT)
def test_what_an_editor_left_is_named(machine: Path, name: str) -> None:
    """It may hold the value that was just rotated out, or the one that is valid."""
    write(machine / "secrets/api_key")
    write(machine / "secrets" / name)

    (symptom,) = leftovers(mounted(machine))

    assert (symptom.severity, symptom.kind) == ("warning", "leftover")
    assert symptom.where == str(machine / "secrets" / name)
    assert symptom.mend.startswith("rm ")


def test_what_was_left_beside_a_dotenv_file_is_named(machine: Path) -> None:
    """``.gitignore`` names ``.env``, and not ``.env.bak``."""
    write(machine / "cwd/.env", "API_KEY=fake-value")
    for name in (".env.bak", ".env.local~", ".env.example", ".env.swp"):
        write(machine / "cwd" / name)

    symptoms = leftovers(patient_of(machine))

    names = [Path(symptom.where).name for symptom in symptoms]
    assert names == [".env.bak", ".env.local~", ".env.swp"]


def test_what_nobody_made_of_a_secret_is_not_shown(machine: Path) -> None:
    """A name may itself be a value, pasted at the wrong place."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/fake-0123456789.bak")

    assert leftovers(mounted(machine)) == []
    (symptom,) = unknown_files(mounted(machine))
    assert "0123456789" not in str(symptom)


def test_a_directory_that_is_gone_has_nothing_beside_it(machine: Path) -> None:
    """``dotenv=`` may name a place that is not there."""
    assert leftovers(patient_of(machine, dotenv=machine / "gone/.env")) == []


def test_an_optional_secret_that_is_nearly_there_is_named(machine: Path) -> None:
    """A start goes on without it, so a slip in its name shows only when it is needed."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/sentry_dns")

    (symptom,) = near_names(mounted(machine))

    assert (symptom.severity, symptom.kind) == ("warning", "near-miss")
    assert symptom.what.startswith("SENTRY_DSN")
    assert symptom.where == str(machine / "secrets/sentry_dns")
    assert "sentry_dsn" in symptom.mend


def test_a_variable_that_is_nearly_right_is_named(machine: Path) -> None:
    """The same in the environment, or in ``.env``."""
    write(machine / "cwd/.env", "API_KEY=fake-value\nSENTRY_DNS=fake-value\n")

    (symptom,) = near_names(patient_of(machine))

    assert symptom.where == "the variable SENTRY_DNS"
    assert symptom.mend == "rename it to SENTRY_DSN, if that was meant"


def test_a_required_secret_is_told_by_the_report(machine: Path) -> None:
    """It names what stands there instead; nothing is told twice."""
    write(machine / "secrets/api_keys")

    assert near_names(mounted(machine)) == []


def test_what_nobody_declares_is_counted(machine: Path) -> None:
    """A service should not be given what it does not need."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/api_keyy")
    write(machine / "secrets/tls.crt")

    (symptom,) = unknown_files(mounted(machine))

    assert (symptom.severity, symptom.kind) == ("remark", "undeclared")
    assert "2 more entries" in symptom.what
    assert "(api_keyy among them)" in symptom.what
    assert "tls.crt" not in str(symptom)


def test_what_belongs_to_the_platform_is_not_counted(machine: Path) -> None:
    """The service account's token, and the volume's own links and directories."""
    volume = MountedVolume(machine / "run/secrets/hive")
    volume.publish({"api_key": "fake-value"})
    (machine / "run/secrets/kubernetes.io").mkdir()

    assert unknown_files(patient_of(machine, mode="kubernetes")) == []


def test_a_link_that_leads_out_is_a_remark(machine: Path) -> None:
    """NixOS and sops lay secrets out so; somebody else's hand would look the same."""
    write(machine / "elsewhere/api_key")
    write(machine / "real/sentry_dsn")
    (machine / "real/api_key").symlink_to(machine / "elsewhere/api_key")
    (machine / "secrets").symlink_to("real")

    directory, file = links_that_lead_out(mounted(machine))

    assert {directory.severity, file.severity} == {"remark"}
    assert directory.where == f"{machine / 'secrets'} -> {machine / 'real'}"
    assert file.where == f"{machine / 'secrets/api_key'} -> {machine / 'elsewhere/api_key'}"


def test_the_links_of_a_volume_lead_nowhere_else(machine: Path) -> None:
    """Every file of a kubelet volume is a link, into the volume."""
    MountedVolume(machine / "secrets").publish({"api_key": "fake-value"})

    assert links_that_lead_out(mounted(machine)) == []
