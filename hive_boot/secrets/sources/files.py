"""File source: values from files, or the problem of each file that has no valid value."""

from __future__ import annotations

import os
import select
import stat
import time
from contextlib import suppress
from errno import EACCES, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import _OpaqueIterator, conceal
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.value import Secret, SecretBytes, complete_pem, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from io import FileIO
    from typing import Self

    from hive_boot.secrets.fields import Field, FieldTarget

LIMIT = 1 << 20
"""Maximum size of a file in bytes: that of a whole Kubernetes Secret."""


Value = Secret | SecretBytes


ValueOrProblem = Value | ValueProblem
"""A value, or the problem of an invalid one."""


UNREADABLE = ValueProblem("unreadable", "cannot be read: permission denied")


EMPTY = ValueProblem("empty", "is empty")


A_DIRECTORY = ValueProblem(
    "not-a-file",
    "is a directory, not a file",
    "replace the directory {location} by a file; Docker creates one if the source of a bind mount "
    "does not exist",
)


_DANGLING = ValueProblem(
    "broken-link",
    "is a link to a file that does not exist",
    "create the file that the link {location} leads to, or correct the link",
)


_LOOP = ValueProblem(
    "broken-link", "is part of a loop of links", "make the link {location} lead to a file"
)


_DEVICE = ValueProblem(
    "not-a-file",
    "is a socket or a device, not a file",
    "replace the socket or device {location} by a regular file",
)


NOT_UTF_8 = ValueProblem("not-utf-8", "is not UTF-8 text")


UTF_16 = ValueProblem("not-utf-8", "is UTF-16 text, not UTF-8", "save {location} as UTF-8")


_LARGE = ValueProblem("too-large", f"is larger than {LIMIT} bytes")


NUL = ValueProblem("nul", "contains a NUL character")


_FIX_TEXT = "save {location} as UTF-8 text of at most 1 MiB"


NOT_ASKED = ValueProblem(
    "unreadable",
    "is a FIFO, which only a start and boot.reload() read",
    "start the application, or call boot.reload(), to read the FIFO {location}",
)


_ENDLESS = ValueProblem(
    "unreadable",
    "is a FIFO whose writer did not write and close it within the time limit",
    "start the program that writes the FIFO {location}, and let it close the FIFO",
)


_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


BOM = b"\xef\xbb\xbf"


_REGULAR = stat.S_IFREG


_SMALL = 1 << 12
"""Maximum size of a usual text file in bytes: these files are handled all together."""


_NEXT = attrgetter("__next__")


_UNUSUAL = frozenset(("", "-", "\r", "\n"))
"""Last characters of a text that is empty, may be a PEM block, or has another line end."""


def fix_of_file(problem: ValueProblem, path: str) -> str:
    """Return how to fix a file that contains several secrets, or a directory of secrets."""
    fix = "make {location} readable by the user of this process"
    if problem.kind != "unreadable":
        fix = _FIX_TEXT
    return (problem.fix or fix).format(location=path)


# Not a NamedTuple, whose definition takes 0.1 ms of every start.
class SourceHit(tuple[ValueOrProblem, str, str]):
    """Result of one file or variable.

    Args:
        result: the value, or its problem.
        source: the kind of source: ``file``, ``environment``, ``.env`` or ``source``.
        place: the location: the file, the variable or the custom source.
    """

    __slots__ = ()

    def __new__(cls, result: ValueOrProblem, source: str, place: str) -> Self:
        """Return a tuple of the three."""
        return super().__new__(cls, (result, source, place))

    result: ValueOrProblem = property(itemgetter(0))  # type: ignore[assignment]
    source: str = property(itemgetter(1))  # type: ignore[assignment]
    place: str = property(itemgetter(2))  # type: ignore[assignment]

    @property
    def origin(self) -> tuple[str, str]:
        """Source and location."""
        return self.source, self.place


