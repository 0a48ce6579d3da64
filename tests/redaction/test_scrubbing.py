"""Text that somebody else wrote, and no value left in it."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_boot.redaction.hidden import scrub
from hive_boot.redaction.matching import MASK

VALUE = 'fake/key+with "quotes" and \u00e4 \\ slash'

WRITTEN = {
    "as it is": VALUE,
    "by repr": repr(VALUE)[1:-1],
    "by repr of its bytes": repr(VALUE.encode())[2:-1],
    "in JSON": json.dumps(VALUE)[1:-1],
    "in JSON that is not ASCII": json.dumps(VALUE, ensure_ascii=False)[1:-1],
    "in a path": quote(VALUE),
    "in a part of a path": quote(VALUE, safe=""),
    "in a query": quote_plus(VALUE),
    "in hex": VALUE.encode().hex(),
    "in upper-case hex": VALUE.encode().hex().upper(),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
def test_every_form_of_a_value_is_replaced(text: str) -> None:
    """A message shows stars where a value stood, in whatever form it stood there."""
    assert scrub(f"before {text} after", [VALUE]) == f"before {MASK} after"


def test_a_text_without_a_value_stays_as_it_is() -> None:
    """A message that tells nothing is not changed."""
    text = "expected 32 characters, got 7"

    assert scrub(text, [VALUE]) == text
    assert scrub(text, []) == text


def test_a_value_is_found_without_the_space_around_it() -> None:
    """A check that strips a value before it complains does not show it either."""
    assert scrub("refused: fake-token!", ["  fake-token\n"]) == f"refused: {MASK}!"


def test_the_longer_of_two_values_is_replaced_whole() -> None:
    """A value that begins with another one leaves no end of itself behind."""
    assert scrub("it was fake-token-two", ["fake-token", "fake-token-two"]) == f"it was {MASK}"


def test_values_that_overlap_are_replaced_together() -> None:
    """Two values that share characters leave no part of either behind."""
    assert scrub("<one-two-three>", ["one-two", "two-three"]) == f"<{MASK}>"


def test_a_value_that_overlaps_itself_is_replaced_whole() -> None:
    """A repeated value leaves no half of itself behind."""
    assert scrub("<abcabcabc>", ["abcabc"]) == f"<{MASK}>"


def test_every_place_is_replaced() -> None:
    """A value that is told twice is hidden twice."""
    assert scrub("fake-a, fake-b, fake-a", ["fake-a", "fake-b"]) == f"{MASK}, {MASK}, {MASK}"


def test_bytes_are_found_as_text_and_as_repr() -> None:
    """The value of SecretBytes is hidden as text, as repr and as hex."""
    value = b"fake\xff\x00bytes"

    for text in (repr(value), value.decode("utf-8", "replace"), value.hex()):
        assert "fake" not in scrub(text, [value]).replace("66616b65", "fake")


def test_a_value_with_lone_surrogates_does_not_break_the_scrubbing() -> None:
    """A variable whose bytes are not UTF-8 is hidden like any other."""
    assert scrub("it was fake-\udcff-token", ["fake-\udcff-token"]) == f"it was {MASK}"


def test_what_regular_expressions_treat_specially_is_taken_literally() -> None:
    """A value full of punctuation is no pattern."""
    assert scrub("a.c abc", ["a.c"]) == f"{MASK} abc"


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@given(before=st.binary(max_size=5), value=st.binary(min_size=9, max_size=40), after=st.binary())
def test_base64_is_found_wherever_the_value_begins(
    encode: object, before: bytes, value: bytes, after: bytes
) -> None:
    """An Authorization header in a message shows stars where its password stood."""
    assert callable(encode)
    encoded = encode(before + value + after).decode()
    first, last = -(-len(before) * 8 // 6), (len(before) + len(value)) * 8 // 6

    shown = scrub(encoded, [value])

    assert MASK in shown
    assert encoded[first:last] not in shown


def test_base64_of_a_very_short_value_does_not_eat_everyday_text() -> None:
    """Two or three letters of base64 are ordinary syllables, and stay."""
    text = f"{b64encode(b'xy').decode()[:2]} begins like a syllable"

    assert scrub(text, ["xy"]) == text


@given(
    st.text(st.characters(exclude_characters="*"), min_size=1).filter(str.strip),
    st.text(),
    st.text(),
)
def test_no_value_is_left(value: str, before: str, after: str) -> None:
    """Whatever stands around a value, it is gone afterwards."""
    shown = scrub(before + value + after, [value])

    assert MASK in shown
    assert value not in shown
