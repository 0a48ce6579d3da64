"""What tests write into files, and under which names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

Files = Mapping[str, str | bytes]
"""What a directory holds: values by relative path."""


def encoded(value: str | bytes) -> bytes:
    """Give what is written for a value: a text becomes UTF-8, and nothing is added to it."""
    return value.encode() if isinstance(value, str) else value


def projected(files: Files) -> dict[str, bytes]:
    """Give what a volume holds of ``files``, by path.

    Raises:
        ValueError: a path is one that the kubelet refuses: empty, absolute, with a
            component ``..``, or with a first one that begins with ``..``.
    """
    content = {}
    for name, value in files.items():
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or path.parts[0][:2] == "..":
            message = f"no volume can hold the path {name!r}"
            raise ValueError(message)
        content[str(path)] = encoded(value)
    return content


def tops(content: Mapping[str, bytes]) -> list[str]:
    """Give the first component of each path, once and in order."""
    return list(dict.fromkeys(path.partition("/")[0] for path in content))
