"""Secret and SecretBytes, which never show their values, and mask_secret."""

import copy
import inspect
import json
import logging
import operator
import pickle
import pprint
import sys
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from traceback import TracebackException
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes, mask_secret
from tests.fixtures.cases import case
from tests.support import run_child

TEXT = "fake-jwt-secret-0123456789-0123456789"
SHOWN = "Secret('JWT_SECRET', '***')"
SHOWN_BYTES = "SecretBytes('KEYSTORE', '***')"

BOTH: list[tuple[Secret | SecretBytes, str]] = [
    (Secret("JWT_SECRET", TEXT), SHOWN),
    (SecretBytes("KEYSTORE", TEXT.encode()), SHOWN_BYTES),
]
"""A secret of each kind, and its text."""

WAYS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "percent s": lambda sealed: "%s" % sealed,  # noqa: UP031  (this way, too)
    "percent r": lambda sealed: "%r" % sealed,  # noqa: UP031  (this way, too)
    "format": format,
    "str.format": "{}".format,
    "f-string": lambda sealed: f"{sealed}",
    "f-string, repr": lambda sealed: f"{sealed!r}",
    "a width": lambda sealed: f"{sealed:>80}",
    "a number's spec": lambda sealed: f"{sealed:08.3f}",
    "a date's spec": lambda sealed: f"{sealed:%Y-%m-%d}",
    "a spec of nonsense": lambda sealed: f"{sealed:reveal}",
    "pprint": pprint.pformat,
}


def test_every_text_form_of_a_secret_shows_its_name() -> None:
    """A printed secret has its name and three asterisks."""
    for name, way in WAYS.items():
        for sealed, shown in BOTH:
            with case(name, sealed, shown):
                assert way(sealed) == shown


def test_a_container_shows_only_the_name_of_a_secret() -> None:
    """This holds in a list, a dict and a dataclass."""
    for sealed, shown in BOTH:
        with case(sealed, shown):

            @dataclass
            class Settings:
                key: Secret | SecretBytes

            assert str([sealed]) == f"[{shown}]"
            assert f"{(sealed,)}" == f"({shown},)"
            assert repr({"key": sealed}) == f"{{'key': {shown}}}"
            assert repr({sealed: 1}) == f"{{{shown}: 1}}"
            assert pprint.pformat({"key": [sealed]}) == f"{{'key': [{shown}]}}"
            assert repr(Settings(sealed)).endswith(f"Settings(key={shown})")
            assert asdict(Settings(sealed))["key"] is sealed
            assert repr(types.SimpleNamespace(key=sealed)) == f"namespace(key={shown})"


def test_no_attribute_of_a_secret_has_the_value() -> None:
    """A debugger or error tracker that reads all attributes finds no value."""
    for sealed, shown in BOTH:
        with case(sealed, shown):
            with pytest.raises(TypeError):
                vars(sealed)

            assert not hasattr(sealed, "__dict__")
            assert TEXT not in repr(dir(sealed))
            assert TEXT not in repr(inspect.getmembers(sealed))
            assert TEXT not in pprint.pformat(inspect.getmembers(sealed))
            assert shown in repr(inspect.getmembers(sealed))


def test_a_traceback_with_variables_shows_no_value() -> None:
    """A report with the variables of each frame shows only the name."""
    for sealed, shown in BOTH:
        with case(sealed, shown):

            def fail(key: Secret | SecretBytes) -> None:
                raise RuntimeError(key)

            with pytest.raises(RuntimeError) as caught:
                fail(sealed)
            told = "".join(
                TracebackException.from_exception(caught.value, capture_locals=True).format()
            )

            assert f"key = {shown}" in told
            assert TEXT not in told.replace(inspect.getsource(sys.modules[__name__]), "")


def test_a_log_record_shows_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """A secret as an argument of a log call is logged by its name."""
    logging.getLogger("app").warning("the key is %s", Secret("JWT_SECRET", TEXT))

    assert caplog.messages == [f"the key is {SHOWN}"]


def test_reveal_returns_the_value() -> None:
    """The value is exactly the one that the secret was created with."""
    assert Secret("A", TEXT).reveal() == TEXT
    assert type(Secret("A", TEXT).reveal()) is str
    assert SecretBytes("A", b"\x00\xff").reveal() == b"\x00\xff"
    assert type(SecretBytes("A", b"fake").reveal()) is bytes


def test_only_a_secret_of_the_same_value_is_equal() -> None:
    """Two secrets are equal by value, whatever their names; no other object is equal."""
    assert Secret("A", TEXT) == Secret("B", TEXT)
    assert Secret("A", TEXT) != Secret("A", f"{TEXT}!")
    assert SecretBytes("A", b"fake") == SecretBytes("B", b"fake")
    assert SecretBytes("A", b"fake") != SecretBytes("A", b"kefa")
    assert Secret("A", TEXT) != TEXT
    assert not operator.eq(TEXT, Secret("A", TEXT))
    assert Secret("A", TEXT) != SecretBytes("A", TEXT.encode())
    assert SecretBytes("A", TEXT.encode()) != TEXT.encode()
    assert Secret("A", TEXT) != None  # noqa: E711  (the comparison is what is tested)


