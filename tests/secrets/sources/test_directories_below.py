"""Subdirectories, which are searched for the names that a directory lacks."""

from collections.abc import Callable
from pathlib import Path

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.platform import PLATFORM_ENTRIES
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.fixtures.writers import PlainDirectory
from tests.support import FakeClock, as_ordinary_user, look, report_of, values_of


class Keys(SecretSet):
    """What the service needs."""

    api_key: Secret
    db_password: Secret | None
    tls_key: Secret | None = secret(file="tls/key.pem")


def load_named(root: Path, **more: object) -> LoadResult:
    """Load the secrets of the directory ``named``."""
    return look(Keys, root, {"HIVE_BOOT_SECRETS_DIR": str(root / "named")}, **more)  # type: ignore[arg-type]


def plain(directory: Path, **files: str) -> None:
    """Write files into a plain directory."""
    for name, value in files.items():
        PlainDirectory(directory).replace(name, value)


def volume(directory: Path, **files: str) -> None:
    """Publish files as the kubelet does."""
    MountedVolume(directory).publish(files)


def test_one_directory_per_secret(tmp_path: Path) -> None:
    """Plain directories, volumes and links to both, with any name, below any named directory."""
    machines = empty_machines(tmp_path)
    for write in (plain, volume):
        for first, second in (("db", "api"), ("db_password", "api_key"), ("azure", "tokens")):
            for linked in (False, True):
                with case(write, first, linked):
                    root = next(machines)
                    real = root / ("elsewhere" if linked else "named")
                    write(real / first, db_password="fake-db")
                    write(real / second, api_key="fake-api")
                    if linked:
                        (root / "named").mkdir()
                        (root / "named" / first).symlink_to(real / first)
                        (root / "named/another").symlink_to("../elsewhere/" + second)
                    loaded = load_named(root)
                    assert loaded.problems == (), report_of(loaded)
                    assert values_of(loaded) == {"db_password": "fake-db", "api_key": "fake-api"}
                    assert loaded.origin("db_password")[1] == f"{root}/named/{first}/db_password"


def test_names_of_the_directory_itself_are_not_searched_below(tmp_path: Path) -> None:
    """A backup in a subdirectory is no conflict; only a name that is lacking is searched."""
    plain(tmp_path / "named", api_key="fake-new")
    plain(tmp_path / "named/backup", api_key="fake-old", db_password="fake-db")
    loaded = load_named(tmp_path)
    assert loaded.problems == ()
    assert values_of(loaded) == {"api_key": "fake-new", "db_password": "fake-db"}
    plain(tmp_path / "named", db_password="fake-new-db")
    assert values_of(load_named(tmp_path))["db_password"] == "fake-new-db"
    plain(tmp_path / "named", api_key="")
    assert values_of(load_named(tmp_path))["api_key"] == "fake-old"


def test_an_older_name_in_a_subdirectory(tmp_path: Path) -> None:
    """It counts only if the directory has the secret under none of its names."""

    class Renamed(SecretSet):
        """A secret with an older name."""

        api_key: Secret = secret(aliases="OLD_KEY")

    plain(tmp_path / "named/below", api_key="fake-1", old_key="fake-1")
    loaded = look(Renamed, tmp_path, secrets_dirs=tmp_path / "named")
    assert values_of(loaded) == {"api_key": "fake-1"}
    for name in ("old_key", "api_key"):
        plain(tmp_path / "named", **{name: "fake-2"})
        loaded = look(Renamed, tmp_path, secrets_dirs=tmp_path / "named")
        assert (loaded.problems, values_of(loaded)) == ((), {"api_key": "fake-2"})
        (tmp_path / "named" / name).unlink()


