"""Losses of sources during a run, and the retries of a reload."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot import Secret, SecretSet, secret
from hive_boot.runtime.reload import RETRYABLE_KINDS, Rejection
from hive_boot.secrets.load_result import LoadResult, find_lost_sources
from hive_boot.secrets.loader import load
from hive_boot.testing import MountedVolume
from tests.fixtures.writers import PlainDirectory
from tests.support import SETTLED, as_ordinary_user, look, situate, values_of

if TYPE_CHECKING:
    from hive_boot.exceptions import ProblemKind


class Service(SecretSet):
    """Two optional secrets, so that only a loss can be a problem."""

    api_key: Secret | None = secret(used_by="billing")
    token: Secret | None


BRISK = SETTLED.replace(missing_timeout=0.0)
"""Policy without a wait for missing files."""

FILES = {"api_key": "fake-api-key", "token": "fake-token"}


class Place:
    """A location of secrets, and the result that was accepted from it."""

    def __init__(
        self,
        root: Path,
        *directories: Path,
        mode: str = "kubernetes",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.source_context = situate(
            root,
            variables,
            mode=mode,
            secrets_dirs=directories or None,
            env_fallback=variables is not None,
        )
        self.before = self.load()
        assert self.before.problems == ()

    def load(self) -> LoadResult:
        """Return the result of a load."""
        return load(Service._field_index, self.source_context, policy=BRISK)

    def lost(self) -> list[tuple[str, str]]:
        """Return path and kind of each loss since then."""
        found = self.load()
        problems = find_lost_sources(found, self.before)
        assert not {each.name for each in problems} & {each.name for each in found.problems}
        return [(each.name, each.kind) for each in [*found.problems, *problems]]


def volume_at(path: Path) -> MountedVolume:
    """Return a volume with the secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = MountedVolume(path)
    volume.publish(FILES)
    return volume


def directory_at(path: Path) -> PlainDirectory:
    """Return a plain directory with the secrets."""
    directory = PlainDirectory(path)
    for name, value in FILES.items():
        directory.replace(name, value)
    return directory


def test_unchanged_changed_and_removed_keys_are_not_losses(tmp_path: Path) -> None:
    """A volume with one key less has not lost its secrets."""
    volume = volume_at(tmp_path / "volume")
    place = Place(tmp_path, volume.path)
    assert place.lost() == []
    volume.publish({"api_key": "fake-api-key-2"})
    assert place.lost() == []
    volume.publish({"unknown": "fake"})
    assert place.lost() == []


def test_a_removed_directory_is_a_loss(tmp_path: Path) -> None:
    """It is a failure of the mount, not the removal of its secrets."""
    makers: list[Callable[[Path], object]] = [volume_at, directory_at]
    for number, make in enumerate(makers):
        path = tmp_path / f"secrets-{number}"
        make(path)
        place = Place(tmp_path, path)
        shutil.rmtree(path)
        assert place.lost() == [(str(path), "directory")]
        make(path)
        assert place.lost() == []


def test_an_empty_volume_is_a_loss(tmp_path: Path) -> None:
    """A volume without keys is never interpreted as the removal of all secrets."""
    volume = volume_at(tmp_path / "volume")
    place = Place(tmp_path, volume.path)
    volume.publish({})
    assert place.lost() == [(str(volume.path), "empty")]
    volume.publish(FILES)
    assert place.lost() == []


def test_an_empty_plain_directory_is_a_loss(tmp_path: Path) -> None:
    """An unmounted directory is empty."""
    directory = directory_at(tmp_path / "directory")
    place = Place(tmp_path, directory.path)
    directory.remove("api_key")
    assert place.lost() == []
    directory.remove("token")
    assert place.lost() == [(str(directory.path), "empty")]


def test_a_directory_without_secrets_may_become_empty(tmp_path: Path) -> None:
    """A directory that provided no secret is not required."""
    volume, other = volume_at(tmp_path / "volume"), MountedVolume(tmp_path / "other")
    other.publish({"unknown": "fake"})
    place = Place(tmp_path, volume.path, other.path)
    other.publish({})
    assert place.lost() == []


def test_a_volume_without_its_data_link_is_a_loss(tmp_path: Path) -> None:
    """Without `..data` its secrets are lost, whatever else it contains."""
    volume = volume_at(tmp_path / "volume")
    place = Place(tmp_path, volume.path)
    with volume.without_data():
        assert place.lost() == [(str(volume.path), "directory")]
    with volume.dangling_data():
        assert place.lost() == [(str(volume.path), "directory")]
    assert place.lost() == []


def test_a_directory_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """The problem is the missing permission, reported once."""
    with as_ordinary_user() as home:
        volume = volume_at(home / "volume")
        place = Place(tmp_path, volume.path)
        volume.path.chmod(0)
        assert place.lost() == [(str(volume.path), "unreadable")]
        volume.path.chmod(0o755)
        assert place.lost() == []


