"""Several files are changed, or none: with failures that a file system really has."""

import os
import signal
import stat
import threading
from errno import EIO
from pathlib import Path

import pytest

from hive_boot.cli.staging import Staging, undisturbed
from hive_boot.cli.usage import Refusal
from tests.support import as_ordinary_user, tmpfs

FILES = {"key": b"fake-key", "tls/ca/cert": b"fake-cert"}


def contents(root: Path) -> dict[str, bytes]:
    """Give every file below a directory, hidden ones too."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def mode(path: Path) -> int:
    """Give the permissions."""
    return stat.S_IMODE(path.stat().st_mode)


class Failure:
    """A step that fails; before that it does something to the place."""

    def __init__(self, path: Path, mode: int | None = None) -> None:
        self.path = path
        self.mode = mode

    def do(self) -> None:
        """Fail, as a disk does."""
        if self.mode is not None:
            self.path.chmod(self.mode)
        raise OSError(EIO, os.strerror(EIO))

    def undo(self) -> None:
        """Be asked in vain: it was not done."""
        raise AssertionError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a directory with a file of the project."""
    place = tmp_path / "project"
    place.mkdir()
    (place / ".env").write_bytes(b"A=x\n")
    return place


def test_a_new_directory_is_there_with_all_its_files(place: Path) -> None:
    """The files may be read, and nobody else gets as far as them."""
    with Staging() as staging:
        staged = staging.add(place / "deploy/secrets", FILES)
        assert contents(staged) == FILES
        assert not (place / "deploy").exists()
        staging.commit()

    assert contents(place / "deploy") == {f"secrets/{name}": raw for name, raw in FILES.items()}
    assert {mode(place / "deploy/secrets" / name) for name in FILES} == {0o444}
    private = ["secrets", "secrets/tls", "secrets/tls/ca"]
    assert {mode(place / "deploy" / name) for name in private} == {0o700}
    assert sorted(path.name for path in place.iterdir()) == [".env", "deploy"]


def test_files_join_those_that_are_there(place: Path) -> None:
    """What was in the directory stays, and so do its subdirectories."""
    (place / "secrets/tls").mkdir(parents=True)
    (place / "secrets/tls/old").write_bytes(b"old")
    with Staging() as staging:
        staging.add(place / "secrets", FILES)
        staging.commit()

    assert contents(place / "secrets") == {**FILES, "tls/old": b"old"}


def test_what_is_prepared_is_nothing_to_git(place: Path) -> None:
    """Until it is in place it lies in directories that git ignores, and others cannot read."""
    with Staging() as staging:
        staging.add(place / "secrets", FILES)
        staging.replace(place / ".env", b"# A=x\n", b"A=x\n")
        (room,) = (path for path in place.iterdir() if path.name.startswith(".hive-boot-"))

        assert (room / ".gitignore").read_text() == "*\n"
        assert mode(room) == 0o700
    assert contents(place) == {".env": b"A=x\n"}


def test_a_replaced_file_keeps_mode_and_owner(place: Path) -> None:
    """Only what it holds is new."""
    path = place / ".env"
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    with Staging() as staging:
        assert staging.replace(path, b"# A=x\n", b"A=x\n").read_bytes() == b"# A=x\n"
        staging.commit()
    after = path.stat()

    assert path.read_bytes() == b"# A=x\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def prepare_everything(staging: Staging, place: Path) -> None:
    """Prepare a change of each kind."""
    staging.replace(place / ".gitignore", b"/secrets/\n", None)
    staging.tighten(place / "loose")
    staging.add(place / "loose", {"key": b"fake", "tls/cert": b"fake"})
    staging.add(place / "secrets", FILES)
    staging.replace(place / ".env", b"# A=x\n", b"A=x\n")


@pytest.mark.parametrize("steps", range(7))
def test_a_failure_takes_back_what_was_done_before_it(place: Path, steps: int) -> None:
    """Whichever change fails, the place is what it was."""
    (place / "loose").mkdir(mode=0o755)
    before = contents(place)
    with Staging() as staging:
        prepare_everything(staging, place)
        assert len(staging.steps) == 6
        staging.steps.insert(steps, Failure(place))
        with pytest.raises(OSError, match="Input/output error"):
            staging.commit()

    assert contents(place) == before
    assert mode(place / "loose") == 0o755
    assert sorted(path.name for path in place.iterdir()) == [".env", "loose"]


def test_everything_is_done(place: Path) -> None:
    """Without a failure there is all of it."""
    (place / "loose").mkdir(mode=0o755)
    with Staging() as staging:
        prepare_everything(staging, place)
        staging.commit()

    assert mode(place / "loose") == 0o700
    assert set(contents(place)) == {
        ".env",
        ".gitignore",
        "loose/key",
        "loose/tls/cert",
        "secrets/key",
        "secrets/tls/ca/cert",
    }


