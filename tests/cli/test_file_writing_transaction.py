"""The file transaction: all changes or none, with failures that a file system really has."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hive_boot.cli import CommandError
from hive_boot.cli.file_writing import FileTransaction
from tests.cli.disks import full_disk
from tests.fixtures.trees import contents, mode
from tests.support import as_ordinary_user, tmpfs


def fail_after(change: Callable[[FileTransaction], None], failure: BaseException) -> None:
    """Make changes in a transaction that then fails."""
    with FileTransaction() as transaction:
        change(transaction)
        raise failure


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with a file of the project and an open directory."""
    place = tmp_path / "project"
    (place / "loose").mkdir(parents=True, mode=0o755)
    (place / ".gitignore").write_bytes(b"*.pyc\n")
    return place


def change_everything(transaction: FileTransaction, place: Path, steps: int) -> None:
    """Make so many changes, of each kind."""
    changes: tuple[Callable[[], None], ...] = (
        lambda: transaction.write(place / ".gitignore", b"*.pyc\n/new/\n", b"*.pyc\n"),
        lambda: transaction.restrict(place / "loose"),
        lambda: transaction.create(place / "loose/key", b"fake"),
        lambda: transaction.create_directory(place / "deploy/secrets"),
        lambda: transaction.create(place / "deploy/secrets/tls/ca/cert", b"fake"),
        lambda: transaction.create(place / "plain", b"x", mode=None),
    )
    for change in changes[:steps]:
        change()


def test_all_changes_are_made_with_their_modes(place: Path) -> None:
    """A replaced file keeps mode and owner; secrets can be read, their directories cannot."""
    path = place / ".gitignore"
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    umask = os.umask(0o027)
    try:
        with FileTransaction() as transaction:
            change_everything(transaction, place, 6)
    finally:
        os.umask(umask)

    assert contents(place) == {
        ".gitignore": b"*.pyc\n/new/\n",
        "deploy/secrets/tls/ca/cert": b"fake",
        "loose/key": b"fake",
        "plain": b"x",
    }
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert mode(place / "loose/key") == mode(place / "deploy/secrets/tls/ca/cert") == 0o444
    private = ("loose", "deploy/secrets", "deploy/secrets/tls", "deploy/secrets/tls/ca")
    assert {mode(place / name) for name in private} == {0o700}
    assert (mode(place / "deploy"), mode(place / "plain")) == (0o750, 0o640)


def test_a_failure_undoes_what_was_done_before_it(place: Path) -> None:
    """After any number of changes, also by Ctrl-C, in content and mode."""
    before = contents(place)
    for steps in range(7):
        with pytest.raises(KeyboardInterrupt):
            fail_after(partial(change_everything, place=place, steps=steps), KeyboardInterrupt())

        assert contents(place) == before, steps
        assert {path.name for path in place.iterdir()} == {".gitignore", "loose"}, steps
        assert mode(place / "loose") == 0o755, steps


def test_a_full_disk_leaves_nothing(place: Path) -> None:
    """No half of a file, also no temporary one."""
    before = contents(place)
    for size in (0, 3):
        with (
            full_disk(size),
            pytest.raises(OSError, match="File too large"),
            FileTransaction() as transaction,
        ):
            transaction.create(place / "deploy/key", b"fake")
        assert contents(place) == before
        assert not (place / "deploy").exists()


def test_a_change_that_cannot_be_undone_is_named() -> None:
    """A directory that became read-only keeps its new file; the cause is in the text too."""
    with as_ordinary_user() as place:
        home = place / "home"
        home.mkdir()

        def create_and_close(transaction: FileTransaction) -> None:
            transaction.create(home / name, b"fake")
            home.chmod(0o500)

        for name, failure in (
            ("one", OSError(errno.EIO, "Broken")),
            ("two", CommandError("broken")),
        ):
            with pytest.raises(CommandError) as caught:
                fail_after(create_and_close, failure)
            home.chmod(0o700)

            assert str(home / name) in str(caught.value)
            assert str(caught.value).startswith("broken")


def test_an_existing_file_is_not_overwritten(place: Path) -> None:
    """Nor is a link, whether it leads anywhere or not."""
    (place / "key").write_bytes(b"other")
    (place / "link").symlink_to("key")
    (place / "broken").symlink_to("nowhere")
    before = contents(place)
    for name in ("key", "link", "broken", "loose"):
        with pytest.raises(FileExistsError), FileTransaction() as transaction:
            transaction.create(place / name, b"fake")

    assert contents(place) == before


def test_a_directory_that_is_a_link_is_not_followed(place: Path) -> None:
    """It was replaced since its path was resolved; the new directories are removed again."""
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    before = contents(place)
    for name in ("link/key", "link/below/key"):
        with pytest.raises(CommandError, match=name), FileTransaction() as transaction:
            transaction.create(place / name, b"fake")

    assert contents(place) == before
    assert not [*(place / "real").iterdir()]


def test_a_file_that_changed_or_is_a_link_is_not_replaced(place: Path) -> None:
    """An editor that saves at this moment wins."""
    (place / "link").symlink_to(".gitignore")
    before = contents(place)
    for name, held in ((".gitignore", b"old"), ("link", b"*.pyc\n")):
        with pytest.raises(CommandError, match=name), FileTransaction() as transaction:
            transaction.write(place / name, b"new", held)

    assert contents(place) == before


def test_a_file_system_without_hard_links_is_enough(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is renamed, and an existing one is still not overwritten."""

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(self), None, str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with FileTransaction() as transaction:
        transaction.create(place / "key", b"fake")
    with pytest.raises(PermissionError), FileTransaction() as transaction:
        transaction.create(place / "key", b"other")

    assert contents(place) == {".gitignore": b"*.pyc\n", "key": b"fake"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can mount")
def test_a_mounted_directory_is_written_to(place: Path) -> None:
    """The temporary file is beside its place, so on the same file system."""
    (place / "secrets/tls").mkdir(parents=True)
    with tmpfs(place / "secrets/tls"):
        with FileTransaction() as transaction:
            transaction.create(place / "secrets/key", b"fake")
            transaction.create(place / "secrets/tls/cert", b"fake")
        assert contents(place / "secrets") == {"key": b"fake", "tls/cert": b"fake"}
