"""Counterparts of the programs of docs/frameworks.md: clients, a Redis server, a Bot API."""

import asyncio
import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import NamedTuple

import pytest

from tests.fixtures.ports import free_port
from tests.frameworks.bot_api import BotApi, bot_api

BROKER = '''
from app import REDIS
from redis.asyncio import from_url
from taskiq import AsyncBroker


class ListBroker(AsyncBroker):
    """A broker whose queue is a list of Redis."""

    async def startup(self):
        await super().startup()
        self.redis = from_url(REDIS)

    async def kick(self, message):
        await self.redis.rpush("jobs", message.message)

    async def listen(self):
        while True:
            yield (await self.redis.blpop("jobs"))[1]

    async def shutdown(self):
        await super().shutdown()
        await self.redis.aclose()


broker = ListBroker()
'''
"""The module that the worker of taskiq imports: a broker of an application."""


class Outside(NamedTuple):
    """Counterpart of a program.

    Attributes:
        send: gives a job to the program, and returns the answer if it waits for one.
        addresses: addresses on the page, and those of the test.
        answers: messages that the program has sent.
        left: returns how many jobs the next start of the program would get.
    """

    send: Callable[[int], object]
    addresses: dict[str, str]
    answers: list[str] | None = None
    left: Callable[[], int] | None = None


@contextmanager
def http(method: str) -> Iterator[Outside]:
    """Ask the program by HTTP; the answer comes when the job is complete, or queued."""
    port = free_port()

    def send(number: int) -> object:
        url = f"http://127.0.0.1:{port}/jobs/{number}"
        request = urllib.request.Request(url, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  (its own server)
            return answer.read().decode()

    yield Outside(send, {"8000": str(port)})


@contextmanager
def grpc() -> Iterator[Outside]:
    """Call the program by gRPC; the answer comes when the job is complete."""
    port = free_port()
    with import_module("grpc").insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/Jobs/Job")

        def send(number: int) -> object:
            return call(str(number).encode(), timeout=60).decode()

        yield Outside(send, {"8000": str(port)})


@contextmanager
def telegram() -> Iterator[Outside]:
    """Send a message to the program for each job."""
    with bot_api() as api:
        addresses = {"https://api.telegram.org": api.address}
        send = partial(_send_message, api)
        yield Outside(send, addresses, api.answers, api.unconfirmed)


def _send_message(api: BotApi, number: int) -> None:
    api.send(str(number))


@contextmanager
def redis(push: Callable[[int, int], object]) -> Iterator[Outside]:
    """Put jobs into a queue of a Redis server.

    Args:
        push: called with the port of the server, and the number of a job.
    """
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: on Debian, apt-get install redis-server")
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert any("Ready to accept connections" in line for line in server.stdout)
            send = partial(push, port)
            yield Outside(send, {"6379": str(port)}, left=partial(length_of_queue, port))
        finally:
            server.kill()


def ask_redis(port: int, *command: str) -> int:
    """Send a command whose answer is a number, and return the number."""
    lines = [f"*{len(command)}"]
    for argument in command:
        lines += [f"${len(argument)}", argument]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in lines).encode())
        answer = connection.recv(100)
    assert answer.startswith(b":"), answer
    return int(answer[1:])


def length_of_queue(port: int) -> int:
    """Return how many jobs are in the queue of FastStream or taskiq, and in that of arq."""
    return ask_redis(port, "LLEN", "jobs") + ask_redis(port, "ZCARD", "arq:queue")


def push_to_faststream(port: int, number: int) -> None:
    """Publish a job as any client of Redis can."""
    ask_redis(port, "RPUSH", "jobs", str(number))


def push_to_taskiq(port: int, number: int) -> None:
    """Publish a job as taskiq does."""
    job = {"task_id": str(number), "task_name": "job", "labels": {}, "args": [number], "kwargs": {}}
    ask_redis(port, "RPUSH", "jobs", json.dumps(job))


def push_to_arq(port: int, number: int) -> None:
    """Publish a job as arq does."""
    connections = import_module("arq.connections")

    async def push() -> None:
        pool = await connections.create_pool(connections.RedisSettings(port=port))
        await pool.enqueue_job("job", number)
        await pool.aclose()

    asyncio.run(push())
