"""Random secrets in random records, places and encoded forms: none of them is ever shown.

The encoded forms are implemented here again, without code of the package.

"""

import json
import logging
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from logging.handlers import MemoryHandler, QueueHandler
from queue import SimpleQueue
from string import ascii_letters, digits
from urllib.parse import quote, quote_plus

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes
from hive_boot.redaction.decoding import is_word
from hive_boot.redaction.hooks import Redaction
from tests.fixtures.cases import case
from tests.redaction.log_output import Json

SHORTEST = 8
"""The shortest value that is hidden, in characters."""

WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "stripped": str.strip,
    "repr": lambda text: repr(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "a path": quote,
    "a part of a path": lambda text: quote(text, safe=""),
    "a query": quote_plus,
    "a query in lower case": lambda text: "".join(
        each if each.isascii() and each.isalnum() else quote_plus(each).lower() for each in text
    ),
}
"""Encoded forms of a text."""


def core(raw: bytes, offset: int, encode: Callable[[bytes], bytes]) -> str:
    """Return the characters of base64 that are the same whatever bytes surround ``raw``."""
    around = [encode(filler * offset + raw + filler * 2).decode() for filler in (b"\x00", b"\xff")]
    first, last = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
    assert around[0][first:last] == around[1][first:last]
    return around[0][first:last]


ENCODED: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "HEX": lambda raw: raw.hex().upper(),
    **{
        f"{encode.__name__} at {offset}": lambda raw, offset=offset, encode=encode: core(  # type: ignore[misc]
            raw, offset, encode
        )
        for encode in (b64encode, urlsafe_b64encode)
        for offset in range(3)
    },
}
"""Encoded forms of bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A secret, and the texts that must not appear, by description."""

    secret: Secret | SecretBytes
    texts: dict[str, str]


def text_forms(text: str, name: str) -> dict[str, str]:
    """Return every encoded form of a text."""
    raw = text.encode()
    forms = {f"{name}: {form}": write(text) for form, write in WRITTEN.items()}
    return forms | {f"{name}: {form}": encode(raw) for form, encode in ENCODED.items()}


def held(secret: Secret | SecretBytes, texts: dict[str, str]) -> Held:
    """Return a secret with the texts that are long enough to be hidden."""
    known = {name: text for name, text in texts.items() if len(text.strip()) >= SHORTEST}
    return Held(secret=secret, texts=known)


def a_text(text: str) -> Held:
    """Return a text as a secret."""
    return held(Secret("A", text), text_forms(text, "text"))


def a_url(password: str) -> Held:
    """Return a database URL as a secret, with its password."""
    url = f"postgres://app:{quote(password, safe='')}@db.example:5432/app?sslmode=require"
    parts = text_forms(url, "URL") | text_forms(password, "password")
    return held(Secret("A", url), parts)


def a_document(leaf: str) -> Held:
    """Return a service account's JSON document as a secret, with its key."""
    document = json.dumps({"type": "service_account", "private_key": leaf, "keys": [{"key": leaf}]})
    return held(Secret("A", document), text_forms(document, "JSON") | text_forms(leaf, "leaf"))


def a_key(lines: list[str]) -> Held:
    """Return a PEM block as a secret; each of its lines must be hidden too."""
    return some_lines(["-----BEGIN FAKE KEY-----", *lines, "-----END FAKE KEY-----"])


def some_lines(lines: list[str]) -> Held:
    """Return a text of several lines as a secret; each line must be hidden too."""
    text = "\n".join(lines)
    each = {f"line {number}": it.strip() for number, it in enumerate(lines) if "-----" not in it}
    return held(Secret("A", text), text_forms(text, "lines") | each)


def some_bytes(raw: bytes) -> Held:
    """Return bytes that are not UTF-8 as a secret."""
    forms = {f"bytes: {form}": encode(raw) for form, encode in ENCODED.items()}
    forms["bytes: repr"] = repr(raw)[2:-1]
    return held(SecretBytes("A", raw), forms)


def is_long(text: str) -> bool:
    """Return whether a value is long enough to be hidden."""
    return len(text.strip()) >= SHORTEST


