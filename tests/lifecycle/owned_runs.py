"""A run without an application, in any state."""

import contextvars

import anyio

from hive_boot._timings import DEFAULTS, Timings
from hive_boot.lifecycle.instances import Resource
from hive_boot.lifecycle.runner import Runner
from hive_boot.lifecycle.services import SupervisedTask
from hive_boot.lifecycle.shutdown import ShutdownController
from hive_boot.lifecycle.states import State, StateMachine
from tests.lifecycle.components import LONG

UP = (State.LOADING, State.STARTING, State.READY)
"""The steps to READY."""

WAYS: dict[State, tuple[State, ...]] = {
    State.ARMED: (),
    State.LOADING: UP[:1],
    State.STARTING: UP[:2],
    State.READY: UP,
    State.RELOADING: (*UP, State.RELOADING),
    State.DRAINING: (*UP, State.DRAINING),
    State.STOPPING: (*UP, State.DRAINING, State.STOPPING),
}
"""The steps to each state."""


class OwnedRun:
    """A run, and the number of times that it has cancelled its owner.

    Args:
        at: the state to begin in.
        delay: seconds of the shutdown delay.
        timeout: seconds of the shutdown timeout.
        owns_process: whether the process belongs to the run.
        resources: the resources.
        services: the services.
        timings: the timings of the services.
    """

    def __init__(  # noqa: PLR0913  (a run in one line of a test)
        self,
        at: State = State.ARMED,
        *,
        delay: float = 0.0,
        timeout: float = LONG,
        owns_process: bool = False,
        resources: tuple[Resource, ...] = (),
        services: tuple[SupervisedTask, ...] = (),
        timings: Timings = DEFAULTS,
    ) -> None:
        self.cancelled: int = 0
        self.states = StateMachine()
        self.shutdown = ShutdownController(
            self.states,
            delay=delay,
            timeout=timeout,
            cancel=self._cancel,
            context=contextvars.copy_context(),
            describe_pending=(lambda: "") if owns_process else None,
            timings=timings,
        )
        self.runner = Runner(
            self.states,
            self.shutdown,
            context=contextvars.copy_context(),
            timings=timings,
            components=(resources, services, ()),
        )
        for state in WAYS[at]:
            self.states.transition(state)

    @property
    def phases(self) -> list[str]:
        """Return the phases of the timeline, with their outcomes when they are not done."""
        found = [step for step in self.states.timeline.steps if step.kind == "phase"]
        return [
            step.name if step.outcome == "done" else f"{step.name} {step.outcome}" for step in found
        ]

    async def stop(self) -> list[BaseException]:
        """Stop everything, as a run does, and return the failures."""
        with anyio.CancelScope(shield=True), anyio.fail_after(2 * LONG):
            self.shutdown.begin_stop()
            failures = [*await self.runner.stop_services(), *await self.runner.stop_resources()]
            await self.runner.end()
        self.shutdown.release(exit_may_hang=False)
        return failures

    def _cancel(self, _: float) -> None:
        self.cancelled += 1
