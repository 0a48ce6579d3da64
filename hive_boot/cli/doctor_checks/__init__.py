"""Checks of the doctor command: their argument, the context, and their result, the finding."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hive_boot.secrets.platform import HostEnvironment, SourceContext, container_sign
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.secrets.load_result import LoadResult

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of a check. It never contains a value.

    Attributes:
        kind: the type of the finding, an identifier for programs.
        message: the description, as a sentence without a full stop.
        names: the secrets, settings or variables concerned.
        locations: the files, directories or variables concerned.
        fix: the action that resolves the finding. Commands are in backquotes.
        severity: ``error`` for a certain failure, ``warning`` for a possible failure, ``note``
            for information.
    """

    kind: str
    message: str
    names: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    fix: str = ""
    severity: Severity = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorContext:
    """An application and the machine that it runs on.

    Attributes:
        declarations: the declarations of the application.
        load_result: the result of the dry run.
        host: the machine.
        manifests: the manifests of the deployment.
        user_id: the effective user of this process.
        rebuilds: the attributes whose changes rebuild a resource, by its name.
    """

    declarations: AppDeclaration
    load_result: LoadResult
    host: HostEnvironment
    manifests: Sequence[Path]
    user_id: int
    rebuilds: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def sources(self) -> SourceContext:
        """Mode, profile and the locations of the sources."""
        return self.load_result.source_context

    @property
    def in_container(self) -> bool:
        """True in a container, in a Kubernetes pod, or as PID 1."""
        return bool(self.host.variable("KUBERNETES_SERVICE_HOST") or container_sign(self.host))

    def read_system_file(self, absolute: str) -> str:
        """Return the text of a system file; empty if it cannot be read."""
        try:
            return read_regular_file(self.host.path(absolute)).decode("utf-8", "surrogateescape")
        except OSError:
            return ""

    @property
    def secret_files(self) -> dict[Path, str]:
        """The name of the secret in each file of a directory and each target of ``NAME_FILE``."""
        index = self.load_result.field_index
        found: dict[Path, str] = {}
        for reading in self.load_result.snapshots:
            # In a kubelet volume the links next to ..data may be missing.
            base = Path(reading.path, "..data" if reading.volume else "")
            for attribute, hits in reading.batch.hits.items():
                field = index.by_attribute.get(attribute.partition(".alias.")[0])
                if field is None:  # the version of the set, which is not secret
                    continue
                for hit in hits:
                    # The location of a member is FILE#MEMBER.
                    file = hit.place.removeprefix(reading.batch.directory).partition("#")[0]
                    where = Path(reading.path) if reading.is_bundle else base / file
                    found.setdefault(where, field.name)
        for attribute in self.load_result.values:
            variable, separator, path = self.load_result.origin(attribute)[1].partition("=")
            if separator and variable in index.by_file_variable:
                where = Path(self.sources.cwd, path)
                found.setdefault(where, index.by_attribute[attribute].name)
        return {path: name for path, name in found.items() if is_file(path)}

    @property
    def dotenv_files(self) -> list[Path]:
        """The ``.env`` files that exist."""
        return [Path(path) for path in self.sources.env_files if is_file(Path(path))]

    @property
    def names_by_path(self) -> dict[Path, tuple[str, ...]]:
        """The secret files and ``.env`` files with the secrets in them, empty for ``.env``."""
        files = {path: (name,) for path, name in self.secret_files.items()}
        return files | dict.fromkeys(self.dotenv_files, ())


def file_status(path: Path) -> os.stat_result | None:
    """Return the status of a file, or None if it does not exist or is not accessible."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def is_file(path: Path) -> bool:
    """Return whether ``path`` is an accessible regular file."""
    return os.path.isfile(path)  # Path.is_file() can raise