def test_a_name_in_two_subdirectories(tmp_path: Path) -> None:
    """Equal values are one value; different values are a conflict that names both files."""
    plain(tmp_path / "named/a", api_key="fake-1")
    volume(tmp_path / "named/b", API_KEY="fake-1")
    assert values_of(load_named(tmp_path)) == {"api_key": "fake-1"}
    volume(tmp_path / "named/b", API_KEY="fake-2")
    loaded = load_named(tmp_path)
    (problem,) = loaded.problems
    assert problem.kind == "conflict"
    assert problem.places == (f"{tmp_path}/named/a/api_key", f"{tmp_path}/named/b/API_KEY")
    assert {value.reveal() for value in loaded.unused_values} == {"fake-1", "fake-2"}


def test_hidden_and_deeper_directories_are_not_searched(tmp_path: Path) -> None:
    """A name with a leading dot, and a directory two levels below, are left alone."""
    plain(tmp_path / "named/.git", api_key="fake-1")
    plain(tmp_path / "named/.old", api_key="fake-2")
    plain(tmp_path / "named/a/b", api_key="fake-3")
    (tmp_path / "named/loop").symlink_to("loop")
    (tmp_path / "named/dangling").symlink_to("nowhere")
    (tmp_path / "named/itself").symlink_to(".")
    assert [each.kind for each in load_named(tmp_path).problems] == ["missing"]


def test_a_nested_file_below_a_subdirectory(tmp_path: Path) -> None:
    """``file="tls/key.pem"`` is found in a volume below a named directory."""
    plain(tmp_path / "named/app", api_key="fake-api", **{"tls/key.pem": "fake-tls"})
    assert values_of(load_named(tmp_path)) == {"api_key": "fake-api", "tls_key": "fake-tls"}


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    """An empty directory that is called like a secret is what Docker makes of a missing file."""
    plain(tmp_path / "named", api_key="fake-api")
    (tmp_path / "named/db_password").mkdir()
    (problem,) = load_named(tmp_path).problems
    assert (problem.name, problem.kind) == ("DB_PASSWORD", "not-a-file")


def test_entries_of_the_platform(tmp_path: Path) -> None:
    """In /run/secrets they count if they hold a declared name, and are not mentioned otherwise."""
    machines = empty_machines(tmp_path)

    class Named(SecretSet):
        """Secrets that are called like entries of platforms."""

        azure: Secret | None
        tokens: Secret | None
        api_key: Secret

    for write in (plain, volume):
        for name in sorted(PLATFORM_ENTRIES):
            with case(write, name):
                root = next(machines)
                (root / "run/secrets").mkdir(parents=True)
                plain(root / "run/secrets/azure/tokens", **{"azure-identity-token": "x"})
                plain(root / "run/secrets/app", api_key="fake-api")
                loaded = look(Named, root)
                assert (loaded.problems, values_of(loaded)) == ((), {"api_key": "fake-api"})
                (root / "run/secrets/app/api_key").rename(root / "api_key")
                loaded = look(Named, root, mode="docker")
                assert [each.kind for each in loaded.problems] == ["missing"]
                assert "azure" not in report_of(loaded)
                write(root / "run/secrets" / name, api_key="fake-api")
                assert values_of(look(Named, root, mode="docker")) == {"api_key": "fake-api"}
    root = next(machines)
    plain(root / "run/secrets", azure="fake-azure", api_key="fake-api")
    expected = {"azure": "fake-azure", "api_key": "fake-api"}
    assert values_of(look(Named, root)) == expected


