"""The routes: a login, who am I, how are you, and what is known about the secrets.

``python -m examples.hive`` serves them, and so does ``uvicorn examples.hive.app:app``.
"""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Literal

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, SecretStr

from examples.hive.accounts import DEMO_PASSWORD, DEMO_USERNAME, Accounts
from examples.hive.inventory import HiveSecrets
from examples.hive.settings import ENV_FILE, Settings
from hive_boot import Bootstrap

ISSUER = "hive"
LIFETIME = timedelta(minutes=15)

boot = Bootstrap(HiveSecrets, config=Settings, env_file=ENV_FILE, watch=True)
app = FastAPI(title="HIVE", lifespan=boot.lifespan)


class ConfiguredCORS(CORSMiddleware):
    """CORS by the settings of the running application, which an import does not know."""

    def is_allowed_origin(self, origin: str) -> bool:
        """Tell whether pages of ``origin`` may call."""
        return origin in boot.config.cors_origins


app.add_middleware(
    ConfiguredCORS,
    allow_methods=["GET", "POST"],
    allow_headers=["Authorization", "Content-Type", "X-API-Key"],
)


@app.exception_handler(RequestValidationError)
async def tell_what_is_wrong(_: Request, exc: RequestValidationError) -> JSONResponse:
    """Say which parts of a request are wrong, and do not repeat it: it may hold a password."""
    detail = [{"loc": error["loc"], "msg": error["msg"]} for error in exc.errors()]
    return JSONResponse({"detail": detail}, HTTPStatus.UNPROCESSABLE_ENTITY)


class Credentials(BaseModel):
    """What a login takes."""

    username: str = Field(max_length=200)
    password: SecretStr = Field(max_length=1000)


class Token(BaseModel):
    """What a login gives."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  (the scheme's name)


class Health(BaseModel):
    """How the service is; anybody may know."""

    status: Literal["ok", "degraded"] = Field(
        description="degraded: it serves, with the last good secrets, and its log says why"
    )
    mode: str
    generation: int = Field(description="how many sets of secrets were accepted")


class InventoryEntry(BaseModel):
    """What is known about one secret; never its value, not even masked."""

    name: str
    present: bool
    required: bool
    used_by: str
    source: str
    place: str
    generation: int = Field(description="the accepted set that brought the value")
    age: float | None = Field(description="seconds since the value came into use")
    due: float | None = Field(description="seconds until a newer value comes into use")


def _unauthorized(*, detail: str, scheme: str = "Bearer") -> HTTPException:
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": scheme})


def _closed(*, name: str) -> HTTPException:
    """Refuse what needs a secret that this profile allows to be absent."""
    detail = f"{name} is not set, so this route is closed"
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail)


def current_user(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))],
) -> str:
    """Give the user whose token the request carries, whichever valid key it was signed with."""
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
    """Let nobody pass who does not know HIVE_API_KEY."""
    expected = boot.secrets.hive_api_key
    if expected is None:
        raise _closed(name="HIVE_API_KEY")
    # Headers are decoded as Latin-1; encoded again they are the bytes that were sent.
    if sent is None or not expected.matches(sent.encode("latin-1")):
        raise _unauthorized(detail="Send the right key: X-API-Key: …", scheme="APIKey")


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
    """Tell whose token was sent."""
    return {"username": username}


@app.get("/health")
async def health() -> Health:
    """Tell that the service serves, from which mode of secrets, and their generation.

    A refused rotation is no reason to restart it: it serves with the last good set.
    """
    now = boot.status()
    status: Literal["ok", "degraded"] = "degraded" if now.degraded else "ok"
    return Health(status=status, mode=now.mode, generation=now.generation)


@app.get("/inventory", dependencies=[Depends(api_key)])
async def inventory() -> list[InventoryEntry]:
    """List every declared secret: where it comes from, how old it is, who uses it, what follows."""
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
