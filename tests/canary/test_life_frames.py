"""Lives that fail: what a tracker is sent of our own frames holds no value of a part.

As in ``test_frames.py``, whose search this is, only frames of ours are searched.
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
    """Provide every secret as a variable; what fails says nothing itself."""
    for name, text in {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(lives, "fail", fail)


async def fail(_: str) -> None:
    """Fail without a word."""
    await checkpoint()
    raise InjectedError


FAILING = [
    "resource fails",
    "resources fail",
    "resource hangs",
    "resource crashes",
    "service crashes",
]
"""Lives that cannot go on."""


@pytest.mark.parametrize("scenario", FAILING)
async def test_a_life_that_cannot_go_on(scenario: str) -> None:
    """What comes out of a failed life has no value of a part, or of a secret, in a variable."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (a group, or one)
        async with declare(scenario).running():
            await anyio.sleep_forever()
    assert search(caught.value)


async def test_stops_that_fail() -> None:
    """Several failures of a stop come as one group, in whose frames there is no value."""
    with pytest.raises(ExceptionGroup) as caught:
        async with declare("stops fail").running():
            pass
    assert len(caught.value.exceptions) == 2
    assert search(caught.value)


async def test_a_part_that_does_not_run() -> None:
    """Who asks for a part that is not there finds nothing of the others in a frame."""
    boot = Bootstrap(Canaries)
    declare_resources(boot)
    handle: Any = HANDLES[0]
    with pytest.raises(LifecycleError) as caught:
        _ = handle.value
    assert search(caught.value)


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001  (ASGI's)
    """Fail, with all that requests and lifespans are given."""
    if scope["type"] == "lifespan":
        await receive()
    await fail(f"{scope['state']['plain']} {scope['state']['rebuilt']}")


async def nothing(*_: object) -> Any:  # noqa: ANN401  (as above)
    """Send or receive nothing."""
    return {}


REQUEST = {"type": "http", "method": "GET", "path": "/", "http_version": "1.1", "headers": []}


async def test_a_served_application_that_fails() -> None:
    """Parts whose values are plain are given to requests and lifespans, and no frame shows them."""
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
