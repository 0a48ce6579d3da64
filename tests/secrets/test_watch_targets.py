"""Watch targets of a declaration, and snapshots of their signatures."""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.watch_targets import WatchTargets
from hive_boot.testing import MountedVolume
from tests.fixtures.bind_mounts import PinnedFile, bind, unbind
from tests.fixtures.cases import case, empty_machines
from tests.fixtures.watching import switch
from tests.fixtures.writers import PlainDirectory
from tests.support import as_ordinary_user, situate

IMPOSSIBLE = PinnedFile.unavailable_reason()

really = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


class Keys(SecretSet):
    """Secrets with unusual file names."""

    api_key: Secret
    tls_key: Secret | None = secret(file="tls/key.pem")


def targets_of(
    root: Path,
    environ: Mapping[str, str] | None = None,
    **source_options: Any,  # noqa: ANN401  (what SourceOptions takes)
) -> WatchTargets:
    """Return the watch targets of a machine whose file system begins at ``root``."""
    field_index = Keys._field_index
    return WatchTargets(field_index, situate(root, environ, **source_options))


def over(directory: Path) -> WatchTargets:
    """Return the watch targets of an application whose secrets are in ``directory``."""
    return targets_of(directory.parent, mode="kubernetes", secrets_dirs=str(directory))


def watched(seen: WatchTargets) -> dict[str, set[str] | None]:
    """Return the relevant names of each watched directory, by its real path.

    None stands for the names of the declared secrets, and whatever has two dots.
    """
    view = seen.snapshot()
    found: dict[str, set[str] | None] = {}
    for path, names in view.targets.items():
        assert (
            names is None
            or path not in view.secret_directories
            or names >= {"api_key", "API_KEY.txt"}
        )
        known = names is None or path in view.secret_directories
        found[os.path.realpath(path)] = None if known else set(names or ())
    return found


@pytest.fixture
def volume(tmp_path: Path) -> MountedVolume:
    """Return a volume with one key."""
    volume = MountedVolume(tmp_path / "mnt/volume")
    volume.publish({"api_key": "fake-key"})
    return volume


# What is watched.


def test_a_directory_and_its_name_in_the_parent_are_watched(volume: MountedVolume) -> None:
    """The parent has the events of its removal and its return."""
    path = volume.path
    assert watched(over(path)) == {str(path): None, str(path.parent): {"volume"}}


def test_a_slash_at_the_end_makes_no_difference(volume: MountedVolume) -> None:
    """Events of the kernel have the path without the slash."""
    seen = targets_of(volume.path, mode="kubernetes", secrets_dirs=f"{volume.path}//")
    assert watched(seen) == watched(over(volume.path))


def test_a_relative_directory_is_watched_below_the_working_directory(volume: MountedVolume) -> None:
    """It has the same targets as the absolute path."""
    root = volume.path.parent.parent
    seen = targets_of(root, mode="kubernetes", secrets_dirs="../mnt/volume")
    assert watched(seen) == watched(over(volume.path))


def test_a_root_that_is_a_link_is_watched_at_the_link_and_its_target(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """A switch of the link is noticed, and so is a write to its target."""
    link = tmp_path / "current"
    link.symlink_to("mnt/volume")
    assert watched(over(link)) == {
        str(volume.path): None,
        str(volume.path.parent): {"volume"},
        str(tmp_path): {"current"},
    }


def test_each_link_of_a_chain_is_watched(tmp_path: Path) -> None:
    """Any link may be switched: in the middle of the path, relative, absolute, upwards."""
    real = tmp_path / "releases/7/secrets"
    real.mkdir(parents=True)
    (tmp_path / "releases/current").symlink_to("./7")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/app").symlink_to(tmp_path / "releases/current")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/secrets").symlink_to("../etc/app/secrets")
    assert watched(over(tmp_path / "run/secrets")) == {
        str(real): None,
        str(real.parent): {"secrets"},
        str(tmp_path / "run"): {"secrets"},
        str(tmp_path / "etc"): {"app"},
        str(tmp_path / "releases"): {"current"},
    }


