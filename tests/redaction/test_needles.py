"""In whatever form a value, or a part of it, stands in a message: it is found."""

import json
import reprlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from textwrap import wrap
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_boot.redaction import MASK
from hive_boot.redaction.registry import encoded_variants, scrub
from tests.fixtures.cases import case
from tests.redaction.log_output import shown

VALUE = 'fake/key+with "quotes", it\'s \u00e4 \\ slash'


def lower_case_escapes(quoted: str) -> str:
    """Write the escapes of a quoted text as some clients do: ``%2f`` for ``%2F``."""
    first, *others = quoted.split("%")
    return "%".join([first, *(escape[:2].lower() + escape[2:] for escape in others)])


WRITTEN: dict[str, str] = {
    "as it is": VALUE,
    "by repr": repr(VALUE)[1:-1],
    "by repr within a text with double quotes": repr(f'"{VALUE}')[2:-1],
    "by ascii": ascii(VALUE)[1:-1],
    "by repr of its bytes": repr(VALUE.encode())[2:-1],
    "in JSON": json.dumps(VALUE)[1:-1],
    "in JSON that is not ASCII": json.dumps(VALUE, ensure_ascii=False)[1:-1],
    "in a header": VALUE.encode().decode("latin-1"),
    "in a path": quote(VALUE),
    "in a path, escaped in lower case": lower_case_escapes(quote(VALUE)),
    "in a part of a path": quote(VALUE, safe=""),
    "in a part of a path, escaped in lower case": lower_case_escapes(quote(VALUE, safe="")),
    "in a query": quote_plus(VALUE),
    "in a query, escaped in lower case": lower_case_escapes(quote_plus(VALUE)),
    "in a form": urlencode({"": VALUE})[1:],
    "by encodeURIComponent of JavaScript": quote(VALUE, safe="!'()*"),
    "in JSON within a script": json.dumps(VALUE)[1:-1].replace("/", "\\/"),
    "in HTML": escape(VALUE),
    "in HTML, between tags": escape(VALUE, quote=False),
    "in a URL that a client made": quote(VALUE, safe="/!#$%&'()*+,:;=?@[]~"),
    "in hex": VALUE.encode().hex(),
    "in upper-case hex": VALUE.encode().hex().upper(),
    "in base64": b64encode(VALUE.encode()).decode().rstrip("="),
}


def test_every_form_of_a_value_is_replaced() -> None:
    """A message shows stars where a value stood, in whatever form it stood there."""
    for name, text in WRITTEN.items():
        with case(name):
            assert shown(f"before {text}", VALUE).startswith(f"before {MASK}")
            assert scrub(f"before {text}", [VALUE]).startswith(f"before {MASK}")
            for piece in (text[start : start + 8] for start in range(len(text) - 7)):
                assert piece not in shown(f"before {text} after", VALUE)


def test_repr_is_found_with_either_quote() -> None:
    """Python chooses the quotes by the text around a value, and both are known."""
    cases: list[tuple[str, str]] = [
        ("it's a f\u00e4ke token", repr("it's a f\u00e4ke token \"")),
        ("it's a f\u00e4ke token", repr("it's a f\u00e4ke token \"".encode())[1:]),
        ("it's a fake token", '"it\'s a fake token"'),
        ("it's a fake token", "'it\\'s a fake token \"'"),
        ('a "fake" token', "'a \"fake\" token'"),
        ('it\'s a "fake" token', "'it\\'s a \"fake\" token'"),
        ("a fake\ttoken\x00\n!", "'a fake\\ttoken\\x00\\n!'"),
    ]
    for value, written in cases:
        with case(value, written):
            assert shown(written, value).strip("'\" ") == MASK


def test_a_long_value_is_found_where_python_cuts_it() -> None:
    """What is left of a long value in an error of int, or in what asyncio prints, is hidden."""
    value = "fake-value-0123456789-" * 12
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(value)

    assert "fake-value" in str(caught.value)
    assert "fake" not in shown(str(caught.value), value)
    assert "fake" in reprlib.repr(value)
    assert shown(f"<{reprlib.repr(value)}>", value) == f"<'{MASK}'>"


def test_a_value_is_found_in_a_message_within_a_message() -> None:
    """An error's text that is written by repr, or as JSON, once more tells nothing."""
    value = 'fake \\ "token"\n\u00e4'

    for once in (repr(value), json.dumps(value)):
        for written in (repr(once), json.dumps(once)):
            assert "token" not in shown(written, value)


def test_a_very_large_value_is_found() -> None:
    """A keystore of some hundred thousand characters is hidden as it is, and as repr has it."""
    value = 'fake value with "quotes", number {}\n' + "".join(
        f"0123456789-\u00e4{number}" for number in range(5000)
    )

    for written in (value, repr(value), json.dumps(value), value.encode().hex()):
        assert "0123456789" not in shown(f"<{written}>", value)


