"""One run of an application, from ARMED to STOPPED."""

from __future__ import annotations

import contextvars
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from hive_boot.bootstrap import logs
from hive_boot.bootstrap.intake import Intake
from hive_boot.bootstrap.opening import read_first
from hive_boot.bootstrap.secrecy import Secrecy
from hive_boot.bootstrap.wiring import Given
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.hosting import to_its_end
from hive_boot.lifecycle.runner import Runner
from hive_boot.lifecycle.states import SERVING, State
from hive_boot.secrets import access
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from hive_boot.bootstrap.plan import Plan
    from hive_boot.bootstrap.rotating import Rotating
    from hive_boot.bootstrap.wiring import Offer
    from hive_boot.secrets.change import Change
    from hive_boot.secrets.mode import Situation

    Door = Callable[..., Awaitable[object]]
    Last = Callable[["Run[Any, Any]"], AbstractAsyncContextManager[object]]

S = TypeVar("S", bound=SecretSet)
C = TypeVar("C")


class Run(Generic[S, C]):
    """What one start makes, and its stop unmakes.

    Args:
        plan: what was declared.
        offered: what the author's functions may ask for.
        boot: the Bootstrap, for those that ask for it.
        doors: what answers from outside from before the first read until the end, by name.
        last: the last part, started after all others; None for none.
        serves: whether somebody has to be kept from sending requests before the stop.

    Attributes:
        config: the settings.
        rotating: what keeps the secrets fresh; None before it is needed.
        runner: its life.
        hooks: the labels of what hears of rotations.

    Raises:
        DeclarationError: a parameter asks for what there is not.
    """

    config: Any = None
    rotating: Rotating[S] | None = None

    def __init__(  # noqa: PLR0913  (what is declared, and what a door adds)
        self,
        plan: Plan,
        offered: Offer,
        boot: object,
        *,
        doors: Sequence[tuple[str, Door]] = (),
        last: Last | None = None,
        serves: bool = False,
    ) -> None:
        declared: type[Any] = plan.declared
        self.store: Store[S] = Store(declared)
        self._plan = plan
        self._boot = boot
        self._doors = doors
        self._serves = serves
        self._has_last = last is not None
        self._context = contextvars.copy_context()
        self.runner = Runner(
            drain=plan.drain or 0.0,
            stop_timeout=plan.stop_timeout,
            context=self._context,
            timings=plan.timings,
        )
        self._plan_life(offered, last)
        self._hooks = plan.wire_hooks(offered)
        self.hooks = [work.label for work, _ in self._hooks]
        self._intake: Intake[S] = Intake(plan, plan.wire_checks(offered), self.runner.timeline)
        self._secrecy = Secrecy()
        self._log: AbstractContextManager[None] = logs.audible()
        self._pid = os.getpid()
        self._loop: Any = anyio.lowlevel.current_token().native_token

    async def start(self) -> None:
        """Load, judge, put into use, and start the parts.

        Raises:
            InvalidSecrets: something is wrong; all of it is in the report.
            StartupFailed: a part cannot start; several come as a group.
        """
        runner = self.runner
        self._secrecy.begin()
        self._log.__enter__()
        for name, door in self._doors:
            await runner.open_door(door, name)
        runner.to(State.LOADING)
        if self._plan.watch:
            self._prepare()
        opened = await read_first(self._plan, self._intake, self._secrecy, self.rotating)
        findings, self.config, deadline = opened
        # Who was told to stop at this moment is cancelled here, and not one step later.
        await anyio.lowlevel.checkpoint_if_cancelled()
        runner.to(State.STARTING)
        await runner.watch_over()
        await self._intake.judge_outside(findings, self.given, deadline)
        self._intake.refuse(findings)
        self.store.accept(findings)
        if self._plan.scrub_environ:
            self._secrecy.remove_variables(findings.inventory.every)
        access.register(self.store, findings.situation)
        if self._plan.drain is None and self._serves and findings.situation.mode == "kubernetes":
            runner.drain = self._plan.timings.kubernetes_drain_delay
        await runner.start_parts(deadline, self._plan.start_timeout)
        await runner.start_services()
        await anyio.lowlevel.checkpoint_if_cancelled()
        if runner.failure is not None:
            raise runner.failure
        runner.to(State.READY)
        logs.tell_ready(runner.timeline.age)
        if self.rotating is not None:
            self.rotating.start()

    async def stop(self, *, linger: bool) -> list[BaseException]:
        """Take everything out of use. It is called however far the start came.

        Args:
            linger: whether somebody has yet to tell what went wrong, so that it has to
                be scrubbed still.

        Returns:
            What went wrong: what ended the run, and what failed to stop.
        """
        runner = self.runner
        began = time.monotonic()
        failures: list[BaseException] = []
        self._intake.give_up()
        try:
            if self.forked:
                # A child has neither the tasks nor the thread.
                if self.rotating is not None:
                    self.rotating.leave()
                runner.leave()
                return []
            cancelled = await to_its_end(partial(self._unwind, failures))
            if cancelled is not None:
                failures.append(cancelled)
            if runner.failure is not None:
                failures.insert(0, runner.failure)
            if runner.started and linger:
                logs.tell_stopped(time.monotonic() - began)
        finally:
            access.unregister(self.store)
            self._log.__exit__(None, None, None)
            self._secrecy.end(linger=linger or bool(failures))
        return failures

    async def _unwind(self, failures: list[BaseException]) -> None:
        """Stop what has started, in reverse, and note what went wrong."""
        runner = self.runner
        runner.begin_stop()
        failures += await runner.stop_services()
        if self.rotating is not None:
            await self.rotating.stop()
        failures += await runner.stop_parts()
        await runner.end()

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.runner.state in SERVING

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self.runner.state

    @property
    def can_be_joined(self) -> bool:
        """Whether an inner lifespan may use what this run has."""
        at_last = self._has_last and self.runner.is_at_last_part
        is_here = anyio.lowlevel.current_token().native_token is self._loop
        return (self.ready or at_last) and is_here and not self.lost

    @property
    def shared(self) -> dict[str, Any]:
        """What requests get as their state: the secrets, the settings, the parts by name."""
        parts = {name: self.value_of(name) for name in self._plan.parts}
        return {**parts, "secrets": self.store.view, "config": self.config}

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
            self.runner.to(state)

    def given(self, secrets: S) -> Given:
        """Give what the author's functions may ask for."""
        known = {"secrets": secrets, "config": self.config, "boot": self._boot}
        return Given(known, self.value_of)

    def value_of(self, part: str) -> object:
        """Give the value of a part that runs.

        Raises:
            LifecycleError: it does not.
        """
        if self.runner.parts is None:
            message = f"the part {part} is not running"
            raise LifecycleError(message)
        return self.runner.parts.value(part)

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

            timings = self._plan.timings
            self.rotating = Rotating(
                self.store,
                self._intake,
                Rereading(self.store, self._intake, self._secrecy.cover, timings),
                Notifier(self._hooks, lambda: self.given(self.store.view), timings),
                given=self.given,
                enter=self.enter,
                context=self._context,
                timings=timings,
            )
        return self.rotating

    def _plan_life(self, offered: Offer, last: Last | None) -> None:
        """Say what the parts and services of this run are, if there are some.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        if not (self._plan.parts or self._plan.services or last):
            return
        from hive_boot.bootstrap.assembly import assemble  # noqa: PLC0415  (many have none)

        def given() -> Given:
            return self.given(self.store.view)

        opens_last = None if last is None else lambda: last(self)
        parts, services = assemble(self._plan, offered, given, opens_last)
        self.runner.plan(parts, services)
