"""Runs that fail: frame variables of hive_boot contain no value of a resource.

As in ``test_frames.py``, whose search is used, only frames of hive_boot are searched.

"""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, LifecycleError
from hive_boot.serving.asgi import InFlightRequests, ReadinessMiddleware, app_lifespan
from tests.canary.canaries import ENVIRONMENT
from tests.canary.programs import lives
from tests.canary.programs.declared import Canaries
from tests.canary.programs.lives import HANDLES, declare, declare_resources
from tests.canary.programs.telling import plainly
from tests.canary.test_frames import InjectedError, search

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set every secret as a variable, and make errors of the application contain no value."""
    for name, text in {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(lives, "fail", fail)


async def fail(_: str) -> None:
    """Raise an error without a message."""
    await checkpoint()
    raise InjectedError


FAILING = [
    "resource fails",
    "resources fail",
    "resource hangs",
    "resource crashes",
    "service crashes",
]
"""Scenarios of runs that fail."""


@pytest.mark.parametrize("scenario", FAILING)
async def test_a_run_that_fails(scenario: str) -> None:
    """The traceback of a failed run contains no value in a variable of hive_boot."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (a group, or one)
        async with declare(scenario).running():
            await anyio.sleep_forever()
    assert search(caught.value)


async def test_stops_that_fail() -> None:
    """Failures of a stop are raised as a group, without a value in the frames."""
    with pytest.raises(ExceptionGroup) as caught:
        async with declare("stops fail").running():
            pass
    assert len(caught.value.exceptions) == 2
    assert search(caught.value)


async def test_a_resource_that_does_not_run() -> None:
    """The error of a resource that does not run contains no value of the others in its frames."""
    boot = Bootstrap(Canaries)
    declare_resources(boot)
    handle: Any = HANDLES[0]
    with pytest.raises(LifecycleError) as caught:
        _ = handle.value
    assert search(caught.value)


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001  (ASGI's)
    """Raise an error, with the values of the state in this frame."""
    if scope["type"] == "lifespan":
        await receive()
    await fail(f"{scope['state']['plain']} {scope['state']['rebuilt']}")


async def nothing(*_: object) -> Any:  # noqa: ANN401  (as above)
    """Return an empty message."""
    return {}


REQUEST = {"type": "http", "method": "GET", "path": "/", "http_version": "1.1", "headers": []}


async def test_a_served_application_that_fails() -> None:
    """Values of resources are passed to requests and lifespans, and no frame contains them."""
    boot = Bootstrap(Canaries)
    declare_resources(boot)

    @boot.resource(rebuild_on="jwt_secret")
    async def rebuilt(secrets: Canaries) -> str:
        return plainly(secrets)

    async with boot.running():
        run = boot._run  # noqa: SLF001  (what a server's side is given)
        assert run is not None
        with pytest.raises(InjectedError) as lifespan:
            async with app_lifespan(app, run.request_state):
                pass
        gate = ReadinessMiddleware(
            app, boot.status, lambda: run.request_state, lease=run.lease_for_request
        )
        with pytest.raises(InjectedError) as request:
            await InFlightRequests(gate)(dict(REQUEST), nothing, nothing)
    for error in (lifespan.value, request.value):
        assert [where for where in search(error) if " in serving/" in where]
