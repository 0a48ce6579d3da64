"""Detection of mode, profile and directories: the whole table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hive_boot import DeclarationError, InvalidSecretsError
from hive_boot.secrets.fields import Field, FieldIndex
from hive_boot.secrets.platform import (
    MODES,
    PLATFORM_ENTRIES,
    HostEnvironment,
    SourceContext,
    SourceOptions,
    Variables,
    detect,
)
from tests.fixtures.cases import case, empty_machines
from tests.support import as_ordinary_user, run_child, situate

ON_A_TERMINAL = "is a terminal"
NO_MOUNT = "/run/secrets"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One machine, and its expected mode and profile.

    Attributes:
        environ: its variables.
        files: its files; a path that ends in a slash is a directory.
        pid: the process ID.
        source_options: the arguments of the code.
        mode: the expected mode, and a part of its reason.
        profile: the same for the profile.
    """

    mode: tuple[str, str]
    profile: tuple[str, str]
    environ: Mapping[str, str]
    files: tuple[str, ...] = ()
    pid: int = 4711
    source_options: Mapping[str, Any]


def row(
    mode: tuple[str, str],
    profile: tuple[str, str],
    *files: str,
    pid: int = 4711,
    source_options: Mapping[str, Any] | None = None,
    **environ: str,
) -> Row:
    """Write a row of the table."""
    return Row(
        mode=mode,
        profile=profile,
        files=files,
        pid=pid,
        source_options=source_options or {},
        environ=environ,
    )


IN_KUBERNETES = ("production", "kubernetes mode")
IN_DOCKER = ("production", "docker mode")
ON_A_DESK = ("development", ON_A_TERMINAL)
KUBERNETES = ("kubernetes", "KUBERNETES_SERVICE_HOST")
SYSTEMD = ("systemd", "CREDENTIALS_DIRECTORY")
DOCKER = ("docker", "/run/secrets")

