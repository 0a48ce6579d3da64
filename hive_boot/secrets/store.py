"""The one reference to the secrets in use, and what is known about each.

Everything that belongs to one accepted set is one :class:`Generation`; the live
object of the declared type holds it in its ``__dict__``, and accepting another
is the assignment of that dict.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.secrets.declaration import Field
    from hive_boot.secrets.loading import Loaded
    from hive_boot.secrets.profile import Profile
    from hive_boot.secrets.sources.reading import Value

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
        loaded: what was loaded: the values, and where each is from.
        by_name: the texts by environment name, None where an optional one is
            absent; what is SecretBytes is not in it.
        since: when it came into use, on the monotonic clock.
    """

    number: int
    loaded: Loaded = field(repr=False)
    by_name: Mapping[str, Secret | None] = field(repr=False)
    since: float


def make_set(declared: type[S], values: Mapping[str, Value]) -> S:
    """Make an immutable set of ``values``; a field that is not among them is None."""
    pinned = declared.__new__(declared)
    object.__setattr__(pinned, "__dict__", _complete(declared, values))
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

    def accept(self, loaded: Loaded) -> None:
        """Put what was loaded into use: all of it, in one assignment."""
        previous: Generation | None = self.view.__dict__.get("_generation")
        fields = self.declared._inventory.fields  # noqa: SLF001  (the declaration is ours to read)
        values = _complete(self.declared, loaded.values)
        generation = Generation(
            number=previous.number + 1 if previous else 1,
            loaded=loaded,
            by_name={
                each.name: values[attribute]
                for attribute, each in fields.items()
                if each.kind is Secret
            },
            since=time.monotonic(),
        )
        pinned = make_set(self.declared, loaded.values)
        values |= {"_generation": generation, "_pinned": pinned}
        object.__setattr__(self.view, "__dict__", values)

    def accepted(self, attribute: str) -> tuple[Value, ...]:
        """Give every value of a field that is valid now, the current one first."""
        values = self.generation.loaded.values
        both = (values.get(attribute), values.get(f"{attribute}.previous"))
        return tuple(value for value in both if value is not None)

    def status(self, profile: Profile) -> tuple[SecretStatus, ...]:
        """Describe every declared secret, in the order of the declaration."""
        generation = self.generation
        return tuple(
            _status(each, generation, profile)
            for each in self.declared._inventory.fields.values()  # noqa: SLF001  (as above)
        )


def _complete(declared: type[SecretSet], values: Mapping[str, Value]) -> dict[str, Any]:
    fields = declared._inventory.fields  # noqa: SLF001  (the declaration is ours to read)
    return {attribute: values.get(attribute) for attribute in fields}


def _status(field: Field, generation: Generation, profile: Profile) -> SecretStatus:
    present = field.attribute in generation.loaded.values
    source, place = generation.loaded.origin(field.attribute) if present else ("", "")
    return SecretStatus(
        name=field.name,
        attribute=field.attribute,
        present=present,
        required=field.required_for(profile),
        used_by=field.used_by,
        source=source,
        place=place,
        generation=generation.number,
        age=time.monotonic() - generation.since,
    )
