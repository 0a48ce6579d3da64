"""Status of an application, for people, probes and metrics; never a value."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hive_boot.lifecycle.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hive_boot.lifecycle.states import TimelineEntry
    from hive_boot.secrets.store import SecretStatus

RotationOutcome = Literal["accepted", "refused", "in-use"]


_LAST = 20
"""How many rotations are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStatus:
    """What may be known about one rotation; never a value.

    Attributes:
        at: when it ended, in seconds of the wall clock.
        generation: the number of the set.
        verdict: ``accepted``, ``refused``, or ``in-use`` when a value with ``activate_after`` came
            into use.
        names: the secrets that changed, or that are to blame.
        duration: seconds from the first read to the verdict.
    """

    at: float
    generation: int
    verdict: RotationOutcome
    names: tuple[str, ...]
    duration: float


class RotationLog:
    """Counts the rotations of one run.

    Attributes:
        totals: how many there were, by verdict.
    """

    def __init__(self) -> None:
        self.totals: dict[str, int] = {"accepted": 0, "refused": 0}
        self._last: deque[RotationStatus] = deque(maxlen=_LAST)

    @property
    def latest(self) -> tuple[RotationStatus, ...]:
        """The last rotations, the newest first."""
        return tuple(reversed(self._last))

    def record(
        self, verdict: RotationOutcome, generation: int, names: Iterable[str], seconds: float = 0.0
    ) -> None:
        """Count one."""
        if verdict in self.totals:
            self.totals[verdict] += 1
        self._last.append(
            RotationStatus(
                at=time.time(),
                generation=generation,
                verdict=verdict,
                names=tuple(names),
                duration=seconds,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What may be known about an application; never a value.

    Attributes:
        state: where the run stands.
        ready: whether it serves.
        started: whether it has been ready.
        uptime: seconds since the start began; 0 when it is not running.
        degraded: whether something is not as it should be, while it serves.
        reasons: what that is; empty when it is not degraded.
        mode: which sources are asked; empty before that is decided.
        mode_reason: why.
        profile: how strict the declaration is read; empty before.
        profile_reason: why.
        generation: the number of the set that was accepted last; 0 before the first.
        last_read: when the sources were read last and all was well, in seconds of the
            wall clock; 0 before the first time.
        last_change: when a set was accepted last; 0 before the first.
        rejected: the number that the set has which was refused last; 0 when what the
            sources hold is accepted.
        rejected_names: what is to blame for it: secrets, directories, a check.
        watcher: how changes are noticed: ``inotify``, by the kernel's events; ``poll``,
            by reading every other second; ``down``, not at all at this moment; ``off``,
            nobody looks.
        missed: how many changes no event had told of; a look found them.
        pinned: the declared files that are mount points of their own: they can be
            rewritten in place, and never replaced.
        stale: those of them that were replaced outside; only a restart shows the new file.
        failing_hooks: the hooks that have not succeeded yet.
        hook_failures: how often each hook has failed, by its name.
        rotations: the last rotations, the newest first.
        rotations_total: how many rotations were ``accepted`` and ``refused``.
        failing_services: the services that wait to be started again.
        failed: the resource or service whose failure ends the application; empty for none.
        timeline: every step of the run, with its start, its end and its outcome.
        forked: whether this process is a child that was forked from the one that started
            the application: it keeps its secrets and watches nothing.
        secrets: every declared secret; empty before the first accepted set.
    """

    state: State = State.ARMED
    ready: bool = False
    started: bool = False
    uptime: float = 0.0
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    mode: str = ""
    mode_reason: str = ""
    profile: str = ""
    profile_reason: str = ""
    generation: int = 0
    last_read: float = 0.0
    last_change: float = 0.0
    rejected: int = 0
    rejected_names: tuple[str, ...] = ()
    watcher: Literal["inotify", "poll", "down", "off"] = "off"
    missed: int = 0
    pinned: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    failing_hooks: tuple[str, ...] = ()
    hook_failures: Mapping[str, int] = field(default_factory=dict)
    rotations: tuple[RotationStatus, ...] = ()
    rotations_total: Mapping[str, int] = field(default_factory=dict)
    failing_services: tuple[str, ...] = ()
    failed: str = ""
    timeline: tuple[TimelineEntry, ...] = ()
    forked: bool = False
    secrets: tuple[SecretStatus, ...] = ()
