"""Needles: the forms of hidden values that a text is searched for, by a short part of each.

A value, and each secret that is embedded in it, has further forms that are not found by decoding a
text, such as base64.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from string import hexdigits
from sys import maxsize
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction import MIN_LINE, conceal
from hive_boot.redaction.decoding import (
    FAR,
    SEPARATORS,
    base64_decoded,
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

_MIN_BASE64 = 4
"""Characters of base64 from which on it is hidden; shorter text occurs in ordinary words."""

_LONG = 1 << 16
"""Characters of a value above which it is searched for in fewer forms."""

_HEX = frozenset(hexdigits) | {"-"}
"""Characters of hex digits and of UUIDs: programs write them in either case."""

_STRUCTURE = frozenset('=>:@"{[,;|')
"""Characters, beside blanks, of which every value with a secret inside has one; few keys have."""

_REPRLIB = 30
"""Characters of a text that ``reprlib`` shows, without the middle."""

_PYDANTIC = 50
"""Characters of a ``repr`` that pydantic shows, without the middle."""

_IN_C = 200
"""Characters of a ``repr`` that errors of C code show: the format is ``%.200R``."""

_WRAPPED = (64, 76)
"""Line lengths of wrapped base64 (RFC 7468, RFC 2045)."""

_OFFSETS = ((0, 0), (1, 2), (2, 3))
"""Bytes before a value in a group of three, and the characters of base64 that depend on them."""

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


def encoded_variants(value: str | bytes, shortest: int = 1, *, has_parts: bool = True) -> set[str]:
    """Return the value, its embedded secrets, and the forms of both that the matcher needs.

    Args:
        value: the plain value.
        shortest: the minimum length of a form, without white space at its ends. Default 1.
        has_parts: whether secrets can be embedded in the value. Default True.
    """
    stripped = value.strip()
    if len(stripped) < shortest:
        return set()
    found = {*_encodings(stripped)}
    if stripped != value and len(value) <= _LONG:
        found.update(_encodings(value))
    texts = _texts(value)
    for text in texts if isinstance(value, str) else texts | _decodings(value):
        found.update([each for each in _plain_variants(text) if len(each.strip()) >= shortest])
    for text in {each.strip() for each in texts} if has_parts else ():
        if _STRUCTURE.isdisjoint(text) and "%20" not in text and text.split(maxsplit=1) == [text]:
            continue
        from hive_boot.redaction.embedded import (  # few values have any
            distinctive_lines,
            embedded_secrets,
        )

        parts = set(embedded_secrets(text))
        for part in parts.union(distinctive_lines(text)):
            found.update([each for each in _plain_variants(part) if len(each.strip()) >= shortest])
        # A document of a megabyte may have ten thousand parts.
        for part in parts if len(value) <= _LONG else ():
            found.update(_encodings(part))
    return found


def _texts(value: str | bytes) -> set[str]:
    """Return the value as text, if it is UTF-8: unchanged, stripped, and decoded."""
    try:
        text = value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        return set()
    # A key in a variable often has its line ends escaped, and the program unescapes them.
    found = {text, text.strip(), text.replace("\\n", "\n")}
    if len(text) <= _LONG:
        found |= {base64_decoded(text)} - {""}
        if "%" in text and any(each in text.upper() for each in ("%22", "%3A", "%3D")):
            from urllib.parse import unquote_plus  # loaded only for values that need it

            # A parameter of a URL may be a connection string.
            found.add(unquote_plus(text))
    return found


def _decodings(value: bytes) -> set[str]:
    """Return the texts that a program may decode bytes to, beside UTF-8."""
    # Python decodes environment variables with surrogateescape (PEP 383).
    utf_8 = {value.decode("utf-8", errors) for errors in ("replace", "surrogateescape")}
    return utf_8 | {value.decode("latin-1")}


def _plain_variants(text: str) -> Iterator[str]:
    """Return a text, and what a program may make of it before it is escaped."""
    yield Word(text) if is_word(text) else text
    yield from _truncated_variants(text)
    if "%" in text:
        from urllib.parse import unquote, unquote_plus  # loaded only for values that need it

        yield from (unquote(text), unquote_plus(text))
    if not text.isascii():
        from unicodedata import normalize  # loaded only for values that need it

        yield from (normalize("NFC", text), normalize("NFD", text))
    if len(text) >= MIN_LINE and _HEX.issuperset(text) and "-" not in text[:8]:
        for written in (text, text.replace("-", "")):
            yield from (written.lower(), written.upper())


def is_word(text: str) -> bool:
    """Return whether a text may be an ordinary word, which longer words contain."""
    return len(text) < MIN_LINE and bool(re.fullmatch(r"[A-Z]?[a-z]{7,14}", text))


def _truncated_variants(text: str) -> Iterator[str]:
    """Return a long text as Python and pydantic shorten it."""
    if len(text) > _REPRLIB:
        # asyncio shows the arguments of a callback in this form.
        written = repr(text[:13] + text[-14:])
        yield f"{written[1:13]}...{written[-14:-1]}"
    written = repr(text)
    if len(written) > _PYDANTIC:
        # pydantic shows an invalid input in this form.
        yield f"{written[1:25]}...{written[-24:-1]}"
    # An error of C code, such as int(), shows it in this form.
    if len(text) >= _IN_C:
        yield written[1:_IN_C]


def _encodings(value: str | bytes) -> list[str]:
    """Return a value in hex, and in base64 at each of the three offsets in a longer text."""
    raw = _bytes(value)
    size, digits = len(raw), raw.hex()
    found: list[str] = [Hex(digits)] if size > 1 else [Unescaped(digits), Unescaped(digits.upper())]
    whole = ""
    for offset, cut in _OFFSETS:
        encoded = b2a_base64(bytes(offset) + raw, newline=False).decode("ascii")
        whole = whole or encoded
        # A character of base64 encodes 6 bits: those that also encode bits of a neighbour are cut.
        core = encoded[cut : (offset + size) * 8 // 6]
        if len(core) >= _MIN_BASE64:
            found += (core, core.replace("+", "-").replace("/", "_"))
    for width in _WRAPPED if _WRAPPED[0] < len(whole) and size <= _LONG else ():
        lines = [whole[start : start + width] for start in range(0, len(whole), width)]
        found += [line.rstrip("=") for line in lines if len(line) >= MIN_LINE and len(lines) > 1]
    return found


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