def test_a_removed_default_directory_is_a_loss(tmp_path: Path) -> None:
    """``/run/secrets`` may be absent at a start, but not after it has provided secrets."""
    usual = tmp_path / "run" / "secrets"
    directory_at(usual)
    place = Place(tmp_path, mode="docker")
    shutil.rmtree(usual)
    assert place.lost() == [(str(usual), "directory")]


def test_entries_of_the_platform_do_not_fill_a_directory(tmp_path: Path) -> None:
    """What a platform creates below ``/run/secrets`` does not replace lost secrets."""
    usual = tmp_path / "run" / "secrets"
    directory = directory_at(usual)
    (usual / "kubernetes.io").mkdir()
    place = Place(tmp_path, mode="docker")
    for name in FILES:
        directory.remove(name)
    assert place.lost() == [(str(usual), "empty")]


def gone(volume: MountedVolume) -> AbstractContextManager[None]:
    """Unmount a volume, and remove the directory."""
    shutil.rmtree(volume.path)
    return nullcontext()


def unmounted(volume: MountedVolume) -> AbstractContextManager[None]:
    """Unmount a volume; an empty directory stays."""
    shutil.rmtree(volume.path)
    volume.path.mkdir()
    return nullcontext()


def emptied(volume: MountedVolume) -> AbstractContextManager[None]:
    """Publish an empty volume."""
    volume.publish({})
    return nullcontext()


SPOILS = [gone, unmounted, emptied]
"""Ways in which a volume loses its secrets."""


def test_a_removed_volume_below_the_default_directory_is_a_loss(tmp_path: Path) -> None:
    """It is required like one that is named."""
    cases: list[tuple[Callable[[MountedVolume], AbstractContextManager[None]], str]] = [
        (gone, "directory"),
        (unmounted, "empty"),
        (emptied, "empty"),
        (MountedVolume.dangling_data, "directory"),
        (MountedVolume.without_data, "directory"),
    ]
    for number, (spoil, kind) in enumerate(cases):
        root = tmp_path / str(number)
        volume = volume_at(root / "run" / "secrets" / "app")
        place = Place(root)
        with spoil(volume):
            assert place.lost() == [(str(volume.path), kind)], spoil


def test_only_the_lost_one_of_two_volumes_is_named(tmp_path: Path) -> None:
    """The other volume is not a problem."""
    usual = tmp_path / "run" / "secrets"
    one, two = MountedVolume(usual_made(usual) / "one"), MountedVolume(usual / "two")
    one.publish({"api_key": "fake-api-key"})
    two.publish({"token": "fake-token"})
    place = Place(tmp_path)
    shutil.rmtree(two.path)
    assert place.lost() == [(str(two.path), "directory")]
    shutil.rmtree(one.path)
    assert place.lost() == [(str(one.path), "directory"), (str(two.path), "directory")]
    shutil.rmtree(usual)
    assert place.lost() == [(str(one.path), "directory"), (str(two.path), "directory")]


VARIABLES = {"API_KEY": "fake-variable", "TOKEN": "fake-variable"}


def test_a_key_that_moved_to_another_volume_is_not_a_loss(tmp_path: Path) -> None:
    """Its secret is read from the other volume."""
    for number, (spoil, variables) in enumerate(product(SPOILS, (None, VARIABLES))):
        root = tmp_path / str(number)
        usual = usual_made(root / "run/secrets")
        one, two = MountedVolume(usual / "one"), MountedVolume(usual / "two")
        one.publish({"api_key": "fake-api-key"})
        two.publish({"token": "fake-token"})
        place = Place(root, variables=variables)
        two.publish(FILES)
        spoil(one)
        assert place.lost() == [], (spoil, variables)
        assert place.load().origin("api_key") == ("file", str(two.path / "api_key"))


def test_a_named_volume_whose_keys_moved_may_be_empty(tmp_path: Path) -> None:
    """A volume that is named must exist, but may be empty."""
    for number, variables in enumerate((None, VARIABLES)):
        root = tmp_path / str(number)
        root.mkdir()
        one, two = volume_at(root / "one"), MountedVolume(root / "two")
        place = Place(root, one.path, two.path, variables=variables)
        two.publish(FILES)
        one.publish({})
        assert place.lost() == []
        shutil.rmtree(one.path)
        assert place.lost() == [(str(one.path), "directory")]


def test_a_key_of_several_that_did_not_move_is_a_loss(tmp_path: Path) -> None:
    """A volume is lost if one of its secrets is found nowhere else."""
    one, two = volume_at(tmp_path / "one"), MountedVolume(tmp_path / "two")
    place = Place(tmp_path, one.path, two.path)
    two.publish({"api_key": "fake-api-key"})
    one.publish({})
    assert place.lost() == [(str(one.path), "empty")]


