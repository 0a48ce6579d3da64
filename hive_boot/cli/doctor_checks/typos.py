"""Typos: names that are nearly those of a declared secret, and stray characters around values.

Only a name that resembles a declared one is shown, because any other may be a secret in the
wrong place. No function here raises while it holds a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks.context import Finding
from hive_boot.secrets.hints import near_misses
from hive_boot.secrets.mode import PLATFORM_ENTRIES
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.cli.doctor_checks.context import DoctorContext
    from hive_boot.secrets.sources.mounted import DirectorySnapshot


def near_names(context: DoctorContext) -> list[Finding]:
    """Return the names that may be meant for an optional secret that is absent.

    A required secret that is absent is a problem of the load, which names them.
    """
    result, sources = context.load_result, context.sources
    index = result.field_index
    variables = result.names - index.by_variable.keys() - index.by_file_variable.keys()
    found: list[tuple[str, str, str]] = []
    for field in index.all_fields:
        if field.attribute in result.values or field.required_for(sources.profile):
            continue
        found += [
            (field.name, str(Path(reading.path, name)), field.file or field.name.lower())
            for reading in result.snapshots
            for name in near_misses(field, _undeclared_names(reading, context))
        ]
        if not sources.mounted:
            near = near_misses(field, variables)
            found += [(field.name, f"the variable {name}", field.name) for name in near]
    return [
        Finding(
            severity="warning",
            kind="near-name",
            message=f"{name} is optional and absent, and an undeclared name resembles it",
            names=(name,),
            locations=(location,),
            fix=f"rename it to {expected}, if {name} is meant",
        )
        for name, location, expected in found
    ]


def stray_characters(context: DoctorContext) -> list[Finding]:
    """Return the text values with characters that the file format left in them.

    One final line end is removed by a load, and everything else is part of the value.
    """
    result = context.load_result
    load_result = []
    for field in result.field_index.all_fields:
        value = result.values.get(field.attribute)
        if not isinstance(value, Secret) or result.origin(field.attribute)[0] == "dev_default":
            continue
        load_result += [
            Finding(
                severity="warning",
                kind=kind,
                message=f"{field.name} {problem}",
                names=(field.name,),
                locations=(context.location_of(field.attribute),),
                fix=fix,
            )
            for matches, kind, problem, fix in _STRAY_CHARACTERS
            if matches(value.reveal())
        ]
    return load_result


def _undeclared_names(reading: DirectorySnapshot, context: DoctorContext) -> set[str]:
    """Return the names in a directory that are neither declared nor from the platform."""
    result = context.load_result
    declared = {name.partition("/")[0] for name in result.field_index.by_file}
    subdirectories = {Path(each.path).name for each in result.snapshots if each is not reading}
    names = set(reading.names) - declared - PLATFORM_ENTRIES - subdirectories
    return {name for name in names if not name.startswith("..")}


def _has_space_around(plain: str) -> bool:
    bare = plain.strip()
    # Readers of a PEM block or of JSON ignore white space around it.
    return plain != bare and not _is_pem(bare) and bare[:1] + bare[-1:] not in {"{}", "[]"}


def _is_quoted(plain: str) -> bool:
    bare = plain.strip()
    return len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`"


def _has_carriage_return(plain: str) -> bool:
    return "\r" in plain.strip() and not _is_pem(plain.strip())


def _is_pem(bare: str) -> bool:
    return bare.startswith("-----BEGIN ")


def _is_mount_path(plain: str) -> bool:
    return plain.strip().startswith("/run/secrets/")


_STRAY_CHARACTERS: tuple[tuple[Callable[[str], bool], str, str, str], ...] = (
    (
        _has_space_around,
        "space-around",
        "begins or ends with white space; a load removes only one final line end",
        "write it without (printf '%s' instead of echo; one final newline is harmless)",
    ),
    (
        _is_quoted,
        "quoted",
        "is in quotes, which are part of the value: only a shell or a .env file removes them",
        "write it without quotes",
    ),
    (
        _has_carriage_return,
        "carriage-return",
        "contains a carriage return: the file has the line ends of Windows",
        "write it without (`tr -d '\\r'`)",
    ),
    (
        _is_mount_path,
        "path",
        "is a path below /run/secrets, not the content of that file",
        "set the variable that ends in _FILE to the path, or write the value itself",
    ),
)
