"""Judgement of a fleet: what is no proof, and sequences of scrapes against a simple model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_boot.cli.fleet import stage_of
from hive_boot.cli.fleet_evidence import History
from hive_boot.cli.fleet_judgement import (
    MIN_SAMPLES,
    STAGES,
    Goal,
    Judgement,
    Matching,
    Observation,
    Round,
    Straggler,
    Target,
    missing_proof,
    observation_of,
    seconds,
)

if TYPE_CHECKING:
    from hive_boot.cli.fleet_judgement import Stage

HOUR = 3600.0
PROVED = Observation(
    name="shop-1",
    process_id="a1",
    age=5,
    interval=15,
    seen_for=HOUR,
    accepted="v2",
    current="v2",
    uptime=2 * HOUR,
    pending_hooks=0,
    failed_hooks=0,
    resources_on_old=0,
    old_use_age={"JWT_SECRET": 1.5 * HOUR},
    uses={"JWT_SECRET": 3},
    accept_old_for={"JWT_SECRET": HOUR},
)
"""An observation that proves each stage."""

QUIET = Goal(version="v2", stage="quiet")
NAN = float("nan")


def kinds(latest: Round, goal: Goal = QUIET, quiet_for: float | None = HOUR) -> list[str]:
    """Return the kinds of what a round does not prove."""
    return [each.kind for each in missing_proof(latest, goal, quiet_for)]


def test_one_good_observation_proves_every_stage() -> None:
    """Otherwise the other tests of this module would show nothing."""
    for stage in STAGES:
        goal = Goal(version="v2", stage=stage, expect=1)
        assert kinds(Round(observations=(PROVED,)), goal) == [], stage


@pytest.mark.parametrize(
    ("changes", "kind", "from_stage"),
    [
        ({"age": -0.1}, "future-sample", "accepted"),
        ({"age": 30.1}, "stale-sample", "accepted"),
        ({"age": NAN}, "stale-sample", "accepted"),
        ({"is_new": False}, "old-sample", "accepted"),
        ({"cached_for": 15}, "cached", "accepted"),
        ({"cached_for": NAN}, "cached", "accepted"),
        ({"worker": True}, "worker", "accepted"),
        ({"samples": MIN_SAMPLES - 1}, "few-samples", "accepted"),
        ({"others": {"b2": HOUR}}, "several-processes", "accepted"),
        ({"uptime": None}, "no-uptime", "accepted"),
        ({"uptime": NAN}, "no-uptime", "accepted"),
        ({"accepted": None}, "no-version", "accepted"),
        ({"accepted": ""}, "unknown-version", "accepted"),
        ({"accepted": "v1"}, "not-accepted", "accepted"),
        ({"accepted": "v3", "current": "v2"}, "not-accepted", "accepted"),
        ({"current": None}, "no-version", "current"),
        ({"current": ""}, "unknown-version", "current"),
        ({"current": "v1"}, "not-current", "current"),
        ({"pending_hooks": 1}, "pending-hooks", "current"),
        ({"pending_hooks": None}, "pending-hooks", "current"),
        ({"pending_hooks": NAN}, "pending-hooks", "current"),
        ({"failed_hooks": 1}, "failed-hooks", "current"),
        ({"failed_hooks": None}, "failed-hooks", "current"),
        ({"resources_on_old": 1}, "resources-on-old", "current"),
        ({"resources_on_old": None}, "resources-on-old", "current"),
        ({"old_use_age": {"JWT_SECRET": HOUR - 1}}, "old-use", "quiet"),
        ({"old_use_age": {"JWT_SECRET": NAN}}, "old-use", "quiet"),
        ({"old_use_age": {}}, "old-use", "quiet"),
        ({"accept_old_for": {"JWT_SECRET": HOUR, "API_KEY": HOUR}}, "old-use", "quiet"),
        ({"uptime": HOUR - 1}, "short-uptime", "quiet"),
        ({"seen_for": HOUR - 1}, "short-history", "quiet"),
        ({"uses": {"JWT_SECRET": 0}}, "use-unknown", "quiet"),
        ({"uses": {"JWT_SECRET": NAN}}, "use-unknown", "quiet"),
        ({"uses": {}}, "use-unknown", "quiet"),
        ({"uses": {}, "old_use_age": {}}, "use-unknown", "quiet"),
        ({"uses": {"JWT_SECRET": 3, "API_KEY": 0}}, "use-unknown", "quiet"),
        ({"uses": {"JWT_SECRET": 3, "API_KEY": 2}}, "old-use", "quiet"),
    ],
)
def test_each_doubt_is_a_straggler(changes: dict[str, Any], kind: str, from_stage: str) -> None:
    """From the stage on that it concerns; the other instance does not help."""
    doubtful = replace(PROVED, name="shop-2", process_id="b1", **changes)
    latest = Round(observations=(PROVED, doubtful))
    reached = False
    for stage in STAGES:
        reached = reached or stage == from_stage
        found = [*missing_proof(latest, Goal(version="v2", stage=stage), HOUR)]
        assert (kind in [each.kind for each in found]) is reached, stage
        assert {each.name for each in found} <= {"shop-2"}


def test_a_worker_counts_through_its_own_probe_port() -> None:
    """The process that answers there is always the same."""
    assert kinds(Round(observations=(replace(PROVED, worker=True, endpoint="probe"),))) == []


def test_another_process_that_ended_before_is_a_restart() -> None:
    """It answered before the start of the one that answers now."""
    fresh = replace(PROVED, uptime=100, others={"b2": 106})
    goal = Goal(version="v2", stage="current")
    assert kinds(Round(observations=(fresh,)), goal) == []
    assert kinds(Round(observations=(replace(fresh, others={"b2": 104}),)), goal) == [
        "several-processes"
    ]


def test_a_straggler_of_the_evidence_is_one_of_the_judgement() -> None:
    """Also beside instances that prove everything."""
    down = Straggler(name="shop-2", kind="not-scraped", message="it was not scraped yet")
    assert kinds(Round(observations=(PROVED,), stragglers=(down,))) == ["not-scraped"]


def test_nothing_proves_nothing() -> None:
    """Zero instances are not all instances."""
    for stage in STAGES:
        assert kinds(Round(), Goal(version="v2", stage=stage)) == ["no-instances"]


def test_an_end_of_a_process_begins_the_quiet_time_again() -> None:
    """For the other stages it has no meaning."""
    latest = Round(observations=(PROVED,), departed={"b1": "shop-2", "b2": "shop-2"})
    assert kinds(latest) == ["departed"]
    assert kinds(latest, Goal(version="v2", stage="current")) == []


def test_a_process_that_does_not_answer_is_not_one_that_has_ended() -> None:
    """It may be suspended, or cut off, so the failure of its scrape is all that is known."""
    down = Straggler(name="shop-2", kind="not-scraped", message="its last scrape has failed")
    latest = Round(observations=(PROVED,), stragglers=(down,), departed={"b1": "shop-2"})
    assert kinds(latest) == ["not-scraped"]


def test_what_waiting_cures_by_itself_comes_last() -> None:
    """An instance with the wrong version is not hidden by those without a new sample."""
    waiting = [replace(PROVED, name=f"shop-{n}", process_id=f"p{n}", is_new=False) for n in "123"]
    recent = replace(PROVED, name="shop-4", process_id="p4", old_use_age={"JWT_SECRET": 5})
    behind = replace(PROVED, name="shop-5", process_id="p5", is_new=False, failed_hooks=1)
    latest = Round(observations=(*waiting, recent, behind))
    found = Judgement(QUIET).assess(latest, HOUR)
    assert [each.kind for each in found] == ["failed-hooks", "old-use", *["old-sample"] * 4]


def test_the_expected_number_is_exact() -> None:
    """It counts processes: two samples of one process are one, two processes of one name two."""
    again = replace(PROVED, name="shop-1-probe")
    other = replace(PROVED, process_id="b1")
    for observations, number in (((PROVED,), 1), ((PROVED, again), 1), ((PROVED, other), 2)):
        for expected in (1, 2, 3):
            goal = replace(QUIET, expect=expected)
            wanted = [] if expected == number else ["count"]
            assert kinds(Round(observations=observations), goal) == wanted


def test_the_worst_sample_of_a_process_counts() -> None:
    """Two Prometheus servers may have seen the same process at different times."""
    behind = replace(PROVED, current="v1")
    for observations in ((PROVED, behind), (behind, PROVED)):
        assert kinds(Round(observations=observations)) == ["not-current"]


def test_an_unknown_quiet_time_is_not_zero() -> None:
    """It is unknown until an instance has exported accept_old_for."""
    assert kinds(Round(observations=(PROVED,)), quiet_for=None) == ["quiet-time"]


def test_one_secret_can_be_selected() -> None:
    """The others may be in use; the selected one must be known."""
    both = replace(
        PROVED,
        uses={"JWT_SECRET": 3, "API_KEY": 0},
        old_use_age={"JWT_SECRET": 2 * HOUR, "API_KEY": 0},
    )
    for secrets, wanted in (
        (("JWT_SECRET",), []),
        (("API_KEY",), ["use-unknown", "old-use"]),
        (("OTHER",), ["no-secret"]),
    ):
        assert kinds(Round(observations=(both,)), replace(QUIET, secrets=secrets)) == wanted


def test_a_second_round_must_find_the_same_processes() -> None:
    """A pod may appear, or move to another shard, between the requests of one round."""
    judgement = Judgement(Goal(version="v2", stage="current"))
    other = replace(PROVED, process_id="b1")
    rounds = [
        ((PROVED,), "unconfirmed"),
        ((PROVED, other), "unconfirmed"),
        ((PROVED, replace(other, current="v1")), "not-current"),
        ((PROVED, other), "unconfirmed"),
        ((PROVED, other), ""),
    ]
    for observations, kind in rounds:
        found = judgement.assess(Round(observations=observations))
        assert [each.kind for each in found] == ([kind] if kind else [])


def test_the_stage_of_one_instance() -> None:
    """As the table of ``fleet status`` shows it."""
    for changes, stage in (
        ({}, "quiet"),
        ({"seen_for": 0}, "quiet"),
        ({"uptime": 60}, "current"),
        ({"uses": {}}, "current"),
        ({"current": "v1"}, "accepted"),
        ({"failed_hooks": 1}, "accepted"),
        ({"accepted": ""}, "unknown"),
        ({"accepted": None}, "no version"),
        ({"worker": True}, "any worker"),
        ({"worker": True, "endpoint": "probe"}, "quiet"),
    ):
        assert stage_of(replace(PROVED, **changes)) == stage, changes


def test_durations_are_short() -> None:
    """Two or three digits and a unit."""
    for number, text in ((0, "0 s"), (89.6, "89.6 s"), (600, "10 min"), (HOUR * 3, "3 h")):
        assert seconds(number) == text
    assert seconds(HOUR * 72) == "3 d"
    assert seconds(NAN) == "an unknown time"


# Labels: what Prometheus makes of the labels of a target and of ours.

VERSIONS = st.sampled_from(["", "v1", "v2"])
OWN = ("version", "stage", "id", "worker", "endpoint")


def scraped(own: dict[str, str], target: dict[str, str], *, honor: bool) -> dict[str, str]:
    """Return the labels of a series, as Prometheus documents ``honor_labels``."""
    labels = {name: value for name, value in own.items() if value}
    if honor:
        return {**target, **labels}
    for name in sorted(labels.keys() & target.keys()):
        labels[f"exported_{name}"] = labels.pop(name)
    return {**labels, **target}


@given(
    VERSIONS,
    st.dictionaries(st.sampled_from([*OWN, "job", "pod"]), st.sampled_from(["v2", "app", "x"])),
    st.booleans(),
)
def test_a_label_of_the_target_is_never_taken_for_ours(
    version: str,
    labels: dict[str, str],
    honor: bool,  # noqa: FBT001  (hypothesis passes it)
) -> None:
    """Whatever labels the target has, and also with ``honor_labels``."""
    target = Target(name="shop", labels={"instance": "shop", **labels}, interval=15, problem="")
    own = {"version": version, "stage": "current"}
    labels_of_series = scraped(own, dict(target.labels), honor=honor)
    series = {"metric": {"__name__": "hive_boot_secrets_info", **labels_of_series}}
    _, found = Matching([target]).newest([{**series, "values": [[10.0, "1"]]}])
    ((_, read, _),) = found[0]

    assert read.get("version", "") in {"", version}
    assert read.get("stage", "") in {"", "current"}
    if not labels.keys() & {*OWN}:
        assert read == {name: value for name, value in own.items() if value}


def targets(*labels: dict[str, str]) -> list[Target]:
    """Return targets with labels."""
    return [
        Target(name=f"target-{number}", labels=each, interval=15, problem="")
        for number, each in enumerate(labels)
    ]


def series(name: str, value: str, at: float, **labels: str) -> dict[str, Any]:
    """Return a series with one sample."""
    return {"metric": {"__name__": f"hive_boot_{name}", **labels}, "values": [[at, value]]}


def test_two_targets_behind_one_series_prove_nothing() -> None:
    """Such as two pods whose ``instance`` was relabelled to the same text."""
    same = {"instance": "shop", "job": "shop"}
    matching = Matching(targets(same, same, {"instance": "other"}))
    _, found = matching.newest([series("uptime_seconds", "7", 10, **same)])
    assert found == {}
    assert [kind for _, kind, _ in matching.problems] == ["one-series", "one-series"]


def test_targets_that_differ_in_one_of_our_labels_are_told_apart() -> None:
    """The Prometheus operator adds the label ``endpoint``, the name of a port."""
    both = [{"instance": "shop", "endpoint": port} for port in ("http", "probes")]
    matching = Matching(targets(*both))
    _, found = matching.newest(
        [
            series("uptime_seconds", value, 10, **labels)
            for value, labels in zip("78", both, strict=True)
        ]
    )
    assert found == {0: [("uptime_seconds", {}, 7)], 1: [("uptime_seconds", {}, 8)]}
    assert not matching.problems


def test_a_series_of_a_target_that_has_gone_is_not_of_another_one() -> None:
    """Which differs only in a label that has a name of ours."""
    matching = Matching(targets({"instance": "shop", "endpoint": "http"}))
    _, found = matching.newest(
        [series("pending_hooks", "0", 10, instance="shop", endpoint="probes")]
    )
    assert found == {}
    assert [kind for _, kind, _ in matching.problems] == ["no-target"]


def test_a_series_without_a_target_is_a_problem() -> None:
    """As in a federation, or if ``metric_relabel_configs`` changed a label."""
    matching = Matching(targets({"instance": "shop"}))
    _, found = matching.newest([series("uptime_seconds", "7", 10, instance="elsewhere")])
    assert found == {}
    assert [(name, kind) for name, kind, _ in matching.problems] == [("elsewhere", "no-target")]


def test_only_the_newest_scrape_of_a_target_counts() -> None:
    """A series that the newest scrape does not have is stale."""
    matching = Matching(targets({"instance": "shop"}))
    newest, found = matching.newest(
        [
            series("secrets_info", "1", 10, instance="shop", stage="current", version="v2"),
            series("secrets_info", "1", 25, instance="shop", stage="current", version="v1"),
            series("pending_hooks", "0", 10, instance="shop"),
        ]
    )
    assert newest == {0: 25}
    assert found == {0: [("secrets_info", {"stage": "current", "version": "v1"}, 1)]}


def test_an_unclear_sample_is_no_observation() -> None:
    """It has several processes, none, or nothing of hive_boot."""
    one, two = (("process_info", {"id": each, "worker": "false"}, 1.0) for each in ("a1", "b1"))
    for found, kind in (
        ([], "no-metrics"),
        ([one, two], "several-processes"),
        ([("uptime_seconds", {}, 7.0)], "no-process"),
        ([("process_info", {"worker": "false"}, 1.0)], "no-process"),
    ):
        straggler = observation_of("shop", found)
        assert isinstance(straggler, Straggler)
        assert straggler.kind == kind


def test_two_versions_of_one_stage_are_unknown() -> None:
    """So is a worker label that is neither true nor false a worker."""
    own = [("process_info", {"id": "a1", "worker": "perhaps"}, 1.0)]
    own += [("secrets_info", {"stage": "current", "version": each}, 1.0) for each in ("v1", "v2")]
    found = observation_of("shop", own)
    assert isinstance(found, Observation)
    assert found.current == ""
    assert found.accepted is None
    assert found.worker


# Sequences of scrapes, restarts and rotations.

QUIET_FOR = 6
SLOTS = 2
ACTIONS = (
    "use old",
    "use new",
    "accept",
    "activate",
    "back to v1",
    "hook pending",
    "hook done",
    "restart",
    "stop",
    "start",
    "scrape fails",
    "scrape works",
    "cache",
)


@dataclass(slots=True)
class Process:
    """A process of the model; times are rounds."""

    id: str
    started: int
    accepted: str = "v1"
    current: str = "v1"
    pending: int = 0
    uses: int = 0
    old_uses: list[int] = field(default_factory=list)


class World:
    """What really happens, round by round, with one action or none for each slot."""

    def __init__(self) -> None:
        self.now = 0
        self.made = 0
        self.old_uses: list[int] = []
        self.slots: list[Process | None] = [self.start(-100) for _ in range(SLOTS)]
        self.failing: set[int] = set()
        self.cached: dict[int, dict[str, Any]] = {}

    def start(self, at: int, version: str = "v1") -> Process:
        """Return a new process, which reads the version that is mounted."""
        self.made += 1
        return Process(id=f"p{self.made}", started=at, accepted=version, current=version)

    def act(self, number: int, action: str) -> None:
        """Perform one action in a slot."""
        process = self.slots[number]
        if action == "scrape fails":
            self.failing.add(number)
        elif action == "scrape works":
            self.failing.discard(number)
            self.cached.pop(number, None)
        elif action == "cache":
            if process:
                self.cached[number] = self.body(process)
        elif action == "restart" or (action == "start" and process is None):
            # A new pod may still have the old volume.
            self.slots[number] = self.start(self.now, "v2" if self.made % 2 else "v1")
        elif action == "stop":
            self.slots[number] = None
        elif process:
            self.change(process, action)

    def change(self, process: Process, action: str) -> None:
        """Perform one action of a process."""
        if action.startswith("use"):
            process.uses += 1
            if action == "use old":
                process.old_uses.append(self.now)
                self.old_uses.append(self.now)
        elif action.startswith("hook"):
            process.pending = int(action == "hook pending")
        elif action in {"activate", "back to v1"}:
            process.accepted = process.current = "v2" if action == "activate" else "v1"
        elif action == "accept":
            process.accepted = "v2"

    def step(self, actions: list[str | None]) -> None:
        """Advance to the next round."""
        self.now += 1
        for number, action in enumerate(actions):
            if action:
                self.act(number, action)

    def body(self, process: Process) -> dict[str, Any]:
        """Return the metrics of a process."""
        return {
            "process_id": process.id,
            "accepted": process.accepted,
            "current": process.current,
            "uptime": self.now - process.started,
            "pending_hooks": process.pending,
            "failed_hooks": 0,
            "resources_on_old": 0,
            "old_use_age": {"KEY": self.now - max([process.started, *process.old_uses])},
            "uses": {"KEY": process.uses},
        }

    def scrape(self, history: History, quiet_for: float) -> Round:
        """Return the round of a source that sees this world."""
        live = {
            f"slot-{number}": self.cached.get(number) or self.body(process)
            for number, process in enumerate(self.slots)
            if process and number not in self.failing
        }
        failing = [f"slot-{each}" for each in sorted(self.failing) if self.slots[each]]
        starts = {
            name: {body["process_id"]: (float(self.now), float(self.now - body["uptime"]))}
            for name, body in live.items()
        }
        history.record(starts, failing, self.now)
        return Round(
            observations=tuple(
                Observation(name=name, **history.facts(name, body["process_id"], self.now), **body)
                for name, body in live.items()
            ),
            stragglers=tuple(
                Straggler(name=name, kind="unreachable", message="no response") for name in failing
            ),
            departed=history.departed(self.now, quiet_for),
        )

    def truth(self, stage: str) -> bool:
        """Return whether the goal has been reached, from what has really happened."""
        live = [process for process in self.slots if process]
        if stage == "accepted":
            reached = all(process.accepted == "v2" for process in live)
        else:
            reached = all(process.current == "v2" and not process.pending for process in live)
        if stage == "quiet":
            reached = reached and all(self.now - used >= QUIET_FOR for used in self.old_uses)
            reached = reached and all(process.uses for process in live)
        return bool(live) and reached


Step = list[str | None]
NOTHING: Step = [None] * SLOTS
GOOD: list[Step] = [["activate"] * SLOTS, ["use new"] * SLOTS, *([NOTHING] * (QUIET_FOR + 2))]
"""Steps after which each stage is proved."""


def one_action(number: int, action: str, then: int) -> list[Step]:
    """Return a step with one action, and steps in which nothing happens."""
    return [[action if each == number else None for each in range(SLOTS)], *([NOTHING] * then)]


STEPS = st.lists(
    st.builds(
        one_action,
        st.integers(0, SLOTS - 1),
        # What ends a quiet time is more frequent than by chance.
        st.sampled_from([*ACTIONS, *(["use old", "stop", "restart"] * 3)]),
        st.sampled_from([0, 0, 3, QUIET_FOR + 1]),
    )
    | st.just(GOOD[:2])
    | st.integers(1, QUIET_FOR).map(lambda number: [NOTHING] * number),
    max_size=10,
).map(lambda parts: [step for part in parts for step in part])


ENDED_AFTER_USE = [*one_action(0, "use old", 0), *one_action(0, "stop", 4)]
"""Steps after which the evidence of an old use does not exist any more."""


USED_WHILE_CUT_OFF = [
    *one_action(0, "scrape fails", QUIET_FOR + 1),
    *one_action(0, "use old", 0),
    *one_action(0, "stop", 4),
]
"""Steps in which a process works for the quiet time, and nothing can ask it."""


@pytest.mark.parametrize("stage", STAGES)
@settings(max_examples=300, deadline=None)
@example(before=[], during=[*GOOD, *ENDED_AFTER_USE])
@example(before=ENDED_AFTER_USE, during=[NOTHING] * 3)
@example(before=[], during=[*GOOD, *USED_WHILE_CUT_OFF])
@example(before=[], during=[*GOOD[:2], *one_action(0, "cache", 0), *one_action(0, "use old", 8)])
@given(before=STEPS, during=STEPS)
def test_a_wait_never_says_yes_when_the_model_says_no(
    stage: Stage, before: list[Step], during: list[Step]
) -> None:
    """The wait sees nothing of what happens before it."""
    world, history = World(), History()
    for actions in [*GOOD[:2], *before]:
        world.step(actions)
    judgement = Judgement(Goal(version="v2", stage=stage))
    for actions in during:
        world.step(actions)
        if not judgement.assess(world.scrape(history, QUIET_FOR), QUIET_FOR):
            assert world.truth(stage)


@pytest.mark.parametrize(("stage", "after"), [("accepted", 3), ("current", 3), ("quiet", 7)])
def test_a_wait_says_yes_when_nothing_is_left(stage: Stage, after: int) -> None:
    """As soon as the proof is complete, and not before."""
    world, history = World(), History()
    judgement = Judgement(Goal(version="v2", stage=stage))
    answers = []
    for actions in GOOD:
        world.step(actions)
        answers.append(not judgement.assess(world.scrape(history, QUIET_FOR), QUIET_FOR))
    assert answers.index(True) == after
    assert world.truth(stage)
