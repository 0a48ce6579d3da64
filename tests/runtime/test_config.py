"""The factory of the config: what it takes and returns, and what a failure reports."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import anyio
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, model_validator
from pydantic import dataclasses as pydantic_dataclasses
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import Bootstrap, DeclarationError, Secret, SecretSet
from hive_boot.runtime.config import ConfigFactory
from tests.fixtures.cases import case
from tests.support import failed_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hive_boot import Problem

    class Unseen:
        """A class that does not exist when the program runs."""


VALUE = "fake-token-0123456789-0123456789"


class AppSecrets(SecretSet):
    """One secret."""

    token: Secret


class Pool(BaseModel):
    """A model with a name of its own in the input."""

    size: int = 1
    timeout: int = Field(default=1, alias="waits")


@pydantic_dataclasses.dataclass
class Cache:
    """A dataclass of pydantic."""

    port: int = 1


class Postgres(BaseModel):
    """One type of a union."""

    kind: Literal["pg"] = "pg"
    port: int = 1


class Sqlite(BaseModel):
    """Another type of a union."""

    kind: Literal["lite"] = "lite"
    path: str = "x"


class Db(BaseModel):
    """A model with models in it."""

    model_config = ConfigDict(extra="forbid")

    port: int
    pool: Pool = Pool()
    pools: list[Pool] = []
    by_name: dict[str, Pool] = {}


class Cfg(BaseSettings):
    """Settings with every kind of nesting."""

    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")

    db: Db | None = None
    cache: Cache = Cache()
    one: Postgres | None = None
    several: Postgres | dict[str, int] = Postgres()
    tagged: Annotated[Postgres | Sqlite, Field(discriminator="kind")] = Postgres()
    workers: int = Field(1, ge=1)
    level: Literal["debug", "info"] = "info"
    limits: dict[str, int] = {}
    renamed: int = Field(1, validation_alias="OTHER_NAME")
    either: int = Field(1, validation_alias=AliasChoices("FIRST", "SECOND"))
    listed: int = Field(1, validation_alias=AliasPath("LIST", 0))

    @model_validator(mode="after")
    def check_names(self) -> Self:
        """Refuse a pair, and show it."""
        if self.limits.get("stop"):
            message = f"stop is {self.limits['stop']}"
            raise ValueError(message)
        return self


class Sensitive(BaseSettings):
    """Settings whose variables have exactly these names."""

    model_config = SettingsConfigDict(
        case_sensitive=True, env_prefix="app_", env_nested_delimiter="_", env_nested_max_split=1
    )

    Port: int = 1
    pool: Pool = Pool()


class Plain(BaseSettings):
    """Settings without a delimiter, so that a model is one variable with JSON."""

    pool: Pool = Pool()
    needed: int


class Outer(BaseSettings):
    """Settings that create other settings."""

    inner: Plain = Field(default_factory=Plain)  # type: ignore[arg-type]


def make_plain() -> object:
    """Create settings whose class is in no annotation."""
    return Plain()  # type: ignore[call-arg]


class NoSettings(BaseModel):
    """A model that reads no variables."""

    port: int = Field(default_factory=lambda: int("x"))


async def problems_of(config: Callable[..., Any]) -> list[Problem]:
    """Return the problems of the config of a start."""
    boot = Bootstrap(AppSecrets, config=config, mode="environment")
    error = await failed_start(boot)
    assert VALUE not in str(error)
    assert {each.kind for each in error.problems} == {"config"}
    return list(error.problems)


@pytest.fixture(autouse=True)
def provided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide the secret."""
    monkeypatch.setenv("TOKEN", VALUE)


