"""What a load makes of `.env` files: references, unreadable lines and unreadable files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.fields import FieldIndex, undeclared_field
from hive_boot.secrets.load_result import LoadResult, find_lost_sources
from hive_boot.secrets.loader import load
from tests.fixtures.cases import case, empty_machines
from tests.support import SETTLED, as_ordinary_user, look, report_of, situate, values_of

FAKE = "fake-jwt-secret-0123456789"


class Three(SecretSet):
    """A secret that is required, one that may be absent, and one with a default."""

    jwt_secret: Secret
    sentry_dsn: Secret | None
    cookie_key: Secret = secret(dev_default="dev-only-cookie-key")


class Two(SecretSet):
    """A text, and bytes."""

    jwt_secret: Secret | None
    raw_key: SecretBytes | None


def write(root: Path, text: str, name: str = ".env") -> None:
    """Write a file in the working directory of a simulated machine."""
    (root / "cwd" / name).write_text(text)


def problems(loaded: LoadResult) -> list[tuple[str, str]]:
    """Return name and kind of each problem; the report contains no value."""
    assert "fake" not in report_of(loaded)
    return [(Path(each.name).name, each.kind) for each in loaded.problems]


def warnings(loaded: LoadResult) -> list[tuple[str, tuple[str, ...], str]]:
    """Return kind, names and file of each warning."""
    assert all(warning_text(each) for each in loaded.warnings)
    return [(each.kind, each.names, Path(each.location).name) for each in loaded.warnings]


def test_references(tmp_path: Path) -> None:
    """A secret may refer to the environment, to `.env.local` and to earlier lines."""
    write(tmp_path, "USER=local\nPASSWORD=fake%23", ".env.local")
    write(tmp_path, "USER=env\nHOST=db\nJWT_SECRET=${USER}:${PASSWORD}@${HOST}:${PORT}")
    loaded = look(Two, tmp_path, {"PORT": "5432"})
    assert values_of(loaded) == {"jwt_secret": "local:fake%23@db:5432"}
    assert loaded.origin("jwt_secret") == (".env", f"{tmp_path}/cwd/.env")


def test_the_stronger_file_does_not_see_the_weaker_one(tmp_path: Path) -> None:
    """`.env.local` can be read without `.env`, so it refers to nothing in it."""
    write(tmp_path, "JWT_SECRET=${HOST}", ".env.local")
    write(tmp_path, "HOST=db")
    loaded = look(Two, tmp_path)
    assert problems(loaded) == [("JWT_SECRET", "dotenv")]
    assert loaded.problems[0].places == (f"{tmp_path}/cwd/.env.local",)


def test_a_problem_of_the_stronger_file_is_not_replaced_by_the_weaker_one(tmp_path: Path) -> None:
    """A value of `.env` does not stand in for one of `.env.local` that cannot be read."""
    write(tmp_path, "HOST=${fake}", ".env.local")
    write(tmp_path, "HOST=db\nJWT_SECRET=${HOST}")
    assert problems(look(Two, tmp_path)) == [("JWT_SECRET", "dotenv")]


def test_a_reference_to_nothing_is_a_problem_of_a_declared_name_only(tmp_path: Path) -> None:
    """A variable of another program is not judged; a secret of a stronger source is not read."""
    machines = empty_machines(tmp_path)
    cases: list[tuple[str, Mapping[str, str], list[tuple[str, str]]]] = [
        ("OTHER=${fake}\nJWT_SECRET=x", {}, []),
        ("JWT_SECRET=${fake}", {"JWT_SECRET": FAKE}, []),
        ("JWT_SECRET=${fake}", {"JWT_SECRET": ""}, [("JWT_SECRET", "dotenv")]),
        ("RAW_KEY=${fake}", {}, [("RAW_KEY", "dotenv")]),
        ("JWT_SECRET_FILE=${fake}/key", {}, [("JWT_SECRET", "dotenv")]),
        (
            "JWT_SECRET=${fake}\nJWT_SECRET_FILE=/dev/null",
            {},
            [("JWT_SECRET", "dotenv"), ("JWT_SECRET", "not-a-file")],
        ),
        ("JWT_SECRET='${fake}'", {}, []),
    ]
    for text, environ, expected in cases:
        with case(text, environ):
            root = next(machines)
            write(root, text)
            assert problems(look(Two, root, environ)) == expected


def test_a_file_variable_may_contain_a_reference(tmp_path: Path) -> None:
    """`NAME_FILE` is a variable like any other."""
    (tmp_path / "key").write_text(FAKE)
    write(tmp_path, "JWT_SECRET_FILE=${PLACE}/key")
    assert values_of(look(Two, tmp_path, {"PLACE": str(tmp_path)})) == {"jwt_secret": FAKE}


def test_bytes_of_the_environment(tmp_path: Path) -> None:
    """A reference to a variable that is not UTF-8 keeps its bytes; a refused one is hidden."""
    write(tmp_path, "RAW_KEY=<${RAW}>\nJWT_SECRET=<${RAW}>")
    loaded = look(Two, tmp_path, {"RAW": "fake-\udcff"})
    assert values_of(loaded) == {"raw_key": b"<fake-\xff>"}
    assert problems(loaded) == [("JWT_SECRET", "not-utf-8")]
    assert [value.reveal() for value in loaded.unused_values] == ["<fake-\udcff>"]


def test_lines(tmp_path: Path) -> None:
    """Lines that concern nothing are warnings; a secret that one may hide is reported once."""
    write(tmp_path, "--- keys ---\nJWT_SECRET: fake\nA=1\nA=2\nSENTRY_DSN=x\nSENTRY_DSN=y")
    loaded = look(Three, tmp_path, profile="production")
    assert problems(loaded) == [(".env:2", "dotenv"), ("COOKIE_KEY", "missing")]
    assert warnings(loaded) == [
        ("dotenv-line", (), ".env:1"),
        ("dotenv-repeated", (), ".env:4"),
        ("dotenv-repeated", ("SENTRY_DSN",), ".env:6"),
    ]


def test_a_line_with_an_older_name(tmp_path: Path) -> None:
    """A line that may concern an alias is the one problem of its secret."""

    class Renamed(SecretSet):
        """A required secret that had another name."""

        jwt_secret: Secret = secret(aliases=("OLD_SECRET",))

    write(tmp_path, "OLD_SECRET: fake")
    assert problems(look(Renamed, tmp_path)) == [(".env:1", "dotenv")]


def test_lines_are_judged_by_what_stronger_sources_provide(tmp_path: Path) -> None:
    """What the environment or `.env.local` has cannot be hidden in `.env`, but the reverse can."""
    machines = empty_machines(tmp_path)
    bad, good = "JWT_SECRET='fake\n", f"JWT_SECRET={FAKE}\n"
    cases: list[tuple[str, str, Mapping[str, str], list[tuple[str, str]]]] = [
        (bad, bad, {"JWT_SECRET": FAKE}, []),
        (bad, bad, {"JWT_SECRET_FILE": "{root}/key"}, []),
        (good, bad, {}, []),
        (bad, good, {}, [(".env.local:1", "dotenv")]),
    ]
    for local, text, environ, expected in cases:
        with case(local, text, environ):
            root = next(machines)
            (root / "key").write_text(FAKE)
            write(root, local, ".env.local")
            write(root, text)
            given = {name: value.format(root=root) for name, value in environ.items()}
            assert problems(look(Two, root, given)) == expected


def test_a_file_of_unreadable_lines_does_not_fill_the_log(tmp_path: Path) -> None:
    """The first lines are named."""
    write(tmp_path, "some prose\nA=1\n" * 1000)
    kinds = [each.kind for each in look(Two, tmp_path).warnings]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "dotenv-line": 10,
        "dotenv-repeated": 10,
    }


NO_FILES: dict[str, Callable[[Path], Any]] = {
    "a directory": Path.mkdir,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a loop of links": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/null"),
}
"""What contains no secret, but stands in the place of a file."""

UTF_16 = "JWT_SECRET=fake".encode("utf-16")

UNREADABLE: dict[str, Callable[[Path], Any]] = {
    "without permission": lambda path: path.touch(0o000),
    "not UTF-8": lambda path: path.write_bytes(b"JWT_SECRET=fake\xff"),
    "UTF-16": lambda path: path.write_bytes(UTF_16),
    "with NUL": lambda path: path.write_bytes(b"JWT_SECRET=fake\0"),
}
"""Files that may contain a secret."""


@pytest.mark.parametrize("name", [".env", ".env.local"])
def test_a_dotenv_that_cannot_be_read(name: str) -> None:
    """It is one problem for all secrets that it may contain, and a warning if there are none."""
    with as_ordinary_user() as place:
        machines = empty_machines(place)
        for make in (*NO_FILES, *UNREADABLE):
            with case(make):
                root = next(machines)
                path = root / "cwd" / name
                (NO_FILES | UNREADABLE)[make](path)

                loaded = look(Three, root, profile="production")
                (problem,) = loaded.problems
                assert problem.name == str(path)
                assert problem.details == ("Nothing else provides JWT_SECRET, COOKIE_KEY.",)
                assert warnings(loaded) == []
                assert "fake" not in report_of(loaded)

                loaded = look(Three, root, {"JWT_SECRET": FAKE, "COOKIE_KEY": FAKE})
                assert problems(loaded) == []
                assert len(values_of(loaded)) == 2
                assert warnings(loaded) == [("dotenv-unread", (), name)]


def test_a_caller_without_a_declaration() -> None:
    """A single name is not absent if it may be in a file that cannot be read."""
    with as_ordinary_user() as place:
        machines = empty_machines(place)
        index = FieldIndex([undeclared_field("SENTRY_DSN")])
        for make in (*NO_FILES, *UNREADABLE):
            with case(make):
                root = next(machines)
                (NO_FILES | UNREADABLE)[make](root / "cwd/.env")
                loaded = load(index, situate(root), policy=SETTLED)
                assert bool(loaded.problems) == (make in UNREADABLE)
                loaded = load(index, situate(root, {"SENTRY_DSN": FAKE}), policy=SETTLED)
                assert loaded.problems == ()


def test_a_secret_that_the_file_cannot_provide(tmp_path: Path) -> None:
    """An empty file that the environment names is a problem beside a `.env` that is a directory."""
    (tmp_path / "cwd/.env").mkdir()
    (tmp_path / "empty").touch()
    environ = {"JWT_SECRET_FILE": f"{tmp_path}/empty"}
    loaded = look(Three, tmp_path, environ, profile="production")
    assert problems(loaded) == [(".env", "not-a-file"), ("JWT_SECRET", "empty")]
    assert loaded.problems[0].details == ("Nothing else provides COOKIE_KEY.",)


def test_another_file_may_provide_the_secrets(tmp_path: Path) -> None:
    """A `.env.local` that is a directory does not matter beside a `.env` with all secrets."""
    (tmp_path / "cwd/.env.local").mkdir()
    write(tmp_path, f"JWT_SECRET={FAKE}\nSENTRY_DSN={FAKE}\nCOOKIE_KEY={FAKE}\n")
    loaded = look(Three, tmp_path)
    assert problems(loaded) == []
    assert warnings(loaded) == [("dotenv-unread", (), ".env.local")]


def test_a_dotenv_that_becomes_unreadable(tmp_path: Path) -> None:
    """A source of the set in use is lost, also where a secret may be absent or has a default."""
    path = tmp_path / "cwd/.env"
    environ = {"JWT_SECRET": FAKE}
    for text in (f"SENTRY_DSN={FAKE}", f"COOKIE_KEY={FAKE}"):
        for make in (*NO_FILES, "absent"):
            with case(text, make):
                write(tmp_path, text)
                before = look(Three, tmp_path, environ, profile="development")
                path.unlink()
                if make in NO_FILES:
                    NO_FILES[make](path)
                after = look(Three, tmp_path, environ, profile="development")
                (lost,) = find_lost_sources(after, before)
                assert (lost.name, lost.kind) == (str(path), "missing")
                if make == "a directory":
                    path.rmdir()
                path.unlink(missing_ok=True)
