"""Handles: how code that is called by others reaches the running value of a part."""

import copy
import inspect
import pickle
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import pytest
from anyio.lowlevel import checkpoint
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from hive_boot import Bootstrap, LifecycleError, Secret
from tests.fixtures.applications import VALUE, Needs, Settings, application


class AgentPool:
    """A pool as an application has one."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_open = True


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[Needs, Settings]:
    """Return an application without parts."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    return application()


def assert_not_running(handle: Any) -> None:  # noqa: ANN401  (a handle of whatever part)
    """Assert that the value is not to be had, and that the refusal names the part."""
    with pytest.raises(LifecycleError, match=handle.name):
        _ = handle.value


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_handle_gives_the_value_while_the_part_runs(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """Before the start, while it starts, and after its stop there is nothing to be had."""
    seen: list[object] = []

    @boot.resource
    async def agents(secrets: Needs) -> AsyncIterator[AgentPool]:
        assert_not_running(agents)
        await checkpoint()
        pool = AgentPool(secrets.jwt_secret.reveal())
        yield pool
        await checkpoint()
        pool.is_open = False

    @boot.resource
    async def api(agents: AgentPool) -> AsyncIterator[str]:
        seen.append(agents)
        yield "api"
        await checkpoint()
        seen.append(agents.is_open)

    assert_not_running(agents)
    async with boot.running():
        pool = agents.value
        assert pool is await agents() is agents.value is seen[0]
        assert (pool.key, pool.is_open, api.value) == (VALUE, True, "api")
    # It was not stopped before what had asked for it.
    assert seen == [pool, True]
    assert not pool.is_open
    assert_not_running(agents)
    with pytest.raises(LifecycleError, match="agents"):
        await agents()


@pytest.mark.anyio
async def test_a_handle_before_the_parts_is_refused(boot: Bootstrap[Needs, Settings]) -> None:
    """A check runs before the parts start: that is said, and no start hangs."""
    asked: list[None] = []

    @boot.resource
    async def agents() -> int:
        await checkpoint()
        return 3

    @boot.check
    async def judge() -> None:
        await checkpoint()
        assert_not_running(agents)
        asked.append(None)

    async with boot.running():
        assert agents.value == 3
    assert asked == [None]


@pytest.mark.anyio
async def test_a_handle_is_of_its_application(boot: Bootstrap[Needs, Settings]) -> None:
    """Two applications may have parts of one name; each handle gives its own."""
    other = application()

    async def pool(boot: Bootstrap[Needs, Settings]) -> Bootstrap[Needs, Settings]:
        await checkpoint()
        return boot

    mine, others = boot.resource(pool), other.resource(pool)
    async with boot.running():
        assert mine.value is boot
        assert_not_running(others)
        async with other.running():
            assert (mine.value, others.value) == (boot, other)
            assert mine.value is not others.value


@pytest.mark.anyio
async def test_a_handle_has_the_function_for_tests(boot: Bootstrap[Needs, Settings]) -> None:
    """A part is tried without an application, by calling what was decorated."""

    async def agents(secrets: Needs) -> AsyncIterator[AgentPool]:
        """Return the pool of the agents."""
        yield AgentPool(secrets.jwt_secret.reveal())

    handle = boot.resource(agents)
    assert handle.fn is agents
    assert handle.name == "agents"
    assert inspect.getdoc(handle) == "Return the pool of the agents."
    values = [pool.key async for pool in handle.fn(await fake_secrets())]
    assert values == ["fake-key-0123456789"]


async def fake_secrets() -> Needs:
    """Make a set as a test does."""
    await checkpoint()
    return Needs(jwt_secret=Secret("JWT_SECRET", "fake-key-0123456789"))


def test_a_handle_shows_its_name_and_nothing_else(boot: Bootstrap[Needs, Settings]) -> None:
    """It sets nothing by which a framework takes the part's parameters for a request's."""

    @boot.resource
    async def agents(secrets: Needs) -> str:
        await checkpoint()
        return secrets.jwt_secret.reveal()

    handle: Any = agents
    assert repr(agents) == f"{agents}" == "<resource agents>"
    assert not hasattr(handle, "__wrapped__")
    assert not hasattr(handle, "__signature__")
    assert list(inspect.signature(handle).parameters) == []
    assert len({handle, copy.copy(handle), handle}) == 2
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(handle)


def web(boot: Bootstrap[Needs, Settings], handle: Any) -> FastAPI:  # noqa: ANN401  (of whatever part)
    """Make an application whose route asks for a part in the three ways that there are."""
    app = FastAPI(lifespan=boot.lifespan)

    @app.get("/agents")
    async def look(
        request: Request, pool: Annotated[AgentPool, Depends(handle)]
    ) -> dict[str, bool]:
        return {
            "depends": pool is handle.value,
            "state": request.state.agents is pool,
            "open": pool.is_open,
        }

    return app


def agents_of(boot: Bootstrap[Needs, Settings]) -> Any:  # noqa: ANN401  (a handle)
    """Declare the part that the routes ask for."""

    @boot.resource
    async def agents(secrets: Needs, config: Settings) -> AsyncIterator[AgentPool]:
        pool = AgentPool(f"{secrets.jwt_secret.reveal()} {config.port}")
        yield pool
        pool.is_open = False

    return agents


@pytest.mark.both_backends
def test_fastapi_gives_the_part_to_a_request(
    boot: Bootstrap[Needs, Settings], anyio_backend: Literal["asyncio", "trio"]
) -> None:
    """``Depends(agents)`` is the running value, and the state of the request has it as well."""
    app = web(boot, agents_of(boot))
    for _ in range(2):
        with TestClient(app, backend=anyio_backend) as client:
            answer = client.get("/agents")
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"depends": True, "state": True, "open": True}


def test_fastapi_sees_no_parameters_in_a_part(boot: Bootstrap[Needs, Settings]) -> None:
    """What the part is given at its start is nothing that a client could send."""
    app = web(boot, agents_of(boot))
    operation = app.openapi()["paths"]["/agents"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation
    assert list(operation["responses"]) == ["200"]


def test_a_request_to_an_application_that_does_not_run_is_told_so(
    boot: Bootstrap[Needs, Settings], anyio_backend: Literal["asyncio", "trio"]
) -> None:
    """A test client without its ``with`` runs no lifespan: the error says what is missing."""
    client = TestClient(web(boot, agents_of(boot)), backend=anyio_backend)
    with pytest.raises(LifecycleError, match="agents"):
        client.get("/agents")
