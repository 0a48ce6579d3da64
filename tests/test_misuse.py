"""Typical mistakes of new users: each is one clear error that names the correct code."""

import functools
import re
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hive_boot import (
    Bootstrap,
    DeclarationError,
    IllegalTransitionError,
    LifecycleError,
    Secret,
    SecretSet,
)
from tests.support import run_child


class AppSecrets(SecretSet):
    """One secret."""

    api_key: Secret


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[AppSecrets, None]:
    """Return an application that can be started."""
    monkeypatch.setenv("API_KEY", "fake-key-0123456789")
    return Bootstrap(AppSecrets, mode="environment", profile="test")


HOW = re.escape("Write `async with boot.running()`")


@pytest.mark.anyio
async def test_running_is_for_async_with(boot: Any) -> None:  # noqa: ANN401  (what checkers refuse)
    """The error names `async with` for a plain `with`, an `await`, and an attribute access."""
    with pytest.raises(LifecycleError, match=HOW), boot.running():
        pytest.fail("the block is not entered")
    with pytest.raises(LifecycleError, match=HOW):
        await boot.running()
    with pytest.warns(RuntimeWarning, match=HOW), pytest.raises(AttributeError, match=HOW):
        _ = boot.running().api_key
    assert not boot.status().ready


def test_running_that_is_not_entered_warns(boot: Bootstrap[AppSecrets, None]) -> None:
    """`boot.running()` without `async with` warns at its line, as a coroutine without `await`."""

    async def run() -> None:
        async with boot.running():
            pass

    with pytest.warns(RuntimeWarning, match=HOW) as caught:
        boot.running()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        anyio.run(run)


@pytest.mark.anyio
async def test_running_is_called_for_each_block(boot: Bootstrap[AppSecrets, None]) -> None:
    """An object that is entered a second time is rejected; a new one is not."""
    block = boot.running()
    async with block:
        pass
    with pytest.raises(LifecycleError, match="new call"):
        await block.__aenter__()
    async with boot.running():
        assert boot.status().ready


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_an_owned_process_needs_a_thread_without_a_loop(
    boot: Bootstrap[AppSecrets, None],
) -> None:
    """In a notebook, in a server and in `asyncio.run` the error names what to use there."""

    @boot.main
    async def main() -> None:
        """A main that does nothing."""

    with pytest.raises(DeclarationError, match=r"boot\.running\(\).*lifespan=boot\.lifespan"):
        boot.run()
    web = FastAPI()
    with pytest.raises(DeclarationError, match=r"boot\.running\(\).*lifespan=boot\.lifespan"):
        Bootstrap(AppSecrets).serve(web)
    assert not boot.status().ready


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_second_run_is_refused_with_the_way_to_share(
    boot: Bootstrap[AppSecrets, None],
) -> None:
    """In the same loop the error names `boot.secrets`; in a TestClient, two other ways."""

    @boot.resource
    async def early() -> None:
        with pytest.raises(IllegalTransitionError, match=r"starting.*boot\.secrets"):
            await boot.running().__aenter__()

    web = FastAPI(lifespan=boot.lifespan)

    def use_client() -> None:
        with TestClient(web):
            pytest.fail("it has started twice")

    async with boot.running():
        with pytest.raises(IllegalTransitionError, match=r"ready.*boot\.secrets"):
            async with boot.running():
                pytest.fail("it has started twice")
        with pytest.raises(IllegalTransitionError, match=r"another event loop.*ASGITransport"):
            await anyio.to_thread.run_sync(use_client)
        assert boot.status().ready
    # One after the other they work.
    with TestClient(web):
        assert boot.status().ready


def not_asgi(boot: Bootstrap[AppSecrets, None]) -> list[Any]:
    """Return objects that new users pass to `serve` and `asgi`."""
    return ["app:web", boot, None, FastAPI, AppSecrets, FastAPI().router.routes]


def test_an_application_is_served_and_not_its_name(
    boot: Bootstrap[AppSecrets, None], capsys: pytest.CaptureFixture[str]
) -> None:
    """An object that is not an ASGI application would answer each request with 500."""
    for wrong in not_asgi(boot):
        with pytest.raises(SystemExit) as ended:
            boot.serve(wrong)
        assert ended.value.code == 70
        assert "expected an ASGI application" in capsys.readouterr().err
        with pytest.raises(DeclarationError, match="expected an ASGI application"):
            boot.asgi(wrong)
    with pytest.raises(DeclarationError, match="hive-boot run APP --serve"):
        boot.asgi(not_asgi(boot)[0])


def test_a_handle_is_not_its_value(boot: Bootstrap[AppSecrets, None]) -> None:
    """An attribute of the value is an error that names `.value`; `hasattr` of a tool is False."""

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        yield "pool"

    handle: Any = pool
    with pytest.raises(AttributeError, match=r"pool\.value\.execute"):
        handle.execute("select 1")
    assert not hasattr(pool, "__wrapped__")
    empty: Any = object.__new__(type(pool))
    assert not hasattr(empty, "name")
    with pytest.raises(LifecycleError, match=r"pool\.value"), handle:
        pytest.fail("the block is not entered")


