"""A value is found in whatever form the characters of it have, each by itself."""

import json
import os
import random
import re
import shlex
from functools import partial
from unicodedata import normalize
from urllib.parse import quote, quote_plus

import httpx
import yarl
from sqlalchemy import URL

from hive_boot.redaction import MASK, MIN_LENGTH
from hive_boot.redaction.registry import Matcher, encoded_variants
from tests.fixtures.cases import case
from tests.redaction.log_output import shown
from tests.redaction.spelling import GENERATORS, encoders

VALUES = int(os.environ.get("FUZZ_VALUES", "50"))
"""Number of random values; the bar of 2,000 takes some minutes."""

PARTIAL = 6
"""Characters around a mask that may be the rest of an escape, not of the value."""


def is_hidden(text: str) -> bool:
    """Return whether nothing but quotes and backslashes is beside the mask."""
    return text.startswith("x=") and MASK in text and len(text) <= len(f"x={MASK}; y") + PARTIAL


def test_no_random_value_is_shown_by_any_encoder() -> None:
    """Whatever set of characters an encoder leaves as they are, no value is shown."""
    rng = random.Random(17)  # noqa: S311  (the same values each time)
    for number in range(VALUES):
        value = GENERATORS[number % len(GENERATORS)](rng)
        matcher = Matcher(partial(encoded_variants, value, MIN_LENGTH))
        for name, write in encoders(rng):
            with case(name, value):
                assert is_hidden(matcher.scrub(f"x={write(value)}; y"))


def test_hardly_any_random_value_is_shown_that_is_escaped_twice() -> None:
    """Of values that two encoders escaped one after the other, at most one in 100 is shown."""
    rng = random.Random(18)  # noqa: S311  (the same values each time)
    tries = 0
    leaks = []
    for number in range(VALUES):
        value = GENERATORS[number % len(GENERATORS)](rng)
        matcher = Matcher(partial(encoded_variants, value, MIN_LENGTH))
        known = list(encoders(rng))
        for _ in range(8):
            (one, first), (other, second) = rng.choice(known), rng.choice(known)
            tries += 1
            if not is_hidden(matcher.scrub(f"x={second(first(value))}; y")):
                leaks.append((one, other, value))

    assert len(leaks) * 100 <= tries, leaks


def test_no_client_library_shows_a_value() -> None:
    """The URLs of clients, which leave different characters as they are, show no password."""
    for value in ("q8/fXw9k+Q2LmZ7tRb4vNc1y", "Wd7!rT+mQ2zx,9Lp=", "it's~Fine:50%/@012345"):
        engine = URL.create("postgresql", "app", value, "db").render_as_string(hide_password=False)
        for url in (
            engine,
            engine.replace("%", "%%"),
            str(httpx.URL("https://h/").copy_with(username="u", password=value)),
            str(httpx.URL("https://h/", params={"key": value})),
            str(yarl.URL("https://h/x").with_query(key=value)),
            str(yarl.URL.build(scheme="https", host="h", user="u", password=value)),
            f"https://h/?key={quote(quote(value, safe=''))}",
            f"https://h/?key={quote_plus(quote_plus(value))}",
        ):
            with case(value, url):
                told = shown(url, value)

                assert MASK in told
                assert value[-6:] not in told


DOUBLED = {
    "SQL": "ALTER ROLE svc PASSWORD 'it''s-Fine/\u00e9\"012345'",
    "CSV": '"it\'s-Fine/\u00e9""012345"',
    "shlex": shlex.join(["it's-Fine/\u00e9\"012345"]),
    "a shell's backslash": "it'\\''s-Fine/\u00e9\\\"012345",
    "XML": "it&apos;s-Fine/&#233;&quot;012345",
    "XML in hex": "it&#x27;s-Fine/&#xE9;&#34;012345",
    "HTML": "it&#39;s-Fine/&eacute;&quot;012345",
    "HTML twice": "it&amp;#39;s-Fine/&amp;eacute;&amp;quot;012345",
    "capitals": "it\\x27s-Fine\\x2F\\xE9\\u0022012345",
    "JavaScript in capitals": "it\\u0027s-Fine\\/\\u00E9\\u0022012345",
    "twice in a URL": "it%2527s-Fine%252F%25C3%25A9%2522012345",
    "three times in a URL": "it's-Fine%25252F%2525C3%2525A9%252522012345",
    "old JavaScript": "it's-Fine/%u00E9%22012345",
    "Latin-1 in a URL": "it's-Fine/%E9%22012345",
    "UTF-8 read as Latin-1": "it's-Fine/\u00c3\u00a9\"012345",
    "HTML5": "it&apos;s-Fine&sol;&eacute;&quot;012345",
    "HTML with zeros": "it&#0039;s-Fine&#x00002F;&#00233;&#34;012345",
    "CSS": "it\\000027s-Fine\\00002f\\0000e9\\000022012345",
    "regular expression": re.escape("it's-Fine/\u00e9\"012345"),
    "decomposed": normalize("NFD", "it's-Fine/\u00e9\"012345"),
    "decomposed in JSON": "it's-Fine/e\\u0301\\\"012345",
    "decomposed in a URL": "it's-Fine%2fe%cc%81%22012345",
    "repr of JSON": "it\\'s-Fine/\\\\u00e9\\\\\"012345",
    "LDAP": "it\\27s-Fine\\2f\\c3\\a9\\22012345",
    "mail": "it=27s-Fine/=C3=A9=22012345",
    "YAML": "it''s-Fine/\\xE9\\\"012345",
}


