"""Sources in their order, and the result of a load for each secret."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from hive_boot import Problem, Secret, SecretBytes, SecretSet, secret
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.load_result import LoadResult, LoadWarning
from hive_boot.secrets.loader import load
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import SETTLED, FakeClock, Inventory, look, report_of, situate, values_of

FAKE = "fake-jwt-secret-0123456789-0123456789"
OTHER = "fake-other-secret-9876543210-9876543210"
IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

PEM = "-----BEGIN FAKE KEY-----\nZmFrZS9mYWtl/ZmFrZQ==\n-----END FAKE KEY-----\n"


class Two(SecretSet):
    """A required and an optional secret."""

    jwt_secret: Secret = secret(used_by="user-auth")
    sentry_dsn: Secret | None = secret()


def only_problem(loaded: LoadResult) -> Problem:
    """Return the problem of a load; fail unless there is exactly one."""
    assert len(loaded.problems) == 1, report_of(loaded)
    return loaded.problems[0]


def mounted(root: Path, files: Mapping[str, str | bytes]) -> dict[str, str]:
    """Write files into a directory, and return the variable that names it."""
    directory = root / "named"
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return {"HIVE_BOOT_SECRETS_DIR": str(directory)}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a file in a directory that no mode reads."""
    path = tmp_path / "elsewhere/key"
    path.parent.mkdir()
    path.write_text(f"{FAKE}\n")
    return path


# NAME_FILE


def every_mode(root: Path) -> dict[str, dict[str, str]]:
    """Return for each mode an environment in which it is detected."""
    (root / "run/secrets").mkdir(parents=True)
    (root / "run/credentials").mkdir()
    return {
        "kubernetes": IN_CLUSTER,
        "systemd": {"CREDENTIALS_DIRECTORY": "/run/credentials"},
        "docker": {"HIVE_BOOT_MODE": "docker"},
        "environment": {"HIVE_BOOT_MODE": "environment"},
        "development": {},
    }


MODES = ["kubernetes", "systemd", "docker", "environment", "development"]


def test_name_file_counts_in_every_mode(tmp_path: Path, outside: Path) -> None:
    """NAME_FILE=/path provides the text of the file in each mode, with the file as origin."""
    machines = empty_machines(tmp_path)
    for mode in MODES:
        with case(mode):
            root = next(machines)
            environ = every_mode(root)[mode] | {"JWT_SECRET_FILE": str(outside)}
            loaded = look(Two, root, environ)
            assert loaded.problems == ()
            assert values_of(loaded) == {"jwt_secret": FAKE}
            assert loaded.origin("jwt_secret") == ("file", f"JWT_SECRET_FILE={outside}")


def test_name_and_name_file_with_different_values_are_a_problem(
    tmp_path: Path, outside: Path
) -> None:
    """NAME and NAME_FILE with different values are a problem that names both; equal ones are not.

    A mounted mode does not read NAME, so there the file of NAME_FILE is used.
    """
    machines = empty_machines(tmp_path)
    for mode in MODES:
        for value in (FAKE, OTHER):
            with case(mode, value):
                root = next(machines)
                said = {"JWT_SECRET_FILE": str(outside), "JWT_SECRET": value}
                loaded = look(Two, root, every_mode(root)[mode] | said)
                if value == FAKE or loaded.source_context.mounted:
                    assert values_of(loaded) == {"jwt_secret": FAKE}
                    copies = [each for each in loaded.warnings if each.kind == "environment-copy"]
                    assert bool(copies) is loaded.source_context.mounted
                    continue
                problem = only_problem(loaded)
                assert (problem.name, problem.kind) == ("JWT_SECRET", "conflict")
                assert problem.places == (
                    "environment variable JWT_SECRET",
                    f"JWT_SECRET_FILE={outside}",
                )
                assert "file_variable=False" in problem.fix
                assert problem.used_by == "user-auth"


def test_a_file_of_name_file_that_differs_from_mounted_files_is_a_problem(
    tmp_path: Path, outside: Path
) -> None:
    """If the file of NAME_FILE and two mounted files differ, the problem names all three."""
    environ = mounted(tmp_path, {"jwt_secret": OTHER, "JWT_SECRET.txt": "fake-third-0123456789"})
    problem = only_problem(look(Two, tmp_path, environ | {"JWT_SECRET_FILE": str(outside)}))
    assert (problem.kind, len(problem.places)) == ("conflict", 3)


def test_an_empty_name_or_name_file_is_not_a_conflict(tmp_path: Path, outside: Path) -> None:
    """An empty NAME beside NAME_FILE, or an empty NAME_FILE beside NAME, is not a conflict."""
    machines = empty_machines(tmp_path)
    for empty in ("JWT_SECRET", "JWT_SECRET_FILE"):
        with case(empty):
            root = next(machines)
            said = {"JWT_SECRET": FAKE, "JWT_SECRET_FILE": str(outside), empty: ""}
            loaded = look(Two, root, {"HIVE_BOOT_MODE": "environment", **said})
            assert values_of(loaded) == {"jwt_secret": FAKE}


def test_name_file_and_a_mounted_file_must_be_equal(tmp_path: Path, outside: Path) -> None:
    """A file of NAME_FILE and a mounted one may be equal; if they differ, both are named."""
    pointer = {"JWT_SECRET_FILE": str(outside)}
    environ = mounted(tmp_path, {"jwt_secret": FAKE}) | pointer
    assert values_of(look(Two, tmp_path, environ)) == {"jwt_secret": FAKE}
    environ = mounted(tmp_path, {"jwt_secret": OTHER}) | pointer
    problem = only_problem(look(Two, tmp_path, environ))
    assert problem.kind == "conflict"
    assert problem.places == (f"JWT_SECRET_FILE={outside}", f"{tmp_path}/named/jwt_secret")
    assert "file_variable=False" in problem.fix


