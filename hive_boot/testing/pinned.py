"""A file that is mounted by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.testing.content import encoded
from hive_boot.testing.directories import PlainDirectory
from hive_boot.testing.mounts import bind, obstacle, unbind

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import Self


class PinnedFile:
    """A file of the host that is mounted over a path while a ``with`` block runs.

    That is what a ``file:`` secret of Docker Compose is, and a ``subPath`` of Kubernetes.
    The path is pinned to one file: what is written into that is seen, and a file that
    takes its place on the host is not.

    It needs Linux and the right to mount, CAP_SYS_ADMIN: root has it, in most
    containers nobody has. :meth:`possible` tells.

    Args:
        path: where the file is seen. An empty file is made when there is none.
        host: the file of the host. An empty one is made when there is none.

    Attributes:
        path: where the file is seen, as a Path.
        host: the file of the host, as a Path.
    """

    def __init__(self, path: str | os.PathLike[str], host: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.host = Path(host)

    @staticmethod
    def possible() -> str | None:
        """Try whether files can be mounted here.

        Returns:
            None when they can; else the reason, for ``pytest.skip``.
        """
        return obstacle()

    def __enter__(self) -> Self:
        """Mount the file.

        Raises:
            MountError: this machine does not allow it.
        """
        for file in (self.host, self.path):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        bind(self.host, self.path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unbind(self.path)

    def write(self, value: str | bytes) -> None:
        """Truncate the host's file and write it anew: it is seen at the path.

        Args:
            value: the value; a text is written as UTF-8.
        """
        self.host.parent.mkdir(parents=True, exist_ok=True)
        self.host.write_bytes(encoded(value))

    def replace(self, value: str | bytes) -> None:
        """Rename a new file over the host's: the path keeps the old one, which is stale now.

        Args:
            value: the value; a text is written as UTF-8.
        """
        PlainDirectory(self.host.parent).replace(self.host.name, value)