def test_equal_secrets_are_one_key_of_a_dict() -> None:
    """Sets and dicts compare secrets by value."""
    assert {Secret("A", TEXT), Secret("B", TEXT), Secret("A", "fake")} == {
        Secret("C", TEXT),
        Secret("C", "fake"),
    }
    assert hash(Secret("A", TEXT)) != hash(TEXT)


def test_a_hash_differs_between_processes() -> None:
    """A hash that is disclosed cannot be looked up."""
    source = "from hive_boot import Secret; print(hash(Secret('A', 'fake-value')))"
    children = [run_child(source, PYTHONHASHSEED="0") for _ in range(2)]
    printed = {child.stdout for child in children}

    assert [child.returncode for child in children] == [0, 0]
    assert len(printed) == 2


def test_matches_compares_text_and_bytes() -> None:
    """The text or bytes of a client are compared, non-ASCII characters too."""
    cases: list[tuple[str, str | bytes, bool]] = [
        (TEXT, TEXT, True),
        (TEXT, TEXT.encode(), True),
        (TEXT, TEXT[:-1], False),
        (TEXT, "", False),
        ("", "", True),
        ("pässwörd-ünd-mehr", "pässwörd-ünd-mehr", True),
        ("pässwörd", "pässwört", False),
        ("pässwörd", "pässwörd".encode(), True),
        ("pässwörd", "pässwörd".encode("latin-1"), False),
        (TEXT, "\ud800 a lone surrogate", False),
    ]
    for value, candidate, same in cases:
        with case(value, candidate, same):
            assert Secret("A", value).matches(candidate) is same
            assert SecretBytes("A", value.encode()).matches(candidate) is same


def test_matches_raises_for_none_and_other_types() -> None:
    """An absent header is an error of the code, not a wrong key."""
    cases: list[object] = [None, 5, [TEXT], bytearray(b"fake"), Secret("A", TEXT)]
    for candidate in cases:
        with case(candidate):
            with pytest.raises(TypeError) as caught:
                Secret("A", TEXT).matches(candidate)  # type: ignore[arg-type]

            assert TEXT not in str(caught.value)


def test_a_secret_is_always_true() -> None:
    """`if secrets.key:` shows whether the secret exists, not whether its value is empty."""
    for sealed, shown in BOTH:
        with case(sealed, shown):
            assert bool(sealed) is True
            assert bool(Secret("A", "")) is True
            assert bool(SecretBytes("A", b"")) is True
            assert shown


REFUSED: dict[str, Callable[[Any], object]] = {
    "len": len,
    "iteration": iter,
    "list": list,
    "index": lambda sealed: sealed[0],
    "contains": lambda sealed: "f" in sealed,
    "add to it": lambda sealed: sealed + sealed,
    "add to text": lambda sealed: "Bearer " + sealed,
    "add to bytes": lambda sealed: b"Bearer " + sealed,
    "multiply": lambda sealed: sealed * 2,
    "join": lambda sealed: ", ".join(iter([sealed])),
    "less": lambda sealed: sealed < sealed,  # noqa: PLR0124  (any order is refused)
    "sort": lambda sealed: sorted([sealed, sealed]),
    "bytes": bytes,
    "int": int,
    "encode JSON": json.dumps,
    "JSON inside": lambda sealed: json.dumps({"key": [sealed]}),
    "JSON key": lambda sealed: json.dumps({sealed: 1}),
    "pickle": pickle.dumps,
    "old pickle": lambda sealed: pickle.dumps(sealed, 0),
    "pickle inside": lambda sealed: pickle.dumps([sealed]),
    "percent d": lambda sealed: "%d" % sealed,  # noqa: UP031  (this way, too)
    "concat": lambda sealed: operator.concat("", sealed),
}


def test_a_secret_in_place_of_a_text_raises() -> None:
    """The error does not contain the value."""
    for name, use in REFUSED.items():
        for sealed, shown in BOTH:
            with case(name, sealed, shown):
                with pytest.raises(TypeError) as caught:
                    use(sealed)

                assert (
                    TEXT
                    not in f"{caught.value!r}{caught.value.__context__!r}{caught.value.__cause__!r}"
                )
                assert shown