def test_name_file_in_dotenv(tmp_path: Path, outside: Path) -> None:
    """A .env may contain NAME_FILE; a variable of the process has precedence."""
    (tmp_path / "cwd/.env").write_text(f"JWT_SECRET_FILE={outside}\n")
    assert values_of(look(Two, tmp_path)) == {"jwt_secret": FAKE}
    assert values_of(look(Two, tmp_path, {"JWT_SECRET": OTHER})) == {"jwt_secret": OTHER}


def test_name_file_of_the_process_precedes_that_of_dotenv(tmp_path: Path, outside: Path) -> None:
    """NAME_FILE of the process has precedence over NAME_FILE in .env, whose file is not read."""
    (tmp_path / "cwd/.env").write_text("JWT_SECRET_FILE=/no/such/file\n")
    assert values_of(look(Two, tmp_path, {"JWT_SECRET_FILE": str(outside)})) == {"jwt_secret": FAKE}


def test_a_conflict_within_dotenv_names_the_file(tmp_path: Path, outside: Path) -> None:
    """NAME and NAME_FILE with different values in one .env are a problem that names this .env."""
    (tmp_path / "cwd/.env").write_text(f"JWT_SECRET={OTHER}\nJWT_SECRET_FILE={outside}\n")
    problem = only_problem(look(Two, tmp_path))
    assert problem.kind == "conflict"
    assert problem.places == (str(tmp_path / "cwd/.env"), f"JWT_SECRET_FILE={outside}")


def test_two_name_file_variables_may_name_one_file(tmp_path: Path, outside: Path) -> None:
    """Two NAME_FILE variables may name the same file."""
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= {"JWT_SECRET_FILE": str(outside), "SENTRY_DSN_FILE": str(outside)}
    loaded = look(Two, tmp_path, environ)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": FAKE}


def test_two_name_file_variables_may_name_one_file_by_different_paths(tmp_path: Path) -> None:
    """Two NAME_FILE variables may name one file by a relative and by an absolute path."""
    file = tmp_path / "cwd/key"
    file.write_text(FAKE)
    for texts in (("key", str(file)), (str(file), "key")):
        environ = {"HIVE_BOOT_MODE": "environment"}
        environ |= zip(("JWT_SECRET_FILE", "SENTRY_DSN_FILE"), texts, strict=True)
        loaded = look(Two, tmp_path, environ)
        assert loaded.problems == ()
        assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": FAKE}
        assert (str(tmp_path) in loaded.origin("jwt_secret")[1]) is (texts[0] == str(file))


