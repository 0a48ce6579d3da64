"""Directories of secret files: a read is of one moment, while others write into them."""

import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.sources.directories import (
    ABSENT,
    CHANGING,
    CLOSED,
    NO_DATA,
    REPLACED,
    DirectorySnapshot,
    ReadPolicy,
    read_directory,
    read_paths,
)
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import SETTLED, FakeClock, as_ordinary_user, descriptors, good_values, other_hits


class Keys(SecretSet):
    """Three secrets of one generation."""

    a: Secret
    b: Secret
    c: Secret


class Nested(SecretSet):
    """A secret in a subdirectory, as by `items:` of a volume, and one outside of it."""

    db: Secret = secret("DB_PASSWORD", file="db/password")
    api_key: Secret | None


class Member(SecretSet):
    """A secret in a JSON file."""

    db: Secret = secret("DB_PASSWORD", file="rds.json#password")


ALL_OLD = {"a": "fake-1", "b": "fake-1", "c": "fake-1"}
ALL_NEW = {"a": "fake-2", "b": "fake-2", "c": "fake-2"}

_on_open: list[Callable[[str], object]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _on_open:
        for act in _on_open.copy():
            act(arguments[0])


# Only an audit hook can run code at the moment at which a file is opened.
# It cannot be removed, so it does nothing unless a test uses it.
sys.addaudithook(_audit)


@contextmanager
def just_before_opening(name: str, act: Callable[[], object], times: int = 1) -> Iterator[None]:
    """Call ``act`` before each of the first opens of a file ``name`` while the block runs."""
    left = [act] * times

    def watch(opened: str) -> None:
        if opened == name and left:
            left.pop()()

    _on_open.append(watch)
    try:
        yield
    finally:
        _on_open.remove(watch)
    assert len(left) < times, f"{name} was never opened"


def read(
    path: Path,
    declared: type[SecretSet] = Keys,
    policy: ReadPolicy = SETTLED,
) -> DirectorySnapshot:
    """Read the secrets of a declaration from a directory."""
    return read_directory(str(path), declared._field_index, policy)


def values(reading: DirectorySnapshot) -> dict[str, str | bytes]:
    """Return the values of a read; fail if it found a problem."""
    assert reading.problem is None
    assert other_hits(reading.batch) == {}
    return {name: value.reveal() for name, value in good_values(reading.batch).items()}


def kinds(reading: DirectorySnapshot) -> dict[str, list[str]]:
    """Return the problem kinds, or "value", for each field without a single valid value."""
    return {
        name: [hit.result.kind if isinstance(hit.result, ValueProblem) else "value" for hit in hits]
        for name, hits in other_hits(reading.batch).items()
    }


def fill(directory: Path, files: Mapping[str, str] = ALL_OLD) -> Path:
    """Create a plain directory of files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock by which the files of a test are fresh."""
    return FakeClock()


@pytest.fixture
def kubelet(tmp_path: Path) -> MountedVolume:
    """Return a volume with one generation."""
    kubelet = MountedVolume(tmp_path / "volume")
    kubelet.publish(ALL_OLD)
    return kubelet


def test_a_volume_is_read_without_a_wait(kubelet: MountedVolume, clock: FakeClock) -> None:
    """Files of a kubelet volume never change, so the read does not wait until they are settled."""
    reading = read(kubelet.path, policy=clock.policy())

    assert values(reading) == ALL_OLD
    assert reading.volume
    assert set(reading.names) == {"a", "b", "c"}
    assert clock.slept == []


def test_the_location_of_a_file_is_below_the_declared_directory(kubelet: MountedVolume) -> None:
    """A location is the path in the manifest, not the real path in the volume."""
    kubelet.publish(ALL_OLD | {"a": ""})
    ((hit,),) = other_hits(read(kubelet.path).batch).values()

    assert hit.place == f"{kubelet.path}/a"


def test_the_links_beside_the_data_make_no_difference(kubelet: MountedVolume) -> None:
    """A key is read from the generation, whatever its link in the volume is."""
    (kubelet.path / "a").unlink()
    (kubelet.path / "b").unlink()
    (kubelet.path / "b").symlink_to("..data/gone")
    (kubelet.path / "c").unlink()
    (kubelet.path / "c").write_text("fake-beside")

    assert values(read(kubelet.path)) == ALL_OLD


def test_a_key_that_is_not_in_the_generation_is_absent(
    kubelet: MountedVolume, clock: FakeClock
) -> None:
    """A key that is not in the generation is absent, even if its link still exists."""
    kubelet.publish({"a": "fake-2"})
    (kubelet.path / "b").symlink_to("..data/b")

    assert values(read(kubelet.path, policy=clock.policy())) == {"a": "fake-2"}
    assert clock.slept == []


def test_an_empty_volume_is_not_a_problem(kubelet: MountedVolume, clock: FakeClock) -> None:
    """The empty volume of an optional Secret that does not exist is not a problem."""
    kubelet.publish({})
    reading = read(kubelet.path, policy=clock.policy())

    assert values(reading) == {}
    assert reading.volume
    assert clock.slept == []


def test_a_nested_path_is_read(tmp_path: Path) -> None:
    """`items:` with a path puts a key into a subdirectory, also with .txt."""
    kubelet = MountedVolume(tmp_path / "volume")
    kubelet.publish({"db/password": "fake-db", "api_key": "fake-api"})
    assert values(read(kubelet.path, Nested)) == {"db": "fake-db", "api_key": "fake-api"}

    kubelet.publish({"db/password.txt": "fake-db"})
    assert values(read(kubelet.path, Nested)) == {"db": "fake-db"}


def test_a_nested_path_in_a_plain_directory_is_read(tmp_path: Path) -> None:
    """A path works in plain directories too."""
    fill(tmp_path / "db", {"password": "fake-db"})

    assert values(read(tmp_path, Nested)) == {"db": "fake-db"}


def test_a_volume_that_is_swapped_during_the_read_is_read_again(
    kubelet: MountedVolume, clock: FakeClock
) -> None:
    """A volume that is swapped between two files is read again, so the set is of one generation."""
    with just_before_opening("b", lambda: kubelet.publish(ALL_NEW)):
        reading = read(kubelet.path, policy=clock.policy())

    assert values(reading) == ALL_NEW
    assert clock.slept == [0.002]


def test_a_volume_that_is_swapped_all_the_time_is_a_problem(
    kubelet: MountedVolume, clock: FakeClock
) -> None:
    """After eight attempts a volume that is swapped all the time is a problem, and is not used."""
    with just_before_opening("a", lambda: kubelet.publish(ALL_NEW, anew=True), times=100):
        reading = read(kubelet.path, policy=clock.policy())

    assert reading.problem == REPLACED
    assert good_values(reading.batch) == {}
    assert clock.slept == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1]