@pytest.mark.anyio
async def test_a_problem_has_the_path_of_the_field_and_the_variable_that_sets_it() -> None:
    """Names of models are shown, in the way in which pydantic-settings reads variables."""
    table: list[tuple[Any, dict[str, str], str, str]] = [
        (Cfg, {"APP_DB__PORT": "x"}, "Cfg.db.port", "APP_DB__PORT"),
        (Cfg, {"app_db__port": "x"}, "Cfg.db.port", "APP_DB__PORT"),
        (Cfg, {"APP_DB": "{}"}, "Cfg.db.port", "APP_DB__PORT"),
        (Cfg, {"APP_DB": "x"}, "Cfg.db", "APP_DB"),
        (
            Cfg,
            {"APP_DB__PORT": "1", "APP_DB__POOL__SIZE": "x"},
            "Cfg.db.pool.size",
            "APP_DB__POOL__SIZE",
        ),
        (
            Cfg,
            {"APP_DB": '{"port": 1, "pool": {"waits": "x"}}'},
            "Cfg.db.pool.timeout",
            "APP_DB__POOL__WAITS",
        ),
        (
            Cfg,
            {"APP_DB": '{"port": 1, "pools": [{"size": "x"}]}'},
            "Cfg.db.pools.size",
            "APP_DB__POOLS",
        ),
        (
            Cfg,
            {"APP_DB__PORT": "1", "APP_DB__BY_NAME__FAKE__SIZE": "x"},
            "Cfg.db.by_name.size",
            "APP_DB__BY_NAME",
        ),
        (Cfg, {"APP_CACHE__PORT": "x"}, "Cfg.cache.port", "APP_CACHE__PORT"),
        (Cfg, {"APP_ONE__PORT": "x"}, "Cfg.one.port", "APP_ONE__PORT"),
        (Cfg, {"APP_TAGGED": '{"kind": "pg", "port": "x"}'}, "Cfg.tagged.port", "APP_TAGGED__PORT"),
        (Cfg, {"APP_TAGGED__KIND": "x"}, "Cfg.tagged", "APP_TAGGED"),
        (Cfg, {"APP_WORKERS": "0"}, "Cfg.workers", "APP_WORKERS"),
        (Cfg, {"APP_LEVEL": "trace"}, "Cfg.level", "APP_LEVEL"),
        (Cfg, {"APP_LEVEL": ""}, "Cfg.level", "APP_LEVEL"),
        (Cfg, {"APP_LIMITS": '{"fake-key": "x"}'}, "Cfg.limits", "APP_LIMITS"),
        (
            Cfg,
            {"APP_LIMITS": "{x"},
            "Cfg.limits",
            "APP_LIMITS, or the one that begins with it, to valid JSON",
        ),
        (
            Cfg,
            {"APP_DB__PORT": "1", "APP_DB__POOLS": "[x"},
            "Cfg.db",
            "APP_DB, or the one that begins with it, to valid JSON",
        ),
        (Cfg, {"OTHER_NAME": "x"}, "Cfg.renamed", "OTHER_NAME"),
        (Cfg, {"SECOND": "x"}, "Cfg.either", "FIRST or SECOND"),
        (Cfg, {"LIST": '["x"]'}, "Cfg.listed", "LIST"),
        (Sensitive, {"app_Port": "x"}, "Sensitive.Port", "app_Port"),
        (Sensitive, {"app_pool_size": "x"}, "Sensitive.pool.size", "app_pool_size"),
        (Plain, {"NEEDED": "1", "POOL": '{"size": "x"}'}, "Plain.pool.size", "POOL"),
        (Plain, {}, "Plain.needed", "NEEDED"),
        (partial(Plain, pool=Pool()), {}, "Plain.needed", "NEEDED"),
        (Outer, {}, "Plain.needed", "NEEDED"),
        (make_plain, {}, "Plain.needed", "NEEDED"),
        (lambda: Plain(), {}, "Plain.needed", "NEEDED"),  # type: ignore[call-arg]  # noqa: PLW0108
    ]
    for config, environ, name, variable in table:
        with case(config, environ), pytest.MonkeyPatch.context() as patch:
            for key, value in environ.items():
                patch.setenv(key, value)
            (problem,) = await problems_of(config)
            assert problem.name == name
            assert problem.fix == f"set the environment variable {variable}"
            assert "fake" not in problem.message


