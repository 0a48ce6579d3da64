"""Rotation of the key of a fleet, with proof before each step: ``python -m examples.fleet``.

The instances sign tokens, and verify those of the others, while their key is replaced in three
steps: the new key is announced, it replaces the old one, and the old one is removed. Before the
next step ``hive-boot fleet wait`` has to prove that every instance has taken the last one.

``--fault`` breaks one instance in the middle. The old key then stays until the instance is healed,
and the output has the reason. The exit status is 1 after a rejected token, a removal before proof,
or a fault that was not named.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from examples.fleet.load import Load
from examples.fleet.processes import PROMETHEUS, TIMEOUT, Fleet, Instance, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERVAL = 1.0
"""Seconds between two samples of an instance."""

DELAY = 2.0
"""Seconds within which all volumes change."""

LIFETIME = 3.0
"""Seconds for which a token is used."""

ACTIVATE_AFTER = 3.0
ACCEPT_OLD_FOR = 6.0
"""Seconds, by the rule of docs/fleet.md; the second one is also the quiet time."""

SHORT = 3.0
"""Seconds of a wait that is expected to end without proof."""


@dataclass(slots=True)
class Report:
    """The results of all rotations.

    Attributes:
        stages: the seconds from a step to its proof, by step and stage.
        before_proof: the removals of a key that something still used.
        unnamed: the faults that ``hive-boot fleet wait`` did not name.
    """

    stages: dict[str, list[float]] = field(default_factory=dict)
    before_proof: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)


class Fault:
    """A fault of one instance.

    Args:
        fleet: the instances.

    Attributes:
        culprit: the instance; None before the fault.
        is_active: whether the old key must not be removed.
    """

    reasons: frozenset[str] = frozenset()
    """The kinds of stragglers that name it."""

    quiet_for: float | None = None
    """Seconds of the quiet time of the wait that must name it; None for the usual ones."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.culprit: Instance | None = None
        self.is_active = False

    @property
    def pinned(self) -> Instance | None:
        """The instance whose volume does not change."""
        return None

    def begin(self) -> None:
        """Break an instance."""
        self.culprit, self.is_active = self.fleet.instances[-1], True

    def repeat(self) -> None:
        """Break it again, when all others have proved that they do not use the old key."""

    def heal(self) -> None:
        """Repair the instance."""
        self.is_active = False
        if self.culprit is not None:
            wait_until(self.culprit.is_ready, self.culprit.name)


class Stop(Fault):
    """A process that is suspended."""

    reasons = frozenset({"not-scraped", "unreachable", "stale-sample"})

    def begin(self) -> None:
        """Suspend it."""
        super().begin()
        self.fleet.instances[-1].send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        """Continue it."""
        self.fleet.instances[-1].send_signal(signal.SIGCONT)
        super().heal()


class Pinned(Fault):
    """A volume that never changes, such as a file that is mounted with ``subPath``."""

    reasons = frozenset({"not-accepted"})

    @property
    def pinned(self) -> Instance | None:
        """The instance whose volume does not change."""
        return self.fleet.instances[-1]

    def heal(self) -> None:
        """Mount the new content."""
        self.fleet.instances[-1].volume.publish(self.fleet.content)
        super().heal()


class Hook(Fault):
    """A rotation hook that fails."""

    reasons = frozenset({"failed-hooks", "pending-hooks"})

    def begin(self) -> None:
        """Make it fail."""
        super().begin()
        self.fleet.instances[-1].broken_hook.touch()

    def heal(self) -> None:
        """Remove the failure: its next call succeeds."""
        self.fleet.instances[-1].broken_hook.unlink()
        super().heal()


class Cut(Fault):
    """An instance that nothing can ask, and that works."""

    reasons = frozenset({"not-scraped", "unreachable", "stale-sample"})

    def begin(self) -> None:
        """Make its address one that does not answer."""
        super().begin()
        self.fleet.instances[-1].scraped_port = free_port()
        self.fleet.update_targets()

    def heal(self) -> None:
        """Make it reachable again."""
        self.fleet.instances[-1].scraped_port = self.fleet.instances[-1].port
        self.fleet.update_targets()
        super().heal()


class Restart(Fault):
    """A pod that is replaced, twice."""

    reasons = frozenset({"short-uptime", "old-use", "not-scraped", "unreachable", "departed"})
    quiet_for = TIMEOUT  # a new process becomes quiet by itself

    def begin(self) -> None:
        """Replace it."""
        super().begin()
        self.fleet.replace(self.fleet.instances[-1])

    def repeat(self) -> None:
        """Replace it again."""
        self.begin()


class Added(Restart):
    """A pod that is added, and later another one."""

    def begin(self) -> None:
        """Add it."""
        self.fleet.add()
        Fault.begin(self)


FAULTS: dict[str, type[Fault]] = {
    "none": Fault,
    "stop": Stop,
    "pinned": Pinned,
    "hook": Hook,
    "cut": Cut,
    "restart": Restart,
    "added": Added,
}