def test_seven_swaps_are_survived(kubelet: MountedVolume, clock: FakeClock) -> None:
    """The eighth attempt succeeds."""
    with just_before_opening("a", lambda: kubelet.publish(ALL_NEW, anew=True), times=7):
        reading = read(kubelet.path, policy=clock.policy())

    assert values(reading) == ALL_NEW


def test_a_read_is_repeated_if_the_data_link_disappears(
    kubelet: MountedVolume, clock: FakeClock
) -> None:
    """If ``..data`` is removed during a read, the read is repeated."""
    data = kubelet.path / "..data"
    clock.steps = [lambda: kubelet.publish(ALL_NEW)]
    with just_before_opening("b", data.unlink):
        reading = read(kubelet.path, policy=clock.policy())

    assert values(reading) == ALL_NEW
    assert len(clock.slept) == 1


def test_a_read_waits_for_a_data_link_that_is_absent_for_a_moment(
    kubelet: MountedVolume, clock: FakeClock
) -> None:
    """Some tools remove ``..data`` and create it again; the gap is not an empty volume."""
    data = kubelet.path / "..data"
    target = data.readlink()
    data.unlink()
    clock.steps = [None, None, lambda: data.symlink_to(target)]

    assert values(read(kubelet.path, policy=clock.policy())) == ALL_OLD
    assert clock.slept == [0.002, 0.004, 0.008]


def test_a_data_link_without_a_target_is_a_problem_after_two_seconds(tmp_path: Path) -> None:
    """A volume without its data is a problem after two seconds, never an empty set."""
    for number, target in enumerate((None, "..nowhere", "a", "..data")):
        with case(target):
            kubelet, clock = MountedVolume(tmp_path / f"volume-{number}"), FakeClock()
            kubelet.publish(ALL_OLD)
            data = kubelet.path / "..data"
            data.unlink()
            if target is not None:
                data.symlink_to(target)
            started = clock.now
            reading = read(kubelet.path, policy=clock.policy())

            assert reading.problem == NO_DATA
            assert reading.volume
            assert not reading.is_absent
            assert good_values(reading.batch) == {}
            assert 2.0 <= clock.now - started <= 2.1


