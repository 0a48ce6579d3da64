"""Fix hints: the command or the line that fixes a problem on this platform."""

from __future__ import annotations

import os
import re
from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING

from hive_boot._records import Record
from hive_boot.secrets.fields import Field, ValueProblem, is_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hive_boot.exceptions import FixKind, Problem
    from hive_boot.secrets.platform import SourceContext

_MIN_SIMILARITY = 0.85


class Fix(Record):
    """A fix of a problem, with the names of the attributes in :class:`Problem`.

    Attributes:
        fix: the instruction or the command.
        fix_kind: the kind of the fix.
    """

    fix: str
    fix_kind: FixKind = "instruction"


def how_to_provide(field: Field, source_context: SourceContext, declaration: str) -> Fix:
    """Return how to provide a missing field on this platform."""
    file = field.file_name
    path = first_file(field, source_context)
    bundle, _, member = path.rpartition("#")
    if "#" in os.path.basename(path):
        return Fix(f"add {member} to {bundle}")
    if source_context.mode == "kubernetes":
        return Fix(kubectl(file, object_name(declaration)), "kubectl")
    if source_context.mode == "systemd":
        key = _key(file)
        is_needed = key != file and field.file_variable
        setting = f" and Environment={field.name}_FILE=%d/{key}" * is_needed
        # The name of a credential contains no slash.
        return Fix(f"add LoadCredential={key}:/etc/credstore/{file}{setting} to the unit")
    if source_context.mode == "docker":
        return Fix(f"mount a file that contains the value at {path}")
    if source_context.mode == "environment":
        return Fix(f"set the environment variable {field.name}")
    if not source_context.env_files:
        add = f"set the environment variable {field.name}, or use override(); tests ignore .env"
    elif source_context.maybe_missing_mount and source_context.profile != "development":
        add = (
            f"mount /run/secrets/{file}, set the environment variable {field.name}, "
            f"or add {field.name}=... to {source_context.env_files[-1]}"
        )
    else:
        add = f"add {field.name}=... to {source_context.env_files[-1]}"
    return Fix(add)


def how_to_fix(
    field: Field,
    problem: ValueProblem | Problem,
    origins: Sequence[tuple[str, str]],
    source_context: SourceContext,
    declaration: str,
) -> Fix:
    """Return how to replace an invalid value in the source where it was found.

    Args:
        field: the field.
        problem: the problem. Its own fix, if it has one, is used for a value in a file.
        origins: source and location of the value, then those of the other values of the field.
        source_context: where the process runs.
        declaration: the name of the declaring class.
    """
    source, location = origins[0]
    variable = f"{field.name}_FILE"
    by_variable = location.startswith(variable)
    if source == "environment":
        return Fix(f"change the environment variable {field.name}")
    if source in {".env", "source"}:
        where = location if source == ".env" else f"the source {location}"
        return Fix(f"change {field.name}=... in {where}")
    if by_variable:
        location = location.partition("=")[2] or f"the file named by {variable}"
    action = f"replace the content of {location}"
    bundle, _, member = location.rpartition("#")
    if is_member := os.path.isfile(bundle):
        location, action = bundle, f"change {member} in {bundle}"
    in_kubernetes = source_context.mode == "kubernetes" and not by_variable
    if problem.fix:
        action = problem.fix.format(location=location)
    elif problem.kind == "unreadable":
        # The value may be right, so the fix concerns the permission only.
        action = f"make {location} readable by the user of this process (uid {os.geteuid()})"
        if in_kubernetes:
            action += ": set fsGroup in the securityContext of the pod, or defaultMode: 0444"
    elif in_kubernetes and not is_member:
        file = field.file or os.path.basename(location)
        return Fix(kubectl(file, object_name(declaration)), "kubectl")
    if by_variable and problem.kind != "missing":
        action += f", or change {variable}"
    return Fix(action + foreign_variable_hint(field, origins))


