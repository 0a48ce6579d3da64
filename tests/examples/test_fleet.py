"""Processes that see one rotation at different moments, and verify each other's tokens.

They are asked in laps, one after the other while the test waits for anything: everybody
signs a token, and everybody verifies all of them. So what happens between two lines of a
test is in a known order, on a slow machine too.
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

SIZE = 5
"""How many processes show the promise."""

FEW = 3
"""How many are enough to show what happens without it."""

LONG = 60.0
"""Seconds of grace that no test outlives."""

PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""

Rejections = set[tuple[int, int]]
"""Whose token was refused by whom."""


class Member:
    """One process of the fleet.

    Attributes:
        volume: what is mounted for it.
        generation: how many sets it had accepted at the last lap.
        token: what it signed then.
    """

    def __init__(self, place: Path, backend: str, lead: float, grace: float) -> None:
        self.volume = MountedVolume(place)
        self.generation = 0
        self.token = ""
        self._told = place.with_suffix(".log")
        self._arguments = (backend, str(place), str(lead), str(grace))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be a process; it has to end well."""
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
        # One that hangs answers with the end of its output.
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
        """Say good-bye, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0, self._told.read_text()

    def send(self, request: str) -> None:
        """Ask, and do not wait."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: whoever receives says so
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()

    def receive(self) -> str:
        """Wait for the answer."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, self._told.read_text()
        return answer.strip()

    def has_accepted(self, generation: int) -> bool:
        """Return whether it had accepted so many sets at the last lap."""
        return self.generation == generation

    def is_signed_with(self, key: str) -> bool:
        """Tell with which key its last token was made."""
        try:
            jwt.decode(self.token, key, algorithms=["HS256"])
        except jwt.InvalidSignatureError:
            return False
        return True


class Fleet:
    """Several processes, which exchange tokens while something is waited for.

    Attributes:
        members: the processes.
        rejected: every refusal so far: whose token, and who refused it.
    """

    def __init__(self, place: Path, lead: float, grace: float, size: int = SIZE) -> None:
        place.mkdir()
        self.members = [
            Member(place / f"pod-{number}", ("asyncio", "trio")[number % 2], lead, grace)
            for number in range(size)
        ]
        self.rejected: Rejections = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run with a first secret, which everybody has."""
        with ExitStack() as self._stack:
            for member in self.members:
                member.volume.publish({"jwt_secret": FIRST})
                self._stack.enter_context(member.running())
            self.lap()
            yield

    def restart(self, number: int) -> None:
        """End one process, and start another in its place."""
        member = self.members[number]
        member.leave()
        self._stack.enter_context(member.running())
        self.lap()

    def ask(self, request: str) -> list[str]:
        """Ask all of them at once, and give their answers."""
        for member in self.members:
            member.send(request)
        return [member.receive() for member in self.members]

    def verify(self, tokens: Sequence[str]) -> list[str]:
        """Let all of them verify tokens: a 1 for each that is good, else a 0."""
        return self.ask(" ".join(["verify", *tokens]))

    def lap(self) -> Rejections:
        """Let everybody sign, and everybody verify; give the refusals of this lap."""
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
        """Exchange tokens until something holds, and once more."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self.lap()
            time.sleep(0.01)
        self.lap()

    def rotate(self, order: Sequence[int], **files: str) -> tuple[float, list[Rejections]]:
        """Bring new files to one after the other, each when the one before it has accepted them.

        Returns:
            How many seconds lie between the first and the last of them at most, and what
            was refused after each step.
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
        """Exchange tokens until everybody signs with a secret, and a while longer."""
        self.until(lambda: all(member.is_signed_with(secret) for member in self.members))
        for _ in range(10):
            self.lap()


def rotate_twice(fleet: Fleet, lead: float) -> bool:
    """Let a fleet see two rotations, and one of it restart; tell whether its lead sufficed.

    On a machine that is so slow that the last process sees a rotation when the lead of the
    first is over, the promise does not hold, and is not looked at.
    """
    with fleet.running():
        early = fleet.members[0].token
        seconds, _ = fleet.rotate([0, 1, 2, 3, 4], jwt_secret=SECOND)
        if seconds >= lead:
            return False
        fleet.use(SECOND)
        assert fleet.verify([early]) == ["1"] * SIZE
        late = fleet.members[0].token
        seconds, _ = fleet.rotate([3, 1, 4, 0, 2], jwt_secret=THIRD, jwt_secret_previous=SECOND)
        if seconds >= lead:
            return False
        fleet.use(THIRD)
        # Who starts anew has never seen the second secret in use: `previous=` names it.
        fleet.restart(2)
        assert fleet.verify([late]) == ["1"] * SIZE
    return True


def test_with_lead_and_grace_nobody_is_refused(tmp_path: Path) -> None:
    """Two rotations that arrive at different moments, and a restart: every token is good."""
    lead = 1.0
    while not rotate_twice(fleet := Fleet(tmp_path / f"lead-{lead}", lead, LONG), lead):
        lead *= 2
        assert lead < LONG / 2, "this machine is too slow for any lead"
    assert fleet.rejected == set()


@pytest.mark.parametrize("grace", [0.0, LONG])
def test_without_lead_the_late_refuse_the_early(tmp_path: Path, grace: float) -> None:
    """Who has not seen the new secret refuses its tokens; without grace the early refuse too."""
    fleet = Fleet(tmp_path / "fleet", 0.0, grace, FEW)
    order = [2, 0, 1]
    with fleet.running():
        assert fleet.rejected == set()
        _, steps = fleet.rotate(order, jwt_secret=SECOND)
    for count, refused in enumerate(steps, start=1):
        early, late = order[:count], order[count:]
        expected = set(product(early, late)) | set(product(late, early) if not grace else ())
        assert refused == expected
    assert fleet.rejected != set()


def test_without_grace_old_tokens_are_refused(tmp_path: Path) -> None:
    """With a lead alone, who logged in before the rotation is logged out by it, everywhere."""
    fleet = Fleet(tmp_path / "fleet", 0.2, 0.0, FEW)
    with fleet.running():
        token = fleet.members[0].token
        assert fleet.verify([token]) == ["1"] * FEW
        fleet.rotate(range(FEW), jwt_secret=SECOND)
        fleet.use(SECOND)
        assert fleet.verify([token]) == ["0"] * FEW