TABLE: dict[str, Row] = {
    "a developer's machine": row(("development", NO_MOUNT), ON_A_DESK),
    "a pod": row(KUBERNETES, IN_KUBERNETES, KUBERNETES_SERVICE_HOST="10.0.0.1"),
    "a pod with its volume": row(
        KUBERNETES, IN_KUBERNETES, "run/secrets/app/..data/", KUBERNETES_SERVICE_HOST="10.0.0.1"
    ),
    "a pod, whatever else is there": row(
        KUBERNETES,
        IN_KUBERNETES,
        "creds/",
        "run/secrets/token",
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        CREDENTIALS_DIRECTORY="/creds",
        HIVE_BOOT_SECRETS_DIR="/elsewhere",
    ),
    "a pod that wants to be in development": row(
        KUBERNETES, IN_KUBERNETES, KUBERNETES_SERVICE_HOST="10.0.0.1", APP_ENV="development"
    ),
    "a pod with an APP_ENV of another framework": row(
        KUBERNETES, IN_KUBERNETES, KUBERNETES_SERVICE_HOST="10.0.0.1", APP_ENV="produktion"
    ),
    "an empty KUBERNETES_SERVICE_HOST": row(
        ("development", NO_MOUNT), ON_A_DESK, KUBERNETES_SERVICE_HOST=""
    ),
    "a CI pod": row(
        KUBERNETES, IN_KUBERNETES, CI="true", KUBERNETES_SERVICE_HOST="10.0.0.1", APP_ENV="test"
    ),
    "a CI pod that says so": row(
        ("development", "HIVE_BOOT_MODE"),
        ("test", "APP_ENV"),
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        HIVE_BOOT_MODE="development",
        APP_ENV="test",
    ),
    "a CI pod in a container that says only the mode": row(
        ("development", "HIVE_BOOT_MODE"),
        ("production", "/run/.containerenv"),
        "run/.containerenv",
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        HIVE_BOOT_MODE="development",
    ),
    "a systemd unit": row(
        SYSTEMD,
        ("production", "systemd mode"),
        "creds/",
        CREDENTIALS_DIRECTORY="/creds",
    ),
    "a systemd unit before a docker directory": row(
        SYSTEMD,
        ("production", "systemd mode"),
        "creds/",
        "run/secrets/token",
        CREDENTIALS_DIRECTORY="/creds",
        HIVE_BOOT_SECRETS_DIR="/elsewhere",
    ),
    "a systemd unit whose directory was not made": row(
        SYSTEMD, ("production", "systemd mode"), CREDENTIALS_DIRECTORY="/run/credentials/gone"
    ),
    "an empty CREDENTIALS_DIRECTORY": row(
        ("development", NO_MOUNT), ON_A_DESK, CREDENTIALS_DIRECTORY=""
    ),
    "Docker secrets": row(DOCKER, IN_DOCKER, "run/secrets/token"),
    "Docker secrets among foreign ones": row(
        DOCKER, IN_DOCKER, "run/secrets/token", "run/secrets/kubernetes.io/"
    ),
    "an empty /run/secrets": row(("development", "/run/secrets"), ON_A_DESK, "run/secrets/"),
    "a /run/secrets that is no directory": row(
        ("docker", "Not a directory"), IN_DOCKER, "run/secrets"
    ),
    "a /run that is no directory": row(("docker", "Not a directory"), IN_DOCKER, "run"),
    "a directory named in the code, and absent": row(
        ("docker", "secrets_dirs="), IN_DOCKER, source_options={"secrets_dirs": "/none"}
    ),
    "a directory named outside, and absent": row(
        ("docker", "HIVE_BOOT_SECRETS_DIR"),
        IN_DOCKER,
        HIVE_BOOT_SECRETS_DIR="/none",
    ),
    "a Docker container without its mount": row(
        ("development", NO_MOUNT),
        ("production", "/.dockerenv"),
        ".dockerenv",
    ),
    "a Podman container without its mount": row(
        ("development", NO_MOUNT),
        ("production", "/run/.containerenv"),
        "run/.containerenv",
    ),
    "PID 1 without its mount": row(
        ("development", NO_MOUNT),
        ("production", "PID 1"),
        pid=1,
    ),
    "a container with foreign secrets only": row(
        ("development", "/run/secrets"),
        ("production", "/.dockerenv"),
        ".dockerenv",
        "run/secrets/rhsm/",
    ),
    "a container that says test": row(
        ("development", NO_MOUNT), ("test", "APP_ENV"), ".dockerenv", pid=1, APP_ENV="test"
    ),
    "APP_ENV=prod": row(("development", NO_MOUNT), ("production", "APP_ENV"), APP_ENV="prod"),
    "APP_ENV=staging": row(("development", NO_MOUNT), ("staging", "APP_ENV"), APP_ENV="staging"),
    "an empty APP_ENV": row(("development", NO_MOUNT), ON_A_DESK, APP_ENV=""),
    "HIVE_BOOT_PROFILE before APP_ENV": row(
        ("development", NO_MOUNT),
        ("staging", "HIVE_BOOT_PROFILE"),
        HIVE_BOOT_PROFILE="stage",
        APP_ENV="prod",
    ),
    "HIVE_BOOT_PROFILE in a pod": row(
        KUBERNETES,
        ("staging", "HIVE_BOOT_PROFILE"),
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        HIVE_BOOT_PROFILE="staging",
    ),
    "the code before every variable": row(
        ("environment", "Bootstrap(mode="),
        ("test", "Bootstrap(profile="),
        source_options={"mode": "environment", "profile": "Testing"},
        HIVE_BOOT_MODE="docker",
        HIVE_BOOT_PROFILE="prod",
        KUBERNETES_SERVICE_HOST="10.0.0.1",
    ),
    "the code before variables that mean nothing": row(
        ("environment", "Bootstrap(mode="),
        ("test", "Bootstrap(profile="),
        source_options={"mode": "environment", "profile": "test"},
        HIVE_BOOT_MODE="nonsense",
        HIVE_BOOT_PROFILE="nonsense",
    ),
    "HIVE_BOOT_MODE before what is there": row(
        ("docker", "HIVE_BOOT_MODE"),
        IN_DOCKER,
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        HIVE_BOOT_MODE="docker",
    ),
    "HIVE_BOOT_MODE in capitals": row(
        ("environment", "HIVE_BOOT_MODE"),
        ("production", "environment mode"),
        HIVE_BOOT_MODE=" Environment ",
    ),
    "an empty HIVE_BOOT_MODE": row(("development", NO_MOUNT), ON_A_DESK, HIVE_BOOT_MODE=""),
    "a platform that injects variables": row(
        ("development", NO_MOUNT), ("production", "APP_ENV"), PORT="8080", APP_ENV="production"
    ),
}
TABLE |= {
    f"foreign {name} only": row(("development", "/run/secrets"), ON_A_DESK, f"run/secrets/{name}/")
    for name in sorted(PLATFORM_ENTRIES)
}


