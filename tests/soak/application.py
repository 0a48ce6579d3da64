"""The application under test: ``python -m tests.soak.application BACKEND VOLUME PLAIN JUDGE``.

It prints the port on which it listens, and answers lines: ``use TOKEN`` is a request of a
client, ``tell`` returns its observations, ``measure`` its use of resources. While the file
JUDGE exists, its check fails.
"""

import ctypes
import gc
import hmac
import json
import logging
import os
import re
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from hive_boot import Bootstrap, Change, Secret, SecretBytes, SecretSet, secret
from tests.soak.values import (
    HOOK_HANGS,
    HOOK_RAISES,
    LATE,
    PLAIN,
    REFUSED,
    UNJUDGED,
    VOLUME,
    scenario_of,
    tag_of,
)

ACTIVATE_AFTER, ACCEPT_OLD_FOR = 0.3, 5.0
"""Seconds; no client keeps a token for as long as ``ACCEPT_OLD_FOR``, on a busy machine too."""

_LINE = 4096
_SAMPLES = 10
_SHORT = 0.05


class Soaked(SecretSet):
    """Secrets of which most have no constraint: a torn value must be prevented by the reader."""

    api_key: Secret = secret(min_length=8)
    blob: SecretBytes
    ca: Secret = secret(file="tls/ca.pem")
    certificate: Secret
    private_key: Secret
    signing_key: Secret = secret(activate_after=ACTIVATE_AFTER, accept_old_for=ACCEPT_OLD_FOR)
    spare: Secret | None
    other_1: Secret
    other_2: Secret
    other_3: Secret
    other_4: Secret
    other_5: Secret
    other_6: Secret
    password: Secret = secret(check=lambda value: tag_of("password", value) is not None)
    token: Secret
    note: Secret | None = secret(check=lambda value: tag_of("note", value) is not None)

    async def check(self) -> bool:
        """Reject a certificate with the key of another certificate."""
        return tags_in(self)["certificate"] == tags_in(self)["private_key"]


def tags_in(secrets: Soaked) -> dict[str, int | None]:
    """Return the tag of each secret that exists; None for a value that is not whole."""
    found = {}
    for field in (*VOLUME, *PLAIN):
        value: Secret | SecretBytes | None = getattr(secrets, field)
        if value is not None:
            text = value.reveal()
            found[field] = tag_of(field, text if isinstance(text, str) else text.decode())
    return found


def is_torn(secrets: Soaked) -> bool:
    """Return whether a value is not whole, or a set mixes values of different generations."""
    tags = tags_in(secrets)
    together = {tag for field, tag in tags.items() if field in VOLUME and field != LATE}
    return None in tags.values() or len(together) != 1


