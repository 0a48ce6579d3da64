"""Secret values: `Secret`, `SecretBytes`, and changes between two sets."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping  # noqa: TC003  (typing.get_type_hints() needs it)
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, Self, TypeVar, final

from hive_boot._records import Record
from hive_boot.redaction import _OpaqueIterator

Plain = TypeVar("Plain", str, bytes)


_SALT = os.urandom(16)


_DISPLAYS = frozenset({"logging", "loguru", "rich", "structlog"})
"""Packages that format an object only to show it."""


_CONVERTERS = frozenset({"http", "httpx", "httpx2", "psycopg", "sqlalchemy", "urllib"})
"""Packages that accept any object, and send its ``str`` to a server."""


class _MisuseWarnings:
    """Warnings of a secret that is used as if it were its plain value.

    Attributes:
        owners: the running and loaded applications that are in the development or the test
            profile, each by its redaction; without one there are no warnings.
        reported: the call sites that were reported, each by file and line.
    """

    def __init__(self) -> None:
        self.owners: set[object] = set()
        self.reported: set[tuple[str, int]] = set()

    def report(self, name: str, problem: str) -> None:
        """Warn once for each call site of the operation on a secret that calls this method."""
        caller = sys._getframe(2)
        if caller.f_globals.get("__name__", "").partition(".")[0] in _DISPLAYS:
            return
        from hive_boot.redaction.registry import first_frame_outside  # for mistakes only

        site = first_frame_outside(caller)
        line = (site.f_code.co_filename, site.f_lineno)
        if line not in self.reported:
            self.reported.add(line)
            text = f"{problem}. Fix: use .reveal() of {name} to get the plain value."
            warnings.warn_explicit(text, UserWarning, *line)


misuse_warnings: _MisuseWarnings = _MisuseWarnings()


class _Opaque(Generic[Plain]):
    """Common base of :class:`Secret` and :class:`SecretBytes`."""

    __slots__ = ("_name", "_on_match", "_open")

    _name: str
    _open: Callable[[], Plain]
    _on_match: Callable[[Self], object]  # unset, unless a store counts the uses of the value
    _type: ClassVar[type]

    def __init__(self, name: str, value: Plain, /) -> None:
        self._name = name
        if type(value) is not self._type:
            wanted = "a str" if self._type is str else "bytes"
            owner, given = type(self).__name__, type(value).__name__
            message = f"The value of {owner}({name!r}) must be {wanted}, not {given}"
            del value
            raise TypeError(message)
        self._open = _OpaqueIterator(value).__next__

    def __init_subclass__(cls) -> None:
        if _Opaque not in cls.__bases__:
            base = cls.__mro__[1]
            message = f"{base.__name__} cannot be subclassed: a subclass could show the value"
            raise TypeError(message)

    def reveal(self) -> Plain:
        """Return the plain value. The caller is responsible for protecting it."""
        return self._open()

    def matches(self, candidate: str | bytes) -> bool:
        """Return whether ``candidate`` is the value, compared in constant time.

        A match of an accepted value of an application is counted as a use of it, if its field has
        ``activate_after=``, ``accept_old_for=`` or ``previous=``.

        Args:
            candidate: the value that a client sent; a ``str`` is compared as UTF-8.

        Raises:
            TypeError: ``candidate`` is neither ``str`` nor ``bytes``.
        """
        if not isinstance(candidate, str | bytes):
            owner, kind = type(self).__name__, type(candidate).__name__
            del candidate
            raise TypeError(f"{owner}.matches() requires a str or bytes, not {kind}")
        given = _OpaqueIterator(candidate).__next__
        del candidate
        is_match = _is_equal(self._open, given)
        if is_match and (on_match := getattr(self, "_on_match", None)) is not None:
            on_match(self)
        return is_match

    def _without_count(self) -> Self:
        """Return the same value, whose matches are not counted as uses."""
        other = object.__new__(type(self))
        other._name, other._open = self._name, self._open
        return other

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            if misuse_warnings.owners and isinstance(other, str | bytes):
                problem = f"{self!r} is compared with a {type(other).__name__}, and never equals it"
                misuse_warnings.report(self._name, problem)
            return NotImplemented
        return _is_equal(self._open, other._open)

    def __hash__(self) -> int:
        return hash((_SALT, self._open()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, '***')"

    def __str__(self) -> str:
        if misuse_warnings.owners:
            caller = sys._getframe(1)
            package = caller.f_globals.get("__name__", "").partition(".")[0]
            if package in _CONVERTERS:
                misuse_warnings.report(self._name, f"{package} received {self!r} as a text")
        return repr(self)

    def __format__(self, spec: str, /) -> str:
        if misuse_warnings.owners:
            misuse_warnings.report(self._name, f"{self!r} is formatted into a text")
        return repr(self)

    if not TYPE_CHECKING:  # a type checker reports an unknown attribute itself

        def __getattr__(self, name: str) -> Never:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            message += ". Fix: use .reveal() to get the plain value."
            raise AttributeError(message, name=name, obj=self)

    def __copy__(self, memo: object = None) -> Self:
        return self

    __deepcopy__ = __copy__

    def __getstate__(self) -> Never:
        raise TypeError(f"{self!r} cannot be pickled: a pickle would contain the plain value")

    def __reduce_ex__(self, protocol: object) -> Never:
        self.__getstate__()


@final
class Secret(_Opaque[str]):
    """Secret text; ``str()``, ``repr()`` and formatting show only its name.

    Args:
        name: the name that is shown instead of the value.
        value: the plain value.

    Raises:
        TypeError: the value is not a ``str``.
    """

    __slots__ = ()

    _type = str


@final
class SecretBytes(_Opaque[bytes]):
    """Secret bytes, such as a key file or a keystore; nothing is decoded or stripped.

    Args:
        name: the name that is shown instead of the value.
        value: the plain value.

    Raises:
        TypeError: the value is not ``bytes``.
    """

    __slots__ = ()

    _type = bytes


V = TypeVar("V", Secret, SecretBytes)


def value_of(kind: type[V], name: str, reveal: Callable[[], str | bytes]) -> V:
    """Return a secret value that calls ``reveal`` for its plain value.

    The plain value is then in no local variable of a frame, where a traceback could show it.

    Args:
        kind: ``Secret`` or ``SecretBytes``.
        name: the name that is shown instead of the value.
        reveal: returns the plain value, of the type that belongs to ``kind``.
    """
    value = object.__new__(kind)
    value._name = name
    value._open = reveal  # type: ignore[assignment]
    return value


def complete_pem(read: Callable[[], str]) -> Callable[[], str]:
    """Return a function that returns the text, with exactly one newline after a PEM block.

    OpenSSH rejects a private key without the newline after its last line.

    Args:
        read: returns the text, which no local variable holds.
    """
    block = _OpaqueIterator(read().rstrip("\r\n")).__next__
    if block().endswith("-----") and block().splitlines()[-1].startswith("-----END "):
        return _OpaqueIterator(block() + "\n").__next__
    return read


_MIN_MASKABLE_LENGTH = 16


def mask_secret(value: str) -> str:
    """Return a short form of a value that distinguishes it from another one.

    This is the first 4 and the last 3 characters, if the value has 16 or more printable
    ASCII characters and contains no white space and no ``://``; otherwise ``***``.

    Args:
        value: the plain value.

    Raises:
        TypeError: ``value`` is not a ``str``; the message does not show it.
    """
    given: object = value
    if not isinstance(given, str):
        message = f"mask_secret() requires a str, not {type(given).__name__}"
        del value, given
        raise TypeError(message)
    plain = value.isascii() and value.isprintable() and " " not in value and "://" not in value
    is_maskable = plain and len(value) >= _MIN_MASKABLE_LENGTH
    return f"{value[:4]}...{value[-3:]}" if is_maskable else "***"


def _is_equal(first: Callable[[], str | bytes], second: Callable[[], str | bytes]) -> bool:
    """Return whether two functions return the same value, compared in constant time."""
    from hmac import compare_digest  # it loads OpenSSL

    return compare_digest(_raw(first), _raw(second))


def _raw(reveal: Callable[[], str | bytes]) -> bytes:
    if isinstance(reveal(), bytes):
        return reveal()  # type: ignore[return-value]
    return reveal().encode("utf-8", "surrogatepass")  # type: ignore[union-attr]


class Attempt:
    """One attempt of a verification: a block that ends with a result, or with a rejection.

    Args:
        value: the value to try. Its own uses are not counted.
        rejected: the types of exceptions by which the block rejects the value.
        is_last: whether there is no other value, so that such an exception is raised.

    Attributes:
        result: the result; False rejects the value.
    """

    def __init__(self, value: Secret | SecretBytes, rejected: Any, *, is_last: bool) -> None:
        self.value: Any = value._without_count()
        self.result: Any = False
        self._rejected = rejected
        self._is_last = is_last

    def set_result(self, result: Any) -> None:
        """Set the result.

        Raises:
            TypeError: the result has to be awaited.
        """
        if hasattr(result, "__await__"):
            close = getattr(result, "close", None)
            if close is not None:
                close()  # otherwise Python warns that a coroutine was never awaited
            raise TypeError("boot.verify() got an async attempt: use await boot.verify_async(…)")
        self.result = result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, raised: BaseException | None, traceback: object) -> bool:
        return not self._is_last and isinstance(raised, self._rejected)


class Change(Record):
    """A change of the secrets in use.

    Attributes:
        names: the fields whose values have changed, in the order of the declaration. In merged
            changes, the fields of the first change come first.
        old: the previous value of each field; None where it was absent.
        new: the new value of each field; None where it is absent.
        generation: the number of the accepted set that caused the change.
    """

    names: tuple[str, ...]
    old: Mapping[str, Secret | SecretBytes | None]
    new: Mapping[str, Secret | SecretBytes | None]
    generation: int


def merge_changes(first: Change | None, then: Change) -> Change:
    """Return two consecutive changes as one; ``then`` if there is no first one."""
    if first is None:
        return then
    names = (*first.names, *(name for name in then.names if name not in first.names))
    return Change(names, {**then.old, **first.old}, {**first.new, **then.new}, then.generation)


def filter_change(change: Change, names: frozenset[str]) -> Change | None:
    """Return the part of a change that concerns ``names``; None if none of them has changed."""
    selected = tuple(name for name in change.names if name in names)
    if not selected:
        return None
    return change.replace(
        names=selected,
        old={name: change.old[name] for name in selected},
        new={name: change.new[name] for name in selected},
    )
