"""How what was declared becomes the parts and services of one run."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, DeclarationError
from hive_boot.bootstrap.assembly import LAST, assemble
from hive_boot.bootstrap.wiring import Given
from hive_boot.lifecycle.parts import Part
from hive_boot.lifecycle.services import Service
from tests.bootstrap.applications import Needs, Settings, application

SETTINGS = Settings(port=1)


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    """Be what is started after all others."""
    yield


def assembled(
    boot: Bootstrap[Needs, Settings], *, last: bool = False, **parts: object
) -> tuple[list[Part], list[Service]]:
    """Assemble what an application has declared, with values for its parts."""
    known: dict[str, object] = {"config": SETTINGS, "boot": boot}
    return assemble(
        boot._plan,  # noqa: SLF001  (as a start does)
        boot._offered(),  # noqa: SLF001  (as a start does)
        lambda: Given(known, parts.__getitem__),
        nothing if last else None,
    )


async def value_of(context: AbstractAsyncContextManager[Any]) -> object:
    """Give what a part yields."""
    async with context as value:
        return value


@pytest.fixture
def boot() -> Bootstrap[Needs, Settings]:
    """Give an application that has declared nothing yet."""
    return application()


def test_nothing_declared_is_nothing_made(boot: Bootstrap[Needs, Settings]) -> None:
    """An application of secrets alone has neither parts nor services."""
    assert assembled(boot) == ([], [])


@pytest.mark.anyio
async def test_parts_come_in_an_order_in_which_they_can_start(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """Each knows those of its parameters that are parts, and its own time."""

    @boot.part(timeout=3)
    async def api(config: Settings, pool: int, *, cache: str, retries: int = 3) -> str:
        await checkpoint()
        return f"{config.port} {pool} {cache} {retries}"

    @boot.part
    async def cache(pool: int) -> AsyncIterator[str]:
        yield f"cache of {pool}"

    @boot.part
    async def pool() -> int:
        await checkpoint()
        return 7

    parts, _ = assembled(boot, pool=7, cache="<cache>")
    assert [(part.name, part.needs, part.timeout) for part in parts] == [
        ("pool", (), None),
        ("cache", ("pool",), None),
        ("api", ("pool", "cache"), 3),
    ]
    assert [await value_of(part.open()) for part in parts] == [7, "cache of 7", "1 7 <cache> 3"]


@pytest.mark.anyio
async def test_the_last_part_needs_all_others(boot: Bootstrap[Needs, Settings]) -> None:
    """An application that is served begins when everything is there."""

    @boot.part
    async def pool() -> None: ...

    @boot.part
    async def cache(pool: None) -> None: ...

    *_, last = assembled(boot, last=True)[0]
    assert (last.name, last.needs, last.timeout) == (LAST, ("pool", "cache"), None)
    assert await value_of(last.open()) is None
    (alone,), _ = assembled(application(), last=True)
    assert (alone.name, alone.needs) == (LAST, ())


@pytest.mark.anyio
async def test_services_keep_what_was_said_of_them(boot: Bootstrap[Needs, Settings]) -> None:
    """When they are started again, and how often; each call asks anew for what it needs."""
    seen: list[object] = []

    @boot.part
    async def pool() -> int:
        await checkpoint()
        return 7

    @boot.service
    async def poll(pool: int, boot: Bootstrap[Needs, Settings]) -> None:
        await checkpoint()
        seen.append((pool, boot))

    @boot.service(restart="never", budget=1, within=3)
    async def sweep() -> None: ...

    _, services = assembled(boot, pool=7)
    assert [(each.label, each.restart, each.budget, each.within) for each in services] == [
        ("poll", True, 5, 60),
        ("sweep", False, 1, 3),
    ]
    await services[0].call()
    await services[0].call()
    assert seen == [(7, boot)] * 2


def test_a_service_that_asks_for_what_there_is_not_is_refused(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """Before anything runs, and by the name of its parameter."""

    @boot.service
    async def poll(pool: int) -> None: ...

    with pytest.raises(DeclarationError, match=r"^poll\(\) has a parameter 'pool'"):
        assembled(boot)
