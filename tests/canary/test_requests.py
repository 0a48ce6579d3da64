"""Requests of every kind, to HIVE and to an application that logs and raises every value."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx2
import jwt
import pytest

from examples.hive.inventory import HiveSecrets
from hive_boot.testing import MountedVolume
from tests.canary.canaries import CANARIES, ENVIRONMENT
from tests.canary.outputs import Outputs
from tests.examples.service import DEMO, Service, copy_example, started

OF_HIVE = [
    canary
    for canary in CANARIES
    if canary.name in {field.name for field in HiveSecrets._field_index.all_fields}
]
"""The canaries of the secrets that the example declares."""

INJECTED = {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}
HIVE = ("examples.hive",)
UNDER_UVICORN = ("uvicorn", "examples.hive.app:app", "--port", "0", "--log-level", "debug")
PLACEMENTS = [
    "message",
    "argument",
    "object",
    "extra",
    "error",
    "group",
    "stack",
    "elsewhere",
    "adapter",
    "mapping",
    "late",
    "failing",
    "thread",
    "finalizer",
]


@contextmanager
def serving(
    outputs: Outputs, home: Path, *arguments: str, **variables: str
) -> Iterator[tuple[Service, httpx2.Client]]:
    """Start a service, yield it with a client, and collect its output after the stop."""
    with started(home, *arguments, **variables) as service:
        with httpx2.Client(base_url=service.url, timeout=60) as client:
            yield service, client
        service.stop()
    outputs.add("stdout or stderr", service.output)


def requests(url: str) -> Iterator[httpx2.Request]:
    """Yield every request, valid and invalid."""
    key = ENVIRONMENT["HIVE_API_KEY"]
    token = jwt.encode({"sub": "demo", "iss": "hive", "exp": 1 << 40}, ENVIRONMENT["JWT_SECRET"])

    def ask(method: str, path: str, **more: object) -> httpx2.Request:
        return httpx2.Request(method, url + path, **more)  # type: ignore[arg-type]

    yield ask("GET", "/health")
    yield ask("GET", "/inventory", headers={"X-API-Key": key})
    yield ask("GET", "/inventory")
    yield ask("GET", "/me", headers={"Authorization": f"Bearer {token}"})
    yield ask("GET", "/me", headers={"Authorization": f"Bearer {token}x"})
    yield ask("POST", "/login", json=DEMO)
    yield ask("GET", "/openapi.json")
    yield ask("GET", "/docs")
    yield ask("GET", "/inventory/")
    yield ask("POST", "/login", content=b"\xff\xfe{", headers={"Content-Type": "application/json"})
    for canary in OF_HIVE:
        text = canary.variable.encode(errors="surrogateescape")
        in_header = text.replace(b"\n", b"").strip()
        in_url = quote(text, safe="")
        yield ask("GET", "/inventory", headers={b"X-API-Key": in_header + b"-"})
        yield ask("GET", "/me", headers={b"Authorization": b"Bearer " + in_header})
        yield ask("GET", "/me", headers={b"Authorization": in_header})
        yield ask("GET", "/health", headers={b"Origin": in_header, b"Cookie": in_header})
        yield ask("GET", f"/health?key={in_url}&{in_url}")
        yield ask("GET", f"/{in_url}/{in_url}")
        yield ask("DELETE", f"/login?{in_url}=1")
        yield ask("OPTIONS", "/health", headers={b"Access-Control-Request-Method": in_header})
        plain = text.decode("latin-1")
        for body in ({"username": plain}, {"username": "demo", "password": [plain]}, plain):
            yield ask("POST", "/login", json=body)
        yield ask("POST", "/login", json={"username": plain, "password": plain})
        yield ask("POST", "/login", content=json.dumps({"password": plain})[:-2])
        yield ask("POST", "/login", data={"password": plain})


def ask_everything(outputs: Outputs, service: Service, client: httpx2.Client) -> set[int]:
    """Send every request, and return the status codes of the responses."""
    statuses = set()
    for request in requests(service.url):
        answer = client.send(request)
        outputs.add_response(answer)
        statuses.add(answer.status_code)
    return statuses


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a directory with a copy of the example."""
    place = tmp_path / "home"
    place.mkdir()
    copy_example(place)
    return place


def test_hive_as_a_program(home: Path) -> None:
    """Neither the responses nor the log of HIVE contain a value, for valid and invalid requests."""
    outputs = Outputs(OF_HIVE)
    settings = {"LOG_LEVEL": "debug", "DEMO_USER": "yes", "CORS_ORIGINS": "http://one.invalid"}
    with serving(outputs, home, *HIVE, **INJECTED, **settings) as (service, client):
        assert ask_everything(outputs, service, client) >= {200, 307, 400, 401, 404, 405, 422}
    outputs.assert_silent()
    assert '"GET /health?key=***&***' in outputs.text


def test_hive_under_uvicorn_from_a_volume(home: Path, tmp_path: Path) -> None:
    """The same holds under uvicorn's command line, with the secrets in a mounted volume."""
    outputs = Outputs(OF_HIVE)
    volume = tmp_path / "volume"
    MountedVolume(volume).publish({each.name.lower(): each.value for each in CANARIES})
    settings = {"HIVE_BOOT_MODE": "kubernetes", "HIVE_BOOT_SECRETS_DIR": str(volume)}
    with serving(outputs, home, *UNDER_UVICORN, **settings) as (service, client):
        assert ask_everything(outputs, service, client) >= {200, 401, 404, 405, 422}
    assert "Application shutdown complete" in outputs.text
    outputs.assert_silent()


@pytest.fixture
def talkative(tmp_path: Path, logs: Path) -> Iterator[tuple[Outputs, httpx2.Client]]:
    """Serve the application that logs and raises every value, and collect its output."""
    outputs = Outputs()
    arguments = ("uvicorn", "tests.canary.programs.routes:app", "--port", "0")
    variables = {"LOG_DIR": str(logs), **INJECTED}
    with serving(outputs, tmp_path, *arguments, **variables) as (_, client):
        yield outputs, client
    outputs.add_files(logs)
    outputs.assert_silent()
    assert "the end: ***" in outputs.text


def test_values_that_are_logged_and_raised(talkative: tuple[Outputs, httpx2.Client]) -> None:
    """A value that is logged or raised, in any place and form, is in no file and no response."""
    outputs, client = talkative
    for placement in PLACEMENTS:
        answer = client.get(f"/log/{placement}")
        assert answer.status_code == 200, placement
        outputs.add_response(answer)
    for kind in ("plain", "chained", "group", "thread"):
        # The server closes a connection on which something went wrong.
        answer = httpx2.get(f"{client.base_url}/raise/{kind}")
        assert answer.status_code == 500
        outputs.add_response(answer)
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{client.base_url}/raise/late")
