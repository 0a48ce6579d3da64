"""What may be known about an application, for people and for probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hive_boot.lifecycle.states import State
from hive_boot.secrets.status import SecretStatus, describe

if TYPE_CHECKING:
    from hive_boot.bootstrap.run import Run


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


def status_of(run: Run[Any, Any]) -> Status:
    """Describe a run at this moment."""
    situation = run.situation
    if situation is None:
        return Status(state=run.state)
    accepted = run.store.is_filled
    return Status(
        state=run.state,
        ready=run.ready,
        mode=situation.mode,
        mode_reason=situation.mode_reason,
        profile=situation.profile,
        profile_reason=situation.profile_reason,
        generation=run.store.generation.number if accepted else 0,
        secrets=describe(run.store, situation.profile) if accepted else (),
    )
