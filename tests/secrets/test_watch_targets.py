"""What is watched for a declaration, and what of it can be seen without reading."""

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
    """What the service needs."""

    api_key: Secret
    tls_key: Secret | None = secret(file="tls/key.pem")


def vantage(
    root: Path,
    environ: Mapping[str, str] | None = None,
    **source_options: Any,  # noqa: ANN401  (what SourceOptions takes)
) -> WatchTargets:
    """Return the vantage of a machine whose file system begins at ``root``."""
    field_index = Keys._field_index
    return WatchTargets(field_index, situate(root, environ, **source_options))


def over(directory: Path) -> WatchTargets:
    """Return the vantage of an application whose secrets are in ``directory``."""
    return vantage(directory.parent, mode="kubernetes", secrets_dirs=str(directory))


def watched(seen: WatchTargets) -> dict[str, set[str] | None]:
    """Return what is watched, by its real path, and the names of interest in it.

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
    """Return a volume that has the one key."""
    volume = MountedVolume(tmp_path / "mnt/volume")
    volume.publish({"api_key": "fake-key"})
    return volume


# What is watched.


def test_a_directory_is_watched_and_its_name_in_the_one_above(volume: MountedVolume) -> None:
    """The directory tells of its files, the one above of its removal and its return."""
    path = volume.path
    assert watched(over(path)) == {str(path): None, str(path.parent): {"volume"}}


def test_a_slash_at_the_end_makes_no_difference(volume: MountedVolume) -> None:
    """Kernel events come by the path without it, whatever the author wrote."""
    seen = vantage(volume.path, mode="kubernetes", secrets_dirs=f"{volume.path}//")
    assert watched(seen) == watched(over(volume.path))


def test_a_relative_directory_is_watched_where_it_is(volume: MountedVolume) -> None:
    """A path from the working directory leads to the same places."""
    root = volume.path.parent.parent
    seen = vantage(root, mode="kubernetes", secrets_dirs="../mnt/volume")
    assert watched(seen) == watched(over(volume.path))


def test_a_root_that_is_a_link_is_watched_where_the_link_is(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """Whoever switches the link is noticed, as well as who writes into what it leads to."""
    link = tmp_path / "current"
    link.symlink_to("mnt/volume")
    assert watched(over(link)) == {
        str(volume.path): None,
        str(volume.path.parent): {"volume"},
        str(tmp_path): {"current"},
    }


def test_each_link_of_a_chain_is_watched(tmp_path: Path) -> None:
    """Any of them may be switched: in the middle of the path, relative, absolute, upwards."""
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
    """A broken deployment is no endless loop: what can be mended is watched."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert watched(over(tmp_path / "a")) == {str(tmp_path): {"a", "b"}}


def test_a_directory_that_is_not_there_is_awaited_from_above(tmp_path: Path) -> None:
    """A directory that is mounted later, or is gone for a while, is noticed when it comes."""
    assert watched(over(tmp_path / "secrets")) == {str(tmp_path): {"secrets"}}
    assert watched(over(tmp_path / "no/such/secrets")) == {}


def test_a_closed_directory_is_watched_from_above_only() -> None:
    """What the process may not read it cannot watch; the one above tells of the permission."""
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


def test_two_directories_side_by_side_share_the_one_above(tmp_path: Path) -> None:
    """Each inode is watched once, for the names of all."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    both = [str(tmp_path / "one"), str(tmp_path / "two")]
    seen = vantage(tmp_path, mode="kubernetes", secrets_dirs=both)
    assert watched(seen) == {both[0]: None, both[1]: None, str(tmp_path): {"one", "two"}}


def test_a_directory_within_another_is_told_of_by_both(tmp_path: Path) -> None:
    """One that is watched for all names is not narrowed to one by the other, in any order."""
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    both = [str(inner.parent), str(inner)]
    for order in (both, both[::-1]):
        seen = vantage(tmp_path, mode="kubernetes", secrets_dirs=order)
        assert watched(seen) == {both[0]: None, both[1]: None, str(tmp_path): {"outer"}}


def test_one_directory_by_two_paths_is_watched_once(volume: MountedVolume, tmp_path: Path) -> None:
    """The kernel gives an inode's events to one path only."""
    link = tmp_path / "link"
    link.symlink_to(volume.path)
    both = [str(volume.path), str(link)]
    seen = vantage(tmp_path, mode="kubernetes", secrets_dirs=both)
    assert watched(seen) == {
        str(volume.path): None,
        str(volume.path.parent): {"volume"},
        str(tmp_path): {"link"},
    }


def test_the_usual_directory_is_watched_with_the_volumes_in_it(tmp_path: Path) -> None:
    """A volume may have any name, also one that a platform uses; so may a plain directory."""
    usual = tmp_path / "run/secrets"
    for name in ("app", "db", "kubernetes.io"):
        MountedVolume(usual / name).publish({"api_key": "fake-key"})
    (usual / "plain").mkdir()
    assert watched(vantage(tmp_path, mode="kubernetes")) == {
        str(usual): None,
        str(usual.parent): {"secrets"},
        **{str(usual / name): None for name in ("app", "db", "kubernetes.io", "plain")},
    }


