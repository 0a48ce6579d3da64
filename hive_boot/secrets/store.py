"""The one reference to the secrets in use, and what is known about each.

Everything that belongs to one accepted set is one :class:`Generation`; the live
object of the declared type holds it in its ``__dict__``, and accepting another
is the assignment of that dict.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.secrets.declaration import Field
    from hive_boot.secrets.sources.reading import Found

S = TypeVar("S", bound=SecretSet)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStatus:
    """What may be known about a declared secret; never its value.

    Attributes:
        name: the environment name.
        attribute: the field.
        present: whether there is a value.
        required: whether a start under this profile needs one.
        used_by: what needs it.
        source: ``file``, ``environment``, ``.env``, ``dev_default``; empty when
            absent.
        place: the file or the variable it was read from; empty when absent.
        generation: the accepted set that brought the value.
        age: seconds since this process took the value into use.
    """

    name: str
    attribute: str
    present: bool
    required: bool
    used_by: str
    source: str
    place: str
    generation: int
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One accepted set.

    Attributes:
        number: 1 for the first of a run.
        found: each value with its place, by attribute.
        by_name: the texts by environment name, None where an optional one is
            absent; what is SecretBytes is not in it.
        since: when it came into use, on the monotonic clock.
    """

    number: int
    found: Mapping[str, Found] = field(repr=False)
    by_name: Mapping[str, Secret | None] = field(repr=False)
    since: float


def make_set(declared: type[S], found: Mapping[str, Found]) -> S:
    """Make an immutable set of the values in ``found``; what is not there is None."""
    pinned = declared.__new__(declared)
    object.__setattr__(pinned, "__dict__", _values(declared, found))
    return pinned


class Store(Generic[S]):
    """The secrets of one run.

    Args:
        declared: the declaration.

    Attributes:
        view: the live object that is handed out. It is empty until a first
            generation is accepted.
    """

    def __init__(self, declared: type[S]) -> None:
        self.declared = declared
        self.view = declared.__new__(declared)

    @property
    def generation(self) -> Generation:
        """The accepted set in use."""
        generation: Generation = self.view.__dict__["_generation"]
        return generation

    def accept(self, found: Mapping[str, Found]) -> None:
        """Put ``found`` into use: all of it, in one assignment."""
        previous: Generation | None = self.view.__dict__.get("_generation")
        fields = self.declared._inventory.fields  # noqa: SLF001  (the declaration is ours to read)
        values = _values(self.declared, found)
        generation = Generation(
            number=previous.number + 1 if previous else 1,
            found=found,
            by_name={
                each.name: values[attribute]
                for attribute, each in fields.items()
                if each.kind is Secret
            },
            since=time.monotonic(),
        )
        pinned = make_set(self.declared, found)
        values |= {"_generation": generation, "_pinned": pinned}
        object.__setattr__(self.view, "__dict__", values)

    def accepted(self, attribute: str) -> tuple[Secret | SecretBytes, ...]:
        """Give every value of a field that is valid now, the current one first."""
        found = self.generation.found
        both = (found.get(attribute), found.get(f"{attribute}.previous"))
        return tuple(each.held for each in both if each is not None)

    def status(self, profile: str) -> tuple[SecretStatus, ...]:
        """Describe every declared secret, in the order of the declaration."""
        generation = self.generation
        return tuple(
            _status(each, generation, profile)
            for each in self.declared._inventory.fields.values()  # noqa: SLF001  (as above)
        )


def _values(declared: type[SecretSet], found: Mapping[str, Found]) -> dict[str, object]:
    return {
        attribute: found[attribute].held if attribute in found else None
        for attribute in declared._inventory.fields  # noqa: SLF001  (the declaration is ours to read)
    }


def _status(field: Field, generation: Generation, profile: str) -> SecretStatus:
    found = generation.found.get(field.attribute)
    return SecretStatus(
        name=field.name,
        attribute=field.attribute,
        present=found is not None,
        required=field.required_for(profile),
        used_by=field.used_by,
        source=found.source if found else "",
        place=found.place if found else "",
        generation=generation.number,
        age=time.monotonic() - generation.since,
    )
