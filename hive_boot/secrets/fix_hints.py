"""Fix hints: the command or line that fixes a problem on the current platform."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from hive_boot.secrets.fields import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.platform import SourceContext

NO_VOLUME = (
    "No secrets volume is mounted. In CI or a workspace inside a cluster set "
    "HIVE_BOOT_MODE=development; on a platform that injects secrets as variables set "
    "HIVE_BOOT_MODE=environment."
)


STDIN = (
    "Each kubectl command below reads its value from stdin: paste it and press Ctrl-D. "
    "Replace {name} with the name of your Secret."
)


NO_MOUNT = (
    "This process runs in a container in development mode, which reads no mounted secrets. Mount "
    "them at /run/secrets; in a container for development set HIVE_BOOT_PROFILE=development."
)


_MIN_SIMILARITY = 0.85


def how_to_provide(field: Field, source_context: SourceContext, declaration: str) -> str:
    """Return the fix for a missing secret on the current platform."""
    file = field.file_name
    if source_context.mode == "kubernetes":
        return kubectl(file, object_name(declaration))
    if source_context.mode == "systemd":
        return _credential(field.name, file)
    if source_context.mode == "docker":
        return f"mount a file with the value at {os.path.join(source_context.directories[0], file)}"
    if source_context.mode == "environment":
        return f"set the variable {field.name}"
    return f"set it in {source_context.env_files[-1]}: {field.name}=…"


def _credential(name: str, file: str) -> str:
    """Return the lines of a systemd unit; the name of a credential cannot contain a path."""
    key = _key(file)
    pointer = "" if key == file else f" and Environment={name}_FILE=%d/{key}"
    return f"add to the unit: LoadCredential={key}:/etc/credstore/{file}{pointer}"


def how_to_fix(
    field: Field, origin: tuple[str, str], source_context: SourceContext, declaration: str
) -> str:
    """Return the fix for an invalid value, at the location where it was found.

    Args:
        field: the field.
        origin: source and location of the value.
        source_context: the mode, and the directories of the secrets.
        declaration: the name of the declaring class.
    """
    source, location = origin
    if source == "environment":
        return f"change the variable {field.name}"
    if source == ".env":
        return f"change it in {location}: {field.name}=…"
    if location.startswith(f"{field.name}_FILE"):
        return f"change the file that {field.name}_FILE names, or the variable"
    if source_context.mode == "kubernetes":
        return kubectl(field.file or os.path.basename(location), object_name(declaration))
    return f"make {location} a readable file with a valid value"


def first_file(field: Field, source_context: SourceContext) -> str:
    """Return the file where ``field`` is looked up first; empty without mounted directories."""
    if not source_context.mounted:
        return ""
    return os.path.join(source_context.directories[0], field.file_name)


def object_name(declaration: str) -> str:
    """Return the name of a Kubernetes Secret for ``declaration``, such as ``hive-secrets``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", declaration).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "app-secrets"


def kubectl(file: str, name: str) -> str:
    """Return a command that sets one key of a Secret from stdin, and keeps the other keys.

    A client-side ``apply`` of one key removes the keys that an earlier ``apply`` set. So does a
    server-side one with the same field manager. Therefore each key has its own field manager.
    https://kubernetes.io/docs/reference/using-api/server-side-apply/

    Args:
        file: the file that the key becomes.
        name: the name of the Secret.
    """
    key = _key(file)
    return (
        f"kubectl create secret generic {name} --from-file={key}=/dev/stdin "
        "--dry-run=client -o yaml | kubectl apply --server-side --force-conflicts "
        f"--field-manager=hive-boot-{key} -f -"
    )


def _key(file: str) -> str:
    """Return a valid key of a Kubernetes Secret for a file."""
    return re.sub(r"[^-._a-zA-Z0-9]+", "-", file)


def volume_item_hint(field: Field, source_context: SourceContext) -> tuple[str, ...]:
    """Return the ``items`` of a Kubernetes volume whose file has another name than its key."""
    key = _key(field.file or "")
    if source_context.mode != "kubernetes" or key == (field.file or ""):
        return ()
    return (f"the volume needs items: [{{key: {key}, path: {field.file}}}]",)


def only_in_environment(field: Field) -> str:
    """Return the fix for a secret that is a variable in a mode that reads mounted files."""
    return (
        f"mount {field.name} as a file, or set HIVE_BOOT_MODE=environment if this platform "
        "injects variables, or allow it with env_fallback=True (HIVE_BOOT_ENV_FALLBACK=1)"
    )


def near_misses(field: Field, names: Iterable[str]) -> list[str]:
    """Return the names that resemble those of ``field``, the nearest first.

    A text that is not a valid name of a secret is left out, because it may itself be a secret.
    """
    from difflib import SequenceMatcher  # noqa: PLC0415  (only a failure needs it)

    rated: dict[str, float] = {}
    others = {
        name: _letters_and_digits(name)
        for name in set(names) - {field.name, *field.candidates}
        if NAME.fullmatch(name.lstrip("."))
    }
    matcher = SequenceMatcher()
    for want in {_letters_and_digits(name) for name in (field.name, *field.candidates)}:
        matcher.set_seq2(want)
        for name, letters in others.items():
            # The upper bounds are checked first, because a directory may contain many names.
            if 2 * min(len(want), len(letters)) < _MIN_SIMILARITY * (len(want) + len(letters)):
                continue
            matcher.set_seq1(letters)
            if matcher.quick_ratio() >= _MIN_SIMILARITY and matcher.ratio() >= _MIN_SIMILARITY:
                rated[name] = max(rated.get(name, 0.0), matcher.ratio())
    return sorted(rated, key=lambda name: (-rated[name], name))


def closest_candidate(name: str, candidates: Iterable[str]) -> str:
    """Return the candidate that is most similar to ``name``."""
    from difflib import SequenceMatcher  # noqa: PLC0415  (only a failure needs it)

    return max(candidates, key=lambda want: SequenceMatcher(None, name, want).ratio())


def printable_path(path: str) -> str | None:
    """Return ``path`` if it is printable and its directory exists, otherwise None.

    A ``NAME_FILE`` variable may contain the value itself by mistake, which must not be shown. A
    value has no existing directory. The root, the working directory and its parents do not
    count, because they always exist.
    """
    parent = os.path.dirname(path)
    safe = (
        parent.strip("./") and path.isprintable() and len(path) <= os.pathconf("/", "PC_PATH_MAX")
    )
    return path if safe and os.path.isdir(parent) else None


def _letters_and_digits(name: str) -> str:
    stem = name.lower()
    for ending in (".txt", ".env", ".key", ".secret", "_file"):
        stem = stem.removesuffix(ending)
    return re.sub(r"[^a-z0-9]", "", stem)
