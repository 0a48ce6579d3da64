"""Rotation of a server's secrets under load: ``python -m examples.rotation``.

Clients sign each request and verify each answer. A client uses its key until an answer
names a newer one, so the server has to accept the old key for some time. The key and its
id are in one volume and belong together: an answer that names one key and is signed with
another is a failure, like an answer with a status other than 200.
"""

import argparse
import hmac
import math
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume

CLIENTS = 4
PAUSE = 0.002
"""Seconds between two requests of a client."""

INTERVAL = 0.2
"""Seconds after which a key in use is replaced."""

TIMEOUT = 10.0
"""Seconds until a key that is not in use counts as a failure."""


class Keys(SecretSet):
    """The key with which the server signs its answers."""

    key_id: Secret = secret(used_by="answers")
    signing_key: Secret = secret(used_by="requests and answers", min_length=32, accept_old_for=60)


def signature(key: str | bytes, text: bytes) -> str:
    """Return the signature of a text."""
    raw = key.encode() if isinstance(key, str) else key
    return hmac.new(raw, text, "sha256").hexdigest()


class QuietServer(uvicorn.Server):
    """Server that leaves the signals to hive_boot."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


def server(boot: Bootstrap[Keys, None]) -> uvicorn.Server:
    """Return a server that answers requests signed with any accepted key."""

    async def answer(request: Request) -> PlainTextResponse:
        body, sent = await request.body(), request.headers["X-Signature"]
        accepted = [signature(key.reveal(), body) for key in boot.accepted("signing_key")]
        if not any(hmac.compare_digest(sent, each) for each in accepted):
            return PlainTextResponse("signed with no key of ours", 401)
        now = boot.secrets.current
        signed = signature(now.signing_key.reveal(), body)
        headers = {"X-Key-Id": now.key_id.reveal(), "X-Signature": signed}
        return PlainTextResponse(body, headers=headers)

    app = Starlette(routes=[Route("/", answer, methods=["POST"])], lifespan=boot.lifespan)
    return QuietServer(uvicorn.Config(app, log_config=None, access_log=False))


@dataclass
class Account:
    """The results of a run.

    Attributes:
        keys: every key that was mounted, by its id.
        mounted: the time when each key was mounted, in seconds of the monotonic clock.
        used: the time of the first answer that was signed with each key.
        requests: the number of requests, with or without an answer.
        failures: the failures.
    """

    keys: dict[str, str] = field(default_factory=dict)
    mounted: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, key_id: str, failure: str) -> None:
        """Register one request, with the key that signed its answer."""
        with self.lock:
            self.requests += 1
            if failure:
                self.failures.append(failure)
            else:
                self.used.setdefault(key_id, time.monotonic())

    def latency(self, share: float) -> float:
        """Return the quantile of the milliseconds from the swap of a key to its use."""
        # The first key was mounted before the server started.
        _, *rotated = self.used
        times = sorted(1000 * (self.used[each] - self.mounted[each]) for each in rotated)
        return times[math.ceil(share * len(times)) - 1] if times else math.nan

    def __str__(self) -> str:
        """Return the results as a table."""
        reasons = sorted({f"                {failure}" for failure in self.failures})
        latency = f"p50 {self.latency(0.5):.1f} ms, p99 {self.latency(0.99):.1f} ms"
        lines = [
            f"requests        {self.requests}",
            f"failures        {len(self.failures)}",
            *reasons,
            f"generations     {len(self.used)}",
            f"swap to use     {latency}",
        ]
        return "\n".join(lines)


def rotate(volume: MountedVolume, account: Account) -> str:
    """Mount a new key, as the kubelet does, and return its id."""
    key_id = f"fake-key-{len(account.keys) + 1}"
    account.keys[key_id] = f"fake-{secrets.token_hex(32)}"
    account.mounted[key_id] = time.monotonic()
    volume.publish({"key_id": key_id, "signing_key": account.keys[key_id]})
    return key_id


def send(port: int, account: Account, stop: threading.Event) -> None:
    """Send one request after the other over one connection; runs in a thread."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    key_id, *_ = account.keys
    while not stop.wait(PAUSE):
        body = secrets.token_hex(16).encode()
        failure = ""
        try:
            headers = {"X-Signature": signature(account.keys[key_id], body)}
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as exc:
            failure = type(exc).__name__
            connection.close()
        else:
            if answer.status != 200:  # noqa: PLR2004  (it is the code of HTTP)
                failure = f"{answer.status} {text.decode()}"
            else:
                key_id = answer.headers["X-Key-Id"]
                if answer.headers["X-Signature"] != signature(account.keys[key_id], text):
                    failure = "an answer that was signed with another key than it names"
        account.note(key_id, failure)
    connection.close()


async def put_under_load(
    boot: Bootstrap[Keys, None], volume: MountedVolume, account: Account, seconds: float
) -> None:
    """Run the server, the clients and the rotations for a number of seconds."""
    end = time.monotonic() + seconds
    # With an explicit protocol: asyncio sets TCP_NODELAY on such sockets only.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    serving, stop = server(boot), threading.Event()
    client = partial(send, port, account, stop)
    async with anyio.create_task_group() as servers:
        servers.start_soon(serving.serve, [listener])
        try:
            async with anyio.create_task_group() as clients:
                for _ in range(CLIENTS):
                    clients.start_soon(anyio.to_thread.run_sync, client)
                try:
                    await keep_rotating(volume, account, end)
                finally:
                    stop.set()
        finally:
            serving.should_exit = True


async def keep_rotating(volume: MountedVolume, account: Account, end: float) -> None:
    """Replace the key repeatedly, at least once, each time after it came into use."""
    key_id, *_ = account.keys
    while await is_used(key_id, account) and (time.monotonic() < end or len(account.keys) == 1):
        await anyio.sleep(INTERVAL)
        key_id = await anyio.to_thread.run_sync(rotate, volume, account)


async def is_used(key_id: str, account: Account) -> bool:
    """Wait until an answer is signed with a key, and return whether one was."""
    with anyio.move_on_after(TIMEOUT):
        while key_id not in account.used:  # noqa: ASYNC110  (a thread notes it)
            await anyio.sleep(0.002)
        return True
    account.failures.append(f"a key that was not in use after {TIMEOUT:g} s")
    return False


def main() -> None:
    """Run the example and print the results; exit with 1 after any failure."""
    parser = argparse.ArgumentParser(prog="python -m examples.rotation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long (default: 5)")
    seconds = parser.parse_args().seconds
    with TemporaryDirectory() as place:
        account, volume = Account(), MountedVolume(Path(place, "volume"))
        rotate(volume, account)
        boot = Bootstrap(Keys, watch=True, mode="kubernetes", secrets_dirs=volume.path)

        @boot.main
        async def run() -> int:
            await put_under_load(boot, volume, account, seconds)
            print(account)  # noqa: T201  (the output of the example)
            return 1 if account.failures else 0

        boot.run()


if __name__ == "__main__":
    import logging

    logging.basicConfig(level="WARNING")
    main()
