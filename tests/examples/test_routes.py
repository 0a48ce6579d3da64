"""The routes of HIVE, called as an ASGI application."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from httpx2 import ASGITransport, AsyncClient, Response

from examples.hive.app import app, boot
from hive_boot.testing import MountedVolume
from tests.examples.service import DEMO, FAKES
from tests.support import until

JSON = {"Content-Type": "application/json"}
NEW_KEY = "fake-new-jwt-secret-0123456789-0123456789"
OLD_KEY = "fake-old-jwt-secret-0123456789-0123456789"
INVENTORY = {
    "OPENAI_API_KEY": "semantic-memory, agents",
    "HIVE_API_KEY": "auth middleware",
    "JWT_SECRET": "user-auth (JWT signing)",
    "STRIPE_SECRET_KEY": "billing",
    "STRIPE_WEBHOOK_SECRET": "billing webhooks",
    "LANGSMITH_API_KEY": "tracing",
    "SENTRY_DSN": "error monitoring",
    "GITHUB_TOKEN": "GitHub integrations",
}

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def hive() -> AsyncIterator[AsyncClient]:
    """Start HIVE with the present environment, and yield a client of it."""
    async with boot.running():
        transport = ASGITransport(app=app)
        async with AsyncClient(transport=transport, base_url="http://hive") as client:
            yield client


async def me(client: AsyncClient, token: str | bytes) -> Response:
    """Request ``/me`` with ``token``."""
    raw = token.encode() if isinstance(token, str) else token
    return await client.get("/me", headers={b"Authorization": b"Bearer " + raw})


async def log_in(client: AsyncClient) -> str:
    """Log in as the demo user, and return the token."""
    answer = await client.post("/login", json=DEMO)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def forge(key: str = FAKES["JWT_SECRET"], algorithm: str = "HS256", **claims: object) -> str:
    """Return a token like HIVE's own, with some claims replaced; None omits a claim."""
    later = datetime.now(UTC) + timedelta(hours=1)
    all_claims = {"sub": "demo", "iss": "hive", "exp": later, **claims}
    present = {name: claim for name, claim in all_claims.items() if claim is not None}
    return jwt.encode(present, key, algorithm=algorithm)


@pytest.mark.both_backends
@pytest.mark.usefixtures("platform")
async def test_a_token_from_the_login_identifies_its_user() -> None:
    """A token from the login identifies its user for 15 minutes."""
    async with hive() as client:
        token = await log_in(client)
        answer = await me(client, token)
    assert (answer.status_code, answer.json()) == (200, {"username": "demo"})
    claims = jwt.decode(token, FAKES["JWT_SECRET"], algorithms=["HS256"], issuer="hive")
    assert claims["exp"] - claims["iat"] == 15 * 60


@pytest.mark.usefixtures("platform")
async def test_a_browser_finds_the_status_page() -> None:
    """The first page has links, and those for operators need the API key as a password."""
    async with hive() as client:
        page = await client.get("/")
        links = re.findall(r'href="([^"]+)"', page.text)
        assert links == ["docs", "health", "internal/boot", "internal/metrics"]
        for link in links:
            answer = await client.get(f"/{link}")
            assert answer.status_code == (401 if link.startswith("internal") else 200)
            for password in ("fake-wrong-key", ""):
                answer = await client.get(f"/{link}", auth=("any", password))
                assert answer.status_code == (401 if link.startswith("internal") else 200)
            answer = await client.get(f"/{link}", auth=("any", FAKES["HIVE_API_KEY"]))
            assert answer.status_code == 200
        answer = await client.get("/internal/boot")
        assert answer.headers["www-authenticate"] == 'Basic realm="HIVE"'
        found = await client.get("/internal/boot.json", auth=("any", FAKES["HIVE_API_KEY"]))
        assert found.json()["state"] == "ready"