def test_a_variable_does_not_replace_a_volume(tmp_path: Path) -> None:
    """A variable may have an old value, so a removed volume is a loss, also with `env_fallback`."""
    for number, spoil in enumerate(SPOILS):
        root = tmp_path / str(number)
        volume = volume_at(usual_made(root / "run/secrets") / "one")
        place = Place(root, variables=VARIABLES)
        spoil(volume)
        assert values_of(place.load()) == {"api_key": "fake-variable", "token": "fake-variable"}
        assert [name for name, _ in place.lost()] == [str(volume.path)], spoil


def usual_made(path: Path) -> Path:
    """Create the directory in which volumes are mounted."""
    path.mkdir(parents=True)
    return path


def test_a_variable_does_not_replace_a_file(tmp_path: Path) -> None:
    """With `env_fallback` a file that is truncated or removed does not bring back its variable."""
    directory = directory_at(tmp_path / "named")
    place = Place(tmp_path, directory.path, mode="docker", variables={"API_KEY": "fake-stale"})
    directory.replace("api_key", "")
    assert place.lost() == [("API_KEY", "missing")]
    directory.remove("api_key")
    assert place.lost() == [("API_KEY", "missing")]
    directory.replace("api_key", "fake-new")
    assert place.lost() == []


def test_a_removed_dotenv_file_is_a_loss(tmp_path: Path) -> None:
    """An editor may move a ``.env`` away for a moment."""
    home = tmp_path / "cwd"
    home.mkdir(exist_ok=True)
    for name in (".env", ".env.local"):
        file = home / name
        file.write_text("API_KEY=fake-api-key\n")
        place = Place(tmp_path, mode="development")
        assert place.lost() == []
        file.write_text("TOKEN=fake-token\n")
        assert place.lost() == []
        file.unlink()
        assert place.lost() == [(str(file), "missing")]


def test_a_removed_dotenv_file_with_name_file_is_a_loss(tmp_path: Path) -> None:
    """A ``.env`` that named the file of a secret is required too."""
    home = tmp_path / "cwd"
    home.mkdir(exist_ok=True)
    (tmp_path / "key").write_text("fake-api-key")
    file = home / ".env"
    file.write_text(f"API_KEY_FILE={tmp_path / 'key'}\n")
    place = Place(tmp_path, mode="development")
    file.unlink()
    assert place.lost() == [(str(file), "missing")]


def test_a_dotenv_file_that_provided_no_value_may_be_removed(tmp_path: Path) -> None:
    """All its values were overridden by a stronger source."""
    home = tmp_path / "cwd"
    home.mkdir(exist_ok=True)
    (home / ".env").write_text("API_KEY=fake-weaker\n")
    (home / ".env.local").write_text("API_KEY=fake-stronger\n")
    place = Place(tmp_path, mode="development")
    (home / ".env").unlink()
    assert place.lost() == []


def test_variables_cannot_be_lost(tmp_path: Path) -> None:
    """The environment of a process cannot disappear."""
    environ = {"HIVE_BOOT_MODE": "environment", "API_KEY": "fake-api-key"}
    before = look(Service, tmp_path, environ)
    assert (
        find_lost_sources(look(Service, tmp_path, {"HIVE_BOOT_MODE": "environment"}), before) == []
    )


def test_the_log_of_a_loss_names_the_location_and_no_value(tmp_path: Path) -> None:
    """The log names the location that contained secrets in use."""
    volume = volume_at(tmp_path / "volume")
    place = Place(tmp_path, volume.path)
    volume.publish({})
    (problem,) = find_lost_sources(place.load(), place.before)
    assert (problem.name, problem.kind) == (str(volume.path), "empty")
    assert "fake" not in repr(problem)


def test_a_rejection_has_the_names_and_kinds_of_its_problems() -> None:
    """The status shows why a set was refused, without values."""
    rejection = Rejection((("API_KEY", "length"), ("/run/x", "empty")))
    for datum in ("candidate", "API_KEY length", "/run/x empty"):
        assert datum in str(rejection)


def test_a_rejection_has_each_reason_once() -> None:
    """Two problems of one kind in one value are one reason; two kinds are two."""
    kinds = ("pattern", "length", "pattern")
    rejection = Rejection(tuple(("API_KEY", kind) for kind in kinds))
    assert str(rejection).endswith(": API_KEY pattern, API_KEY length")


def test_only_problems_that_may_end_by_themselves_are_retried() -> None:
    """A problem that only another value can fix waits for a change."""
    written: set[ProblemKind] = {"length", "pattern", "empty", "missing", "not-utf-8"}
    passing: set[ProblemKind] = {"directory", "unreadable", "unstable", "check", "broken-link"}
    passing.add("conflict")  # two mounts are updated at different times
    assert not RETRYABLE_KINDS & written
    assert passing <= RETRYABLE_KINDS