def test_a_usual_directory_that_is_a_volume_has_none_in_it(tmp_path: Path) -> None:
    """A volume mounted at /run/secrets itself is not searched for others."""
    usual = tmp_path / "run/secrets"
    MountedVolume(usual).publish({"api_key": "fake-key"})
    MountedVolume(usual / "below").publish({"api_key": "fake-key"})
    assert set(watched(vantage(tmp_path, mode="docker"))) == {str(usual), str(usual.parent)}


def test_the_subdirectories_of_a_named_directory_are_watched(tmp_path: Path) -> None:
    """One directory per secret, and several volumes, rotate in a named directory too."""
    MountedVolume(tmp_path / "named/app").publish({"api_key": "fake-key"})
    (tmp_path / "named/plain/deeper").mkdir(parents=True)
    (tmp_path / "named/.hidden").mkdir()
    assert watched(over(tmp_path / "named")) == {
        str(tmp_path): {"named"},
        **{str(tmp_path / name): None for name in ("named", "named/app", "named/plain")},
    }


def test_the_credentials_of_systemd_are_watched(tmp_path: Path) -> None:
    """The directory that systemd gives is watched like every other."""
    (tmp_path / "cred").mkdir()
    seen = vantage(tmp_path, {"CREDENTIALS_DIRECTORY": "/cred"}, mode="systemd")
    assert watched(seen) == {str(tmp_path / "cred"): None, str(tmp_path): {"cred"}}


def test_dotenv_files_are_watched_by_name(tmp_path: Path) -> None:
    """In development it is the two files, there or not, and nothing else of the project."""
    assert watched(vantage(tmp_path, mode="development")) == {
        str(tmp_path / "cwd"): {".env", ".env.local"}
    }


def test_a_dotenv_file_that_is_a_link_is_watched_at_both_ends(tmp_path: Path) -> None:
    """Who edits the file that ``.env`` leads to is noticed like who makes the link anew."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/dev.env").write_text("API_KEY=fake-key")
    (tmp_path / "cwd/.env").symlink_to("../shared/dev.env")
    assert watched(vantage(tmp_path, mode="development")) == {
        str(tmp_path / "cwd"): {".env", ".env.local"},
        str(tmp_path / "shared"): {"dev.env"},
    }


def test_a_file_that_a_variable_names_is_watched_by_name(tmp_path: Path) -> None:
    """``NAME_FILE`` concerns one file, in every mode."""
    file = PlainDirectory(tmp_path / "etc").path / "key"
    file.write_text("fake-key")
    seen = vantage(tmp_path, {"API_KEY_FILE": str(file)}, mode="environment")
    assert watched(seen) == {str(file.parent): {"key"}}


def test_a_file_in_a_volume_is_watched_by_the_links_to_it(volume: MountedVolume) -> None:
    """The directory behind ``..data`` is not watched, because it is never written into."""
    environ = {"API_KEY_FILE": str(volume.path / "api_key")}
    assert watched(vantage(volume.path, environ, mode="environment")) == {
        str(volume.path): {"api_key", "..data"}
    }


def test_nothing_to_watch_is_known_as_such(tmp_path: Path) -> None:
    """Variables alone cannot change, so no thread is started for them."""
    assert vantage(tmp_path, {"API_KEY": "fake-key"}, mode="environment").is_empty
    assert vantage(tmp_path, {"API_KEY_FILE": ""}, mode="environment").is_empty
    assert not vantage(tmp_path, {"API_KEY_FILE": "/key"}, mode="environment").is_empty
    assert not vantage(tmp_path, mode="development").is_empty
    assert not vantage(tmp_path, mode="docker").is_empty


# What an event is about.


def test_an_event_concerns_the_directory_or_its_name_above(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """What happens to the declared names counts, and to the directory, and little else above."""
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


def test_an_event_at_a_pinned_path_concerns_it(tmp_path: Path) -> None:
    """The other files beside ``.env`` wake nobody."""
    view = vantage(tmp_path, mode="development").snapshot()
    assert view.is_relevant(str(tmp_path / "cwd/.env.local"))
    assert not view.is_relevant(str(tmp_path / "cwd/main.py"))


# What can be seen without reading.


def let_a_stamp_pass(path: Path) -> None:
    """Wait until the file system gives another time than before: some count in milliseconds."""
    path.touch()
    first = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == first:
        path.touch()


def rename_over(path: Path) -> None:
    """Put another file with the same content at ``path``."""
    PlainDirectory(path.parent).replace(path.name, path.read_text())


def rewrite(path: Path) -> None:
    """Write other bytes into the same file, as many as before, and hide the time of it."""
    let_a_stamp_pass(path.with_name("stamp"))
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


def test_a_change_of_a_declared_file_is_seen(tmp_path: Path) -> None:
    """A plain file cannot be touched without that a look sees it, its size or not."""
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


def test_a_change_of_a_file_that_a_variable_names_is_seen(tmp_path: Path) -> None:
    """The same holds for ``NAME_FILE`` and, with it, for ``.env``."""
    machines = empty_machines(tmp_path)
    for change in CHANGES:
        with case(change):
            root = next(machines)
            file = PlainDirectory(root / "etc").path / "key"
            file.write_text("fake-key")
            seen = vantage(root, {"API_KEY_FILE": str(file)}, mode="environment")
            before = seen.snapshot()
            change(file)
            assert seen.snapshot().contents != before.contents


def test_what_is_not_declared_is_not_looked_at(tmp_path: Path) -> None:
    """Somebody else's file in the directory is no change of ours."""
    directory = PlainDirectory(tmp_path / "secrets")
    directory.replace("api_key", "fake-key")
    directory.replace("other", "fake-other")
    seen = over(directory.path)
    before = seen.snapshot()
    directory.write_in_place("other", "fake-other-new")
    assert seen.snapshot() == before