def test_a_data_link_to_another_link_is_a_problem(kubelet: MountedVolume, clock: FakeClock) -> None:
    """``..data`` must point to a directory, not to another symbolic link."""
    data = kubelet.path / "..data"
    generation = data.readlink()
    data.unlink()
    (kubelet.path / "..link").symlink_to(generation)
    data.symlink_to("..link")

    assert read(kubelet.path, policy=clock.policy()).problem == NO_DATA


def test_broken_links_identify_a_volume_without_data(
    kubelet: MountedVolume, clock: FakeClock
) -> None:
    """If ``..data`` and its target are missing, broken links still identify a volume."""
    generation = kubelet.path / (kubelet.path / "..data").readlink()
    (kubelet.path / "..data").unlink()
    shutil.rmtree(generation)
    clock.steps = [None, lambda: kubelet.publish(ALL_NEW)]

    reading = read(kubelet.path, policy=clock.policy())
    assert values(reading) == ALL_NEW
    assert len(clock.slept) == 2

    shutil.rmtree(kubelet.path / (kubelet.path / "..data").readlink())
    (kubelet.path / "..data").unlink()
    reading = read(kubelet.path, policy=clock.policy())
    assert reading.problem == NO_DATA
    assert reading.volume


def test_a_broken_link_of_a_nested_path_identifies_a_volume(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A link of a nested path, or of a JSON file, identifies a volume too."""
    for number, (declared, files) in enumerate(
        (
            (Nested, {"db/password": "fake-new"}),
            (Member, {"rds.json": '{"password": "fake-new"}'}),
        )
    ):
        with case(declared):
            kubelet = MountedVolume(tmp_path / f"volume-{number}")
            kubelet.publish(dict.fromkeys(files, "fake-old"))
            shutil.rmtree(kubelet.path / (kubelet.path / "..data").readlink())
            (kubelet.path / "..data").unlink()
            clock.steps = [partial(kubelet.publish, files)]
            assert values(read(kubelet.path, declared, clock.policy())) == {"db": "fake-new"}


def test_a_broken_link_in_a_plain_directory_is_a_problem_of_its_secret(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A broken link in a plain directory is a problem of that secret, without a wait."""
    fill(tmp_path, {"b": "fake-1"})
    (tmp_path / "a").symlink_to("nowhere")
    reading = read(tmp_path, policy=SETTLED)

    assert not reading.volume
    assert reading.problem is None
    assert kinds(reading) == {"a": ["broken-link"]}
    assert clock.slept == []


def test_a_read_waits_for_the_first_generation_of_a_volume(
    tmp_path: Path, clock: FakeClock
) -> None:
    """The directory of the first generation exists before ``..data``: the read waits."""
    kubelet = MountedVolume(tmp_path / "volume")
    (kubelet.path / "..2026_01_01_00_00_00.1").mkdir()
    clock.steps = [lambda: kubelet.publish(ALL_OLD)]

    assert values(read(kubelet.path, policy=clock.policy())) == ALL_OLD


def test_a_read_waits_for_the_permissions_of_a_file(clock: FakeClock) -> None:
    """The kubelet and Vault set permissions after they have written a file: the read waits."""
    policy = ReadPolicy(wall=SETTLED.wall, monotonic=lambda: clock.now, sleep=clock.sleep)
    for declared, files, name, expected in (
        (Keys, ALL_OLD, "b", ALL_OLD),
        (Member, {"rds.json": '{"password": "fake"}'}, "rds.json", {"db": "fake"}),
    ):
        with case(name), as_ordinary_user() as place:
            file = fill(place, files) / name
            file.chmod(0o000)
            clock.slept.clear()
            clock.steps = [None, partial(file.chmod, 0o400)]
            assert values(read(place, declared, policy)) == expected
            assert clock.slept == [0.002, 0.004]


def test_a_file_without_permissions_is_a_problem_after_two_seconds() -> None:
    """After two seconds an unreadable file is a problem, and the other files are read."""
    for named in (False, True):
        clock = FakeClock()
        started = clock.now
        with case(named), as_ordinary_user() as place:
            fill(place)
            (place / "b").chmod(0o000)
            policy = clock.policy().replace(wall=SETTLED.wall)
            if named:
                reading = read_paths([str(place / name) for name in "abc"], policy)
            else:
                reading = read(place, policy=policy)

            assert reading.problem is None
            found = {Path(name).name: each for name, each in kinds(reading).items()}
            assert found == {"b": ["unreadable"]}
            assert {Path(name).name for name in good_values(reading.batch)} == {"a", "c"}
            assert 2.0 <= clock.now - started <= 2.1


def test_a_read_waits_for_the_permissions_of_a_directory(clock: FakeClock) -> None:
    """The read waits until the permissions of a mount are set."""
    with as_ordinary_user() as place:
        directory = fill(place / "directory")
        directory.chmod(0o000)
        clock.steps = [lambda: directory.chmod(0o700)]
        policy = ReadPolicy(wall=SETTLED.wall, monotonic=lambda: clock.now, sleep=clock.sleep)
        reading = read(directory, policy=policy)

    assert values(reading) == ALL_OLD
    assert clock.slept == [0.002]


def test_a_directory_without_permissions_is_a_problem_after_two_seconds(clock: FakeClock) -> None:
    """After two seconds an unreadable directory is a problem, and is not treated as absent."""
    started = clock.now
    with as_ordinary_user() as place:
        directory = fill(place / "directory")
        directory.chmod(0o000)
        reading = read(directory, policy=clock.policy())
        directory.chmod(0o700)

    assert reading.problem == CLOSED
    assert not reading.is_absent
    assert 2.0 <= clock.now - started <= 2.1


def test_a_read_waits_for_the_permissions_of_a_generation(clock: FakeClock) -> None:
    """The read waits until the permissions of the generation's directory are set."""
    with as_ordinary_user() as place:
        kubelet = MountedVolume(place / "volume")
        kubelet.publish(ALL_OLD)
        generation = kubelet.path / (kubelet.path / "..data").readlink()
        generation.chmod(0o000)
        closed = read(kubelet.path, policy=clock.policy())
        clock.steps = [lambda: generation.chmod(0o755)]
        opened = read(kubelet.path, policy=clock.policy())

    assert closed.problem == CLOSED
    assert values(opened) == ALL_OLD


def test_a_read_is_repeated_if_the_directory_becomes_unreadable(clock: FakeClock) -> None:
    """If the directory becomes unreadable during a read, the read is repeated later."""
    with as_ordinary_user() as place:
        directory = fill(place / "outer" / "directory")
        clock.steps = [lambda: directory.parent.chmod(0o700)]
        policy = ReadPolicy(wall=SETTLED.wall, monotonic=lambda: clock.now, sleep=clock.sleep)
        with just_before_opening("b", lambda: directory.parent.chmod(0o000)):
            reading = read(directory, policy=policy)

    assert values(reading) == ALL_OLD
    assert clock.slept == [0.002]


def test_a_root_link_that_is_switched_during_the_read_is_followed_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    """If a link is switched during a read, as by sops and NixOS, the new target is read."""
    fill(tmp_path / "1", ALL_OLD)
    fill(tmp_path / "2", ALL_NEW)
    root = tmp_path / "secrets"
    root.symlink_to("1")
    policy = ReadPolicy(wall=SETTLED.wall, monotonic=lambda: clock.now, sleep=clock.sleep)

    def switch() -> None:
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").rename(root)

    assert values(read(root, policy=policy)) == ALL_OLD
    with just_before_opening("b", switch):
        reading = read(root, policy=policy)

    assert values(reading) == ALL_NEW
    assert clock.slept == [0.002]


def test_a_root_that_is_replaced_during_the_read_is_read_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    """If the root is replaced by a new directory during a read, the new one is read."""
    directory = fill(tmp_path / "directory")
    policy = ReadPolicy(wall=SETTLED.wall, monotonic=lambda: clock.now, sleep=clock.sleep)

    def replace() -> None:
        directory.rename(tmp_path / "old")
        fill(directory, ALL_NEW)

    with just_before_opening("b", replace):
        assert values(read(directory, policy=policy)) == ALL_NEW


def test_a_root_that_is_removed_during_the_read_is_absent(tmp_path: Path, clock: FakeClock) -> None:
    """If the root is removed during a read, it is absent, and nothing of the read is used."""
    directory = fill(tmp_path / "directory")
    with just_before_opening("b", lambda: shutil.rmtree(directory)):
        reading = read(directory, policy=clock.policy())

    assert reading.problem == ABSENT
    assert reading.is_absent
    assert good_values(reading.batch) == {}


def test_an_absent_root_is_reported_without_a_wait(tmp_path: Path, clock: FakeClock) -> None:
    """A directory that does not exist is absent, without a wait."""
    reading = read(tmp_path / "none", policy=clock.policy())

    assert reading.is_absent
    assert reading.problem == ABSENT
    assert clock.slept == []


def test_a_root_that_is_a_circular_link_is_unreadable(tmp_path: Path, clock: FakeClock) -> None:
    """A symbolic link to itself is unreadable, not absent, without a wait."""
    (tmp_path / "loop").symlink_to("loop")

    reading = read(tmp_path / "loop", policy=clock.policy())
    assert reading.problem is not None
    assert (reading.problem.kind, reading.is_absent) == ("unreadable", False)
    assert clock.slept == []


def test_a_lack_of_descriptors_is_reported_as_such(tmp_path: Path) -> None:
    """A lack of descriptors is named as such, and is not blamed on the directory."""
    fill(tmp_path)
    free = os.open(tmp_path, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        reading = read(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert reading.problem is not None
    assert reading.problem.kind == "unreadable"
    assert "too many open files" in reading.problem.message


def test_a_settled_plain_directory_is_read_once(tmp_path: Path) -> None:
    """Files that are not fresh are read once, without a wait."""
    clock = FakeClock(now=time.time() + 3600)

    assert values(read(fill(tmp_path / "plain"), policy=clock.policy())) == ALL_OLD
    assert clock.slept == []


def test_a_fresh_plain_directory_is_read_twice(tmp_path: Path, clock: FakeClock) -> None:
    """Fresh files are read twice, and used if they have not changed."""
    assert values(read(fill(tmp_path / "plain"), policy=clock.policy())) == ALL_OLD
    assert clock.slept == [0.3]


def still(clock: FakeClock) -> ReadPolicy:
    """Return a policy by which every file stays fresh."""
    now = clock.now
    return ReadPolicy(wall=lambda: now, monotonic=lambda: clock.now, sleep=clock.sleep)


def test_a_read_waits_for_the_end_of_a_writer(tmp_path: Path, clock: FakeClock) -> None:
    """A writer that needs a second for three files is waited for."""
    plain = fill(tmp_path / "plain")
    clock.steps = [
        lambda: (plain / "a").write_text("fake-2"),
        lambda: (plain / "b").write_text("fake-2"),
        lambda: (plain / "c").write_text("fake-2"),
    ]

    assert values(read(plain, policy=still(clock))) == ALL_NEW
    assert clock.slept == [0.3, 0.3, 0.3, 0.3]


def test_an_incomplete_file_is_read_again(tmp_path: Path, clock: FakeClock) -> None:
    """A file that is empty or incomplete is read again after a pause."""
    plain = fill(tmp_path / "plain", ALL_OLD | {"b": ""})
    clock.steps = [
        lambda: (plain / "b").write_text("fake"),
        lambda: (plain / "b").write_text("fake-1"),
    ]

    assert values(read(plain, policy=still(clock))) == ALL_OLD


def test_a_file_that_is_created_during_the_pause_is_read(tmp_path: Path, clock: FakeClock) -> None:
    """A file that is created during the pause is read."""
    plain = fill(tmp_path / "plain", {"a": "fake-1", "b": "fake-1"})
    clock.steps = [lambda: (plain / "c").write_text("fake-1")]

    assert values(read(plain, policy=still(clock))) == ALL_OLD
    assert clock.slept == [0.3, 0.3]


def test_a_directory_that_keeps_changing_is_a_problem_after_ten_seconds(
    tmp_path: Path, clock: FakeClock
) -> None:
    """After ten seconds a directory that keeps changing is a problem, and is not used."""
    plain = fill(tmp_path / "plain")
    started = clock.now
    clock.steps = [
        lambda number=number: (plain / "b").write_text(f"fake-{number}") for number in range(100)
    ]
    reading = read(plain, policy=still(clock))

    assert reading.problem == CHANGING
    assert good_values(reading.batch) == {}
    assert not reading.is_absent
    assert 10.0 <= clock.now - started < 10.4


def test_a_fresh_file_of_a_name_file_variable_is_read_twice(
    tmp_path: Path, clock: FakeClock
) -> None:
    """The file of a NAME_FILE variable is also read again after a pause."""
    file = fill(tmp_path, {"a": "fake"}) / "a"
    clock.steps = [lambda: file.write_text("fake-1")]
    reading = read_paths([str(file)], still(clock))

    assert values(reading) == {str(file): b"fake-1"}
    assert clock.slept == [0.3, 0.3]


def test_a_named_file_that_does_not_exist_is_absent(tmp_path: Path) -> None:
    """A named file that does not exist is absent; the caller makes it a problem."""
    assert values(read_paths([str(tmp_path / "none")], SETTLED)) == {}


def test_two_files_of_one_name_are_both_found(tmp_path: Path) -> None:
    """If a secret has two files, both locations are returned."""
    fill(tmp_path, {"a": "fake-1", "A.txt": "fake-2", "b": "fake-1"})
    reading = read(tmp_path)

    assert kinds(reading) == {"a": ["value", "value"]}
    assert {hit.place for hit in other_hits(reading.batch)["a"]} == {
        f"{tmp_path}/a",
        f"{tmp_path}/A.txt",
    }
    assert set(good_values(reading.batch)) == {"b"}


def test_only_declared_names_are_opened(tmp_path: Path) -> None:
    """Only files with declared names are opened; other names are listed."""
    machines = empty_machines(tmp_path)
    for volume in (False, True):
        with case(volume):
            root = next(machines)
            files = ALL_OLD | {"other": "fake-other", "d": "fake-d"}
            if volume:
                MountedVolume(root / "directory").publish(files)
            else:
                fill(root / "directory", files)
            opened: list[object] = []
            _on_open.append(opened.append)
            try:
                reading = read(root / "directory")
            finally:
                _on_open.clear()

            assert values(reading) == ALL_OLD
            assert {"other", "d"} <= set(reading.names)
            assert {"a", "b", "c"} <= set(opened)
            assert {"other", "d"}.isdisjoint(opened)


def test_the_repr_of_a_read_shows_no_value(kubelet: MountedVolume) -> None:
    """The repr of a read contains names only."""
    assert "fake-1" not in repr(read(kubelet.path))


@contextmanager
def storm(write: Callable[[int], object]) -> Iterator[None]:
    """Write generations without a pause, in another thread."""
    done = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        number = 0
        while not done.is_set():
            number += 1
            try:
                write(number)
            except BaseException as exc:  # noqa: BLE001  (the test fails with it)
                failed.append(exc)
                return

    writer = threading.Thread(target=run)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()
    assert failed == []


def test_each_read_during_constant_swaps_is_of_one_generation(kubelet: MountedVolume) -> None:
    """While generations are published without a pause, each read is of one of them."""
    before = descriptors()
    seen = set()
    with storm(lambda number: kubelet.publish(dict.fromkeys("abc", f"fake-{number}"))):
        for _ in range(50_000):
            reading = read(kubelet.path)
            if reading.problem != REPLACED:
                found = values(reading)
                assert set(found) == {"a", "b", "c"}
                assert len(set(found.values())) == 1
                seen.add(found["a"])
            if len(seen) == 100:
                break

    assert len(seen) == 100, "the storm was hardly met"
    assert descriptors() == before


def test_each_read_during_constant_switches_of_the_root_is_of_one_generation(
    tmp_path: Path,
) -> None:
    """While the root is switched without a pause, each read is of one generation."""
    root = tmp_path / "secrets"
    fill(tmp_path / "0", dict.fromkeys("abc", "fake-0"))
    root.symlink_to("0")

    def switch(number: int) -> None:
        fill(tmp_path / str(number), dict.fromkeys("abc", f"fake-{number}"))
        (tmp_path / "next").symlink_to(str(number))
        (tmp_path / "next").rename(root)
        shutil.rmtree(tmp_path / str(number - 1))

    seen = set()
    with storm(switch):
        for _ in range(50_000):
            reading = read(root)
            if reading.problem != REPLACED:
                found = values(reading)
                assert set(found) == {"a", "b", "c"}
                assert len(set(found.values())) == 1
                seen.add(found["a"])
            if len(seen) == 100:
                break

    assert len(seen) == 100, "the storm was hardly met"