def test_what_cannot_be_taken_back_is_named() -> None:
    """A directory that allows nothing any more keeps what was put into it."""
    with as_ordinary_user() as place:
        home = place / "home"
        home.mkdir()
        with Staging() as staging:
            staging.replace(home / ".gitignore", b"x", None)
            staging.steps.append(Failure(home, 0o500))
            with pytest.raises(Refusal) as caught:
                staging.commit()
        home.chmod(0o700)

    assert str(caught.value) == (
        f"Input/output error; and what was done could not be taken back in {home / '.gitignore'}"
    )


def test_a_refusal_that_cannot_be_taken_back_is_named_too() -> None:
    """Also when it is no failure of the system's."""
    with as_ordinary_user() as place:
        home = place / "home"
        home.mkdir()
        (place / "env").write_bytes(b"old")
        with Staging() as staging:
            staging.replace(home / ".gitignore", b"x", None)
            staging.replace(place / "env", b"new", b"old")
            (place / "env").write_bytes(b"newer")
            staging.steps.insert(1, Closing(home))
            with pytest.raises(Refusal) as caught:
                staging.commit()
        home.chmod(0o700)

    stuck = f"and what was done could not be taken back in {home / '.gitignore'}"
    assert str(caught.value).endswith(f"was changed by somebody else meanwhile: try again; {stuck}")


class Closing(Failure):
    """A step after which a directory allows nothing any more."""

    def do(self) -> None:
        """Close it."""
        self.path.chmod(0o500)

    def undo(self) -> None:
        """Leave it closed."""


def test_a_file_that_comes_meanwhile_is_not_overwritten(place: Path) -> None:
    """Whoever has written it would miss it."""
    (place / "secrets").mkdir()
    with Staging() as staging:
        staging.add(place / "secrets", {"a": b"fake", "key": b"fake"})
        (place / "secrets/key").write_bytes(b"somebody's")
        with pytest.raises(FileExistsError):
            staging.commit()

    assert contents(place / "secrets") == {"key": b"somebody's"}


def test_a_file_that_came_before_that_is_not_overwritten(place: Path) -> None:
    """Nor is one that somebody else makes while it is prepared."""
    (place / "secrets").mkdir()
    (place / "secrets/key").write_bytes(b"theirs")
    with pytest.raises(FileExistsError, match="secrets/key"), Staging() as staging:
        staging.add(place / "secrets", FILES)

    assert contents(place) == {".env": b"A=x\n", "secrets/key": b"theirs"}


def test_a_file_that_changes_meanwhile_is_not_replaced(place: Path) -> None:
    """An editor that saves at this moment has its way."""
    with Staging() as staging:
        staging.replace(place / ".env", b"# A=x\n", b"A=x\n")
        (place / ".env").write_bytes(b"A=y\n")
        with pytest.raises(Refusal, match=r"\.env was changed by somebody else meanwhile"):
            staging.commit()

    assert contents(place) == {".env": b"A=y\n"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can mount")
def test_another_file_system_in_the_place_is_no_surprise(place: Path) -> None:
    """A directory in it that is mounted cannot be renamed into, and then nothing is done."""
    below = place / "secrets/tls"
    below.mkdir(parents=True)
    with tmpfs(below):
        with Staging() as staging:
            staging.add(place / "secrets", {"key": b"fake", "tls/cert": b"fake"})
            with pytest.raises(OSError, match="Invalid cross-device link"):
                staging.commit()
        assert contents(place / "secrets") == {}


def test_what_a_killed_one_has_left_is_removed(place: Path) -> None:
    """It holds values; but not what another one is at work in, or what is no directory."""
    left = place / ".hive-boot-staging-left"
    left.mkdir()
    (left / "key").write_bytes(b"fake")
    (place / ".hive-boot-staging-file").write_bytes(b"mine")
    with Staging() as one:
        one.add(place / "secrets", {"key": b"fake"})
        assert not left.exists()
        with Staging() as other:
            other.add(place / "others", {"key": b"fake"})
            other.commit()
        one.commit()

    assert contents(place) == {
        ".env": b"A=x\n",
        ".hive-boot-staging-file": b"mine",
        "others/key": b"fake",
        "secrets/key": b"fake",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_end(number: signal.Signals) -> None:
    """It does what it does, once, when the block is over."""
    came: list[int] = []
    before = signal.signal(number, lambda received, _: came.append(received))
    try:
        with undisturbed():
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert came == []
        assert came == [number]
    finally:
        signal.signal(number, before)


def test_in_another_thread_nothing_is_held_back() -> None:
    """Python delivers no signal there."""
    seen = []

    def work() -> None:
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [signal.getsignal(signal.SIGINT)]
