"""The eight secrets of the seed's inventory, in each of the six ways to provide them."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hive_boot import Bootstrap, InvalidSecretsError, get_secret, has_secret, require_secret
from hive_boot.runtime.log_messages import note_text
from hive_boot.secrets.load_result import LoadWarning
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import Inventory, failed_start, look, move_to, report_of, values_of

FAKES = {
    "OPENAI_API_KEY": "fake-openai-api-key-0123456789",
    "HIVE_API_KEY": "fake-hive-api-key-0123456789",
    "JWT_SECRET": "fake-jwt-secret-0123456789-0123456789",
    "STRIPE_SECRET_KEY": "fake-stripe-secret-key-0123456789",
    "STRIPE_WEBHOOK_SECRET": "fake-stripe-webhook-secret-0123456789",
    "LANGSMITH_API_KEY": "fake-langsmith-api-key-0123456789",
    "SENTRY_DSN": "https://fake-sentry-dsn-0123456789@example.invalid/1",
    "GITHUB_TOKEN": "fake-github-token-0123456789",
}

IN_PRODUCTION = ("OPENAI_API_KEY", "HIVE_API_KEY", "JWT_SECRET")


def by_attribute(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values by the attributes of the declaration."""
    return {name.lower(): value for name, value in values.items()}


def fake(*names: str) -> dict[str, str]:
    """Return the fake values of some of the secrets."""
    return {name: FAKES[name] for name in names}


@dataclass(frozen=True)
class Way:
    """One way to provide secrets.

    Attributes:
        mode: the mode that it is.
        provide: lays the values out below a root, and gives the environment.
        source: what the status of a secret calls the source.
        place: where the first secret stands, relative to the root.
        mend: what the hint for a missing HIVE_API_KEY says.
    """

    mode: str
    provide: Callable[[Path, Mapping[str, str]], dict[str, str]]
    source: str
    place: str
    mend: str


def write_files(directory: Path, values: Mapping[str, str]) -> None:
    """Write one file for each secret, with the newline that an editor leaves."""
    directory.mkdir(parents=True)
    for name, value in values.items():
        (directory / name.lower()).write_text(f"{value}\n")