class Ear(logging.Handler):
    """A log handler that counts records.

    Attributes:
        verdicts: the number of rotations by verdict: accepted, refused, or in use.
        leaks: the number of records that contain a value.
        surprises: errors of other loggers than the one for rotations.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.verdicts: Counter[str] = Counter()
        self.leaks = 0
        self.surprises: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        text = self.format(record)
        self.leaks += "fake-" in text
        self.verdicts[getattr(record, "verdict", "other")] += 1
        if record.levelno >= logging.ERROR and record.name != "hive_boot.rotation":
            self.surprises.append(text)


class Application:
    """The application, and its observations."""

    def __init__(self, volume: str, plain: str, judge: str) -> None:
        self.boot = Bootstrap(
            Soaked,
            watch=True,
            mode="kubernetes",
            profile="test",
            secrets_dirs=[volume, plain],
            startup_timeout=1,
        )
        self.ear = Ear()
        self._judge = Path(judge)
        self._seen: Counter[str] = Counter()
        self._watchers: Counter[str] = Counter()
        self._told: dict[str, Secret | SecretBytes | None] = {}
        self._last_trouble: int | None = None
        self.boot.check(self.vouch)
        self.boot.on_rotate()(self.keep_track)
        self.boot.on_rotate("api_key", timeout=0.5)(self.reconnect)
        self.boot.main(self.main)

    async def vouch(self, secrets: Soaked) -> bool:
        """Check a set; fail while the file JUDGE exists, as if a server were down."""
        if self._judge.exists():
            message = "the judge is away"
            raise ConnectionError(message)
        scenario = scenario_of(tags_in(secrets)["api_key"] or 0)
        if scenario == UNJUDGED:
            await anyio.sleep_forever()
        return scenario != REFUSED

    async def keep_track(self, change: Change) -> None:
        """Count the changes that hooks have missed."""
        for name in change.names:
            known = self._told.get(name, change.old[name])
            self._seen["gaps"] += known != change.old[name]
            self._told[name] = change.new[name]

    async def reconnect(self, change: Change, secrets: Soaked) -> None:
        """Fail or hang at the first call, if the tag asks for that."""
        tag = tags_in(secrets)["api_key"]
        if tag is None or change.new["api_key"] is None or tag == self._last_trouble:
            return
        if scenario_of(tag) in {HOOK_RAISES, HOOK_HANGS}:
            self._last_trouble = tag
            self._seen["hook failures"] += 1
            if scenario_of(tag) == HOOK_RAISES:
                message = "nobody there"
                raise ConnectionError(message)
            await anyio.sleep_forever()

    async def main(self, secrets: Soaked) -> None:
        """Serve until a signal comes."""
        threading.Thread(target=self._sample, args=(secrets,), daemon=True).start()
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  (no Django)
            print(port, flush=True)  # noqa: T201  (the parent process reads it)
            await listener.serve(self._serve)

    def _sample(self, secrets: Soaked) -> None:
        """Read snapshots in a thread, without a pause for the event loop, and count torn ones."""
        while True:
            self._seen["samples"] += 1
            self._seen["torn samples"] += is_torn(secrets.current)
            time.sleep(_SHORT / 10)

    async def _serve(self, stream: SocketStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        async with stream:
            with suppress(anyio.IncompleteRead, anyio.BrokenResourceError):
                while True:
                    order, _, text = (await lines.receive_until(b"\n", _LINE)).partition(b" ")
                    if order == b"use":
                        answer = self._use(text.decode())
                    elif order == b"tell":
                        answer = json.dumps(self._tell())
                    else:
                        answer = json.dumps(await self._measure())
                    await stream.send(f"{answer}\n".encode())

    def _use(self, token: str) -> str:
        """Accept a token that was issued before, and return a new one."""
        self._seen["requests"] += 1
        self._seen["torn"] += is_torn(self.boot.secrets.current)
        if token != "-" and not any(map(_matches(token), self.boot.accepted(LATE))):
            return "refused"
        return f"ok {_sign(self.boot.secrets.signing_key)}"

    def _tell(self) -> dict[str, object]:
        status = self.boot.status()
        return {
            "tags": tags_in(self.boot.secrets.current),
            "accepted": len(self.boot.accepted(LATE)),
            "generation": status.generation,
            "degraded": status.degraded,
            "reasons": status.reasons,
            "watcher": status.watcher,
            "missed": status.missed_events,
            "verdicts": self.ear.verdicts,
            "leaks": self.ear.leaks,
            "surprises": self.ear.surprises,
            "seen": self._seen,
        }

    async def _measure(self) -> dict[str, int]:
        """Return the resources in use; of those that fluctuate, the minimum of several samples."""
        samples = []
        for _ in range(_SAMPLES):
            samples.append(_countable())
            await anyio.sleep(_SHORT)
        least = {name: min(sample[name] for sample in samples) for name in samples[0]}
        return {**least, **_memory()}


def _memory() -> dict[str, int]:
    # Python keeps the last 512 expressions, and each rotation makes some.
    re.purge()
    gc.collect()
    # Memory that is freed, but not returned to the system, would hide a leak.
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {"objects": sys.getallocatedblocks(), "memory": pages * os.sysconf("SC_PAGE_SIZE")}


def _countable() -> dict[str, int]:
    descriptors = list(Path("/proc/self/fd").iterdir())
    watches = 0
    for descriptor in descriptors:
        with suppress(OSError):
            text = Path(f"/proc/self/fdinfo/{descriptor.name}").read_text(encoding="ascii")
            watches += text.count("inotify wd:")
    return {
        "descriptors": len(descriptors),
        "watches": watches,
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def _sign(key: Secret | SecretBytes) -> str:
    text = key.reveal()
    return hmac.digest(text.encode() if isinstance(text, str) else text, b"soak", "sha256").hex()


def _matches(token: str) -> Callable[[Secret | SecretBytes], bool]:
    return lambda key: hmac.compare_digest(_sign(key), token)


def _obey_permissions() -> None:
    """Drop the capabilities by which root ignores file permissions (``man 2 capset``)."""
    dac_override, dac_read_search, version = 1, 2, 0x20080522
    header = ctypes.create_string_buffer(struct.pack("Ii", version, 0))
    held = ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, held) == 0:
        effective, *others = struct.unpack("6I", held.raw)
        effective &= ~(1 << dac_override | 1 << dac_read_search)
        libc.capset(header, struct.pack("6I", effective, *others))


def main(backend: str, volume: str, plain: str, judge: str) -> None:
    """Run the application until it stops."""
    _obey_permissions()
    application = Application(volume, plain, judge)
    logging.basicConfig(level=logging.INFO, handlers=[application.ear])
    application.boot.run(backend=backend)


if __name__ == "__main__":
    main(*sys.argv[1:])