def test_links_in_a_circle_end_the_search(tmp_path: Path) -> None:
    """The links of the circle that can be watched are watched."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert watched(over(tmp_path / "a")) == {str(tmp_path): {"a", "b"}}


def test_the_parent_of_a_missing_directory_is_watched(tmp_path: Path) -> None:
    """A directory that is mounted later, or absent for a while, is noticed."""
    assert watched(over(tmp_path / "secrets")) == {str(tmp_path): {"secrets"}}
    assert watched(over(tmp_path / "no/such/secrets")) == {}


def test_only_the_parent_of_an_unreadable_directory_is_watched() -> None:
    """The parent has the event of a change of the permissions."""
    with as_ordinary_user() as place:
        closed = place / "secrets"
        closed.mkdir()
        closed.chmod(0)
        before = over(closed).snapshot()
        assert set(before.targets) == {str(place)}
        closed.chmod(0o700)
        after = over(closed).snapshot()
        assert set(after.targets) == {str(place), str(closed)}
        assert before.roots != after.roots


def test_two_directories_share_the_watch_of_their_parent(tmp_path: Path) -> None:
    """Each inode is watched once, for all names."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    both = [str(tmp_path / "one"), str(tmp_path / "two")]
    seen = targets_of(tmp_path, mode="kubernetes", secrets_dirs=both)
    assert watched(seen) == {both[0]: None, both[1]: None, str(tmp_path): {"one", "two"}}


def test_a_directory_within_another_is_watched_for_all_names(tmp_path: Path) -> None:
    """A watch for all names is not limited to one name by the other directory, in any order."""
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    both = [str(inner.parent), str(inner)]
    for order in (both, both[::-1]):
        seen = targets_of(tmp_path, mode="kubernetes", secrets_dirs=order)
        assert watched(seen) == {both[0]: None, both[1]: None, str(tmp_path): {"outer"}}


def test_one_directory_by_two_paths_is_watched_once(volume: MountedVolume, tmp_path: Path) -> None:
    """The kernel reports the events of an inode under one path only."""
    link = tmp_path / "link"
    link.symlink_to(volume.path)
    both = [str(volume.path), str(link)]
    seen = targets_of(tmp_path, mode="kubernetes", secrets_dirs=both)
    assert watched(seen) == {
        str(volume.path): None,
        str(volume.path.parent): {"volume"},
        str(tmp_path): {"link"},
    }


def test_the_default_directory_is_watched_with_the_volumes_in_it(tmp_path: Path) -> None:
    """A volume may have any name, also that of a platform entry, and may be a plain directory."""
    usual = tmp_path / "run/secrets"
    for name in ("app", "db", "kubernetes.io"):
        MountedVolume(usual / name).publish({"api_key": "fake-key"})
    (usual / "plain").mkdir()
    assert watched(targets_of(tmp_path, mode="kubernetes")) == {
        str(usual): None,
        str(usual.parent): {"secrets"},
        **{str(usual / name): None for name in ("app", "db", "kubernetes.io", "plain")},
    }


def test_a_default_directory_that_is_a_volume_is_not_searched_for_volumes(tmp_path: Path) -> None:
    """A volume may be mounted at /run/secrets itself."""
    usual = tmp_path / "run/secrets"
    MountedVolume(usual).publish({"api_key": "fake-key"})
    MountedVolume(usual / "below").publish({"api_key": "fake-key"})
    assert set(watched(targets_of(tmp_path, mode="docker"))) == {str(usual), str(usual.parent)}


def test_the_subdirectories_of_a_named_directory_are_watched(tmp_path: Path) -> None:
    """Several volumes, or one directory for each secret, may be in a named directory too."""
    MountedVolume(tmp_path / "named/app").publish({"api_key": "fake-key"})
    (tmp_path / "named/plain/deeper").mkdir(parents=True)
    (tmp_path / "named/.hidden").mkdir()
    assert watched(over(tmp_path / "named")) == {
        str(tmp_path): {"named"},
        **{str(tmp_path / name): None for name in ("named", "named/app", "named/plain")},
    }


def test_the_credentials_of_systemd_are_watched(tmp_path: Path) -> None:
    """The credentials directory is watched like every other."""
    (tmp_path / "cred").mkdir()
    seen = targets_of(tmp_path, {"CREDENTIALS_DIRECTORY": "/cred"}, mode="systemd")
    assert watched(seen) == {str(tmp_path / "cred"): None, str(tmp_path): {"cred"}}


def test_dotenv_files_are_watched_by_name(tmp_path: Path) -> None:
    """In development only the two files are watched, also if they do not exist."""
    assert watched(targets_of(tmp_path, mode="development")) == {
        str(tmp_path / "cwd"): {".env", ".env.local"}
    }


