"""Decoding: compares a value with a text in which its characters may be escaped.

Each character stands as it is or in any of its escaped forms, whatever the form of the character
beside it, because encoders differ in what they leave alone. Escapes may be escaped once more.

A value has further forms that are not found by decoding a text, such as base64.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from functools import cache, lru_cache
from string import hexdigits
from typing import TYPE_CHECKING, TypeAlias

from hive_boot.redaction import MIN_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = "[A-Za-z0-9]+"
"""Characters that the usual encoders leave alone."""

_MARKERS = "%&=\\'\"`${}"
"""Characters that are the beginning of escaped forms of themselves."""

_TWICE = (
    r"\\[^A-Za-z0-9\s]|\\(?:0(?:4[23567]|7[35])|1(?:34|7[35]))|%%|''|\"\"|'\"'|\{{3}|\}{3}"
    r"|&(?:amp|quot|apos);|&#0*(?:3[45789]|59|61|92|12[35]);"
    r"|(?i:%|=|\\x|[\\%]u00|&#x|\{)0*(?i:2[23567]|3[bd]|5c|7[bd])"
)
"""Escapes of the characters of which escapes consist: each text that is escaped twice has one."""

# Compiled where a value may have been found: no start needs them.
_compiled = cache(re.compile)
_SEGMENT = f"(?s)[^{re.escape(_MARKERS)}]+|."
_PIECE = "(?s)[A-Za-z0-9]+|."

_BACKSLASHES = tuple("\\" * count for count in range(1, 9))
"""Backslashes before an escaped character: each further escaping can double them."""

_CONTROLS = dict(zip("\n\r\t\f\v\b\a\0\x1b\x85\xa0\u2028\u2029", "nrtfvba0eN_LP", strict=True))
"""Letters of the escapes of Python, JSON and YAML."""

_DOUBLED = "'\"`%${}\\"
"""Characters that are escaped by doubling: quotes of SQL and CSV, markers of formats."""

_OTHERS = {
    " ": ("+", "_"),
    "'": ("'\"'\"'", "'\\''", "&apos;"),
    "\n": ("\r\n",),
}

FAR = 256
"""Characters of a value behind which the text that was compared is not compared again.

