"""Take in what the sources hold, and judge it by everything that the author declared."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot.bootstrap import logs
from hive_boot.exceptions import InvalidSecrets
from hive_boot.secrets.findings import Findings
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import detect
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import make_set
from hive_boot.secrets.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from hive_boot.bootstrap.plan import Check, Plan
    from hive_boot.bootstrap.wiring import Given, Wired
    from hive_boot.exceptions import Problem, ProblemKind
    from hive_boot.lifecycle.timeline import Timeline
    from hive_boot.secrets.checks import Pending
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.mode import Situation
    from hive_boot.secrets.sources.reading import Value

S = TypeVar("S", bound=SecretSet)

_MAY_COME: frozenset[ProblemKind] = frozenset(
    {"broken-link", "directory", "empty", "missing", "unreadable", "unstable"}
)
"""What is wrong with a file that somebody has yet to write."""


class Intake(Generic[S]):
    """Reads and judges the sets of one run.

    Args:
        plan: what was declared.
        checks: what judges a set, beside its own rules.
        timeline: is told of the checks.

    Attributes:
        situation: mode, profile and places; None before they are known.
    """

    situation: Situation | None = None

    def __init__(
        self, plan: Plan, checks: Sequence[tuple[Wired, Check]], timeline: Timeline
    ) -> None:
        self._plan = plan
        self._checks = checks
        self._timeline = timeline
        self._declared: type[Any] = plan.declared
        self._told: set[str] = set()
        self._checking: set[tuple[str, Value]] = set()
        self._given_up = threading.Event()

    def look_around(self) -> Situation:
        """Decide where to look, once for the run.

        Raises:
            InvalidSecrets: a variable that decides it means nothing.
        """
        try:
            self.situation = detect(Surroundings(), self._plan.wishes)
        except InvalidSecrets as exc:
            raise self.invalid(exc.problems) from None
        logs.tell_situation(self.situation)
        return self.situation

    def read(self, *, again: bool = False) -> Findings:
        """Read everything once. It blocks, and may wait for a writer.

        Args:
            again: whether an application runs, so that there is time to see what becomes
                of a file that was just taken away. Default False.
        """
        return load(
            self._declared._inventory,  # noqa: SLF001  (the declaration is ours to read)
            self.situation or self.look_around(),
            declaration=self._declared.__name__,
            given=self._plan.given,
            thorough=again,
        )

    def read_patiently(self) -> Findings:
        """Read everything, and wait for files that are missing. It blocks."""
        findings = self.read()
        if not self._plan.wait or not findings.situation.mounted:
            return findings
        until = time.monotonic() + self._plan.wait
        interval = self._plan.timings.missing_file_interval
        missing = _missing(findings)
        if missing:
            logs.tell_waiting(missing, self._plan.wait)
        while missing and (left := until - time.monotonic()) > 0:
            if self._given_up.wait(min(interval, left)):
                break
            findings = self.read()
            missing = _missing(findings)
        return findings

    def none(self) -> Findings:
        """Give what is known when nothing could be read."""
        situation = self.situation or self.look_around()
        return Findings(self._declared._inventory, situation, self._declared.__name__)  # noqa: SLF001  (ours)

    def give_up(self) -> None:
        """Wait for no file any more: nobody wants to know."""
        self._given_up.set()

    async def judge_fields(
        self, findings: Findings, concerned: Collection[str], deadline: float
    ) -> None:
        """Run the checks of single fields, and note what they refuse.

        Args:
            findings: what was read.
            concerned: the attributes to judge.
            deadline: until when, on the monotonic clock.
        """
        to_check = fields_to_check(findings, concerned)
        if not to_check:
            return
        from hive_boot.bootstrap.checking import await_checks, give_up  # noqa: PLC0415  (many have none)
        from hive_boot.lifecycle.waking import in_daemon_thread  # noqa: PLC0415  (many have none)
        from hive_boot.secrets.checks import call_checks  # noqa: PLC0415  (many have none)

        seconds = self._plan.start_timeout

        def call() -> tuple[list[Problem], list[Pending]]:
            left = deadline - time.monotonic()
            return call_checks(to_check, left=left, seconds=seconds, running=self._checking)

        problems, pending = await in_daemon_thread(
            call, "hive_boot checks", discard=lambda late: give_up(late[1])
        )
        problems += await await_checks(pending, deadline - time.monotonic(), seconds)
        findings.note_refusals(problems)

    async def judge_set(self, findings: Findings, deadline: float) -> None:
        """Run the check of the set, if its values have passed theirs.

        Args:
            findings: what was read.
            deadline: until when, on the monotonic clock.
        """
        candidate: S = make_set(self._declared, findings.values)
        check: Callable[[], Awaitable[object]] | None = getattr(candidate, "check", None)
        if check is None or findings.problems:
            return
        from hive_boot.bootstrap.checking import await_check  # noqa: PLC0415  (many have none)

        left, seconds = deadline - time.monotonic(), self._plan.start_timeout
        values = list(findings.values.values())
        problem = await await_check(
            self._declared.__name__, check(), values, left=left, seconds=seconds
        )
        findings.problems += [] if problem is None else [problem]

    async def judge_outside(
        self,
        findings: Findings,
        given: Callable[[S], Given],
        deadline: float,
        concerned: Collection[str] | None = None,
    ) -> None:
        """Run the checks of the application, side by side, if all others have passed.

        Args:
            findings: what was read.
            given: what there is to give to a check, with the set.
            deadline: until when, on the monotonic clock.
            concerned: the attributes that have changed; None at a start, where there is
                time to try a check again.
        """
        checks = [
            (work, check)
            for work, check in self._checks
            if concerned is None or not check.names or check.names.intersection(concerned)
        ]
        if not checks or findings.problems:
            return
        from hive_boot.bootstrap.checking import ask_checks  # noqa: PLC0415  (many have none)

        candidate: S = make_set(self._declared, findings.values)
        findings.problems += await ask_checks(
            checks,
            lambda: given(candidate),
            list(findings.values.values()),
            deadline=deadline,
            seconds=self._plan.start_timeout,
            timeline=self._timeline,
            patient=concerned is None,
            timings=self._plan.timings,
        )

    def deadline(self) -> float:
        """Give until when the checks of what was just read may take."""
        return time.monotonic() + self._plan.start_timeout

    def tell_warnings(self, findings: Findings) -> None:
        """Log the warnings that were not logged before."""
        fresh = [text for text in findings.warnings if text not in self._told]
        self._told.update(fresh)
        logs.tell_warnings(fresh)

    def refuse(self, findings: Findings) -> None:
        """Raise what is wrong with a first set.

        Raises:
            InvalidSecrets: something is.
        """
        if findings.problems:
            raise self.invalid(findings.problems, [*findings.advice, *findings.remarks])

    def invalid(
        self, problems: Sequence[Problem], advice: Sequence[str] = (), *, kept: bool = False
    ) -> InvalidSecrets:
        """Make the error that reports problems.

        Args:
            problems: all of them.
            advice: what mends several of them.
            kept: whether an earlier set stays in use. Default False.
        """
        facts = []
        if situation := self.situation:
            facts.append(("mode", f"{situation.mode} ({situation.mode_reason})"))
            facts.append(("profile", f"{situation.profile} ({situation.profile_reason})"))
        return InvalidSecrets(
            problems, declaration=self._declared.__name__, facts=facts, advice=advice, kept=kept
        )


def fields_to_check(findings: Findings, concerned: Collection[str]) -> list[tuple[Field, Value]]:
    """Give the fields that have a check, and the values that it judges.

    Args:
        findings: what was read.
        concerned: the attributes to judge.
    """
    return [
        (field, findings.values[field.attribute])
        for field in findings.inventory.every
        if field.check is not None
        and field.attribute in findings.values
        and field.attribute in concerned
    ]


def _missing(findings: Findings) -> list[str]:
    """Name what may yet be written."""
    return [problem.name for problem in findings.problems if problem.kind in _MAY_COME]
