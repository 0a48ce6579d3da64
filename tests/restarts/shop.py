"""A shop: HTTP endpoints, a stream of events, and a consumer of a queue in Redis."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import redis.asyncio as redis
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from hive_boot import Bootstrap, Secret, SecretSet, secret


class ShopSecrets(SecretSet):
    """Secrets of the shop."""

    database_url: Secret = secret(used_by="orders")
    redis_url: Secret = secret(used_by="jobs")


boot = Bootstrap(ShopSecrets, shutdown_delay=0.3, shutdown_timeout=8)


@boot.resource
async def pool(secrets: ShopSecrets) -> AsyncIterator[asyncpg.Pool]:
    """Connect to PostgreSQL."""
    dsn = secrets.database_url.reveal()
    settings = {"application_name": "shop"}
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings=settings) as opened:
        yield opened


@boot.resource
async def queue(secrets: ShopSecrets) -> AsyncIterator[redis.Redis]:
    """Connect to Redis."""
    async with redis.from_url(secrets.redis_url.reveal(), client_name="shop") as client:
        await client.ping()
        yield client


@boot.service(grace_period=5)
async def ship(pool: asyncpg.Pool, queue: redis.Redis) -> None:
    """Ship one order after another; a job in hand is completed before a stop."""
    while not boot.stopping.is_set():
        job: Any = await queue.blmove("jobs", "in-hand", 0.05)  # type: ignore[arg-type]  # (Redis takes fractions)
        if job is None:
            continue
        await asyncio.sleep(0.005)
        await pool.execute("INSERT INTO shipped VALUES ($1)", int(job))
        await queue.lrem("in-hand", 1, job)


app = FastAPI(lifespan=boot.lifespan)


@app.post("/orders/{number}")
async def order(number: int) -> dict[str, int]:
    """Store an order, and queue the job that ships it."""
    async with pool.value.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO orders VALUES ($1)", number)
        await asyncio.sleep(0.01)
    await queue.value.lpush("jobs", number)
    return {"number": number}


@app.get("/events")
async def events() -> StreamingResponse:
    """Stream events until the stop; the last one tells the client to connect again."""

    async def stream() -> AsyncIterator[str]:
        while not boot.stopping.is_set():
            yield "data: tick\n\n"
            await asyncio.sleep(0.02)
        yield "event: reconnect\ndata:\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


if __name__ == "__main__":
    boot.serve(app, fd=int(sys.argv[1]))
