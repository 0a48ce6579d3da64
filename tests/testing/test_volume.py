"""MountedVolume: files as the kubelet writes them, and failures of a volume."""

import os
import re
import stat
import sys
import threading
from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from tests.fixtures.inotify_events import events_of
from tests.support import as_ordinary_user

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")

OLD = {"api_key": "fake-1", "tls/server.key": "fake-key-1"}
NEW = {"api_key": "fake-2", "tls/server.key": "fake-key-2"}


@pytest.fixture
def volume(tmp_path: Path) -> MountedVolume:
    """Return a volume with one generation in it."""
    volume = MountedVolume(tmp_path / "volume")
    assert volume.publish(OLD)
    return volume


def generation_of(volume: MountedVolume) -> Path:
    """Return the published directory, which must exist."""
    assert volume.generation is not None
    return volume.generation


def layout(volume: MountedVolume) -> dict[str, str | None]:
    """Return the entries of the volume: the targets of links, and None for directories."""
    return {
        entry.name: str(entry.readlink()) if entry.is_symlink() else None
        for entry in volume.path.iterdir()
    }


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_volume_has_the_layout_of_the_kubelet(volume: MountedVolume) -> None:
    """It has one directory with a time stamp, a link to it, and a link for each top-level name."""
    generation = generation_of(volume)

    assert re.fullmatch(r"\.\.\d{4}(_\d\d){5}\.\d+", generation.name)
    assert layout(volume) == {
        generation.name: None,
        "..data": generation.name,
        "api_key": "..data/api_key",
        "tls": "..data/tls",
    }
    assert (volume.path / "api_key").read_text() == "fake-1"
    assert (volume.path / "tls/server.key").read_text() == "fake-key-1"
    assert volume.content == {"api_key": b"fake-1", "tls/server.key": b"fake-key-1"}


def test_new_content_removes_the_old_generation(volume: MountedVolume) -> None:
    """The old directory and the links of removed keys are removed."""
    old = generation_of(volume)

    assert volume.publish({"jwt_secret": b"\xff\x00"})

    assert not old.exists()
    assert layout(volume) == {
        generation_of(volume).name: None,
        "..data": generation_of(volume).name,
        "jwt_secret": "..data/jwt_secret",
    }
    assert volume.content == {"jwt_secret": b"\xff\x00"}


def test_a_new_volume_is_an_empty_directory(tmp_path: Path) -> None:
    """Missing parent directories are created."""
    volume = MountedVolume(str(tmp_path / "run/secrets/hive"))

    assert volume.path == tmp_path / "run/secrets/hive"
    assert layout(volume) == {}
    assert volume.generation is None
    assert volume.content == {}


def test_an_absent_optional_secret_is_an_empty_volume(tmp_path: Path) -> None:
    """An empty volume has ``..data`` too, and publishing no files again changes nothing."""
    volume = MountedVolume(tmp_path / "volume")

    assert volume.publish({})
    generation = generation_of(volume)

    assert layout(volume) == {generation.name: None, "..data": generation.name}
    assert not volume.publish({})
    assert volume.generation == generation


def test_two_objects_can_write_one_volume(volume: MountedVolume) -> None:
    """The state is in the directory, not in the object."""
    other = MountedVolume(volume.path)

    assert not other.publish(OLD)
    assert other.publish(NEW)
    assert not volume.publish(NEW)


@needs_inotify
def test_the_steps_are_those_of_the_kubelet(volume: MountedVolume) -> None:
    """Everything is written before the one rename; links and the old directory come after it."""
    old = generation_of(volume)
    with events_of(volume.path) as told:
        volume.publish({"api_key": "fake-2", "jwt_secret": "fake-new"})
        events = told()
    new = generation_of(volume)

    assert events == [
        ("made", new.name),
        ("chmod", new.name),
        ("made", "..data_tmp"),
        ("moved from", "..data_tmp"),
        ("moved to", "..data"),
        ("made", "jwt_secret"),
        ("removed", "tls"),
        ("removed", old.name),
    ]


@needs_inotify
@pytest.mark.parametrize("mode", [0o644, 0o400])
def test_unchanged_content_causes_no_event(volume: MountedVolume, mode: int) -> None:
    """As for the kubelet, this holds with other permissions too."""
    before = layout(volume)
    with events_of(volume.path) as told, events_of(generation_of(volume)) as told_below:
        assert not volume.publish(dict(reversed(OLD.items())), mode=mode)
        assert told() == told_below() == []
    assert layout(volume) == before
    assert mode_of(volume.path / "api_key") == 0o644


