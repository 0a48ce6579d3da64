"""One run of an application, from ARMED to STOPPED."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot.bootstrap import logs
from hive_boot.bootstrap.secrecy import Secrecy
from hive_boot.exceptions import InvalidSecrets
from hive_boot.lifecycle.states import Machine, State
from hive_boot.lifecycle.waking import in_daemon_thread
from hive_boot.secrets import access
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import Wishes, detect
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import Store, make_set
from hive_boot.secrets.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from hive_boot.exceptions import Problem
    from hive_boot.secrets.checks import Pending
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.mode import Situation

S = TypeVar("S", bound=SecretSet)
C = TypeVar("C")


class Run(Generic[S, C]):
    """What one start makes, and its stop unmakes.

    Args:
        declared: the declaration.
        factory: what makes the settings.
        wishes: what the author decided about mode, profile and places.
        start_timeout: seconds that checks may take in all.
        scrub_environ: whether the variables of the secrets are taken out of the
            environment.
    """

    config: Any = None

    def __init__(
        self,
        declared: type[S],
        factory: Callable[..., C] | None,
        wishes: Wishes,
        start_timeout: float,
        *,
        scrub_environ: bool,
    ) -> None:
        self.store = Store(declared)
        self._factory = factory
        self._wishes = wishes
        self._seconds = start_timeout
        self._scrub_environ = scrub_environ
        self._secrecy = Secrecy()
        self._machine = Machine()
        self.situation: Situation | None = None
        self._log: AbstractContextManager[None] = logs.audible()

    async def start(self) -> None:
        """Load, judge, and put into use.

        Raises:
            InvalidSecrets: something is wrong; all of it is in the report.
        """
        self._secrecy.begin()
        self._log.__enter__()
        self._machine.to(State.LOADING)
        findings = await self._load()
        self._machine.to(State.STARTING)
        self.store.accept(findings)
        if self._scrub_environ:
            self._secrecy.remove_variables(findings.inventory.every)
        access.register(self.store, findings.situation)
        self._machine.to(State.READY)

    def stop(self, *, linger: bool) -> None:
        """Take everything out of use. It is called however far the start came.

        Args:
            linger: whether somebody has yet to tell what went wrong, so that it has to
                be scrubbed still.
        """
        if self._machine.state in {State.STARTING, State.READY}:
            self._machine.to(State.STOPPING)
        access.unregister(self.store)
        self._machine.to(State.STOPPED)
        self._log.__exit__(None, None, None)
        self._secrecy.end(linger=linger)

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self._machine.state is State.READY

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self._machine.state

    async def _load(self) -> Findings:
        findings, pending, deadline = await in_daemon_thread(
            self._load_without_loop, "hive_boot load", discard=lambda late: _give_up(late[1])
        )
        logs.tell_warnings(findings)
        if pending:
            findings.note_refusals(await self._await_checks(pending, deadline))
        if self._factory is not None:
            findings.problems += self._make_config(self._factory, findings)
        check: Any = getattr(make_set(self.store.declared, findings.values), "check", None)
        if check is not None and not findings.problems:
            findings.problems += await self._await_set_check(check, findings, deadline)
        if findings.problems:
            raise self._invalid(findings.problems, [*findings.advice, *findings.remarks])
        logs.tell_remarks(findings)
        return findings

    def _load_without_loop(self) -> tuple[Findings, list[Pending], float]:
        """Do what needs no loop, in a thread: it may wait for a writer.

        Returns:
            What was found, the checks that remain to be awaited, and until when. The
            time of the checks begins when everything is read.
        """
        try:
            self.situation = detect(Surroundings(), self._wishes)
        except InvalidSecrets as exc:
            raise self._invalid(exc.problems, ()) from None
        logs.tell_situation(self.situation)
        declared = self.store.declared
        inventory = declared._inventory  # noqa: SLF001  (the declaration is ours to read)
        findings = load(inventory, self.situation, declaration=declared.__name__)
        self._secrecy.cover(findings)
        to_check = [
            (field, findings.values[field.attribute])
            for field in inventory.every
            if field.check is not None and field.attribute in findings.values
        ]
        deadline = time.monotonic() + self._seconds
        if not to_check:
            return findings, [], deadline
        from hive_boot.secrets.checks import call_checks  # noqa: PLC0415  (many have no check)

        problems, pending = call_checks(to_check, left=self._seconds, seconds=self._seconds)
        findings.note_refusals(problems)
        return findings, pending, deadline

    async def _await_checks(self, pending: Sequence[Pending], deadline: float) -> list[Problem]:
        from hive_boot.bootstrap.checking import await_checks  # noqa: PLC0415  (many have none)

        return await await_checks(pending, deadline - time.monotonic(), self._seconds)

    async def _await_set_check(
        self, check: Callable[[], Any], findings: Findings, deadline: float
    ) -> list[Problem]:
        from hive_boot.bootstrap.checking import await_check  # noqa: PLC0415  (many have none)

        values = list(findings.values.values())
        left = deadline - time.monotonic()
        whose = self.store.declared.__name__
        problem = await await_check(whose, check(), values, left=left, seconds=self._seconds)
        return [] if problem is None else [problem]

    def _make_config(self, factory: Callable[..., C], findings: Findings) -> list[Problem]:
        from hive_boot.bootstrap.configuring import make_config  # noqa: PLC0415  (many have none)

        values = [*findings.values.values(), *findings.refused]
        self.config, problems = make_config(factory, values)
        return problems

    def _invalid(self, problems: Sequence[Problem], advice: Sequence[str]) -> InvalidSecrets:
        facts = []
        if situation := self.situation:
            facts.append(("mode", f"{situation.mode} ({situation.mode_reason})"))
            facts.append(("profile", f"{situation.profile} ({situation.profile_reason})"))
        return InvalidSecrets(
            problems, declaration=self.store.declared.__name__, facts=facts, advice=advice
        )


def _give_up(pending: Sequence[Pending]) -> None:
    """Close what nobody will await, so that Python does not warn of it."""
    from hive_boot.bootstrap.checking import give_up  # noqa: PLC0415  (many have none)

    give_up(pending)
