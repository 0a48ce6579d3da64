"""What a rotation changed, as its hooks are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.secrets.value import Secret, SecretBytes


class Change(NamedTuple):
    """What has changed in the secrets in use.

    Attributes:
        names: the fields whose value is another one now, in the order of the declaration;
            where it is more than one change, those of the first one first.
        old: the value that each of them had; None where it was absent.
        new: the value that each of them has; None where it is absent.
        generation: the number of the accepted set that brought it.
    """

    names: tuple[str, ...]
    old: Mapping[str, Secret | SecretBytes | None]
    new: Mapping[str, Secret | SecretBytes | None]
    generation: int


def merge_changes(first: Change | None, then: Change) -> Change:
    """Make one change of two that follow one another."""
    if first is None:
        return then
    names = (*first.names, *(name for name in then.names if name not in first.names))
    return Change(names, {**then.old, **first.old}, {**first.new, **then.new}, then.generation)


def filter_change(change: Change, names: frozenset[str]) -> Change | None:
    """Give what of a change concerns ``names``; None when nothing does."""
    kept = tuple(name for name in change.names if name in names)
    if not kept:
        return None
    old = {name: change.old[name] for name in kept}
    return change._replace(names=kept, old=old, new={name: change.new[name] for name in kept})
