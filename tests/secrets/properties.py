"""Shared parts of the property tests of loading: values, rules of a value, comparison.

The rules here follow the documentation and call nothing of the package: an oracle that shares code
with a loader shares its mistakes.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.runtime.log_messages import log_notes, log_warnings
from hive_boot.secrets.load_result import LoadResult
from hive_boot.testing import MountedVolume
from tests.support import report_of, values_of


class Orders(SecretSet, prefix="ORDERS_"):
    """Texts and bytes, required and optional, with a prefix, aliases and a declared file.

    Placeholders and references are accepted, because any text may look like one.
    """

    password: Secret = secret(aliases=("DB_PASSWORD", "PGPASSWORD"), allow_placeholder=True)
    token: Secret | None = secret("API_TOKEN", file_variable=False, allow_placeholder=True)
    key: SecretBytes = secret(aliases=("SIGNING_KEY",), allow_placeholder=True)
    blob: SecretBytes | None = secret(file="blob.bin", allow_placeholder=True)


@dataclass(frozen=True)
class Declared:
    """What the oracle knows of a field."""

    attribute: str
    names: tuple[str, ...]
    """The name, then its aliases."""
    is_text: bool = True
    required: bool = False


FIELDS = (
    Declared("password", ("ORDERS_PASSWORD", "DB_PASSWORD", "PGPASSWORD"), required=True),
    Declared("token", ("API_TOKEN",)),
    Declared("key", ("ORDERS_KEY", "SIGNING_KEY"), is_text=False, required=True),
    Declared("blob", ("ORDERS_BLOB",), is_text=False),
)
NAMES = tuple(name for each in FIELDS for name in each.names)


def spellings(name: str) -> list[str]:
    """Return the names of the files of a secret."""
    stems = [name, name.lower(), name.lower().replace("_", "-")]
    if name == "ORDERS_BLOB":
        stems = ["blob.bin"]
    return [*stems, *(f"{stem}.txt" for stem in stems)]


# Letters and digits in turn stand in no message, so a match of MARK in one is a part of a value.
MARK = re.compile(r"(?:[a-z][0-9]){4}", re.IGNORECASE)

_marks = st.from_regex(r"(?:[a-z][0-9]){4,6}|(?:[A-Z][0-9]){4,6}", fullmatch=True)
_spices = st.one_of(
    st.sampled_from([*" #'\"\\${}=:\né"]),
    st.sampled_from(["", " #", "$A", "${", "\r\n", "\\n"]),
)
PEM = "-----BEGIN FAKE KEY-----\n{}\n-----END FAKE KEY-----"

texts = st.one_of(
    st.builds("{}{}{}{}".format, _spices, _marks, _spices, st.text(max_size=3)),
    st.builds("{}{}{}{}".format, st.text(max_size=3), _spices, _marks, _spices),
    st.builds("{0}{1}{0}".format, _marks, _spices),
    st.builds("{}{}".format, _marks.map(PEM.format), st.sampled_from(["", "\n", "\n\n"])),
)
contents = st.one_of(
    texts.map(str.encode),
    st.builds(
        lambda before, text, after: before + text.encode() + after,
        st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff", b"\0"]),
        texts,
        st.sampled_from([b"", b"\n", b"\r\n", b"\xed\xa0\x80"]),
    ),
    st.sampled_from([b"", b"\n", b" ", b" \n"]),
)


class Mark:
    """A result that is not a value."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


EMPTY = Mark("EMPTY")
"""The result counts as absent."""

BAD = Mark("BAD")
"""The result is a problem."""

Result = str | bytes | Mark