def test_mode_and_profile_and_their_reasons(tmp_path: Path) -> None:
    """Each machine gets the expected mode and profile, each with its reason."""
    machines = empty_machines(tmp_path)
    for label, machine in TABLE.items():
        with case(label):
            root = next(machines)
            for name in machine.files:
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if name.endswith("/"):
                    path.mkdir()
                else:
                    path.write_text("fake-content")

            source_context = situate(
                root, machine.environ, pid=machine.pid, **machine.source_options
            )

            for (decided, reason), (expected, named) in (
                ((source_context.mode, source_context.mode_reason), machine.mode),
                ((source_context.profile, source_context.profile_reason), machine.profile),
            ):
                assert decided == expected
                assert named in reason


def test_environment_is_never_detected() -> None:
    """No row that leaves the mode open ends in `environment`."""
    open_rows = [
        machine
        for machine in TABLE.values()
        if "HIVE_BOOT_MODE" not in machine.environ and "mode" not in machine.source_options
    ]

    assert {machine.mode[0] for machine in open_rows} == set(MODES) - {"environment"}


def declared(*files: str) -> FieldIndex:
    """Return the fields of secrets with these files."""
    return FieldIndex(
        [Field(attribute=name, name=name.upper(), file=name, candidates=(name,)) for name in files]
    )


def test_an_entry_that_holds_a_declared_secret_is_not_of_the_platform(tmp_path: Path) -> None:
    """A volume or a file with the name of an entry of a platform is found by its secrets."""
    cases: list[tuple[str, tuple[str, ...], str]] = [
        ("tokens", ("tokens",), "docker"),
        ("tokens", ("api_key", "tokens"), "docker"),
        ("tokens", ("api_key",), "development"),
        ("tokens/", ("tokens",), "development"),
        ("azure/api_key", ("api_key",), "docker"),
        ("azure/tls/client.key", ("tls/client.key",), "docker"),
        ("azure/api_key", ("azure/api_key",), "docker"),
        ("azure/api_key/", ("api_key",), "development"),
        ("azure/tokens/azure-identity-token", ("api_key",), "development"),
        ("rhsm/ca/redhat-uep.pem", ("rhsm", "ca"), "development"),
        ("kubernetes.io/serviceaccount/token", ("token", "api_key"), "development"),
        ("redhat.repo", ("api_key",), "development"),
    ]
    machines = empty_machines(tmp_path)
    for file, names, mode in cases:
        with case(file, names):
            root = next(machines)
            path = root / "run/secrets" / file
            path.parent.mkdir(parents=True)
            if file.endswith("/"):
                path.mkdir()
            else:
                path.write_text("fake-content")

            assert situate(root, declared=declared(*names)).mode == mode