def test_a_dotenv_file_that_is_a_link_is_watched_at_both_ends(tmp_path: Path) -> None:
    """A change of the target is noticed, and so is a new link."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/dev.env").write_text("API_KEY=fake-key")
    (tmp_path / "cwd/.env").symlink_to("../shared/dev.env")
    assert watched(targets_of(tmp_path, mode="development")) == {
        str(tmp_path / "cwd"): {".env", ".env.local"},
        str(tmp_path / "shared"): {"dev.env"},
    }


def test_a_file_that_a_variable_names_is_watched_by_name(tmp_path: Path) -> None:
    """``NAME_FILE`` adds one file, in every mode."""
    file = PlainDirectory(tmp_path / "etc").path / "key"
    file.write_text("fake-key")
    seen = targets_of(tmp_path, {"API_KEY_FILE": str(file)}, mode="environment")
    assert watched(seen) == {str(file.parent): {"key"}}


def test_a_file_in_a_volume_is_watched_by_the_links_to_it(volume: MountedVolume) -> None:
    """The directory behind ``..data`` is not watched, because it is never written into."""
    environ = {"API_KEY_FILE": str(volume.path / "api_key")}
    assert watched(targets_of(volume.path, environ, mode="environment")) == {
        str(volume.path): {"api_key", "..data"}
    }


def test_variables_alone_have_no_watch_targets(tmp_path: Path) -> None:
    """Variables cannot change, so no watcher is started."""
    assert targets_of(tmp_path, {"API_KEY": "fake-key"}, mode="environment").is_empty
    assert targets_of(tmp_path, {"API_KEY_FILE": ""}, mode="environment").is_empty
    assert not targets_of(tmp_path, {"API_KEY_FILE": "/key"}, mode="environment").is_empty
    assert not targets_of(tmp_path, mode="development").is_empty
    assert not targets_of(tmp_path, mode="docker").is_empty


# What an event is about.


def test_an_event_concerns_declared_names_or_the_directory(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """In the parent only the name of the directory counts."""
    cases: list[tuple[str, bool]] = [
        ("mnt/volume", True),
        ("mnt/volume/..data", True),
        ("mnt/volume/api_key", True),
        ("mnt/volume/tls", True),
        ("mnt/volume/token~", False),
        ("mnt/another", False),
        ("mnt", False),
        ("elsewhere/volume", False),
    ]
    for path, expected in cases:
        with case(path, expected):
            assert over(volume.path).snapshot().is_relevant(str(tmp_path / path)) is expected


def test_an_event_of_a_named_path_concerns_it(tmp_path: Path) -> None:
    """The other files beside ``.env`` do not cause a read."""
    view = targets_of(tmp_path, mode="development").snapshot()
    assert view.is_relevant(str(tmp_path / "cwd/.env.local"))
    assert not view.is_relevant(str(tmp_path / "cwd/main.py"))


# What can be seen without reading.


def wait_for_another_time(path: Path) -> None:
    """Wait until the file system has another time stamp: some count in milliseconds."""
    path.touch()
    first = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == first:
        path.touch()


def rename_over(path: Path) -> None:
    """Replace ``path`` by another file with the same content."""
    PlainDirectory(path.parent).replace(path.name, path.read_text())


def rewrite(path: Path) -> None:
    """Write as many other bytes into the same file, and restore its time."""
    wait_for_another_time(path.with_name("stamp"))
    times = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: list[Callable[[Path], object]] = [
    rename_over,
    rewrite,
    Path.unlink,
    lambda path: path.chmod(0o600),
    lambda path: path.write_text(""),
]


def test_each_change_of_a_declared_file_changes_the_snapshot(tmp_path: Path) -> None:
    """This holds with and without a change of the size."""
    machines = empty_machines(tmp_path)
    for change in CHANGES:
        with case(change):
            root = next(machines)
            directory = PlainDirectory(root / "secrets")
            for name in ("api_key", "tls/key.pem"):
                directory.replace(name, "fake-key")
            seen = over(directory.path)
            for name in ("api_key", "tls/key.pem"):
                before = seen.snapshot()
                change(directory.path / name)
                after = seen.snapshot()
                assert before.contents != after.contents
                assert before.roots == after.roots


def test_a_change_of_a_file_that_a_variable_names_changes_the_snapshot(tmp_path: Path) -> None:
    """The same holds for ``.env``."""
    machines = empty_machines(tmp_path)
    for change in CHANGES:
        with case(change):
            root = next(machines)
            file = PlainDirectory(root / "etc").path / "key"
            file.write_text("fake-key")
            seen = targets_of(root, {"API_KEY_FILE": str(file)}, mode="environment")
            before = seen.snapshot()
            change(file)
            assert seen.snapshot().contents != before.contents


def test_undeclared_files_are_not_part_of_a_snapshot(tmp_path: Path) -> None:
    """A change of another file in the directory does not count."""
    directory = PlainDirectory(tmp_path / "secrets")
    directory.replace("api_key", "fake-key")
    directory.replace("other", "fake-other")
    seen = over(directory.path)
    before = seen.snapshot()
    directory.write_in_place("other", "fake-other-new")
    assert seen.snapshot() == before


def test_a_swap_of_a_volume_changes_the_snapshot(volume: MountedVolume) -> None:
    """The link has changed, also if the content is the same."""
    seen = over(volume.path)
    before = seen.snapshot()
    volume.publish(volume.content, anew=True)
    assert seen.snapshot().contents != before.contents
    assert seen.snapshot().roots == before.roots


def test_a_snapshot_of_a_volume_examines_no_single_files(volume: MountedVolume) -> None:
    """The files of a generation are never written again."""
    assert volume.generation is not None
    seen = over(volume.path)
    before = seen.snapshot()
    (volume.generation / "api_key").chmod(0o600)
    assert seen.snapshot() == before
    rename_over(volume.generation / "api_key")
    between = seen.snapshot()
    assert between.contents != before.contents
    volume.generation.chmod(0o711)
    assert seen.snapshot().contents != between.contents


def test_a_snapshot_that_reuses_the_last_one_is_complete(tmp_path: Path) -> None:
    """Whatever changes between the snapshots, the result is that of a new one."""
    for number in range(2):
        MountedVolume(tmp_path / f"v{number}").publish({"api_key": "fake-key"})
    directory, volume = PlainDirectory(tmp_path / "named"), MountedVolume(tmp_path / "volume")
    directory.replace("tls/key.pem", "fake-key")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("v0")
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain/link").symlink_to("../v1")
    (tmp_path / "file").write_text("fake-key")
    key, tls = directory.path / "api_key", directory.path / "tls"
    MountedVolume(tmp_path / "above/in").publish({"api_key": "fake-key"})
    names = ("named", "volume", "link", "bundle", "no/such", "above/in")
    paths = [str(tmp_path / name) for name in names]

    def replace_above() -> None:
        (tmp_path / "above/in").rename(tmp_path / "in")
        (tmp_path / "above").rename(tmp_path / "old-above")
        (tmp_path / "above").mkdir()
        (tmp_path / "in").rename(tmp_path / "above/in")

    changes: list[Callable[[], object]] = [
        partial(directory.replace, "api_key", "fake-1"),
        key.unlink,
        partial(key.symlink_to, tmp_path / "real/key"),
        partial(PlainDirectory(tmp_path / "real").replace, "key", "fake-2"),
        partial(switch, key, "../file"),
        partial((tmp_path / "real").rename, tmp_path / "away"),
        partial(volume.publish, {"api_key": "fake-3"}),
        partial(volume.publish, {"api_key": "fake-4"}),
        partial(volume.path.rename, tmp_path / "elsewhere"),
        partial(volume.path.mkdir),
        partial(switch, tmp_path / "link", "chain/link"),
        # The same directory, by another chain of links, and in another directory above it.
        partial(switch, tmp_path / "link", "v1"),
        replace_above,
        partial(shutil.rmtree, tmp_path / "v1"),
        partial((tmp_path / "bundle").write_text, "API_KEY=fake-5"),
        partial((tmp_path / "bundle").unlink),
        partial((tmp_path / "bundle").mkdir),
        partial((directory.path / "fresh").mkdir),
        partial((directory.path / "fresh").rename, directory.path / "renamed"),
        partial(shutil.rmtree, tls),
        partial(tls.symlink_to, "renamed"),
        partial((tmp_path / "no/such").mkdir, parents=True),
        partial(directory.path.chmod, 0o711),
        partial(directory.path.rename, tmp_path / "old"),
    ]

    environ = {"TLS_KEY_FILE": str(tmp_path / "file")}
    options: dict[str, Any] = {"mode": "kubernetes", "secrets_dirs": paths}
    seen = {looks: targets_of(tmp_path, environ, **options) for looks in (1, 2, 3)}
    for number, change in enumerate([lambda: None, *changes]):
        change()
        expected = targets_of(tmp_path, environ, **options).snapshot()
        for looks, each in seen.items():
            with case((number, looks)):
                assert [each.snapshot() for _ in range(looks)] == [expected] * looks


def test_two_snapshots_without_a_change_are_equal(volume: MountedVolume) -> None:
    """Without a change there is no difference."""
    seen = over(volume.path)
    assert seen.snapshot() == seen.snapshot()


def test_a_replaced_directory_is_another_root(tmp_path: Path) -> None:
    """A watch follows the renamed directory, so another watch is needed."""
    directory = PlainDirectory(tmp_path / "secrets")
    seen = over(directory.path)
    before = seen.snapshot()
    directory.path.rename(tmp_path / "away")
    between = seen.snapshot()
    PlainDirectory(directory.path)
    after = seen.snapshot()
    assert len({before.roots, between.roots, after.roots}) == 3


def test_a_volume_that_is_mounted_later_is_another_root(tmp_path: Path) -> None:
    """A volume below /run/secrets is watched from the next snapshot on."""
    usual = tmp_path / "run/secrets"
    usual.mkdir(parents=True)
    seen = targets_of(tmp_path, mode="kubernetes")
    before = seen.snapshot()
    MountedVolume(usual / "app").publish({"api_key": "fake-key"})
    after = seen.snapshot()
    assert before.roots != after.roots
    assert str(usual / "app") in after.targets


# Files that are mounted alone.


@really
def test_a_file_mount_is_watched_itself(tmp_path: Path) -> None:
    """A directory has no event for a write to a file that is mounted over one of its files."""
    machines = empty_machines(tmp_path)
    for name in ("api_key", "tls/key.pem"):
        with case(name):
            root = next(machines)
            with PinnedFile(root / "secrets" / name, root / "host/key") as pinned:
                seen = over(root / "secrets")
                assert watched(seen)[str(pinned.path)] is None
                view = seen.snapshot()
                assert [pin.path for pin in view.pinned] == [str(pinned.path)]
                assert view.is_relevant(str(pinned.path))
                before = view.contents
                pinned.write("fake-key")
                assert seen.snapshot().contents != before


@really
def test_a_file_that_is_mounted_later_is_watched(tmp_path: Path) -> None:
    """A snapshot that reuses the last one finds it too, and the end of the mount."""
    directory = PlainDirectory(tmp_path / "secrets")
    directory.replace("api_key", "fake-key")
    seen = over(directory.path)
    without = [seen.snapshot() for _ in range(3)]
    # Over itself: no attribute of the file differs.
    bind(directory.path / "api_key", directory.path / "api_key")
    try:
        found = [seen.snapshot() for _ in range(3)]
        assert found == [over(directory.path).snapshot()] * 3
        assert found[0].pinned
    finally:
        unbind(directory.path / "api_key")
    assert [seen.snapshot() for _ in range(3)] == without


@really
def test_a_file_mount_is_found_through_a_link(tmp_path: Path) -> None:
    """The path is reported as it was declared."""
    (tmp_path / "link").symlink_to("secrets")
    with PinnedFile(tmp_path / "secrets/api_key", tmp_path / "host/key"):
        (pin,) = over(tmp_path / "link").snapshot().pinned
        assert pin.path == str(tmp_path / "link/api_key")


@really
def test_a_file_mount_that_a_variable_names_is_found(tmp_path: Path) -> None:
    """``NAME_FILE`` may name a Compose secret, also by a link."""
    (tmp_path / "link").symlink_to("secrets/key")
    with PinnedFile(tmp_path / "secrets/key", tmp_path / "host/key"):
        environ = {"API_KEY_FILE": str(tmp_path / "link")}
        view = targets_of(tmp_path, environ, mode="environment").snapshot()
        assert [pin.path for pin in view.pinned] == [str(tmp_path / "link")]
        assert {str(tmp_path / "link"), str(tmp_path / "secrets/key")} & view.targets.keys()