def test_unchanged_content_can_be_a_new_generation(volume: MountedVolume) -> None:
    """A volume that is mounted again has the same content in another directory."""
    before = generation_of(volume)
    content = volume.content

    assert volume.publish(OLD, anew=True)

    assert generation_of(volume) != before
    assert volume.content == content


@pytest.mark.parametrize("change", [{"api_key": "fake-2"}, {"another": ""}])
def test_one_changed_key_is_a_change(volume: MountedVolume, change: dict[str, str]) -> None:
    """Another value and another key are new content."""
    assert volume.publish(OLD | change)
    assert volume.content == {name: value.encode() for name, value in (OLD | change).items()}


def test_the_umask_does_not_change_the_permissions(tmp_path: Path) -> None:
    """Files have the given mode, and everyone may list the directory."""
    volume = MountedVolume(tmp_path / "volume")
    before = os.umask(0o077)
    try:
        volume.publish({"a": "fake", "b": "fake"}, mode=0o640)
    finally:
        os.umask(before)

    assert mode_of(generation_of(volume)) == 0o755
    assert mode_of(volume.path / "a") == mode_of(volume.path / "b") == 0o640


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "a/../b", "..", "..data", "..x/y"])
def test_a_path_that_the_kubelet_rejects_raises(volume: MountedVolume, name: str) -> None:
    """Nothing is written if one path is invalid."""
    before = layout(volume)
    message = re.escape(repr(name))
    with pytest.raises(ValueError, match=message):
        volume.publish({"good": "fake", name: "fake"})
    with pytest.raises(ValueError, match=message), volume.links_first({name: "fake"}):
        pytest.fail("the block is not entered")
    with pytest.raises(ValueError, match=message), volume.late_permissions({name: "fake"}):
        pytest.fail("the block is not entered")

    assert layout(volume) == before


def test_two_dots_are_only_rejected_at_the_start_of_a_path(volume: MountedVolume) -> None:
    """Below a directory the kubelet accepts such names."""
    volume.publish({"./a//..b": "fake-1", "c..d": "fake-2"})

    assert volume.content == {"a/..b": b"fake-1", "c..d": b"fake-2"}


