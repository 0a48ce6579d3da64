"""Configuration: a mode, profile or setting that does not fit the platform, or has no effect."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks.context import Finding, is_file, join_sorted, pluralize
from hive_boot.redaction.matching import MIN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.cli.doctor_checks.context import DoctorContext, Severity
    from hive_boot.secrets.findings import WarningKind

_LOAD_WARNINGS: Mapping[WarningKind, tuple[Severity, str]] = {
    "short-value": (
        "warning",
        f"rotate to values of {MIN_LENGTH} characters or more; inside a URL, the password counts",
    ),
    "environment-copy": (
        "warning",
        "remove the variable from the manifest, the unit or the shell that starts the service",
    ),
    "dotenv-setting": (
        "warning",
        "remove the line from the file, and export the variable where the service is started",
    ),
    "development-default": (
        "note",
        "none needed on a development machine: other profiles reject these values",
    ),
    "empty": (
        "warning",
        "write the value into it, or remove it; a file that is half written is empty too",
    ),
}
"""Severity and fix of each warning of a load."""


def load_warnings(context: DoctorContext) -> list[Finding]:
    """Return the warnings of the load, each with its fix."""
    load_result = []
    for warning in context.load_result.load_warnings:
        severity, fix = _LOAD_WARNINGS[warning.kind]
        load_result.append(
            Finding(
                severity=severity,
                kind=warning.kind,
                message=warning.message,
                names=warning.names,
                locations=(warning.location,) if warning.location else (),
                fix=fix,
            )
        )
    return load_result


def platform_mismatch(context: DoctorContext) -> list[Finding]:
    """Return where mode or profile do not fit the platform."""
    return [*_development_in_container(context), *_unread_mount(context)]


def ineffective_declaration(context: DoctorContext) -> list[Finding]:
    """Return the declarations that have no effect, or make a start fail."""
    declared = context.declarations
    load_result = []
    if declared.probe_port is not None and find_spec("h11") is None:
        load_result.append(
            Finding(
                severity="error",
                kind="missing-package",
                message="probe_port needs h11, which is not installed: a start will fail",
                names=("probe_port",),
                fix="`pip install 'hive_boot[probes]'`",
            )
        )
    if declared.hooks and not declared.watch:
        load_result.append(
            Finding(
                severity="note",
                kind="no-watch",
                message=f"{pluralize(len(declared.hooks), 'rotation hook')}, and changed files "
                "are read only on request (SIGHUP, boot.reload())",
                names=("watch",),
                fix="Bootstrap(…, watch=True), if changes are to be followed",
            )
        )
    fields = context.load_result.field_index.fields.values()
    names = sorted(
        field.name for field in fields if field.accept_old_for and field.previous is None
    )
    if names:
        load_result.append(
            Finding(
                severity="note",
                kind="no-previous",
                message=f"{join_sorted(names)}: the old value is accepted for some time after a "
                "rotation, but a process that starts in that time does not know it",
                names=tuple(names),
                fix='secret(previous="…_PREVIOUS"), and store the old value there in a rotation',
            )
        )
    return load_result


def _development_in_container(context: DoctorContext) -> list[Finding]:
    sources = context.sources
    # A profile that is set to development in a container is intended.
    if sources.maybe_missing_mount and sources.profile != "development":
        return [
            Finding(
                severity="warning",
                kind="development-mode",
                message="development mode in a container, where variables and .env files are read "
                f"({sources.mode_reason})",
                names=("HIVE_BOOT_MODE",),
                fix="mount the secrets at /run/secrets/<app>, or set HIVE_BOOT_MODE=environment",
            )
        ]
    if sources.profile == "development" and context.in_container:
        return [
            Finding(
                severity="note",
                kind="development-profile",
                message="the profile is development in a container: what only production requires "
                f"may be missing, and defaults are used ({sources.profile_reason})",
                names=("HIVE_BOOT_PROFILE",),
                fix="unset HIVE_BOOT_PROFILE unless this container is for development",
            )
        ]
    return []


def _unread_mount(context: DoctorContext) -> list[Finding]:
    """Return the secrets that are mounted at a directory that this mode does not read."""
    sources, index = context.sources, context.load_result.field_index
    if sources.mounted:
        return []
    directory = Path(context.host.path("/run/secrets"))
    names = {index.by_file[name][1] for name in index.by_file if is_file(directory / name)}
    if not names:
        return []
    return [
        Finding(
            severity="warning",
            kind="mount-not-read",
            message=f"{join_sorted(names)}: mounted, and not read in the mode {sources.mode} "
            f"({sources.mode_reason})",
            names=tuple(sorted(names)),
            locations=(str(directory),),
            fix="unset HIVE_BOOT_MODE, so that the mount is found; or remove the mount",
        )
    ]