class Rotation:
    """One rotation, with proof before each step.

    Args:
        fleet: the instances.
        load: the load on them.
        number: the number of the rotation, from 1; the first part of its versions.
        report: the report to write to.
    """

    def __init__(self, fleet: Fleet, load: Load, number: int, report: Report) -> None:
        self._fleet = fleet
        self._load = load
        self._number = number
        self._report = report
        self._published = 0.0

    def run(self, fault: Fault | None) -> None:
        """Replace the key.

        Args:
            fault: a fault that begins in the middle; None without one.
        """
        old, new = self._load.keys[-1], new_key()
        self._load.keys.append(new)
        self._step("announced", jwt_secret=old, jwt_secret_previous=new)
        self._prove("announced", "accepted")
        halfway = fault.begin if fault else lambda: None
        pinned = fault.pinned if fault else None
        self._step("switched", pinned, halfway, jwt_secret=new, jwt_secret_previous=old)
        if fault:
            self._expect_no_proof(fault)
        for stage in ("accepted", "current", "quiet"):
            self._prove("switched", stage)
        if fault:
            fault.repeat()
            if fault.is_active:
                self._expect_no_proof(fault)
                self._prove("switched", "quiet")
        self._check_removal(old, fault)
        self._step("removed", jwt_secret=new)
        self._prove("removed", "accepted")

    def _step(
        self,
        step: str,
        pinned: Instance | None = None,
        halfway: Callable[[], None] = lambda: None,
        **content: str,
    ) -> None:
        """Mount the keys of a step, with its version."""
        content["keys-version"] = self._version(step)
        self._published = time.monotonic()
        self._fleet.publish(content, DELAY, pinned=pinned, halfway=halfway)

    def _version(self, step: str) -> str:
        return f"{self._number}-{step}"

    def _prove(self, step: str, stage: str) -> None:
        """Wait for the proof of a stage.

        Raises:
            TimeoutError: it did not come.
        """
        status, report = self._fleet.wait(self._version(step), stage, TIMEOUT)
        if status:
            raise TimeoutError(f"{step}, {stage}: {stragglers(report)}")
        elapsed = time.monotonic() - self._published
        self._report.stages.setdefault(f"{step}, {stage}", []).append(elapsed)

    def _expect_no_proof(self, fault: Fault) -> None:
        """Check that a wait names the fault; then heal the instance."""
        culprit = fault.culprit or self._fleet.instances[-1]
        name, deadline = self._fleet.name_of(culprit), time.monotonic() + TIMEOUT
        while True:
            status, report = self._fleet.wait(
                self._version("switched"), "quiet", SHORT, fault.quiet_for
            )
            if status == 0:
                self._report.before_proof.append(f"proof in spite of {name}")
            named = [
                each
                for each in report["stragglers"]
                if each["name"] == name and each["kind"] in fault.reasons
            ]
            if named:
                print("not yet:", stragglers({"stragglers": named}))
                break
            if status == 0 or time.monotonic() > deadline:
                self._report.unnamed.append(f"{name}: {stragglers(report)}")
                break
        fault.heal()

    def _check_removal(self, old: str, fault: Fault | None) -> None:
        """Compare the proof with what the instances themselves do."""
        found = self._report.before_proof
        if fault and fault.is_active:
            found.append("the fault was not healed")
        for each in self._fleet.instances:
            if self._load.signing_key(each.token()) != self._load.keys[-1]:
                found.append(f"{each.name} signs with the old key")
            if (seconds := time.monotonic() - each.started) < ACCEPT_OLD_FOR:
                found.append(f"{each.name} was started {seconds:.1f} s before")
        quiet = time.monotonic() - self._load.account.uses.get(old, 0.0)
        if quiet < ACCEPT_OLD_FOR:
            found.append(f"the old key was used {quiet:.1f} s before")


def new_key() -> str:
    """Return a new key."""
    return f"fake-{token_hex(32)}"


def stragglers(report: dict[str, Any]) -> str:
    """Return the stragglers of a report as one line."""
    return "; ".join(f"{each['name']}: {each['message']}" for each in report["stragglers"])


def run(
    directory: Path, size: int, rotations: int, fault: str, *, prometheus: bool
) -> tuple[Report, Load]:
    """Run rotations in a new fleet, and return the results.

    Args:
        directory: an existing, empty directory.
        size: the number of instances.
        rotations: the number of rotations.
        fault: the name of the fault in each rotation.
        prometheus: whether the instances are behind Prometheus.
    """
    settings = {
        "ACTIVATE_AFTER": f"{ACTIVATE_AFTER:g}",
        "ACCEPT_OLD_FOR": f"{ACCEPT_OLD_FOR:g}",
        "TOKEN_LIFETIME": f"{LIFETIME:g}",
    }
    fleet = Fleet(directory, size, settings, prometheus=prometheus, interval=INTERVAL)
    load, report = Load(fleet, LIFETIME), Report()
    load.keys.append(new_key())
    try:
        fleet.start({"jwt_secret": load.keys[0], "keys-version": "0"})
        load.start()
        try:
            for number in range(1, rotations + 1):
                broken = FAULTS[fault](fleet) if fault != "none" else None
                Rotation(fleet, load, number, report).run(broken)
        finally:
            load.stop()
    finally:
        fleet.stop()
    return report, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rotations, and print the results."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fleet", description="Rotate the key of a fleet under load."
    )
    parser.add_argument("--instances", type=int, default=20, help="their number (default: 20)")
    parser.add_argument("--rotations", type=int, default=1, help="one after another (default: 1)")
    parser.add_argument("--fault", choices=FAULTS, default="none", help="break one instance")
    parser.add_argument(
        "--targets", action="store_true", help="ask each instance, without Prometheus"
    )
    options = parser.parse_args(arguments)
    if not options.targets and PROMETHEUS is None:
        parser.error("prometheus is not installed (Debian: prometheus); or use --targets")
    with TemporaryDirectory() as name:
        report, load = run(
            Path(name),
            options.instances,
            options.rotations,
            options.fault,
            prometheus=not options.targets,
        )
    account = load.account
    print(f"verified tokens        {account.verified}")
    print(f"rejected tokens        {len(account.rejected)}")
    print(f"removals before proof  {len(report.before_proof)}")
    for stage, seconds in report.stages.items():
        shown = ", ".join(f"{each:.1f}" for each in seconds)
        print(f"{stage:22} {shown} s")
    problems = [*account.rejected[:10], *report.before_proof, *report.unnamed]
    for each in problems:
        print(f"  {each}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
