"""Needles: the forms of hidden values that a text is searched for, by a short part of each."""

from __future__ import annotations

import re
from sys import maxsize
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction import conceal
from hive_boot.redaction.decoding import (
    FAR,
    SEPARATORS,
    find_around,
    find_escaped,
    find_hex,
    is_inside_word,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANCHOR = 4
"""Maximum number of characters of an anchor."""

SEARCHED = 1 << 14
"""Characters of a text in which needles without such a run are searched for in escaped form."""

_LARGE = 1 << 16
"""Maximum number of characters of a text whose anchors are collected in a list."""

RARE = ("ZQXJKVY~^`|", "7zqxj;$@!#&*?+<>\\", "HSPWGUBF98%}{][)(kvwM", "6543210LDCRTANOIE")
"""Characters that are rare in log lines, the rarest first. All others are common.

The levels of ``logging`` are words in capitals, the year is in every time stamp, and many records
are of the MainThread.
"""

_RAREST = "".join(RARE[:2])
"""Characters that few lines have."""

_RARITY = "".join(RARE)

_MANY = 16
"""Minimum number of anchors of an index that has many."""

Needles: TypeAlias = "dict[str, str | list[str]]"
"""The needle with an anchor, or a list of them, by the rest of the anchor.

A dict of texts is left out of garbage collection; one of a thousand tuples is not.
"""


class Unescaped(str):
    """A needle that is not searched for in escaped form."""

    __slots__ = ()


class Hex(str):
    """The digits of bytes: they are found in either case, and with a separator between bytes."""

    __slots__ = ()


class Word(str):
    """A needle that is an ordinary word: it is not searched for inside a longer word."""

    __slots__ = ()


KINDS = (str, Hex, Word, Unescaped)
"""The classes of needles: equal texts of two classes are two needles."""

Gone: TypeAlias = "Mapping[type[str], set[str]]"
"""Needles that are removed, by their class."""

Group: TypeAlias = tuple[int, str, int]
"""Needles with anchors of one kind.

It is the number of characters of an anchor, 0 without an anchor; a pattern of those behind the
first one; and the number of characters of a text that are searched.
"""

ENCODED: Group = (ANCHOR, "[A-Za-z0-9]", maxsize)
"""Needles with a run of letters and digits, which are searched for in escaped form too."""

DIGITS: Group = (ANCHOR, "[0-9A-Fa-f]", maxsize)
"""Needles in hex. An anchor is two bytes, with or without a separator between them."""


class AnchorIndex:
    """Anchors of one length that begin with the same character, or one anchor.

    Needles are added while other threads search.

    Args:
        first: that character, or the anchor; of a needle in hex, its first byte.
        group: the needles that it may have.

    Attributes:
        first: that character, or the anchor.
    """

    __slots__ = ("_beginning", "_compiled", "_group", "_limit", "_open", "first")

    def __init__(self, first: str, group: Group) -> None:
        self.first: str = first
        self._beginning = first
        self._group = group
        self._limit = group[2]
        self._compiled: re.Pattern[str] | None = None
        needles: Needles = {}
        # No attribute, and no item of an attribute, leads to a needle.
        self._open = conceal(needles)

    def _anchors(self) -> re.Pattern[str]:
        """Return the pattern of anchors, compiled for the first text that may have one."""
        if self._compiled is None:
            length, characters, _ = self._group
            rest = f"({characters}{{{length - len(self.first)}}})"
            if self._group is DIGITS:
                rest = f"[{SEPARATORS}]?{rest}"
            # Anchors may overlap, so only the first character is taken.
            pattern = f"{re.escape(self.first[0])}(?={re.escape(self.first[1:])}{rest})"
            self._compiled = re.compile(pattern, re.DOTALL)
        return self._compiled

    def add(self, needle: str, rest: str, most: int = maxsize) -> int:
        """Add a needle with an anchor, unless ``most`` others have it; return their number."""
        known = self._open()
        shared = known.get(rest)
        if shared is None:
            known[rest] = needle
            return 0
        if type(shared) is not list:
            known[rest] = [shared, needle]  # type: ignore[list-item]
            return 1
        count = len(shared)
        if count < most:
            shared.append(needle)
        return count

    @property
    def is_empty(self) -> bool:
        """Whether there is no needle."""
        return not self._open()

    @property
    def has_many(self) -> bool:
        """Whether this is an index of many anchors, and not of one."""
        return len(self.first) == 1 and len(self._open()) >= _MANY

    def choose_test(self) -> str:
        """Return a text that each text with one of the anchors has, and few others.

        To find a rare character takes a tenth of the time for a whole anchor.
        """
        known = self._open()
        self._beginning = self.first
        if len(known) == 1 and self._group is not DIGITS:
            self._beginning += next(iter(known))
        rarest = min(self._beginning, key=rarity)
        return rarest if rarest in _RAREST else self._beginning

    def remove(self, gone: Gone) -> None:
        """Remove needles."""
        # A search that has begun reads the dict and the lists before: it would skip a needle of
        # a shorter list.
        texts = set().union(*gone.values())
        left = {
            rest: shared
            for rest, shared in self._open().items()
            if type(shared) is list or shared not in texts or shared not in gone[type(shared)]
        }
        for rest, shared in list(left.items()):
            if type(shared) is list:
                left[rest] = [each for each in shared if each not in gone[type(each)]]
                if not left[rest]:
                    del left[rest]
        self._open = conceal(left)

    def are_absent(self, text: str) -> bool:
        """Return whether none of the anchors is in ``text``."""
        if self._beginning not in text:
            return True
        if len(text) <= _LARGE:
            found = self._anchors().findall(text, 0, self._limit)
            return not found or self._open().keys().isdisjoint(found)
        places = self._anchors().finditer(text, 0, self._limit)
        return self._open().keys().isdisjoint(match[1] for match in places)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each needle in ``text`` that has one of the anchors."""
        compared: dict[str, int] = {}
        for match in self._anchors().finditer(text, 0, self._limit):
            shared = self._open().get(match[1], ())
            anchor = self.first + match[1]
            for needle in (shared,) if isinstance(shared, str) else shared:
                if isinstance(needle, Hex):
                    index = find_byte(needle, anchor.lower(), len(needle)) // 2
                    yield from find_hex(text, match.start(), needle, index)
                elif isinstance(needle, Unescaped):
                    start = match.start() - needle.find(anchor)
                    if start >= 0 and text.startswith(needle, start):
                        yield start, start + len(needle)
                elif match.start() >= compared.get(needle, 0):
                    # Wherever the needle has its anchor, the text of it has the same one.
                    index = needle.find(anchor)
                    start, stop, found = find_around(text, match.start(), needle, index)
                    is_word = isinstance(needle, Word)
                    if found and not (is_word and is_inside_word(text, start, stop)):
                        yield start, stop
                    if stop - start > FAR:
                        compared[needle] = stop


class EscapedIndex:
    """Needles without a letter or a digit, which have no anchor in escaped form."""

    __slots__ = ("_open",)

    first = ""

    def __init__(self) -> None:
        self._open = conceal(list[str]())

    has_many = False

    def add(self, needle: str, rest: str, most: int = maxsize) -> int:
        """Add a needle; it has no anchor, so that none has the same one."""
        del rest, most
        self._open().append(needle)
        return 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no needle."""
        return not self._open()

    def choose_test(self) -> str:
        """Return the empty text, which each text has."""
        return ""

    def remove(self, gone: Gone) -> None:
        """Remove needles."""
        self._open = conceal([each for each in self._open() if each not in gone[type(each)]])

    def are_absent(self, text: str) -> bool:
        """Return whether none of the needles is in ``text``."""
        return not any(True for _ in self.spans(text))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each needle at the beginning of ``text``."""
        for needle in self._open():
            yield from find_escaped(text[:SEARCHED], needle)


Index: TypeAlias = AnchorIndex | EscapedIndex


def is_anchor(text: str) -> bool:
    """Return whether a text consists of letters and digits, which most encoders leave alone."""
    return text.isalnum() and text.isascii()


def find_byte(digits: str, byte: str, end: int) -> int:
    """Return where a byte is in hex digits, or -1."""
    at = digits.find(byte, 0, end)
    while at > 0 and at % 2:
        at = digits.find(byte, at + 1, end)
    return at


def rarity(char: str) -> tuple[int, str]:
    """Return a key that sorts characters by how rare they are in log lines, the rarest first."""
    at = _RARITY.find(char)
    return (at if at >= 0 else len(_RARITY), char)