def test_a_relative_path_is_resolved_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, in a variable or in the code, is resolved at the start."""
    for home, value in (("cwd", FAKE), ("elsewhere", OTHER)):
        (tmp_path / home / "named").mkdir(parents=True)
        (tmp_path / home / "named/jwt_secret").write_text(value)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for environ in (
        {"HIVE_BOOT_MODE": "environment", "JWT_SECRET_FILE": "named/jwt_secret"},
        {"HIVE_BOOT_SECRETS_DIR": "named"},
    ):
        assert values_of(look(Two, tmp_path, environ)) == {"jwt_secret": FAKE}
    loaded = look(Two, tmp_path, mode="docker", secrets_dirs="named")
    assert values_of(loaded) == {"jwt_secret": FAKE}


def test_name_file_of_a_missing_file(tmp_path: Path) -> None:
    """A NAME_FILE without a file is a problem, also for an optional secret."""
    machines = empty_machines(tmp_path)
    for name in ("JWT_SECRET", "SENTRY_DSN"):
        with case(name):
            root = next(machines)
            path = root / "cwd/no-such-file"
            environ = {
                "HIVE_BOOT_MODE": "environment",
                "JWT_SECRET": FAKE,
                f"{name}_FILE": str(path),
            }
            if name == "JWT_SECRET":
                del environ[name]
            problem = only_problem(look(Two, root, environ))
            assert (problem.name, problem.kind) == (name, "missing")
            assert f"{name}_FILE" in problem.message
            assert problem.places == (f"{name}_FILE={path}",)
            assert f"{name}_FILE" in problem.fix


def test_a_value_in_name_file_is_not_printed(tmp_path: Path) -> None:
    """If NAME_FILE contains the value itself, the report explains that without showing it."""
    value_cases: list[str] = [
        FAKE,
        f"/{FAKE}",
        f"./{FAKE}",
        "fake/jwt+secret/0123456789==",
        "/fake/jwt/secret/0123456789",
        PEM,
        PEM.replace("\n", "\\n"),
        "fake jwt secret with spaces 0123456789",
        "fake-jwt-secret/" * 400,
        "fäke-jwt-secret-0123456789",
    ]
    machines = empty_machines(tmp_path)
    for mode in MODES:
        for value in value_cases:
            with case(mode, value):
                root = next(machines)
                environ = every_mode(root)[mode] | {"JWT_SECRET_FILE": value}
                loaded = look(Two, root, environ)
                problem = only_problem(loaded)
                assert problem.kind == "missing"
                (place,) = problem.places
                assert place.startswith("JWT_SECRET_FILE ")
                report = report_of(loaded)
                assert not [line for line in value.splitlines() if line in report]
                assert not [part for part in value.split("/") if len(part) > 8 and part in report]


def test_one_value_in_two_name_files_is_not_printed(tmp_path: Path) -> None:
    """The same mistake in two variables is two problems, and the value is registered as hidden."""
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= dict.fromkeys(("JWT_SECRET_FILE", "SENTRY_DSN_FILE"), FAKE)
    loaded = look(Two, tmp_path, environ)
    assert [problem.name for problem in loaded.problems] == ["JWT_SECRET", "SENTRY_DSN"]
    assert FAKE not in report_of(loaded)
    assert [value.reveal() for value in loaded.unused_values] == [FAKE, FAKE]


def test_name_file_of_an_empty_file(tmp_path: Path) -> None:
    """An empty file is a problem for a required secret, and a warning for an optional one."""
    empty = tmp_path / "cwd/empty"
    empty.write_text("\n")
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= {"JWT_SECRET_FILE": str(empty), "SENTRY_DSN_FILE": str(empty.absolute())}
    problem = only_problem(look(Two, tmp_path, environ | {"SENTRY_DSN_FILE": ""}))
    assert (problem.kind, problem.places) == ("empty", (f"JWT_SECRET_FILE={empty}",))
    environ = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": FAKE, "SENTRY_DSN_FILE": str(empty)}
    loaded = look(Two, tmp_path, environ)
    assert loaded.problems == ()
    (warning,) = loaded.warnings
    assert (warning.kind, warning.location) == ("empty", f"SENTRY_DSN_FILE={empty}")


def test_name_file_of_a_directory_is_a_problem(tmp_path: Path) -> None:
    """A NAME_FILE that names a directory is a problem of the kind "not-a-file"."""
    environ = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET_FILE": str(tmp_path / "cwd")}
    problem = only_problem(look(Two, tmp_path, environ))
    assert problem.kind == "not-a-file"


# Mounted directories and the environment


def test_a_variable_in_a_mounted_mode_is_a_problem(tmp_path: Path) -> None:
    """In a mounted mode a variable is not read, and the problem names both ways to change that."""
    loaded = look(Two, tmp_path, mounted(tmp_path, {}) | {"JWT_SECRET": FAKE})
    problem = only_problem(loaded)
    assert (problem.name, problem.kind) == ("JWT_SECRET", "environment-only")
    assert "HIVE_BOOT_MODE=environment" in problem.fix
    assert "env_fallback=True (HIVE_BOOT_ENV_FALLBACK=1)" in problem.fix
    assert problem.places[0].startswith(f"{tmp_path}/named/jwt_secret (")
    assert FAKE not in report_of(loaded)


def test_an_optional_secret_that_is_only_a_variable_is_a_problem_in_a_mounted_mode(
    tmp_path: Path,
) -> None:
    """An optional secret that is only a variable is a problem too."""
    environ = mounted(tmp_path, {"jwt_secret": FAKE}) | {"SENTRY_DSN": OTHER}
    problem = only_problem(look(Two, tmp_path, environ))
    assert (problem.name, problem.kind) == ("SENTRY_DSN", "environment-only")


def test_env_fallback_uses_a_variable(tmp_path: Path) -> None:
    """With the fallback, enabled in the code or by a variable, a variable is used."""
    machines = empty_machines(tmp_path)
    for by in ("argument", "variable"):
        with case(by):
            root = next(machines)
            environ = mounted(root, {"sentry_dsn": OTHER}) | {"JWT_SECRET": FAKE}
            if by == "variable":
                environ["HIVE_BOOT_ENV_FALLBACK"] = "1"
            loaded = look(Two, root, environ, env_fallback=by == "argument")
            assert loaded.problems == ()
            assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": OTHER}
            assert loaded.origin("jwt_secret") == ("environment", "JWT_SECRET")
            assert loaded.warnings == ()


def test_a_variable_can_disable_env_fallback(tmp_path: Path) -> None:
    """HIVE_BOOT_ENV_FALLBACK=0 disables the fallback."""
    environ = mounted(tmp_path, {}) | {"JWT_SECRET": FAKE, "HIVE_BOOT_ENV_FALLBACK": "0"}
    assert only_problem(look(Two, tmp_path, environ)).kind == "environment-only"


def test_with_env_fallback_a_secret_without_a_source_is_missing(tmp_path: Path) -> None:
    """With the fallback, a secret without a file and without a variable is missing."""
    problem = only_problem(look(Two, tmp_path, mounted(tmp_path, {}), env_fallback=True))
    assert problem.kind == "missing"


def test_env_fallback_of_a_variable_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    """With the fallback, a variable that is not UTF-8 is a problem."""
    environ = mounted(tmp_path, {}) | {"JWT_SECRET": "fake-\udcff-0123456789"}
    problem = only_problem(look(Two, tmp_path, environ, env_fallback=True))
    assert (problem.kind, problem.places) == ("not-utf-8", ("environment variable JWT_SECRET",))


def test_a_file_precedes_a_variable_with_a_warning(tmp_path: Path) -> None:
    """If there are a file and a variable, the file is used, with a warning."""
    machines = empty_machines(tmp_path)
    for fallback in (False, True):
        for copy in (FAKE, OTHER):
            with case(fallback, copy):
                root = next(machines)
                environ = mounted(root, {"jwt_secret": FAKE}) | {"JWT_SECRET": copy}
                loaded = look(Two, root, environ, env_fallback=fallback)
                assert loaded.problems == ()
                assert values_of(loaded) == {"jwt_secret": FAKE}
                assert loaded.origin("jwt_secret") == ("file", f"{root}/named/jwt_secret")
                (warning,) = loaded.warnings
                assert (warning.kind, warning.names) == ("environment-copy", ("JWT_SECRET",))
                assert copy not in warning_text(warning)


def test_an_unusable_file_beside_a_variable_is_a_problem(tmp_path: Path) -> None:
    """A file that cannot be used is a problem, although there is a variable."""
    environ = mounted(tmp_path, {"jwt_secret": b"\xff\xfe"}) | {"JWT_SECRET": FAKE}
    assert only_problem(look(Two, tmp_path, environ, env_fallback=True)).kind == "not-utf-8"


def test_env_fallback_uses_the_variable_beside_an_empty_file(tmp_path: Path) -> None:
    """If the file is empty, the fallback uses the variable."""
    environ = mounted(tmp_path, {"jwt_secret": ""}) | {"JWT_SECRET": FAKE}
    assert values_of(look(Two, tmp_path, environ, env_fallback=True)) == {"jwt_secret": FAKE}


def test_empty_variables_are_unset(tmp_path: Path) -> None:
    """An empty variable is missing if required, and not reported if optional."""
    environ = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": "", "SENTRY_DSN": ""}
    problem = only_problem(look(Two, tmp_path, environ))
    assert (problem.name, problem.kind) == ("JWT_SECRET", "missing")
    mount = mounted(tmp_path, {"jwt_secret": FAKE}) | {"JWT_SECRET": "", "SENTRY_DSN": ""}
    loaded = look(Two, tmp_path, mount)
    assert (loaded.problems, loaded.warnings) == ((), ())


def test_empty_files(tmp_path: Path) -> None:
    """An empty file is a problem if required; if optional, it is absent, with a warning."""
    machines = empty_machines(tmp_path)
    for content in ("", "\n", "\r\n", "\ufeff", "\ufeff\n"):
        with case(content):
            root = next(machines)
            loaded = look(Two, root, mounted(root, {"jwt_secret": content, "sentry_dsn": content}))
            problem = only_problem(loaded)
            assert (problem.name, problem.kind) == ("JWT_SECRET", "empty")
            assert problem.places == (f"{root}/named/jwt_secret",)
            assert f"{root}/named/jwt_secret" in problem.fix
            (warning,) = loaded.warnings
            assert warning == LoadWarning("empty", ("SENTRY_DSN",), f"{root}/named/sentry_dsn")
            assert values_of(loaded) == {}


# Defaults of development


class WithDefault(SecretSet):
    """Two secrets with a default for development, and one without."""

    jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret-0123456789", used_by="user-auth")
    cookie_key: SecretBytes = secret(dev_default=b"dev-only-cookie-key")
    sentry_dsn: Secret | None


def test_development_uses_its_defaults(tmp_path: Path) -> None:
    """In development the defaults are used, and one warning names them."""
    loaded = look(WithDefault, tmp_path)
    assert loaded.problems == ()
    assert values_of(loaded) == {
        "jwt_secret": "dev-only-jwt-secret-0123456789",
        "cookie_key": b"dev-only-cookie-key",
    }
    (warning,) = loaded.warnings
    assert warning == LoadWarning("development-default", ("JWT_SECRET", "COOKIE_KEY"))
    assert loaded.origin("jwt_secret") == ("dev_default", "the declaration")


def test_a_value_replaces_a_development_default(tmp_path: Path) -> None:
    """The warning does not name a secret that has a value."""
    loaded = look(WithDefault, tmp_path, {"JWT_SECRET": FAKE})
    assert values_of(loaded)["jwt_secret"] == FAKE
    (warning,) = loaded.warnings
    assert warning == LoadWarning("development-default", ("COOKIE_KEY",))


def test_a_development_default_replaces_an_empty_file(tmp_path: Path) -> None:
    """In the development profile an empty file is absent, so the default is used."""
    environ = mounted(tmp_path, {"jwt_secret": "", "cookie_key": b"fake-cookie-key"})
    loaded = look(WithDefault, tmp_path, environ, profile="development")
    assert loaded.problems == ()
    assert values_of(loaded)["jwt_secret"] == "dev-only-jwt-secret-0123456789"


def test_other_profiles_use_no_development_default(tmp_path: Path) -> None:
    """In other profiles a default is not used, and the problem names the profile."""
    machines = empty_machines(tmp_path)
    for profile in ("test", "staging", "production"):
        with case(profile):
            root = next(machines)
            loaded = look(WithDefault, root, profile=profile)
            assert values_of(loaded) == {}
            assert loaded.warnings == ()
            assert [each.kind for each in loaded.problems] == ["missing"] * 2
            assert all(f"profile {profile}" in each.message for each in loaded.problems)


def test_other_profiles_reject_the_value_of_a_development_default(tmp_path: Path) -> None:
    """In other profiles the value of a default is rejected, even if a source provides it."""
    machines = empty_machines(tmp_path)
    for profile in ("test", "staging", "production"):
        with case(profile):
            root = next(machines)
            environ = mounted(
                root,
                {
                    "jwt_secret": "dev-only-jwt-secret-0123456789\n",
                    "cookie_key": b"dev-only-cookie-key",
                },
            )
            loaded = look(WithDefault, root, environ, profile=profile)
            assert values_of(loaded) == {}
            assert [(each.name, each.kind) for each in loaded.problems] == [
                ("JWT_SECRET", "dev-default"),
                ("COOKIE_KEY", "dev-default"),
            ]
            first = loaded.problems[0]
            assert f"profile {profile}" in first.message
            assert first.places == (f"{root}/named/jwt_secret",)
            assert first.used_by == "user-auth"
            assert f"{root}/named/jwt_secret" in first.fix
            assert "dev-only-jwt" not in report_of(loaded)


def test_development_accepts_the_text_of_a_default(tmp_path: Path) -> None:
    """In development a source may provide the value of a default."""
    (tmp_path / "cwd/.env").write_text("JWT_SECRET=dev-only-jwt-secret-0123456789\n")
    loaded = look(WithDefault, tmp_path)
    assert loaded.problems == ()
    assert loaded.origin("jwt_secret")[0] == ".env"


# previous=


class Rotated(SecretSet):
    """A secret whose previous value has its own name."""

    jwt_secret: Secret = secret(
        previous="JWT_SECRET_PREVIOUS", min_length=8, used_by="user-auth", file="jwt"
    )


def test_previous_is_optional(tmp_path: Path) -> None:
    """A previous value is optional, also in production."""
    loaded = look(Rotated, tmp_path, mounted(tmp_path, {"jwt": FAKE}))
    assert (loaded.problems, loaded.warnings) == ((), ())
    assert values_of(loaded) == {"jwt_secret": FAKE}


def test_previous_is_read_under_its_own_name(tmp_path: Path) -> None:
    """The previous value is read from the file with its own name, and is not a second field."""
    files = {"jwt": FAKE, "jwt-secret-previous": OTHER}
    loaded = look(Rotated, tmp_path, mounted(tmp_path, files))
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE, "jwt_secret.previous": OTHER}


def test_a_previous_value_is_validated_like_the_current_one(tmp_path: Path) -> None:
    """A previous value that violates a constraint is a problem with its own name."""
    loaded = look(Rotated, tmp_path, mounted(tmp_path, {"jwt": FAKE, "jwt_secret_previous": "x"}))
    problem = only_problem(loaded)
    assert (problem.name, problem.kind) == ("JWT_SECRET_PREVIOUS", "length")


# Layouts


def test_two_volumes(tmp_path: Path) -> None:
    """Two Secret volumes below /run/secrets are both read; platform entries are ignored."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": FAKE})
    MountedVolume(tmp_path / "run/secrets/b").publish({"sentry_dsn": OTHER})
    foreign = MountedVolume(tmp_path / "run/secrets/kubernetes.io")
    foreign.publish({"token": "fake-token-of-a-service-account"})
    loaded = look(Two, tmp_path, IN_CLUSTER)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": OTHER}
    assert loaded.origin("sentry_dsn") == ("file", f"{tmp_path}/run/secrets/b/sentry_dsn")


