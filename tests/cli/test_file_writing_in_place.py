"""The in-place write: a new value in the same file, or the old value."""

import errno
import fcntl
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from hive_boot.cli import CommandError, file_writing
from hive_boot.cli.file_writing import write_in_place
from tests.cli.disks import full_disk
from tests.fixtures.trees import contents, mode
from tests.support import as_ordinary_user


def accept() -> bool:
    """Accept whatever a start would read."""
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that holds a value, the only one of its directory."""
    path = tmp_path / "secrets/key"
    path.parent.mkdir()
    path.write_bytes(b"fake-old")
    path.chmod(0o444)
    return path


def test_the_file_stays_the_same_file(path: Path) -> None:
    """Longer, equal or shorter: inode, mode and owner are what they were."""
    before = path.stat()
    for content in (b"new", b"fake-new", b"fake-new, and longer than that"):
        write_in_place(path, content, accept, backup=None)
        after = path.stat()

        assert path.read_bytes() == content
        assert (after.st_ino, after.st_mode, after.st_uid) == (
            before.st_ino,
            before.st_mode,
            before.st_uid,
        )


def test_its_owner_need_not_have_the_permission_to_write() -> None:
    """A file of mode 0444 is written by its owner, and keeps the mode."""
    with as_ordinary_user() as place:
        path = place / "key"
        path.write_bytes(b"fake-old")
        path.chmod(0o444)
        write_in_place(path, b"fake-new", accept, backup=None)

        assert path.read_bytes() == b"fake-new"
        assert mode(path) == 0o444


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of another user is needed")
def test_a_file_of_another_user_is_not_written() -> None:
    """The system refuses it, and nothing has changed."""
    with as_ordinary_user() as place:
        os.seteuid(0)
        path = place / "key"
        path.write_bytes(b"fake-old")
        path.chmod(0o444)
        os.seteuid(65534)
        with pytest.raises(PermissionError):
            write_in_place(path, b"fake-new", accept, backup=None)

        assert path.read_bytes() == b"fake-old"


def test_a_backup_holds_the_old_value(path: Path) -> None:
    """For its owner alone; an older backup is not overwritten, and then nothing is."""
    backup = path.with_name("key.bak")
    write_in_place(path, b"fake-new", accept, backup=backup)

    assert contents(path.parent) == {"key": b"fake-new", "key.bak": b"fake-old"}
    assert mode(backup) == 0o400
    with pytest.raises(FileExistsError):
        write_in_place(path, b"fake-newer", accept, backup=backup)
    assert contents(path.parent) == {"key": b"fake-new", "key.bak": b"fake-old"}


def test_a_value_that_a_start_would_not_read_is_taken_back(path: Path) -> None:
    """The file holds the old value, and the backup is removed."""
    for backup in (path.with_name("key.bak"), None):
        with pytest.raises(CommandError):
            write_in_place(path, b"fake-new", lambda: False, backup=backup)

        assert contents(path.parent) == {"key": b"fake-old"}


def test_a_full_disk_leaves_the_old_value(path: Path) -> None:
    """A part is written and taken back; without room for the backup nothing is written."""
    with full_disk(50), pytest.raises(CommandError, match="file too large"):
        write_in_place(path, b"n" * 100, accept, backup=None)
    assert contents(path.parent) == {"key": b"fake-old"}
    with full_disk(4), pytest.raises(OSError, match="File too large"):
        write_in_place(path, b"new", accept, backup=path.with_name("key.bak"))
    assert contents(path.parent) == {"key": b"fake-old"}


def test_an_old_value_that_cannot_be_restored_is_reported(path: Path) -> None:
    """With the reason, and with the file that holds the old value, if there is one."""
    path.chmod(0o644)
    backup = path.with_name("key.bak")
    for kept in (None, backup):
        path.write_bytes(b"o" * 80)
        with ExitStack() as stack:

            def refuse(stack: ExitStack = stack) -> bool:
                stack.enter_context(full_disk(50))
                return False

            with pytest.raises(CommandError, match="file too large") as caught:
                write_in_place(path, b"n" * 90, refuse, backup=kept)
        assert (str(backup) in str(caught.value)) == (kept is not None)

    assert backup.read_bytes() == b"o" * 80


def test_a_link_is_not_followed(path: Path) -> None:
    """Whatever it leads to stays."""
    link = path.with_name("link")
    link.symlink_to("key")
    with pytest.raises(OSError, match="symbolic links"):
        write_in_place(link, b"fake-new", accept, backup=None)

    assert path.read_bytes() == b"fake-old"


def test_concurrent_writers_take_turns(path: Path) -> None:
    """Both succeed, and the file holds the value of the later one."""
    accepted: list[bytes] = []

    def record() -> bool:
        accepted.append(path.read_bytes())
        return True

    later = Thread(
        target=write_in_place, args=(path, b"fake-later", record), kwargs={"backup": None}
    )

    def record_and_start_the_other() -> bool:
        later.start()
        return record()

    write_in_place(path, b"fake-first, and longer", record_and_start_the_other, backup=None)
    later.join()

    assert accepted == [b"fake-first, and longer", b"fake-later"]
    assert path.read_bytes() == b"fake-later"


def test_a_lock_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other writer ends while this one waits."""
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr("hive_boot.cli.file_writing.time.sleep", lambda _: held.close())
        write_in_place(path, b"fake-new", accept, backup=None)
        assert held.closed

    assert path.read_bytes() == b"fake-new"


def test_a_lock_that_is_held_too_long_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written."""
    monkeypatch.setattr(file_writing, "LOCK_TIMEOUT", 0.0)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CommandError):
            write_in_place(path, b"fake-new", accept, backup=None)

    assert path.read_bytes() == b"fake-old"


def test_a_file_system_without_locks_is_enough(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_in_place(path, b"fake-new", accept, backup=None)

    assert path.read_bytes() == b"fake-new"


def test_a_file_that_is_too_large_to_restore_is_not_written(path: Path) -> None:
    """A sparse file of 32 GiB does not fit into memory, and is no secret."""
    path.chmod(0o600)
    os.truncate(path, 1 << 35)
    with pytest.raises(CommandError, match="larger than"):
        write_in_place(path, b"fake-new", accept, backup=path.with_name("key.bak"))
    assert path.stat().st_size == 1 << 35
    assert not path.with_name("key.bak").exists()


def test_the_signals_of_a_terminal_wait_for_the_end_of_the_write(path: Path) -> None:
    """One of them between write and truncate would leave a part of each value."""
    blocked: set[int] = set()

    def look() -> bool:
        blocked.update(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return True

    write_in_place(path, b"fake-new", look, backup=None)
    assert blocked >= {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTERM}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
