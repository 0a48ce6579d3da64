"""Needles: the forms of hidden values that a text is searched for, by a short part of each."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import compress, repeat
from operator import is_
from sys import maxsize
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction import conceal
from hive_boot.redaction.decoding import (
    FAR,
    KINDS,
    RUN,
    SEPARATORS,
    Hex,
    Unescaped,
    Word,
    find_around,
    find_escaped,
    find_hex,
    is_inside_word,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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

_KNOWN = 1000
"""Maximum number of kinds of texts of which it is remembered where they differ."""

# Compiled for the first value that needs them: it takes a part of a start.
_compiled = cache(re.compile)
_LONG_RUN = f"[A-Za-z0-9]{{{ANCHOR},}}"
"""Letters and digits that are searched for in a text of any length."""

_HEAD = 96
"""Characters of a needle in which its anchor is, if they have a run that is long enough."""

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

_ALIKE = 64
"""Number of needles with the same anchor from which on another character is searched for."""

_ADDED = 4
"""Maximum number of searches that are added for needles whose anchors have too many."""

_GENERATED = r"(?=[A-Za-z]{0,3}\d)(?=([A-Za-z0-9]{4}))"
"""Anchors that are hardly words; they may overlap."""

Needles: TypeAlias = "dict[str, str | list[str]]"
"""The needle with an anchor, or a list of them, by the rest of the anchor.

