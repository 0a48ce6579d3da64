"""Bind mounts, by the system's own calls: a slim image has no ``mount`` command."""

from __future__ import annotations

import os
import sys
from errno import EBUSY, EINVAL
from pathlib import Path
from tempfile import TemporaryDirectory

_MS_BIND = 4096  # <sys/mount.h>
_MNT_DETACH = 2


class MountError(Exception):
    """This machine does not let a file be mounted or unmounted.

    Attributes:
        reason: why not, as a sentence without its full stop: ``pytest.skip`` takes it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def bind(source: Path, target: Path) -> None:
    """Mount the file ``source`` over the file ``target``.

    Raises:
        MountError: it is not allowed, or one of the two is not there.
    """
    if sys.platform != "linux":
        message = "only Linux has bind mounts"
        raise MountError(message)
    code = _call("mount", bytes(source), bytes(target), None, _MS_BIND, None)
    if code:
        message = f"mounting {source} over {target} failed: {_named(code)}"
        raise MountError(message)


def unbind(target: Path) -> None:
    """Take away what is mounted over ``target``, if anything is.

    A file that somebody holds open is detached: it goes when it is closed.

    Raises:
        MountError: it is not allowed.
    """
    code = _call("umount2", bytes(target), 0)
    if code == EBUSY:
        code = _call("umount2", bytes(target), _MNT_DETACH)
    if code not in {0, EINVAL}:  # EINVAL: nothing is mounted there any more
        message = f"unmounting {target} failed: {_named(code)}"
        raise MountError(message)


def obstacle() -> str | None:
    """Tell why nothing can be mounted here, or None.

    It is tried, because no list of capabilities tells what seccomp and AppArmor forbid.
    """
    with TemporaryDirectory() as name:
        file = Path(name, "file")
        file.touch()
        try:
            bind(file, file)
            unbind(file)
        except MountError as exc:
            return f"nothing can be mounted here: {exc.reason.rpartition(': ')[2]}"
    return None


def _call(name: str, *arguments: bytes | int | None) -> int:
    """Call a function of the C library, and give its error; 0 for none."""
    import ctypes  # noqa: PLC0415  (every pytest imports this package, few tests mount)

    numbers = [ctypes.c_ulong(it) if isinstance(it, int) else it for it in arguments]
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    failed: int = function(*numbers)
    return ctypes.get_errno() if failed else 0


def _named(code: int) -> str:
    return os.strerror(code).lower()
