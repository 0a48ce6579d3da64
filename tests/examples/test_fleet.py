"""Processes that see one rotation at different moments, and verify each other's tokens.

They work in laps, which the test runs while it waits for a condition: every process signs a
token, and every process verifies all tokens. So the order of events between two lines of a
test is known, on a slow machine too.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import product
from pathlib import Path
from threading import Timer

import jwt
import pytest

from hive_boot.testing import MountedVolume
from tests.support import ROOT, child_environment

FIRST, SECOND, THIRD = (f"fake-jwt-secret-{number}-" + "0123456789" * 3 for number in range(3))

BACKENDS = ("asyncio", "trio")

SIZE = 5
"""Number of processes for the tests of the whole promise."""

FEW = 3
"""Number of processes for the tests of what happens without it."""

LONG = 60.0
"""An ``accept_old_for`` that is longer than any test, in seconds."""

PATIENCE = 60.0
"""Timeout of each wait, in seconds."""

Rejections = set[tuple[int, int]]
"""Pairs of the member that signed a token and the one that rejected it."""


class Member:
    """One process of the fleet.

    Attributes:
        volume: the volume of the process.
        generation: the number of sets that it had accepted at the last lap.
        token: the token that it signed at the last lap.
    """

    def __init__(
        self, place: Path, backend: str, activate_after: float, accept_old_for: float
    ) -> None:
        self.volume = MountedVolume(place)
        self.generation = 0
        self.token = ""
        self._told = place.with_suffix(".log")
        self._arguments = (backend, str(place), str(activate_after), str(accept_old_for))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the process while the block runs; fail unless its exit status is 0."""
        with self._told.open("ab") as told:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.examples.member", *self._arguments],
                env=child_environment(),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )
        # If the process hangs, it is killed, and a read of its stdout returns at once.
        guard = Timer(PATIENCE, process.kill)
        guard.start()
        with process:
            try:
                yield
                self.leave()
            finally:
                guard.cancel()
                process.kill()

    def leave(self) -> None:
        """Close the stdin of the process, which stops it, and assert that its exit status is 0."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0, self._told.read_text()

    def send(self, request: str) -> None:
        """Send a request without waiting for the response."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process has ended: receive() fails
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()

    def receive(self) -> str:
        """Wait for the response."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, self._told.read_text()
        return answer.strip()

    def has_accepted(self, generation: int) -> bool:
        """Return whether the process had accepted this many sets at the last lap."""
        return self.generation == generation

    def is_signed_with(self, key: str) -> bool:
        """Return whether the last token of the process was signed with ``key``."""
        try:
            jwt.decode(self.token, key, algorithms=["HS256"])
        except jwt.InvalidSignatureError:
            return False
        return True


class Fleet:
    """Several processes, which exchange tokens while a test waits for a condition.

    Attributes:
        members: the processes.
        rejected: every rejection so far.
    """

    def __init__(
        self, place: Path, activate_after: float, accept_old_for: float, size: int = SIZE
    ) -> None:
        place.mkdir()
        self.members = [
            Member(place / f"pod-{number}", BACKENDS[number % 2], activate_after, accept_old_for)
            for number in range(size)
        ]
        self.rejected: Rejections = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run every process with the first secret."""
        with ExitStack() as self._stack:
            for member in self.members:
                member.volume.publish({"jwt_secret": FIRST})
                self._stack.enter_context(member.running())
            self.lap()
            yield

    def restart(self, number: int) -> None:
        """Stop one process, and start another in its place."""
        member = self.members[number]
        member.leave()
        self._stack.enter_context(member.running())
        self.lap()

    def ask(self, request: str) -> list[str]:
        """Send a request to every process at once, and return the responses."""
        for member in self.members:
            member.send(request)
        return [member.receive() for member in self.members]

    def verify(self, tokens: Sequence[str]) -> list[str]:
        """Return for each process a string with a 1 for each valid token, else a 0."""
        return self.ask(" ".join(["verify", *tokens]))

    def lap(self) -> Rejections:
        """Sign and verify a token in every process; return the failed (signer, verifier) pairs."""
        for member, answer in zip(self.members, self.ask("sign"), strict=True):
            generation, member.token = answer.split()
            member.generation = int(generation)
        verdicts = self.verify([member.token for member in self.members])
        refused = {
            (signer, verifier)
            for verifier, answer in enumerate(verdicts)
            for signer, verdict in enumerate(answer)
            if verdict == "0"
        }
        self.rejected |= refused
        return refused

    def until(self, condition: Callable[[], bool]) -> None:
        """Run laps until a condition holds, and one more."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self.lap()
            time.sleep(0.01)
        self.lap()

    def rotate(self, order: Sequence[int], **files: str) -> tuple[float, list[Rejections]]:
        """Publish files to one process after the other, each once the previous one accepted them.

        Returns:
            The seconds from the first publish to the last acceptance, and the rejections
            after each step.
        """
        began = time.monotonic()
        steps = []
        for member in (self.members[number] for number in order):
            wanted = member.generation + 1
            member.volume.publish(files)
            self.until(partial(member.has_accepted, wanted))
            steps.append(self.lap())
        return time.monotonic() - began, steps

    def use(self, secret: str) -> None:
        """Run laps until every process signs with a secret, and ten more."""
        self.until(lambda: all(member.is_signed_with(secret) for member in self.members))
        for _ in range(10):
            self.lap()


def rotate_twice(fleet: Fleet, activate_after: float) -> bool:
    """Rotate twice and restart one process; return whether ``activate_after`` was long enough.

    On a slow machine the last process may see a rotation only after the value is in use in the
    first one; then the promise does not apply, and nothing is asserted.
    """
    with fleet.running():
        early = fleet.members[0].token
        seconds, _ = fleet.rotate([0, 1, 2, 3, 4], jwt_secret=SECOND)
        if seconds >= activate_after:
            return False
        fleet.use(SECOND)
        assert fleet.verify([early]) == ["1"] * SIZE
        late = fleet.members[0].token
        seconds, _ = fleet.rotate([3, 1, 4, 0, 2], jwt_secret=THIRD, jwt_secret_previous=SECOND)
        if seconds >= activate_after:
            return False
        fleet.use(THIRD)
        # A new process has never used the second secret: it gets it from `previous=`.
        fleet.restart(2)
        assert fleet.verify([late]) == ["1"] * SIZE
    return True


def test_with_activate_after_and_accept_old_for_every_token_is_accepted(tmp_path: Path) -> None:
    """Two rotations that arrive at different moments, and a restart: every token is accepted."""
    seconds = 1.0
    while not rotate_twice(fleet := Fleet(tmp_path / f"{seconds}", seconds, LONG), seconds):
        seconds *= 2
        assert seconds < LONG / 2, "this machine is too slow for any `activate_after`"
    assert fleet.rejected == set()


@pytest.mark.parametrize("accept_old_for", [0.0, LONG])
def test_without_activate_after_new_tokens_are_rejected(
    tmp_path: Path, accept_old_for: float
) -> None:
    """A process with the old secret rejects new tokens; without overlap the reverse holds too."""
    fleet = Fleet(tmp_path / "fleet", 0.0, accept_old_for, FEW)
    order = [2, 0, 1]
    with fleet.running():
        assert fleet.rejected == set()
        _, steps = fleet.rotate(order, jwt_secret=SECOND)
    for count, refused in enumerate(steps, start=1):
        early, late = order[:count], order[count:]
        expected = set(product(early, late)) | set(
            product(late, early) if not accept_old_for else ()
        )
        assert refused == expected
    assert fleet.rejected != set()


def test_without_accept_old_for_old_tokens_are_rejected(tmp_path: Path) -> None:
    """With ``activate_after`` alone, every process rejects the tokens from before the rotation."""
    fleet = Fleet(tmp_path / "fleet", 0.2, 0.0, FEW)
    with fleet.running():
        token = fleet.members[0].token
        assert fleet.verify([token]) == ["1"] * FEW
        fleet.rotate(range(FEW), jwt_secret=SECOND)
        fleet.use(SECOND)
        assert fleet.verify([token]) == ["0"] * FEW
