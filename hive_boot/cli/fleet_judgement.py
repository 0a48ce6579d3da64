"""Judgement of a fleet: the instances without proof that a version has reached a stage.

This module does no I/O and reads no clock. The records contain the times, in seconds of the clock
of the source that took the samples. Evidence that is missing means "not yet".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    Series = tuple[str, Mapping[str, str], float]
    """The name of a metric without ``hive_boot_``, its own labels, and its value."""

    Stage = Literal["accepted", "current", "quiet"]

STAGES: tuple[Stage, ...] = ("accepted", "current", "quiet")
"""The stages of a version, in their order; each includes those before it."""

MIN_SAMPLES = 3
"""Samples in a row that must show the same process: behind a load balancer they alternate."""

MAX_INTERVALS = 2
"""Maximum age of the newest sample of a target, in scrape intervals; an older one is stale."""

HISTORY_INTERVALS = 10
"""Length of the history of a target, in scrape intervals, that shows other processes and caches."""

QUIET_INTERVALS = 3
"""Minimum quiet time, in scrape intervals: a use of an old value is visible only at a scrape."""


_CURED_BY_TIME = {
    **dict.fromkeys(("departed", "old-use", "short-history", "short-uptime"), 1),
    **dict.fromkeys(("few-samples", "old-sample", "unconfirmed"), 2),
}
"""The reasons that are shown after the others, because they often pass by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A reason why something is not proved.

    Attributes:
        name: the instance, the target or the server that it concerns.
        kind: the kind of the reason.
        message: the reason, as the end of a sentence that begins with the name.
        fix: what to change if waiting does not help; empty otherwise.
    """

    name: str
    kind: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The newest sample of one target, with the process that answered.

    A number that is not exported is None or missing, and proves nothing.

    Attributes:
        name: the name of the target.
        process_id: the random identity of the process.
        worker: whether the process may be one of several workers behind one port.
        endpoint: ``probe`` if the process answered at its probe port.
        age: seconds since the sample was taken; negative for a sample from the future.
        interval: seconds between two samples of this target.
        is_new: whether the sample was taken after the wait began.
        cached_for: seconds by which the metrics are older than the sample, at least.
        samples: the number of samples in a row, up to this one, that show this process.
        others: other processes that this target has shown, with the seconds since the last
            sample of each.
        seen_for: minimum number of seconds for which the source has known the process.
        accepted: the version of the newest accepted set; empty if it is unknown; None if no
            version is declared.
        current: the version of the set in use; empty or None as for ``accepted``.
        uptime: seconds since the process started.
        pending_hooks: rotation hooks that wait for a call or run.
        failed_hooks: rotation hooks whose last call failed.
        resources_on_old: resources that hold an old value.
        degraded: whether the process serves although there is a problem.
        old_use_age: seconds since the last use of an old value, by secret.
        uses: the number of uses of the value in use and of old ones, by secret.
        accept_old_for: seconds for which an old value is accepted, by secret.
    """

    name: str
    process_id: str
    worker: bool = False
    endpoint: str = "app"
    age: float = 0.0
    interval: float = 1.0
    is_new: bool = True
    cached_for: float = 0.0
    samples: int = MIN_SAMPLES
    others: Mapping[str, float] = field(default_factory=dict)
    seen_for: float = 0.0
    accepted: str | None = None
    current: str | None = None
    uptime: float | None = None
    pending_hooks: float | None = None
    failed_hooks: float | None = None
    resources_on_old: float | None = None
    degraded: bool = False
    old_use_age: Mapping[str, float] = field(default_factory=dict)
    uses: Mapping[str, float] = field(default_factory=dict)
    accept_old_for: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The answers of one round.

    Attributes:
        observations: the samples; a process with two targets has two.
        stragglers: the targets without a usable sample, and the servers that did not answer.
        departed: the names of what could be asked within the quiet time and now cannot be, by
            identity: processes, and targets that have disappeared.
        answered: whether anything has answered.
        interval: the longest scrape interval in seconds; 0 if it is unknown.
    """

    observations: tuple[Observation, ...] = ()
    stragglers: tuple[Straggler, ...] = ()
    departed: Mapping[str, str] = field(default_factory=dict)
    answered: bool = True
    interval: float = 0.0

    @property
    def processes(self) -> frozenset[str]:
        """Return the identities of the live processes."""
        return frozenset(each.process_id for each in self.observations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The statement to prove.

    Attributes:
        version: the version of the secrets.
        stage: the stage that every instance must have reached.
        expect: the exact number of live processes; None if any number is right.
        secrets: the secrets whose old values must be unused; empty for all that can have one.
    """

    version: str
    stage: Stage
    expect: int | None = None
    secrets: tuple[str, ...] = ()