def test_a_swap_of_a_volume_is_seen(volume: MountedVolume) -> None:
    """The link says it, also when the content is the same."""
    seen = over(volume.path)
    before = seen.snapshot()
    volume.publish(volume.content, anew=True)
    assert seen.snapshot().contents != before.contents
    assert seen.snapshot().roots == before.roots


def test_of_a_generation_only_the_directory_is_looked_at(volume: MountedVolume) -> None:
    """Its files are never written again, so there is no look at a thousand of them."""
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


def test_a_look_that_knows_the_last_one_sees_as_much_as_the_first(tmp_path: Path) -> None:
    """Whatever happens to the places, and however often there was a look before."""
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
    seen = {looks: vantage(tmp_path, environ, **options) for looks in (1, 2, 3)}
    for number, change in enumerate([lambda: None, *changes]):
        change()
        expected = vantage(tmp_path, environ, **options).snapshot()
        for looks, each in seen.items():
            with case((number, looks)):
                assert [each.snapshot() for _ in range(looks)] == [expected] * looks


def test_two_looks_at_the_same_are_equal(volume: MountedVolume) -> None:
    """When nothing happens, nothing is seen."""
    seen = over(volume.path)
    assert seen.snapshot() == seen.snapshot()


def test_a_directory_that_was_replaced_is_another_root(tmp_path: Path) -> None:
    """A watch follows the directory that was renamed away, so a new one has to begin."""
    directory = PlainDirectory(tmp_path / "secrets")
    seen = over(directory.path)
    before = seen.snapshot()
    directory.path.rename(tmp_path / "away")
    between = seen.snapshot()
    PlainDirectory(directory.path)
    after = seen.snapshot()
    assert len({before.roots, between.roots, after.roots}) == 3


def test_a_volume_that_comes_is_another_root(tmp_path: Path) -> None:
    """One that is mounted below /run/secrets later is watched from the next look on."""
    usual = tmp_path / "run/secrets"
    usual.mkdir(parents=True)
    seen = vantage(tmp_path, mode="kubernetes")
    before = seen.snapshot()
    MountedVolume(usual / "app").publish({"api_key": "fake-key"})
    after = seen.snapshot()
    assert before.roots != after.roots
    assert str(usual / "app") in after.targets


# Files that are mounted alone.


@really
def test_a_mounted_file_is_watched_itself(tmp_path: Path) -> None:
    """A directory hears nothing of what is written into a file mounted over one of its own."""
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
def test_a_file_that_is_mounted_later_is_found(tmp_path: Path) -> None:
    """Also by a look that knows the last one, and so is the end of the mount."""
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
def test_a_mounted_file_is_found_through_a_link(tmp_path: Path) -> None:
    """A root that is a link hides no mount, and the path is told as it was declared."""
    (tmp_path / "link").symlink_to("secrets")
    with PinnedFile(tmp_path / "secrets/api_key", tmp_path / "host/key"):
        (pin,) = over(tmp_path / "link").snapshot().pinned
        assert pin.path == str(tmp_path / "link/api_key")


@really
def test_a_mounted_file_that_a_variable_names_is_found(tmp_path: Path) -> None:
    """``NAME_FILE`` may well name a Compose secret, also by a link to it."""
    (tmp_path / "link").symlink_to("secrets/key")
    with PinnedFile(tmp_path / "secrets/key", tmp_path / "host/key"):
        environ = {"API_KEY_FILE": str(tmp_path / "link")}
        view = vantage(tmp_path, environ, mode="environment").snapshot()
        assert [pin.path for pin in view.pinned] == [str(tmp_path / "link")]
        assert {str(tmp_path / "link"), str(tmp_path / "secrets/key")} & view.targets.keys()
