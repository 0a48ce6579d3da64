"""Settings that are not secret: made once at a start, reported with the secrets' problems."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import Bootstrap, Secret, SecretSet, secret
from tests.support import failed_start

VALUE = "fake-jwt-secret-0123456789-0123456789"

WRONG_PORT = "no-port-but-4711-apples"


class HiveSecrets(SecretSet):
    """One secret."""

    jwt_secret: Secret = secret(min_length=32, used_by="user-auth")


def not_reserved(name: str) -> str:
    """Refuse a name, and show it: whatever it is."""
    if name != "hive":
        message = f"{name} is reserved"
        raise ValueError(message)
    return name


class Settings(BaseSettings):
    """Settings as an application has them."""

    model_config = SettingsConfigDict(env_prefix="HIVE_")

    port: int = 3000
    workers: Annotated[int, Field(ge=1)] = 1
    name: Annotated[str, AfterValidator(not_reserved)] = "hive"
    limits: dict[str, int] = {}


def boot_of(config: Any) -> Bootstrap[HiveSecrets, Any]:  # noqa: ANN401  (anything that is called)
    """Make an application with these settings, whose secrets are variables."""
    return Bootstrap(HiveSecrets, config=config, mode="environment")


@pytest.fixture(autouse=True)
def provided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide the secret."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


@pytest.mark.anyio
async def test_a_settings_class_is_made_once_at_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings come from the environment of the start, and stay the same object."""
    monkeypatch.setenv("HIVE_PORT", "4000")
    boot = boot_of(Settings)
    async with boot.running():
        assert isinstance(boot.config, Settings)
        assert boot.config.port == 4000
        monkeypatch.setenv("HIVE_PORT", "5000")
        assert boot.config is boot.config
        assert boot.config.port == 4000
    async with boot.running():
        assert boot.config.port == 5000


@pytest.mark.anyio
async def test_any_callable_makes_settings() -> None:
    """A function, a lambda or a plain class is accepted; its result is used unchanged."""

    @dataclass
    class Plain:
        """Settings without a library."""

        port: int = 3000

    made = object()
    for factory, expected in ((Plain, Plain()), (lambda: made, made)):
        boot = boot_of(factory)
        async with boot.running():
            assert boot.config == expected


@pytest.mark.anyio
async def test_without_settings_there_are_none() -> None:
    """An application that declares no settings has None."""
    boot = Bootstrap(HiveSecrets, mode="environment")
    async with boot.running():
        assert boot.config is None


@pytest.mark.anyio
async def test_every_wrong_setting_is_a_problem_that_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each wrong field is named with what is expected, and what was there is not shown."""
    monkeypatch.setenv("HIVE_PORT", WRONG_PORT)
    monkeypatch.setenv("HIVE_WORKERS", "-471147114711")
    error = await failed_start(boot_of(Settings))
    assert [(problem.name, problem.kind) for problem in error.problems] == [
        ("Settings.port", "config"),
        ("Settings.workers", "config"),
    ]
    port, workers = error.problems
    assert "integer" in port.message
    assert "equal to 1" in workers.message
    assert "HIVE_PORT" in port.fix
    assert WRONG_PORT not in str(error)
    assert "471147114711" not in str(error)
    assert "pydantic.dev" not in str(error)


@pytest.mark.anyio
async def test_settings_and_secrets_fail_in_one_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deploys sees all that is wrong at once, not the settings after the secrets."""
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("HIVE_PORT", WRONG_PORT)
    error = await failed_start(boot_of(Settings))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET", "Settings.port"]
    assert error.declaration == "HiveSecrets"


@pytest.mark.anyio
async def test_a_secret_in_a_settings_message_is_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A validator that shows its input does not show a secret."""
    monkeypatch.setenv("HIVE_NAME", VALUE)
    error = await failed_start(boot_of(Settings))
    (problem,) = error.problems
    assert problem.name == "Settings.name"
    assert problem.message.endswith("*** is reserved")


@pytest.mark.anyio
async def test_a_secret_in_a_settings_place_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a mapping is input too, and it stands in the name of the problem."""
    monkeypatch.setenv("HIVE_LIMITS", f'{{"{VALUE}": "many"}}')
    error = await failed_start(boot_of(Settings))
    (problem,) = error.problems
    assert problem.name == "Settings.limits"
    assert VALUE not in str(error)


@pytest.mark.anyio
async def test_a_factory_that_raises_is_reported_without_the_secret() -> None:
    """The words of a plain factory's error are kept, and the value in them is not."""

    def make_settings() -> object:
        message = f"cannot log in with {VALUE}"
        raise RuntimeError(message)

    error = await failed_start(boot_of(make_settings))
    (problem,) = error.problems
    assert (problem.name, problem.kind) == ("make_settings", "config")
    assert "RuntimeError: cannot log in with *** (" in problem.message
    assert VALUE not in str(error)


@pytest.mark.anyio
async def test_a_value_that_was_itself_refused_is_taken_out_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A secret that is too short is a secret: it is removed from the error of a factory too."""
    monkeypatch.setenv("JWT_SECRET", "fake-and-too-short")

    def make_settings() -> object:
        message = "cannot log in with fake-and-too-short"
        raise RuntimeError(message)

    error = await failed_start(boot_of(make_settings))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET", "make_settings"]
    assert "fake-and-too-short" not in str(error)


@pytest.mark.anyio
async def test_errors_of_other_libraries_are_not_read_as_those_of_pydantic() -> None:
    """Each is named by its type; its text is left out when it has a method ``errors``."""

    class Maker:
        """An object without a name that fails to make settings."""

        def __call__(self) -> object:
            message = "no"
            raise LookupError(message)

    class OtherError(Exception):
        """An error of another library, whose text may hold anything."""

        def errors(self) -> list[str]:
            """Return what only that library understands."""
            return [VALUE]

    def other() -> object:
        raise OtherError(WRONG_PORT)

    class ListedError(Exception):
        """An error whose attribute ``errors`` is not a method."""

        errors = ("one", "two")

    def listed() -> object:
        message = "two things"
        raise ListedError(message)

    table = (
        (Maker(), "Maker", "LookupError: no"),
        (other, "other", "OtherError"),
        (listed, "listed", "ListedError: two things"),
    )
    for factory, name, text in table:
        error = await failed_start(boot_of(factory))
        (problem,) = error.problems
        assert problem.name == name
        assert f": {text} (" in problem.message