A value that repeats itself would otherwise be compared from each of its repetitions on.
"""

_AHEAD = 17
"""Characters that are compared before any is decoded."""

_NO_ESCAPE = "[A-Za-z0-9_-]*"
"""Characters with which no escape begins."""

SEPARATORS = ": _.-"
"""Separators between the bytes of a value in hex, or between groups of them."""

_HEX_AHEAD = 16
"""Digits that are compared before all of a value in hex is."""

_CUT = "..."
"""Mark in a value that was shortened; no encoder escapes it."""

_LONGEST = 12
"""Characters of the usual escapes, at most."""

_CHUNK = 32
"""Characters that are split into tokens at a time."""

_SURROGATES = "[\udc80-\udcff]"

_LAST_BYTE = 0xFF

_BEFORE = 16
"""Characters before the distinctive part of an escape."""

_MIN_BASE64 = 4
"""Characters of base64 from which on it is hidden; shorter text occurs in ordinary words."""

LONG = 1 << 16
"""Characters of a value above which it is searched for in fewer forms."""

_HEX = frozenset(hexdigits) | {"-"}
"""Characters of hex digits and of UUIDs: programs write them in either case."""

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

Trie: TypeAlias = "dict[str, Trie]"
"""The forms of a character, one character a level; an empty key ends a form."""

_Escapes: TypeAlias = "tuple[Trie, Trie]"
"""The forms of one character, as it is and escaped: from their first character on, and from their
last one backwards."""


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


def _forms(char: str) -> set[str]:
    """Return all forms of a character."""
    forms = {char, *_OTHERS.get(char, ()), *_byte_escapes(char), *_code_escapes(char)}
    if not _compiled(RUN).match(char):
        letters = {char, _CONTROLS.get(char, char)}
        forms.update(before + letter for before in _BACKSLASHES for letter in letters)
    if char in _DOUBLED:
        forms.add(char * 2)
    return forms


@lru_cache(maxsize=1024)
def _escapes(char: str) -> _Escapes:
    tries: _Escapes = ({}, {})
    for form in _forms(char):
        for trie, written in zip(tries, (form, form[::-1]), strict=True):
            node = trie
            for each in written:
                node = node.setdefault(each, {})
            node[""] = {}
    return tries


def _byte_escapes(char: str) -> Iterator[str]:
    """Return the forms of a character that escape its bytes."""
    code = ord(char)
    raw = char.encode("utf-8", "surrogatepass")
    # Python decodes bytes that are not UTF-8 to surrogates (PEP 383).
    single = code - 0xDC00 if re.match(_SURROGATES, char) else code
    for encoded in (raw, bytes([single])) if single <= _LAST_BYTE else (raw,):
        yield encoded.decode("latin-1")
        for each in _BACKSLASHES:
            yield "".join(f"{each}{byte:03o}" for byte in encoded)
        doubled = (each + letter for each in _BACKSLASHES for letter in ("", "x"))
        for marker in ("%", "%25", "%2525", "=", *doubled):
            yield "".join(f"{marker}{byte:02x}" for byte in encoded)
            yield "".join(f"{marker}{byte:02X}" for byte in encoded)


def _code_escapes(char: str) -> Iterator[str]:
    """Return the forms of a character that escape its code point."""
    code = ord(char)
    utf_16 = char.encode("utf-16-be", "surrogatepass").hex()
    for digits in (utf_16, utf_16.upper()):
        units = [digits[start : start + 4] for start in range(0, len(digits), 4)]
        for marker in ("%u", *(f"{each}u" for each in _BACKSLASHES)):
            yield "".join(marker + unit for unit in units)
    yield from (f"&#{code:0{width}};" for width in range(1, 6))
    yield from _entity_names().get(char, ())
    for digits in (f"{code:x}", f"{code:02x}", f"{code:04x}", f"{code:06x}"):
        for written in (digits, digits.upper()):
            yield from (f"&#x{written};", f"&#X{written};")
            for each in _BACKSLASHES:
                yield from (f"{each}x{{{written}}}", f"{each}u{{{written}}}")
    for each in _BACKSLASHES:
        yield from (f"{each}U{code:08x}", f"{each}U{code:08X}")
        yield from (f"{each}{code:x} ", f"{each}{code:06x}")


@lru_cache(maxsize=1)
def _entity_names() -> dict[str, set[str]]:
    """Return the named entities of HTML for each character."""
    from html.entities import html5  # loaded only where an anchor is found

    found: dict[str, set[str]] = {}
    for name, char in html5.items():
        if name.endswith(";"):
            found.setdefault(char, set()).add(f"&{name}")
    return found


def _step(text: str, places: set[int], char: str, *, back: bool) -> set[int]:
    """Return the places behind one character, escaped at most once; before it if ``back``."""
    forms = _escapes(char)[back]
    found = set()
    for place in places:
        node = forms
        for at in range(place - 1, -1, -1) if back else range(place, len(text)):
            following = node.get(text[at])
            if following is None:
                break
            node = following
            if "" in node:
                found.add(at if back else at + 1)
    return found


@lru_cache(maxsize=1024)
def _edges(char: str, *, back: bool) -> frozenset[str]:
    """Return the characters that one which may be escaped twice begins with; ends if ``back``."""
    once = _escapes(char)[back].keys() - {""}
    return frozenset(edge for each in once for edge in _escapes(each)[back])


def _step_twice(text: str, places: set[int], char: str, *, back: bool) -> set[int]:
    """Return the same for a character that may be escaped twice."""
    found: set[int] = set()
    edges = _edges(char, back=back)
    places = {each for each in places if text[each - back : each - back + 1] in edges}
    todo = [(places, _escapes(char)[back])] if places else []
    while todo:
        reached, node = todo.pop()
        for each, rest in node.items():
            if not each:
                found |= reached
            elif further := _step(text, reached, each, back=back):
                todo.append((further, rest))
    return found


def _tokens(pattern: str, value: str, *, back: bool) -> Iterator[str]:
    """Yield the parts of a value that match a pattern; few of them are needed mostly."""
    if not back:
        for match in _compiled(pattern).finditer(value):
            yield match[0]
    else:
        for end in range(len(value), 0, -_CHUNK):
            yield from reversed(_compiled(pattern).findall(value, max(0, end - _CHUNK), end))


def _pass(text: str, places: set[int], part: str, *, back: bool) -> set[int]:
    """Return the places behind a part of a value that is not escaped; before it if ``back``."""
    if back:
        return {each - len(part) for each in places if text.endswith(part, 0, each)}
    return {each + len(part) for each in places if text.startswith(part, each)}


def _are_unescaped(text: str, places: set[int], length: int, *, back: bool) -> bool:
    """Return whether a text has letters and digits only behind some places; before if ``back``.

    Each escape of a letter or a digit begins with another character.
    """
    if back:
        pieces = [text[max(0, each - length - _BEFORE) : each] for each in places]
    else:
        pieces = [text[each : each + length] for each in places]
    return all(piece.isalnum() and piece.isascii() for piece in pieces)


def _walk(
    text: str, place: int, value: str, step: Callable[..., set[int]], *, back: bool
) -> tuple[set[int], int]:
    """Return the places behind a part of a value; before it if ``back``.

    The second result is the place up to which the text has the value.
    """
    places, last = {place}, min if back else max
    # A backslash before a segment may be a part of its first character.
    for segment in _tokens(_PIECE if back else _SEGMENT, value, back=back):
        if len(segment) > 1 and (found := _pass(text, places, segment, back=back)):
            places = found
            continue
        for token in _tokens(_PIECE, segment, back=back):
            found = _pass(text, places, token, back=back) if len(token) > 1 else set()
            if not found:
                if len(token) > 1 and _are_unescaped(text, places, len(token), back=back):
                    return found, last(places)
                found = places
                for char in reversed(token) if back else token:
                    found = step(text, found, char, back=back)
            if not found:
                return found, last(places)
            places = found
    return places, last(places)


def find_around(text: str, place: int, value: str, index: int) -> tuple[int, int, bool]:
    """Return where a value starts and ends in a text, escaped or not.

    Args:
        text: the text.
        place: the place in the text of the character ``value[index]``, which is not escaped.
        value: the value.
        index: an index of the value.

    Returns:
        Start, end and whether the value is there. If not, the end is the place up to which the
        text is that of the value.
    """
    start = place - index
    if start < 0 or len(value) - index > len(text) - place:
        return place, place, False
    if text.startswith(value, start):
        return start, start + len(value), True
    if _CUT in value:
        reach = _LONGEST * len(value)
        if text.find(_CUT, max(0, place - reach), place + reach) < 0:
            return place, place, False
    expected = value[index + 1 : index + _AHEAD]
    ahead = text[place + 1 : place + 1 + len(expected)]
    # A value without a letter or a digit may begin with an escape.
    if (
        ahead != expected
        and _compiled(RUN).match(text, place)
        and _compiled(_NO_ESCAPE).fullmatch(ahead)
    ):
        return place, place, False
    begun = reached = place
    starts: set[int] = set()
    for step in (_step, _step_twice):
        near = text[max(0, begun - _BEFORE) : reached + _BEFORE]
        if step is _step_twice and not _compiled(_TWICE).search(near):
            break
        # A repeated value ends at its first characters, not after all of its length.
        backward = (starts, begun) if starts else _walk(text, place, value[:index], step, back=True)
        starts, begun = backward
        if starts:
            ends, reached = _walk(text, place, value[index:], step, back=False)
            if ends:
                return min(starts), reached, True
    return place, reached, False


def find_escaped(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Return where a value without a letter or a digit starts and ends in a text."""
    parts = {max([*_compiled(RUN).findall(form), form[-1:]], key=len) for form in _forms(value[0])}
    pattern = "|".join(re.escape(part) for part in sorted(parts))
    end = 0
    for match in re.finditer(pattern, text):
        for place in range(max(end, match.start() - _BEFORE), match.start() + 1):
            end = place + 1
            start, reached, found = find_around(text, place, value, 0)
            if found:
                yield start, reached
            if found or reached - place > FAR:
                end = reached
                break


