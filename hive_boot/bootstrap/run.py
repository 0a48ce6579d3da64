"""One run of an application, from ARMED to STOPPED."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot.bootstrap import logs
from hive_boot.bootstrap.checking import await_check, await_checks, give_up
from hive_boot.bootstrap.configuring import make_config
from hive_boot.exceptions import InvalidSecrets
from hive_boot.lifecycle.states import Machine, State
from hive_boot.lifecycle.waking import in_daemon_thread
from hive_boot.secrets import access
from hive_boot.secrets.loading import Loaded, load
from hive_boot.secrets.mode import Situation, Surroundings, Wishes, detect
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.store import SecretStatus, Store, make_set
from hive_boot.secrets.validation import Pending, call_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from hive_boot.exceptions import Problem
    from hive_boot.secrets.sources.reading import Value

S = TypeVar("S", bound=SecretSet)
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What may be known about an application; never a value.

    Attributes:
        state: where the run stands.
        ready: whether it serves.
        mode: which sources are asked; empty before that is decided.
        mode_reason: why.
        profile: how strict the declaration is read; empty before.
        profile_reason: why.
        generation: the number of the accepted set in use; 0 before the first.
        secrets: every declared secret; empty before the first accepted set.
    """

    state: State = State.ARMED
    ready: bool = False
    mode: str = ""
    mode_reason: str = ""
    profile: str = ""
    profile_reason: str = ""
    generation: int = 0
    secrets: tuple[SecretStatus, ...] = ()


class Run(Generic[S, C]):
    """What one start makes, and its stop unmakes.

    Args:
        declared: the declaration.
        factory: what makes the settings.
        wishes: what the author decided about mode, profile and places.
        start_timeout: seconds that checks may take in all.
    """

    config: C

    def __init__(
        self,
        declared: type[S],
        factory: Callable[..., C] | None,
        wishes: Wishes,
        start_timeout: float,
    ) -> None:
        self.store = Store(declared)
        self._factory = factory
        self._wishes = wishes
        self._seconds = start_timeout
        self._machine = Machine()
        self._situation: Situation | None = None
        self._log: AbstractContextManager[None] = logs.audible()

    async def start(self) -> None:
        """Load, judge, and put into use.

        Raises:
            InvalidSecrets: something is wrong; all of it is in the report.
        """
        self._log.__enter__()
        self._machine.to(State.LOADING)
        deadline = time.monotonic() + self._seconds
        situation, loaded = await self._load(deadline)
        self._machine.to(State.STARTING)
        self.store.accept(loaded)
        access.register(self.store, situation)
        self._machine.to(State.READY)

    def stop(self) -> None:
        """Take everything out of use. It is called however far the start came."""
        if self._machine.state in {State.STARTING, State.READY}:
            self._machine.to(State.STOPPING)
        access.unregister(self.store)
        self._machine.to(State.STOPPED)
        self._log.__exit__(None, None, None)

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self._machine.state is State.READY

    def status(self) -> Status:
        """Describe the run at this moment."""
        situation = self._situation
        if situation is None:
            return Status(state=self._machine.state)
        accepted = "_generation" in self.store.view.__dict__
        return Status(
            state=self._machine.state,
            ready=self.ready,
            mode=situation.mode,
            mode_reason=situation.mode_reason,
            profile=situation.profile,
            profile_reason=situation.profile_reason,
            generation=self.store.generation.number if accepted else 0,
            secrets=self.store.status(situation.profile) if accepted else (),
        )

    async def _load(self, deadline: float) -> tuple[Situation, Loaded]:
        situation, loaded, pending = await in_daemon_thread(
            lambda: self._load_without_loop(deadline),
            "hive_boot load",
            discard=lambda late: give_up(late[2]),
        )
        logs.tell_loaded(loaded)
        left = deadline - time.monotonic()
        loaded.problems += await await_checks(pending, left, self._seconds)
        values = list(loaded.values.values())
        self.config, problems = make_config(self._factory, values)
        loaded.problems += problems
        if not loaded.problems:
            loaded.problems += await self._check_set(loaded, values, deadline)
        if loaded.problems:
            raise self._invalid(loaded.problems, loaded.advice)
        return situation, loaded

    def _load_without_loop(self, deadline: float) -> tuple[Situation, Loaded, list[Pending]]:
        """Do what needs no loop, in a thread: it may wait for a writer."""
        try:
            situation = self._situation = detect(Surroundings(), self._wishes)
        except InvalidSecrets as exc:
            raise self._invalid(exc.problems, ()) from None
        logs.tell_situation(situation)
        declared = self.store.declared
        inventory = declared._inventory  # noqa: SLF001  (the declaration is ours to read)
        loaded = load(inventory, situation, declaration=declared.__name__)
        found = [
            (field, loaded.values[field.attribute])
            for field in inventory.every
            if field.check is not None and field.attribute in loaded.values
        ]
        problems, pending = call_checks(
            found, left=deadline - time.monotonic(), seconds=self._seconds
        )
        loaded.problems += problems
        return situation, loaded, pending

    async def _check_set(
        self, loaded: Loaded, values: Sequence[Value], deadline: float
    ) -> list[Problem]:
        declared = self.store.declared
        check: Any = getattr(make_set(declared, loaded.values), "check", None)
        if check is None:
            return []
        left = deadline - time.monotonic()
        fault = await await_check(
            declared.__name__, check(), values, left=left, seconds=self._seconds
        )
        return [fault] if fault else []

    def _invalid(self, problems: Sequence[Problem], advice: Sequence[str]) -> InvalidSecrets:
        facts = []
        if situation := self._situation:
            facts.append(("mode", f"{situation.mode} ({situation.mode_reason})"))
            facts.append(("profile", f"{situation.profile} ({situation.profile_reason})"))
        return InvalidSecrets(
            problems, declaration=self.store.declared.__name__, facts=facts, advice=advice
        )
