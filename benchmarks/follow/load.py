"""Load on the service: clients that connect, get a token, and place orders, until stdin is closed.

Arguments: the port, and the file of the CAs and keys that the clients trust.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import jwt

_SHORT, _LONG, _SLOW = 8, 2, 2
"""The clients that connect again and again; that retain a connection; that place slow orders."""

_PER_CONNECTION = 3
_PAUSE = 0.05
_TIMEOUT = 30
_OK = 200
_STARTING = 503


class Trust(NamedTuple):
    """CAs that the clients trust now, and keys that they do not.

    Attributes:
        authorities: the valid CAs, in PEM form.
        revoked: the names of keys with which no token may be signed any more.
    """

    authorities: str
    revoked: list[str]


class Answer(NamedTuple):
    """An answer of the service.

    Attributes:
        status: the status.
        body: the body.
        is_last: whether the service closes the connection after it.
    """

    status: int
    body: str
    is_last: bool


class Load:
    """The clients and their results.

    Args:
        port: the port of the service.
        trust: the file with what the clients trust.
    """

    def __init__(self, port: int, trust: Path) -> None:
        self._port = port
        self._trust = trust
        self._stop = asyncio.Event()
        self.requests = 0
        self.handshakes = 0
        self.failed_requests: list[str] = []
        self.failed_handshakes: list[str] = []

    async def run(self) -> None:
        """Run the clients until stdin is closed."""
        async with asyncio.TaskGroup() as group:
            for number in range(_SHORT + _LONG + _SLOW):
                is_short, is_slow = number < _SHORT, number >= _SHORT + _LONG
                group.create_task(self._repeat(is_short=is_short, is_slow=is_slow))
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            self._stop.set()

    async def _repeat(self, *, is_short: bool, is_slow: bool) -> None:
        path = "/orders?seconds=1.5" if is_slow else "/orders"
        while not self._stop.is_set():
            trust = Trust(*json.loads(self._trust.read_text("utf-8")))
            context = ssl.create_default_context(cadata=trust.authorities)
            self.handshakes += 1
            try:
                async with asyncio.timeout(_TIMEOUT):
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", self._port, ssl=context, server_hostname="localhost"
                    )
            except (OSError, TimeoutError) as exc:
                self.failed_handshakes.append(repr(exc))
                continue
            try:
                count = 0
                while not self._stop.is_set() and (count < _PER_CONNECTION or not is_short):
                    count += 1
                    if not await self._order(reader, writer, path):
                        break
                    await asyncio.sleep(_PAUSE)
            except (OSError, EOFError, TimeoutError) as exc:
                self.failed_requests.append(repr(exc))
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            await asyncio.sleep(_PAUSE)

    async def _order(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
    ) -> bool:
        """Get a token and place an order; return whether the connection can be used again."""
        trust = Trust(*json.loads(self._trust.read_text("utf-8")))
        signed = await self._ask(reader, writer, "GET /token", "")
        if signed.status == _OK:
            if jwt.get_unverified_header(signed.body)["kid"] in trust.revoked:
                self.failed_requests.append("a token was signed with a revoked key")
            if signed.is_last:
                return False
            signed = await self._ask(reader, writer, f"POST {path}", signed.body)
        return not signed.is_last

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, token: str
    ) -> Answer:
        request = f"{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        writer.write(f"{request}content-length: 0\r\n\r\n".encode())
        async with asyncio.timeout(_TIMEOUT):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = (await reader.readexactly(length)).decode()
        answer = Answer(int(head.split()[1]), body, "connection: close" in head)
        # While it stops, the service asks clients to send a request again.
        if answer.status != _STARTING or "retry-after" not in head:
            self.requests += 1
            if answer.status != _OK:
                self.failed_requests.append(f"{line}: {answer.status} {answer.body}")
        return answer


async def main(port: int, trust: Path) -> None:
    """Run the clients, and print their results."""
    load = Load(port, trust)
    await load.run()
    names = ("requests", "failed_requests", "handshakes", "failed_handshakes")
    sys.stdout.write(json.dumps({name: getattr(load, name) for name in names}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
