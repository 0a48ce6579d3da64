"""What the kernel tells of a directory, in order: inotify without any library between."""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KINDS = {
    0x002: "written",
    0x004: "chmod",
    0x040: "moved from",
    0x080: "moved to",
    0x100: "made",
    0x200: "removed",
}
_HEAD = struct.Struct("iIII")


@contextmanager
def events_of(directory: Path) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """Watch a directory; what is given tells the events so far, as kind and name."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        added = libc.inotify_add_watch(descriptor, bytes(directory), sum(KINDS))
        assert added >= 0, os.strerror(ctypes.get_errno())
        yield lambda: list(_parsed(_everything(descriptor)))
    finally:
        os.close(descriptor)


def _everything(descriptor: int) -> bytes:
    found = b""
    while True:
        try:
            found += os.read(descriptor, 65536)
        except BlockingIOError:
            return found


def _parsed(data: bytes) -> Iterator[tuple[str, str]]:
    while data:
        _, mask, _, length = _HEAD.unpack_from(data)
        name = data[_HEAD.size : _HEAD.size + length].rstrip(b"\0").decode()
        yield KINDS[mask & sum(KINDS)], name
        data = data[_HEAD.size + length :]