def test_a_directory_that_cannot_be_listed_is_ours_if_it_has_a_declared_secret() -> None:
    """A /run/secrets of the machine is not taken for a mount, whether or not it can be entered."""
    cases: list[tuple[int, int | None, tuple[str, ...], str]] = [
        (0o100, None, ("api_key",), "development"),
        (0o100, 0o400, (), "development"),
        (0o100, 0o400, ("other",), "development"),
        (0o100, 0o400, ("api_key",), "docker"),
        (0o100, 0o400, ("other", "api_key"), "docker"),
        (0o100, 0o000, ("other", "api_key"), "docker"),
        (0o000, None, ("api_key",), "docker"),
        (0o000, 0o400, (), "development"),
    ]
    for mode, of_file, names, expected in cases:
        with case(mode, of_file, names), as_ordinary_user() as root:
            secrets = root / "run" / "secrets"
            secrets.mkdir(parents=True)
            if of_file is not None:
                (secrets / "api_key").write_text("fake-content")
                (secrets / "api_key").chmod(of_file)
            secrets.chmod(mode)
            context = situate(root, declared=declared(*names))
            secrets.chmod(0o700)

            assert context.mode == expected
            assert context.profile == ("production" if expected == "docker" else "development")


def test_directories_of_a_mode(tmp_path: Path) -> None:
    """A configured directory takes precedence over the directory of the mode."""
    cases: list[tuple[Mapping[str, Any], Mapping[str, str], tuple[str, ...], str]] = [
        ({"mode": "kubernetes"}, {}, ("{root}/run/secrets",), ""),
        ({"mode": "docker"}, {}, ("{root}/run/secrets",), ""),
        ({"mode": "systemd"}, {}, ("{root}/run/secrets",), ""),
        (
            {"mode": "systemd"},
            {"CREDENTIALS_DIRECTORY": "/creds"},
            ("{root}/creds",),
            "CREDENTIALS_DIRECTORY",
        ),
        ({"mode": "docker"}, {"CREDENTIALS_DIRECTORY": "/creds"}, ("{root}/run/secrets",), ""),
        ({"secrets_dirs": "/a"}, {"CREDENTIALS_DIRECTORY": "/creds"}, ("/a",), "secrets_dirs="),
        ({"secrets_dirs": "/a"}, {}, ("/a",), "secrets_dirs="),
        ({"secrets_dirs": Path("/a")}, {}, ("/a",), "secrets_dirs="),
        ({"secrets_dirs": ["/a", Path("/b")]}, {}, ("/a", "/b"), "secrets_dirs="),
        ({"secrets_dirs": "a"}, {}, ("{root}/cwd/a",), "secrets_dirs="),
        (
            {"secrets_dirs": ["link/../a", "/b/../c"]},
            {},
            ("{root}/cwd/link/../a", "/b/../c"),
            "secrets_dirs=",
        ),
        ({"secrets_dirs": "/a"}, {"HIVE_BOOT_SECRETS_DIR": "/b"}, ("/a",), "secrets_dirs="),
        (
            {},
            {"HIVE_BOOT_SECRETS_DIR": "/a::relative/b:"},
            ("/a", "{root}/cwd/relative/b"),
            "HIVE_BOOT_SECRETS_DIR",
        ),
        (
            {"mode": "kubernetes"},
            {"HIVE_BOOT_SECRETS_DIR": "/a"},
            ("/a",),
            "HIVE_BOOT_SECRETS_DIR",
        ),
        ({"mode": "environment", "secrets_dirs": "/a"}, {}, (), ""),
        ({"mode": "development", "secrets_dirs": "/a"}, {}, (), ""),
    ]
    machines = empty_machines(tmp_path)
    for source_options, environ, directories, named_by in cases:
        with case(source_options, environ, directories, named_by):
            machine = next(machines)
            source_context = situate(machine, environ, **source_options)

            assert source_context.directories == tuple(
                path.format(root=machine) for path in directories
            )
            assert source_context.directories_setting == named_by
            assert source_context.mounted is bool(directories)


def test_dotenv_files_of_development_mode(tmp_path: Path) -> None:
    """`.env` is looked for in the working directory; the local one is the stronger."""
    cases: list[tuple[str | Path | None, tuple[str, ...]]] = [
        (None, ("{cwd}/.env.local", "{cwd}/.env")),
        ("dev.env", ("{cwd}/dev.env.local", "{cwd}/dev.env")),
        (Path("/etc/app.env"), ("/etc/app.env.local", "/etc/app.env")),
    ]
    machines = empty_machines(tmp_path)
    for wish, files in cases:
        with case(wish, files):
            root = next(machines)
            source_context = situate(root, env_file=wish)

            assert source_context.env_files == tuple(
                path.format(cwd=root / "cwd") for path in files
            )