def test_each_kind_of_escape_is_found() -> None:
    """Quotes that are doubled, entities, and escapes in capitals or twice show nothing."""
    for name, written in DOUBLED.items():
        with case(name):
            told = shown(f"<{written}>", "it's-Fine/\u00e9\"012345")

            assert MASK in told
            assert "Fine" not in told
            assert "012345" not in told


TWICE = {
    "two shells": ("it's-fake-012345", shlex.quote(shlex.quote("it's-fake-012345")).strip("'\"")),
    "two formats": ("fake{value}012345", "fake{{{{value}}}}012345"),
    "a format in a URL": ("fake{value}012345", quote("fake{{value}}012345")),
    "a format in octal": ("fake{value}012345", "fake\\173\\173value\\175\\175012345"),
    "a number of an entity in a URL": ("fake/value/012345", "fake&%2347;value&#47%3B012345"),
    "a number of an entity in JavaScript": ("fake/value/012345", "fake&\\u002347;value&#47;012345"),
    "an entity in an entity": ("fake<value/012345", "fake&lt&#59;value&&#35;47;012345"),
    "far before the rest": (
        "d'été, naïve, señor-012345",
        "d'\\\\''\\xc3\\xa9t\\xc3\\xa9, na\\xc3\\xafve, se\\xc3\\xb1or-012345",
    ),
}
"""Label to a value, and the form that two encoders after each other give it."""


def test_the_signs_of_escapes_are_escaped_once_more() -> None:
    """The second encoder escapes some characters of an escape only, wherever the escape is."""
    for name, (value, written) in TWICE.items():
        with case(name):
            told = shown(f"<{written}>", value)

            assert MASK in told
            assert "fake" not in told
            assert "012345" not in told


def test_every_backslash_of_an_escape_is_removed() -> None:
    """What is left of a string in JSON has no backslash, which would escape the next character."""
    rest = "-fake-012345"
    for char in ("\u00e9", "\u6f22", "\U00018d09"):
        octal = "".join(f"\\{byte:03o}" for byte in char.encode())
        raw = "".join(f"\\{byte:02x}" for byte in char.encode())
        code = f"{ord(char):x}"
        escapes = [ascii(char)[1:-1], octal, raw, f"\\x{{{code}}}", f"\\u{{{code}}}", f"\\{code} "]
        for written in (*escapes, f"\\U{ord(char):08x}", f"\\{ord(char):06x}"):
            told = written + rest
            for _ in range(3):
                told = json.dumps(told)[1:-1]
                with case(char, told):
                    assert shown(f"<{told}>", char + rest) == f"<{MASK}>"


def test_hex_and_identifiers_are_found_in_either_case() -> None:
    """Bytes with separators between them, and UUIDs in the other case, are hidden."""
    raw = b"fake-value-0123"
    for separator in (":", "-", " ", "_", "."):
        for group in (1, 2, -2, 4, -4):
            for written in (raw.hex(separator, group), raw.hex(separator, group).upper()):
                with case(written):
                    assert shown(f"<{written}>", raw.decode()) == f"<{MASK}>"
                    assert shown(f"<{written[:-1]}>", raw.decode()) == f"<{written[:-1]}>"
    identity = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"
    for value in (identity, identity.lower()):
        for written in (identity, identity.lower(), identity.replace("-", "").lower()):
            with case(value, written):
                assert shown(f"<{written}>", value) == f"<{MASK}>"


def test_a_blank_and_a_line_end_have_escapes_of_their_own() -> None:
    """Mail headers write an underscore for a blank, regular expressions a backslash before all."""
    assert shown("=?utf-8?q?fake=27value_0123?=", "fake'value 0123") == f"=?utf-8?q?{MASK}?="
    value = "fake\nvalue\t0123"
    for written in (re.escape(value), re.escape(repr(value))[1:-1]):
        assert shown(f"<{written}>", value) == f"<{MASK}>"


def test_a_value_without_a_run_is_found_at_the_beginning_of_a_text() -> None:
    """Its escaped forms are searched for in 16 KiB of a text, itself in all of it."""
    for value in ("a-1/b:c,2!d", "\u6f22\u5b57-\u30ad\u30fc/\u5024\u5024\u5024", "!@#$%^&*()_+"):
        for written in (value, quote(value, safe=""), quote(quote(value, safe="!"), safe="!")):
            with case(value, written):
                assert shown(f"<{written}>", value) == f"<{MASK}>"
        far = "x" * 20_000

        assert shown(f"{far}<{value}>", value) == f"{far}<{MASK}>"


def test_a_text_that_only_begins_like_a_value_stays_as_it_is() -> None:
    """Characters beside the letters and digits of a value are compared, escaped or not."""
    value = "fake/Zebra+Quince=012345"
    for text in (
        "fake/Zebra+Quince=01234",
        "fake/Zebra-Quince=012345",
        "fake%2fZebra%2dQuince%3d012345",
        "fake%2FZebra%2BQuince%3D",
        "fake&amp;Zebra+Quince=012345",
        "Zebra+Quince=012345",
        "Quince",
        "012345",
        quote(quote("fake/Zebra-Quince=012345")),
    ):
        with case(text):
            assert shown(text, value) is text