class Judgement:
    """Decides after each round whether the goal is proved.

    One round is not enough: a pod may appear, or move to another Prometheus shard, between the
    requests of a round. A second round must prove the goal for the same processes.

    Args:
        goal: the statement to prove.
    """

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self._confirmed: frozenset[str] | None = None

    def assess(self, latest: Round, quiet_for: float | None = None) -> tuple[Straggler, ...]:
        """Return what is not proved; the goal is proved if this is empty.

        Args:
            latest: the newest round.
            quiet_for: the quiet time in seconds; None if it is not known.
        """
        found = tuple(
            sorted(
                missing_proof(latest, self.goal, quiet_for),
                key=lambda each: _CURED_BY_TIME.get(each.kind, 0),
            )
        )
        before, self._confirmed = self._confirmed, None if found else latest.processes
        if found or before == latest.processes:
            return found
        message = "proved in one round; the next round must prove it for the same processes"
        return (Straggler(name="fleet", kind="unconfirmed", message=message),)


def missing_proof(latest: Round, goal: Goal, quiet_for: float | None) -> Iterator[Straggler]:
    """Yield what one round does not prove.

    Args:
        latest: the round.
        goal: the statement to prove.
        quiet_for: the quiet time in seconds; None if it is not known.
    """
    yield from latest.stragglers
    for each in latest.observations:
        yield from _sample_problems(each)
        yield from _version_problems(each, goal)
        if goal.stage != "accepted":
            yield from current_problems(each)
        if goal.stage == "quiet":
            yield from quiet_problems(each, goal, quiet_for)
    if goal.stage == "quiet":
        # One that is suspended or cut off is still a target, and its failure is a reason already.
        failing = {each.name for each in latest.stragglers if each.kind != "no-target"}
        message = "a process of it cannot be asked any more, so the quiet time begins again"
        for name in dict.fromkeys(latest.departed.values()):
            if name not in failing:
                yield Straggler(name=name, kind="departed", message=message)
    found = len(latest.processes)
    if goal.expect is not None and found != goal.expect:
        message = f"{found} live processes, but --expect {goal.expect}"
        yield Straggler(name="fleet", kind="count", message=message)
    if not latest.observations and not latest.stragglers:
        yield Straggler(name="fleet", kind="no-instances", message="no instance was found")


def _sample_problems(each: Observation) -> Iterator[Straggler]:
    """Yield why a sample does not show the present state of one process."""

    def straggler(kind: str, message: str, fix: str = "") -> Straggler:
        return Straggler(name=each.name, kind=kind, message=message, fix=fix)

    if each.age < 0:
        yield straggler("future-sample", "its sample is newer than the clock of its Prometheus")
    if not each.age <= MAX_INTERVALS * each.interval:
        yield straggler("stale-sample", f"its last sample is {seconds(each.age)} old")
    if not each.is_new:
        yield straggler("old-sample", "it was not scraped since the wait began")
    if not each.cached_for < each.interval:
        message = f"its metrics are {seconds(each.cached_for)} old: a cache has answered"
        yield straggler("cached", message, "scrape the process itself")
    if each.worker and each.endpoint != "probe":
        message = "it is one of several workers behind one port, of which any may answer"
        fix = "give each worker a probe port, and scrape these"
        yield straggler("worker", message, fix)
    if each.samples < MIN_SAMPLES:
        message = f"its process is in {each.samples} of {MIN_SAMPLES} required samples in a row"
        yield straggler("few-samples", message)
    if each.uptime is None or isnan(each.uptime):
        yield straggler("no-uptime", "it exports no uptime")
    elif any(last < each.uptime + each.age for last in each.others.values()):
        # The other process answered at a time when this one was running.
        message = "several processes answer behind this target"
        yield straggler("several-processes", message, "scrape each process by its address")


