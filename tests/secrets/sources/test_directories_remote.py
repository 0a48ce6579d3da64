"""First reads of file systems that another machine or program serves; FUSE stands for them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.loader import load
from hive_boot.secrets.sources.directories import (
    INODES,
    DirectorySnapshot,
    ReadPolicy,
    read_directory,
    read_paths,
    read_subdirectories,
)
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.fuse import FuseDirectory, fuse_unavailable_reason, mounted_fuse
from tests.support import FakeClock, situate, values_of

IMPOSSIBLE = fuse_unavailable_reason()

pytestmark = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


class Keys(SecretSet):
    """A secret in a file, and one in a JSON file."""

    api_key: Secret
    rds_password: Secret | None = secret(file="rds.json#password")


HALF, WHOLE = "fake-half", "fake-half-and-the-rest"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[FuseDirectory]:
    """Mount a directory whose clock is an hour behind that of this process."""
    with mounted_fuse(tmp_path / "remote") as directory:
        directory.behind = 3600.0
        yield directory


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that starts at the current time."""
    return FakeClock()


def read(path: Path, policy: ReadPolicy) -> DirectorySnapshot:
    """Read a directory or a bundle."""
    return read_directory(str(path), Keys._field_index, policy)


def key_of(snapshot: DirectorySnapshot) -> str:
    """Return the value of the first secret."""
    assert snapshot.problem is None
    found = snapshot.batch.result("api_key")
    assert isinstance(found, Secret)
    return found.reveal()


def test_a_remote_file_must_look_the_same_twice_however_old_it_looks(
    remote: FuseDirectory, clock: FakeClock
) -> None:
    """The clock that has stamped it may be behind: half of a file would look an hour old."""
    remote.write("api_key", HALF)
    clock.steps = [partial(remote.write, "api_key", WHOLE)]

    assert key_of(read(remote.path, clock.policy())) == WHOLE
    assert clock.slept == [0.3, 0.3]


def test_a_local_file_that_looks_old_is_read_once(tmp_path: Path, clock: FakeClock) -> None:
    """The same stamps, made by this kernel, are enough."""
    (tmp_path / "api_key").write_text(WHOLE)
    clock.now += 3600

    assert key_of(read(tmp_path, clock.policy())) == WHOLE
    assert clock.slept == []


def test_a_file_whose_file_system_is_unknown_is_read_twice(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mount table, the time stamps may be those of any clock."""
    (tmp_path / "api_key").write_text(WHOLE)
    clock.now += 3600

    def no_table(path: str) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr("hive_boot.secrets.sources.directories.read_regular_file", no_table)
    assert key_of(read(tmp_path, clock.policy())) == WHOLE
    assert clock.slept == [0.3]


def test_each_way_to_name_a_remote_file_is_the_same(
    remote: FuseDirectory, tmp_path: Path, clock: FakeClock
) -> None:
    """A bundle, a member of a JSON file, NAME_FILE, a subdirectory, and a link to the file.

    A file of this machine that is read with it, before or after, makes no difference.
    """
    remote.write("bundle", f"API_KEY={WHOLE}")
    remote.write("rds.json", '{"password": "fake"}')
    remote.write("api_key", WHOLE)
    local = tmp_path / "local"
    local.mkdir()
    (local / "api_key").symlink_to(remote.path / "api_key")
    with_member = tmp_path / "member"
    with_member.mkdir()
    (with_member / "rds.json").symlink_to(remote.path / "rds.json")
    own = tmp_path / "own"
    own.write_text(WHOLE)
    files = [str(own), str(remote.path / "api_key"), str(own)]
    policy = clock.policy()
    below = DirectorySnapshot(str(tmp_path))
    for attempt in (
        lambda: read(remote.path / "bundle", policy),
        lambda: read(with_member, policy),
        lambda: read_paths(files, policy),
        lambda: read_paths(files[:2], policy),
        lambda: read_paths(files[1:], policy),
        lambda: read_subdirectories(below, Keys._field_index, policy),
        lambda: read(local, policy),
    ):
        clock.now += 3600
        clock.slept.clear()
        attempt()
        assert clock.slept == [0.3]


def test_a_remote_file_that_is_mounted_alone_is_read_twice(
    remote: FuseDirectory, tmp_path: Path, clock: FakeClock
) -> None:
    """Its directory is local; what counts is the file system of the file."""
    remote.write("api_key", WHOLE)
    clock.now += 3600
    with PinnedFile(tmp_path / "local/api_key", remote.path / "api_key"):
        read(tmp_path / "local", clock.policy())
    assert clock.slept == [0.3]


def test_stamps_of_two_seconds_hide_no_change(remote: FuseDirectory, clock: FakeClock) -> None:
    """Two values of one size, written within the same two seconds, are two contents."""
    remote.granularity = 1000.0
    remote.write("api_key", "fake-1")
    before = (remote.path / "api_key").stat()
    clock.steps = [partial(remote.write, "api_key", "fake-2")]

    assert key_of(read(remote.path, clock.policy())) == "fake-2"
    assert clock.slept == [0.3, 0.3]
    after = (remote.path / "api_key").stat()
    assert (before.st_size, before.st_ctime_ns) == (after.st_size, after.st_ctime_ns)


def test_a_directory_whose_inode_changes_at_each_stat_is_refused_with_the_reason(
    remote: FuseDirectory, clock: FakeClock
) -> None:
    """It looks as if it were replaced during each read, so the message must name the inode."""
    remote.write("api_key", WHOLE)
    remote.has_stable_inodes = False

    assert read(remote.path, clock.policy()).problem is INODES


def test_the_credentials_of_systemd_are_read_once(tmp_path: Path, clock: FakeClock) -> None:
    """Systemd writes them before it starts the process: a fresh file is complete."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "api_key").write_text(WHOLE)
    environ = {"CREDENTIALS_DIRECTORY": "/credentials"}
    field_index = Keys._field_index
    for mode, named, slept in (("systemd", None, []), ("docker", str(credentials), [0.3])):
        source_context = situate(tmp_path, environ, mode=mode, secrets_dirs=named)
        clock.now = credentials.stat().st_ctime
        clock.slept.clear()
        loaded = load(field_index, source_context, policy=clock.policy())
        assert values_of(loaded) == {"api_key": WHOLE}
        assert clock.slept == slept
