"""Status of an application, for operators, probes and metrics; it never holds a value."""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from hive_boot import secrets as applications
from hive_boot._records import Record
from hive_boot.lifecycle.states import State, TimelineEntry
from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hive_boot.lifecycle.readiness import ContributorStatus
    from hive_boot.runtime.rotation_messages import RotationOutcome
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
        reason: why the candidate was refused; empty otherwise.
    """

    at: float
    generation: int | None
    verdict: RotationOutcome
    names: tuple[str, ...]
    duration: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStatus:
    """The last call of a rotation hook.

    Attributes:
        name: the name of the hook.
        at: the end of its last call, in seconds since the epoch; 0 before the first.
        failure: why that call has failed; empty if it has not.
        failures: the number of calls that have failed.
    """

    name: str
    at: float = 0.0
    failure: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UseStatus:
    """The successful uses of the values of one secret that may have several, in this process.

    They are counted by ``boot.verify``, ``boot.verify_async``, and ``.matches`` of an accepted
    value.

    Attributes:
        name: the environment name.
        accept_old_for: seconds for which a replaced value stays accepted, as declared.
        current: the uses of the value in use.
        pending: the uses of a newer value.
        old: the uses of a replaced value, and of that of ``previous=``.
        old_use_age: seconds since the last use of an old value, which was in use until it was
            replaced; before the first, the uptime.
    """

    name: str
    accept_old_for: float
    current: int
    pending: int
    old: int
    old_use_age: float


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
        uptime: seconds since the start began; 0 when it is not running. In a forked child, since
            it first shows its status or uses a value.
        process_id: a random text that identifies the process; empty when it is not running.
        worker: whether the process may be one of several workers that share a port.
        degraded: whether the application serves although there is a problem.
        reasons: the problems; empty when it is not degraded.
        mode: the mode, which selects the sources; empty before it is detected.
        mode_reason: why this mode was selected.
        profile: how strictly the declaration is validated; empty before it is detected.
        profile_reason: why this profile was selected.
        generation: the number of the set that was accepted last; 0 before the first.
        secrets_version: the version of the set that was accepted last; empty if it is unknown, as
            with a file in ``stale``, and None if no version is declared, or before the start.
        secrets_version_in_use: the version of the values in use, which differs while a value with
            ``activate_after`` is pending.
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
        hooks: the last call of every rotation hook.
        pending_hooks: the hooks that are called now, or wait for their first call after a change.
        failing_hooks: the hooks that have not succeeded yet.
        hook_failures: the number of failures of each hook, by its name.
        rotations: the latest rotations, the newest first.
        rotations_total: the number of rotations that were ``accepted`` and ``refused``.
        services: every service.
        service_restarts: the number of times that each service was started again, by its name.
        failing_services: the services that have failed and have not recovered yet.
        completed_services: the services that have returned and are not started again.
        contributors: every readiness contributor.
        certificates: when the certificate of each TLS context expires, in seconds since the epoch,
            by the name of its field.
        failed: the resource, service or rotation hook that ends the application; empty for none.
        timeline: every step of the run, with its start, its end and its outcome.
        forked: whether this process was forked from the process that started the
            application: it keeps its secrets and watches nothing.
        resources_on_old: the resource of each instance that has an old value: it was replaced and
            has not stopped, its rebuild has failed, or it has read the value and does not follow.
        uses: the uses of each secret with ``activate_after``, ``accept_old_for`` or ``previous``.
        secrets: every declared secret; empty before the first accepted set.
        package: the package that contains the declaration; empty when it is not running.
    """

    state: State = State.ARMED
    ready: bool = False
    started: bool = False
    uptime: float = 0.0
    process_id: str = ""
    worker: bool = False
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    mode: str = ""
    mode_reason: str = ""
    profile: str = ""
    profile_reason: str = ""
    generation: int = 0
    secrets_version: str | None = None
    secrets_version_in_use: str | None = None
    last_read: float = 0.0
    last_change: float = 0.0
    rejected: bool = False
    rejected_names: tuple[str, ...] = ()
    watcher: Literal["inotify", "poll", "down", "off"] = "off"
    missed_events: int = 0
    pinned: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    hooks: tuple[HookStatus, ...] = ()
    pending_hooks: tuple[str, ...] = ()
    failing_hooks: tuple[str, ...] = ()
    hook_failures: Mapping[str, int] = field(default_factory=dict)
    rotations: tuple[RotationStatus, ...] = ()
    rotations_total: Mapping[str, int] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    service_restarts: Mapping[str, int] = field(default_factory=dict)
    failing_services: tuple[str, ...] = ()
    completed_services: tuple[str, ...] = ()
    contributors: tuple[ContributorStatus, ...] = ()
    certificates: Mapping[str, float] = field(default_factory=dict)
    failed: str = ""
    timeline: tuple[TimelineEntry, ...] = ()
    forked: bool = False
    resources_on_old: tuple[str, ...] = ()
    uses: tuple[UseStatus, ...] = ()
    secrets: tuple[SecretStatus, ...] = ()
    package: str = ""


