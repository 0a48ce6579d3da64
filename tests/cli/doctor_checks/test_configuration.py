"""Modes, profiles and settings that do not fit the platform, or have no effect."""

import dataclasses
from dataclasses import replace
from pathlib import Path

from hive_boot import Bootstrap, Change
from hive_boot.cli.doctor_checks.configuration import (
    hooks_without_watch,
    load_warnings,
    platform_mismatch,
    resources_on_old_values,
)
from hive_boot.runtime.log_messages import _WARNINGS
from hive_boot.secrets.load_result import LoadWarning
from tests.cli.doctor_checks.contexts import Needs, context_of, kinds, mounted, write


def test_every_warning_of_the_load_has_a_severity_and_a_fix(machine: Path) -> None:
    """Also the kinds that a load does not report here."""
    context = mounted(machine)
    every = [LoadWarning(kind, ("API_KEY", "OLD_KEY"), "/a/file") for kind in _WARNINGS]
    warned = context.load_result.with_warnings(every)

    load_result = list(load_warnings(dataclasses.replace(context, load_result=warned)))

    assert [finding.kind for finding in load_result] == list(_WARNINGS)
    for finding in load_result:
        is_note = finding.kind in {"development-default", "not-asked"}
        severity = "note" if is_note else "warning"
        assert finding.severity == severity
        assert (finding.names, finding.locations) == (("API_KEY", "OLD_KEY"), ("/a/file",))
        assert finding.fix


def test_warnings_of_the_load_have_names_and_locations(machine: Path) -> None:
    """An empty file, and a variable beside a mounted file."""
    write(machine / "secrets/api_key")
    empty = write(machine / "secrets/sentry_dsn", "")

    load_result = list(load_warnings(mounted(machine, environ={"API_KEY": "fake-value"})))

    assert [(finding.kind, finding.names, finding.locations) for finding in load_result] == [
        ("environment-copy", ("API_KEY",), ("environment variable API_KEY",)),
        ("empty", ("SENTRY_DSN",), (str(empty),)),
    ]


def test_a_setting_in_a_dotenv_file_is_reported(machine: Path) -> None:
    """It has no effect there."""
    file = write(machine / "cwd/.env", "API_KEY=fake-value\nHIVE_BOOT_MODE=docker\n")

    (finding,) = load_warnings(context_of(machine))

    assert kinds([finding]) == [("warning", "dotenv-setting")]
    assert (finding.names, finding.locations) == (("HIVE_BOOT_MODE",), (str(file),))


def test_development_mode_in_a_container_is_a_warning(machine: Path) -> None:
    """The usual reason is a missing mount."""
    write(machine / ".dockerenv")

    (finding,) = platform_mismatch(context_of(machine, {"API_KEY": "fake"}))

    assert kinds([finding]) == [("warning", "development-mode")]
    assert "/run/secrets" in finding.message


def test_the_development_profile_in_a_container_is_a_note(machine: Path) -> None:
    """A container for development is possible too."""
    write(machine / ".dockerenv")
    environ = {"HIVE_BOOT_PROFILE": "development"}

    for context in (mounted(machine, environ=environ), context_of(machine, environ)):
        (finding,) = platform_mismatch(context)
        assert kinds([finding]) == [("note", "development-profile")]
        assert finding.names == ("HIVE_BOOT_PROFILE",)


def test_a_development_container_is_no_mismatch(machine: Path) -> None:
    """Nor is a machine without a terminal; a hosting platform is one, in either profile."""
    write(machine / ".dockerenv")
    assert not list(platform_mismatch(context_of(machine, {"CODESPACES": "true"})))
    (machine / ".dockerenv").unlink()
    assert not list(platform_mismatch(context_of(machine, {"APP_ENV": "production"})))
    for profile, severity in (("production", "warning"), ("development", "note")):
        environ = {"DYNO": "web.1", "HIVE_BOOT_PROFILE": profile}
        (finding,) = platform_mismatch(context_of(machine, environ))
        assert finding.severity == severity
        assert "DYNO" in finding.message


def test_a_mount_that_the_mode_does_not_read_is_a_warning(machine: Path) -> None:
    """``HIVE_BOOT_MODE`` is set, and the mount would be found without it."""
    write(machine / "run/secrets/api_key")

    (finding,) = platform_mismatch(context_of(machine, {"HIVE_BOOT_MODE": "environment"}))

    assert kinds([finding]) == [("warning", "mount-not-read")]
    assert (finding.names, finding.locations) == (("API_KEY",), (f"{machine}/run/secrets",))


def test_usual_platforms_have_no_mismatch(machine: Path) -> None:
    """A development machine with a ``.env``, and a container with a mount."""
    write(machine / "secrets/api_key")
    write(machine / "cwd/.env", "API_KEY=fake-value")

    assert not list(platform_mismatch(context_of(machine)))
    write(machine / ".dockerenv")
    assert not list(platform_mismatch(mounted(machine)))


def test_hooks_without_watch_are_a_note(machine: Path) -> None:
    """They run only after a reload on request."""
    boot = Bootstrap(Needs)

    @boot.on_rotate()
    async def reconnect(_: Change) -> None: ...

    declarations = boot._declaration
    context = context_of(machine)

    (finding,) = hooks_without_watch(replace(context, declarations=declarations))
    assert kinds([finding]) == [("note", "no-watch")]
    assert not list(hooks_without_watch(context))


def test_a_resource_on_an_old_value_is_named(machine: Path) -> None:
    """A watched secret that it reads, and that neither `rebuild_on=` nor a hook replaces."""
    boot = Bootstrap(Needs, watch=True)

    @boot.resource
    async def keeps(secrets: Needs) -> str:
        return secrets.api_key.reveal()

    @boot.resource
    async def hooked(secrets: Needs) -> object:
        return secrets.sentry_dsn

    @boot.resource(rebuild_on="api_key")
    async def follows(secrets: Needs) -> str:
        return secrets.api_key.reveal()

    @boot.resource
    async def of_globals() -> object:
        return boot.secrets.jwt_secret, boot.secrets.keystore

    @boot.resource
    async def bystander(boot: Bootstrap[Needs, None]) -> str:
        return boot.status().mode

    @boot.on_rotate("sentry_dsn")
    async def renew(change: Change) -> None: ...

    context = replace(
        context_of(machine),
        declarations=boot._declaration,
        rebuilds={"follows": frozenset({"api_key"})},
    )
    findings = list(resources_on_old_values(context))
    assert kinds(findings) == [("warning", "no-rebuild")] * 2
    assert [finding.names for finding in findings] == [
        ("API_KEY", "keeps"),
        ("JWT_SECRET", "KEYSTORE", "of_globals"),
    ]

    @boot.on_rotate()
    async def renew_all(change: Change) -> None: ...

    assert not list(resources_on_old_values(context))
