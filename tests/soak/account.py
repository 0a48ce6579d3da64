"""Report of a soak: its counts and its problems."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SPARE = {"objects": 0.01, "memory": 0.10}
"""By how much of what was there after the warm-up these may grow; all others not at all."""

_MEGABYTE = 1 << 20
_SPARE_MEMORY = 6 * _MEGABYTE
"""Bytes by which memory may grow in any case: how it is cut up differs from time to time."""


@dataclass(kw_only=True)
class Account:
    """Results of a soak.

    Attributes:
        done: the number of runs of each action of the writers.
        requests: the number of requests.
        failures: a description of each failed request.
        slowest: the duration of the slowest request, in seconds.
        waits: the seconds until a good set was in use, for each wait;
            None after a timeout.
        told: the observations of the application at the end.
        before: its use of resources after the warm-up.
        after: the same at the end.
        status: its exit status; None if it had to be killed.
        is_warm: whether there was a warm-up; without one, growth is not a problem.
    """

    done: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    waits: list[float | None] = field(default_factory=list)
    told: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    status: int | None = None
    is_warm: bool = True

    def faults(self) -> list[str]:
        """Return a description of each problem."""
        return [*self._faults_of_service(), *self._faults_of_rotation(), *self._growth()]

    def _faults_of_service(self) -> Iterator[str]:
        if self.failures:
            yield f"{len(self.failures)} requests failed, the first: {self.failures[0]}"
        if not self.requests:
            yield "there were no requests"
        if self.status != 0:
            yield f"the application ended with {self.status}"

    def _faults_of_rotation(self) -> Iterator[str]:
        seen, verdicts = self.told.get("seen", {}), self.told.get("verdicts", {})
        if torn := seen.get("torn", 0) + seen.get("torn samples", 0):
            yield f"{torn} torn sets were seen"
        if gaps := seen.get("gaps", 0):
            yield f"{gaps} changes were not told to a hook"
        if leaks := self.told.get("leaks", 0):
            yield f"{leaks} log records held a value"
        for surprise in self.told.get("surprises", ()):
            yield f"logged as an error: {surprise}"
        for reason in self.told.get("reasons", ()):
            yield f"degraded at the end: {reason}"
        if self.told.get("watcher") != "inotify":
            yield f"the watcher is {self.told.get('watcher')} at the end"
        if not verdicts.get("accepted"):
            yield "nothing was rotated"
        if None in self.waits or not self.waits:
            yield "a good set did not come into use"

    def _growth(self) -> Iterator[str]:
        for name, before in self.before.items():
            if name in SPARE and not self.is_warm:
                continue
            after = self.after[name]
            spare = before * SPARE.get(name, 0)
            if name == "memory":
                spare = max(spare, _SPARE_MEMORY)
            if after > before + spare:
                grown = f"from {_readable(name, before)} to {_readable(name, after)}"
                yield f"growth of {name}: {grown}"

    def text(self) -> str:
        """Return the report as text."""
        seen, verdicts = self.told.get("seen", {}), self.told.get("verdicts", {})
        waits = [seconds for seconds in self.waits if seconds is not None]
        rows = {
            "written": f"{sum(self.done.values())} times: {_counts(self.done)}",
            "rotations": f"{verdicts.get('accepted', 0)}",
            "refusals": f"{verdicts.get('refused', 0)}",
            "hook failures": f"{seen.get('hook failures', 0)}",
            "changes untold": f"{seen.get('gaps', 0)}",
            "requests": f"{self.requests}, the slowest {self.slowest * 1000:.0f} ms",
            "failed requests": f"{len(self.failures)}",
            "sets looked at": f"{seen.get('requests', 0) + seen.get('samples', 0)}",
            "torn sets": f"{seen.get('torn', 0) + seen.get('torn samples', 0)}",
            "leaks into logs": f"{self.told.get('leaks', 0)}",
            "good sets": f"{len(self.waits)} waited for, in use after {max(waits, default=0):.2f} s"
            " at most",
            "missed events": f"{self.told.get('missed', 0)}, found by looking",
            **{name: self._then_and_now(name) for name in self.before},
            "exit status": f"{self.status}",
        }
        width = max(map(len, rows))
        lines = [f"  {name.ljust(width)}  {text}" for name, text in rows.items()]
        verdict = [f"  WRONG: {fault}" for fault in self.faults()] or ["  All is as it should be."]
        return "\n".join([*lines, *verdict])

    def _then_and_now(self, name: str) -> str:
        before, after = _readable(name, self.before[name]), _readable(name, self.after[name])
        return f"{before} {'after the warm-up' if self.is_warm else 'at first'}, {after} at the end"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _readable(name: str, number: int) -> str:
    return f"{number / _MEGABYTE:.1f} MiB" if name == "memory" else f"{number}"
