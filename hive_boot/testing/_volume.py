"""Simulated kubelet volume: a directory with atomic updates, and methods for known failures.

The steps and their order are those of the kubelet's AtomicWriter, as of 1.32:
https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/volume/util/atomic_writer.go
Separate methods simulate older kubelets and other writers.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OPEN = 0o755


class MountedVolume:
    """A directory that is written as the kubelet writes the volume of a Secret.

    The files are in a directory whose name is a timestamp. The link ``..data`` points to it,
    and for each key there is a link ``key`` that points to ``..data/key``. New content is
    written to a new directory, to which ``..data`` is switched by one rename.

    All methods are synchronous and thread-safe. An object has no state except the path, so two
    objects can write one volume in turn. The directory is not removed at the end: use one in
    pytest's ``tmp_path``.

    Args:
        path: the directory; it is created if it does not exist.

    Attributes:
        path: the directory, as a Path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()

    @property
    def data(self) -> Path:
        """The link to the directory of the files."""
        return self.path / "..data"

    @property
    def generation(self) -> Path | None:
        """The target of ``..data``, even if it does not exist; None without the link."""
        with suppress(FileNotFoundError):
            return self.path / self.data.readlink()
        return None

    @property
    def content(self) -> dict[str, bytes]:
        """The published files, by relative path; empty without a generation."""
        with self._lock:
            if (generation := self.generation) is None:
                return {}
            files = (path for path in generation.rglob("*") if path.is_file())
            return {path.relative_to(generation).as_posix(): path.read_bytes() for path in files}

    def publish(
        self,
        files: Mapping[str, str | bytes],
        *,
        mode: int = 0o644,
        anew: bool = False,
        pause: float = 0.0,
    ) -> bool:
        """Replace the whole content of the volume by ``files``, in one rename.

        Like the kubelet, the method does not write content that is already published, even if
        ``mode`` differs: there is no event. Missing links are created. Empty ``files`` simulate
        an absent Secret with ``optional: true``: a volume with only ``..data`` in it.

        Args:
            files: the values by relative path. For a path with a directory, as ``items:``
                can specify, the link is to the directory. Text is encoded as UTF-8.
            mode: the permissions of each file. Default 0644, as of a volume without
                ``defaultMode``.
            anew: whether unchanged content becomes a new generation too, as when a volume is
                mounted again. Default False.
            pause: seconds between two files, to simulate a slow writer; the files are not
                visible to readers yet. Default 0.

        Returns:
            Whether anything in the volume was changed.

        Raises:
            ValueError: the kubelet would refuse a path.
        """
        content = volume_content(files)
        with self._lock:
            if not anew and self._has_content(content):
                return self._link(content)
            self._switch(self._write(content, mode, pause), content)
            return True

    @contextmanager
    def links_first(self, files: Mapping[str, str | bytes], *, mode: int = 0o644) -> Iterator[None]:
        """Publish as older kubelets and the Secrets Store CSI driver do.

        Within the block all files and links exist, and ``..data`` still points to the old files:
        the link of a new key is dangling. ``..data`` is switched when the block ends.

        Args:
            files: the values by relative path.
            mode: the permissions of each file. Default 0644.

        Raises:
            ValueError: the kubelet would refuse a path.
        """
        content = volume_content(files)
        with self._lock:
            fresh = self._write(content, mode)
            self._link(content)
        try:
            yield
        finally:
            with self._lock:
                self._switch(fresh, content)

    @contextmanager
    def late_permissions(
        self, files: Mapping[str, str | bytes], *, mode: int = 0o644, directory: bool = False
    ) -> Iterator[None]:
        """Publish files that only root can read before the block ends.

        This simulates kubelets that apply an ``fsGroup`` after the rename.

        Args:
            files: the values by relative path.
            mode: the permissions of each file after the block. Default 0644.
            directory: whether the permissions are removed from the directory instead of from each
                file. Default False.

        Raises:
            ValueError: the kubelet would refuse a path.
        """
        content = volume_content(files)
        with self._lock:
            fresh = self._write(content, mode if directory else 0)
            if directory:
                fresh.chmod(0)
            self._switch(fresh, content)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):  # the block has published other files
                fresh.chmod(_OPEN)
                for name in content:
                    (fresh / name).chmod(mode)

    @contextmanager
    def without_data(self) -> Iterator[None]:
        """Remove the link ``..data`` until the block ends.

        This simulates Kata guests, where the link is missing for some milliseconds at each
        change. Content that is published within the block stays.

        Raises:
            FileNotFoundError: nothing has been published yet.
        """
        target = self.data.readlink()
        self.data.unlink()
        try:
            yield
        finally:
            with suppress(FileExistsError):  # the block has published other files
                self.data.symlink_to(target)

    @contextmanager
    def dangling_data(self) -> Iterator[None]:
        """Rename the directory that ``..data`` points to, and rename it back when the block ends.

        Content that is published within the block stays.

        Raises:
            FileNotFoundError: nothing has been published yet.
        """
        generation = self.path / self.data.readlink()
        away = self.path / f"{generation.name}.away"
        generation.rename(away)
        try:
            yield
        finally:
            away.rename(generation)

    def remove_link(self, name: str) -> None:
        """Remove the link of a key but not its file, to simulate a kubelet that crashed.

        The next :meth:`publish` creates the link again, also with the same content.

        Args:
            name: the key, or the directory that it is in.

        Raises:
            FileNotFoundError: the link does not exist.
        """
        (self.path / name).unlink()

    def _has_content(self, content: Mapping[str, bytes]) -> bool:
        generation = self.generation
        # The kubelet runs as root. For another user, unreadable content counts as changed.
        with suppress(PermissionError):
            return generation is not None and generation.is_dir() and self.content == content
        return False

    def _write(self, content: Mapping[str, bytes], mode: int, pause: float = 0.0) -> Path:
        """Create the directory of a generation, to which no link points yet."""
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime())
        fresh = self.path / f"{stamp}.{secrets.randbelow(2**32)}"
        fresh.mkdir(mode=0o700)
        fresh.chmod(_OPEN)  # regardless of the umask
        for position, (name, value) in enumerate(content.items()):
            if position and pause:
                time.sleep(pause)
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value)
            path.chmod(mode)
        return fresh

    def _switch(self, fresh: Path, content: Mapping[str, bytes]) -> None:
        """Switch ``..data`` to ``fresh``; then update the links and remove the old directory."""
        old = self.generation
        stale = self._keys(old).difference(top_level_names(content))
        link = self.path / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(self.data)
        self._link(content)
        for name in stale:
            (self.path / name).unlink(missing_ok=True)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def _keys(self, generation: Path | None) -> set[str]:
        """Return the names that a generation has links for; none if it does not exist."""
        if generation is None or not generation.is_dir():
            return set()
        if stat.S_IMODE(generation.stat().st_mode) != _OPEN:
            generation.chmod(_OPEN)  # late_permissions() has removed the permissions
        return {entry.name for entry in generation.iterdir()}

    def _link(self, content: Mapping[str, bytes]) -> bool:
        """Create missing links, and return whether any were missing."""
        names = top_level_names(content)
        missing = [name for name in names if not os.path.lexists(self.path / name)]
        for name in missing:
            (self.path / name).symlink_to(f"..data/{name}")
        return missing != []


def volume_content(files: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """Return the files of a volume by path, as bytes; text is encoded as UTF-8.

    Raises:
        ValueError: the kubelet refuses a path, because it is empty or absolute, has a
            component ``..``, or its first component begins with ``..``.
    """
    content = {}
    for name, value in files.items():
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or path.parts[0][:2] == "..":
            raise ValueError(f"Invalid path {name!r}: the kubelet would refuse it.")
        content[str(path)] = value.encode() if isinstance(value, str) else value
    return content


def top_level_names(content: Mapping[str, bytes]) -> list[str]:
    """Return the first component of each path, without duplicates, in order."""
    return list(dict.fromkeys(path.partition("/")[0] for path in content))