def test_the_same_value_in_two_volumes(tmp_path: Path) -> None:
    """If two volumes contain a secret with the same value, the first one is its origin."""
    for volume in "ba":
        MountedVolume(tmp_path / "run/secrets" / volume).publish({"jwt_secret": FAKE})
    loaded = look(Two, tmp_path, IN_CLUSTER)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE}
    assert loaded.origin("jwt_secret") == ("file", f"{tmp_path}/run/secrets/a/jwt_secret")


def test_different_values_in_two_volumes(tmp_path: Path) -> None:
    """If two volumes contain a secret with different values, the problem names both files."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": FAKE})
    MountedVolume(tmp_path / "run/secrets/b").publish({"jwt-secret.txt": OTHER})
    loaded = look(Two, tmp_path, IN_CLUSTER)
    problem = only_problem(loaded)
    assert problem.kind == "conflict"
    assert problem.places == (
        f"{tmp_path}/run/secrets/a/jwt_secret",
        f"{tmp_path}/run/secrets/b/jwt-secret.txt",
    )
    assert values_of(loaded) == {}


def test_the_values_of_three_volumes_are_compared(tmp_path: Path) -> None:
    """If three volumes contain a secret, all values are compared."""
    for volume, value in (("a", FAKE), ("b", FAKE), ("c", OTHER)):
        MountedVolume(tmp_path / "run/secrets" / volume).publish({"jwt_secret": value})
    assert only_problem(look(Two, tmp_path, IN_CLUSTER)).kind == "conflict"


def test_two_names_in_one_directory(tmp_path: Path) -> None:
    """Two spellings of a name in one directory must have the same value."""
    same = look(Two, tmp_path, mounted(tmp_path, {"JWT_SECRET": FAKE, "jwt-secret": FAKE}))
    assert values_of(same) == {"jwt_secret": FAKE}
    differ = look(Two, tmp_path, mounted(tmp_path, {"jwt_secret.txt": OTHER}))
    problem = only_problem(differ)
    assert problem.kind == "conflict"
    assert sorted(problem.places) == [
        f"{tmp_path}/named/{name}" for name in ("JWT_SECRET", "jwt-secret", "jwt_secret.txt")
    ]


def test_an_empty_file_in_one_volume_does_not_hide_the_value_in_another(tmp_path: Path) -> None:
    """An empty file in one volume does not hide the value in another."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": ""})
    MountedVolume(tmp_path / "run/secrets/b").publish({"jwt_secret": FAKE})
    loaded = look(Two, tmp_path, IN_CLUSTER)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE}


