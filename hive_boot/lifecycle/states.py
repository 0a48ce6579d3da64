"""States of a run: the table of transitions, the timeline, and sd_notify messages to systemd."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias

from hive_boot._records import Record
from hive_boot.exceptions import IllegalTransitionError
from hive_boot.redaction.registry import redact_safely

if TYPE_CHECKING:
    from collections.abc import Iterator


class State(StrEnum):
    """State of a run."""

    ARMED = "armed"
    LOADING = "loading"
    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FORCED = "forced"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.ARMED: frozenset({State.LOADING, State.STOPPED, State.FORCED}),
    State.LOADING: frozenset({State.STARTING, State.STOPPED, State.FORCED}),
    State.STARTING: frozenset({State.READY, State.STOPPING, State.FORCED}),
    State.READY: frozenset({State.RELOADING, State.DRAINING, State.FORCED}),
    State.RELOADING: frozenset({State.READY, State.DRAINING, State.FORCED}),
    State.DRAINING: frozenset({State.STOPPING, State.FORCED}),
    State.STOPPING: frozenset({State.STOPPED, State.FORCED}),
    State.STOPPED: frozenset({State.FORCED}),
    State.FORCED: frozenset(),
}
"""The states that may follow each state."""


SERVING = frozenset({State.READY, State.RELOADING})
"""The states in which the application is in use."""


Kind: TypeAlias = 'Literal["phase", "check", "resource", "service", "main", "stop"]'
"""Kind of a step: a phase of the run, a check, the start of a resource, a service, main, a stop."""


StepOutcome: TypeAlias = 'Literal["waiting", "running", "done", "failed", "overdue", "cancelled"]'
"""Outcome of a step; the last four are final."""


class TimelineEntry(Record):
    """One step of a run.

    Attributes:
        name: a state, the name of a resource, or the label of a check.
        kind: the kind of the step.
        start: the begin, in seconds since the run began; of a step that waits: of the waiting.
        end: the end, in the same seconds; None until then.
        outcome: the outcome until now.
        waits_for: the resources that the step waits, or has waited, for.
    """

    name: str
    kind: Kind
    start: float
    end: float | None = None
    outcome: StepOutcome = "running"
    waits_for: tuple[str, ...] = ()


_MAX_REPEATED_STEPS = 200
"""Number of service runs, and of checks, in the timeline: both repeat during the whole run."""


class Timeline:
    """Steps of one run, in the order in which they began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps: dict[int, TimelineEntry] = {}
        self._numbers = count()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def steps(self) -> tuple[TimelineEntry, ...]:
        """All steps until now."""
        return tuple(self._steps.values())

    def step(self, number: int) -> TimelineEntry:
        """Return one step."""
        return self._steps[number]

    def begin(self, name: str, kind: Kind, waits_for: tuple[str, ...] | None = None) -> int:
        """Record the beginning of a step.

        Args:
            name: the name of the step.
            kind: its kind.
            waits_for: the resources that it waits for first. Default None: it does not wait.

        Returns:
            The number of the step.
        """
        number = next(self._numbers)
        outcome: StepOutcome = "running" if waits_for is None else "waiting"
        entry = TimelineEntry(name, kind, self.elapsed, None, outcome, waits_for or ())
        self._steps[number] = entry
        repeated = [each for each, step in self._steps.items() if step.kind == kind]
        if kind in {"service", "check"} and len(repeated) > _MAX_REPEATED_STEPS:
            del self._steps[repeated[0]]
        return number

    @contextmanager
    def record(self, name: str, kind: Kind) -> Iterator[None]:
        """Record a step that begins and ends with the block."""
        number = self.begin(name, kind)
        outcome: StepOutcome = "cancelled"
        try:
            yield
            outcome = "done"
        except Exception:
            outcome = "failed"
            raise
        finally:
            self.end(number, outcome)

    def forget(self, *numbers: int) -> None:
        """Remove the steps of an instance that a rebuild has replaced, if they exist."""
        for number in numbers:
            self._steps.pop(number, None)

    def resume(self, number: int) -> None:
        """Record that a step which was waiting begins now."""
        self._steps[number] = self._steps[number].replace(outcome="running", start=self.elapsed)

    def end(self, number: int, outcome: StepOutcome = "done") -> None:
        """Record the end of a step; a second end changes nothing."""
        step = self._steps.get(number)
        if step is not None and step.end is None:
            self._steps[number] = step.replace(end=self.elapsed, outcome=outcome)