def by_kubelet(root: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Publish a Secret volume at /run/secrets/hive."""
    MountedVolume(root / "run/secrets/hive").publish({key.lower(): v for key, v in values.items()})
    return {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def by_systemd(root: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Write the credentials of a unit."""
    write_files(root / "run/credentials/hive.service", values)
    return {"CREDENTIALS_DIRECTORY": "/run/credentials/hive.service"}


def by_docker(root: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Write the files that Compose mounts at /run/secrets."""
    write_files(root / "run/secrets", values)
    return {}


def by_named_directory(root: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Write files into a directory that a variable names."""
    write_files(root / "srv/secrets", values)
    return {"HIVE_BOOT_SECRETS_DIR": str(root / "srv/secrets")}


def by_environment(root: Path, values: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001  (a way)
    """Inject variables, as Cloud Run does."""
    return {"HIVE_BOOT_MODE": "environment", **values}


def by_dotenv(root: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Write a ``.env`` file, and mean production by it."""
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    (root / "cwd/.env").write_text(lines)
    return {"HIVE_BOOT_PROFILE": "production"}


WAYS = {
    "kubernetes": Way(
        "kubernetes",
        by_kubelet,
        "file",
        "run/secrets/hive/openai_api_key",
        "kubectl create secret generic inventory --from-file=hive_api_key=/dev/stdin",
    ),
    "systemd": Way(
        "systemd",
        by_systemd,
        "file",
        "run/credentials/hive.service/openai_api_key",
        "LoadCredential=hive_api_key:",
    ),
    "docker": Way(
        "docker", by_docker, "file", "run/secrets/openai_api_key", "run/secrets/hive_api_key"
    ),
    "named directory": Way(
        "docker", by_named_directory, "file", "srv/secrets/openai_api_key", "srv/secrets/hive_api"
    ),
    "environment": Way(
        "environment", by_environment, "environment", "OPENAI_API_KEY", "HIVE_API_KEY"
    ),
    "development": Way("development", by_dotenv, ".env", "cwd/.env", "HIVE_API_KEY=... to "),
}


@contextmanager
def provided(way: Way, root: Path, values: Mapping[str, str]) -> Iterator[None]:
    """Make this process one that is provided with values in one of the ways."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(root / "cwd")
        for name, value in way.provide(root, values).items():
            monkeypatch.setenv(name, value)
        move_to(root, monkeypatch)
        yield


@pytest.mark.anyio
async def test_a_service_with_all_eight_secrets_has_their_values(tmp_path: Path) -> None:
    """It starts with exactly the given values."""
    for (label, way), root in zip(WAYS.items(), empty_machines(tmp_path), strict=False):
        with case(label), provided(way, root, FAKES):
            boot = Bootstrap(Inventory)
            async with boot.running() as secrets:
                assert {name: get_secret(name) for name in FAKES} == FAKES
                assert secrets.openai_api_key.reveal() == FAKES["OPENAI_API_KEY"]
                assert secrets.sentry_dsn is not None
                assert secrets.sentry_dsn.reveal() == FAKES["SENTRY_DSN"]
                status = boot.status()
            assert (status.mode, status.profile, status.generation) == (way.mode, "production", 1)
            assert [each.name for each in status.secrets] == list(FAKES)
            assert {each.source for each in status.secrets} == {way.source}
            assert status.secrets[0].place in {way.place, str(root / way.place)}
            assert not [value for value in FAKES.values() if value in repr(status)]


@pytest.mark.anyio
async def test_a_service_in_production_starts_with_three_of_eight_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are None, without a warning."""
    for (label, way), root in zip(WAYS.items(), empty_machines(tmp_path), strict=False):
        with case(label), provided(way, root, fake(*IN_PRODUCTION)):
            async with Bootstrap(Inventory).running() as secrets:
                assert require_secret("JWT_SECRET") == FAKES["JWT_SECRET"]
                assert secrets.stripe_secret_key is None
                assert get_secret("SENTRY_DSN") is None
                assert not has_secret("GITHUB_TOKEN")
            assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.anyio
async def test_a_service_in_production_without_required_secrets_does_not_start(
    tmp_path: Path,
) -> None:
    """Each missing secret is named with its users and a fix."""
    for (label, way), root in zip(WAYS.items(), empty_machines(tmp_path), strict=False):
        with case(label), provided(way, root, fake("OPENAI_API_KEY", "SENTRY_DSN")):
            failure = await failed_start(Bootstrap(Inventory))
            assert [(each.name, each.kind) for each in failure.problems] == [
                ("HIVE_API_KEY", "missing"),
                ("JWT_SECRET", "missing"),
            ]
            assert [each.used_by for each in failure.problems] == ["auth middleware", "user-auth"]
            assert way.mend in failure.problems[0].fix
            assert failure.declaration == "Inventory"
            assert dict(failure.facts)["mode"].split()[0] == way.mode
            assert FAKES["OPENAI_API_KEY"] not in str(failure)


def test_each_profile_requires_its_own_secrets(tmp_path: Path) -> None:
    """OPENAI_API_KEY alone is enough in development and test, but not in staging and production."""
    cases: list[tuple[str, tuple[str, ...]]] = [
        ("development", ()),
        ("dev", ()),
        ("test", ()),
        ("staging", ("HIVE_API_KEY", "JWT_SECRET")),
        ("stage", ("HIVE_API_KEY", "JWT_SECRET")),
        ("production", ("HIVE_API_KEY", "JWT_SECRET")),
        ("Prod", ("HIVE_API_KEY", "JWT_SECRET")),
    ]
    machines = empty_machines(tmp_path)
    for profile, needed in cases:
        for label, way in WAYS.items():
            with case(profile, needed, label):
                root = next(machines)
                environ = way.provide(root, fake("OPENAI_API_KEY"))
                loaded = look(Inventory, root, environ, profile=profile)
                assert tuple(each.name for each in loaded.problems) == needed
                assert values_of(loaded) == by_attribute(fake("OPENAI_API_KEY"))


def test_openai_api_key_is_required_in_every_profile(tmp_path: Path) -> None:
    """It is required without a profile in its declaration."""
    machines = empty_machines(tmp_path)
    for profile in ("development", "test", "staging", "production"):
        for label, way in WAYS.items():
            with case(profile, label):
                root = next(machines)
                environ = way.provide(root, fake("HIVE_API_KEY", "JWT_SECRET"))
                loaded = look(Inventory, root, environ, profile=profile)
                assert [each.name for each in loaded.problems] == ["OPENAI_API_KEY"]


def test_development_requires_only_secrets_of_every_profile(tmp_path: Path) -> None:
    """This is development mode outside a container."""
    loaded = look(Inventory, tmp_path, fake("OPENAI_API_KEY"))
    assert loaded.problems == ()


def test_a_container_without_its_mount_fails_closed(tmp_path: Path) -> None:
    """A container without its mount is held to production, and the report names what is missing."""
    loaded = look(Inventory, tmp_path, fake("OPENAI_API_KEY"), pid=1)
    assert [each.name for each in loaded.problems] == ["HIVE_API_KEY", "JWT_SECRET"]
    assert "/run/secrets" in note_text(loaded.report_notes[0])


def test_app_env_counts_in_development_mode_only(tmp_path: Path) -> None:
    """APP_ENV=prod makes development mode strict, and cannot loosen a mounted mode."""
    strict = look(Inventory, tmp_path, {"APP_ENV": "prod", **fake("OPENAI_API_KEY")})
    assert [each.name for each in strict.problems] == ["HIVE_API_KEY", "JWT_SECRET"]
    environ = {"APP_ENV": "dev", "HIVE_BOOT_MODE": "environment", **fake("OPENAI_API_KEY")}
    mounted = look(Inventory, tmp_path, environ)
    assert [each.name for each in mounted.problems] == ["HIVE_API_KEY", "JWT_SECRET"]


def test_development_layers(tmp_path: Path) -> None:
    """The process's variables count more than .env.local, and that more than .env."""
    (tmp_path / "cwd/.env").write_text(
        "OPENAI_API_KEY=from-env-file\nJWT_SECRET=from-env-file\nHIVE_API_KEY=from-env-file\n"
    )
    (tmp_path / "cwd/.env.local").write_text("OPENAI_API_KEY=from-local\nJWT_SECRET=from-local\n")
    loaded = look(Inventory, tmp_path, {"OPENAI_API_KEY": "from-process"})
    assert values_of(loaded) == {
        "openai_api_key": "from-process",
        "jwt_secret": "from-local",
        "hive_api_key": "from-env-file",
    }
    assert loaded.origin("openai_api_key") == ("environment", "OPENAI_API_KEY")
    assert loaded.origin("jwt_secret") == (".env", str(tmp_path / "cwd/.env.local"))
    assert loaded.origin("hive_api_key") == (".env", str(tmp_path / "cwd/.env"))


def test_an_empty_variable_does_not_hide_a_weaker_source(tmp_path: Path) -> None:
    """An empty variable is treated as unset."""
    (tmp_path / "cwd/.env").write_text("OPENAI_API_KEY=from-env-file\n")
    (tmp_path / "cwd/.env.local").write_text("OPENAI_API_KEY=\n")
    loaded = look(Inventory, tmp_path, {"OPENAI_API_KEY": ""})
    assert values_of(loaded) == {"openai_api_key": "from-env-file"}


def test_the_environment_is_not_changed(tmp_path: Path) -> None:
    """A value of .env does not become a variable of the process or of its children."""
    (tmp_path / "cwd/.env").write_text("OPENAI_API_KEY=from-env-file\n")
    before = dict(os.environ)
    loaded = look(Inventory, tmp_path, os.environ)
    assert values_of(loaded) == {"openai_api_key": "from-env-file"}
    assert dict(os.environ) == before


def test_a_report_without_a_dotenv_file_names_both_paths(tmp_path: Path) -> None:
    """Without a .env the report of development mode names both paths."""
    loaded = look(Inventory, tmp_path)
    (remark,) = loaded.notes
    assert remark.kind == "no-dotenv"
    assert remark.locations == (f"{tmp_path}/cwd/.env", f"{tmp_path}/cwd/.env.local")


@pytest.mark.anyio
async def test_a_missing_dotenv_file_is_logged_with_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A developer without a .env reads in the log where it was looked for."""
    caplog.set_level(logging.INFO, "hive_boot")
    move_to(tmp_path, monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", FAKES["OPENAI_API_KEY"])
    async with Bootstrap(Inventory).running():
        pass
    assert f"{tmp_path}/cwd/.env.local" in caplog.text
    assert "development (no /run/secrets)" in caplog.text


def test_dotenv_cannot_choose_the_mode(tmp_path: Path) -> None:
    """HIVE_BOOT_PROFILE in .env has no effect, and a warning says so."""
    (tmp_path / "cwd/.env").write_text("HIVE_BOOT_PROFILE=production\nOPENAI_API_KEY=fake-key\n")
    loaded = look(Inventory, tmp_path)
    assert loaded.problems == ()
    (warning,) = loaded.warnings
    assert warning == LoadWarning("dotenv-setting", ("HIVE_BOOT_PROFILE",), f"{tmp_path}/cwd/.env")


def test_foreign_entries_are_not_a_mount(tmp_path: Path) -> None:
    """What a platform puts below /run/secrets by itself does not make a mounted mode."""
    cases: list[str] = ["kubernetes.io", "rhsm", "eks.amazonaws.com", "redhat.repo"]
    machines = empty_machines(tmp_path)
    for foreign in cases:
        with case(foreign):
            root = next(machines)
            (root / "run/secrets" / foreign).mkdir(parents=True)
            (root / "cwd/.env").write_text("OPENAI_API_KEY=from-env-file\n")
            assert values_of(look(Inventory, root)) == {"openai_api_key": "from-env-file"}


def test_a_pod_without_a_volume_gets_two_fixes(tmp_path: Path) -> None:
    """A CI pod reads first how to say that it wants .env, or variables."""
    machines = empty_machines(tmp_path)
    for entries in ((), ("kubernetes.io",), ("kubernetes.io", "rhsm")):
        with case(entries):
            root = next(machines)
            for entry in entries:
                (root / "run/secrets" / entry).mkdir(parents=True)
            loaded = look(Inventory, root, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
            assert [each.name for each in loaded.problems] == list(IN_PRODUCTION)
            hint = note_text(loaded.hints[0])
            assert "HIVE_BOOT_MODE=development" in hint
            assert "HIVE_BOOT_MODE=environment" in hint


def test_a_pod_with_a_volume_gets_no_such_fix(tmp_path: Path) -> None:
    """A volume that lacks a key is a key that is missing, and no question of mode."""
    environ = by_kubelet(tmp_path, fake("OPENAI_API_KEY"))
    assert "HIVE_BOOT_MODE" not in report_of(look(Inventory, tmp_path, environ))


def test_a_platform_that_injects_variables(tmp_path: Path) -> None:
    """HIVE_BOOT_MODE=environment on a pod reads variables and nothing else."""
    environ = by_kubelet(tmp_path, {"OPENAI_API_KEY": "from-file"})
    environ |= by_environment(tmp_path, FAKES)
    (tmp_path / "cwd/.env").write_text("OPENAI_API_KEY=from-env-file\n")
    assert values_of(look(Inventory, tmp_path, environ)) == by_attribute(FAKES)


def test_an_unknown_mode_is_a_problem_with_a_similar_one(tmp_path: Path) -> None:
    """A mode that does not exist is a problem, with the near one in its text."""
    with pytest.raises(InvalidSecretsError) as caught:
        look(Inventory, tmp_path, {"HIVE_BOOT_MODE": "kubernetis"})
    assert "'kubernetes'" in caught.value.problems[0].message
