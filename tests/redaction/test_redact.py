"""`redact()` of every container, exception and URL, and its refusal of anything else."""

import array
import collections
import datetime as dt
import decimal
import enum
import http.client
import json
import os
import pathlib
import sys
import types
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx
import multidict
import pydantic
import pytest
import sqlalchemy
import starlette.datastructures
import yarl
from opentelemetry.attributes import BoundedAttributes

from hive_boot import Secret, redact
from hive_boot.redaction import MASK
from hive_boot.redaction.hooks import Redaction
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE, Client


class Pairs(Mapping[str, object]):
    """A mapping of a class that is created from nothing."""

    def __init__(self) -> None:
        self.content = {"key": VALUE}

    def __getitem__(self, name: str) -> object:
        return self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class Items(Sequence[str]):
    """A sequence of a class that is created from several arguments."""

    def __init__(self, *items: str) -> None:
        self.items = items

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401  (of Sequence)
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


class Labelled(list[str]):
    """A list with a value beside its members."""

    label = VALUE

    def __repr__(self) -> str:
        return f"{self.label}: {list(self)}"


class Kind(enum.Enum):
    """An enumeration with a secret."""

    KEY = VALUE
    OTHER = "other"


def message() -> http.client.HTTPMessage:
    """Return the headers of a response of ``http.client``."""
    headers = http.client.HTTPMessage()
    headers["x-key"] = VALUE
    return headers


REDACTED: dict[str, Callable[[str], Any]] = {
    "proxy of a mapping": lambda text: types.MappingProxyType({"k": text}),
    "nested proxies": lambda text: types.MappingProxyType({"k": types.MappingProxyType({text: 1})}),
    "ChainMap": lambda text: collections.ChainMap({"k": text}),
    "UserDict": lambda text: collections.UserDict({"k": text}),
    "UserList": lambda text: collections.UserList([text]),
    "UserString": collections.UserString,
    "deque": lambda text: collections.deque([1, text]),
    "deque with a limit": lambda text: collections.deque(["a", text], 2),
    "httpx headers": lambda text: httpx.Headers([("a", "1"), ("x-key", text)]),
    "httpx headers, repeated": lambda text: httpx.Headers([("a", "1"), ("a", text)]),
    "httpx query": lambda text: httpx.QueryParams([("a", "1"), ("a", text)]),
    "httpx URL": lambda text: httpx.URL(f"https://h/?k={text}"),
    "httpx URL, password": lambda text: httpx.URL(f"https://u:{text}@h/p"),
    "yarl URL": lambda text: yarl.URL(f"https://h/{text}?a=1"),
    "starlette URL": lambda text: starlette.datastructures.URL(f"https://h/?k={text}"),
    "starlette headers": lambda text: starlette.datastructures.Headers({"x-key": text}),
    "starlette query": lambda text: starlette.datastructures.QueryParams([("k", text), ("k", "2")]),
    "pydantic URL": lambda text: pydantic.AnyUrl(f"https://u:{text}@h/p"),
    "pydantic DSN": lambda text: pydantic.PostgresDsn(f"postgresql://u:{text}@h/p"),
    "SQLAlchemy URL": lambda text: sqlalchemy.URL.create("sqlite", "u", text),
    "split URL": lambda text: urllib.parse.urlsplit(f"https://u:{text}@h/p"),
    "multidict": lambda text: multidict.CIMultiDict([("a", "1"), ("a", text)]),
    "path": lambda text: pathlib.PurePosixPath("/run", text),
    "memoryview": lambda text: memoryview(text.encode()),
    "OpenTelemetry attributes": lambda text: types.MappingProxyType({"k": (text, "b"), "n": 1}),
}
"""Objects of which a redacted one of the same class exists, by the text in them."""

CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"
"""Type code of an array of characters."""

OTHERWISE: dict[str, tuple[Callable[[], Any], Any]] = {
    "values of a dict": ({"k": VALUE}.values, [MASK]),
    "items of a dict": ({"k": VALUE}.items, {("k", MASK)}),
    "keys of a dict": ({VALUE: 1}.keys, {MASK}),
    "values of a mapping": (lambda: Pairs().values(), [MASK]),
    "a mapping": (Pairs, {"key": MASK}),
    "a sequence": (lambda: Items("a", VALUE), ["a", MASK]),
    "attributes of a span": (lambda: BoundedAttributes(attributes={"k": VALUE}), {"k": MASK}),
    "headers of http.client": (message, {"x-key": MASK}),
    "proxy of a multidict": (
        lambda: multidict.MultiDictProxy(multidict.MultiDict([("a", VALUE), ("a", "1")])),
        [("a", MASK), ("a", "1")],
    ),
    "cookies of http": (lambda: SimpleCookie(f"key={VALUE}")["key"], dict(Morsel())),
    "a list with a label": (lambda: Labelled(["a"]), ["a"]),
    "array of characters": (lambda: array.array(CHARACTERS, VALUE), MASK.encode()),
    "array": (lambda: array.array("B", VALUE.encode()), MASK.encode()),
    "member of an enumeration": (lambda: Kind.KEY, f"<Kind.KEY: '{MASK}'>"),
}
"""Objects that become one of a class that Python itself has, and this one."""

CLEAN: dict[str, object] = {
    "number": 5,
    "decimal": decimal.Decimal("1.5"),
    "time": dt.datetime.now(dt.UTC),
    "duration": dt.timedelta(seconds=1),
    "UUID": uuid.uuid4(),
    "range": range(10**9),
    "nothing": None,
    "class": int,
    "secret": Secret("A", VALUE),
    "secret of pydantic": pydantic.SecretStr(VALUE),
    "member of an enumeration": Kind.OTHER,
    "exception": ValueError("a text"),
    "URL": httpx.URL("https://h/"),
    "deque": collections.deque(["a"]),
    "proxy": types.MappingProxyType({"k": "a"}),
}