@pytest.mark.anyio
async def test_the_run_starts_a_resource_and_a_block_does_not(
    boot: Bootstrap[AppSecrets, None],
) -> None:
    """`async with pool` is an error that names the value and the parameter."""

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        yield "pool"

    handle: Any = pool
    async with boot.running():
        with pytest.raises(LifecycleError, match=r"pool\.value"):
            async with handle:
                pytest.fail("the block is not entered")


def test_a_decorator_is_below_that_of_the_resource(boot: Bootstrap[AppSecrets, None]) -> None:
    """Above `@boot.resource`, a decorator would replace the resource by a plain function."""

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        yield "pool"

    decorated: Any = pool
    for decorator in (asynccontextmanager, contextmanager, functools.cache, functools.wraps(pool)):
        with pytest.raises(DeclarationError, match=r"below @boot\.resource of pool"):
            decorator(decorated)


def test_a_call_with_or_without_arguments_names_the_other(
    boot: Bootstrap[AppSecrets, None],
) -> None:
    """`run(main)` and `lifespan()` are common mistakes, and are rejected before anything starts."""
    anything: Any = boot
    for argument in (lambda: None, "trio"):
        with pytest.raises(DeclarationError, match=r"@boot\.main, and write `boot\.run\(\)`"):
            anything.run(argument)
    with pytest.raises(DeclarationError, match=r"`lifespan=boot\.lifespan`"):
        anything.lifespan()
    web = FastAPI(lifespan=anything.running)
    with pytest.raises(DeclarationError, match=r"`lifespan=boot\.lifespan`"), TestClient(web):
        pytest.fail("it has started")


@pytest.mark.parametrize(
    ("decorate", "name"),
    [
        (lambda boot: boot.main, "@boot.main"),
        (lambda boot: boot.resource, "@boot.resource"),
        (lambda boot: boot.service, "@boot.service"),
        (lambda boot: boot.check, "@boot.check"),
        (lambda boot: boot.on_rotate(), "@boot.on_rotate"),
    ],
)
def test_a_function_must_be_an_async_def(
    boot: Bootstrap[AppSecrets, None],
    decorate: Callable[[Any], Callable[[object], object]],
    name: str,
) -> None:
    """A function that is not async is rejected, with the line to write."""

    def work() -> None:
        """Work."""

    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        yield

    message = rf"work\(\) must be an async def.*{name}.*`async def work\("
    with pytest.raises(DeclarationError, match=message):
        decorate(boot)(work)
    if "resource" not in name:
        with pytest.raises(DeclarationError, match=rf"block\(\) must.*{name}.*remove its `yield`"):
            decorate(boot)(block)


def test_a_resource_is_not_to_take_itself(boot: Bootstrap[AppSecrets, None]) -> None:
    """A misspelt parameter is an error that lists the other resources."""

    @boot.resource
    async def pool() -> None:
        """Start."""

    @boot.resource
    async def cache(pol: None) -> None:
        """Start."""

    with pytest.raises(DeclarationError, match="one of the resources pool, annotate"):
        boot._declaration.bind(boot._injectables())  # noqa: SLF001  (as each start does)


STUCK = """
import asyncio
from hive_boot import Bootstrap, Secret, SecretSet

class AppSecrets(SecretSet):
    api_key: Secret

boot = Bootstrap(AppSecrets, mode="environment")

{program}
"""

PROGRAMS = {
    """
@boot.resource
async def pool():
    yield 1
    yield 2

@boot.main
async def main(pool): ...

boot.run()
""": (70, "LifecycleError: The resource pool has yielded a second time"),
    """
@boot.resource
async def pool():
    if not boot:
        yield 1

@boot.main
async def main(pool): ...

boot.run()
""": (70, "LifecycleError: The resource pool has ended without a yield"),
    """
@boot.resource
async def pool():
    yield
    await anext(aiter(empty()))

async def empty():
    if not boot:
        yield

@boot.main
async def main(pool): ...

boot.run()
""": (70, "RuntimeError: async generator raised StopAsyncIteration"),
    """
@boot.main
async def main():
    async with boot.running(): ...

boot.run()
""": (70, "in main\nhive_boot: IllegalTransitionError: An application that is ready"),
    """
@boot.main
async def main(): ...

async def program():
    boot.run()

asyncio.run(program())
""": (1, "DeclarationError: boot.run() and boot.serve() start an event loop"),
    "with boot.running(): pass": (1, "LifecycleError: boot.running() starts nothing"),
    "boot.serve('app:web')": (70, "DeclarationError: Invalid app"),
}


def test_a_program_ends_with_one_report() -> None:
    """A user sees the message once, and the exit status of an error in the code."""
    for program, (status, message) in PROGRAMS.items():
        child = run_child(STUCK.format(program=program), API_KEY="fake-key-0123456789")
        assert child.returncode == status, child.stderr
        assert child.stderr.count(message) == 1, child.stderr
