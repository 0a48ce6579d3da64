"""Status of an application, for operators, probes and metrics; it never holds a value."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hive_boot.lifecycle.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hive_boot.lifecycle.readiness import ContributorStatus
    from hive_boot.lifecycle.states import TimelineEntry
    from hive_boot.runtime.log_messages import RotationOutcome
    from hive_boot.runtime.run import Run
    from hive_boot.secrets.fields import Field, Profile
    from hive_boot.secrets.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStatus:
    """The result of one rotation, without any value.

    Attributes:
        at: the end of the rotation, in seconds since the epoch.
        generation: the number of the set; None for a candidate that was refused.
        verdict: ``accepted``, ``refused``, or ``in-use`` when a value with an
            ``activate_after`` came into use.
        names: the secrets that changed, or that caused the rejection.
        duration: seconds from the first read to the verdict.
    """

    at: float
    generation: int | None
    verdict: RotationOutcome
    names: tuple[str, ...]
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStatus:
    """Status of one declared secret, without its value.

    Attributes:
        name: the environment name.
        attribute: the field.
        present: whether there is a value.
        required: whether a start under this profile needs one.
        used_by: what needs the secret, as declared.
        source: ``file``, ``environment``, ``.env``, ``source``, ``dev_default``; empty when
            absent.
        place: the file, the variable or the custom source it was read from; empty when absent.
        generation: the number of the accepted set that first contained the value.
        age: seconds since the value came into use in this process.
        due: seconds until the activation of a pending value; None without a pending value.
    """

    name: str
    attribute: str
    present: bool
    required: bool
    used_by: str
    source: str
    place: str
    generation: int
    age: float
    due: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of an application at one moment, without any value.

    Attributes:
        state: the current state of the run.
        ready: whether ``/readyz`` answers 200: the application serves, and every readiness
            contributor is passing.
        started: whether it has been ready.
        uptime: seconds since the start began; 0 when it is not running.
        degraded: whether the application serves although there is a problem.
        reasons: the problems; empty when it is not degraded.
        mode: the mode, which selects the sources; empty before it is detected.
        mode_reason: why this mode was selected.
        profile: how strictly the declaration is validated; empty before it is detected.
        profile_reason: why this profile was selected.
        generation: the number of the set that was accepted last; 0 before the first.
        last_read: the last read of all sources without a problem, in seconds since the
            epoch; 0 before the first.
        last_change: when a set was accepted last, in seconds since the epoch; 0 before the
            first.
        rejected: whether the current content of the sources, the candidate, was rejected.
        rejected_names: the causes of that rejection: secrets, directories, a check.
        watcher: how changes are noticed: ``inotify``, by kernel events; ``poll``, by a read
            every 2 s; ``down``, not at all at this moment; ``off``, nothing is watched, or the
            watcher has not started yet.
        missed_events: the number of changes that caused no event; a comparison found them.
        pinned: the declared files that are mount points themselves: they can be rewritten
            in place but not replaced.
        stale: the pinned files that were replaced on the host; only a restart shows the new
            file.
        failing_hooks: the hooks that have not succeeded yet.
        hook_failures: the number of failures of each hook, by its name.
        rotations: the latest rotations, the newest first.
        rotations_total: the number of rotations that were ``accepted`` and ``refused``.
        services: every service.
        failing_services: the services that have failed and have not recovered yet.
        completed_services: the services that have returned and are not started again.
        contributors: every readiness contributor.
        certificates: when the certificate of each TLS context expires, in seconds since the epoch,
            by the name of its field.
        failed: the resource, service or rotation hook that ends the application; empty for none.
        timeline: every step of the run, with its start, its end and its outcome.
        forked: whether this process was forked from the process that started the
            application: it keeps its secrets and watches nothing.
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
    rejected: bool = False
    rejected_names: tuple[str, ...] = ()
    watcher: Literal["inotify", "poll", "down", "off"] = "off"
    missed_events: int = 0
    pinned: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    failing_hooks: tuple[str, ...] = ()
    hook_failures: Mapping[str, int] = field(default_factory=dict)
    rotations: tuple[RotationStatus, ...] = ()
    rotations_total: Mapping[str, int] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    failing_services: tuple[str, ...] = ()
    completed_services: tuple[str, ...] = ()
    contributors: tuple[ContributorStatus, ...] = ()
    certificates: Mapping[str, float] = field(default_factory=dict)
    failed: str = ""
    timeline: tuple[TimelineEntry, ...] = ()
    forked: bool = False
    secrets: tuple[SecretStatus, ...] = ()


def build_status(run: Run[Any, Any]) -> Status:
    """Return the status of a run at this moment."""
    runner, store = run.runner, run.store
    contributors = () if runner.readiness is None else runner.readiness.status
    failing: tuple[str, ...] = ()
    completed = failing
    if runner.services is not None:
        failing, completed = runner.services.failing, tuple(runner.services.completed)
    certificates = run.report_expiry()
    reasons = _reasons(run, failing, contributors)
    now = time.time()
    reasons += tuple(
        f"the certificate {name} has expired" for name, at in certificates.items() if at <= now
    )
    known: dict[str, Any] = {
        "state": run.state,
        "ready": run.ready and all(each.passing for each in contributors),
        "started": run.states.started,
        "uptime": run.states.timeline.elapsed,
        "degraded": bool(reasons),
        "reasons": reasons,
        "services": tuple(work.display_name for work, _ in run.bound.services),
        "failing_services": failing,
        "completed_services": completed,
        "contributors": contributors,
        "certificates": certificates,
        "failed": runner.failed,
        "timeline": run.states.timeline.steps,
        "forked": run.forked,
    }
    if (context := run.source_context) is not None:
        for name in ("mode", "mode_reason", "profile", "profile_reason"):
            known[name] = getattr(context, name)
        if store.is_filled:
            known["generation"] = store.generation.number
            known["secrets"] = describe(store, context.profile)
            known |= _rotation(run)
    return Status(**known)


def _rotation(run: Run[Any, Any]) -> dict[str, Any]:
    """Return the part of the status that is about rotations."""
    reloader, at = run.reloader, run.store.generation.at
    known: dict[str, Any] = {
        "last_read": at,
        "last_change": at,
        "rotations_total": {"accepted": 0, "refused": 0},
        "hook_failures": {work.display_name: 0 for work, _ in run.bound.hooks},
    }
    if reloader is not None:
        known["last_read"] = reloader.last_read or at
        known["failing_hooks"] = reloader.hook_runner.failing
        known["hook_failures"] = reloader.hook_runner.failures
        known["rotations"] = tuple(RotationStatus(**each) for each in reloader.rotation_log.latest)
        known["rotations_total"] = dict(reloader.rotation_log.totals)
        if (rejection := reloader.rejection) is not None:
            known["rejected"] = True
            known["rejected_names"] = tuple(name for name, _ in rejection.causes)
        if (watcher := reloader.watcher) is not None:
            known["stale"] = watcher.stale
            known["watcher"] = "off" if run.forked else watcher.mode
            known["missed_events"] = watcher.missed_events
            known["pinned"] = tuple(pin.path for pin in watcher.pinned)
    return known


def _reasons(
    run: Run[Any, Any], failing: Sequence[str], contributors: Sequence[ContributorStatus]
) -> tuple[str, ...]:
    """Return the reasons why the application is degraded."""
    reasons = [f"the service {label} has failed, and is started again" for label in failing]
    reasons += [
        f"the readiness contributor {each.name} fails: {each.failure}"
        for each in contributors
        if run.ready and each.failure and not each.passing
    ]
    if (reloader := run.reloader) is not None:
        reasons += reloader.reasons
    return tuple(reasons)


def describe(store: Store[Any], profile: Profile) -> tuple[SecretStatus, ...]:
    """Describe every declared secret, in the order of the declaration."""
    fields = store.declared._field_index.fields.values()  # noqa: SLF001  (same package)
    return tuple(_describe(field, store, profile) for field in fields)


def _describe(field: Field, store: Store[Any], profile: Profile) -> SecretStatus:
    period, load_result = store.current_period(field.attribute), store.generation.load_result
    present = period.value is not None
    # After a removal with activate_after the old value is still current, without an origin.
    known = present and field.attribute in load_result.values
    source, place = load_result.origin(field.attribute) if known else ("", "")
    return SecretStatus(
        name=field.name,
        attribute=field.attribute,
        present=present,
        required=field.required_for(profile),
        used_by=field.used_by,
        source=source,
        place=place,
        generation=period.number,
        age=time.monotonic() - period.since,
        due=store.due(field.attribute),
    )