def test_an_unusable_file_in_one_of_two_volumes_is_a_problem(tmp_path: Path) -> None:
    """A file that cannot be used is a problem, whatever another volume holds."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": b"\xff"})
    MountedVolume(tmp_path / "run/secrets/b").publish({"jwt_secret": FAKE})
    problem = only_problem(look(Two, tmp_path, IN_CLUSTER))
    assert problem.kind == "not-utf-8"
    assert problem.places == tuple(f"{tmp_path}/run/secrets/{name}/jwt_secret" for name in "ab")


def test_an_unusable_file_in_the_second_volume_is_a_problem(tmp_path: Path) -> None:
    """The order of the two volumes makes no difference."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": FAKE})
    MountedVolume(tmp_path / "run/secrets/b").publish({"jwt_secret": b"\xff"})
    assert only_problem(look(Two, tmp_path, IN_CLUSTER)).kind == "not-utf-8"


def test_files_beside_volumes(tmp_path: Path) -> None:
    """Plain files in /run/secrets are read beside a volume below it."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": FAKE})
    (tmp_path / "run/secrets/sentry_dsn").write_text(OTHER)
    assert values_of(look(Two, tmp_path)) == {"jwt_secret": FAKE, "sentry_dsn": OTHER}


def test_a_volume_with_the_name_of_a_secret_is_not_a_file_of_the_secret(tmp_path: Path) -> None:
    """A volume that is mounted at /run/secrets/jwt-secret is not taken for a file of the secret."""
    MountedVolume(tmp_path / "run/secrets/jwt-secret").publish({"jwt_secret": FAKE})
    loaded = look(Two, tmp_path, IN_CLUSTER)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE}


def test_run_secrets_is_a_link(tmp_path: Path) -> None:
    """/run/secrets may be a symbolic link to a volume."""
    MountedVolume(tmp_path / "volumes/hive").publish({"jwt_secret": FAKE})
    (tmp_path / "run").mkdir()
    (tmp_path / "run/secrets").symlink_to(tmp_path / "volumes/hive")
    for environ in ({}, IN_CLUSTER):
        loaded = look(Two, tmp_path, environ)
        assert values_of(loaded) == {"jwt_secret": FAKE}
        assert loaded.origin("jwt_secret") == ("file", f"{tmp_path}/run/secrets/jwt_secret")


def test_a_sops_layout(tmp_path: Path) -> None:
    """Secrets as NixOS and sops install them, in numbered generations with links, are read."""
    generation = tmp_path / "run/secrets.d/3"
    generation.mkdir(parents=True)
    (generation / "jwt_secret").write_text(FAKE)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/dsn").write_text(OTHER)
    (generation / "sentry_dsn").symlink_to(tmp_path / "elsewhere/dsn")
    (tmp_path / "run/secrets").symlink_to(generation)
    loaded = look(Two, tmp_path)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": OTHER}


def test_only_declared_names_are_opened(tmp_path: Path) -> None:
    """A symbolic link with an undeclared name is not followed."""
    environ = mounted(tmp_path, {"jwt_secret": FAKE})
    (tmp_path / "named/other").symlink_to("/proc/self/mem")
    (tmp_path / "named/loop").symlink_to("loop")
    loaded = look(Two, tmp_path, environ)
    assert (loaded.problems, values_of(loaded)) == ((), {"jwt_secret": FAKE})


class Nested(SecretSet):
    """A set whose secrets are in a subdirectory of a volume, as by ``items:``."""

    tls_key: SecretBytes = secret(file="tls/server.key", used_by="TLS")
    tls_certificate: Secret = secret(file="tls/server.crt")


def test_nested_items_of_a_volume(tmp_path: Path) -> None:
    """A path of ``items:`` is read below the volume, by its declared name."""
    MountedVolume(tmp_path / "run/secrets/tls-volume").publish(
        {"tls/server.key": b"fake\0key\n", "tls/server.crt.txt": "fake-certificate\n"}
    )
    loaded = look(Nested, tmp_path, IN_CLUSTER)
    assert loaded.problems == ()
    assert values_of(loaded) == {"tls_key": b"fake\0key\n", "tls_certificate": "fake-certificate"}
    assert loaded.origin("tls_certificate") == (
        "file",
        f"{tmp_path}/run/secrets/tls-volume/tls/server.crt.txt",
    )


def test_nested_items_that_are_missing(tmp_path: Path) -> None:
    """The problem of a missing path names the whole path."""
    MountedVolume(tmp_path / "run/secrets/v").publish({"tls/server.key": b"x"})
    problem = only_problem(look(Nested, tmp_path, IN_CLUSTER))
    assert problem.name == "TLS_CERTIFICATE"
    assert f"{tmp_path}/run/secrets/v/tls/server.crt (also with .txt)" in problem.places


def test_several_named_directories(tmp_path: Path) -> None:
    """HIVE_BOOT_SECRETS_DIR may name several directories, as PATH does, in order."""
    for name, files in (
        ("x", {"jwt_secret": FAKE}),
        ("y", {"jwt_secret": FAKE, "sentry_dsn": "z"}),
    ):
        (tmp_path / name).mkdir()
        for file, value in files.items():
            (tmp_path / name / file).write_text(value)
    loaded = look(Two, tmp_path, {"HIVE_BOOT_SECRETS_DIR": f"{tmp_path}/x:{tmp_path}/y"})
    assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": "z"}
    assert loaded.origin("jwt_secret") == ("file", f"{tmp_path}/x/jwt_secret")


def test_a_named_directory_that_is_absent(tmp_path: Path) -> None:
    """A directory that is named and does not exist is a problem that names the setting."""
    machines = empty_machines(tmp_path)
    for by in ("HIVE_BOOT_SECRETS_DIR", "secrets_dirs="):
        with case(by):
            root = next(machines)
            gone = str(root / "gone")
            (root / "cwd/.env").write_text(f"JWT_SECRET={FAKE}\n")
            if by == "secrets_dirs=":
                loaded = look(Two, root, secrets_dirs=gone)
            else:
                loaded = look(Two, root, {by: gone})
            assert [(each.name, each.kind) for each in loaded.problems] == [
                (gone, "directory"),
                ("JWT_SECRET", "missing"),
            ]
            assert by in loaded.problems[0].message
            assert loaded.problems[0].fix


def test_an_absent_default_directory_is_not_a_problem_itself(tmp_path: Path) -> None:
    """Without /run/secrets, a mounted mode reports only the missing secrets."""
    problem = only_problem(look(Two, tmp_path, {"HIVE_BOOT_MODE": "docker"}))
    assert (problem.name, problem.kind) == ("JWT_SECRET", "missing")
    assert problem.places[0].startswith(f"{tmp_path}/run/secrets/jwt_secret (")


def test_run_secrets_is_a_file(tmp_path: Path) -> None:
    """A file instead of the directory is a bundle, here without the declared name."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/secrets").write_text(FAKE)
    loaded = look(Two, tmp_path)
    assert [each.kind for each in loaded.problems] == ["missing"]
    assert loaded.snapshots[0].is_bundle
    assert FAKE not in report_of(loaded)