def test_a_subdirectory_that_cannot_be_read() -> None:
    """It is mentioned only with a required secret that is missing, and nobody waits for it."""
    with as_ordinary_user() as root:
        plain(root / "named", other="x")
        for name in ("lost+found", "db_password", "volume"):
            (root / "named" / name).mkdir()
        plain(root / "named/app", api_key="fake-api")
        for name in ("lost+found", "db_password", "volume"):
            (root / "named" / name).chmod(0)
        clock = FakeClock()
        clock.now += 60
        loaded = load_named(root, policy=clock.policy())
        assert (loaded.problems, values_of(loaded)) == ((), {"api_key": "fake-api"})
        assert (loaded.hints, loaded.warnings, loaded.notes) == ((), (), ())
        assert clock.slept == []
        (root / "named/app/api_key").unlink()
        loaded = load_named(root, policy=clock.policy())
        assert [each.kind for each in loaded.problems] == ["missing"]
        (hint,) = loaded.hints
        assert hint.kind == "subdirectories"
        assert hint.locations == tuple(
            f"{root}/named/{name}" for name in ("db_password", "lost+found", "volume")
        )
        for name in ("lost+found", "db_password", "volume"):
            (root / "named" / name).chmod(0o700)


def test_a_volume_below_a_named_directory_that_lost_its_data(tmp_path: Path) -> None:
    """A dangling ``..data`` is waited for, and is then a problem, also without a missing secret."""
    plain(tmp_path / "named", api_key="fake-api")
    volume(tmp_path / "named/db", db_password="fake-db")
    (tmp_path / "named/db/..data").unlink()
    clock = FakeClock()
    (problem,) = load_named(tmp_path, policy=clock.policy()).problems
    assert (problem.name, problem.kind) == (f"{tmp_path}/named/db", "directory")
    assert 2 <= sum(clock.slept) < 3


def test_many_subdirectories_wait_together(tmp_path: Path) -> None:
    """Fresh files in a hundred directories cost one pause, and a writer in one of them two."""
    for number in range(100):
        plain(tmp_path / f"named/{number:04}", unrelated="x")
    plain(tmp_path / "named/0050", api_key="fake-1")
    plain(tmp_path / "named/0060", db_password="fake-1")
    clock = FakeClock()
    clock.steps = [lambda: plain(tmp_path / "named/0060", db_password="fake-2")]
    loaded = load_named(tmp_path, policy=clock.policy())
    assert values_of(loaded) == {"api_key": "fake-1", "db_password": "fake-2"}
    assert clock.slept == [0.3, 0.3]

    later = MountedVolume(tmp_path / "named/later")
    (later.path / "..2026_01_01_00_00_00.1").mkdir()
    clock = FakeClock()
    clock.steps = [lambda: later.publish({"tls/key.pem": "fake-tls"})]
    assert values_of(load_named(tmp_path, policy=clock.policy()))["tls_key"] == "fake-tls"
    assert clock.slept == [0.3]


def test_a_thousand_subdirectories_are_searched(tmp_path: Path) -> None:
    """The next one is not, and the report says so in few words."""
    for number in range(1000):
        (tmp_path / f"named/{number:04}").mkdir(parents=True)
    assert load_named(tmp_path).hints == ()
    plain(tmp_path / "named/0999", db_password="fake-db")
    plain(tmp_path / "named/1000", api_key="fake-api")
    loaded = load_named(tmp_path)
    assert values_of(loaded) == {"db_password": "fake-db"}
    (problem,) = loaded.problems
    assert problem.places == (
        f"{tmp_path}/named/api_key (or API_KEY, api-key, each also with .txt)",
        f"{tmp_path}/named/*/api_key (or API_KEY, api-key, each also with .txt)",
    )
    (hint,) = loaded.hints
    assert (hint.kind, hint.locations) == ("subdirectories", (f"{tmp_path}/named",))


def test_a_similar_name_in_a_subdirectory_is_shown(tmp_path: Path) -> None:
    """A misspelt file in a subdirectory is named."""
    plain(tmp_path / "named/app", APIKEY="fake-api")
    (problem,) = load_named(tmp_path).problems
    assert f"{tmp_path}/named/app/APIKEY" in problem.details[0]


# Directories that can be entered but not listed.