odd = st.sampled_from(
    "\"'\\/\n\t%&+= <>{}[]:;#?@abcxyz0189ZQ~^`|_-.,\r\x00\x7f\x85\u00a0\u00e4\u2028\u6f22\U0001f600"
)
# A value is replaced by stars, so a value of stars would always be found.
texts = st.text(odd | st.characters(exclude_characters="*", exclude_categories=["Cs"]), max_size=40)
values = texts.filter(is_long)
key_lines = st.text(st.sampled_from(ascii_letters + digits + "+/="), min_size=16, max_size=40)
any_lines = st.text(
    st.characters(exclude_characters="*", exclude_categories=["C", "Z"]), min_size=16, max_size=40
)

secrets = st.one_of(
    values.map(a_text),
    values.map(a_url),
    values.map(a_document),
    st.lists(key_lines, min_size=1, max_size=3).map(a_key),
    st.lists(any_lines, min_size=2, max_size=4).map(some_lines),
    st.binary(min_size=SHORTEST, max_size=40)
    .filter(lambda raw: b"*" not in raw and len(raw.strip()) >= SHORTEST)
    .map(some_bytes),
)


class Client:
    """An object whose text and repr contain a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Client({self.text!r})"


def chained(text: str) -> BaseException:
    """Return an error with a cause, which has a context."""
    exc = RuntimeError("refused")
    exc.__cause__ = ValueError("because")
    exc.__cause__.__context__ = KeyError(text)
    return exc


def noted(text: str) -> BaseException:
    """Return an error with a note."""
    exc = RuntimeError("refused")
    exc.add_note(text)
    return exc


def made(**members: object) -> logging.LogRecord:
    """Return a record as a library would create it."""
    return logging.makeLogRecord({"levelno": logging.ERROR, "msg": "it", **members})


PLACES: dict[str, Callable[[logging.Logger, str], None]] = {
    "message": lambda to, text: to.error(text),
    "argument": lambda to, text: to.error("it is %s", text),
    "argument by repr": lambda to, text: to.error("it is %r", text),
    "one of two": lambda to, text: to.error("%s, %d", text, 7),
    "dict of arguments": lambda to, text: to.error("%(key)s", {"key": text}),
    "nested argument": lambda to, text: to.error("%s", {"key": [text]}),
    "object": lambda to, text: to.error("%s", Client(text)),
    "object by repr": lambda to, text: to.error("%r", Client(text)),
    "object as message": lambda to, text: to.error(Client(text)),
    "extra": lambda to, text: to.error("it", extra={"user": text}),
    "nested extra": lambda to, text: to.error("it", extra={"user": {"keys": [(text,), {text}]}}),
    "bytes in extra": lambda to, text: to.error("it", extra={"user": text.encode()}),
    "exception": lambda to, text: to.error("failed", exc_info=ValueError(text)),
    "exception by repr": lambda to, text: to.error("failed", exc_info=KeyError(text)),
    "chain": lambda to, text: to.error("failed", exc_info=chained(text)),
    "group": lambda to, text: to.error("failed", exc_info=ExceptionGroup("", [ValueError(text)])),
    "note": lambda to, text: to.error("failed", exc_info=noted(text)),
    "text of an exception": lambda to, text: to.handle(made(exc_text=text)),
    "stack": lambda to, text: to.handle(made(stack_info=text)),
    "name": lambda to, text: to.handle(made(name=text)),
}


class Teller(logging.Handler):
    """A handler that keeps everything in a record unformatted, as error trackers do."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, every attribute, and the traceback."""
        self.told += [record.getMessage(), f"{record.__dict__}", str(record.name)]
        self.told += [str(record.exc_text), str(record.stack_info)]
        if record.exc_info and record.exc_info[1]:
            self.told += traceback.format_exception(record.exc_info[1])


