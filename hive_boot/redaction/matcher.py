"""Matcher: finds all hidden values in a text at once."""

from __future__ import annotations

import re
from functools import cache
from sys import maxsize
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction import conceal
from hive_boot.redaction.decoding import (
    FAR,
    RUN,
    SEPARATORS,
    find_around,
    find_escaped,
    find_hex,
    is_inside_word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

MASK = "***"
"""Replacement of a value."""

_KNOWN = 1000
"""Maximum number of texts without a needle that are remembered."""

_ANCHOR = 4
"""Maximum number of characters of an anchor."""


# Compiled for the first value that needs them: it takes a part of a start.
_compiled = cache(re.compile)
_LONG_RUN = f"[A-Za-z0-9]{{{_ANCHOR},}}"
"""Letters and digits that are searched for in a text of any length."""

_SEARCHED = 1 << 14
"""Characters of a text in which needles without such a run are searched for in escaped form."""

_HEAD = 96
"""Characters of a needle in which its anchor is, if they have a run that is long enough."""

_LARGE = 1 << 16
"""Maximum number of characters of a text whose anchors are collected in a list."""

_RARE = ("ZQXJKVY~^`|", "7zqxj;$@!#&*?+<>\\", "HSPWGUBF98%}{][)(kvwM", "6543210LDCRTANOIE")
"""Characters that are rare in log lines, the rarest first. All others are common.

The levels of ``logging`` are words in capitals, the year is in every time stamp, and many records
are of the MainThread.
"""

_RAREST = "".join(_RARE[:2])
"""Characters that few lines have."""

_RARITY = "".join(_RARE)

_EXAMINED = 8000
"""Number of needles that have to have one of the chosen characters; others often have one too."""

_SAMPLE = 300
"""Number of needles that are counted to choose the next character."""

_WHOLE = 16
"""Maximum number of needles that a text is searched for by their anchors, not by a character."""

_WORTH = 6
"""Number of needles that are worth a character that is not one of the rarest.

Many lines have such a character, and then it has to be examined what is behind it.
"""

_CROWDED = 16
"""Number of needles with the same anchor from which on another anchor is preferred.

All of them are compared where a text has the anchor, such as the word that all values begin with.
"""

_COMPARED = 4
"""Number of anchors whose needles are compared, if all of them have too many."""

_MANY = 32
"""Number of searches from which on none is added for a needle whose anchors have too many."""

_GENERATED = r"(?=[A-Za-z]{0,3}\d)(?=([A-Za-z0-9]{4}))"
"""Anchors that are hardly words; they may overlap."""

Needles: TypeAlias = "dict[str, list[tuple[int, str]]]"
"""Needles, with the index of their anchor, by the rest of the anchor."""

Head: TypeAlias = "str | frozenset[str]"
"""Beginnings that the anchor of a needle may have: its characters, or its bytes in hex."""

_Key: TypeAlias = "tuple[type[str], str]"
"""A needle with its class: equal texts of two classes are two needles."""


def _key(needle: str) -> _Key:
    return (type(needle), needle)


class Unescaped(str):
    """A needle that is not searched for in escaped form."""

    __slots__ = ()


class Hex(str):
    """The digits of bytes: they are found in either case, and with a separator between bytes."""

    __slots__ = ()


class Word(str):
    """A needle that is an ordinary word: it is not searched for inside a longer word."""

    __slots__ = ()


_Group: TypeAlias = "tuple[int, str, int]"
"""Needles with anchors of one kind.

It is the number of characters of an anchor, 0 without an anchor; a pattern of those behind the
first one; and the number of characters of a text that are searched.
"""

_ENCODED: _Group = (_ANCHOR, "[A-Za-z0-9]", maxsize)
"""Needles with a run of letters and digits, which are searched for in escaped form too."""

_DIGITS: _Group = (_ANCHOR, f"[0-9A-Fa-f{SEPARATORS}]", maxsize)
"""Needles in hex."""


class _AnchorIndex:
    """Anchors of one length that begin with the same character, or one anchor.

    Needles are added while other threads search.

    Args:
        first: that character, or the anchor.
        group: the needles that it may have.

    Attributes:
        first: that character, or the anchor.
    """

    __slots__ = ("_beginning", "_characters", "_compiled", "_length", "_limit", "_open", "first")

    def __init__(self, first: str, group: _Group) -> None:
        self.first: str = first
        self._beginning = first
        self._length, self._characters, self._limit = group
        self._compiled: re.Pattern[str] | None = None
        needles: Needles = {}
        # No attribute, and no item of an attribute, leads to a needle.
        self._open = conceal(needles)

    def _anchors(self) -> re.Pattern[str]:
        """Return the pattern of anchors, compiled for the first text that may have one."""
        if self._compiled is None:
            rest = f"{self._characters}{{{self._length - len(self.first)}}}"
            # Anchors may overlap, so only the first character is taken.
            pattern = f"{re.escape(self.first[0])}(?={re.escape(self.first[1:])}({rest}))"
            self._compiled = re.compile(pattern, re.DOTALL)
        return self._compiled

    def add(self, needle: str, rest: str, index: int) -> None:
        """Add a needle with an anchor; ``index`` is that of the anchor in the needle."""
        self._open().setdefault(rest, []).append((index, needle))

    @property
    def is_empty(self) -> bool:
        """Whether there is no needle."""
        return not self._open()

    def count(self, rest: str) -> int:
        """Return the number of needles with an anchor."""
        return len(self._open().get(rest, ()))

    def choose_test(self) -> str:
        """Return a text that each text with one of the anchors has, and few others.

        To find a rare character takes a tenth of the time for a whole anchor.
        """
        known = self._open()
        self._beginning = self.first + next(iter(known)) if len(known) == 1 else self.first
        rarest = min(self._beginning, key=_rarity)
        return rarest if rarest in _RAREST else self._beginning

    def remove(self, needles: Collection[_Key], rest: str) -> None:
        """Remove needles with an anchor."""
        known = self._open()
        # A search that has begun reads the list before: it would skip a needle of a shorter one.
        texts = {text for _, text in needles}
        known[rest] = [
            each for each in known[rest] if each[1] not in texts or _key(each[1]) not in needles
        ]
        if not known[rest]:
            del known[rest]

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
            for index, needle in self._open().get(match[1], ()):
                if isinstance(needle, Hex):
                    yield from find_hex(text, match.start(), needle, index)
                elif isinstance(needle, Unescaped):
                    start = match.start() - index
                    if start >= 0 and text.startswith(needle, start):
                        yield start, start + len(needle)
                elif match.start() >= compared.get(needle, 0):
                    start, stop, found = find_around(text, match.start(), needle, index)
                    is_word = isinstance(needle, Word)
                    if found and not (is_word and is_inside_word(text, start, stop)):
                        yield start, stop
                    if stop - start > FAR:
                        compared[needle] = stop


class _EscapedIndex:
    """Needles without a letter or a digit, which have no anchor in escaped form."""

    __slots__ = ("_open",)

    first = ""

    def __init__(self) -> None:
        self._open = conceal(list[str]())

    def count(self, rest: str) -> int:
        """Return the number of needles."""
        del rest
        return len(self._open())

    def add(self, needle: str, rest: str, index: int) -> None:
        """Add a needle; it has no anchor."""
        del rest, index
        self._open().append(needle)

    @property
    def is_empty(self) -> bool:
        """Whether there is no needle."""
        return not self._open()

    def choose_test(self) -> str:
        """Return the empty text, which each text has."""
        return ""

    def remove(self, needles: Collection[_Key], rest: str) -> None:
        """Remove needles."""
        del rest
        self._open = conceal([each for each in self._open() if _key(each) not in needles])

    def are_absent(self, text: str) -> bool:
        """Return whether none of the needles is in ``text``."""
        return not any(True for _ in self.spans(text))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each needle at the beginning of ``text``."""
        for needle in self._open():
            yield from find_escaped(text[:_SEARCHED], needle)


_Index: TypeAlias = _AnchorIndex | _EscapedIndex

_Place: TypeAlias = tuple[_Index, str, str, int]
"""The index of a needle, the needle, the rest of its anchor, and where that is in the needle."""


class _NeedleIndex:
    """All needles of a matcher; they are added and removed while other threads search.

    Args:
        needles: the first needles, for which few and rare characters are chosen.

    Attributes:
        searches: the indexes in which a text is looked up, if it has what is before them.
    """

    __slots__ = ("_groups", "_known", "searches")

    def __init__(self, needles: Sequence[str]) -> None:
        self.searches: tuple[tuple[str, _Index], ...] = ()
        self._known = conceal(dict[_Key, tuple[int, list[_Place]]]())
        examined = needles[:: len(needles) // _EXAMINED + 1]
        heads = {_beginnings(each[:_HEAD]) for each in examined if type(each) is str}
        pairs = {
            frozenset(each[at : at + 2] for at in range(0, min(len(each) - 2, _HEAD), 2))
            for each in examined
            if type(each) is Hex
        }
        self._groups: dict[_Group, list[_Index]] = {
            group: [_AnchorIndex(first, group) for first in beginnings]
            for group, beginnings in (
                (_ENCODED, _choose_beginnings(heads, _WHOLE)),
                (_DIGITS, _choose_beginnings(pairs, 0)),
            )
        }
        self.add(needles)

    def add(self, texts: Iterable[str]) -> None:
        """Add needles; one that is added twice has to be removed twice."""
        known = self._known()
        for text in filter(None, texts):
            key = _key(text)
            count, places = known.get(key) or (0, [*self._places(text)])
            known[key] = (count + 1, places)
            for index, needle, rest, at in places if not count else ():
                index.add(needle, rest, at)
        self._publish()

    def remove(self, texts: Iterable[str]) -> None:
        """Remove needles that were added."""
        known = self._known()
        gone: dict[tuple[_Index, str], set[_Key]] = {}
        for text in filter(None, texts):
            key = _key(text)
            count, places = known.pop(key)
            if count > 1:
                known[key] = (count - 1, places)
            else:
                for index, needle, rest, _ in places:
                    gone.setdefault((index, rest), set()).add(_key(needle))
        for (index, rest), needles in gone.items():
            index.remove(needles, rest)
        self._publish()

    def _places(self, text: str) -> Iterable[_Place]:
        """Return where a needle belongs."""
        if isinstance(text, Hex):
            return self._hex_places(text)
        if type(text) is str and len(text) >= _ANCHOR:
            # This is what the rest does, for nearly all needles, and in less time.
            end = min(len(text), _HEAD) - _ANCHOR
            crowded: dict[int, _Place] = {}
            for index in self._groups.get(_ENCODED, ()):
                last = end + len(index.first)
                at = text.find(index.first, 0, last)
                while at >= 0:
                    anchor = text[at : at + _ANCHOR]
                    if anchor.isalnum() and anchor.isascii():
                        rest = anchor[len(index.first) :]
                        shared = index.count(rest)
                        if shared < _CROWDED:
                            return ((index, text, rest, at),)
                        crowded[shared] = (index, text, rest, at)
                    at = text.find(index.first, at + 1, last)
                if len(crowded) >= _COMPARED:
                    break
            if crowded:
                return (self._distinctive_place(text) or crowded[min(crowded)],)
        found = []
        for group, needle, runs in _searches(text):
            index, at = self._place(group, needle, runs)
            found.append((index, needle, needle[at + len(index.first) : at + group[0]], at))
        return found

    def _place(
        self, group: _Group, needle: str, runs: Iterable[tuple[int, int]]
    ) -> tuple[_Index, int]:
        """Return the index of a needle in a group, and where its anchor is."""
        indexes = self._groups.setdefault(group, [])
        for index in indexes:
            behind = group[0] - len(index.first)
            for start, end in runs:
                if (at := needle.find(index.first, start, end - behind)) >= 0:
                    return index, at
        first = min(_head(needle, group, runs), key=_rarity) if group is not _DIGITS else needle[:2]
        if group is _ENCODED and sum(len(index.first) > 1 for index in indexes) < _WHOLE:
            # Most lines have a character, and hardly any has an anchor: it costs next to nothing.
            places = (needle.find(first, start, end - _ANCHOR + 1) for start, end in runs)
            at = next(place for place in places if place >= 0)
            generated = [match[1] for match in _compiled(_GENERATED).finditer(needle, 0, _HEAD)]
            first = min(generated, key=_rarest, default=needle[at : at + _ANCHOR])
        indexes.append(_AnchorIndex(first, group) if group[0] else _EscapedIndex())
        return self._place(group, needle, runs)

    def _distinctive_place(self, text: str) -> _Place | None:
        """Return a place with an anchor that no other needle has; None if there are many such."""
        indexes = self._groups[_ENCODED]
        if len(indexes) >= _MANY:
            return None
        known = {index.first for index in indexes}
        for match in _compiled(_GENERATED).finditer(text, 0, _HEAD):
            if match[1] not in known:
                indexes.append(_AnchorIndex(match[1], _ENCODED))
                return indexes[-1], text, "", match.start()
        return None

    def _hex_places(self, digits: Hex) -> Iterator[_Place]:
        """Yield the same for each way to write bytes; where an anchor is, is counted in bytes."""
        end = min(len(digits) - 2, _HEAD)
        places = (_find_byte(digits, each.first, end) for each in self._groups.get(_DIGITS, ()))
        at = next((place for place in places if place >= 0), None)
        if at is None:
            at = next(
                (place for place in range(0, end, 2) if digits[place : place + 2].isdigit()), 0
            )
        anchor = digits[at : at + _ANCHOR]
        for written in (anchor,) if anchor.isdigit() else (anchor, anchor.upper()):
            index, _ = self._place(_DIGITS, written, [(0, _ANCHOR)])
            for rest in (written[2:], *[f"{separator}{written[2]}" for separator in SEPARATORS]):
                yield index, digits, rest, at // 2

    def _publish(self) -> None:
        """Make the indexes visible to searches; those of the longest anchors are the first."""
        for group, indexes in self._groups.items():
            self._groups[group] = [each for each in indexes if not each.is_empty]
        groups = sorted(self._groups, reverse=True)
        ordered = [each for group in groups for each in self._groups[group]]
        self.searches = tuple([(each.choose_test(), each) for each in ordered])


class Matcher:
    """Finds needles in texts, escaped or not, and replaces them.

    Args:
        needles: returns what to find, when the first text is examined; the empty text is
            ignored. Two threads may call it at the same time.

    Attributes:
        known_clean: texts without a needle that are often the same.
    """

    __slots__ = ("_built", "_index", "_needles", "known_clean")

    def __init__(self, needles: Callable[[], Iterable[str]]) -> None:
        self._needles = needles
        self._built: dict[str, _NeedleIndex] = {}
        self._index: _NeedleIndex | None = None
        self.known_clean: set[str] = set()

    @property
    def is_built(self) -> bool:
        """Whether a text was examined."""
        return self._index is not None

    def build(self) -> _NeedleIndex:
        """Return the index of the needles, which the first call creates."""
        if self._index is None:
            # Of two threads that create one, both use the one that is added to later.
            self._index = self._built.setdefault("index", _NeedleIndex([*self._needles()]))
        return self._index

    def update(self, *, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add and remove needles of a matcher that is built; the added ones are found at once."""
        index = self.build()
        index.add(added)
        # Another thread may still add a text to the old set, which was examined before.
        self.known_clean = set()
        index.remove(removed)

    def is_clean(self, text: str) -> bool:
        """Return whether a text has no needle; it is called for every log line."""
        for first, index in (self._index or self.build()).searches:
            if first in text and not index.are_absent(text):
                for _ in index.spans(text):
                    return False
        return True

    def is_known_clean(self, text: str) -> bool:
        """Return the same for a text that is often the same: it is remembered if it is clean."""
        known = self.known_clean
        if text not in known:
            if not self.is_clean(text):
                return False
            if len(known) >= _KNOWN:
                known.clear()
            known.add(text)
        return True

    def scrub(self, text: str) -> str:
        """Replace every needle by ``***``; needles that overlap are replaced together.

        A text without a needle is returned unchanged.
        """
        if self.is_clean(text):
            return text
        kept, end = [], 0
        searches = self.build().searches
        for start, stop in sorted(span for _, each in searches for span in each.spans(text)):
            if start >= end:
                kept += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*kept, text[end:]])