class FileBatch:
    """Results of several files.

    Attributes:
        directory: the prefix that makes a location of a name.
        hits: the results of the files of each field, by attribute.
        without_value: the attributes of the fields with a file that is empty or a directory.
        touched: the latest ctime of the files that were opened, on the wall clock. Every write,
            rename and chmod updates the ctime, and unlike the mtime it cannot be set.
        devices: the numbers of the file systems of these files, each with the location of a file.
        dangling_links: the names of links that cannot be resolved.
        permission_denied: whether a permission is missing.
        bundle_problem: why a file with several secrets cannot be used; None if it can.
        shown_names: the names in it that a message may contain, if they are similar to a
            declared name.
        skipped_line: the number of its first line that cannot be parsed and concerns no declared
            secret; 0 without one.
    """

    # Not a dataclass, whose generated code would delay each start.
    def __init__(self, directory: str = "") -> None:
        self.directory: str = directory
        self.hits: dict[str, tuple[SourceHit, ...]] = {}
        self.without_value: set[str] = set()
        self.touched: float = 0.0
        self.devices: dict[int, str] = {}
        self.dangling_links: list[str] = []
        self.permission_denied: bool = False
        self.bundle_problem: ValueProblem | None = None
        self.shown_names: list[str] = []
        self.skipped_line: int = 0

    @property
    def content(self) -> tuple[object, ...]:
        """All values and problems, with the ctime of the files: two equal reads are complete."""
        return self.touched, self.hits

    @property
    def names(self) -> list[str]:
        """The names of the files."""
        places = [hit.place for hits in self.hits.values() for hit in hits]
        return [place.removeprefix(self.directory) for place in places]

    def result(self, attribute: str) -> ValueOrProblem | None:
        """Return the first result of a field; None without one."""
        hits = self.hits.get(attribute)
        return hits[0].result if hits else None

    def add(self, name: str, attribute: str, outcome: ValueOrProblem | None) -> None:
        """Add the result of one name, if any."""
        if isinstance(outcome, ValueProblem):
            self.permission_denied |= outcome is UNREADABLE
            if outcome.kind == "broken-link":
                self.dangling_links.append(name)
            if outcome is EMPTY or outcome is A_DIRECTORY:
                self.without_value.add(attribute)
        if outcome is not None:
            hit = SourceHit(outcome, "file", self.directory + name)
            self.hits[attribute] = (*self.hits.get(attribute, ()), hit)


def read_files(  # noqa: C901, PLR0912  (one loop: a call for each file is slow)
    names: Iterable[str],
    answers: Mapping[str, FieldTarget],
    *,
    directory: str = "",
    dir_fd: int | None = None,
) -> FileBatch:
    """Read every file among ``names`` that belongs to a field, and open no other file.

    A load of many secrets spends nearly all of its time in this loop, so it only reads. The usual
    files become values all together, after it.

    Args:
        names: the names, relative to ``dir_fd``, or paths if that is None.
        answers: the field of each name.
        directory: the prefix that makes a location of a name.
        dir_fd: an open directory.
    """
    batch = FileBatch(directory)
    touched, device = 0.0, None
    open_file, fstat, read_bytes, close = os.open, os.fstat, os.read, os.close
    # No local variable of this frame holds a content.
    contents, usual = conceal(list[bytes]()), list[str]()
    keep_content, keep_name = contents().append, usual.append
    for name in names:
        if (target := answers.get(name)) is None:
            continue
        try:
            fd = open_file(name, _FLAGS, dir_fd=dir_fd)
        except OSError as exc:
            batch.add(name, target[0], _opening_problem(exc, name, dir_fd))
            continue
        try:
            status = fstat(fd)
            size = status.st_size
            if status.st_ctime > touched:  # noqa: PLR1730  (max() is a call)
                touched = status.st_ctime
            if status.st_dev != device:
                device = status.st_dev
                batch.devices[device] = directory + name
            is_regular = status.st_mode & 0o170000 == _REGULAR
            if is_regular and size <= _SMALL and target[2]:
                # One byte more than the size is requested, to notice a file that grows.
                keep_content(read_bytes(fd, size + 1))
                if len(contents()[-1]) == size:
                    keep_name(name)
                    continue
                del contents()[-1]
            if is_regular and size <= LIMIT:
                outcome = value_of_content(_read_all(fd), target[1], is_text=target[2])
                batch.add(name, target[0], outcome)
            else:
                batch.add(name, target[0], _refused(status))
        except OSError as exc:
            batch.add(name, target[0], reading_problem(exc))
        finally:
            # A network file system may report an error here; the content is already read.
            try:  # noqa: SIM105  (a call for each file is slow)
                close(fd)
            except OSError:
                pass
    batch.touched = touched
    if usual:
        _add_texts(batch, usual, contents, answers)
    return batch


def _add_texts(
    batch: FileBatch,
    names: list[str],
    contents: Callable[[], list[bytes]],
    answers: Mapping[str, FieldTarget],
) -> None:
    """Add the contents of text files, with as few calls as possible for the usual ones.

    Args:
        batch: the results.
        names: the names of the files.
        contents: returns their contents.
        answers: the field of each name.
    """
    texts = _usual_texts(contents)
    if texts is None:
        half = len(names) // 2
        if half:
            # One unusual file must not make all others slow.
            _add_texts(batch, names[:half], conceal(contents()[:half]), answers)
            _add_texts(batch, names[half:], conceal(contents()[half:]), answers)
            return
        attribute, label, _ = answers[names[0]]
        content = conceal(contents()[0])
        batch.add(names[0], attribute, value_of_content(content, label, is_text=True))
        return
    hits, directory, new_hit = batch.hits, batch.directory, tuple.__new__
    for name, read in zip(names, map(_NEXT, map(_OpaqueIterator, texts())), strict=True):
        attribute, label, _ = answers[name]
        # The same as value_of(Secret, label, read) and SourceHit(...), without the calls.
        value = object.__new__(Secret)
        value._name = label
        value._open = read
        hit = new_hit(SourceHit, (value, "file", directory + name))
        hits[attribute] = (*hits[attribute], hit) if attribute in hits else (hit,)


