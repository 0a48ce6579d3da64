"""FIFOs, which are read once, until the last writer closes them."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from hive_boot.secrets.sources import files
from hive_boot.secrets.sources.dotenv import read_dotenv
from hive_boot.secrets.sources.files import (
    LIMIT,
    NOT_ASKED,
    FifoReader,
    as_declared_type,
    read_fifo,
    read_files,
)
from hive_boot.secrets.value import Secret, SecretBytes
from tests.fixtures.cases import case
from tests.support import as_ordinary_user, descriptors, good_values

NO_TIME = 0.0
"""A timeout for FIFOs of which nobody is going to write."""

PATIENT = 60.0
"""A timeout that no test reaches."""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Forget the contents of FIFOs: a later test may get the same number of a descriptor."""
    yield
    files._fifo_contents.clear()  # noqa: SLF001  (a process has no reason to forget them)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Create a FIFO, and return its path."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@contextmanager
def writer(*steps: Callable[[], object]) -> Iterator[None]:
    """Run steps in another thread during the block, and wait for their end."""
    thread = threading.Thread(target=lambda: [step() for step in steps], daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert not thread.is_alive()


def plain(path: Path | str, reader: FifoReader | None, *, is_text: bool = True) -> str | bytes:
    """Return the plain value in a FIFO, or the kind of its problem."""
    found = as_declared_type(read_fifo(str(path), reader), "API_KEY", is_text=is_text)
    if isinstance(found, Secret | SecretBytes):
        return found.reveal()
    return found.kind if found else "no FIFO"


def test_a_writer_that_comes_later(fifo: Path) -> None:
    """The read waits for a writer, and for all that it writes until it closes the FIFO."""

    def write_in_parts() -> None:
        with fifo.open("wb", buffering=0) as stream:
            for part in (b"fake-", b"key", b"\n"):
                stream.write(part)

    with writer(write_in_parts):
        assert plain(fifo, FifoReader(PATIENT)) == "fake-key"


def test_a_content_that_exceeds_the_buffer(fifo: Path) -> None:
    """A FIFO holds 64 KiB; what does not fit is written while it is read."""
    text = "fake" * (LIMIT // 4)
    with writer(lambda: fifo.write_text(text)):
        assert plain(fifo, FifoReader(PATIENT)) == text


def test_a_content_that_is_too_large(fifo: Path) -> None:
    """The read ends at the limit of every file."""

    def write_too_much() -> None:
        with pytest.raises(BrokenPipeError):
            fifo.write_text("fake" * LIMIT)

    with writer(write_too_much):
        assert plain(fifo, FifoReader(PATIENT)) == "too-large"


def test_a_writer_without_a_content(fifo: Path) -> None:
    """A writer that opens and closes the FIFO has written an empty value."""
    with writer(lambda: fifo.write_bytes(b"")):
        assert plain(fifo, FifoReader(PATIENT)) == "empty"


def test_the_rules_of_a_file_apply(fifo: Path) -> None:
    """A FIFO contains text in UTF-8, without NUL, byte order mark and final newline, or bytes."""
    cases: list[tuple[bytes, bool, str | bytes]] = [
        (b"\xef\xbb\xbffake\r\n", True, "fake"),
        (b"fake\xff", True, "not-utf-8"),
        (b"fake\0", True, "nul"),
        (b"\n", True, "empty"),
        (b"fake\xff\0\n", False, b"fake\xff\0\n"),
    ]
    for content, is_text, expected in cases:
        with case(content), writer(partial(fifo.write_bytes, content)):
            assert plain(fifo, FifoReader(PATIENT), is_text=is_text) == expected


def test_a_fifo_without_a_writer(fifo: Path) -> None:
    """It is a problem after the time limit, not a hang, and leaves no descriptor open."""
    before = descriptors()
    assert plain(fifo, FifoReader(NO_TIME)) == "unreadable"
    assert descriptors() == before


def test_a_writer_that_does_not_close(fifo: Path) -> None:
    """What has no end within the time limit is a problem, and not a value that may be cut."""
    end = os.open(fifo, os.O_RDWR)
    try:
        for content in (b"", b"fake-half"):
            with case(content):
                os.write(end, content)
                assert plain(fifo, FifoReader(NO_TIME)) == "unreadable"
    finally:
        os.close(end)


def test_the_time_limit_is_for_all_fifos_together(
    fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with the first read; later a FIFO is read if its content is there, and no other."""
    moments = iter([0.0, PATIENT + 1, PATIENT + 1])
    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=moments.__next__))
    reader = FifoReader(PATIENT)
    os.mkfifo(fifo.with_name("second"))
    assert plain(fifo, reader) == plain(fifo.with_name("second"), reader) == "unreadable"
    with pipe(b"fake-key") as path:
        assert plain(path, reader) == "fake-key"


@contextmanager
def pipe(content: bytes) -> Iterator[str]:
    """Yield the path of a pipe that its writer has closed, as of a process substitution."""
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, content)
        os.close(write_end)
        yield f"/dev/fd/{read_end}"
    finally:
        os.close(read_end)


def test_a_descriptor(tmp_path: Path) -> None:
    """A pipe is read through /dev/fd, /proc/self/fd or a link, and does not wait for a writer."""
    for way in ("/dev/fd", "/proc/self/fd", "link"):
        with case(way), pipe(b"fake-key\n") as path:
            named = Path(way, Path(path).name)
            if way == "link":
                named = tmp_path / way
                named.symlink_to(path)
            assert plain(named, FifoReader(NO_TIME)) == "fake-key"
            assert plain(named, None) == "fake-key"
    with pipe(b"") as path:
        assert plain(path, FifoReader(NO_TIME)) == "empty"


def test_a_descriptor_of_a_file(tmp_path: Path) -> None:
    """A here-document may be a file that was removed; it is read like any file, at each read."""
    path = tmp_path / "here"
    path.write_text("fake-key\n")
    with path.open() as stream:
        path.unlink()
        named = f"/dev/fd/{stream.fileno()}"
        for _ in range(2):
            assert plain(named, FifoReader(NO_TIME)) == "no FIFO"
            batch = read_files([named], {named: ("api_key", "API_KEY", True)})
            assert good_values(batch)["api_key"].reveal() == "fake-key"


def test_what_was_read_is_kept(fifo: Path) -> None:
    """Two fields of one start, and every later load, get what the first read got."""
    reader = FifoReader(PATIENT)
    with writer(lambda: fifo.write_text("fake-key")):
        assert plain(fifo, reader) == "fake-key"
    assert plain(fifo, reader, is_text=False) == b"fake-key"
    fifo.unlink()
    assert plain(fifo, reader) == "fake-key"
    assert plain(fifo, None) == "fake-key"


def test_a_problem_is_kept_for_one_start_only(fifo: Path) -> None:
    """A start does not wait twice; the next one does."""
    reader = FifoReader(NO_TIME)
    assert plain(fifo, reader) == "unreadable"
    with pipe(b"") as _, writer(lambda: fifo.write_text("fake-key")):
        assert plain(fifo, reader) == "unreadable"
        assert plain(fifo, FifoReader(PATIENT)) == "fake-key"


def test_a_second_read(fifo: Path) -> None:
    """A later start gets the new content; of a FIFO that is empty or silent now, the old stays."""
    with writer(lambda: fifo.write_text("fake-1")):
        assert plain(fifo, FifoReader(PATIENT)) == "fake-1"
    assert plain(fifo, FifoReader(NO_TIME)) == "unreadable"
    assert plain(fifo, None) == "fake-1"
    with writer(lambda: fifo.write_text("fake-2")):
        assert plain(fifo, FifoReader(PATIENT)) == "fake-2"
    with writer(lambda: fifo.write_bytes(b"")):
        assert plain(fifo, FifoReader(PATIENT)) == "fake-2"
    with pipe(b"fake-key") as path:
        for _ in range(2):
            assert plain(path, FifoReader(NO_TIME)) == "fake-key"


def test_another_pipe_under_the_same_number() -> None:
    """The content of an earlier pipe is not taken for that of an empty one."""
    paths = []
    for content in (b"fake-key", b""):
        with pipe(content) as path:
            paths.append(path)
            assert plain(path, FifoReader(NO_TIME)) == (content.decode() or "empty")
    assert paths[0] == paths[1]


def test_a_file_in_the_place_of_a_fifo(fifo: Path) -> None:
    """A start reads the file, and forgets what the FIFO contained."""
    with writer(lambda: fifo.write_text("fake-key")):
        assert plain(fifo, FifoReader(PATIENT)) == "fake-key"
    fifo.unlink()
    fifo.write_text("other")
    assert plain(fifo, FifoReader(NO_TIME)) == "no FIFO"
    assert plain(fifo, None) == "no FIFO"


def test_a_fifo_that_may_not_be_read(fifo: Path) -> None:
    """It is not even opened: its writer goes on waiting for a reader."""
    for _ in range(2):
        assert read_fifo(str(fifo), None) is NOT_ASKED
        problem = read_dotenv(str(fifo)).problem
        assert problem is not None
        assert problem.kind == "unreadable"
        with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def test_a_fifo_without_permission() -> None:
    """The permission is the problem."""
    with as_ordinary_user() as place:
        os.mkfifo(place / "fifo", 0o000)
        assert plain(place / "fifo", FifoReader(NO_TIME)) == "unreadable"
        assert plain(place / "fifo" / "below", FifoReader(NO_TIME)) == "no FIFO"


def test_the_contents_are_not_shown(fifo: Path) -> None:
    """A debugger that shows the module sees no content."""
    with writer(lambda: fifo.write_text("fake-key")):
        assert plain(fifo, FifoReader(PATIENT)) == "fake-key"
    assert str(fifo) in files._fifo_contents  # noqa: SLF001  (what a debugger shows)
    assert "fake-key" not in repr(files._fifo_contents)  # noqa: SLF001
