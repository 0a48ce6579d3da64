"""The order of parts, found without a loop: a tool that only judges asks for it too."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from hive_boot.exceptions import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def start_order(parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort parts so that each comes after those that it needs.

    Args:
        parts: what each of them needs.

    Raises:
        DeclarationError: some of them need each other.
    """
    try:
        return list(TopologicalSorter(parts).static_order())
    except CycleError as exc:
        circle = " → ".join(reversed(exc.args[1]))
    message = f"parts need each other, so that none of them can be the first: {circle}"
    raise DeclarationError(message)