def test_a_method_of_str_raises_with_a_hint_to_reveal() -> None:
    """Code for a str, or for a SecretStr of pydantic, gets an error that names `.reveal()`."""
    for sealed, shown in BOTH:
        for name in ("get_secret_value", "encode", "decode", "startswith"):
            with case(sealed, shown, name):
                with pytest.raises(AttributeError, match=r"use \.reveal\(\)") as caught:
                    getattr(sealed, name)

                assert (caught.value.name, caught.value.obj) == (name, sealed)
                assert TEXT not in str(caught.value)


def test_a_secret_cannot_be_pickled() -> None:
    """The error names the secret: a pickle would contain the plain value."""
    for sealed, shown in BOTH:
        with case(sealed, shown):
            with pytest.raises(TypeError) as caught:
                pickle.dumps(sealed)

            assert shown in str(caught.value)


def test_a_copy_of_a_secret_is_the_same_object() -> None:
    """A structure that contains secrets can be copied."""
    for sealed, shown in BOTH:
        with case(sealed, shown):
            assert copy.copy(sealed) is sealed
            assert copy.deepcopy(sealed) is sealed
            assert copy.deepcopy({"key": [sealed]})["key"][0] is sealed
            assert shown


def test_no_attribute_of_a_secret_can_be_set() -> None:
    """No attribute can be added, and no method can be replaced."""
    for sealed, shown in BOTH:
        with case(sealed, shown):
            for name in ("value", "reveal", "matches", "__class__"):
                with pytest.raises((AttributeError, TypeError)):
                    setattr(sealed, name, "fake")
            for name in ("value", "reveal", "matches"):
                with pytest.raises(AttributeError):
                    delattr(sealed, name)

            assert repr(sealed) == shown
            assert sealed.matches(TEXT)


def test_a_secret_cannot_be_subclassed() -> None:
    """A subclass could show the value."""
    for sealed in (Secret, SecretBytes):
        with case(sealed), pytest.raises(TypeError, match=sealed.__name__):
            types.new_class("Open", (sealed,))


def test_a_secret_is_not_a_str_or_bytes() -> None:
    """It is not accepted where a str or bytes is required."""
    assert not isinstance(Secret("A", TEXT), str)
    assert not isinstance(SecretBytes("A", b"fake"), bytes)


def test_a_value_of_another_type_raises_without_showing_it() -> None:
    """The error has the name of the secret only."""
    cases: list[tuple[Callable[..., object], object, str]] = [
        (Secret, 20260101, "Secret('A')"),
        (Secret, b"20260101", "Secret('A')"),
        (Secret, None, "Secret('A')"),
        (Secret, type("Loud", (str,), {})("20260101"), "Secret('A')"),
        (SecretBytes, "20260101", "SecretBytes('A')"),
        (SecretBytes, bytearray(b"20260101"), "SecretBytes('A')"),
    ]
    for sealed, value, wanted in cases:
        with case(sealed, value, wanted):
            with pytest.raises(TypeError) as caught:
                sealed("A", value)

            assert wanted in str(caught.value)
            assert "2026" not in str(caught.value)
            assert caught.value.__context__ is None


def test_a_mask_shows_a_hint_of_long_tokens_only() -> None:
    """A masked token can be identified; short, spaced and composed values are masked completely."""
    cases: list[tuple[str, str]] = [
        ("sk-proj-abc...xyz", "sk-p...xyz"),
        ("fake-0123456789-", "fake...89-"),
        ("fake-0123456789", "***"),
        ("fake", "***"),
        ("", "***"),
        ("fake 0123456789-0123", "***"),
        ("fake\t0123456789-0123", "***"),
        ("fake-0123456789-0123\n", "***"),
        ("fake-0123456789-\x7f0123", "***"),
        ("fäke-0123456789-0123", "***"),
        ("redis://user:fake-password@host/0", "***"),
        ("fake:0123456789//0123", "fake...123"),
    ]
    for value, masked in cases:
        with case(value, masked):
            assert mask_secret(value) == masked


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=300)) | st.text("ab c:/\u00e4", min_size=10))
def test_a_mask_never_shows_more_than_seven_characters(value: str) -> None:
    """A mask contains four and three characters of a value, or none."""
    masked = mask_secret(value)

    if masked != "***":
        assert len(value) >= 16
        assert masked[4:-3] == "..."
        assert len(masked.replace("...", "", 1)) <= 7
        assert value.startswith(masked[:4])
        assert value.endswith(masked[-3:])


def test_a_mask_of_another_type_raises_without_showing_the_value() -> None:
    """The error names the type of the argument."""
    cases: list[tuple[object, str]] = [
        (b"20260101", "bytes"),
        (20260101, "int"),
        (None, "NoneType"),
        (Secret("A", "20260101"), "Secret"),
    ]
    for value, kind in cases:
        with case(value, kind):
            with pytest.raises(TypeError) as caught:
                mask_secret(value)  # type: ignore[arg-type]

            assert str(caught.value).endswith(f" {kind}")
            assert "2026" not in str(caught.value)
