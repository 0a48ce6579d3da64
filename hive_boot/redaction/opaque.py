"""Opaque iterator: hides a value from tools that show the local variables of a frame."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Never, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _OpaqueIterator(repeat):  # type: ignore[type-arg]  # (it takes no arguments)
    """Repeats one thing; it does not show it, and cannot be written down."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Endless(***)"

    def __reduce_ex__(self, protocol: object) -> Never:
        message = "what is sealed cannot be pickled or copied"
        raise TypeError(message)


def conceal(value: T) -> Callable[[], T]:
    """Give what gives ``value`` whenever it is called, and shows it to nobody."""
    return _OpaqueIterator(value).__next__