def _searches(needle: str) -> Iterator[tuple[_Group, str, list[tuple[int, int]]]]:
    """Yield where the anchor of a needle may start and end, for each search that finds it."""
    if isinstance(needle, Unescaped):
        length = min(_ANCHOR, len(needle))
        yield (length, ".", maxsize), needle, [(0, min(len(needle), _HEAD))]
        return
    for end in (_HEAD, len(needle)):
        if runs := [match.span() for match in _compiled(_LONG_RUN).finditer(needle, 0, end)]:
            yield _ENCODED, needle, runs
            return
    yield from _searches(Unescaped(needle))
    runs = [match.span() for match in _compiled(RUN).finditer(needle)] or [(0, 0)]
    longest = max(end - start for start, end in runs)
    runs = [(start, end) for start, end in runs if end - start == longest]
    yield (longest, _ENCODED[1], _SEARCHED), needle, runs


def _beginnings(text: str) -> str:
    """Return the characters with which an anchor of a text may begin."""
    runs = text.encode("ascii", "replace").translate(_ONLY_RUNS).split()
    return b"".join([run[: 1 - _ANCHOR] for run in runs]).decode()


_ONLY_RUNS = bytes([each if chr(each).isalnum() else ord(" ") for each in range(128)]).ljust(256)
"""Table that replaces all but letters and digits."""