A dict of texts is left out of garbage collection; one of a thousand tuples is not.
"""

Head: TypeAlias = "str | frozenset[str]"
"""Beginnings that the anchor of a needle may have: its characters, or its bytes in hex."""

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


class NeedleIndex:
    """All needles of a matcher; they are added and removed while other threads search.

    Args:
        needles: the first needles, for which few and rare characters are chosen.

    Attributes:
        searches: the indexes in which a text is looked up, if it has what is before them.
    """

    __slots__ = ("_added", "_counts", "_distinctive", "_groups", "searches")

    def __init__(self, needles: Sequence[str]) -> None:
        self.searches: tuple[tuple[str, Index], ...] = ()
        self._added: set[str] = set()
        # Where texts of one length and beginning differ, by the hash of these: texts that are
        # alike often differ in one place.
        self._distinctive: dict[int, tuple[int, int]] = {}
        self._counts = conceal({kind: dict[str, int]() for kind in KINDS})
        examined = needles[:: len(needles) // _EXAMINED + 1]
        heads = {_beginnings(each[:_HEAD]) for each in examined if type(each) is str}
        pairs = {
            frozenset(each[at : at + 2] for at in range(0, min(len(each) - 2, _HEAD), 2))
            for each in examined
            if type(each) is Hex
        }
        self._groups: dict[Group, dict[str, Index]] = {
            group: {first: AnchorIndex(first, group) for first in beginnings}
            for group, beginnings in (
                (ENCODED, _choose_beginnings(heads, _WHOLE)),
                (DIGITS, _choose_beginnings(pairs, 0)),
            )
        }
        self.add(needles)

    def add(self, texts: Iterable[str]) -> None:
        """Add needles; one that is added twice has to be removed twice."""
        for kind, found in _by_kind(texts):
            known = self._counts()[kind]
            new = [text for text in found if text not in known]
            if len(new) < len(found):
                found.update({text: known.get(text, 0) for text in found})
            known.update(found)
            for text in self._insert_lines(new) if kind is str else new:
                self._insert(text)
        if len(self._distinctive) > _KNOWN:
            self._distinctive.clear()
        self._publish()

    def remove(self, texts: Iterable[str]) -> None:
        """Remove needles that were added."""
        gone: dict[type[str], set[str]] = {kind: set() for kind in KINDS}
        for kind, found in _by_kind(texts):
            known = self._counts()[kind]
            gone[kind] = set(found)
            for text in [text for text, count in found.items() if known[text] > count]:
                gone[kind].discard(text)
                known[text] -= found[text]
            for text in gone[kind]:
                del known[text]
        known = self._counts()[Unescaped]
        for text in known.keys() & (gone[str] | gone[Word]):
            known[text] -= 1
            if not known[text]:
                del known[text]
                gone[Unescaped].add(text)
        if any(gone.values()):
            for indexes in self._groups.values():
                for index in indexes.values():
                    index.remove(gone)
        self._publish()

    def _insert_lines(self, texts: Sequence[str]) -> list[str]:
        """Add those of many texts that have a separate anchor in the indexes of many anchors.

        Returns:
            The other texts.
        """
        indexes = self._groups[ENCODED]
        large = "".join([first for first, each in indexes.items() if each.has_many])
        if not large or not texts:
            return [*texts]
        # One search of all texts, each of which is a line, takes a tenth of the time of many.
        anchor = f"[^{large}\n]*([{large}][A-Za-z0-9]{{{ANCHOR - 1}}})?"
        lines = conceal([text[:_HEAD].replace("\n", " ") for text in texts])
        found = re.compile(rf"{anchor}{anchor}.*\n").findall("\n".join([*lines(), ""]))
        left = []
        for text, (one, other) in zip(texts, found, strict=True):
            if (not one or indexes[one[0]].add(text, one[1:], _CROWDED) >= _CROWDED) and (
                not other or indexes[other[0]].add(text, other[1:], _CROWDED) >= _CROWDED
            ):
                left.append(text)
        return left

    def _insert(self, text: str) -> None:
        if type(text) is str and len(text) >= ANCHOR and self._insert_plain(text):
            return
        if type(text) is Hex:
            self._insert_hex(text)
            return
        group, runs = _search_of(text)
        if type(text) is not Unescaped and group is not ENCODED:
            # Without such a run, it is searched for in escaped form in a part of a text only.
            known = self._counts()[Unescaped]
            known[text] = count = known.get(text, 0) + 1
            if count == 1:
                self._insert(Unescaped(text))
        self._insert_in_group(text, group, runs)

    def _insert_plain(self, text: str) -> bool:
        """Add a text at an anchor that few others have.

        Returns:
            Whether there is an index for it.
        """
        indexes = self._groups[ENCODED]
        alike = hash((len(text), text[:ANCHOR]))
        at, most = self._distinctive.get(alike, (-1, 0))
        if at >= 0 and is_anchor(anchor := text[at : at + ANCHOR]):
            found = indexes.get(anchor[0])
            # A text without any of the few anchors of an index is not examined any further.
            if (
                found is not None
                and (found.has_many or anchor[0] in self._added)
                and found.add(text, anchor[1:], most) < most
            ):
                return True
        end = min(len(text), _HEAD) - ANCHOR
        is_crowded, least = False, maxsize
        best: tuple[Index, str] | None = None
        for first, index in indexes.items():
            size = len(first)
            at = text.find(first, 0, end + size)
            while at >= 0 and least >= _CROWDED:
                if is_anchor(anchor := text[at : at + ANCHOR]):
                    shared = index.add(text, anchor[size:], _CROWDED)
                    is_crowded |= shared >= _CROWDED
                    if shared < least:
                        least, best = shared, (index, anchor[size:])
                        if is_crowded and size == 1:
                            self._distinctive[alike] = at, max(_ALIKE, 2 * shared)
                at = text.find(first, at + 1, end + size)
            if least < _CROWDED:
                return True
        if best is None:
            return False
        index, rest = (least >= _ALIKE and self._distinctive_place(text)) or best
        index.add(text, rest)
        return True

    def _insert_in_group(self, needle: str, group: Group, runs: Iterable[tuple[int, int]]) -> None:
        """Add a needle to a group; ``runs`` are where its anchor may start and end."""
        indexes = self._groups.setdefault(group, {})
        for first, index in indexes.items():
            behind = group[0] - len(first)
            for start, end in runs:
                if (at := needle.find(first, start, end - behind)) >= 0:
                    index.add(needle, needle[at + len(first) : at + group[0]])
                    return
        first = min(_head(needle, group, runs), key=rarity, default="")
        if group is ENCODED and sum(len(each) > 1 for each in indexes) < _WHOLE:
            # Most lines have a character, and hardly any has an anchor: it costs next to nothing.
            places = (needle.find(first, start, end - ANCHOR + 1) for start, end in runs)
            at = next(place for place in places if place >= 0)
            generated = [match[1] for match in _compiled(_GENERATED).finditer(needle, 0, _HEAD)]
            first = min(generated, key=_rarest, default=needle[at : at + ANCHOR])
        if group[0]:
            indexes[first] = AnchorIndex(first, group)
        else:
            indexes[""] = EscapedIndex()
        self._insert_in_group(needle, group, runs)

    def _distinctive_place(self, text: str) -> tuple[Index, str] | None:
        """Return a place in the index of one more character; None if there were several."""
        indexes = self._groups[ENCODED]
        if len(self._added.intersection(indexes)) >= _ADDED:
            return None
        found = [match[1] for match in _compiled(_GENERATED).finditer(text, 0, _HEAD)]
        firsts = [anchor[0] for anchor in found if anchor[0] not in indexes]
        if not firsts:
            return None
        # Of a common character, one of its anchors is likely to be where the texts differ.
        first = max(firsts, key=firsts.count)
        index = indexes[first] = AnchorIndex(first, ENCODED)
        self._added.add(first)
        self._distinctive.clear()
        return index, next(anchor[1:] for anchor in found if anchor[0] == first)

    def _insert_hex(self, digits: str) -> None:
        """Add the digits of bytes, in small and in capital letters."""
        indexes = self._groups[DIGITS]
        end = min(len(digits) - 2, _HEAD)
        for first in indexes:
            if (at := find_byte(digits, first, end)) >= 0:
                break
        else:
            places = range(0, end, 2)
            at = next((each for each in places if digits[each : each + 2].isdigit()), 0)
        anchor = digits[at : at + ANCHOR]
        for written in (anchor,) if anchor.isdigit() else (anchor, anchor.upper()):
            first = written[:2]
            if first not in indexes:
                indexes[first] = AnchorIndex(first, DIGITS)
            indexes[first].add(digits, written[2:])

    def _publish(self) -> None:
        """Make the indexes visible to searches; those of the longest anchors are the first."""
        for group, indexes in self._groups.items():
            used = {first: each for first, each in indexes.items() if not each.is_empty}
            self._groups[group] = used
        groups = sorted(self._groups, reverse=True)
        ordered = [each for group in groups for each in self._groups[group].values()]
        self.searches = tuple([(each.choose_test(), each) for each in ordered])


def _by_kind(texts: Iterable[str]) -> list[tuple[type[str], Counter[str]]]:
    """Return how often each needle is among ``texts``, by its class; the empty text is ignored."""
    found = [*filter(None, texts)]
    kinds = [*map(type, found)]
    return [
        (kind, Counter(compress(found, map(is_, kinds, repeat(kind)))))
        for kind in dict.fromkeys(kinds)
    ]


def _search_of(needle: str) -> tuple[Group, list[tuple[int, int]]]:
    """Return the group of a needle, and where its anchor may start and end."""
    if isinstance(needle, Unescaped):
        return (min(ANCHOR, len(needle)), ".", maxsize), [(0, min(len(needle), _HEAD))]
    for end in (_HEAD, len(needle)):
        if runs := [match.span() for match in _compiled(_LONG_RUN).finditer(needle, 0, end)]:
            return ENCODED, runs
    runs = [match.span() for match in _compiled(RUN).finditer(needle)] or [(0, 0)]
    longest = max(end - start for start, end in runs)
    runs = [(start, end) for start, end in runs if end - start == longest]
    return (longest, ENCODED[1], SEARCHED), runs


def _beginnings(text: str) -> str:
    """Return the characters with which an anchor of a text may begin."""
    runs = text.encode("ascii", "replace").translate(_ONLY_RUNS).split()
    return b"".join([run[: 1 - ANCHOR] for run in runs]).decode()


_ONLY_RUNS = bytes([each if chr(each).isalnum() else ord(" ") for each in range(128)]).ljust(256)
"""Table that replaces all but letters and digits."""


def _head(needle: str, group: Group, runs: Iterable[tuple[int, int]]) -> str:
    """Return the characters of a needle with which its anchor may begin."""
    return "".join([needle[start : end - group[0] + 1] for start, end in runs])


def _rarest(anchor: str) -> tuple[int, str]:
    return min(map(rarity, anchor))


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
    for beginnings in (*RARE, decimal, every):
        worth = 1 if beginnings is RARE[0] else _WORTH
        while left:
            sample = left[:_SAMPLE]
            counts = {each: sum([each in text for text in sample]) for each in beginnings}
            best = max(counts, key=counts.__getitem__, default="")
            if not counts.get(best) or (len(left) <= whole and counts[best] < worth):
                break
            chosen.append(best)
            left = [text for text in left if best not in text]
    return chosen