@pytest.mark.usefixtures("platform")
async def test_without_the_key_the_status_page_rejects_every_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No password is accepted if HIVE_API_KEY is not set."""
    monkeypatch.delenv("HIVE_API_KEY")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "development")
    async with hive() as client:
        for password in ("", "None"):
            answer = await client.get("/internal/boot", auth=("any", password))
            assert answer.status_code == 401


@pytest.mark.usefixtures("platform")
async def test_a_wrong_login_gets_no_token() -> None:
    """A wrong user and a wrong password get the same response."""
    details = []
    async with hive() as client:
        for wrong in (
            {"password": "correct horse battery stapler"},
            {"password": ""},
            {"password": "half a character: \ud800"},
            {"username": "nobody"},
            {"username": "demo' OR '1'='1"},
        ):
            content = json.dumps({**DEMO, **wrong})
            answer = await client.post("/login", content=content, headers=JSON)
            assert answer.status_code == 401, wrong
            details.append(answer.json())
    assert all(detail == details[0] for detail in details)


@pytest.mark.usefixtures("platform")
async def test_a_malformed_login_is_not_repeated() -> None:
    """The response to a malformed request contains no part of the password."""
    async with hive() as client:
        for body in (
            '{"password": "fake-password-0123456789"}',
            '{"username": "demo", "password": ["fake-password-0123456789"]}',
            '{"username": "demo", "password": "%s"}' % ("fake-password-0123456789" * 50),
            '{"username": "demo", "password": "fake-password-0123456789',
        ):
            answer = await client.post("/login", content=body, headers=JSON)
            assert answer.status_code == 422, body
            assert answer.json()["detail"][0]["msg"]
            assert "fake-password" not in answer.text


async def test_the_demo_user_exists_only_with_its_variable(
    platform: pytest.MonkeyPatch,
) -> None:
    """Without DEMO_USER there is no account with a public password."""
    platform.delenv("DEMO_USER")
    async with hive() as client:
        answer = await client.post("/login", json=DEMO)
    assert answer.status_code == 401


@pytest.mark.usefixtures("platform")
async def test_the_response_to_an_expired_token_names_the_reason() -> None:
    """The response to an expired token names the reason."""
    earlier = datetime.now(UTC) - timedelta(seconds=1)
    async with hive() as client:
        answer = await me(client, forge(exp=earlier))
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


FOREIGN_TOKENS: dict[str, Callable[[], str | bytes]] = {
    "garbage": lambda: b"garbage",
    "three letters": lambda: b"a.b.c",
    "beyond ASCII": "schlüssel".encode,
    "no UTF-8": lambda: b"\xff.\xff.\xff",
    "another key": lambda: forge(key="another-fake-secret-0123456789-0123456789"),
    "unsigned": lambda: forge(key="", algorithm="none"),
    "another algorithm": lambda: forge(algorithm="HS512"),
    "another issuer": lambda: forge(iss="somebody else"),
    "no issuer": lambda: forge(iss=None),
    "no expiry": lambda: forge(exp=None),
    "no user": lambda: forge(sub=None),
}
"""Made when a test runs: a token holds the time at which it was made."""


@pytest.mark.usefixtures("platform")
async def test_an_invalid_token_is_rejected() -> None:
    """A forged, foreign, unlimited or malformed token is rejected with 401."""
    async with hive() as client:
        for kind, make in FOREIGN_TOKENS.items():
            answer = await me(client, make())
            assert answer.status_code == 401, kind
            assert answer.headers["www-authenticate"] == "Bearer", kind


@pytest.mark.usefixtures("platform")
async def test_a_request_without_a_token_is_rejected() -> None:
    """The response to a request without a token explains how to send one."""
    async with hive() as client:
        answer = await client.get("/me")
    assert answer.status_code == 401
    assert "Authorization: Bearer" in answer.json()["detail"]


async def test_tokens_outlive_a_change_of_the_key(platform: pytest.MonkeyPatch) -> None:
    """A token that was signed with JWT_SECRET_PREVIOUS is accepted; new ones use JWT_SECRET."""
    platform.setenv("JWT_SECRET", OLD_KEY)
    async with hive() as client:
        old_token = await log_in(client)
    platform.setenv("JWT_SECRET", FAKES["JWT_SECRET"])
    async with hive() as client:
        refused = await me(client, old_token)
    platform.setenv("JWT_SECRET_PREVIOUS", OLD_KEY)
    async with hive() as client:
        answer = await me(client, old_token)
        new_token = await log_in(client)
    assert (refused.status_code, answer.status_code) == (401, 200)
    assert jwt.decode(new_token, FAKES["JWT_SECRET"], algorithms=["HS256"], issuer="hive")


def is_signed_with(key: str, token: str) -> bool:
    """Return whether ``token`` was signed with ``key``."""
    try:
        jwt.decode(token, key, algorithms=["HS256"], issuer="hive")
    except jwt.InvalidSignatureError:
        return False
    return True


@pytest.fixture
def pod(platform: pytest.MonkeyPatch, mounted_volume: MountedVolume) -> MountedVolume:
    """Set the environment of a pod, and return its volume, the only source of the secrets."""
    for name in FAKES:
        platform.delenv(name)
    platform.setenv("HIVE_BOOT_MODE", "kubernetes")
    platform.setenv("HIVE_BOOT_SECRETS_DIR", str(mounted_volume.path))
    mounted_volume.publish(FAKES)
    return mounted_volume


async def inventory_of(client: AsyncClient) -> dict[str, dict[str, object]]:
    """Return the inventory, by name."""
    answer = await client.get("/inventory", headers={"X-API-Key": FAKES["HIVE_API_KEY"]})
    return {entry["name"]: entry for entry in answer.json()}


@pytest.mark.both_backends
async def test_tokens_of_the_old_key_are_accepted_during_a_rotation(pod: MountedVolume) -> None:
    """During a rotation tokens of both keys are accepted; HIVE uses the new one when it is due."""
    async with hive() as client:
        early = await log_in(client)
        pod.publish({**FAKES, "JWT_SECRET": NEW_KEY})
        await until(lambda: boot.status().generation == 2)
        of_another_pod = forge(key=NEW_KEY)
        before_activation = await log_in(client)
        waiting = await inventory_of(client)
        await boot.reload(now=True)
        late = await log_in(client)
        over = await inventory_of(client)
        answers = [
            await me(client, token) for token in (early, of_another_pod, before_activation, late)
        ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert is_signed_with(FAKES["JWT_SECRET"], before_activation)
    assert is_signed_with(NEW_KEY, late)
    due = {name: entry["due"] for name, entry in waiting.items() if entry["due"] is not None}
    assert list(due) == ["JWT_SECRET"]
    assert isinstance(due["JWT_SECRET"], float)
    assert 0 < due["JWT_SECRET"] <= 120
    rotated = [entries["JWT_SECRET"]["generation"] for entries in (waiting, over)]
    assert rotated == [1, 2]
    assert over["JWT_SECRET"]["due"] is None


async def test_a_refused_rotation_does_not_interrupt_the_service(pod: MountedVolume) -> None:
    """A key that is too short is rejected: the service reports "degraded", and keeps working."""
    async with hive() as client:
        pod.publish({**FAKES, "JWT_SECRET": "fake-short"})
        await until(lambda: boot.status().degraded)
        answer = await client.get("/health")
        who = await me(client, await log_in(client))
        pod.publish({**FAKES, "SENTRY_DSN": "fake-dsn"})
        await until(lambda: not boot.status().degraded)
        healed = await client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "mode": "kubernetes", "generation": 1}
    assert who.status_code == 200
    assert healed.json() == {"status": "ok", "mode": "kubernetes", "generation": 2}


@pytest.mark.usefixtures("platform")
async def test_a_wrong_key_is_rejected_by_the_inventory() -> None:
    """A key that is almost right, or is not text, is rejected like any other."""
    async with hive() as client:
        for key in (
            b"fake-hive-key-012345678",
            b"fake-hive-key-01234567890",
            b"FAKE-HIVE-KEY-0123456789",
            b"",
            "schlüssel".encode(),
            b"\xff\xfe",
        ):
            answer = await client.get("/inventory", headers={b"X-API-Key": key})
            assert answer.status_code == 401, key
            assert "OPENAI_API_KEY" not in answer.text


@pytest.mark.usefixtures("platform")
async def test_no_key_does_not_open_the_inventory() -> None:
    """The response to a request without a key explains how to send one."""
    async with hive() as client:
        answer = await client.get("/inventory")
    assert answer.status_code == 401
    assert "X-API-Key" in answer.json()["detail"]


async def test_the_right_key_opens_the_inventory(platform: pytest.MonkeyPatch) -> None:
    """A key is compared by its bytes, so it may contain any character."""
    for key in (FAKES["HIVE_API_KEY"], "fake-schlüssel-ключ"):
        platform.setenv("HIVE_API_KEY", key)
        async with hive() as client:
            answer = await client.get("/inventory", headers={b"X-API-Key": key.encode()})
        assert answer.status_code == 200, key


async def test_the_inventory_describes_each_secret_without_its_value(
    platform: pytest.MonkeyPatch,
) -> None:
    """The inventory has each secret's source, location, age and users, and no part of a value."""
    platform.setenv("SENTRY_DSN", "https://fake:dsn@sentry.invalid/1")
    async with hive() as client:
        answer = await client.get("/inventory", headers={"X-API-Key": FAKES["HIVE_API_KEY"]})
    entries = {entry["name"]: entry for entry in answer.json()}
    assert {name: entry["used_by"] for name, entry in entries.items()} == INVENTORY
    required = {name for name, entry in entries.items() if entry["required"]}
    assert required == {"OPENAI_API_KEY", "HIVE_API_KEY", "JWT_SECRET"}
    for name in (*required, "SENTRY_DSN"):
        entry = entries[name]
        assert (entry["present"], entry["source"], entry["place"]) == (True, "environment", name)
        assert 0 <= entry["age"] < 60
    absent = entries["GITHUB_TOKEN"]
    assert [absent[key] for key in ("present", "source", "place", "age")] == [False, "", "", None]
    assert {(entry["generation"], entry["due"]) for entry in entries.values()} == {(1, None)}
    for value in (*FAKES.values(), "sentry.invalid"):
        for part in (value, value[:8], value[-8:]):
            assert part not in answer.text


