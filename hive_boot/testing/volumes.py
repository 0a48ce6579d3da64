"""A volume that is written as the kubelet writes it, or as it should not be.

The steps and their order are those of the kubelet's AtomicWriter, as of 1.32:
https://github.com/kubernetes/kubernetes/blob/v1.32.0/pkg/volume/util/atomic_writer.go
What an older one and other writers do otherwise is a method of its own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.testing.content import projected, tops
from hive_boot.testing.storms import Storm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hive_boot.testing.content import Files

_OPEN = 0o755


class MountedVolume:
    """A directory that is written as the kubelet writes the volume of a Secret.

    The files are in a directory with a timestamp for a name. The link ``..data``
    names it, and a link beside it leads to each key: ``key`` to ``..data/key``. New
    content is a new directory, to which ``..data`` is switched by one rename.

    All of it is plain synchronous code, for any thread: who publishes while another
    does, waits. Nothing is remembered but the path, so two objects may write one
    volume in turn. Nothing is cleaned up: it belongs into pytest's ``tmp_path``.

    Args:
        path: the directory; it is made when there is none.

    Attributes:
        path: the directory, as a Path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._turn = threading.RLock()

    @property
    def data(self) -> Path:
        """The link that names the directory of the files."""
        return self.path / "..data"

    @property
    def generation(self) -> Path | None:
        """The directory that ``..data`` names, there or not; None without the link."""
        try:
            return self.path / self.data.readlink()
        except FileNotFoundError:
            return None

    @property
    def content(self) -> dict[str, bytes]:
        """What is published, by relative path; empty without a generation."""
        with self._turn:
            generation = self.generation
            if generation is None:
                return {}
            files = (path for path in generation.rglob("*") if path.is_file())
            return {path.relative_to(generation).as_posix(): path.read_bytes() for path in files}

    def publish(
        self, files: Files, *, mode: int = 0o644, anew: bool = False, pause: float = 0.0
    ) -> bool:
        """Make ``files`` the whole content of the volume, in one rename.

        As the kubelet does, content that is published already is left alone: not even
        an event tells of it, whatever ``mode`` says, but links that are missing are
        made. An empty ``files`` is what an absent Secret with ``optional: true`` gives:
        a volume with ``..data`` and nothing in it.

        Args:
            files: the values by relative path. Below a directory, as ``items:`` make it,
                only that directory is linked. A text is written as UTF-8.
            mode: the permissions of each file. Default 0644, as of a volume without
                ``defaultMode``.
            anew: make a new generation of unchanged content too, as in a volume that was
                mounted again. Default False.
            pause: seconds between one file and the next: a slow writer, whom nobody should
                notice. Default 0.

        Returns:
            Whether anything in the volume was changed.

        Raises:
            ValueError: a path is one that the kubelet refuses.
        """
        content = projected(files)
        with self._turn:
            if not anew and self._holds(content):
                return self._link(content)
            self._switch(self._write(content, mode, pause), content)
            return True

    @contextmanager
    def links_first(self, files: Files, *, mode: int = 0o644) -> Iterator[None]:
        """Publish as older kubelets and the Secrets Store CSI driver do.

        Within the block everything is written and linked, and ``..data`` still names the
        old files: the link of a new key dangles. It is switched when the block ends.

        Args:
            files: the values by relative path.
            mode: the permissions of each file. Default 0644.

        Raises:
            ValueError: a path is one that the kubelet refuses.
        """
        content = projected(files)
        with self._turn:
            fresh = self._write(content, mode)
            self._link(content)
        try:
            yield
        finally:
            with self._turn:
                self._switch(fresh, content)

    @contextmanager
    def late_permissions(
        self, files: Files, *, mode: int = 0o644, directory: bool = False
    ) -> Iterator[None]:
        """Publish files that nobody but root can read before the block ends.

        Kubelets that apply an ``fsGroup`` after the rename leave such a gap.

        Args:
            files: the values by relative path.
            mode: the permissions of each file after the block. Default 0644.
            directory: close the directory of the files, not each of them. Default False.

        Raises:
            ValueError: a path is one that the kubelet refuses.
        """
        content = projected(files)
        with self._turn:
            fresh = self._write(content, mode if directory else 0)
            if directory:
                fresh.chmod(0)
            self._switch(fresh, content)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):  # replaced meanwhile
                fresh.chmod(_OPEN)
                for name in content:
                    (fresh / name).chmod(mode)

    @contextmanager
    def without_data(self) -> Iterator[None]:
        """Take the link ``..data`` away for the time of the block.

        Kata guests do so for some milliseconds at each change. What is published
        within the block stays.

        Raises:
            FileNotFoundError: nothing has been published yet.
        """
        target = self.data.readlink()
        self.data.unlink()
        try:
            yield
        finally:
            with suppress(FileExistsError):  # published meanwhile
                self.data.symlink_to(target)

    @contextmanager
    def dangling_data(self) -> Iterator[None]:
        """Let ``..data`` lead nowhere for the time of the block: its directory is away.

        What is published within the block stays.

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
        """Remove the link of a key and leave its file, as a kubelet that crashed may.

        The next :meth:`publish` makes it again, that of the same content too.

        Args:
            name: the key, or the directory that it is in.

        Raises:
            FileNotFoundError: there is no such link.
        """
        (self.path / name).unlink()

    def storm(
        self, make_files: Callable[[int], Files], *, rate: float = 200.0, seconds: float = 10.0
    ) -> Storm:
        """Publish again and again while a ``with`` block runs, from a thread of its own.

        Each time is a new generation, of unchanged content too.

        Args:
            make_files: gives the values of a generation by its number: 1, 2, 3, ….
            rate: how many generations in a second; ``math.inf`` is as fast as it goes.
                Default 200.
            seconds: how long at most; the end of the block ends it earlier. Default 10.

        Returns:
            What the ``with`` statement takes and gives: it tells how many there were and
            what was last, and waits.
        """

        def publish(number: int) -> Files:
            files = make_files(number)
            self.publish(files, anew=True)
            return files

        return Storm(publish, rate=rate, seconds=seconds)

    def _holds(self, content: Mapping[str, bytes]) -> bool:
        generation = self.generation
        try:
            return generation is not None and generation.is_dir() and self.content == content
        except PermissionError:
            # The kubelet is root. What somebody else cannot compare counts as changed.
            return False

    def _write(self, content: Mapping[str, bytes], mode: int, pause: float = 0.0) -> Path:
        """Make the directory of a generation, which nothing names yet."""
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime())
        fresh = self.path / f"{stamp}.{secrets.randbelow(2**32)}"
        fresh.mkdir(mode=0o700)
        fresh.chmod(_OPEN)  # whatever the umask is
        for position, (name, value) in enumerate(content.items()):
            if position and pause:
                time.sleep(pause)
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value)
            path.chmod(mode)
        return fresh

    def _switch(self, fresh: Path, content: Mapping[str, bytes]) -> None:
        """Let ``..data`` name ``fresh``, then put the links and the old directory in order."""
        old = self.generation
        stale = self._keys(old).difference(tops(content))
        link = self.path / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(self.data)
        self._link(content)
        for name in stale:
            (self.path / name).unlink(missing_ok=True)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def _keys(self, generation: Path | None) -> set[str]:
        """Name what a generation has links for; nothing when it is gone."""
        if generation is None or not generation.is_dir():
            return set()
        if stat.S_IMODE(generation.stat().st_mode) != _OPEN:
            generation.chmod(_OPEN)  # closed for a while; only root could look into it
        return {entry.name for entry in generation.iterdir()}

    def _link(self, content: Mapping[str, bytes]) -> bool:
        """Make the links that are missing, and tell whether there were any."""
        missing = [name for name in tops(content) if not os.path.lexists(self.path / name)]
        for name in missing:
            (self.path / name).symlink_to(f"..data/{name}")
        return missing != []
