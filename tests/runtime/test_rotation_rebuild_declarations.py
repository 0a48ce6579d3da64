"""Declarations of resources that are rebuilt, and of what takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

import hive_boot
from hive_boot import Bootstrap, DeclarationError, ResourceHandle, Secret, SecretSet
from hive_boot.testing import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Needs(SecretSet):
    """Two secrets."""

    db_password: Secret
    api_key: Secret | None = None


def declared() -> Bootstrap[Needs, None]:
    """Declare an application with a pool that is rebuilt, and a cache on it."""
    boot = Bootstrap(Needs, mode="environment")

    @boot.resource(rebuild_on="DB_PASSWORD")
    async def pool() -> str:
        return "pool"

    @boot.resource
    async def cache(pool: str) -> str:
        return f"cache on {pool}"

    return boot


@pytest.mark.parametrize("name", ["pool", "cache"])
def test_main_by_value_is_refused(name: str) -> None:
    """Its value would become stale: the message names the parameter and ResourceHandle."""
    boot = declared()
    source = f"async def main({name}): pass"
    known: dict[str, Any] = {}
    exec(source, known)  # noqa: S102
    boot.main(known["main"])
    with pytest.raises(DeclarationError, match=rf"\b{name}\b.*ResourceHandle"):
        boot._dry_run(ask=False)
    with pytest.raises(SystemExit) as caught:
        boot.run()
    assert caught.value.code == 70


def _by_name(boot: Bootstrap[Needs, None]) -> None:
    @boot.main
    async def main(pool: ResourceHandle[str], secrets: Needs) -> None: ...


def _by_module(boot: Bootstrap[Needs, None]) -> None:
    @boot.main
    async def main(pool: hive_boot.ResourceHandle[str]) -> None: ...


def _by_string(boot: Bootstrap[Needs, None]) -> None:
    @boot.main
    async def main(cache: "ResourceHandle[Unknown]") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


def _bare(boot: Bootstrap[Needs, None]) -> None:
    @boot.main
    async def main(pool: ResourceHandle) -> None: ...  # type: ignore[type-arg]


def _with_default(boot: Bootstrap[Needs, None]) -> None:
    @boot.main
    async def main(pool: str = "mine") -> None: ...


@pytest.mark.parametrize("declare", [_by_name, _by_module, _by_string, _bare, _with_default])
def test_main_with_a_handle_is_accepted(declare: Callable[[Bootstrap[Needs, None]], None]) -> None:
    """However the annotation is written."""
    boot = declared()
    declare(boot)
    boot._dry_run(ask=False)


@pytest.mark.parametrize(
    "options",
    [
        {"rebuild_on": "db_pasword"},
        {"rebuild_on": ("db_password", "other")},
        {"rebuild_on": None},
        {"rebuild_on": 3},
        {"rebuild_on": {"db_password"}},
        {"rebuild_on": "db_password", "overlap": -1},
        {"rebuild_on": "db_password", "overlap": "30"},
        {"rebuild_on": "db_password", "overlap": float("inf")},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """A field that is not declared, another type, a negative number."""
    with pytest.raises(DeclarationError):
        Bootstrap(Needs).resource(**options)


def test_a_stand_in_is_not_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that replaces a resource has its fake for the whole run."""
    monkeypatch.setenv("DB_PASSWORD", "fake-password-one")
    boot = Bootstrap(Needs, mode="environment")

    @boot.resource(rebuild_on="db_password")
    async def pool() -> AsyncIterator[str]:
        yield "real"

    async def check() -> None:
        with override(boot, resources={pool: "fake"}):
            async with boot.running(), override(boot, db_password="fake-password-two"):
                assert pool.value == "fake"
                assert boot.secrets.db_password.reveal() == "fake-password-two"

    anyio.run(check)
