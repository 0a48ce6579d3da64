"""Redaction: hidden values are removed from text.

The package itself has :func:`conceal`, for code that holds a value: tools that show local variables
do not show what it conceals.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Never, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MASK = "***"
"""Replacement of a value."""

MIN_LENGTH = 8
"""Minimum number of characters of a hidden value: shorter values may be common words."""

MIN_LINE = 16
"""Characters from which on one line of a value is hidden by itself."""


class _OpaqueIterator(repeat):  # type: ignore[type-arg]  # (it takes no arguments)
    """Iterator that repeats one value; its ``repr`` hides the value, and it cannot be pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "OpaqueIterator(***)"

    def __reduce_ex__(self, protocol: object) -> Never:
        message = "A concealed value cannot be pickled or copied."
        raise TypeError(message)


def conceal(value: T) -> Callable[[], T]:
    """Return a function that returns ``value``; its ``repr`` does not show the value."""
    return _OpaqueIterator(value).__next__