def find_hex(text: str, place: int, digits: str, index: int) -> Iterator[tuple[int, int]]:
    """Yield where bytes in hex start and end in a text.

    Args:
        text: the text.
        place: the place of one of the bytes in the text.
        digits: all bytes, without separators, in small letters.
        index: the number of bytes before that one.
    """
    before, behind = digits[: index * 2], digits[index * 2 :]
    for ahead in (behind[:_HEX_AHEAD], behind):
        if not _digits(text[place : place + len(ahead) * 3 // 2]).startswith(ahead):
            return
    if _digits(text[max(0, place - len(before) * 3 // 2) : place]).endswith(before):
        yield _pass_digits(text, place, before, -1), _pass_digits(text, place, behind, 1)


def _digits(text: str) -> str:
    return text.translate(_NO_SEPARATORS).lower()


_NO_SEPARATORS = str.maketrans("", "", SEPARATORS)


def _pass_digits(text: str, place: int, digits: str, step: int) -> int:
    """Return the place behind as many hex digits; before them if ``step`` is negative."""
    left = len(digits)
    while left:
        left -= text[place - (step < 0)] in hexdigits
        place += step
    return place


_ESCAPE_BEFORE = 16
"""Characters before a word in which there can be an escape."""

_LETTER = "[A-Za-z]"
_END_OF_ESCAPE = (
    r"(?:\[[0-9;]+m|(?:[%=]|%25|\\x)[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}"
    r"|\\[A-Za-z]|(?:^|\s)-[A-Za-z])$"
)
"""End of a line end, a character, a colour, or the name of an option: the word begins behind it."""


def is_inside_word(text: str, start: int, stop: int) -> bool:
    """Return whether a part of a text is inside a longer word."""
    if re.match(_LETTER, text[stop : stop + 1]):
        return True
    before = text[max(0, start - _ESCAPE_BEFORE) : start]
    return bool(re.search(f"{_LETTER}$", before)) and not re.search(_END_OF_ESCAPE, before)


def base64_decoded(text: str) -> str:
    """Return the text that base64 encodes, also in lines; the empty text for any other text."""
    written = "".join(text.split()).rstrip("=").translate({45: 43, 95: 47})
    if len(written) % 4 == 1:
        return ""
    try:
        decoded = a2b_base64(written + "=" * (-len(written) % 4), strict_mode=True).decode()
    except ValueError:
        return ""
    return decoded if "".join(decoded.split()).isprintable() else ""


def decoded_texts(value: str | bytes) -> set[str]:
    """Return the value as text, if it is UTF-8: unchanged, stripped, and decoded."""
    try:
        text = value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        return set()
    # A key in a variable often has its line ends escaped, and the program unescapes them.
    found = {text, text.strip(), text.replace("\\n", "\n")}
    if len(text) <= LONG:
        found |= {base64_decoded(text)} - {""}
        if "%" in text and any(each in text.upper() for each in ("%22", "%3A", "%3D")):
            from urllib.parse import unquote_plus  # loaded only for values that need it

            # A parameter of a URL may be a connection string.
            found.add(unquote_plus(text))
    return found


def decodings(value: bytes) -> set[str]:
    """Return the texts that a program may decode bytes to, beside UTF-8."""
    # Python decodes environment variables with surrogateescape (PEP 383).
    utf_8 = {value.decode("utf-8", errors) for errors in ("replace", "surrogateescape")}
    return utf_8 | {value.decode("latin-1")}


def plain_variants(text: str) -> Iterator[str]:
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


def encodings(value: str | bytes) -> list[str]:
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
    for width in _WRAPPED if _WRAPPED[0] < len(whole) and size <= LONG else ():
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
