"""One instance of the fleet: it signs tokens, and verifies those of the other instances.

``HIVE_BOOT_SECRETS_DIR=volume python -m examples.fleet.service PORT``
"""

import json
import os
import sys
import time
from pathlib import Path

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from hive_boot import Bootstrap, Change, Secret, SecretSet, secret

ACTIVATE_AFTER = float(os.environ.get("ACTIVATE_AFTER", "120"))
ACCEPT_OLD_FOR = float(os.environ.get("ACCEPT_OLD_FOR", "900"))
LIFETIME = float(os.environ.get("TOKEN_LIFETIME", "600"))
"""Seconds for which a token is valid."""

BROKEN_HOOK = Path(os.environ.get("BROKEN_HOOK", "/nonexistent"))
"""File that makes the rotation hook fail while it exists."""


class FleetSecrets(SecretSet, version="keys-version"):
    """The key of all instances, and the one before it or after it."""

    jwt_secret: Secret = secret(
        used_by="tokens",
        min_length=32,
        activate_after=ACTIVATE_AFTER,
        accept_old_for=ACCEPT_OLD_FOR,
        previous="JWT_SECRET_PREVIOUS",
    )


boot = Bootstrap(FleetSecrets, watch=True, shutdown_delay=0, shutdown_timeout=5)


@boot.on_rotate("jwt_secret")
async def pass_on(_change: Change) -> None:
    """Pass a new key on, as to a cache; here nothing receives it."""
    if BROKEN_HOOK.exists():  # noqa: ASYNC240  (it is on a local disk)
        raise ConnectionError("the cache does not answer")


async def sign(_request: Request) -> PlainTextResponse:
    """Sign a token with the key in use."""
    claims = {"exp": time.time() + LIFETIME}
    return PlainTextResponse(jwt.encode(claims, boot.secrets.jwt_secret.reveal(), "HS256"))


def is_accepted(token: str) -> bool:
    """Check whether a token was signed with any accepted key."""

    def decode(key: Secret) -> None:
        jwt.decode(token, key.reveal(), ["HS256"])

    try:
        boot.verify("jwt_secret", decode, rejected=jwt.InvalidSignatureError)
    except jwt.InvalidSignatureError:
        return False
    except jwt.ExpiredSignatureError:
        return True  # it was signed with an accepted key, and is not needed any more
    return True


async def verify(request: Request) -> JSONResponse:
    """Return whether each of several tokens is accepted."""
    tokens: list[str] = json.loads(await request.body())
    return JSONResponse([is_accepted(token) for token in tokens])


app = Starlette(
    routes=[
        Route("/token", sign),
        Route("/verify", verify, methods=["POST"]),
        Mount("/", boot.probes),
    ],
    lifespan=boot.lifespan,
)


if __name__ == "__main__":
    boot.serve(app, port=int(sys.argv[1]), server_options={"access_log": False})