@settings(deadline=None)
@given(st.text(min_size=8, max_size=30).filter(lambda value: len(value.strip()) >= 8))
@example("\U0002ebe1::::::\x1b")
def test_no_value_is_shown_by_what_python_writes(value: str) -> None:
    """Any value at all is found where repr, JSON, hex and a URL have it."""
    raw = value.encode("utf-8", "surrogatepass")

    for written in (
        value,
        value.strip(),
        repr(value)[1:-1],
        repr(raw)[2:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        raw.decode("latin-1"),
        quote(raw),
        quote(raw, safe=""),
        quote_plus(raw),
        lower_case_escapes(quote_plus(raw)),
        raw.hex(),
        raw.hex().upper(),
    ):
        assert written not in shown(written, value)


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@settings(deadline=None)
@given(before=st.binary(max_size=5), value=st.binary(min_size=9, max_size=40), after=st.binary())
def test_base64_is_found_wherever_the_value_begins(
    encode: Callable[[bytes], bytes], before: bytes, value: bytes, after: bytes
) -> None:
    """An Authorization header in a message shows stars where its password stood."""
    encoded = encode(before + value + after).decode()
    first, last = -(-len(before) * 8 // 6), (len(before) + len(value)) * 8 // 6

    told = scrub(encoded, [value])

    assert MASK in told
    assert encoded[first:last] not in told


def test_a_header_with_a_password_is_found() -> None:
    """Basic authentication is base64 of user and password; a character at each end may stay."""
    for encode in (b64encode, urlsafe_b64encode):
        for user in ("", "a", "me", "web"):
            with case(encode, user):
                password = "fake-\u00ff?>~-password-0123"
                header = encode(f"{user}:{password}".encode()).decode()

                before, _, after = shown(f"Basic {header}", password).partition(MASK)

                assert before.startswith("Basic ")
                assert len(before) <= len("Basic ") + (len(user) + 1) * 8 / 6 + 1
                assert len(after.rstrip("=")) <= 1


def test_base64_is_found_in_lines() -> None:
    """A long value in base64 that is broken into lines shows no whole line of it."""
    for width in (64, 76):
        with case(width):
            value = "fake-value-0123456789" * 12
            lines = wrap(b64encode(value.encode()).decode(), width)

            for line in lines[:-1]:
                assert shown(f"<{line}>", value) == f"<{MASK}>"


def test_base64_is_found_in_a_url() -> None:
    """A token in base64 that is a parameter of a URL is hidden."""
    for quoting in (quote, quote_plus):
        with case(quoting):
            value = "fake-\u00fb\u00ff?>~\u00fe-value-0123"
            encoded = b64encode(value.encode()).decode().rstrip("=")[:-1]

            assert shown(f"<{quoting(encoded, safe='')}>", value).startswith(f"<{MASK}")


def test_base64_of_a_very_short_value_does_not_eat_everyday_text() -> None:
    """Two or three letters of base64 are ordinary syllables, and stay."""
    text = f"{b64encode(b'xy').decode()[:2]} begins like a syllable"

    assert scrub(text, ["xy"]) == text


def test_a_value_is_found_without_the_space_around_it() -> None:
    """A check that strips a value before it complains does not show it either."""
    assert scrub("refused: fake-token!", ["  fake-token\n"]) == f"refused: {MASK}!"
    assert shown("refused: fake-token!", "  fake-token\n") == f"refused: {MASK}!"


def test_a_value_with_lone_surrogates_is_hidden() -> None:
    """A variable whose bytes are not UTF-8, and half a pair out of JSON, are hidden alike."""
    for half in ("\udcff", "\ud800", "\ud800\udcff"):
        with case(half):
            value = f"fake-{half}-token"

            for written in (value, repr(value)[1:-1], ascii(value)[1:-1], json.dumps(value)[1:-1]):
                assert shown(f"it was <{written}>", value) == f"it was <{MASK}>"


def test_the_bytes_of_a_variable_are_hidden() -> None:
    """What a program makes of a variable that is not UTF-8, its bytes, is hidden, too."""
    raw = b"fake-\xff-token"
    value = raw.decode("utf-8", "surrogateescape")

    for written in (raw.hex(), repr(raw)[2:-1], quote(raw), raw.decode("latin-1")):
        assert shown(f"it was <{written}>", value) == f"it was <{MASK}>"


def test_a_short_value_is_left_alone() -> None:
    """Under eight characters a value is a word; white space at its ends makes it no longer."""
    for value in ("abcdefg", "  abcdefg \n", "\n" * 20, "", " a b c \t"):
        with case(value):
            text = f"abcdefg {value} a b c"

            assert shown(text, value) == text


def test_eight_characters_are_looked_for() -> None:
    """From eight characters on a value is hidden."""
    assert shown("it is abcdefgh", "abcdefgh") == f"it is {MASK}"
    assert shown("it is abcdefgh", "\tabcdefgh\n") == f"it is {MASK}"


@settings(deadline=None)
@given(st.text(max_size=12) | st.binary(max_size=12), st.integers(1, 20))
def test_no_form_is_shorter_than_wanted(value: str | bytes, shortest: int) -> None:
    """What is too short is left out, however long the white space around it is."""
    assert all(len(form.strip()) >= shortest for form in encoded_variants(value, shortest))
    assert encoded_variants(value, shortest) <= encoded_variants(value)


# Bytes


def test_bytes_are_found_however_they_are_read() -> None:
    """The value of SecretBytes is hidden in whatever way bytes come into a message."""
    cases: list[bytes] = [
        b"fake\xff\x00bytes",
        b"fake bytes",
        "fake-\u00e4-bytes".encode(),
        b"it's fake!\x80",
    ]
    for value in cases:
        with case(value):
            for written in (
                repr(value)[2:-1],
                value.decode("utf-8", "replace"),
                value.decode("utf-8", "surrogateescape"),
                value.decode("latin-1"),
                quote(value),
                value.hex(),
                value.hex().upper(),
                b64encode(value).decode().rstrip("=")[:-1],
            ):
                assert shown(f"<{written}>", value).startswith(f"<{MASK}")


@settings(deadline=None)
@given(
    st.binary(min_size=8, max_size=40).filter(
        lambda value: len(value.decode("latin-1").strip()) >= 8
    )
)
def test_any_bytes_are_found_as_hex_and_repr(value: bytes) -> None:
    """No byte is too strange to be found."""
    assert shown(f"<{value.hex()}>", value) == f"<{MASK}>"
    assert shown(f"<{repr(value)[2:-1]}>", value) == f"<{MASK}>"