_MAX_STATUS_LENGTH = 512
"""Maximum characters of a status; systemd accepts datagrams of up to 4096 bytes."""

_FOREVER = 2**64 - 1
"""systemd's USEC_INFINITY: no watchdog timeout."""


class SystemdNotifier:
    """Sends the state of a service to systemd, or to another owner of ``NOTIFY_SOCKET``.

    No method raises or blocks. Without ``NOTIFY_SOCKET``, and in a forked child, nothing is sent:
    systemd would take a message of the child for one of its parent. The socket is a path, or an
    abstract name that begins with ``@``; other addresses (``vsock:``) are ignored.

    Attributes:
        interval: seconds between two watchdog messages: half of ``WATCHDOG_USEC``, as
            sd_watchdog_enabled(3) recommends. None when the watchdog is off or meant for
            another process.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        name = os.environ.get("NOTIFY_SOCKET", "")
        # ``/`` or ``@`` alone is not a name; an abstract name begins with a zero byte.
        self._address = name.replace("@", "\0", 1) if name[1:] and name[0] in "/@" else ""
        self.interval: float | None = None
        if self._address and os.environ.get("WATCHDOG_PID", "") in {"", str(self._pid)}:
            with suppress(ValueError):
                allowed = int(os.environ.get("WATCHDOG_USEC", ""))
                self.interval = allowed / 2_000_000 if 0 < allowed < _FOREVER else None

    def send(self, state: str, status: str = "") -> None:
        """Send one message; it is lost when it cannot be sent at once.

        Args:
            state: the lines before the status, such as ``READY=1``. May be empty.
            status: the status line that ``systemctl status`` shows; it is redacted, joined to one
                line and shortened. Default: the status is not changed.
        """
        if not self._address or os.getpid() != self._pid:
            return
        import socket  # only under systemd

        if status:
            # systemd rejects other characters.
            shown = "".join(each if each.isprintable() else " " for each in redact_safely(status))
            line = " ".join(shown.split())[:_MAX_STATUS_LENGTH]
            state = f"{state}\nSTATUS={line}".lstrip()
        with (
            suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
        ):
            client.settimeout(0)
            client.sendto(state.encode(errors="replace"), self._address)


class StateMachine:
    """State of one run: each step is recorded in the timeline and sent to systemd.

    Attributes:
        state: the current state.
        started: whether the run has been ready.
        timeline: every step of the run.
        notifier: the messages to systemd.
    """

    def __init__(self) -> None:
        self.state: State = State.ARMED
        self.started: bool = False
        self.timeline: Timeline = Timeline()
        self.notifier: SystemdNotifier = SystemdNotifier()
        self._phase = self.timeline.begin(State.ARMED, "phase")

    def transition(self, state: State) -> None:
        """Enter a state, record it, and send it to systemd.

        Raises:
            IllegalTransitionError: the table does not allow this step.
        """
        before = self.state
        self.transition_silently(state)
        # A reload belongs to the phase READY.
        if State.RELOADING not in {before, state} or state is State.DRAINING:
            self.timeline.end(self._phase)
            self._phase = self.timeline.begin(state, "phase")
            if state is State.STOPPED:
                self.timeline.end(self._phase)
        message = ""
        if state is State.RELOADING:
            # The time must be in the same datagram: systemd.service(5), ``notify-reload``.
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            message = f"RELOADING=1\nMONOTONIC_USEC={now}"
        elif state is State.READY:
            self.started = True
            message = "READY=1"
        elif state is State.DRAINING or (state is State.STOPPING and not self.started):
            message = "STOPPING=1"
        self.notifier.send(message, state.capitalize())

    def transition_silently(self, state: State) -> None:
        """Enter a state; nothing is recorded or sent.

        Raises:
            IllegalTransitionError: the table does not allow this step.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(self.state, f"enter {state}")
        self.state = state