def _version_problems(each: Observation, goal: Goal) -> Iterator[Straggler]:
    """Yield why it is not proved that an instance accepts the version, or uses it."""
    versions = [each.accepted] if goal.stage == "accepted" else [each.accepted, each.current]
    if None in versions:
        message = "it declares no version of its secrets, so nothing can be proved"
        fix = "class S(SecretSet, version=…)"
        yield Straggler(name=each.name, kind="no-version", message=message, fix=fix)
    elif "" in versions:
        message = (
            "the version of its secrets is unknown: it is missing or malformed, or values "
            "changed under the same version"
        )
        yield Straggler(name=each.name, kind="unknown-version", message=message)
    elif each.accepted != goal.version:
        message = f"it accepts {each.accepted}"
        yield Straggler(name=each.name, kind="not-accepted", message=message)
    elif versions[-1] != goal.version:
        message = f"it accepts {each.accepted}, but uses {each.current}"
        yield Straggler(name=each.name, kind="not-current", message=message)


def current_problems(each: Observation) -> Iterator[Straggler]:
    """Yield how many hooks and resources have not followed the rotation."""
    for kind, number, message in (
        ("pending-hooks", each.pending_hooks, "rotation hooks pending"),
        ("failed-hooks", each.failed_hooks, "rotation hooks failed"),
        ("resources-on-old", each.resources_on_old, "resources on an old value"),
    ):
        if number is None:
            text = f"the number of {message} is not exported"
            yield Straggler(name=each.name, kind=kind, message=text)
        elif number != 0:
            yield Straggler(name=each.name, kind=kind, message=f"{number:g} {message}")


def quiet_problems(each: Observation, goal: Goal, quiet_for: float | None) -> Iterator[Straggler]:
    """Yield why an old value may have been used within the quiet time."""
    known = sorted(each.old_use_age.keys() | each.uses.keys() | each.accept_old_for.keys())
    if known and (wrong := [name for name in goal.secrets if name not in known]):
        message = f"it counts no uses of {', '.join(wrong)}, but those of {', '.join(known)}"
        fix = "correct --secret"
        yield Straggler(name=each.name, kind="no-secret", message=message, fix=fix)
        return
    if quiet_for is None:
        message = "the quiet time is unknown, because no accept_old_for is exported"
        yield Straggler(name=each.name, kind="quiet-time", message=message)
        return
    names = goal.secrets or known
    unknown = [name for name in names if not (each.uses.get(name, 0) > 0)]
    if unknown or not names:
        message = "accepted, use unknown"
        message = f"{', '.join(unknown)}: {message}" if unknown else message
        fix = "verify with boot.verify or .matches, or ask the provider"
        yield Straggler(name=each.name, kind="use-unknown", message=message, fix=fix)
    wanted = f"quiet time: {seconds(quiet_for)}"
    for name in names:
        age = each.old_use_age.get(name)
        if age is None or not age >= quiet_for:
            shown = "at an unknown time" if age is None else f"{seconds(age)} ago"
            message = f"an old value of {name} was used {shown}; {wanted}"
            if age is not None and each.uptime is not None and age >= each.uptime:
                message = f"it has run without an old use of {name} for {seconds(age)}; {wanted}"
            yield Straggler(name=each.name, kind="old-use", message=message)
    if each.uptime is None or not each.uptime >= quiet_for:
        shown = "an unknown time" if each.uptime is None else seconds(each.uptime)
        message = f"it has run for {shown}; {wanted}"
        yield Straggler(name=each.name, kind="short-uptime", message=message)
    elif each.seen_for < quiet_for:
        message = f"it was observed for {seconds(each.seen_for)}; {wanted}"
        yield Straggler(name=each.name, kind="short-history", message=message)


def longest_acceptance(latest: Round, secrets: Collection[str]) -> float | None:
    """Return the largest ``accept_old_for`` of a round in seconds; None if none is exported."""
    found = [
        value
        for each in latest.observations
        for name, value in each.accept_old_for.items()
        if not secrets or name in secrets
    ]
    return max(found, default=None)


def seconds(number: float) -> str:
    """Return a duration as text: ``12 s``, ``5 min``, ``3 h``, ``2 d``."""
    if isnan(number):
        return "an unknown time"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if number >= 2 * length:
            return f"{number / length:.3g} {unit}"
    return f"{round(number, 2):.3g} s"


_OWN_LABELS = ("endpoint", "id", "secret", "stage", "value", "version", "worker")
"""Labels of the metrics of hive_boot. If a target has a label of the same name, Prometheus renames
the label of the metric."""

