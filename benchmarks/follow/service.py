"""Service under measurement. A comment names the object for which a line of the user exists.

The argument is the descriptor of the listening socket.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import asyncpg
import jwt
import redis.asyncio as redis
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.follow.tokens import key_id
from hive_boot import Bootstrap, Secret, SecretSet, secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


class ServiceSecrets(SecretSet):
    """Secrets of the service."""

    database_url: Secret
    redis_url: Secret
    jwt_secret: Secret = secret(min_length=32, accept_old_for=2)
    tls_crt: Secret
    tls_key: Secret


boot = Bootstrap(ServiceSecrets, watch=True, shutdown_delay=0.3)


@boot.resource(rebuild_on="database_url", overlap=2, timeout=2)  # PostgreSQL
async def pool(secrets: ServiceSecrets) -> AsyncIterator[asyncpg.Pool]:
    """Connect to PostgreSQL; the pool connects before the block begins."""
    url = secrets.database_url.reveal()  # PostgreSQL
    async with asyncpg.create_pool(url, min_size=2, max_size=8) as opened:
        yield opened


@boot.resource(rebuild_on="redis_url", overlap=2, timeout=2)  # Redis
async def cache(secrets: ServiceSecrets) -> AsyncIterator[redis.Redis]:
    """Connect to Redis."""
    url = secrets.redis_url.reveal()  # Redis
    async with redis.from_url(url) as client:
        await client.ping()  # Redis
        yield client


async def token(request: Request) -> Response:
    """Answer with a new token."""
    del request
    key = boot.secrets.jwt_secret.reveal()  # JWT
    claims = {"exp": time.time() + 60}
    return PlainTextResponse(jwt.encode(claims, key, "HS256", {"kid": key_id(key)}))


async def order(request: Request) -> Response:
    """Verify a token, store an order, and count it; with ``?seconds=`` in a slow transaction."""
    signed = request.headers["authorization"].removeprefix("Bearer ")
    keys = [str(each.reveal()) for each in boot.accepted("jwt_secret")]  # JWT
    known = {key_id(key): key for key in keys}
    name = jwt.get_unverified_header(signed)["kid"]
    if name not in known:
        return PlainTextResponse("unknown kid", 401)
    jwt.decode(signed, known[name], ["HS256"])
    seconds = float(request.query_params.get("seconds", "0"))
    async with pool.value.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO orders VALUES (1)")
        await connection.execute("SELECT pg_sleep($1)", seconds)
    await cache.value.incr("orders")
    return PlainTextResponse("stored")


app = Starlette(
    routes=[Route("/token", token), Route("/orders", order, methods=["POST"])],
)


if __name__ == "__main__":
    options = {"access_log": False}
    boot.serve(app, fd=int(sys.argv[1]), tls=("tls_crt", "tls_key"), server_options=options)  # TLS
