"""What a migration out of ``.env`` would do. To find it out changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.cli.dotenv_lines import comment_out
from hive_boot.cli.gitignore import Amendment, amendment, repository_of, tracked
from hive_boot.cli.secret_files import file_name
from hive_boot.cli.sightings import (
    differing,
    in_directory,
    in_env_files,
    in_environment,
    unjudged,
)
from hive_boot.cli.steps import DIRECTORY_MODE
from hive_boot.cli.usage import Refusal
from hive_boot.exceptions import SecretsError
from hive_boot.redaction.sealing import sealed
from hive_boot.secrets.field import shape_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.inventory import Inventory
    from hive_boot.secrets.snapshot import SecretSet
    from hive_boot.secrets.sources.reading import Value


class Item(NamedTuple):
    """A secret that the ``.env`` file holds.

    Attributes:
        attribute: its field's.
        name: its name.
        value: its value.
        file: the file in the directory.
        is_new: whether that is to be made; else it holds the value already.
    """

    attribute: str
    name: str
    value: Value
    file: str
    is_new: bool


class Rewriting(NamedTuple):
    """A ``.env`` file of which lines become comments.

    Attributes:
        path: the file.
        before: gives what it holds.
        content: gives what it is to hold.
        lines: how many lines.
    """

    path: Path
    before: Callable[[], bytes]
    content: Callable[[], bytes]
    lines: int


class Migration:
    """What is to be done.

    Args:
        declared: the set of secrets.
        files: the ``.env`` files, the strongest last.
        shown: the directory, as it was named.
        rewrite: whether lines of the files become comments.

    Attributes:
        declaration: the name of the set.
        inventory: its secrets, without their rules.
        files: as given.
        shown: as given.
        directory: the directory, absolute and without links.
        found: what a start in development reads from the files.
        items: the secrets in them.
        absent: the secrets that are required, somewhere, and nowhere to be found.
        names: the variables that set a secret.
        amendment: the line for git, if there is one to add.
        tightens: whether others may get into the directory, and need not.
        rewritings: the files of which lines become comments.
        warnings: what a person should know.

    Raises:
        SecretsError: something in the files cannot be read.
        Refusal: nothing is declared of what they hold, or something is in the way.
    """

    def __init__(
        self, declared: type[SecretSet], files: Sequence[Path], shown: Path, *, rewrite: bool
    ) -> None:
        self.declaration = declared.__name__
        self._fields: list[Field] = declared._inventory.every  # noqa: SLF001  (ours)
        self.inventory: Inventory = unjudged(self._fields)
        self.files = files
        self.shown = shown
        self.directory = shown.resolve()
        self.found = in_env_files(self.inventory, files)
        self._refuse_unreadable()
        there = self._look_there()
        self.items = [
            self._item(field, there) for field in self._fields if self._value(field) is not None
        ]
        self.absent = [
            field
            for field in self._fields
            if (field.required or field.required_in)
            and field.attribute not in self.found.values.keys() | _values(there).keys()
        ]
        self.names = {name for item in self.items for name in (item.name, f"{item.name}_FILE")}
        made = [self.directory / item.file for item in self.items]
        self.amendment: Amendment | None = amendment(self.directory, made)
        self.warnings = [*self.found.warnings, *self._broken_rules(), *self._stronger_ones()]
        self.tightens = self._is_to_be_tightened()
        self._mind_git()
        self.rewritings = self._rewritings() if rewrite else []

    def _value(self, field: Field) -> Value | None:
        return self.found.values.get(field.attribute)

    def _refuse_unreadable(self) -> None:
        """Refuse what a start would stumble over: nobody knows what was meant."""
        if self.found.problems:
            lines = [f"nothing was written, because this cannot be understood in {self._said()}:"]
            for problem in self.found.problems:
                place = f" ({problem.places[0]})" if problem.places else ""
                lines.append(f"  {problem.name} {problem.message}{place}\n    mend: {problem.hint}")
            raise SecretsError("\n".join(lines))
        if not self.found.values:
            count = len(self._fields)
            message = f"none of the {count} secrets that {self.declaration} declares is set in "
            raise Refusal(message + self._said())

    def _said(self) -> str:
        return " and ".join(map(str, self.files))

    def _look_there(self) -> Findings | None:
        """See what the directory holds, if there is one, and refuse what is in the way."""
        if not self.directory.exists():
            return None
        there = in_directory(self.inventory, self.directory)
        reading = there.readings[0]
        if reading.volume:
            message = (
                f"{self.shown} is a volume that the kubelet writes, and nobody else; "
                "hive-boot rotate NAME --kubernetes tells how to change a Secret"
            )
            raise Refusal(message)
        if reading.fault is not None:
            message = f"{self.shown} {reading.fault.message}"
            raise Refusal(message)
        different = differing(self.inventory, self.found, there)
        lines = [
            line
            for field in different
            if field.attribute in self.found.values
            for line in self._in_the_way(field, there)
        ]
        if lines:
            raise Refusal(
                "\n".join(["nothing was written, because there are files already:", *lines])
            )
        return there

    def _in_the_way(self, field: Field, there: Findings) -> list[str]:
        if field.attribute in there.values:
            place = self._shown_place(there.origin(field.attribute)[1])
            other = f"holds another {field.name} than {self._said()}"
            return [f"  {place} {other}: remove what is wrong, there or here"]
        faults = [
            (hit.place, getattr(hit.held, "message", "holds a value"))
            for hit in there.odd.get(field.attribute, [])
        ]
        if not faults:
            # It was read, and is no value: a placeholder.
            known = [each for each in there.problems if each.name == field.name]
            faults = [(each.places[0], each.message) for each in known]
        return [f"  {self._shown_place(place)} {message}: remove it" for place, message in faults]

    def _shown_place(self, place: str) -> str:
        return str(self.shown / Path(place).relative_to(self.directory))

    def _item(self, field: Field, there: Findings | None) -> Item:
        value = self.found.values[field.attribute]
        if field.attribute in _values(there):
            place = Path(there.origin(field.attribute)[1])  # type: ignore[union-attr]
            file = str(place.relative_to(self.directory))
            return Item(field.attribute, field.name, value, file, is_new=False)
        return Item(field.attribute, field.name, value, file_name(field), is_new=True)

    def _broken_rules(self) -> list[str]:
        """Tell of the values that a start would refuse; they are what they were."""
        warnings = []
        for field in self._fields:
            value = self._value(field)
            if value is None:
                continue
            plain: Any = value.reveal()
            faults = [fault.message for fault in shape_faults(field, value.reveal)]
            if plain == field.dev_default:
                faults.append("is the development default, which other profiles refuse")
            warnings += [f"{field.name} {fault}: a start will refuse it" for fault in faults]
        return warnings

    def _stronger_ones(self) -> list[str]:
        """Tell of what counts more than the files, and says something else."""
        warnings = []
        locals_ = [Path(f"{file}.local") for file in self.files]
        for path in [path for path in locals_ if path.exists() and path not in self.files]:
            names = self._said_otherwise(in_env_files(self.inventory, [path]))
            if names:
                warnings.append(
                    f"{path} says something else for {names}, and counts more in development: "
                    f"--env-file {path} as the last one takes it from there"
                )
        if names := self._said_otherwise(in_environment(self.inventory)):
            warnings.append(
                f"the environment of this shell says something else for {names}: unset it"
            )
        return warnings

    def _said_otherwise(self, stronger: Findings) -> str:
        answered = stronger.values.keys()
        refused = {problem.name for problem in stronger.problems}
        names = [
            field.name
            for field in differing(self.inventory, self.found, stronger)
            if field.attribute in answered or field.name in refused
        ]
        names += sorted(refused.difference(field.name for field in self._fields))
        return ", ".join(names)

    def _is_to_be_tightened(self) -> bool:
        """Decide whether the directory becomes nobody else's, and warn where it cannot."""
        if not self.directory.exists():
            return False
        status = self.directory.stat()
        if not status.st_mode & ~DIRECTORY_MODE & 0o777:
            return False
        foreign = self._foreign(path.name for path in self.directory.iterdir())
        if not foreign and os.geteuid() in {0, status.st_uid}:
            return True
        self.warnings.append(
            f"other users of this machine get into {self.shown}, and can read what is in it: "
            f"chmod 700 {self.shown}"
        )
        return False

    def _foreign(self, names: Iterable[str]) -> list[str]:
        """Give those names of entries that are no file of a secret."""
        tops = {file.partition("/")[0] for field in self._fields for file in field.candidates}
        tops |= {".gitignore", ".gitkeep"}
        return [
            name
            for name in names
            if not any(name == top or name.startswith(f"{top}.") for top in tops)
        ]

    def _mind_git(self) -> None:
        """Refuse a directory that is the project's, and warn of secrets that git tracks."""
        names = tracked(self.directory)
        root = repository_of(self.directory)
        below = [Path(root or "", name).relative_to(self.directory).parts[0] for name in names]
        if self.amendment and (foreign := self._foreign(below)):
            message = (
                f"git would ignore all of {self.shown} from now on, and it tracks "
                f"{self.shown / foreign[0]}: say --to a directory for secrets alone, as secrets/"
            )
            raise Refusal(message)
        if names:
            self.warnings.append(
                f"git tracks {', '.join(names)}: take that out with git rm -r --cached {self.shown}"
            )

    def _rewritings(self) -> list[Rewriting]:
        rewritings = []
        for path in self.files:
            before = path.read_bytes()
            content, lines = comment_out(before, self.names)
            if lines:
                rewritings.append(Rewriting(path, sealed(before), sealed(content), lines))
        return rewritings


def _values(there: Findings | None) -> dict[str, Value]:
    return {} if there is None else there.values
