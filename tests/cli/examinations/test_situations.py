"""Modes, profiles and declarations that do not go with what is there."""

import sys
from pathlib import Path

import pytest

from hive_boot import Bootstrap, Change, Secret, SecretSet, secret
from hive_boot.cli.examinations.situations import odd_declaration, odd_situation
from tests.cli.examinations.patients import Needs, kinds, mounted, patient_of, write


def test_development_in_a_container_is_named(machine: Path) -> None:
    """Most likely a mount was forgotten."""
    write(machine / ".dockerenv")

    (symptom,) = odd_situation(patient_of(machine, {"API_KEY": "fake"}))

    assert (symptom.severity, symptom.kind) == ("warning", "development-mode")
    assert "no /run/secrets" in symptom.what


def test_the_profile_of_a_laptop_in_a_container_is_a_remark(machine: Path) -> None:
    """A variable of a Compose file for development has come along."""
    write(machine / ".dockerenv")
    environ = {"HIVE_BOOT_PROFILE": "development"}

    for patient in (mounted(machine, environ=environ), patient_of(machine, environ)):
        assert kinds(odd_situation(patient)) == [("remark", "development-profile")]


def test_a_mount_that_is_not_read_is_named(machine: Path) -> None:
    """``HIVE_BOOT_MODE`` was set once, and forgotten."""
    write(machine / "run/secrets/api_key")

    (symptom,) = odd_situation(patient_of(machine, {"HIVE_BOOT_MODE": "environment"}))

    assert (symptom.severity, symptom.kind) == ("warning", "mount-not-read")
    assert symptom.what.startswith("API_KEY: ")


def test_a_fallback_that_is_used_is_a_warning(machine: Path) -> None:
    """It was meant for one week."""
    write(machine / "secrets/sentry_dsn")
    environ = {"API_KEY": "fake", "HIVE_BOOT_ENV_FALLBACK": "1"}

    (symptom,) = odd_situation(mounted(machine, environ=environ))

    assert (symptom.severity, symptom.kind) == ("warning", "env-fallback")
    assert symptom.what.startswith("API_KEY: ")


def test_a_fallback_that_nothing_uses_is_a_remark(machine: Path) -> None:
    """It can go."""
    write(machine / "secrets/api_key")

    symptoms = odd_situation(mounted(machine, env_fallback=True))

    assert kinds(symptoms) == [("remark", "env-fallback")]


def test_an_ordinary_place_is_all_right(machine: Path) -> None:
    """A laptop with a ``.env``, and a container with a mount."""
    write(machine / "secrets/api_key")
    write(machine / "cwd/.env", "API_KEY=fake-value")

    assert odd_situation(patient_of(machine)) == []
    write(machine / ".dockerenv")
    assert odd_situation(mounted(machine)) == []


def test_hooks_without_a_watch_are_a_remark(machine: Path) -> None:
    """They are called when somebody asks for it, and only then."""
    boot = Bootstrap(Needs)

    @boot.on_rotate()
    async def reconnect(_: Change) -> None: ...

    plan = boot._plan  # noqa: SLF001  (as the command does)
    patient = patient_of(machine)

    assert kinds(odd_declaration(patient._replace(plan=plan))) == [("remark", "no-watch")]
    assert odd_declaration(patient) == []


def test_a_grace_that_a_restart_forgets_is_a_remark(machine: Path) -> None:
    """The pod that is started in the middle of it refuses what the others accept."""

    class Forgetful(SecretSet):
        """One secret whose old value is accepted for a while."""

        jwt_secret: Secret | None = secret(grace=60)

    (symptom,) = odd_declaration(patient_of(machine, declared=Forgetful))

    assert (symptom.severity, symptom.kind) == ("remark", "no-previous")
    assert symptom.what.startswith("JWT_SECRET: ")


def test_a_probe_port_without_its_package_is_an_error(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image was built without the extra: a start would fail."""
    patient = patient_of(machine, probe_port=8081)
    assert odd_declaration(patient) == []

    monkeypatch.setitem(sys.modules, "h11", None)

    assert kinds(odd_declaration(patient)) == [("error", "missing-package")]