@pytest.mark.anyio
async def test_the_name_of_a_type_in_a_location_is_in_no_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A union has a problem for each of its types, with the name of the type in the location."""
    monkeypatch.setenv("APP_SEVERAL__PORT", "x")
    problem = (await problems_of(Cfg))[0]
    assert (problem.name, problem.fix.split()[-1]) == ("Cfg.several.port", "APP_SEVERAL__PORT")
    monkeypatch.delenv("APP_SEVERAL__PORT")
    monkeypatch.setenv("APP_SEVERAL", '{"kind": "fake-kind", "fake-key": "x"}')
    problems = await problems_of(Cfg)
    assert [(problem.name, problem.fix.split()[-1]) for problem in problems] == [
        ("Cfg.several.kind", "APP_SEVERAL__KIND"),
        ("Cfg.several.kind", "APP_SEVERAL"),
        ("Cfg.several", "APP_SEVERAL"),
    ]


@pytest.mark.anyio
async def test_the_file_of_a_wrong_setting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the last file that sets the variable, unless the environment does."""
    monkeypatch.chdir(tmp_path)
    first, last = tmp_path / "first.env", tmp_path / "last.env"

    class Filed(BaseSettings):
        model_config = SettingsConfigDict(
            env_file=(first, "last.env", tmp_path, "missing"), env_prefix="APP_"
        )
        port: int = 1
        either: int = Field(default=1, validation_alias=AliasChoices("FIRST", "SECOND"))

    unset = "set the environment variable APP_PORT"
    table = [
        ("APP_PORT=x", "", f"change APP_PORT=... in {first}"),
        ("APP_PORT=x", "export app_port = y", f"change app_port=... in {last}"),
        ("", "SECOND=x", f"change SECOND=... in {last}"),
        ("#APP_PORT=1\nMY_APP_PORT=1\nAPP_PORT=x", "", f"change APP_PORT=... in {first}"),
    ]
    for one, two, fix in table:
        with case(one, two):
            first.write_text(one)
            last.write_text(two)
            assert fix in [each.fix for each in await problems_of(Filed)]
    monkeypatch.setenv("app_PORT", "x")
    assert (await problems_of(Filed))[0].fix == unset
    monkeypatch.delenv("app_PORT")
    first.unlink()
    os.mkfifo(first)
    without_file = partial(Filed, _env_file=None, port="x")  # type: ignore[call-arg,arg-type]
    assert (await problems_of(without_file))[0].fix == unset  # nothing opens the FIFO


@pytest.mark.anyio
async def test_an_input_is_not_shown_by_the_messages_of_pydantic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tag of a union, and what a validator shows, are texts of the input."""
    for environ, message in (
        ({"APP_TAGGED__KIND": "hunter2"}, "Input tag '***' found"),
        ({"APP_LIMITS": '{"stop": 471147}'}, "Value error, stop is ***"),
        ({"APP_LIMITS": "hunter2"}, "SettingsError: error parsing value"),
    ):
        with case(environ), monkeypatch.context() as patch:
            for key, value in environ.items():
                patch.setenv(key, value)
            (problem,) = await problems_of(Cfg)
            assert message in problem.message
            assert not {"hunter2", "471147"} & set(problem.message.replace("'", " ").split())


@pytest.mark.anyio
async def test_undeclared_names_are_listed_with_the_setting_that_ignores_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One problem for all of them; what may be a value is only counted."""

    class Strict(Cfg):
        model_config = SettingsConfigDict(env_file=tmp_path / "env")

    class StrictCase(Cfg):
        model_config = SettingsConfigDict(env_file=tmp_path / "env", case_sensitive=True)

    table = [
        (Strict, "TOKEN=x\nGITHUB_TOKEN=y\n", "Strict", "it has no fields for TOKEN, GITHUB_TOKEN"),
        (Strict, "a-b=x\n", "Strict", "it has no fields for a name that cannot be shown"),
        (Strict, "a-b=x\nc.d=y\nPROT=1", "Strict", "a name that cannot be shown, PROT"),
        (Strict, "ZmFrZS1rZXk==\n", "Strict", "it has no fields for a name that cannot be shown"),
        (Strict, f"X{VALUE.replace('-', '_')}=1", "Strict", "a name that cannot be shown"),
        (Strict, "APP_DB__PORT=1\nAPP_DB__PROT=1\n", "Strict", "it has no fields for db.PROT"),
        (StrictCase, "Other=x\n", "StrictCase", "it has no fields for Other"),
    ]
    for config, text, name, message in table:
        with case(text), monkeypatch.context() as patch:
            patch.setenv("TOKEN", VALUE.replace("-", "_"))
            (tmp_path / "env").write_text(text)
            (problem,) = await problems_of(config)
            assert problem.name == name
            assert problem.message.endswith(message)
            assert 'extra="ignore"' in problem.fix
            assert "zmfrz" not in problem.message.lower()