def test_a_volume_that_lost_its_data(tmp_path: Path) -> None:
    """A volume whose ``..data`` is missing is waited for, and then is a problem."""
    MountedVolume(tmp_path / "run/secrets/a").publish({"jwt_secret": FAKE})
    (tmp_path / "run/secrets/a/..data").unlink()
    clock = FakeClock()
    loaded = look(Two, tmp_path, IN_CLUSTER, policy=clock.policy())
    assert [(each.name, each.kind) for each in loaded.problems] == [
        (f"{tmp_path}/run/secrets/a", "directory"),
        ("JWT_SECRET", "missing"),
    ]
    assert "..data" in loaded.problems[0].message
    assert 2 <= sum(clock.slept) < 3


# Several problems at once


class Five(SecretSet):
    """Secrets with a different problem each."""

    openai_api_key: Secret = secret(used_by="agents")
    hive_api_key: Secret = secret(used_by="auth middleware")
    jwt_secret: Secret = secret(used_by="user-auth", min_length=32)
    stripe_secret_key: Secret = secret(used_by="billing", pattern="sk-[a-z]+")
    github_token: Secret | None = secret(used_by="GitHub integrations")
    sentry_dsn: Secret | None = secret(used_by="error monitoring")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """All problems are reported at once, in the order of the declaration."""
    environ = mounted(
        tmp_path,
        {
            "openai-apikey.txt": "fake-openai-0123456789",
            "hive_api_key": "\n",
            "jwt_secret": "fake-short",
            "stripe_secret_key": "fake-stripe-0123456789",
            "github_token": b"fake-github-\xff-0123456789",
            "sentry_dsn": "fake-dsn-0123456789",
        },
    )
    loaded = look(Five, tmp_path, environ)
    named = f"{tmp_path}/named"
    assert [(each.name, each.kind, each.used_by) for each in loaded.problems] == [
        ("OPENAI_API_KEY", "missing", "agents"),
        ("HIVE_API_KEY", "empty", "auth middleware"),
        ("JWT_SECRET", "length", "user-auth"),
        ("STRIPE_SECRET_KEY", "pattern", "billing"),
        ("GITHUB_TOKEN", "not-utf-8", "GitHub integrations"),
    ]
    assert [each.places[0].split(" (")[0] for each in loaded.problems] == [
        f"{named}/{name}"
        for name in (
            "openai_api_key",
            "hive_api_key",
            "jwt_secret",
            "stripe_secret_key",
            "github_token",
        )
    ]
    (detail,) = loaded.problems[0].details
    assert f" {named}/openai-apikey.txt, " in detail
    assert detail.endswith(" openai-api-key.txt.")
    assert f"{named}/openai_api_key" in loaded.problems[0].fix
    report = report_of(loaded)
    assert [number for number in range(1, 9) if f"\n  {number}. " in report] == [1, 2, 3, 4, 5]
    assert "fake-" not in report
    assert "\x1b" not in report
    assert values_of(loaded) == {"sentry_dsn": "fake-dsn-0123456789"}