def foreign_variable_hint(field: Field, origins: Sequence[tuple[str, str]]) -> str:
    """Return the end of a fix where ``NAME_FILE`` is in conflict with another location."""
    variable = f"{field.name}_FILE"
    if len(origins) == 1 or not any(place.startswith(variable) for _, place in origins):
        return ""
    return f"; if other software sets {variable}, declare secret(file_variable=False)"


def first_file(field: Field, source_context: SourceContext) -> str:
    """Return the usual file of a field, or the member of a bundle; empty without directories."""
    if not source_context.mounted:
        return ""
    directory = source_context.directories[0]
    if os.path.isfile(directory):
        return f"{directory}#{field.name}"
    return os.path.join(directory, field.file_name)


def object_name(declaration: str) -> str:
    """Return the name of the Kubernetes Secret in the fixes for a declaration."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", declaration).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "app-secrets"


def kubectl(file: str, name: str, literals: Mapping[str, str] | None = None) -> str:
    """Return a command that reads one key from stdin and leaves the other keys unchanged.

    A plain ``apply`` of one key removes the keys that an earlier one set. Server-side, a
    field manager owns the keys that it set, so each key has its own manager.
    https://kubernetes.io/docs/reference/using-api/server-side-apply/

    Args:
        file: the file of the key in the volume.
        name: the name of the Secret.
        literals: texts that are not secret and that the command sets too, by key. Default: none.
    """
    literals = literals or {}
    key = _key(file)
    more = "".join(f"--from-literal={each}={text} " for each, text in literals.items())
    manager = "-".join([key, *literals])
    return (
        f"kubectl create secret generic {name} --from-file={key}=/dev/stdin {more}"
        "--dry-run=client -o yaml | kubectl apply --server-side --force-conflicts "
        f"--field-manager=hive-boot-{manager} -f -"
    )


def _key(file: str) -> str:
    """Return a valid key of a Kubernetes Secret for a file."""
    return re.sub(r"[^-._a-zA-Z0-9]+", "-", file)


def volume_item_hint(field: Field, source_context: SourceContext) -> tuple[str, ...]:
    """Return a sentence about ``items:`` of the volume, for a file whose name cannot be a key."""
    file = field.bundle or field.file_name
    if source_context.mode != "kubernetes" or _key(file) == file:
        return ()
    return (f"The volume needs items: [{{key: {_key(file)}, path: {file}}}].",)


def near_misses(field: Field, names: Iterable[str]) -> list[str]:
    """Return the names that are similar to the name of a field, the most similar first.

    Other names are never shown, and neither is text that is not a valid name: it may
    itself be a secret.
    """
    by_letters: dict[str, list[str]] = {}
    wanted = {"".join(_words(name)): None for name in (field.name, *field.candidates)}
    prefixed = []
    for name in sorted(set(names) - {field.name, f"{field.name}_FILE", *field.candidates}):
        if is_name(name.lstrip(".")):
            words, ending = _words(name), _words(field.name)
            by_letters.setdefault("".join(words), []).append(name)
            if words[-len(ending) :] == ending:
                prefixed.append(name)
    similar = [
        name
        for want in wanted
        for letters in get_close_matches(want, by_letters, len(by_letters) + 1, _MIN_SIMILARITY)
        for name in by_letters[letters]
    ]
    return list(dict.fromkeys([*similar, *prefixed]))


def closest_candidate(name: str, candidates: Iterable[str]) -> str:
    """Return the candidate that is most similar to ``name``."""
    return max(candidates, key=lambda want: SequenceMatcher(None, name, want).ratio())


def _words(name: str) -> list[str]:
    """Return the words of a name, without the affixes of file names and of ``NAME_FILE``."""
    stem = name.lower().removeprefix("file__")
    for ending in (".txt", ".env", ".key", ".secret", "_file"):
        stem = stem.removesuffix(ending)
    return re.findall(r"[a-z0-9]+", stem)