def test_a_slow_writer_pauses_between_files(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow writer shows nothing until it has finished."""
    seen = []

    def look(seconds: float) -> None:
        unfinished = [path for path in volume.path.glob("..2*") if path != volume.generation]
        assert len(unfinished) == 1
        seen.append((seconds, sorted(it.name for it in unfinished[0].iterdir()), volume.content))

    monkeypatch.setattr("time.sleep", look)
    before = volume.content
    assert volume.publish({"a": "fake", "b": "fake", "c": "fake"}, pause=0.25)

    assert seen == [(0.25, ["a"], before), (0.25, ["a", "b"], before)]
    assert set(volume.content) == {"a", "b", "c"}


def test_a_writer_sleeps_only_with_a_pause(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a pause it never sleeps."""
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it sleeps"))

    assert volume.publish(NEW)


def test_a_missing_link_is_created_again(volume: MountedVolume) -> None:
    """Kubernetes does so since 1.32 if the content is unchanged; nothing else is changed."""
    generation = generation_of(volume)
    volume.remove_link("tls")
    assert not (volume.path / "tls").exists()
    assert volume.content["tls/server.key"] == b"fake-key-1"
    with pytest.raises(FileNotFoundError):
        volume.remove_link("tls")

    assert volume.publish(OLD)

    assert (volume.path / "tls/server.key").read_text() == "fake-key-1"
    assert volume.generation == generation
    assert not volume.publish(OLD)


def test_a_missing_link_of_a_removed_key_is_ignored(volume: MountedVolume) -> None:
    """The link to be removed may not exist."""
    volume.remove_link("tls")

    assert volume.publish({"api_key": "fake-2"})
    assert "tls" not in layout(volume)


def test_links_first_creates_links_before_the_data(volume: MountedVolume) -> None:
    """Within the block the link of a new key has no target, and the old keys are unchanged."""
    old = generation_of(volume)
    with volume.links_first({"api_key": "fake-2", "jwt_secret": "fake-new"}, mode=0o600):
        assert (volume.path / "jwt_secret").is_symlink()
        assert not (volume.path / "jwt_secret").exists()
        assert (volume.path / "api_key").read_text() == "fake-1"
        assert (volume.path / "tls/server.key").read_text() == "fake-key-1"

    assert (volume.path / "jwt_secret").read_text() == "fake-new"
    assert mode_of(volume.path / "jwt_secret") == 0o600
    assert volume.content == {"api_key": b"fake-2", "jwt_secret": b"fake-new"}
    assert "tls" not in layout(volume)
    assert not old.exists()


@needs_inotify
def test_links_first_causes_the_event_of_the_link_first(volume: MountedVolume) -> None:
    """The rename of ``..data`` follows."""
    with events_of(volume.path) as told:
        with volume.links_first(OLD | {"jwt_secret": "fake-new"}):
            pass
        events = told()

    assert events.index(("made", "jwt_secret")) < events.index(("moved to", "..data"))


def test_data_can_be_removed_for_a_block(volume: MountedVolume) -> None:
    """Afterwards ``..data`` is as before."""
    before = layout(volume)
    with volume.without_data():
        assert "..data" not in layout(volume)
        assert volume.generation is None
        assert volume.content == {}
        assert not (volume.path / "api_key").exists()

    assert layout(volume) == before


def test_data_that_is_published_in_the_block_stays(volume: MountedVolume) -> None:
    """The end of the block does not undo it."""
    with volume.without_data():
        assert volume.publish(NEW)

    assert volume.content["api_key"] == b"fake-2"


def test_data_can_have_no_target_for_a_block(volume: MountedVolume) -> None:
    """Afterwards ``..data`` has its target again."""
    before = layout(volume)
    content = volume.content
    with volume.dangling_data():
        assert volume.data.is_symlink()
        assert not volume.data.exists()
        assert volume.generation == volume.path / str(before["..data"])
        assert volume.content == {}

    assert layout(volume) == before
    assert volume.content == content


@pytest.mark.parametrize("files", [NEW, OLD, {}])
def test_data_without_a_target_is_replaced_by_the_next_content(
    volume: MountedVolume, files: dict[str, str]
) -> None:
    """Any content is new content then."""
    with volume.dangling_data():
        assert volume.publish(files)

    assert set(volume.content) == set(files)


def test_data_of_an_empty_volume_cannot_be_removed(tmp_path: Path) -> None:
    """Something has to be published before."""
    volume = MountedVolume(tmp_path / "volume")
    with pytest.raises(FileNotFoundError), volume.without_data():
        pytest.fail("the block is not entered")
    with pytest.raises(FileNotFoundError), volume.dangling_data():
        pytest.fail("the block is not entered")


def test_permissions_of_files_can_be_set_late() -> None:
    """Within the block only root can read the new files; the old ones are removed."""
    with as_ordinary_user() as place:
        volume = MountedVolume(place / "volume")
        volume.publish(OLD)
        with volume.late_permissions(NEW, mode=0o640):
            with pytest.raises(PermissionError):
                (volume.path / "api_key").read_text()
            assert mode_of(generation_of(volume)) == 0o755

        assert volume.content["api_key"] == b"fake-2"
        assert mode_of(volume.path / "tls/server.key") == 0o640


def test_the_permissions_of_the_directory_can_be_set_late() -> None:
    """Within the block only root can list the directory."""
    with as_ordinary_user() as place:
        volume = MountedVolume(place / "volume")
        volume.publish(OLD)
        with volume.late_permissions(NEW, directory=True):
            with pytest.raises(PermissionError):
                list(volume.data.iterdir())
            with pytest.raises(PermissionError):
                (volume.path / "api_key").read_text()

        assert volume.content["api_key"] == b"fake-2"
        assert mode_of(generation_of(volume)) == 0o755


@pytest.mark.parametrize("directory", [False, True])
def test_late_permissions_may_be_too_late(*, directory: bool) -> None:
    """When there is new content before the permissions come, it is that which counts."""
    with as_ordinary_user() as place:
        volume = MountedVolume(place / "volume")
        with volume.late_permissions(OLD, directory=directory):
            closed = generation_of(volume)
            assert volume.publish({"jwt_secret": "fake-new"})

        assert layout(volume) == {
            generation_of(volume).name: None,
            "..data": generation_of(volume).name,
            "jwt_secret": "..data/jwt_secret",
        }
        assert not closed.exists()


def test_an_ordinary_user_replaces_unreadable_files() -> None:
    """What cannot be compared counts as changed."""
    with as_ordinary_user() as place:
        volume = MountedVolume(place / "volume")
        volume.publish(OLD, mode=0)

        assert volume.publish(OLD)
        assert volume.content["api_key"] == b"fake-1"


def test_threads_take_turns(volume: MountedVolume) -> None:
    """Writers in several threads leave one whole generation, and nothing beside it."""
    failed = []

    def write(letter: str) -> None:
        try:
            for number in range(50):
                volume.publish(dict.fromkeys("abc", f"fake-{letter}-{number}"))
                assert len(set(volume.content.values())) == 1
        except BaseException as exc:  # noqa: BLE001  (told to the test)
            failed.append(exc)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert set(layout(volume)) == {"..data", generation_of(volume).name, *"abc"}