def test_every_problem_has_a_fix(tmp_path: Path) -> None:
    """Every problem of a secret has a fix."""
    environ = mounted(
        tmp_path,
        {
            "hive_api_key": "\n",
            "jwt_secret": "fake-short",
            "stripe_secret_key": "fake-stripe-0123456789",
            "github_token": b"fake-github-\xff-0123456789",
        },
    )
    loaded = look(Five, tmp_path, environ | {"SENTRY_DSN": "fake-dsn-0123456789"})
    assert len(loaded.problems) == 6
    assert [each.name for each in loaded.problems if not each.fix] == []


def test_problems_come_in_the_order_of_the_declaration(tmp_path: Path) -> None:
    """The order of the problems depends neither on their kinds nor on the sources."""
    environ = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": "fake", "JWT_SECRET_FILE": "/x"}
    environ |= {"GITHUB_TOKEN_FILE": str(tmp_path), "STRIPE_SECRET_KEY": "fake-stripe"}
    loaded = look(Five, tmp_path, environ)
    assert [(each.name, each.kind) for each in loaded.problems] == [
        ("OPENAI_API_KEY", "missing"),
        ("HIVE_API_KEY", "missing"),
        ("JWT_SECRET", "missing"),
        ("STRIPE_SECRET_KEY", "pattern"),
        ("GITHUB_TOKEN", "not-a-file"),
    ]


