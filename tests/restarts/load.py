"""Load on the shop: orders one after another, and streams that are read to their end."""

import asyncio
import itertools
import json
import sys
from collections.abc import Awaitable, Callable

import httpx

LAST_EVENT = "event: reconnect\ndata:\n\n"


def is_starting(answer: httpx.Response) -> bool:
    """Check for an answer that asks a load balancer to send the request again."""
    return answer.status_code == 503 and "retry-after" in answer.headers


class Load:
    """Clients of the shop, and their results.

    Args:
        client: sends the requests.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._numbers = itertools.count(1)
        self._stop = asyncio.Event()
        self.accepted: list[int] = []
        self.failures: list[str] = []
        self.streams = 0

    async def run(self) -> None:
        """Send requests until stdin is closed."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._repeat(self._order)) for _each in range(4)]
            tasks += [group.create_task(self._repeat(self._read_stream)) for _each in range(2)]
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            self._stop.set()

    async def _repeat(self, send: Callable[[], Awaitable[None]]) -> None:
        while not self._stop.is_set():
            try:
                await send()
            except httpx.HTTPError as exc:
                self.failures.append(repr(exc))
            await asyncio.sleep(0.05)

    async def _order(self) -> None:
        path = f"/orders/{next(self._numbers)}"
        answer = await self._client.post(path)
        while is_starting(answer):
            await asyncio.sleep(0.02)
            answer = await self._client.post(path)
        answer.raise_for_status()
        self.accepted.append(answer.json()["number"])

    async def _read_stream(self) -> None:
        async with self._client.stream("GET", "/events") as answer:
            if is_starting(answer):
                return
            answer.raise_for_status()
            text = ""
            async for part in answer.aiter_text():
                text += part
                if self._stop.is_set():
                    return
        if not text.endswith(LAST_EVENT):
            self.failures.append(f"the stream ends with {text[-40:]!r}")
        self.streams += 1


async def main(base: str) -> None:
    """Send requests until stdin is closed, and print the results."""
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        load = Load(client)
        await load.run()
    known = {"accepted": load.accepted, "failures": load.failures, "streams": load.streams}
    sys.stdout.write(json.dumps(known))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
