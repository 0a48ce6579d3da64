"""Status of an application, for people, probes and metrics; never a value."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hive_boot.lifecycle.states import State
from hive_boot.secrets.store import SecretStatus, describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hive_boot.lifecycle.states import TimelineEntry
    from hive_boot.runtime.run import Run

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
        failed: the part or service whose failure ends the application; empty for none.
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


def build_status(run: Run[Any, Any]) -> Status:
    """Describe a run at this moment."""
    runner = run.runner
    life: dict[str, Any] = {
        "state": runner.state,
        "ready": run.ready,
        "started": runner.started,
        "uptime": runner.timeline.elapsed,
        "failed": runner.failed,
        "timeline": runner.timeline.steps,
        "forked": run.forked,
    }
    if runner.services is not None:
        life["failing_services"] = runner.services.waiting
    source_context = run.source_context
    if source_context is None:
        return Status(**life)
    accepted = run.store.is_filled
    reasons = _reasons(run)
    return Status(
        **life,
        degraded=bool(reasons),
        reasons=reasons,
        mode=source_context.mode,
        mode_reason=source_context.mode_reason,
        profile=source_context.profile,
        profile_reason=source_context.profile_reason,
        generation=run.store.generation.number if accepted else 0,
        secrets=describe(run.store, source_context.profile) if accepted else (),
        **_rotation(run),
    )


def _rotation(run: Run[Any, Any]) -> dict[str, Any]:
    """Tell what is known of rotations."""
    reloader = run.reloader
    if not run.store.is_filled:
        return {}
    at = run.store.generation.at
    known: dict[str, Any] = {
        "last_read": at,
        "last_change": at,
        "rotations_total": {"accepted": 0, "refused": 0},
        "hook_failures": dict.fromkeys(run.hooks, 0),
    }
    if reloader is None:
        return known
    known["last_read"] = reloader.last_read or at
    known["failing_hooks"] = reloader.hook_runner.failing
    known["hook_failures"] = reloader.hook_runner.failures
    known["rotations"] = reloader.rotation_log.latest
    known["rotations_total"] = dict(reloader.rotation_log.totals)
    if (rejection := reloader.rejection) is not None:
        known |= {"rejected": rejection.generation, "rejected_names": rejection.names}
    if (watcher := reloader.watch_supervisor.watcher) is not None:
        known |= {
            "watcher": "off" if run.forked else watcher.mode,
            "missed": watcher.missed_events,
            "pinned": tuple(pin.path for pin in watcher.pinned),
            "stale": _stale(run),
        }
    return known


def _reasons(run: Run[Any, Any]) -> tuple[str, ...]:
    """Say what keeps the application from being as it should be."""
    reloader, services = run.reloader, run.runner.services
    waiting = () if services is None else services.waiting
    reasons = [f"the service {label} has failed, and will be started again" for label in waiting]
    if reloader is None:
        return tuple(reasons)
    reasons += [] if reloader.rejection is None else [str(reloader.rejection)]
    if reloader.has_failed:
        reasons.append("secrets are not rotated any more: the log says why")
    reasons += [f"the hook {label} fails" for label in reloader.hook_runner.failing]
    reasons += [f"{path} is a stale mount" for path in _stale(run)]
    watcher = reloader.watch_supervisor.watcher
    if watcher is not None and watcher.mode == "down" and not run.forked:
        reasons.append("changes of secrets are not noticed")
    return tuple(reasons)


def _stale(run: Run[Any, Any]) -> tuple[str, ...]:
    watcher = run.reloader.watch_supervisor.watcher if run.reloader is not None else None
    return tuple(pin.path for pin in watcher.pinned if pin.stale) if watcher is not None else ()