def test_a_secret_is_reported_once(tmp_path: Path) -> None:
    """A secret whose value violates a constraint is not reported as missing too."""
    loaded = look(Five, tmp_path, {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": "fake-short"})
    names = [each.name for each in loaded.problems]
    assert sorted(names) == sorted(set(names))


def test_dotenv_problems_come_first(tmp_path: Path) -> None:
    """Invalid lines of .env are reported first, because they may cause the other problems."""
    (tmp_path / "cwd/.env").write_text("SENTRY_DSN this is no line\nJWT_SECRET=fake-short\n")
    loaded = look(Five, tmp_path)
    assert loaded.problems[0].name == f"{tmp_path}/cwd/.env:1"
    assert loaded.problems[0].kind == "dotenv"
    assert "this is no line" not in report_of(loaded)


def test_a_declaration_without_fields_loads(tmp_path: Path) -> None:
    """A declaration without fields loads, in every mode."""

    class Nothing(SecretSet):
        """A set without secrets."""

    for environ in every_mode(tmp_path).values():
        loaded = look(Nothing, tmp_path, environ)
        assert (loaded.problems, values_of(loaded)) == ((), {})


def test_a_load_shows_no_value(tmp_path: Path) -> None:
    """The repr of a load contains no value."""
    loaded = look(Inventory, tmp_path, mounted(tmp_path, {"jwt_secret": FAKE}))
    assert FAKE not in repr(loaded)


# Overrides


def loaded_with(
    root: Path,
    given: Mapping[str, Secret | SecretBytes | None],
    environ: Mapping[str, str],
    declared: type[SecretSet] = Two,
) -> LoadResult:
    """Load with overrides."""
    field_index = declared._field_index
    return load(field_index, situate(root, environ), policy=SETTLED, overrides=given)


def everywhere(root: Path, mode: str) -> dict[str, str]:
    """Return an environment for a mode whose sources all contain another value."""
    environ = every_mode(root)[mode] | {"JWT_SECRET": OTHER}
    for directory in ("run/secrets", "run/credentials"):
        if mode != "development":
            (root / directory / "jwt_secret").write_text(OTHER)
    return environ


def test_an_override_precedes_every_source(tmp_path: Path) -> None:
    """An override is used in every mode, and is named as the origin."""
    machines = empty_machines(tmp_path)
    for mode in MODES:
        with case(mode):
            root = next(machines)
            environ = everywhere(root, mode)
            loaded = loaded_with(root, {"jwt_secret": Secret("JWT_SECRET", FAKE)}, environ)
            assert loaded.source_context.mode == mode
            assert loaded.problems == ()
            assert values_of(loaded) == {"jwt_secret": FAKE}
            assert loaded.origin("jwt_secret") == ("override", "override()")


def test_values_that_an_override_replaces_are_hidden_too(tmp_path: Path) -> None:
    """The values of the sources that an override replaces are hidden too."""
    machines = empty_machines(tmp_path)
    for mode in MODES:
        with case(mode):
            root = next(machines)
            environ = everywhere(root, mode)
            loaded = loaded_with(root, {"jwt_secret": Secret("JWT_SECRET", FAKE)}, environ)
            assert {each.reveal() for each in loaded.unused_values} == {OTHER}


def test_an_override_with_none_makes_a_secret_absent(tmp_path: Path) -> None:
    """None as an override makes a secret absent; a required one is missing then."""
    environ = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": FAKE, "SENTRY_DSN": OTHER}
    loaded = loaded_with(tmp_path, {"sentry_dsn": None}, environ)
    assert (loaded.problems, values_of(loaded)) == ((), {"jwt_secret": FAKE})
    loaded = loaded_with(tmp_path, {"jwt_secret": None}, environ)
    assert only_problem(loaded).name == "JWT_SECRET"
    assert only_problem(loaded).kind == "missing"
    assert values_of(loaded) == {"sentry_dsn": OTHER}


def test_an_override_replaces_conflicting_and_missing_sources(tmp_path: Path) -> None:
    """No problem of the sources is reported."""
    environ = {
        "HIVE_BOOT_MODE": "environment",
        "JWT_SECRET": FAKE,
        "JWT_SECRET_FILE": str(tmp_path / "nowhere"),
        "SENTRY_DSN_FILE": str(tmp_path / "nowhere"),
    }
    given = {
        "jwt_secret": Secret("JWT_SECRET", OTHER),
        "sentry_dsn": Secret("SENTRY_DSN", FAKE),
    }
    loaded = loaded_with(tmp_path, given, environ)
    assert loaded.problems == ()
    assert values_of(loaded) == {"jwt_secret": OTHER, "sentry_dsn": FAKE}


def test_an_override_is_validated(tmp_path: Path) -> None:
    """An override must meet the constraints of the declaration."""

    class Strict(SecretSet):
        """A secret with a constraint, and bytes."""

        jwt_secret: Secret = secret(min_length=32)
        keystore: SecretBytes

    given: dict[str, Secret | SecretBytes] = {
        "jwt_secret": Secret("JWT_SECRET", "fake"),
        "keystore": SecretBytes("KEYSTORE", b"fake"),
    }
    environ = {"HIVE_BOOT_MODE": "environment"}
    loaded = loaded_with(tmp_path, given, environ, Strict)
    problem = only_problem(loaded)
    assert (problem.name, problem.kind) == ("JWT_SECRET", "length")
    assert "override()" in " ".join(problem.places)
    assert "fake" not in report_of(loaded)


def test_secrets_without_an_override_are_read_from_their_sources(tmp_path: Path) -> None:
    """One override does not affect other secrets."""
    volume = MountedVolume(tmp_path / "named")
    volume.publish({"jwt_secret": FAKE, "sentry_dsn": OTHER})
    environ = {"HIVE_BOOT_SECRETS_DIR": str(volume.path)}
    loaded = loaded_with(tmp_path, {"sentry_dsn": None}, environ)
    assert values_of(loaded) == {"jwt_secret": FAKE}
    assert loaded.origin("jwt_secret") == ("file", str(volume.path / "jwt_secret"))