class Measurement(Record):
    """One metric of an application.

    Attributes:
        name: the name, without a prefix.
        description: the text in which monitoring systems explain it.
        values: the values by the values of the labels; of a metric without a label one, for ``()``.
        kind: whether it counts, or can also fall.
        labels: the names of the labels.
    """

    name: str
    description: str
    values: Mapping[tuple[str, ...], float]
    kind: Literal["gauge", "counter"] = "gauge"
    labels: tuple[str, ...] = ()


_WATCHERS = ("inotify", "poll", "down", "off")


def _by_label(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(key,): value for key, value in values.items()}


def measurements(status: Status, endpoint: str = "app") -> Iterator[Measurement]:
    """Yield every metric of an application, also when its value is 0.

    Args:
        status: the status of the application.
        endpoint: ``probe`` if the probe port of the process shows the metrics. Default ``app``.
    """
    rotations = [each for each in status.rotations if each.verdict != "in-use"]
    for name, text, value in (
        ("ready", "Whether /readyz answers 200.", status.ready),
        (
            "degraded",
            "Whether the application serves although there is a problem.",
            status.degraded,
        ),
        ("uptime_seconds", "Seconds since the start of this process.", status.uptime),
        ("generation", "The generation that was accepted last.", status.generation),
        (
            "last_read_timestamp_seconds",
            "When all sources were read last without a problem.",
            status.last_read,
        ),
        ("last_change_timestamp_seconds", "When a set was accepted last.", status.last_change),
        (
            "pinned_files",
            "Secret files that are mount points: rewritten in place only.",
            len(status.pinned),
        ),
        (
            "rotation_seconds",
            "Seconds from the first read to the verdict of the last rotation.",
            rotations[0].duration if rotations else 0,
        ),
        (
            "pending_hooks",
            "Rotation hooks that are called now or wait for their first call.",
            len(status.pending_hooks),
        ),
        (
            "failed_hooks",
            "Rotation hooks that have failed and not succeeded since.",
            len(status.failing_hooks),
        ),
        (
            "resources_on_old",
            "Instances of resources that have an old value.",
            len(status.resources_on_old),
        ),
    ):
        yield Measurement(name, text, {(): float(value)})
    yield from _info(status, endpoint)
    modes = {mode: float(mode == status.watcher) for mode in _WATCHERS}
    counts = dict.fromkeys(("accepted", "refused"), 0) | dict(status.rotations_total)
    passing = {each.name: float(each.passing) for each in status.contributors}
    for name, text, label, values in (
        ("rotations", "Rotations by result.", "result", counts),
        ("hook_failures", "Failed calls of a rotation hook.", "hook", status.hook_failures),
        ("service_restarts", "Restarts of a service.", "service", status.service_restarts),
    ):
        yield Measurement(name, text, _by_label(values), "counter", (label,))
    for name, text, label, gauges in (
        (
            "certificate_expiry_timestamp_seconds",
            "When the certificate of a TLS context expires.",
            "secret",
            status.certificates,
        ),
        (
            "readiness_passing",
            "Whether a readiness contributor lets /readyz answer 200.",
            "contributor",
            passing,
        ),
        ("watcher", "How changes are noticed: 1 for the current mode.", "mode", modes),
        (
            "secret_old_use_age_seconds",
            "Seconds since the last use of an old value; the uptime before the first.",
            "secret",
            {each.name: each.old_use_age for each in status.uses},
        ),
        (
            "accept_old_for_seconds",
            "Seconds for which an old value stays accepted.",
            "secret",
            {each.name: each.accept_old_for for each in status.uses},
        ),
    ):
        yield Measurement(name, text, _by_label(gauges), labels=(label,))
    uses: dict[tuple[str, ...], float] = {}
    for each in status.uses:
        uses[each.name, "current"] = each.current
        uses[each.name, "pending"] = each.pending
        uses[each.name, "old"] = each.old
    text = "Successful uses of a current, pending or old value."
    yield Measurement("secret_uses", text, uses, "counter", ("secret", "value"))


