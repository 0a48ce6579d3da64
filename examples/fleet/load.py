"""Load on a fleet: each instance signs tokens, and all instances verify them until they expire."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import jwt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.fleet.processes import Fleet, Instance

PAUSE = 0.1
"""Seconds between two laps."""

_OLD_TOKENS = 5
"""Number of older tokens that each instance verifies in a lap."""

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and the moment when it was signed, in seconds of the monotonic clock."""

    text: str
    signer: str
    at: float


@dataclass(slots=True)
class Account:
    """The results of the load.

    Attributes:
        verified: the number of verified tokens.
        rejected: those that an instance has rejected, as sentences.
        uses: the time of the last accepted token that was signed with each key.
    """

    verified: int = 0
    rejected: list[str] = field(default_factory=list)
    uses: dict[str, float] = field(default_factory=dict)


class Load:
    """Sends requests to the instances until it is stopped, in a thread.

    An instance that does not answer neither signs nor verifies in that lap.

    Args:
        fleet: the instances; it may get more of them.
        lifetime: seconds for which a token is used.

    Attributes:
        account: the results.
        keys: every key that was published, newest last.
    """

    def __init__(self, fleet: Fleet, lifetime: float) -> None:
        self.account = Account()
        self.keys: list[str] = []
        self._fleet = fleet
        self._lifetime = lifetime
        self._tokens: list[Token] = []
        self._random = Random(1)  # noqa: S311  (it selects tokens)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Complete the lap, and end the thread."""
        self._stop.set()
        self._thread.join()

    def signing_key(self, token: str) -> str:
        """Return the key that a token was signed with; empty if it is unknown."""
        for key in reversed(self.keys):
            try:
                jwt.decode(token, key, ["HS256"], options={"verify_exp": False})
            except jwt.InvalidSignatureError:
                continue
            return key
        return ""

    def _run(self) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            while not self._stop.wait(PAUSE):
                instances = list(self._fleet.instances)
                signed = list(pool.map(self._sign, instances))
                tokens = [token for token in signed if token is not None]
                list(pool.map(lambda each, new=tokens: self._verify(each, new), instances))
                now = time.monotonic()
                fresh = [each for each in self._tokens if now - each.at < self._lifetime]
                self._tokens = fresh + tokens

    def _sign(self, instance: Instance) -> Token | None:
        at, text = time.monotonic(), instance.token()
        return Token(text, instance.name, at) if text.count(".") == 2 else None  # noqa: PLR2004

    def _verify(self, instance: Instance, signed: Sequence[Token]) -> None:
        now = time.monotonic()
        old = [each for each in self._tokens if now - each.at < self._lifetime]
        chosen = self._random.sample(old, min(_OLD_TOKENS, len(old)))
        tokens = [*signed, *chosen]
        verdicts = instance.verdicts([each.text for each in tokens]) if tokens else []
        at = time.monotonic()
        with self._lock:
            for token, accepted in zip(tokens, verdicts, strict=False):
                self.account.verified += 1
                if accepted:
                    self.account.uses[self.signing_key(token.text)] = at
                else:
                    age = now - token.at
                    self.account.rejected.append(
                        f"{instance.name} rejected a token of {token.signer}, {age:.1f} s old"
                    )