class Odd(logging.Handler):
    """A handler that ignores filters, which is rare."""

    told = ""

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep the message."""
        self.told += f"{record.getMessage()}\n"
        return True


def strings(it: object) -> Iterator[str]:
    """Yield every text in a JSON document."""
    if isinstance(it, str):
        yield it
    elif isinstance(it, dict | list):
        for each in it.items() if isinstance(it, dict) else it:
            yield from strings(list(each) if isinstance(each, tuple) else each)


class Listeners:
    """A logger with handlers of several kinds, and everything that they have written."""

    def __init__(self) -> None:
        self.log = logging.Logger("app")  # noqa: LOG001  (no other code uses it)
        self.streams = {each: StringIO() for each in ("a line", "many fields", "memory", "JSON")}
        self.queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
        self.teller = Teller()
        line, many, target, document = map(logging.StreamHandler, self.streams.values())
        many.setFormatter(logging.Formatter("%(asctime)s {%(name)s} %(message)s %(levelname)s"))
        document.setFormatter(Json())
        self.memory = MemoryHandler(10**6, logging.CRITICAL, target)
        for handler in (line, many, document, self.memory, self.teller, QueueHandler(self.queue)):
            self.log.addHandler(handler)

    def heard(self) -> str:
        """Return everything that was written, and the decoded texts of JSON."""
        self.memory.close()
        all_of_it = [stream.getvalue() for stream in self.streams.values()]
        for line in self.streams["JSON"].getvalue().splitlines():
            all_of_it += strings(json.loads(line))
        while not self.queue.empty():
            all_of_it.append(f"{self.queue.get().__dict__}")
        return "\n".join([*all_of_it, *self.teller.told])


@contextmanager
def hiding(*those: Held) -> Iterator[None]:
    """Hide secrets while the block runs."""
    redaction = Redaction()
    redaction.open()
    try:
        redaction.register(each.secret for each in those)
        yield
    finally:
        redaction.close()


def seen(heard: str, those: list[Held]) -> list[str]:
    """Return the name of every text that must not appear and does."""
    return [name for each in those for name, text in each.texts.items() if text in heard]


def noise() -> str:
    """Return the output for empty texts: names of fields and of functions."""
    listeners = Listeners()
    for say in PLACES.values():
        say(listeners.log, "")
    return listeners.heard()


@settings(max_examples=200, deadline=None)
@given(data=st.data(), those=st.lists(secrets, min_size=1, max_size=2))
def test_no_secret_is_shown_in_any_record(data: st.DataObject, those: list[Held]) -> None:
    """A secret of any form, logged in any place, is not shown."""
    assume(not seen(noise(), those))
    # An ordinary word is hidden only if no letter is next to it.
    assume(not any(is_word(text) for each in those for text in each.texts.values()))
    listeners = Listeners()
    odd_one = Odd() if data.draw(st.booleans(), label="with an odd handler") else None
    if odd_one is not None:
        listeners.log.addHandler(odd_one)
    with hiding(*those):
        for each in those:
            name = data.draw(st.sampled_from(sorted(each.texts)), label="form")
            before, after = data.draw(texts, label="before"), data.draw(texts, label="after")
            place = data.draw(st.sampled_from(sorted(PLACES)), label="place")
            PLACES[place](listeners.log, before + each.texts[name] + after)
        heard = listeners.heard() + (odd_one.told if odd_one else "")

    assert heard
    assert seen(heard, those) == []


PLAIN = a_text("fake-value-0123456789")


def test_the_same_search_finds_a_secret_that_is_not_hidden() -> None:
    """Without redaction the search finds every form of a value in every place."""
    for place, log in PLACES.items():
        with case(place):
            for name, text in PLAIN.texts.items():
                listeners = Listeners()

                log(listeners.log, f"<{text}>")

                assert name in seen(listeners.heard(), [PLAIN])


@settings(max_examples=50, deadline=None)
@given(those=secrets)
@example(those=PLAIN)
def test_the_same_search_finds_any_secret_in_a_line(those: Held) -> None:
    """Without redaction the search finds every secret that the strategies produce."""
    listeners = Listeners()

    for text in those.texts.values():
        listeners.log.error("%s", text)

    assert set(seen(listeners.heard(), [those])) == those.texts.keys()