@pytest.mark.usefixtures("platform")
async def test_health_needs_no_key() -> None:
    """``/health`` needs no key."""
    async with hive() as client:
        answer = await client.get("/health")
    assert answer.json() == {"status": "ok", "mode": "environment", "generation": 1}


async def test_a_route_without_its_secret_answers_503(platform: pytest.MonkeyPatch) -> None:
    """The routes of an absent optional secret answer 503 with its name, and the others work."""
    platform.setenv("HIVE_BOOT_PROFILE", "test")
    platform.delenv("HIVE_API_KEY")
    platform.delenv("JWT_SECRET")
    async with hive() as client:
        health = await client.get("/health")
        closed = {
            "HIVE_API_KEY": [await client.get("/inventory", headers={"X-API-Key": "None"})],
            "JWT_SECRET": [await client.post("/login", json=DEMO), await me(client, forge())],
        }
    assert health.status_code == 200
    for name, answers in closed.items():
        for answer in answers:
            assert answer.status_code == 503
            assert name in answer.json()["detail"]


async def test_development_needs_no_jwt_secret(platform: pytest.MonkeyPatch) -> None:
    """In the development profile the login works without a JWT_SECRET."""
    platform.setenv("HIVE_BOOT_PROFILE", "development")
    platform.delenv("JWT_SECRET")
    async with hive() as client:
        answer = await me(client, await log_in(client))
    assert answer.status_code == 200


