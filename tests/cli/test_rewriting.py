"""A file gets a new value and stays the same file, or keeps the old value."""

import errno
import fcntl
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from hive_boot.cli import rewriting
from hive_boot.cli.rewriting import rewrite
from hive_boot.cli.usage import Refusal
from tests.cli.disks import full_disk
from tests.support import as_ordinary_user


def yes() -> bool:
    """Accept whatever is read."""
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file that holds a value."""
    path = tmp_path / "key"
    path.write_bytes(b"fake-old")
    path.chmod(0o444)
    return path


@pytest.mark.parametrize("content", [b"new", b"fake-new", b"fake-new, and longer than that"])
def test_the_file_stays_the_same_file(path: Path, content: bytes) -> None:
    """Whether the new value is longer or shorter: inode, mode and owner are what they were."""
    before = path.stat()
    rewrite(path, content, yes, backup=None)
    after = path.stat()

    assert path.read_bytes() == content
    assert (after.st_ino, after.st_mode, after.st_uid) == (
        before.st_ino,
        before.st_mode,
        before.st_uid,
    )


def test_its_owner_need_not_be_allowed_to_write() -> None:
    """A file of mode 0444 is written by its owner, and has that mode still."""
    with as_ordinary_user() as place:
        path = place / "key"
        path.write_bytes(b"fake-old")
        path.chmod(0o444)
        rewrite(path, b"fake-new", yes, backup=None)

        assert path.read_bytes() == b"fake-new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of somebody else's is needed")
def test_somebody_else_may_not() -> None:
    """Who does not own it is refused, and nothing has changed."""
    with as_ordinary_user() as place:
        os.seteuid(0)
        mine = place / "key"
        mine.write_bytes(b"fake-old")
        mine.chmod(0o444)
        os.seteuid(65534)
        with pytest.raises(PermissionError):
            rewrite(mine, b"fake-new", yes, backup=None)

        assert mine.read_bytes() == b"fake-old"


def test_the_old_value_is_kept_on_request(path: Path) -> None:
    """Only its owner may read it."""
    backup = path.with_name("key.bak")
    rewrite(path, b"fake-new", yes, backup=backup)

    assert backup.read_bytes() == b"fake-old"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400


def test_a_backup_is_written_over_nothing(path: Path) -> None:
    """An older one stays, and so does the value."""
    backup = path.with_name("key.bak")
    backup.write_bytes(b"fake-older")
    with pytest.raises(FileExistsError):
        rewrite(path, b"fake-new", yes, backup=backup)

    assert backup.read_bytes() == b"fake-older"
    assert path.read_bytes() == b"fake-old"


@pytest.mark.parametrize("backup", [True, False])
def test_what_is_not_read_back_is_taken_back(path: Path, *, backup: bool) -> None:
    """A start that would read something else is spared that."""
    kept = path.with_name("key.bak") if backup else None
    with pytest.raises(Refusal, match="holds the old value still: what a start would read"):
        rewrite(path, b"fake-new", lambda: False, backup=kept)

    assert path.read_bytes() == b"fake-old"
    assert list(path.parent.glob("*.bak")) == []


def test_a_full_disk_leaves_the_old_value(path: Path) -> None:
    """What fits is written, the rest is not, and then all of it is taken back."""
    with full_disk(50), pytest.raises(Refusal) as caught:
        rewrite(path, b"n" * 100, yes, backup=None)

    assert str(caught.value) == (
        "it could not be written, and holds the old value still: file too large"
    )
    assert path.read_bytes() == b"fake-old"


@pytest.mark.parametrize("backup", [True, False])
def test_a_disk_that_takes_nothing_back_is_told(path: Path, *, backup: bool) -> None:
    """The worst case: then the person knows it, and which file holds the old value."""
    path.chmod(0o644)
    path.write_bytes(b"o" * 80)
    kept = path.with_name("key.bak") if backup else None
    with ExitStack() as stack:

        def refuse() -> bool:
            stack.enter_context(full_disk(50))
            return False

        with pytest.raises(Refusal) as caught:
            rewrite(path, b"n" * 90, refuse, backup=kept)

    assert str(caught.value) == (
        "it could not be written (what a start would read from it was not the new value), "
        f"nor the old value again (file too large){f'; {kept} holds it' if backup else ''}"
    )
    assert kept is None or kept.read_bytes() == b"o" * 80


def test_without_room_for_a_backup_nothing_is_written(path: Path) -> None:
    """The half of a backup is removed."""
    backup = path.with_name("key.bak")
    with full_disk(4), pytest.raises(OSError, match="File too large"):
        rewrite(path, b"new", yes, backup=backup)

    assert not backup.exists()
    assert path.read_bytes() == b"fake-old"


def test_a_link_is_not_followed(path: Path) -> None:
    """What is named is written, and nothing that it leads to by now."""
    link = path.with_name("link")
    link.symlink_to("key")
    with pytest.raises(OSError, match="symbolic links"):
        rewrite(link, b"fake-new", yes, backup=None)

    assert path.read_bytes() == b"fake-old"


def test_two_at_once_take_turns(path: Path) -> None:
    """Both succeed, and the file holds the value of the one that came later."""
    taken: list[bytes] = []

    def accept() -> bool:
        taken.append(path.read_bytes())
        return True

    later = Thread(target=rewrite, args=(path, b"fake-later", accept), kwargs={"backup": None})

    def accept_and_be_followed() -> bool:
        later.start()
        return accept()

    rewrite(path, b"fake-first, and longer", accept_and_be_followed, backup=None)
    later.join()

    assert taken == [b"fake-first, and longer", b"fake-later"]
    assert path.read_bytes() == b"fake-later"


def test_who_does_not_end_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else holds the file: nothing is written to it, and that is said."""
    monkeypatch.setattr(rewriting, "_PATIENCE", 0.0)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Refusal, match="somebody else is writing to it"):
            rewrite(path, b"fake-new", yes, backup=None)

    assert path.read_bytes() == b"fake-old"


def test_a_file_system_without_locks_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none: the file is written all the same."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    rewrite(path, b"fake-new", yes, backup=None)

    assert path.read_bytes() == b"fake-new"
