"""Read files that hold one secret each.

The recipe, in order: open without blocking, so that a FIFO without a writer
cannot hang a start; believe only the descriptor about what was opened; refuse
what is no regular file or larger than 1 MiB before reading it; take the text as
strict UTF-8 without its byte order mark and its one final newline, and nothing
else away. :class:`SecretBytes` are taken raw.

Nothing is raised: what is wrong with a file is what its :class:`Hit` says.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from errno import EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EPERM
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from hive_boot.secrets.value import Secret, SecretBytes, seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.declaration import Field

LIMIT = 1 << 20
"""The largest file read, in bytes: what a whole Kubernetes Secret may hold."""


class Fault(NamedTuple):
    """Something is there and cannot be a value.

    Attributes:
        kind: what is wrong, as one word; ``empty`` is judged by who asked.
        message: what is wrong, as the end of a sentence.
    """

    kind: ProblemKind
    message: str


Value = Secret | SecretBytes

Outcome = Value | Fault
"""A value, or what keeps it from being one."""

UNREADABLE = Fault("unreadable", "cannot be read: permission denied")
EMPTY = Fault("empty", "is empty")
NOT_UTF_8 = Fault("not-utf-8", "is not UTF-8 text (SecretBytes takes what is no text)")

_LARGE = Fault("too-large", f"is larger than {LIMIT} bytes")
_NUL = Fault("nul", "holds a NUL character (SecretBytes takes what is no text)")
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_BOM = b"\xef\xbb\xbf"


Held = TypeVar("Held", covariant=True)


class Hit(NamedTuple, Generic[Held]):
    """What one file or variable held.

    Attributes:
        held: the value, or what keeps it from being one.
        source: the kind of source: ``file``, ``environment``, ``.env``,
            ``dev_default``.
        place: the file or the variable.
    """

    held: Held
    source: str
    place: str


Found = Hit[Value]
"""A value, and where it comes from."""


@dataclass(slots=True)
class Batch:
    """What a number of files held.

    Attributes:
        hits: what was found for each field, by attribute.
        stats: the state of each file that was opened.
        touched: when the youngest of them was last touched, on the wall clock.
        lost: the names that are links and lead nowhere.
    """

    hits: dict[str, list[Hit[Outcome]]] = field(default_factory=dict)
    stats: list[os.stat_result] = field(default_factory=list)
    touched: float = 0.0
    lost: list[str] = field(default_factory=list)


def read_files(
    names: Iterable[str],
    fields: Mapping[str, Field],
    *,
    directory: str = "",
    dir_fd: int | None = None,
) -> Batch:
    """Read every file among ``names`` that answers a field, and open no other.

    The loop is nearly all that a load of many secrets consists of: what each
    ordinary file needs stands in it, and what is not ordinary is left to functions.

    Args:
        names: the names, relative to ``dir_fd``, or paths when that is None.
        fields: the field that each name answers.
        directory: what makes a place of a name when it is put before it.
        dir_fd: an open directory.
    """
    batch = Batch()
    hits, stats = batch.hits, batch.stats
    touched = 0.0
    for name in names:
        declared = fields.get(name)
        if declared is None:
            continue
        outcome: Outcome
        try:
            fd = os.open(name, _FLAGS, dir_fd=dir_fd)
        except OSError as exc:
            fault = _opening_fault(exc, name, dir_fd)
            if fault is None:
                continue
            if fault.kind == "broken-link":
                batch.lost.append(name)
            outcome = fault
        else:
            try:
                status = os.fstat(fd)
                stats.append(status)
                if status.st_mtime > touched:
                    touched = status.st_mtime
                if status.st_ctime > touched:
                    touched = status.st_ctime
                size = status.st_size
                if status.st_mode & 0o170000 != stat.S_IFREG or size > LIMIT:
                    outcome = _refused(status)
                else:
                    # A byte more than the size shows a file that grows, or hides its size.
                    raw = os.read(fd, size + 1)
                    if len(raw) != size or not size:
                        raw = _read_rest(fd, raw)
                    outcome = _value(declared, raw)
            except OSError as exc:
                outcome = _reading_fault(exc)
            finally:
                os.close(fd)
        hit = _new(Hit, (outcome, "file", directory + name))
        known = hits.setdefault(declared.attribute, [])
        known.append(hit)
    batch.touched = touched
    return batch


_new = tuple.__new__


def _value(declared: Field, raw: bytes) -> Outcome:
    """Make what was read a value of the declared type."""
    if declared.kind is SecretBytes:
        if len(raw) > LIMIT:
            return _LARGE
        return SecretBytes(declared.name, raw) if raw else EMPTY
    if raw[-1:] == b"\n":
        raw = raw[:-2] if raw[-2:] == b"\r\n" else raw[:-1]
    if raw[:1] == b"\xef" and raw.startswith(_BOM):
        raw = raw[3:]
    if not raw:
        return EMPTY
    if len(raw) > LIMIT:
        return _LARGE
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return NOT_UTF_8
    return _NUL if "\0" in text else seal(declared.name, text)


def _read_rest(fd: int, raw: bytes) -> bytes:
    """Read on to the end, or to one byte more than is allowed."""
    while len(raw) <= LIMIT and (more := os.read(fd, LIMIT + 1 - len(raw))):
        raw += more
    return raw


def _refused(status: os.stat_result) -> Fault:
    if stat.S_ISREG(status.st_mode):
        return _LARGE
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"))
    what = next((text for test, text in kinds if test(status.st_mode)), "a device")
    return Fault("not-a-file", f"is {what}, not a file")


def _opening_fault(exc: OSError, path: str, dir_fd: int | None) -> Fault | None:
    """Tell why a file cannot be opened; None when there is none."""
    if exc.errno in {ENOENT, ENOTDIR, ENAMETOOLONG}:
        try:
            os.readlink(path, dir_fd=dir_fd)
        except OSError:
            return None
        return Fault("broken-link", "is a link that leads nowhere")
    if exc.errno == ELOOP:
        return Fault("broken-link", "is a link that leads in a circle")
    if exc.errno == ENXIO:
        return Fault("not-a-file", "is a socket or a device, not a file")
    return _reading_fault(exc)


def _reading_fault(exc: OSError) -> Fault:
    if exc.errno in {EACCES, EPERM}:
        return UNREADABLE
    return Fault("unreadable", f"cannot be read: {os.strerror(exc.errno or 0).lower()}")
