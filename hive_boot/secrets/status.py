"""What may be known about the secrets in use, for people and for probes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.profile import Profile
    from hive_boot.secrets.store import Store


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
        due: seconds until a newer value, which is accepted already, comes into use;
            None when there is none.
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
    due: float | None = None


def describe(store: Store[Any], profile: Profile) -> tuple[SecretStatus, ...]:
    """Describe every declared secret, in the order of the declaration."""
    fields = store.declared._field_index.fields.values()  # noqa: SLF001  (ours)
    return tuple(_describe(field, store, profile) for field in fields)


def _describe(field: Field, store: Store[Any], profile: Profile) -> SecretStatus:
    turn, load_result = store.current_period(field.attribute), store.generation.load_result
    present = turn.value is not None
    # What was taken away is in use until its successor, which is nothing, is due.
    known = present and field.attribute in load_result.values
    source, place = load_result.origin(field.attribute) if known else ("", "")
    return SecretStatus(
        name=field.name,
        attribute=field.attribute,
        present=present,
        required=field.required_for(profile),
        used_by=field.used_by,
        source=source,
        place=place,
        generation=turn.number,
        age=time.monotonic() - turn.since,
        due=store.due(field.attribute),
    )