def of_text(text: str, *, is_text: bool) -> Result:
    """Return what the rules make of a text, such as that of a variable."""
    if not text:
        return EMPTY
    if not is_text:
        return os.fsencode(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return BAD
    if "\0" in text:
        return BAD
    bare = text.rstrip("\r\n")
    if bare.rpartition("\n")[2].startswith("-----END ") and bare.endswith("-----"):
        return bare + "\n"
    return text if text.strip() else BAD


def of_file(content: bytes, *, is_text: bool) -> Result:
    """Return what the rules make of the content of a file."""
    if not is_text:
        return content or EMPTY
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.endswith(b"\n"):
        content = content[: -2 if content.endswith(b"\r\n") else -1]
    try:
        return of_text(content.decode(), is_text=True)
    except UnicodeDecodeError:
        return BAD


@dataclass
class Expected:
    """What the rules make of all sources.

    Attributes:
        values: the value of each secret that has one, by attribute.
        failed: the names of the secrets with a problem.
        uncertain: the names that may have a problem instead of this value.
        broken: whether a source as a whole is a problem; None if it may be one.
        doubtful: whether a source may be a problem that hides values of others.
        unclear: whether the values are open too, so that only leaks are looked for.
    """

    values: dict[str, str | bytes] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)
    broken: bool | None = False
    doubtful: bool = False
    unclear: bool = False

    def settle(self, declared: Declared, hits: Sequence[Result]) -> None:
        """Decide about one field; no hit makes it absent."""
        found = [hit for hit in hits if hit is not EMPTY]
        if not found:
            if declared.required:
                self.failed.add(declared.names[0])
        elif BAD in found or any(hit != found[0] for hit in found):
            self.failed.add(declared.names[0])
        else:
            self.values[declared.attribute] = found[0]  # type: ignore[assignment]


def compare(expected: Expected, loaded: LoadResult, root: Path, shown: Iterable[str]) -> None:
    """Compare a load with the rules, and search everything that is shown for a part of a value."""
    by_name = {each.names[0]: each for each in FIELDS}
    values = values_of(loaded)
    names = {each.name for each in loaded.problems}
    failed = names & by_name.keys()
    if expected.unclear:
        pass
    elif not loaded.problems:
        assert not expected.failed
        assert not expected.broken
        assert values == expected.values
    elif not expected.doubtful:
        assert all(expected.values.get(each) == value for each, value in values.items())
        if not expected.broken:
            assert expected.broken is None or names == failed
            # A bundle that cannot be read is the problem instead of the names that it may contain.
            unread = {each.names[0] for each in FIELDS if each.required and names != failed}
            uncertain = expected.uncertain | unread
            assert failed - uncertain == expected.failed - uncertain
            assert values.keys() | {by_name[name].attribute for name in failed | unread} >= {
                *expected.values
            }
    texts = [report_of(loaded), repr(loaded), repr(loaded.problems), repr(loaded.warnings)]
    texts += [repr(loaded.notes), repr(loaded.hints), repr(loaded.values)]
    for text in (*texts, *shown):
        leaked = MARK.search(text.replace(str(root), ""))
        assert leaked is None, text


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect everything that is logged during the block."""
    lines: list[str] = []
    handler = logging.Handler(level=logging.DEBUG)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root, own = logging.getLogger(), logging.getLogger("hive_boot")
    levels = root.level, own.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    own.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        own.setLevel(levels[1])


def log_result(loaded: LoadResult) -> None:
    """Log what a start logs of a load."""
    log_warnings(loaded.warnings)
    log_notes(loaded.notes)


def styles_of(text: str) -> list[str]:
    """Return the ways in which a text can be written."""
    can_be_bare = (
        text
        and text == text.strip()
        and text[0] not in "'\"#"
        and "-----BEGIN" not in text
        and not any(line != text for line in text.splitlines())
        and not any(one.isspace() and two == "#" for one, two in pairwise(text))
    )
    return ["'", '"', "bare"] if can_be_bare else ["'", '"']


def one_line_end(text: str) -> str:
    """Return a text as it is read from a file that is opened as text."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write(directory: Path, files: Mapping[str, bytes], *, is_volume: bool) -> None:
    """Write the files of a new directory or of a new kubelet volume."""
    if is_volume:
        MountedVolume(directory).publish(files)
        return
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)


# A search for faults takes more: PROPERTY_EXAMPLES=3000 needs about five minutes for each test.
everything = settings(
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "120")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
