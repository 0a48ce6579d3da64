"""What is examined, and what an examination gives."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from hive_boot.bootstrap.plan import Plan
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.mode import Situation
    from hive_boot.secrets.surroundings import Surroundings

Severity = Literal["error", "warning", "remark"]


class Symptom(NamedTuple):
    """One thing that is likely to go wrong. It never holds a value.

    Attributes:
        severity: ``error`` will fail, ``warning`` may, ``remark`` is worth knowing.
        kind: what it is, as a word that a program can compare.
        what: what it is, as a sentence without its full stop.
        where: the file, the directory, the variable; empty where there is none.
        mend: what to do about it.
    """

    severity: Severity
    kind: str
    what: str
    where: str = ""
    mend: str = ""


class SecretFile(NamedTuple):
    """A file that holds a secret.

    Attributes:
        name: the secret's name.
        path: where it was found.
    """

    name: str
    path: Path


class Patient(NamedTuple):
    """An application, where it stands.

    Attributes:
        plan: what was declared.
        findings: what a start would read.
        surroundings: the machine.
        manifests: the files that say how it is deployed.
        user: who is asking.
        now: the time on the wall clock.
    """

    plan: Plan
    findings: Findings
    surroundings: Surroundings
    manifests: Sequence[Path]
    user: int
    now: float

    @property
    def situation(self) -> Situation:
        """Mode, profile and places."""
        return self.findings.situation

    @property
    def is_contained(self) -> bool:
        """Whether this is a container."""
        machine = self.surroundings
        return (
            machine.pid == 1
            or bool(machine.variable("KUBERNETES_SERVICE_HOST"))
            or machine.exists("/.dockerenv")
            or machine.exists("/run/.containerenv")
        )

    def system_text(self, absolute: str) -> str:
        """Give what a file of the system says; nothing when there is none."""
        try:
            return Path(self.surroundings.path(absolute)).read_text("utf-8", "surrogateescape")
        except OSError:
            return ""

    @property
    def secret_files(self) -> list[SecretFile]:
        """The files that hold the declared secrets."""
        inventory = self.findings.inventory
        found: dict[Path, SecretFile] = {}
        for reading in self.findings.readings:
            # The links beside ..data may be missing.
            base = Path(reading.path, "..data" if reading.volume else "")
            odd = [hit.place for hits in reading.batch.odd.values() for hit in hits]
            above = reading.batch.directory
            for file in [*reading.batch.files.values(), *(at.removeprefix(above) for at in odd)]:
                name = inventory.by_file[file][1]
                found.setdefault(base / file, SecretFile(name, base / file))
        for attribute, (_, place) in self.findings.elsewhere.items():
            name = inventory.by_attribute[attribute].name
            pointer, said, path = place.partition("=")
            if said and pointer == f"{name}_FILE":
                there = Path(self.situation.cwd, path)
                found.setdefault(there, SecretFile(name, there))
        return [file for file in found.values() if is_file(file.path)]

    @property
    def dotenv_files(self) -> list[Path]:
        """The ``.env`` files that there are."""
        return [Path(path) for path in self.situation.dotenv if is_file(Path(path))]


def status_of(path: Path) -> os.stat_result | None:
    """Give what the system knows of a file; None when it is out of sight."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def is_file(path: Path) -> bool:
    """Tell whether there is a regular file, as far as can be seen."""
    status = status_of(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def counted(number: int, what: str) -> str:
    """Give a number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Give names for a person: in order, each once."""
    return ", ".join(sorted(set(names)))