@pytest.mark.anyio
async def test_a_failure_without_a_known_class_is_one_of_the_factory() -> None:
    """An error of a class that no name leads to shows no location, because it may be input."""

    def make_local() -> object:
        class Hidden(BaseSettings):
            needed: int

        return Hidden()  # type: ignore[call-arg]

    def fail() -> Cfg:
        message = "no"
        raise RuntimeError(message)

    table: list[tuple[Any, str, str]] = [
        (make_local, "make_local", "Field required"),
        (fail, "fail", "RuntimeError: no"),
        (partial(partial(fail)), "fail", "RuntimeError: no"),
        (NoSettings, "NoSettings", "ValueError"),
    ]
    for config, name, message in table:
        with case(name):
            (problem,) = await problems_of(config)
            assert problem.name == name
            assert message in problem.message
            assert "variable " not in problem.fix


@dataclass
class Settings:
    """Settings that a function creates."""

    dsn: str = ""

    @classmethod
    def load(cls) -> Self:
        """Create them."""
        return cls()


class Maker:
    """An object that creates settings."""

    def __call__(self) -> Settings:
        """Create them."""
        return Settings("made")


def make() -> Settings:
    """Create settings."""
    return Settings("made")


def make_annotated() -> Annotated[Settings, "settings"]:
    """Create settings."""
    return Settings("made")


def make_quoted() -> "Settings":  # noqa: UP037  (the quotes are the case)
    """Create settings."""
    return Settings("made")


def make_unseen() -> Unseen:
    """Create settings of a class that is imported for type checkers only."""
    return Settings("made")  # type: ignore[return-value]


def make_optional() -> Settings | None:
    """Create settings, perhaps."""


def make_unannotated():  # type: ignore[no-untyped-def]  # noqa: ANN201  (the case)
    """Create settings."""
    return Settings("made")


def make_secrets(secrets: AppSecrets) -> AppSecrets:
    """Return the secrets, which are not a config."""
    return secrets


@pytest.mark.anyio
async def test_functions_ask_for_the_config_by_the_type_that_the_factory_returns() -> None:
    """A check, a resource and a service receive it, whatever kind of callable creates it."""
    factories = (
        Settings,
        make,
        make_annotated,
        lru_cache(make),
        make_quoted,
        Settings.load,
        Maker(),
        partial(Settings, "made"),
        partial(make),
    )
    for factory in factories:
        with case(factory):
            boot = Bootstrap(AppSecrets, config=factory, mode="environment")
            seen: list[object] = []

            @boot.check
            async def check(config: Settings, seen: list[object] = seen) -> None:
                seen.append(config)

            @boot.resource
            async def pool(what: Annotated[Settings, 1], seen: list[object] = seen) -> int:
                seen.append(what)
                return 1

            async with boot.running():
                assert seen == [boot.config, boot.config]


@pytest.mark.anyio
async def test_a_class_that_only_type_checkers_see_is_compared_by_its_name() -> None:
    """Neither the annotation of the factory nor that of the function can be evaluated."""
    boot = Bootstrap(AppSecrets, config=make_unseen, mode="environment")
    seen: list[object] = []

    @boot.check
    async def check(config: Unseen) -> None:
        seen.append(config)

    async with boot.running():
        assert seen == [Settings("made")]


