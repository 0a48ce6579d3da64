"""Keep the secrets of a run fresh: load, judge, swap, tell; one at a time.

Whatever goes wrong before the swap leaves the set in use as it is, and is said once.
Hints that come meanwhile are taken together: what counts is what the next read finds.
"""

from __future__ import annotations

import contextvars
import math
import time
from copy import copy
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from hive_boot._backoff import Backoff
from hive_boot.bootstrap import logs
from hive_boot.bootstrap.lookout import Lookout
from hive_boot.bootstrap.tally import Tally
from hive_boot.exceptions import InvalidSecrets, LifecycleError
from hive_boot.lifecycle.hosting import Host
from hive_boot.lifecycle.states import State
from hive_boot.lifecycle.waking import loop_waker
from hive_boot.secrets.rotation import RETRIED, Rejection, reject
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.intake import Intake
    from hive_boot.bootstrap.notifying import Notifier
    from hive_boot.bootstrap.rereading import Reread, Rereading
    from hive_boot.bootstrap.wiring import Given
    from hive_boot.secrets.change import Change
    from hive_boot.secrets.store import Store

S = TypeVar("S", bound=SecretSet)

_judging: contextvars.ContextVar[object] = contextvars.ContextVar("hive_boot_judging", default=None)
"""Whether a check is running: the task that would reload waits for it."""


class _Request:
    """Somebody waits for what a reload comes to."""

    def __init__(self, *, now: bool) -> None:
        self.now = now
        self.done = anyio.Event()
        self.change: Change | None = None
        self.failure: Exception | None = LifecycleError("the application stops")