_LABELS_OF = {
    "hive_boot_process_info": "id worker endpoint",
    "hive_boot_secrets_info": "version stage",
    "hive_boot_secret_old_use_age_seconds": "secret",
    "hive_boot_secret_uses_total": "secret value",
    "hive_boot_accept_old_for_seconds": "secret",
}

EXPORTED = {f"exported_{name}": name for name in _OWN_LABELS}

_NOT_OF_TARGET = frozenset({"__name__", *_OWN_LABELS, *EXPORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An active target of a Prometheus."""

    name: str
    labels: Mapping[str, str]
    interval: float
    problem: str
    scraped: float = 0.0


class Matching:
    """Finds the target of each series by its labels.

    Args:
        targets: the targets.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._own = [
            {name: value for name, value in each.labels.items() if name in _OWN_LABELS}
            for each in targets
        ]
        self._by_labels: dict[frozenset[tuple[str, str]], list[int]] = {}
        for number, target in enumerate(targets):
            self._by_labels.setdefault(_key(target.labels), []).append(number)
        self.problems: dict[tuple[str, str, str], None] = {}
        for numbers in self._by_labels.values():
            labels = [frozenset(targets[number].labels.items()) for number in numbers]
            for number, each in zip(numbers, labels, strict=True):
                if labels.count(each) > 1:
                    self._problem(
                        targets[number].name, "one-series", "another target has the same labels"
                    )

    def newest(
        self, samples: Iterable[Mapping[str, Any]]
    ) -> tuple[dict[int, float], dict[int, list[Series]]]:
        """Return the time and the series of the newest scrape of each target, by its number."""
        newest: dict[int, float] = {}
        series: dict[int, list[Series]] = {}
        for each in samples:
            labels = each["metric"]
            at, value = each["values"][-1]
            number = self._target_of(labels)
            if number is None or at < newest.get(number, 0):
                continue
            if at > newest.get(number, 0):
                # The series of an older scrape are stale.
                newest[number] = at
                series[number] = []
            name = labels["__name__"].removeprefix("hive_boot_")
            own = _own_labels(labels, self._targets[number].labels)
            series[number].append((name, own, float(value)))
        return newest, series

    def processes(
        self, samples: Iterable[Mapping[str, Any]]
    ) -> tuple[dict[int, dict[str, list[float]]], dict[int, dict[float, float]]]:
        """Return the times at which each target has shown each process, and its start at each."""
        found: dict[int, dict[str, list[float]]] = {}
        starts: dict[int, dict[float, float]] = {}
        for each in samples:
            number = self._target_of(each["metric"])
            if number is None:
                continue
            if each["metric"]["__name__"] == "hive_boot_uptime_seconds":
                starts[number] = {at: at - float(value) for at, value in each["values"]}
                continue
            own = _own_labels(each["metric"], self._targets[number].labels)
            times = found.setdefault(number, {}).setdefault(own.get("id", ""), [])
            times += [at for at, _ in each["values"]]
        return found, starts

    def departed(self, known: Iterable[Mapping[str, str]]) -> dict[str, str]:
        """Return the processes, and the targets that do not exist any more, with their names.

        Args:
            known: the labels of ``hive_boot_process_info`` and ``up`` of a time.
        """
        present = {frozenset(each.labels.items()) for each in self._targets}
        found = {}
        for labels in known:
            numbers = self._by_labels.get(_key(labels), ())
            name = self._targets[numbers[0]].name if len(numbers) == 1 else ""
            identity = id_of(labels)
            if labels["__name__"] == "up":
                of_target = {each for each in labels.items() if each[0] != "__name__"}
                if of_target in present:
                    continue
                identity = f"target {sorted(of_target)}"
            found[identity] = name or labels.get("instance", "a target")
        return found

    def _target_of(self, labels: Mapping[str, str]) -> int | None:
        exported = _LABELS_OF.get(labels["__name__"], "").split()
        same = [
            number
            for number in self._by_labels.get(_key(labels), [])
            if _is_of_target(labels, self._own[number], exported)
        ]
        if len(same) > 1:
            same = [each for each in same if _is_of_target(labels, self._own[each], ())]
        if len(same) == 1:
            return same[0]
        if not same:
            name = labels.get("instance", "a series")
            self._problem(name, "no-target", "it has samples, but is not a target")
        return None

    def _problem(self, name: str, kind: str, message: str) -> None:
        self.problems[name, kind, message] = None


def _is_of_target(
    labels: Mapping[str, str], of_target: Mapping[str, str], exported: Collection[str]
) -> bool:
    """Return whether a series agrees with a target in the labels that hive_boot uses too.

    Labels in ``exported`` are not compared: with ``honor_labels`` they may be those of the metric.
    """
    return all(
        labels.get(name) == value for name, value in of_target.items() if name not in exported
    )


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(each for each in labels.items() if each[0] not in _NOT_OF_TARGET)


def _own_labels(labels: Mapping[str, str], of_target: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that the instance itself has exported.

    If the target has a label of the same name, Prometheus renames that of the instance to
    ``exported_NAME``. With ``honor_labels`` the label of the instance replaces that of the target
    instead, unless it is empty.
    """
    found = {}
    for name in _OWN_LABELS:
        value = labels.get(name, "")
        if name in of_target:
            renamed = labels.get(f"exported_{name}", "")
            value = renamed or ("" if value == of_target[name] else value)
        if value:
            found[name] = value
    return found


def id_of(labels: Mapping[str, str]) -> str:
    """Return the process id of a series, whose target may no longer exist."""
    return labels.get("exported_id") or labels.get("id", "")


def in_a_row(history: Mapping[str, Sequence[float]], process_id: str) -> int:
    """Return the number of the newest samples in a row that show a process."""
    other = max((max(times) for each, times in history.items() if each != process_id), default=0.0)
    return sum(at > other for at in history.get(process_id, ()))


def cached_for(starts: Mapping[float, float], times: Sequence[float]) -> float:
    """Return how much older the metrics of a process are than the newest sample, at least.

    Args:
        starts: when the process was started, by its uptime, for the time of each sample. A cache
            that answers with old metrics makes it later, and nothing makes it earlier.
        times: the times of the samples of this process.
    """
    found = [starts[at] for at in sorted(times) if at in starts]
    return found[-1] - min(found) if found else 0.0


def observation_of(name: str, series: Iterable[Series], **facts: Any) -> Observation | Straggler:
    """Return the observation that the series of one scrape of a target contain, or its problem."""
    own = [each for each in series if isfinite(each[2])]
    if not own:
        message = "it exports no metrics of hive_boot"
        fix = "narrow --selector to the instances" if "is_new" in facts else "check the path"
        return Straggler(name=name, kind="no-metrics", message=message, fix=fix)
    info = [labels for metric, labels, _ in own if metric == "process_info"]
    ids = {labels.get("id", "") for labels in info}
    if len(ids) > 1:
        message = "several processes answer behind this target"
        return Straggler(name=name, kind="several-processes", message=message)
    if not ids or ids == {""}:
        message = "it exports no process id"
        fix = "install a version of hive_boot that exports hive_boot_process_info"
        return Straggler(name=name, kind="no-process", message=message, fix=fix)
    numbers = {metric: value for metric, labels, value in own if not labels}

    def by_secret(wanted: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for metric, labels, value in own:
            if metric == wanted and (secret := labels.get("secret")):
                found[secret] = found.get(secret, 0) + value
        return found

    return Observation(
        name=name,
        process_id=ids.pop(),
        worker=any(labels.get("worker") != "false" for labels in info),
        endpoint="probe" if all(each.get("endpoint") == "probe" for each in info) else "app",
        accepted=_version(own, "accepted"),
        current=_version(own, "current"),
        uptime=numbers.get("uptime_seconds"),
        pending_hooks=numbers.get("pending_hooks"),
        failed_hooks=numbers.get("failed_hooks"),
        resources_on_old=numbers.get("resources_on_old"),
        degraded=numbers.get("degraded") != 0,
        old_use_age=by_secret("secret_old_use_age_seconds"),
        uses=by_secret("secret_uses_total"),
        accept_old_for=by_secret("accept_old_for_seconds"),
        **facts,
    )


def _version(own: Iterable[Series], stage: str) -> str | None:
    """Return the version of a stage; empty if it is unknown or not the only one."""
    found = [
        labels.get("version", "")
        for name, labels, value in own
        if name == "secrets_info" and labels.get("stage") == stage and value == 1
    ]
    if not found:
        return None
    return found[0] if len(found) == 1 else ""