def _info(status: Status, endpoint: str) -> Iterator[Measurement]:
    """Yield the metrics that are 1, and identify the process, its secrets and this package."""
    versions: dict[tuple[str, ...], float] = {}
    if status.secrets_version is not None:
        stages = ("accepted", status.secrets_version), ("current", status.secrets_version_in_use)
        versions = {(version or "", stage): 1.0 for stage, version in stages}
    text = "The version of the secrets, accepted and in use; empty if it is unknown."
    yield Measurement("secrets_info", text, versions, labels=("version", "stage"))
    found: dict[tuple[str, ...], float] = {}
    if status.process_id:
        found[status.process_id, str(status.worker).lower(), endpoint] = 1.0
    text = "The random id of this process, and whether it may be one of several workers."
    yield Measurement("process_info", text, found, labels=("id", "worker", "endpoint"))
    text = "The version of hive_boot."
    yield Measurement("build_info", text, {(_own_version(),): 1.0}, labels=("version",))


@cache
def _own_version() -> str:
    from importlib.metadata import version  # slow to import

    return version("hive_boot")


def build_status(run: Run[Any, Any]) -> Status:
    """Return the status of a run at this moment."""
    runner, store = run.runner, run.store
    # Read before hooks and resources: those that follow these versions are then known.
    accepted, in_use = map(_shown, store.versions or (None, None))
    uptime, uses = _uses(run)
    contributors = () if runner.readiness is None else runner.readiness.status
    failing: tuple[str, ...] = ()
    completed, restarts = failing, {}
    if runner.services is not None:
        failing, completed = runner.services.failing, tuple(runner.services.completed)
        restarts = dict(runner.services.restarts)
    certificates = run.pipeline.report_expiry()
    reasons = _reasons(run, failing, contributors)
    now = time.time()
    reasons += tuple(
        f"the certificate {name} has expired" for name, at in certificates.items() if at <= now
    )
    known: dict[str, Any] = {
        "state": run.state,
        "ready": run.ready and all(each.passing for each in contributors),
        "started": run.states.started,
        "uptime": uptime,
        "process_id": process_id(),
        "worker": run.forked or is_worker(),
        "degraded": bool(reasons),
        "reasons": reasons,
        "secrets_version": accepted,
        "secrets_version_in_use": in_use,
        "package": store.declared.__module__.partition(".")[0],
        "services": tuple(work.display_name for work, _ in run.bound.services),
        "service_restarts": restarts,
        "failing_services": failing,
        "completed_services": completed,
        "contributors": contributors,
        "certificates": certificates,
        "failed": runner.failed,
        "timeline": run.states.timeline.steps,
        "forked": run.forked,
        "uses": uses,
    }
    if (context := run.pipeline.source_context) is not None:
        for name in ("mode", "mode_reason", "profile", "profile_reason"):
            known[name] = getattr(context, name)
        if store.is_filled:
            known["generation"] = store.generation.number
            known["secrets"] = describe(store, context.profile)
            known |= _rotation(run)
            if known.get("stale") and accepted is not None:
                # The other files, such as that of the version, may be newer than a stale one.
                known |= {"secrets_version": "", "secrets_version_in_use": ""}
    return Status(**known)


