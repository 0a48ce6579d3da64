"""One run of an application, from ARMED to STOPPED."""

from __future__ import annotations

import contextvars
import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio.lowlevel

from hive_boot.bootstrap import logs
from hive_boot.bootstrap.intake import Intake
from hive_boot.bootstrap.secrecy import Secrecy
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.states import SERVING, Machine, State
from hive_boot.lifecycle.waking import in_daemon_thread
from hive_boot.secrets import access
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from hive_boot.bootstrap.plan import Plan
    from hive_boot.bootstrap.rotating import Rotating
    from hive_boot.exceptions import Problem
    from hive_boot.secrets.change import Change
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.mode import Situation

S = TypeVar("S", bound=SecretSet)
C = TypeVar("C")


class Run(Generic[S, C]):
    """What one start makes, and its stop unmakes.

    Args:
        plan: what was declared.
        offered: what a check's and a hook's parameters may ask for, by type.
        boot: the Bootstrap, for those that ask for it.

    Attributes:
        config: the settings.
        rotating: what keeps the secrets fresh; None before it is needed.

    Raises:
        DeclarationError: a parameter asks for what there is not.
    """

    config: Any = None
    rotating: Rotating[S] | None = None

    def __init__(self, plan: Plan, offered: Mapping[type, str], boot: object) -> None:
        declared: type[Any] = plan.declared
        self.store: Store[S] = Store(declared)
        self._plan = plan
        self._boot = boot
        self._hooks = plan.wire_hooks(offered)
        self._intake: Intake[S] = Intake(plan, plan.wire_checks(offered))
        self._secrecy = Secrecy()
        self._machine = Machine()
        self._log: AbstractContextManager[None] = logs.audible()
        self._pid = os.getpid()
        self._loop: Any = anyio.lowlevel.current_token().native_token
        self._context = contextvars.copy_context()

    async def start(self) -> None:
        """Load, judge, and put into use.

        Raises:
            InvalidSecrets: something is wrong; all of it is in the report.
        """
        self._secrecy.begin()
        self._log.__enter__()
        self._machine.to(State.LOADING)
        if self._plan.watch:
            self._prepare()
        findings = await self._load()
        self._machine.to(State.STARTING)
        self.store.accept(findings)
        if self._plan.scrub_environ:
            self._secrecy.remove_variables(findings.inventory.every)
        access.register(self.store, findings.situation)
        self._machine.to(State.READY)
        if self.rotating is not None:
            self.rotating.start()

    async def stop(self, *, linger: bool) -> None:
        """Take everything out of use. It is called however far the start came.

        Args:
            linger: whether somebody has yet to tell what went wrong, so that it has to
                be scrubbed still.
        """
        if self._machine.state in {State.STARTING, *SERVING}:
            self._machine.to(State.STOPPING)
        self._intake.give_up()
        try:
            # A forked child has neither the task nor the thread.
            if self.rotating is not None and self.forked:
                self.rotating.leave()
            elif self.rotating is not None:
                await self.rotating.stop()
        finally:
            access.unregister(self.store)
            self._machine.to(State.STOPPED)
            self._log.__exit__(None, None, None)
            self._secrecy.end(linger=linger)

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self._machine.state in SERVING

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self._machine.state

    @property
    def situation(self) -> Situation | None:
        """Mode, profile and places; None before they are known."""
        return self._intake.situation

    @property
    def forked(self) -> bool:
        """Whether this process is a child of the one that started it."""
        return os.getpid() != self._pid

    @property
    def lost(self) -> bool:
        """Whether nobody will ever stop it: it is another process's, or its loop is gone."""
        is_closed = getattr(self._loop, "is_closed", None)
        return self.forked or (is_closed is not None and is_closed())

    def disown(self) -> None:
        """Leave a lost run alone: another one takes its place."""
        access.unregister(self.store)

    def enter(self, state: State) -> None:
        """Go between READY and RELOADING; a run that stops stays on its way."""
        if self.ready and self.state is not state:
            self._machine.to(state)

    def given(self, secrets: S) -> dict[str, object]:
        """Give what the author's functions may ask for."""
        return {"secrets": secrets, "config": self.config, "boot": self._boot}

    async def reload(self, *, now: bool) -> Change | None:
        """Read everything at once.

        Raises:
            InvalidSecrets: what was read is refused; the set in use stays.
            LifecycleError: this process was forked from the one that runs, or this is
                another loop than that of the start.
        """
        if self.forked:
            message = "a forked child keeps the secrets that it was born with"
            raise LifecycleError(message)
        if anyio.lowlevel.current_token().native_token is not self._loop:
            message = "reload() has to be awaited in the loop that started the application"
            raise LifecycleError(message)
        rotating = self._prepare()
        rotating.start()
        return await rotating.reload(now=now)

    def want_reload(self) -> None:
        """Have everything read soon, in the loop; nobody waits for it."""
        if not self.ready:
            return
        rotating = self._prepare()
        rotating.start()
        rotating.hint()

    def _prepare(self) -> Rotating[S]:
        """Give what keeps the secrets fresh; it is made when it is needed first."""
        if self.rotating is None:
            from hive_boot.bootstrap.notifying import Notifier  # noqa: PLC0415  (many never rotate)
            from hive_boot.bootstrap.rereading import Rereading  # noqa: PLC0415  (many never rotate)
            from hive_boot.bootstrap.rotating import Rotating  # noqa: PLC0415  (many never rotate)

            self.rotating = Rotating(
                self.store,
                self._intake,
                Rereading(self.store, self._intake, self._secrecy.cover),
                Notifier(self._hooks, lambda: self.given(self.store.view)),
                given=self.given,
                enter=self.enter,
                context=self._context,
            )
        return self.rotating

    async def _load(self) -> Findings:
        findings = await in_daemon_thread(self._load_without_loop, "hive_boot load")
        self._intake.tell_warnings(findings)
        deadline = self._intake.deadline()
        await self._intake.judge_fields(findings, findings.values.keys(), deadline)
        findings.problems += self._make_config(findings)
        await self._intake.judge_set(findings, self.given, deadline)
        if findings.problems:
            advice = [*findings.advice, *findings.remarks]
            raise self._intake.invalid(findings.problems, advice)
        logs.tell_remarks(findings.remarks)
        return findings

    def _load_without_loop(self) -> Findings:
        """Do what needs no loop, in a thread: it may wait for a writer."""
        situation = self._intake.look_around()
        if self.rotating is not None:
            inventory = self.store.declared._inventory  # noqa: SLF001  (the declaration is ours to read)
            self.rotating.watch(inventory, situation)
        findings = self._intake.read_patiently()
        self._secrecy.cover(findings)
        return findings

    def _make_config(self, findings: Findings) -> list[Problem]:
        if self._plan.factory is None:
            return []
        from hive_boot.bootstrap.configuring import make_config  # noqa: PLC0415  (many have none)

        values = [*findings.values.values(), *findings.refused]
        self.config, problems = make_config(self._plan.factory, values)
        return problems