class Rotating(Generic[S]):
    """The rotations of one run.

    Args:
        store: the secrets in use.
        intake: judges.
        rereading: reads.
        notifier: tells the hooks.
        given: gives what a check may ask for, with the set that it judges.
        enter: takes the run to RELOADING and back to READY.
        context: the variables that checks and hooks see.
        timings: when what failed is tried again, and how the watch waits.

    Attributes:
        rejection: the set that was refused last, while it stands.
        last_read: when the sources were read again last and all was well, on the wall
            clock; 0 before.
        lookout: what looks for changes.
        tally: what became of the rotations.
    """

    def __init__(  # noqa: PLR0913  (the parts of a run that a rotation touches)
        self,
        store: Store[S],
        intake: Intake[S],
        rereading: Rereading[S],
        notifier: Notifier,
        *,
        given: Callable[[S], Given],
        enter: Callable[[State], None],
        context: contextvars.Context,
        timings: Timings,
    ) -> None:
        self._store = store
        self._intake = intake
        self._rereading = rereading
        self.notifier = notifier
        self._given = given
        self._enter = enter
        self._host = Host(self._live, "hive_boot rotation", context, timings)
        self._soon = loop_waker()
        self._news = anyio.Event()
        self._accepted = anyio.Event()
        self._wanted = False
        self._judgement: object = None
        self._requests: list[_Request] = []
        self._backoff = Backoff(timings.reload_retry_delay, timings.max_reload_retry_delay)
        self._retry_at = math.inf
        self._ended = False
        self.rejection: Rejection | None = None
        self.last_read = 0.0
        self.tally = Tally()
        self.lookout = Lookout(self.hint, timings)

    @property
    def has_failed(self) -> bool:
        """Whether a failure of our own has ended it."""
        return self._host.has_ended and not self._ended

    def start(self) -> None:
        """Rotate from now on. A second call does nothing."""
        self._host.start()

    async def stop(self) -> None:
        """Rotate no more, and leave nothing behind."""
        self._ended = True
        self.lookout.end()
        await self._host.stop()
        await self.lookout.join()

    def leave(self) -> None:
        """Leave the rotations of another process alone."""
        self._host.leave()

    def hint(self) -> None:
        """Say, in any thread or signal handler, that something may have changed.

        Raises:
            RuntimeError: the loop is gone.
        """
        self._soon(self._want)

    async def reload(self, *, now: bool) -> Change | None:
        """Read at once, and give what has changed in the values in use.

        Raises:
            InvalidSecrets: what was read is refused.
            LifecycleError: nothing is read any more.
        """
        if self._judgement is not None and _judging.get() is self._judgement:
            message = "a check cannot reload: it is asked whether what was read may be used"
            raise LifecycleError(message)
        if self._host.has_ended:
            message = "secrets are not rotated any more: the log says why"
            raise LifecycleError(message)
        request = _Request(now=now)
        self._requests.append(request)
        self._news.set()
        await request.done.wait()
        if request.failure is not None:
            raise request.failure
        return request.change

    async def _live(self) -> None:
        """Rotate whenever there is reason to, until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.notifier.live)
                group.start_soon(self._keep_time)
                while True:
                    self._news = anyio.Event()
                    if self._is_wanted():
                        await self._rotate()
                    self.lookout.glance()
                    with anyio.move_on_after(self._pause()):
                        await self._news.wait()
        finally:
            for request in self._requests:
                request.done.set()

    async def _keep_time(self) -> None:
        """Use what is due and forget what is over, however long a read or a check takes."""
        while True:
            self._accepted = anyio.Event()
            self._promote(self._store.advance())
            with anyio.move_on_after(max(0.0, self._store.next_due - time.monotonic())):
                await self._accepted.wait()

    def _want(self) -> None:
        self._wanted = True
        self._news.set()

    def _is_wanted(self) -> bool:
        return self._wanted or bool(self._requests) or self._retry_at <= time.monotonic()

    def _pause(self) -> float:
        """Give the seconds until there is something to do of itself."""
        if self._is_wanted():
            return 0.0
        return max(0.0, min(self._retry_at, self.lookout.due) - time.monotonic())

    async def _rotate(self) -> None:
        """Read once, and do what it asks for."""
        requests = list(self._requests)
        retried = self._retry_at <= time.monotonic()
        self._wanted = False
        started = time.perf_counter()
        now = any(request.now for request in requests)
        change, failure = None, None
        try:
            read = await self._rereading.read()
            if not (read.findings.problems or read.changed):
                self._confirm()
                change = self._hurry() if now else None
            elif read.findings.problems or not read.again or retried or requests:
                change = await self._replace(read, started, now=now)
        except InvalidSecrets as exc:
            failure = exc
        except Exception as exc:  # noqa: BLE001  (whatever it is, the last good set stays)
            logs.tell_broken(exc)
            nothing = self._rereading.nothing(f"failed with {type(exc).__name__}")
            failure = self._refuse(nothing, started)
        for request in requests:
            self._requests.remove(request)
            # Each has its own, or they would share a traceback.
            request.change, request.failure = change, copy(failure)
            request.done.set()

    async def _replace(self, read: Reread, started: float, *, now: bool) -> Change | None:
        """Judge what was read, and use it.

        Raises:
            InvalidSecrets: it is refused.
        """
        self._enter(State.RELOADING)
        try:
            if not read.findings.problems:
                await self._judge(read)
            if read.findings.problems:
                raise self._refuse(read, started)
            return self._accept(read, started, now=now)
        finally:
            self._enter(State.READY)

    async def _judge(self, read: Reread) -> None:
        """Run the checks that the change concerns, and note what they refuse."""
        self._judgement = object()
        _judging.set(self._judgement)
        try:
            await self._run_checks(read)
        finally:
            self._judgement = None

    async def _run_checks(self, read: Reread) -> None:
        deadline = self._intake.deadline()
        await self._intake.judge_fields(read.findings, read.changed, deadline)
        await self._intake.judge_set(read.findings, deadline)
        await self._intake.judge_outside(read.findings, self._given, deadline, read.changed)

    def _accept(self, read: Reread, started: float, *, now: bool) -> Change | None:
        store, findings = self._store, read.findings
        change = store.accept(findings, now=now)
        self._accepted.set()
        self.last_read = time.time()
        self._heal()
        fields = [findings.inventory.by_attribute[each] for each in read.changed]
        waiting = {
            field.name: due for field in fields if (due := store.due(field.attribute)) is not None
        }
        seconds = time.perf_counter() - started
        names = [field.name for field in fields]
        logs.tell_rotation(names, store.generation.number, seconds, waiting)
        self.tally.note("accepted", store.generation.number, names, seconds)
        self._intake.tell_warnings(findings)
        if change is not None:
            self.notifier.tell(change)
        return change

    def _hurry(self) -> Change | None:
        """Use at once what was accepted before."""
        change = self._promote(self._store.advance(now=True))
        self._accepted.set()
        return change

    def _promote(self, change: Change | None) -> Change | None:
        """Say that what had been accepted before has come into use."""
        if change is not None:
            names = logs.tell_in_use(change, self._store.declared)
            self.tally.note("in-use", change.generation, names)
            self.notifier.tell(change)
        return change

    def _confirm(self) -> None:
        """Note that the sources hold what is accepted."""
        self.last_read = time.time()
        if self.rejection is not None:
            logs.tell_healed(self._store.generation.number)
        self._heal()

    def _heal(self) -> None:
        self.rejection = self._rereading.refused = None
        self._backoff.reset()
        self._retry_at = math.inf

    def _refuse(self, read: Reread, started: float) -> InvalidSecrets:
        """Keep the set in use; say why once, and try again what may pass by itself."""
        number = self._store.generation.number
        problems = read.findings.problems
        rejection, known = reject(problems, number + 1), self.rejection
        is_new = known is None or rejection[:3] != known[:3]
        if is_new:
            self.rejection = rejection
            seconds = time.perf_counter() - started
            logs.tell_refusal(problems, number, seconds)
            self.tally.note("refused", number + 1, rejection.names, seconds)
        kinds = {problem.kind for problem in problems}
        judged = kinds == {"check"}
        if is_new or (judged and not read.again):
            self._backoff.reset()
        # Only checks can come to another verdict on the same values.
        self._rereading.refused = read.findings if judged else None
        self._retry_at = math.inf
        if kinds & RETRIED:
            self._retry_at = time.monotonic() + self._backoff.next_delay()
        return self._intake.invalid(problems, read.findings.advice, kept=True)