def test_a_directory_that_cannot_be_listed_is_read() -> None:
    """The declared names are opened; whatever else is there stays unknown."""
    with as_ordinary_user() as root:
        named = root / "named"
        for write in (plain, volume):
            with case(write):
                named = root / f"named-{write.__name__}"
                write(named, API_KEY="fake-api", DBPASSWORD="fake-db")
                closed = [named, *(path for path in named.glob("..2*"))]
                for path in closed:
                    path.chmod(0o311)
                loaded = look(Keys, root, {"HIVE_BOOT_SECRETS_DIR": str(named)})
                assert loaded.problems == ()
                assert values_of(loaded) == {"api_key": "fake-api"}
                assert set(loaded.snapshots[0].names) == {"API_KEY"}
                for path in closed:
                    path.chmod(0o711)
                unlink_all(named)
                for path in [named, *named.glob("..2*")]:
                    path.chmod(0o311)
                loaded = look(Keys, root, {"HIVE_BOOT_SECRETS_DIR": str(named)})
                (problem,) = loaded.problems
                assert (problem.kind, problem.details) == ("missing", ())
                for path in [named, *named.glob("..2*")]:
                    path.chmod(0o700)


def test_subdirectories_that_cannot_be_listed_are_read() -> None:
    """One directory per secret, each of which may only be entered, also if it has the name."""
    with as_ordinary_user() as root:
        for name in ("api_key", "other"):
            plain(root / "named" / name, api_key="fake-api")
            (root / "named" / name).chmod(0o311)
        assert values_of(load_named(root)) == {"api_key": "fake-api"}
        for name in ("api_key", "other"):
            (root / "named" / name).chmod(0o711)


def unlink_all(directory: Path) -> None:
    """Remove the file of the API key, in a volume too."""
    for path in directory.rglob("API_KEY"):
        path.unlink()


def test_what_is_in_a_directory_that_cannot_be_listed() -> None:
    """Each declared name has the same problems as in a directory that can be listed."""
    with as_ordinary_user() as root:
        named = root / "named"

        def in_named(act: Callable[[Path], object]) -> list[tuple[str, str]]:
            named.mkdir(exist_ok=True)
            act(named)
            named.chmod(0o111)
            try:
                loaded = load_named(root, policy=FakeClock().policy())
            finally:
                named.chmod(0o700)
            assert "fake-" not in report_of(loaded)
            return [(each.name, each.kind) for each in loaded.problems]

        plain(named, api_key="fake-api")
        for act, problems in (
            (lambda _: None, []),
            (lambda path: (path / "db_password").mkdir(), [("DB_PASSWORD", "not-a-file")]),
            (lambda path: (path / "db_password").rmdir(), []),
            (lambda path: plain(path, **{"tls/key.pem": "fake-tls"}), []),
            (lambda path: plain(path, API_KEY="fake-other"), [("API_KEY", "conflict")]),
            (lambda path: (path / "API_KEY").unlink(), []),
            (lambda path: (path / "api_key").chmod(0), [("API_KEY", "unreadable")]),
            (lambda path: (path / "api_key").unlink(), [("API_KEY", "missing")]),
        ):
            assert in_named(act) == problems
        named.chmod(0)
        assert [each.kind for each in load_named(root, policy=FakeClock().policy()).problems] == [
            "unreadable",
            "missing",
        ]
        named.chmod(0o700)


def test_a_json_file_with_a_member_selects_docker_mode() -> None:
    """A /run/secrets that cannot be listed is ours if the file of a declared member is there."""

    class Members(SecretSet):
        """A member of a JSON file."""

        password: Secret = secret(file="rds.json#password")

    with as_ordinary_user() as root:
        plain(root / "run/secrets", other="x")
        for mode in ("development", "docker"):
            (root / "run/secrets").chmod(0o311)
            loaded = look(Members, root)
            (root / "run/secrets").chmod(0o700)
            assert loaded.source_context.mode == mode
            plain(root / "run/secrets", **{"rds.json": '{"password": "fake-password"}'})
        assert values_of(loaded) == {"password": "fake-password"}
