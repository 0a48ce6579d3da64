"""Secret values: `Secret`, `SecretBytes`, and the change from one set of them to the next."""

from __future__ import annotations

import os
from collections.abc import Callable  # noqa: TC003  (so that the type hints can be asked for)
from typing import TYPE_CHECKING, Generic, NamedTuple, Never, TypeVar, final

from hive_boot.redaction.opaque import _OpaqueIterator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

MARK = "<hive-boot placeholder"
"""How every placeholder begins. It holds no character that YAML, JSON or a shell would change."""


_BYTES = MARK.encode()


def placeholder(name: str) -> str:
    """Give what stands for the value of a secret; no start takes it for one.

    Args:
        name: the secret's name.
    """
    return f"{MARK}: put the value of {name} here>"


def is_placeholder(value: Secret | SecretBytes) -> bool:
    """Tell whether a value is none yet, with whatever was written around it."""
    if isinstance(value, Secret):
        return value.reveal().startswith(MARK)
    return value.reveal().startswith(_BYTES)


Plain = TypeVar("Plain", str, bytes)


_SALT = os.urandom(16)


class _Opaque(Generic[Plain]):
    """What :class:`Secret` and :class:`SecretBytes` have in common."""

    __slots__ = ("_name", "_open")

    _name: str
    _open: Callable[[], Plain]

    def reveal(self) -> Plain:
        """Give the value itself. Everything that happens to it next is yours."""
        return self._open()

    def matches(self, candidate: str | bytes) -> bool:
        """Compare with ``candidate`` in a time that does not tell where they differ.

        Args:
            candidate: what a client sent; a ``str`` stands for its UTF-8 bytes.

        Raises:
            TypeError: ``candidate`` is neither ``str`` nor ``bytes``.
        """
        if not isinstance(candidate, str | bytes):
            message = "a secret is compared with a str or with bytes"
            del candidate
            raise TypeError(message)
        from hmac import compare_digest  # noqa: PLC0415  (it loads OpenSSL)

        given = _OpaqueIterator(candidate).__next__
        del candidate
        return compare_digest(_raw(self._open), _raw(given))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        from hmac import compare_digest  # noqa: PLC0415  (it loads OpenSSL)

        return compare_digest(_raw(self._open), _raw(other._open))

    def __hash__(self) -> int:
        return hash((_SALT, self._open()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, '***')"

    __str__ = __repr__

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return True

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> Never:
        message = f"{self!r} cannot be pickled: a secret is not written down"
        raise TypeError(message)

    def __reduce_ex__(self, protocol: object) -> Never:
        self.__getstate__()


@final
class Secret(_Opaque[str]):
    """A secret text.

    Args:
        name: what the value is called wherever it shows itself.
        value: the value.

    Raises:
        TypeError: the value is not a ``str``.
    """

    __slots__ = ()

    def __init__(self, name: str, value: str, /) -> None:
        self._name = name
        if type(value) is not str:
            del value
            message = f"the value of Secret({name!r}) has to be a str"
            raise TypeError(message)
        self._open = _OpaqueIterator(value).__next__

    def __init_subclass__(cls) -> Never:
        message = "Secret cannot be subclassed: what it promises would not hold"
        raise TypeError(message)


@final
class SecretBytes(_Opaque[bytes]):
    """Secret bytes: a key file, a keystore; nothing is decoded or removed.

    Args:
        name: what the value is called wherever it shows itself.
        value: the value.

    Raises:
        TypeError: the value is not ``bytes``.
    """

    __slots__ = ()

    def __init__(self, name: str, value: bytes, /) -> None:
        self._name = name
        if type(value) is not bytes:
            del value
            message = f"the value of SecretBytes({name!r}) has to be bytes"
            raise TypeError(message)
        self._open = _OpaqueIterator(value).__next__

    def __init_subclass__(cls) -> Never:
        message = "SecretBytes cannot be subclassed: what it promises would not hold"
        raise TypeError(message)


V = TypeVar("V", Secret, SecretBytes)


def value_of(kind: type[V], name: str, reveal: Callable[[], str | bytes]) -> V:
    """Return a value without a look at it: no frame holds the plain one.

    Args:
        kind: ``Secret`` or ``SecretBytes``.
        name: what the value is called wherever it shows itself.
        reveal: gives the plain value, of the type that belongs to ``kind``.
    """
    value = object.__new__(kind)
    value._name = name
    value._open = reveal  # type: ignore[assignment]
    return value


_MASKABLE = 16


def mask_secret(value: str) -> str:
    """Show just enough of a value to tell it from another one.

    The first 4 and the last 3 characters of 16 or more printable ASCII
    characters without white space or ``://``; of anything else, ``***``.

    Args:
        value: the plain value.

    Raises:
        TypeError: ``value`` is not a ``str``; the message does not show it.
    """
    given: object = value
    if not isinstance(given, str):
        message = f"mask_secret takes a str, not {type(given).__name__}"
        del value, given
        raise TypeError(message)
    plain = value.isascii() and value.isprintable() and " " not in value and "://" not in value
    return f"{value[:4]}...{value[-3:]}" if len(value) >= _MASKABLE and plain else "***"


def _raw(reveal: Callable[[], str | bytes]) -> bytes:
    if isinstance(reveal(), bytes):
        return reveal()  # type: ignore[return-value]
    return reveal().encode("utf-8", "surrogatepass")  # type: ignore[union-attr]


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