def test_without_a_type_the_config_cannot_be_asked_for() -> None:
    """A union, no annotation, None and C code name no type; the secrets stay the secrets."""
    nothing: list[Any] = [make_optional, make_unannotated, lambda: 1, max]
    for factory in nothing:
        with case(factory):
            assert ConfigFactory(factory, AppSecrets).config_type is None
    assert ConfigFactory(dict, AppSecrets).config_type is dict
    boot = Bootstrap(AppSecrets, config=make_secrets)
    assert boot._injectables().types[AppSecrets] == "secrets"  # noqa: SLF001  (who gets what)


class TakesSecrets(NamedTuple):
    """A class whose field is the secrets."""

    secrets: AppSecrets
    port: int = 1


class TakesMore(BaseModel):
    """A class with a field that it does not receive."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    secrets: AppSecrets
    port: int


@pytest.mark.anyio
async def test_a_factory_may_take_the_secrets() -> None:
    """By the type of any parameter; a lambda by the name ``secrets``."""

    def by_type(given: AppSecrets) -> str:
        return given.token.reveal()

    def by_base(*, given: SecretSet, port: int = 1) -> str:
        return given.current.__dict__["token"].reveal() if port == 1 else ""

    table: list[tuple[Any, Callable[[Any], str]]] = [
        (by_type, str),
        (by_base, str),
        (partial(by_base, port=1), str),
        (lambda secrets: secrets.token.reveal(), str),
        (TakesSecrets, lambda config: config.secrets.token.reveal()),
    ]
    for factory, read in table:
        with case(factory):
            boot = Bootstrap(AppSecrets, config=factory, mode="environment")
            async with boot.running():
                assert read(boot.config) == VALUE
    (problem,) = await problems_of(TakesMore)
    assert (problem.name, problem.fix.startswith("correct")) == ("TakesMore.port", True)


def test_a_function_with_a_parameter_that_cannot_be_filled_is_refused() -> None:
    """Before anything is read, with the type that it can ask for."""

    def other(port: int) -> int:
        return port

    def unannotated(secrets):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return secrets

    def by_position(secrets: AppSecrets, /) -> AppSecrets:
        return secrets

    refused: list[Any] = [other, unannotated, by_position, lambda token: token]
    for factory in refused:
        with case(factory), pytest.raises(DeclarationError, match="parameter") as caught:
            Bootstrap(AppSecrets, config=factory)
        assert by_position is factory or "AppSecrets" in str(caught.value)


@pytest.mark.anyio
async def test_a_config_that_takes_the_secrets_is_not_built_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report contains the problems of the secrets, and not one that follows from them."""
    monkeypatch.delenv("TOKEN")
    error = await failed_start(Bootstrap(AppSecrets, config=make_secrets, mode="environment"))
    assert [problem.name for problem in error.problems] == ["TOKEN"]
    assert json.dumps(error.problems[0].as_dict())


def test_a_load_without_a_loop_gives_the_secrets_to_the_factory() -> None:
    """A run takes over the config that load() has built from the same secrets."""
    calls: list[str] = []

    def make_dsn(secrets: AppSecrets) -> str:
        calls.append(secrets.token.reveal())
        return f"https://{secrets.token.reveal()}@host"

    boot = Bootstrap(AppSecrets, config=make_dsn, mode="environment")
    with boot.loaded():
        assert boot.config == f"https://{VALUE}@host"

        async def main() -> None:
            async with boot.running():
                assert boot.config == f"https://{VALUE}@host"

        anyio.run(main)
        assert boot.config == f"https://{VALUE}@host"
    assert calls == [VALUE]


@pytest.mark.anyio
async def test_a_coroutine_is_refused() -> None:
    """A function that is not async may return one; nothing would await it."""

    async def make_later(*_: object) -> Settings:
        return Settings()

    class Late:
        async def __call__(self) -> Settings:
            return Settings()

    for config in (lambda: make_later(), lambda secrets: make_later(secrets), Late()):  # noqa: PLW0108
        (problem,) = await problems_of(config)
        assert (problem.kind, "coroutine" in problem.message) == ("config", True)