def test_no_other_mode_reads_dotenv(tmp_path: Path) -> None:
    """A `.env` that was copied into an image is not read there."""
    machines = empty_machines(tmp_path)
    for mode in [mode for mode in MODES if mode != "development"]:
        with case(mode):
            root = next(machines)
            assert situate(root, mode=mode, env_file=".env").env_files == ()


def test_env_fallback_is_allowed_by_code_or_variable(tmp_path: Path) -> None:
    """A fallback to the environment is allowed only by the argument or the variable."""
    cases: list[tuple[str | None, bool, bool]] = [
        (None, False, False),
        (None, True, True),
        ("", False, False),
        ("1", False, True),
        ("true", False, True),
        ("YES", False, True),
        ("on", False, True),
        (" 1 ", False, True),
        ("0", False, False),
        ("False", False, False),
        ("no", False, False),
        ("off", False, False),
        ("0", True, True),
    ]
    machines = empty_machines(tmp_path)
    for said, wish, allowed in cases:
        with case(said, wish, allowed):
            root = next(machines)
            environ = {} if said is None else {"HIVE_BOOT_ENV_FALLBACK": said}

            assert situate(root, environ, env_fallback=wish).env_fallback is allowed


def test_every_variable_that_means_nothing_is_a_problem(tmp_path: Path) -> None:
    """Three misspelled settings are three problems of one report, each with what to write."""
    environ = {
        "HIVE_BOOT_MODE": "kubernets",
        "HIVE_BOOT_PROFILE": "prodution",
        "HIVE_BOOT_ENV_FALLBACK": "maybe",
    }

    with pytest.raises(InvalidSecretsError) as caught:
        situate(tmp_path, environ)

    assert [(problem.name, problem.kind) for problem in caught.value.problems] == [
        ("HIVE_BOOT_MODE", "setting"),
        ("HIVE_BOOT_PROFILE", "setting"),
        ("HIVE_BOOT_ENV_FALLBACK", "setting"),
    ]
    for problem, near, allowed in zip(
        caught.value.problems,
        ("'kubernetes'", "'production'", ""),
        ("development", "prod", "1 or 0"),
        strict=True,
    ):
        assert near in problem.message
        assert allowed in problem.fix


def test_what_is_no_near_miss_is_not_repeated(tmp_path: Path) -> None:
    """A value that was put into the wrong variable is not in the report."""
    cases: list[str] = ["HIVE_BOOT_MODE", "HIVE_BOOT_PROFILE", "HIVE_BOOT_ENV_FALLBACK"]
    machines = empty_machines(tmp_path)
    for variable in cases:
        with case(variable):
            root = next(machines)
            with pytest.raises(InvalidSecretsError) as caught:
                situate(root, {variable: "fake-jwt-secret-0123456789"})

            (problem,) = caught.value.problems
            assert problem.name == variable
            assert problem.kind == "setting"
            assert "'" not in problem.message
            assert "fake" not in caught.value.report()


def test_a_mode_that_means_nothing_is_a_problem_in_a_pod_too(tmp_path: Path) -> None:
    """A misspelled mode is never replaced by a guess."""
    with pytest.raises(InvalidSecretsError):
        situate(tmp_path, {"HIVE_BOOT_MODE": "dev", "KUBERNETES_SERVICE_HOST": "10.0.0.1"})


def test_what_the_code_says_wrong_is_a_bug_of_the_code() -> None:
    """A wrong mode in the code is refused where it is written."""
    cases: list[tuple[Any, str]] = [
        ({"mode": "k8s"}, "'k8s'"),
        ({"mode": ""}, "''"),
        ({"profile": "live"}, "'live'"),
        ({"profile": ""}, "''"),
        *(({"secrets_dirs": each}, "secrets_dirs") for each in ([], "", ["/a", ""], [b"/a"], [5])),
    ]
    for source_options, said in cases:
        with case(source_options, said):
            with pytest.raises(DeclarationError) as caught:
                SourceOptions(**source_options)

            assert said in str(caught.value)


