"""Mount table of this process, as the kernel lists it in ``/proc/self/mountinfo``.

https://docs.kernel.org/filesystems/proc.html (3.5, mountinfo)
"""

from __future__ import annotations

import re
from pathlib import Path

from hive_boot._records import Record

TABLE = "/proc/self/mountinfo"

_SEPARATOR = " - "
_ROOT, _POINT = 3, 4
_FIELDS = 6
"""Fields before the separator that each line has; optional fields may follow them."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(Record):
    """One line of the mount table.

    Attributes:
        root: the path in the mounted file system that is visible at ``point``.
        point: the path where it is mounted.
        file_system: the type of the mounted file system, such as ``ext4``.
    """

    root: str
    point: str
    file_system: str


def read_mounts(table: str = TABLE) -> list[Mount]:
    """Return the mounts in a file, in its order; an unreadable file has none.

    Of several mounts at one point, the last one is visible.

    Args:
        table: the path of a mount table.
    """
    try:
        raw = Path(table).read_bytes()
    except OSError:
        return []
    # The kernel writes the bytes of a path, which need not be UTF-8.
    return parse_mounts(raw.decode("utf-8", "surrogateescape"))


def parse_mounts(text: str) -> list[Mount]:
    """Return the mounts that a mount table lists; a line of another form is left out."""
    found = []
    # Not splitlines(): a path may contain the other characters that end a line for Python.
    for line in text.split("\n"):
        # A path contains no space, because the kernel escapes it: the first match separates.
        head, separator, tail = line.partition(_SEPARATOR)
        fields = head.split(" ")
        if separator and len(fields) >= _FIELDS:
            found.append(
                Mount(
                    root=_unescaped(fields[_ROOT]),
                    point=_unescaped(fields[_POINT]),
                    file_system=_unescaped(tail.partition(" ")[0]),
                )
            )
    return found


def _unescaped(field: str) -> str:
    """Return a field without the kernel's octal escapes of white space and backslashes."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