@dataclass
class Payload:
    """An object with attributes."""

    key: str


REFUSED: dict[str, Callable[[], object]] = {
    "dataclass": lambda: Payload(VALUE),
    "object": Client,
    "object in a list": lambda: [{"client": Client()}],
    "object in a header": lambda: types.MappingProxyType({"k": Client()}),
    "generator": lambda: (each for each in [VALUE]),
    "iterator": lambda: iter([VALUE]),
    "function": lambda: redact,
    "request": lambda: httpx.Request("GET", "https://h/", headers={"x-key": VALUE}),
    "model": pydantic.create_model("Model", key=(str, VALUE)),
}


def test_a_copy_of_the_same_class_has_no_secret(redaction: Redaction) -> None:
    """The copy is what the same class makes of the redacted text; the original is not changed."""
    assert redaction
    for name, make in REDACTED.items():
        with case(name):
            value = make(VALUE)
            before = repr(value)

            shown = redact(value)

            assert type(shown) is type(value)
            assert shown == make(MASK)
            assert VALUE not in f"{shown!r} {shown!s}"
            assert repr(value) == before
            clean = make("a")
            assert redact(clean) is clean


def test_the_limit_of_a_deque_is_kept(redaction: Redaction) -> None:
    """A deque with a maximum length has it afterwards."""
    assert redaction
    assert redact(collections.deque([VALUE], 2)).maxlen == 2


def test_what_its_class_cannot_hold_becomes_a_builtin(redaction: Redaction) -> None:
    """A view, and a class that cannot be created from its members, become a builtin container."""
    assert redaction
    for name, (make, expected) in OTHERWISE.items():
        with case(name):
            shown = redact(make())
            assert shown == expected
            assert type(shown) is type(expected)


def test_what_has_no_secret_is_returned_itself(redaction: Redaction) -> None:
    """Objects with a known text are the same object afterwards."""
    for opened in (True, False):
        if not opened:
            redaction.close()
        for name, value in CLEAN.items():
            with case(name, opened):
                assert redact(value) is value


def test_an_exception_is_redacted_with_its_chain(redaction: Redaction) -> None:
    """The copy of an exception is of its kind, and so is one in a container."""
    assert redaction
    exc = ValueError(VALUE)
    exc.__cause__ = KeyError(VALUE)
    exc.add_note(VALUE)
    for shown in (redact(exc), redact([exc])[0], redact({"exc": exc})["exc"]):
        assert isinstance(shown, ValueError)
        assert str(shown) == MASK
        assert isinstance(shown.__cause__, KeyError)
        assert VALUE not in f"{shown!r} {shown.__cause__!r} {shown.__notes__}"
    assert exc.args == (VALUE,)


def test_what_cannot_be_handled_raises(redaction: Redaction) -> None:
    """An object that may show a value in an unknown way is an error, without a run too."""
    for opened in (True, False):
        if not opened:
            redaction.close()
        for name, make in REFUSED.items():
            with case(name, opened), pytest.raises(TypeError, match=r"redact\(\)") as caught:
                redact(make())
            assert VALUE not in str(caught.value)


def test_a_number_that_is_a_secret_becomes_a_text(closed: Redaction) -> None:
    """A numeric secret is hidden in a structure too; other numbers stay, also very large ones."""
    closed.open()
    closed.register([Secret("PIN", "4711008151")])
    pin: Any = 4711008151
    shown = redact({"pin": pin, "n": [True, -pin, 47, 1.5, 10**5000]})
    assert shown == {"pin": MASK, "n": [True, f"-{MASK}", 47, 1.5, 10**5000]}
    assert redact(pin) == MASK
    assert redact({pin: 47}) == {MASK: 47}


class Number(int):
    """A number of a class of an application."""


class Code(enum.IntEnum):
    """Numbers with names."""

    PIN = 4711008151


def test_a_number_of_any_class_is_hidden(closed: Redaction) -> None:
    """A number in a JSON document may be a float; a class of numbers shows it as well."""
    closed.open()
    closed.register([Secret("A", '{"pin": 4711008151, "token": 4829157364.0123}')])
    shown = redact([Number(4711008151), Code.PIN, 4829157364.0123, -4829157364.0123, 1.5, True])
    assert "4711008151" not in repr(shown)
    assert shown[2:] == [MASK, f"-{MASK}", 1.5, True]


def test_wide_characters_are_hidden(redaction: Redaction) -> None:
    """Drivers encode tokens as UTF-16; bytes with a value in it become narrow."""
    assert redaction
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        for before in (b"", b"\x00", b"abc"):
            with case(encoding, before):
                raw = before + VALUE.encode(encoding)
                assert MASK.encode() in redact(raw)
                assert VALUE.encode() not in redact({"k": [raw]})["k"][0].replace(b"\0", b"")
    other = "other".encode("utf-16")
    assert redact(other) is other


def test_an_attribute_of_an_exception_is_hidden(redaction: Redaction) -> None:
    """Errors of parsers have the document as an attribute, which their message does not show."""
    assert redaction
    failed = json.JSONDecodeError("no value", f"{{{VALUE}", 0)
    shown = redact(failed)
    assert str(shown) == str(failed)
    assert VALUE not in repr(vars(shown))
    assert failed.doc == f"{{{VALUE}"


def test_the_environment_is_not_changed(
    redaction: Redaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping that stands for something outside is copied to a dict."""
    assert redaction
    monkeypatch.setenv("API_KEY", VALUE)
    shown = redact(os.environ)
    assert shown["API_KEY"] == MASK
    assert os.environ["API_KEY"] == VALUE