_process_ids: dict[int, str] = {}

os.register_at_fork(after_in_child=_process_ids.clear)


def process_id() -> str:
    """Return the random text that identifies this process; a forked child has its own."""
    # setdefault(), because several threads may ask first.
    return _process_ids.setdefault(os.getpid(), os.urandom(8).hex())


def is_worker() -> bool:
    """Return whether this process may be one of several workers of a server.

    That is every child process of multiprocessing, as those of uvicorn, hypercorn and granian are,
    every process of gunicorn and uWSGI, and every child that was forked after the import.
    """
    if "gunicorn.arbiter" in sys.modules or "uwsgi" in sys.modules:
        return True
    if applications.imported_by != os.getpid():
        return True
    # Each child has imported it. Another thread may be importing it at this moment.
    with suppress(KeyError, AttributeError, NameError):
        return sys.modules["multiprocessing.process"].parent_process() is not None
    return False


def _uses(run: Run[Any, Any]) -> tuple[float, tuple[UseStatus, ...]]:
    """Return the uptime of the process, and the uses of values in it."""
    store, counter = run.store, run.store.use_counter
    counter.begin_in_child()
    now = time.monotonic()
    uptime = min(run.states.timeline.elapsed, now - counter.began)
    fields = store.declared._field_index.replaceable
    return uptime, tuple(
        UseStatus(
            name=fields[attribute].name,
            accept_old_for=fields[attribute].accept_old_for,
            old_use_age=min(uptime, now - counter.last_old.get(attribute, -math.inf)),
            **counts,
        )
        for attribute, counts in counter.counts.items()
    )


def _shown(version: str | None) -> str | None:
    """Return a version; empty if it contains a hidden value, such as a secret of an older set."""
    return version if version is None or redact(version) == version else ""


def _rotation(run: Run[Any, Any]) -> dict[str, Any]:
    """Return the part of the status that is about rotations."""
    reloader, at = run.reloader, run.store.generation.at
    known: dict[str, Any] = {
        "last_read": at,
        "last_change": at,
        "rotations_total": {"accepted": 0, "refused": 0},
        "hooks": tuple(HookStatus(name=work.display_name) for work, _ in run.bound.hooks),
    }
    if reloader is not None:
        known["last_read"] = reloader.last_read or at
        # Read in this order: a hook is failing before it is not pending any more.
        known["pending_hooks"] = reloader.hook_runner.pending
        known["failing_hooks"] = reloader.hook_runner.failing
        known["hooks"] = tuple(HookStatus(**each) for each in reloader.hook_runner.results)
        # A copy, because this may be a thread beside that of the rotation.
        latest = reloader.rotation_log.latest.copy()
        known["rotations"] = tuple(RotationStatus(**each) for each in latest)
        known["rotations_total"] = dict(reloader.rotation_log.totals)
        if (rejection := reloader.rejection) is not None:
            known["rejected"] = True
            known["rejected_names"] = tuple(name for name, _ in rejection.causes)
        refused = [name for name, _ in reloader.rejection.causes] if reloader.rejection else []
        refused += [problem.name for problem in reloader.failed_activation]
        refused = [name for name in dict.fromkeys(refused) if name in run.bound.rebuilds]
        known["resources_on_old"] = (*reloader.rebuilder.on_old_value, *refused)
        if (watcher := reloader.watcher) is not None:
            known["stale"] = watcher.stale
            known["watcher"] = "off" if run.forked else watcher.mode
            known["missed_events"] = watcher.missed_events
            known["pinned"] = tuple(pin.path for pin in watcher.pinned)
    known["hook_failures"] = {each.name: each.failures for each in known["hooks"]}
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
    fields = store.declared._field_index.fields.values()
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