def _usual_texts(contents: Callable[[], list[bytes]]) -> Callable[[], list[str]] | None:
    """Return contents as texts, if all are ASCII text with or without one final newline."""
    joined = conceal(b"".join(contents()))
    if not joined().isascii() or b"\0" in joined():
        return None
    texts = conceal([*map(str.removesuffix, map(bytes.decode, contents()), repeat("\n"))])
    return texts if _UNUSUAL.isdisjoint(map(itemgetter(slice(-1, None)), texts())) else None


def _is_utf_16(read: Callable[[], bytes]) -> bool:
    """Return whether a content begins with a UTF-16 byte order mark, or every other byte is NUL."""
    if read().startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if b"\0" not in read():
        return False
    even, odd = (not read()[start::2].strip(b"\0") for start in (0, 1))
    return bool(read()[3:]) and even != odd  # two characters or more


def value_of_content(read: Callable[[], bytes], label: str, *, is_text: bool) -> ValueOrProblem:
    """Return the content of a file as a value of the declared type, or its problem.

    Args:
        read: returns the content, which no local variable holds.
        label: the name of the value.
        is_text: whether the value is text.
    """
    if len(read()) > LIMIT:
        return _LARGE
    if not read():
        return EMPTY
    if not is_text:
        return value_of(SecretBytes, label, read)
    if _is_utf_16(read):
        return UTF_16
    newline = b"\r\n" if read().endswith(b"\r\n") else b"\n"
    try:
        text = _OpaqueIterator(read().removeprefix(BOM).removesuffix(newline).decode()).__next__
    except UnicodeDecodeError:
        return NOT_UTF_8
    return value_of_text(text, label, is_text=True)


