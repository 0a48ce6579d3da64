"""Routes of HIVE: login, current user, health, the inventory of secrets, and the status page.

``python -m examples.hive`` serves them, and so does ``uvicorn examples.hive.app:app``.
"""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Literal

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBasic, HTTPBearer
from pydantic import BaseModel, Field, SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from examples.hive.accounts import DEMO_PASSWORD, DEMO_USERNAME, Accounts
from examples.hive.inventory import HiveSecrets
from examples.hive.settings import ENV_FILE, Settings
from hive_boot import Bootstrap

ISSUER = "hive"
LIFETIME = timedelta(minutes=15)

boot = Bootstrap(HiveSecrets, config=Settings, env_file=ENV_FILE, watch=True)
app = FastAPI(title="HIVE", lifespan=boot.lifespan)


class ConfiguredCORS(CORSMiddleware):
    """CORS middleware that reads its origins from the settings of the running application."""

    def is_allowed_origin(self, origin: str) -> bool:
        """Return whether pages of ``origin`` are allowed to call."""
        return origin in boot.config.cors_origins


app.add_middleware(
    ConfiguredCORS,
    allow_methods=["GET", "POST"],
    allow_headers=["Authorization", "Content-Type", "X-API-Key"],
)


@app.exception_handler(RequestValidationError)
async def report_invalid_request(_: Request, exc: RequestValidationError) -> JSONResponse:
    """Return the invalid fields of a request without their values, which can be passwords."""
    detail = [{"loc": error["loc"], "msg": error["msg"]} for error in exc.errors()]
    return JSONResponse({"detail": detail}, HTTPStatus.UNPROCESSABLE_ENTITY)


class Credentials(BaseModel):
    """Request body of a login."""

    username: str = Field(max_length=200)
    password: SecretStr = Field(max_length=1000)


class Token(BaseModel):
    """Response of a login."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  (the scheme's name)


class Health(BaseModel):
    """Public status of the service."""

    status: Literal["ok", "degraded"] = Field(
        description="degraded: the service uses the last good secrets; its log has the reason"
    )
    mode: str
    generation: int = Field(description="number of accepted sets of secrets")


class InventoryEntry(BaseModel):
    """Status of one secret, without its value, not even masked."""

    name: str
    present: bool
    required: bool
    used_by: str
    source: str
    place: str
    generation: int = Field(description="the accepted set that introduced the value")
    age: float | None = Field(description="seconds since the value came into use")
    due: float | None = Field(description="seconds until a newer value comes into use")


def _unauthorized(*, detail: str, scheme: str = "Bearer") -> HTTPException:
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": scheme})


def _closed(*, name: str) -> HTTPException:
    """Return the error for a route whose optional secret is absent."""
    detail = f"{name} is not set, so this route is closed"
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail)


def current_user(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))],
) -> str:
    """Return the user of the token, which can be signed with any accepted key."""
    keys = boot.accepted("jwt_secret")
    if not keys:
        raise _closed(name="JWT_SECRET")
    if bearer is None:
        raise _unauthorized(detail="Send a token: Authorization: Bearer …")
    for key in keys:
        try:
            claims = jwt.decode(
                bearer.credentials,
                key.reveal(),
                algorithms=["HS256"],
                issuer=ISSUER,
                options={"require": ["exp", "iss", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise _unauthorized(detail="The token has expired: log in again") from None
        except jwt.InvalidTokenError:
            continue
        return str(claims["sub"])
    raise _unauthorized(detail="The token is not valid")


def api_key(
    sent: Annotated[str | None, Security(APIKeyHeader(name="X-API-Key", auto_error=False))],
) -> None:
    """Raise 401 unless the request has HIVE_API_KEY in its header."""
    expected = boot.secrets.hive_api_key
    if expected is None:
        raise _closed(name="HIVE_API_KEY")
    # Headers are decoded as Latin-1; encoded again they are the bytes that were sent.
    if sent is None or not expected.matches(sent.encode("latin-1")):
        raise _unauthorized(detail="Send the right key: X-API-Key: …", scheme="APIKey")


class KeyRequired:
    """ASGI middleware: a browser asks for HIVE_API_KEY as a password, with any user name."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 unless the request has the key as its password."""
        expected = boot.secrets.hive_api_key
        if scope["type"] == "http" and expected is not None:
            sent = await HTTPBasic(auto_error=False)(Request(scope))
            if sent is not None and expected.matches(sent.password):
                await self._inner(scope, receive, send)
                return
        scheme = {"WWW-Authenticate": 'Basic realm="HIVE"'}
        detail = {"detail": "The password is the value of HIVE_API_KEY, with any user name"}
        await JSONResponse(detail, HTTPStatus.UNAUTHORIZED, scheme)(scope, receive, send)


app.mount("/internal", KeyRequired(boot.probes))

INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>HIVE</title>
<h1>HIVE</h1><ul>
<li><a href="docs">The routes</a>, to try in the browser
<li><a href="health">Health</a>, without a key
<li><a href="internal/boot">The status page</a>: any user, the password is the value of HIVE_API_KEY
<li><a href="internal/metrics">Metrics</a>, with the same password
</ul>"""


@app.get("/", include_in_schema=False, response_class=HTMLResponse)
async def index() -> str:
    """Return links to everything that a browser can open."""
    return INDEX


@app.post("/login")
def login(credentials: Credentials) -> Token:
    """Exchange a username and a password for a token that is valid for 15 minutes."""
    key = boot.secrets.jwt_secret
    if key is None:
        raise _closed(name="JWT_SECRET")
    accounts = Accounts(boot.config.database_path)
    if boot.config.demo_user:
        accounts.add(DEMO_USERNAME, DEMO_PASSWORD)
    if not accounts.verify(credentials.username, credentials.password.get_secret_value()):
        raise _unauthorized(detail="Username or password is wrong")
    now = datetime.now(UTC)
    claims = {"sub": credentials.username, "iss": ISSUER, "iat": now, "exp": now + LIFETIME}
    return Token(access_token=jwt.encode(claims, key.reveal(), algorithm="HS256"))


@app.get("/me")
def me(username: Annotated[str, Depends(current_user)]) -> dict[str, str]:
    """Return the user of the token."""
    return {"username": username}


@app.get("/health")
async def health() -> Health:
    """Return the status of the service, the mode of its secrets, and their generation.

    A rejected rotation needs no restart: the service uses the last good set.
    """
    now = boot.status()
    status: Literal["ok", "degraded"] = "degraded" if now.degraded else "ok"
    return Health(status=status, mode=now.mode, generation=now.generation)


@app.get("/inventory", dependencies=[Depends(api_key)])
async def inventory() -> list[InventoryEntry]:
    """Return every declared secret with its source, age, user and next value."""
    return [
        InventoryEntry(
            name=secret.name,
            present=secret.present,
            required=secret.required,
            used_by=secret.used_by,
            source=secret.source,
            place=secret.place,
            generation=secret.generation,
            age=round(secret.age, 3) if secret.present else None,
            due=None if secret.due is None else round(secret.due, 3),
        )
        for secret in boot.status().secrets
    ]