def _find_byte(digits: str, byte: str, end: int) -> int:
    """Return where a byte is in hex digits, or -1."""
    at = digits.find(byte, 0, end)
    while at > 0 and at % 2:
        at = digits.find(byte, at + 1, end)
    return at


def _head(needle: str, group: _Group, runs: Iterable[tuple[int, int]]) -> str:
    """Return the characters of a needle with which its anchor may begin."""
    return "".join([needle[start : end - group[0] + 1] for start, end in runs])


def _rarity(char: str) -> tuple[int, str]:
    at = _RARITY.find(char)
    return (at if at >= 0 else len(_RARITY), char)


def _rarest(anchor: str) -> tuple[int, str]:
    return min(map(_rarity, anchor))


def _choose_beginnings(texts: Collection[Head], whole: int) -> list[str]:
    """Choose few and rare beginnings, so that all of ``texts`` but some have one of them.

    Args:
        texts: what the anchors may begin with.
        whole: the number of texts that may be left.
    """
    left = list(texts)
    chosen = []
    every = sorted(set().union(*texts))
    # Two decimal digits are the same in either case.
    decimal = [each for each in every if len(each) > 1 and each.isdigit()]
    for beginnings in (*_RARE, decimal, every):
        worth = 1 if beginnings is _RARE[0] else _WORTH
        while left:
            sample = left[:_SAMPLE]
            counts = {each: sum([each in text for text in sample]) for each in beginnings}
            best = max(counts, key=counts.__getitem__, default="")
            if not counts.get(best) or (len(left) <= whole and counts[best] < worth):
                break
            chosen.append(best)
            left = [text for text in left if best not in text]
    return chosen
