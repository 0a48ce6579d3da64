"""Secrets in environment variables although a mounted mode reads files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks.context import Finding, join_sorted

if TYPE_CHECKING:
    from hive_boot.cli.doctor_checks.context import DoctorContext


def container_env_copies(context: DoctorContext) -> list[Finding]:
    """Return the mounted secrets that the first process of the container has as variables.

    These variables are what ``docker inspect`` shows and what ``docker exec`` passes on. A
    process that an entry point started may not have them. What this process has itself is a
    warning of the load.
    """
    if not context.sources.mounted or not context.in_container:
        return []
    text = context.read_system_file("/proc/1/environ")
    variables = context.sources.variables()
    with_value = {
        name for name, _, value in (entry.partition("=") for entry in text.split("\0")) if value
    }
    declared = context.load_result.field_index.by_variable.keys()
    copies = sorted(name for name in with_value & declared if not variables.get(name))
    if not copies:
        return []
    return [
        Finding(
            severity="warning",
            kind="environment-copy",
            message=f"{join_sorted(copies)}: mounted, and also in the environment of PID 1, where "
            "`docker inspect` and every child process can see it",
            names=tuple(copies),
            locations=("/proc/1/environ",),
            fix="remove the variables from the manifest, and rotate their values",
        )
    ]


def used_env_fallback(context: DoctorContext) -> list[Finding]:
    """Return the secrets that a mounted mode reads from the environment."""
    result = context.load_result
    if not context.sources.mounted or not context.sources.env_fallback:
        return []
    names = sorted(
        result.field_index.by_attribute[attribute].name
        for attribute in result.values
        if result.origin(attribute)[0] == "environment"
    )
    in_use = f"{join_sorted(names)}: from the environment, where every child process can see it"
    return [
        Finding(
            severity="warning" if names else "note",
            kind="env-fallback",
            message=in_use if names else "env_fallback is enabled, and no secret needs it",
            names=tuple(names),
            locations=("the environment",) if names else (),
            fix="mount them as files, and remove env_fallback=True (HIVE_BOOT_ENV_FALLBACK)",
        )
    ]
