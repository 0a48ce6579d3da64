"""The one reference to the secrets in use.

Everything that belongs to one accepted set is one :class:`Generation`; the live
object of the declared type holds it in its ``__dict__``, and accepting another
is the assignment of that dict.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.sources.reading import Value

S = TypeVar("S", bound=SecretSet)


class Generation(NamedTuple):
    """One accepted set.

    Attributes:
        number: 1 for the first of a run.
        findings: what was loaded: the values, and where each is from.
        since: when it came into use, on the monotonic clock.
    """

    number: int
    findings: Findings
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
    def is_filled(self) -> bool:
        """Whether a set has been accepted."""
        return "_generation" in self.view.__dict__

    @property
    def generation(self) -> Generation:
        """The accepted set in use."""
        generation: Generation = self.view.__dict__["_generation"]
        return generation

    def accept(self, findings: Findings) -> None:
        """Put what was loaded into use: all of it, in one assignment."""
        previous: Generation | None = self.view.__dict__.get("_generation")
        fields = self.declared._inventory.fields  # noqa: SLF001  (the declaration is ours to read)
        values = _complete(self.declared, findings.values)
        generation = Generation(
            number=previous.number + 1 if previous else 1,
            findings=findings,
            since=time.monotonic(),
        )
        # For get_secret: the texts by name, None where an optional one is absent.
        by_name = {
            each.name: values[attribute]
            for attribute, each in fields.items()
            if each.kind is Secret
        }
        pinned = make_set(self.declared, findings.values)
        values |= {"_generation": generation, "_by_name": by_name, "_pinned": pinned}
        object.__setattr__(self.view, "__dict__", values)

    def accepted(self, attribute: str) -> tuple[Value, ...]:
        """Give every value of a field that is valid now, the current one first."""
        values = self.generation.findings.values
        both = (values.get(attribute), values.get(f"{attribute}.previous"))
        return tuple(value for value in both if value is not None)


def _complete(declared: type[SecretSet], values: Mapping[str, Value]) -> dict[str, Any]:
    fields = declared._inventory.fields  # noqa: SLF001  (the declaration is ours to read)
    return {attribute: values.get(attribute) for attribute in fields}
