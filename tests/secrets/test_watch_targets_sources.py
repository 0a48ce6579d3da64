"""What is watched of bundles, subdirectories and directories that cannot be listed."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.watch_targets import WatchSnapshot, WatchTargets
from hive_boot.testing import MountedVolume
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.cases import case
from tests.fixtures.writers import PlainDirectory
from tests.secrets.test_watch_targets import really
from tests.support import as_ordinary_user, situate

if TYPE_CHECKING:
    from collections.abc import Callable


class Keys(SecretSet):
    """Secrets in files, in a subdirectory and in a JSON file."""

    api_key: Secret
    password: Secret | None = secret(file="rds.json#password")
    token: Secret | None = secret(file="below/api.json#token")


def snapshot(*paths: Path) -> WatchSnapshot:
    """Return what is watched for secrets at these paths."""
    index = Keys._field_index
    context = situate(paths[0].parent, mode="docker", secrets_dirs=paths)
    return WatchTargets(index, context).snapshot()


def test_a_bundle_is_watched_like_a_file(tmp_path: Path) -> None:
    """Its name in the directory above is of interest, and each link on the way to it."""
    (tmp_path / "real").write_text("API_KEY=fake")
    (tmp_path / "link").symlink_to("real")
    assert snapshot(tmp_path / "real").targets == {str(tmp_path): frozenset({"real"})}
    assert snapshot(tmp_path / "link").targets == {str(tmp_path): frozenset({"link", "real"})}
    before = snapshot(tmp_path / "real")
    PlainDirectory(tmp_path).write_in_place("real", "API_KEY=fake-other")
    after = snapshot(tmp_path / "real")
    assert (before.roots, before.contents != after.contents) == (after.roots, True)
    assert after.is_relevant(str(tmp_path / "real"))
    assert not after.is_relevant(str(tmp_path / "other"))


def test_a_bundle_in_a_volume_is_watched_through_its_links(tmp_path: Path) -> None:
    """The link ``..data`` is switched by each update."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"config": "API_KEY=fake"})
    names = snapshot(volume.path / "config").targets[str(volume.path)]
    assert names == frozenset({"config", "..data"})


@really
def test_a_mounted_bundle_is_watched_itself(tmp_path: Path) -> None:
    """A single file that is mounted is rewritten in place, which only its own watch reports."""
    with PinnedFile(tmp_path / "bundle", tmp_path / "outside"):
        seen = snapshot(tmp_path / "bundle")
        assert [pin.path for pin in seen.pinned] == [str(tmp_path / "bundle")]
        assert seen.targets[str(tmp_path / "bundle")] is None


def test_a_file_with_members_is_watched(tmp_path: Path) -> None:
    """The JSON file counts, also in a subdirectory and through a link."""
    directory = PlainDirectory(tmp_path / "named")
    directory.replace("below/api.json", "{}")
    directory.replace("elsewhere/rds.json", "{}")
    (directory.path / "rds.json").symlink_to("elsewhere/rds.json")
    for name in ("rds.json", "below/api.json", "elsewhere/rds.json"):
        with case(name):
            before = snapshot(directory.path)
            assert before.is_relevant(str(directory.path / name))
            directory.replace(name, '{"password": "fake"}')
            assert snapshot(directory.path).contents != before.contents


def test_any_new_subdirectory_is_relevant(tmp_path: Path) -> None:
    """A directory with any name may hold a secret; another file is not looked at."""
    (tmp_path / "named/a").mkdir(parents=True)
    seen = snapshot(tmp_path / "named")
    (tmp_path / "named/b").mkdir()
    (tmp_path / "named/file").touch()
    relevant = {
        name for name in ("a", "b", "file", "gone") if seen.is_relevant(f"{tmp_path}/named/{name}")
    }
    assert relevant == {"a", "b"}
    assert snapshot(tmp_path / "named").roots != seen.roots


def test_a_change_in_a_subdirectory_is_seen(tmp_path: Path) -> None:
    """Signatures cover subdirectories, volumes in them, and those that cannot be read yet."""
    plain, volume = PlainDirectory(tmp_path / "named/a"), MountedVolume(tmp_path / "named/b")
    acts: tuple[Callable[[], object], ...] = (
        partial(plain.replace, "api_key", "fake-1"),
        partial(plain.write_in_place, "api_key", "fake-22"),
        partial(volume.publish, {"api_key": "fake-1"}),
        partial(volume.publish, {"api_key": "fake-2"}),
        partial(plain.path.chmod, 0),
        partial(plain.path.chmod, 0o700),
    )
    for number, act in enumerate(acts):
        with case(number):
            before = snapshot(tmp_path / "named").contents
            act()
            assert snapshot(tmp_path / "named").contents != before


def test_the_files_of_an_unlistable_directory_are_watched() -> None:
    """Events need the permission to list a directory; each declared file is watched instead."""
    with as_ordinary_user() as root:
        directory = PlainDirectory(root / "named")
        directory.replace("api_key", "fake-1")
        directory.replace("elsewhere/rds.json", "{}")
        (directory.path / "rds.json").symlink_to("elsewhere/rds.json")
        directory.path.chmod(0o311)
        before = snapshot(directory.path)
        found = {path: names for path, names in before.targets.items() if "named" in path}
        assert found.pop(f"{directory.path}/api_key") is None
        assert found.pop(f"{directory.path}/elsewhere/rds.json") is None
        assert set(found) == {f"{directory.path}/elsewhere"}
        assert before.targets[str(root)] == frozenset({"named"})
        assert before.is_relevant(f"{directory.path}/api_key")
        assert before.changes_targets(f"{directory.path}/api_key")
        acts = (
            partial(directory.replace, "api_key", "fake-2"),
            partial(directory.replace, "API_KEY", "fake-2"),
            partial(directory.remove, "api_key"),
        )
        for act in acts:
            now = snapshot(directory.path)
            act()
            assert snapshot(directory.path).contents != now.contents
            assert snapshot(directory.path).roots != now.roots
        directory.path.chmod(0o700)
