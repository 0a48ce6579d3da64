"""Configuration checks: environment copies, near names, stray characters, unused settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli import pluralize
from hive_boot.cli.doctor_checks import DoctorContext, Finding, is_file
from hive_boot.redaction import MIN_LENGTH
from hive_boot.redaction.embedded import embedded_secrets, is_identifier
from hive_boot.runtime.injection import fields_read
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.fix_hints import near_misses
from hive_boot.secrets.load_result import location_text
from hive_boot.secrets.platform import PLATFORM_ENTRIES, platform_sign
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hive_boot.secrets.load_result import WarningKind
    from hive_boot.secrets.sources.directories import DirectorySnapshot


def container_env_copies(context: DoctorContext) -> Iterator[Finding]:
    """Yield a finding if declared secrets are variables of PID 1, although the mode reads files.

    ``docker inspect`` shows these variables, and ``docker exec`` passes them to every process
    that it starts. Variables of this process itself are left out, because the load reports
    them (:func:`load_warnings`).
    """
    if not context.sources.mounted or not context.in_container:
        return
    text = context.read_system_file("/proc/1/environ")
    variables = context.sources.variables()
    with_value = {
        name for name, _, value in (entry.partition("=") for entry in text.split("\0")) if value
    }
    declared = context.load_result.field_index.by_variable.keys()
    copies = sorted(name for name in with_value & declared if not variables.get(name))
    if copies:
        yield Finding(
            kind="environment-copy",
            message=f"{', '.join(copies)}: in the environment of PID 1, which `docker inspect` "
            "shows and child processes inherit",
            names=tuple(copies),
            locations=("/proc/1/environ",),
            fix="mount each as a file only, and rotate the values that the manifest contained",
        )


def used_env_fallback(context: DoctorContext) -> Iterator[Finding]:
    """Yield a finding if a mode with mounted sources also reads the environment."""
    result = context.load_result
    if not context.sources.mounted or not context.sources.env_fallback:
        return
    names = sorted(
        result.field_index.by_attribute[attribute].name
        for attribute in result.values
        if result.origin(attribute)[0] == "environment"
    )
    in_use = f"{', '.join(names)}: read from the environment, which child processes inherit"
    fix = "remove env_fallback=True (HIVE_BOOT_ENV_FALLBACK)"
    yield Finding(
        severity="warning" if names else "note",
        kind="env-fallback",
        message=in_use if names else "env_fallback is enabled, and no secret needs it",
        names=tuple(names),
        locations=("the environment",) if names else (),
        fix=f"mount them as files, and {fix}" if names else fix,
    )


def near_names(context: DoctorContext) -> Iterator[Finding]:
    """Yield the undeclared names that resemble an optional secret without a value.

    For a required secret the load reports a problem, which includes the similar names.
    """
    result, sources = context.load_result, context.sources
    index = result.field_index
    declared = {*index.by_variable, *index.by_file_variable, *index.version_variables}
    variables = result.names - declared
    for field in index.all_fields:
        if field.attribute in result.values or field.required_for(sources.profile):
            continue
        found = [
            (f"{reading.path}{'#' if reading.is_bundle else '/'}{name}", field.file_name)
            for reading in result.snapshots
            for name in near_misses(field, _undeclared_names(reading, context))
        ]
        if not sources.mounted:
            near = near_misses(field, variables)
            found += [(f"environment variable {name}", field.name) for name in near]
        for location, expected in found:
            yield Finding(
                kind="near-name",
                message=f"{field.name} is optional and absent, and an undeclared name resembles it",
                names=(field.name,),
                locations=(location,),
                fix=f"rename it to {expected} if it is meant as {field.name}",
            )


def stray_characters(context: DoctorContext) -> Iterator[Finding]:
    """Yield findings about stray white space, quotes, carriage returns, and values that are paths.

    A load removes one final line end; every other character is part of the value.
    """
    result = context.load_result
    for field in result.field_index.all_fields:
        value = result.values.get(field.attribute)
        if not isinstance(value, Secret) or result.origin(field.attribute)[0] == "dev_default":
            continue
        for kind, problem, fix in _stray_characters(value.reveal()):
            yield Finding(
                kind=kind,
                message=f"{field.name} {problem}",
                names=(field.name,),
                locations=(location_text(result.origin(field.attribute)),),
                fix=fix,
            )


def ordinary_words(context: DoctorContext) -> Iterator[Finding]:
    """Yield the values that are an ordinary word, or contain one as a password.

    Redaction replaces a value wherever it occurs, also in a sentence in which it is not secret.
    """
    result = context.load_result
    public = result.public_values
    for field in result.field_index.all_fields:
        value = result.values.get(field.attribute)
        if not isinstance(value, Secret) or value.reveal() in public:
            continue
        redacted = [value.reveal().strip()]
        if field.redact_parts:
            redacted += embedded_secrets(value.reveal())
        if any(len(each) >= MIN_LENGTH and is_identifier(each) for each in redacted):
            yield Finding(
                kind="ordinary-word",
                message=f"{field.name} is an ordinary word, or contains one as a password: logs "
                "show *** wherever the word occurs",
                names=(field.name,),
                locations=(location_text(result.origin(field.attribute)),),
                fix="rotate to a generated value. If the word is not secret, do not declare the "
                "value; or, if the word is only a part of it, set secret(redact_parts=False)",
            )


def _undeclared_names(reading: DirectorySnapshot, context: DoctorContext) -> set[str]:
    """Return the names in a directory that neither the declaration nor the platform defines."""
    result = context.load_result
    declared = {name.partition("/")[0] for name in result.field_index.by_file}
    subdirectories = {Path(each.path).name for each in result.snapshots if each is not reading}
    names = set(reading.names) - declared - PLATFORM_ENTRIES - subdirectories
    return {name for name in names if not name.startswith("..")}


def _stray_characters(plain: str) -> Iterator[tuple[str, str, str]]:
    """Yield the kind, the message and the fix of each finding about the characters of a value."""
    bare = plain.strip()
    is_pem = bare.startswith("-----BEGIN ")
    # Parsers of PEM and JSON ignore the white space around the content.
    if plain != bare and not is_pem and bare[:1] + bare[-1:] not in {"{}", "[]"}:
        problem = "begins or ends with white space; a load removes only one final line end"
        fix = "write only the value (printf '%s' instead of echo; one final newline is harmless)"
        yield "space-around", problem, fix
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`":
        problem = "is in quotes, which are part of the value"
        why = "only a shell or a .env file removes them"
        yield "quoted", f"{problem}: {why}", "write it without quotes"
    if "\r" in bare and not is_pem:
        problem = "contains a carriage return: the file has Windows line ends"
        yield "carriage-return", problem, "remove the carriage returns (`tr -d '\\r'`)"
    if bare.startswith("/run/secrets/"):
        problem = "is a path below /run/secrets, not the content of that file"
        fix = "set the variable that ends in _FILE to the path, or write the value itself"
        yield "path", problem, fix


_FIXES: Mapping[WarningKind, str] = {
    "short-value": f"rotate to {MIN_LENGTH} characters or more; in a URL, this means the password",
    "environment-copy": "remove the variable where the service is started: manifest, unit or shell",
    "overridden": "remove one of the two; a variable may be left from another shell",
    "placeholder": "set the real value, or secret(allow_placeholder=True)",
    "reference": "set the value itself, or secret(allow_placeholder=True)",
    "example-value": "generate a value: that of the example is public",
    "dotenv-setting": "remove the line, and export the variable where the service is started",
    "dotenv-line": "write NAME=value, or # before a comment",
    "dotenv-repeated": "delete the lines that have no effect",
    "dotenv-unread": "remove it, or put a readable text file there",
    "development-default": "none needed for development: other profiles reject these values",
    "empty": "write the value into it, or remove it; a file can be empty while it is being written",
    "not-asked": "none needed if `hive-boot check` succeeds, which asks these sources",
    "version": "at each change of a value write it last, to the location of all values",
    "alias": "rename it where it is set",
    "alias-differs": "remove the older name where it is set",
}
"""The fix of each warning of a load."""

_NOTES = frozenset({"development-default", "not-asked"})


def load_warnings(context: DoctorContext) -> Iterator[Finding]:
    """Yield the warnings of the load, each with its fix."""
    for warning in context.load_result.warnings:
        yield Finding(
            severity="note" if warning.kind in _NOTES else "warning",
            kind=warning.kind,
            message=warning_text(warning),
            names=warning.names,
            locations=(warning.location,) if warning.location else (),
            fix=_FIXES[warning.kind],
        )


def hooks_without_watch(context: DoctorContext) -> Iterator[Finding]:
    """Yield a finding if rotation hooks are declared, but files are not watched."""
    declared = context.declarations
    if declared.hooks and not declared.watch:
        yield Finding(
            severity="note",
            kind="no-watch",
            message=f"{pluralize(len(declared.hooks), 'rotation hook')} declared, but changed "
            "files are read only on request (SIGHUP, boot.reload())",
            names=("watch",),
            fix="set Bootstrap(…, watch=True), so that changed files are read",
        )


def resources_on_old_values(context: DoctorContext) -> Iterator[Finding]:
    """Yield the resources that read a secret, but are not rebuilt when it rotates.

    Secrets with a rotation hook are left out: the hook may update the resource.
    """
    declared = context.declarations
    hooks = declared.hooks
    if not declared.watch or any(not hook.names for hook in hooks):
        return
    hooked = frozenset[str]().union(*(hook.names for hook in hooks))
    for name, spec in declared.resources.items():
        read = fields_read(spec.work, declared.declared) - hooked
        if stale := sorted(read - context.rebuilds.get(name, frozenset())):
            fields = [declared.field_index.fields[each].name for each in stale]
            yield Finding(
                kind="no-rebuild",
                message=f"the resource {name} reads {', '.join(fields)}, and keeps the old value "
                "after a rotation",
                names=(*fields, name),
                fix=f"@boot.resource(rebuild_on={(stale[0] if len(stale) == 1 else stale)!r}), or "
                f"replace the value in @boot.on_rotate({', '.join(map(repr, stale))})",
            )


def platform_mismatch(context: DoctorContext) -> Iterator[Finding]:
    """Yield findings if the mode or the profile does not fit the platform."""
    sources, index = context.sources, context.load_result.field_index
    sign = context.host.first_set(["KUBERNETES_SERVICE_HOST"]) or platform_sign(context.host)
    # On a platform the profile is development only if it was set, so the mode is intended too.
    if sign and sources.profile == "development":
        yield Finding(
            severity="note",
            kind="development-profile",
            message=f"the profile is development ({sources.profile_reason}) on a platform "
            f"({sign}): secrets that only production requires may be missing, and dev_default "
            "values are used",
            names=("HIVE_BOOT_PROFILE",),
            fix="set HIVE_BOOT_PROFILE=production unless this process is for development",
        )
    elif sign and sources.mode == "development":
        yield Finding(
            kind="development-mode",
            message=f"development mode ({sources.mode_reason}) on a platform ({sign}): variables "
            "and .env files are read",
            names=("HIVE_BOOT_MODE",),
            fix="mount the secrets at /run/secrets/<app>, or set HIVE_BOOT_MODE=environment",
        )
    if sources.mounted:
        return
    directory = Path(context.host.path("/run/secrets"))
    unread = sorted({index.by_file[name][1] for name in index.by_file if is_file(directory / name)})
    if unread:
        yield Finding(
            kind="mount-not-read",
            message=f"{', '.join(unread)}: mounted, but not read in {sources.mode} mode "
            f"({sources.mode_reason})",
            names=tuple(unread),
            locations=(str(directory),),
            fix="unset HIVE_BOOT_MODE, so that the mount is detected; or remove the mount",
        )