def test_the_surroundings_are_those_of_the_process() -> None:
    """Without being told otherwise the real machine is looked at."""
    child = run_child(
        "import os\n"
        "from hive_boot.secrets.platform import HostEnvironment\n"
        "seen = HostEnvironment()\n"
        "assert seen.variables() == dict(os.environ)\n"
        "assert seen.variables() is not os.environ\n"
        "assert (seen.cwd, seen.pid, seen.root) == (os.getcwd(), os.getpid(), '/')\n"
        "assert seen.path('/run/secrets') == '/run/secrets'\n"
        "assert seen.exists('/proc/self')\n"
        "assert not seen.exists('/no/such/place')\n"
    )

    assert child.stderr == ""
    assert child.returncode == 0


def test_a_situation_shows_no_environment() -> None:
    """What was decided can be printed; the variables are kept out of it."""
    source_context = detect(
        HostEnvironment(environ={"TOKEN": "fake-token"}, root="/nowhere"), SourceOptions()
    )

    assert isinstance(source_context, SourceContext)
    assert source_context.variables() == {"TOKEN": "fake-token"}
    assert "fake-token" not in repr(source_context)
    with pytest.raises(TypeError):
        json.dumps(source_context)


def test_a_container_in_development_mode_may_have_forgotten_its_mount(tmp_path: Path) -> None:
    """A report can ask about the mount where it was probably forgotten."""
    cases: list[tuple[list[str], int, str | None, bool]] = [
        ([".dockerenv"], 4711, None, True),
        (["run/.containerenv"], 4711, None, True),
        ([], 1, None, True),
        ([], 4711, None, False),
        ([".dockerenv"], 1, "kubernetes", False),
        ([".dockerenv"], 1, "environment", False),
    ]
    machines = empty_machines(tmp_path)
    for files, pid, mode, forgotten in cases:
        with case(files, pid, mode, forgotten):
            root = next(machines)
            for name in files:
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).touch()

            assert situate(root, pid=pid, mode=mode).maybe_missing_mount is forgotten


def test_the_environment_is_not_shown(tmp_path: Path) -> None:
    """What prints a decision, or what it was made of, prints no variable's text."""
    surroundings = HostEnvironment({"OPENAI_API_KEY": "fake-key"}, str(tmp_path), str(tmp_path), 2)
    source_context = detect(surroundings, SourceOptions())
    assert source_context.variables()["OPENAI_API_KEY"] == "fake-key"
    shown = repr([source_context, source_context.variables, surroundings])
    assert "fake-key" not in shown


def test_a_working_directory_that_was_removed_is_empty(tmp_path: Path) -> None:
    """A service whose secrets are elsewhere starts, such as after a deployment."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/api_key").write_text("fake-value-0123456789")
    gone = tmp_path / "gone"
    gone.mkdir()
    program = (
        "import os, sys\n"
        "from hive_boot import Bootstrap, Secret, SecretSet, get_secret\n"
        f"os.rmdir({str(gone)!r})\n"
        "class S(SecretSet):\n    api_key: Secret | None\n"
        "boot = Bootstrap(S)\n"
        "@boot.main\n"
        "async def main(secrets: S) -> None:\n"
        "    print(secrets.api_key is not None)\n"
        "print(get_secret('API_KEY') is not None)\n"
        "boot.run()\n"
    )
    for mode, expected in (("docker", "True\nTrue\n"), ("development", "False\nFalse\n")):
        gone.mkdir(exist_ok=True)
        variables = {"HIVE_BOOT_MODE": mode, "HIVE_BOOT_SECRETS_DIR": str(tmp_path / "secrets")}
        done = run_child(program, cwd=gone, **variables)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_variables_are_shown_as_their_number() -> None:
    """Environment variables in a traceback with locals show no value."""
    assert repr(Variables({"TOKEN": "fake-token"})) == "Variables(1)"