def value_of_text(
    read: Callable[[], str],
    label: str,
    *,
    is_text: bool,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> ValueOrProblem:
    """Return a text as a value of the declared type, or its problem.

    Args:
        read: returns the text, which no local variable holds.
        label: the name of the value.
        is_text: whether the value is text. A PEM block then ends with exactly one newline.
        encoding: the encoding of SecretBytes. Default UTF-8.
        errors: the error handler of that encoding. Default: a text without UTF-8 is a problem.
    """
    if not read():
        return EMPTY
    try:
        if not is_text:
            raw = _OpaqueIterator(read().encode(encoding, errors)).__next__
            return value_of(SecretBytes, label, raw)
        read().encode()
    except UnicodeEncodeError:
        return NOT_UTF_8
    return NUL if "\0" in read() else value_of(Secret, label, complete_pem(read))


def as_declared_type(
    found: ValueOrProblem | None, label: str, *, is_text: bool
) -> ValueOrProblem | None:
    """Return what was found in a file that was read as bytes, as a value of the declared type."""
    if isinstance(found, SecretBytes):
        return value_of_content(found.reveal, label, is_text=is_text)
    return found


def _read_all(fd: int) -> Callable[[], bytes]:
    """Return the whole content of a file, or the first ``LIMIT`` + 1 bytes of a larger one."""
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    left = LIMIT + 1
    while left:
        read = _OpaqueIterator(os.read(fd, left)).__next__
        if not read():
            break
        parts.append(read)
        left -= len(read())
    return _OpaqueIterator(b"".join([part() for part in parts])).__next__


def read_regular_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file that is not a secret, such as a manifest. It never blocks.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is larger than ``LIMIT``.
    """
    fd = os.open(path, _FLAGS)
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and len(content := _read_all(fd)()) <= LIMIT:
            return content
    finally:
        os.close(fd)
    raise OSError(EINVAL, _refused(status).message, os.fspath(path))


_fifo_contents: dict[str, tuple[tuple[int, int], Callable[[], bytes]]] = {}
"""The last content of each FIFO, with the inode of the FIFO, by path.

Of two readers of a FIFO one gets nothing, and a second open of ``/dev/fd/N`` is empty. The content
is therefore stored for every later load of this process.
"""


class FifoReader:
    """Reads each FIFO once, for one start or one ``boot.reload()``.

    Args:
        timeout: the seconds for all FIFOs together, from the first read.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadline: float | None = None
        self._answers: dict[str, Callable[[], bytes] | ValueProblem] = {}

    def read(self, path: str) -> Callable[[], bytes] | ValueProblem | None:
        """Return the content of a FIFO, or why it has none; None if ``path`` is not a FIFO."""
        if path not in self._answers and (answer := self._ask(path)):
            self._answers[path] = answer
        return self._answers.get(path)

    def _ask(self, path: str) -> Callable[[], bytes] | ValueProblem | None:
        """Return what a FIFO contains now; if that is nothing, what it contained before."""
        inode = _fifo_inode(path)
        if inode is None:
            _fifo_contents.pop(path, None)
            return None
        try:
            with os.fdopen(os.open(path, _FLAGS), "rb", 0) as fifo:
                answer = self._read_until_end(fifo, path)
        except OSError as exc:
            return reading_problem(exc)
        if isinstance(answer, ValueProblem):
            return answer
        known = _fifo_contents.get(path)
        if answer() or known is None or known[0] != inode:
            known = _fifo_contents[path] = inode, answer
        return known[1]

    def _read_until_end(self, fifo: FileIO, path: str) -> Callable[[], bytes] | ValueProblem:
        """Return everything that is written until the last writer closes the FIFO.

        Before the first writer opens a FIFO that has a name, a read returns nothing, too.
        """
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout
        poll = select.poll()
        poll.register(fifo, select.POLLIN)
        parts: list[Callable[[], bytes]] = []
        left, was_opened = LIMIT + 1, "pipe:[" in os.path.realpath(path)
        while left:
            # None while a writer has the FIFO open and has not written more.
            read = _OpaqueIterator(fifo.read(left)).__next__
            if read():
                parts.append(read)
                left -= len(read())
            elif read() is not None and (parts or was_opened):
                break
            elif (seconds := self._deadline - time.monotonic()) <= 0:
                return _ENDLESS
            else:
                was_opened |= bool(poll.poll(seconds * 1000))
        return _OpaqueIterator(b"".join([part() for part in parts])).__next__


def read_fifo(path: str, reader: FifoReader | None) -> SecretBytes | ValueProblem | None:
    """Return the content of a FIFO, or its problem; None if ``path`` is not a FIFO.

    A FIFO that may not be read is not opened either: its writer would lose what it writes.

    Args:
        path: the path, which may be a link or lead through ``/dev/fd``.
        reader: reads FIFOs; None to use only what this process has read before.
    """
    if reader is not None:
        answer = reader.read(path)
    elif path in _fifo_contents:
        answer = _fifo_contents[path][1]
    else:
        answer = NOT_ASKED if _fifo_inode(path) else None
    if answer is None or isinstance(answer, ValueProblem):
        return answer
    return value_of(SecretBytes, path, answer)


def _fifo_inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISFIFO(status.st_mode) else None


def _refused(status: os.stat_result) -> ValueProblem:
    if stat.S_ISREG(status.st_mode):
        return _LARGE
    if stat.S_ISDIR(status.st_mode):
        return A_DIRECTORY
    kind = "FIFO" if stat.S_ISFIFO(status.st_mode) else "device"
    fix = f"replace the {kind} {{location}} by a regular file"
    return ValueProblem("not-a-file", f"is a {kind}, not a file", fix)


def _opening_problem(exc: OSError, path: str, dir_fd: int | None) -> ValueProblem | None:
    """Return why a file cannot be opened; None if it does not exist."""
    if exc.errno in {ENOENT, ENOTDIR, ENAMETOOLONG}:
        try:
            os.readlink(path, dir_fd=dir_fd)
        except OSError:
            return None
        return _DANGLING
    if exc.errno == EACCES:
        # A directory need not be readable to be searched.
        with suppress(OSError):
            if stat.S_ISDIR(os.stat(path, dir_fd=dir_fd).st_mode):
                return A_DIRECTORY
    return {ELOOP: _LOOP, ENXIO: _DEVICE}.get(exc.errno or 0) or reading_problem(exc)


def reading_problem(exc: OSError) -> ValueProblem:
    """Return why a file or a directory that exists cannot be read."""
    if isinstance(exc, PermissionError):
        return UNREADABLE
    fix = "resolve this error of the operating system for {location}"
    return ValueProblem("unreadable", f"cannot be read: {os.strerror(exc.errno or 0).lower()}", fix)


def as_value(field: Field, read: Callable[[], Any], encoding: str = "utf-8") -> ValueOrProblem:
    """Return a text as the value of ``field``, or its problem.

    Python decodes bytes that are not UTF-8 as lone surrogates (PEP 383). SecretBytes contains the
    original bytes; for a Secret they are a problem.

    Args:
        field: the field.
        read: returns the text, which no local variable holds, or the problem of a variable.
        encoding: the encoding of the original bytes. Default UTF-8.
    """
    if isinstance(read(), ValueProblem):
        return read()  # type: ignore[no-any-return]
    is_text, errors = field.kind is Secret, "surrogateescape"
    return value_of_text(read, field.name, is_text=is_text, encoding=encoding, errors=errors)