async def test_pages_of_configured_origins_may_call(platform: pytest.MonkeyPatch) -> None:
    """Pages of the configured origins may call the service, and no others."""
    platform.setenv("CORS_ORIGINS", "http://one.invalid, http://two.invalid")
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "X-API-Key"}
    allowed = {}
    async with hive() as client:
        for origin in ("http://one.invalid", "http://two.invalid", "http://three.invalid"):
            plain = await client.get("/health", headers={"Origin": origin})
            before = await client.options("/inventory", headers={"Origin": origin, **asked})
            allowed[origin] = (
                plain.headers.get("access-control-allow-origin"),
                before.headers.get("access-control-allow-origin"),
                before.status_code,
            )
    assert allowed == {
        "http://one.invalid": ("http://one.invalid", "http://one.invalid", 200),
        "http://two.invalid": ("http://two.invalid", "http://two.invalid", 200),
        "http://three.invalid": (None, None, 400),
    }


async def test_only_named_origins_may_call_the_service(platform: pytest.MonkeyPatch) -> None:
    """Without CORS_ORIGINS no page of another origin may call the service."""
    platform.setenv("CORS_ORIGINS", "")
    async with hive() as client:
        answer = await client.get("/health", headers={"Origin": "http://one.invalid"})
    assert "access-control-allow-origin" not in answer.headers
