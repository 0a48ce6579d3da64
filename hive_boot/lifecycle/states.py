"""States of a run: the table of transitions, the timeline, and sd_notify messages to systemd."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from hive_boot._records import Record
from hive_boot.exceptions import IllegalTransitionError
from hive_boot.redaction.registry import redact_safely

if TYPE_CHECKING:
    from collections.abc import Mapping


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


Kind = Literal["phase", "check", "resource", "service", "stop"]
"""Kind of a step: a phase of the run, a check, the start of a resource, a service, a stop."""


StepOutcome = Literal["waiting", "running", "done", "failed", "overdue", "cancelled"]
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


_MOST = 200
"""Number of service runs in the timeline: a failing service is restarted during the whole run."""


class Timeline:
    """Steps of one run, in the order in which they began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps: dict[int, TimelineEntry] = {}
        self._services: deque[int] = deque()
        self._next = 0

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
        """Record the begin of a step.

        Args:
            name: the name of the step.
            kind: its kind.
            waits_for: the resources that it waits for first. Default None: it does not wait.

        Returns:
            The number of the step.
        """
        number = self._next
        self._next += 1
        outcome: StepOutcome = "running" if waits_for is None else "waiting"
        entry = TimelineEntry(name, kind, self.elapsed, None, outcome, waits_for or ())
        self._steps[number] = entry
        if kind == "service":
            self._services.append(number)
            if len(self._services) > _MOST:
                del self._steps[self._services.popleft()]
        return number

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

    No method raises or blocks. Without ``NOTIFY_SOCKET``, and in a forked child, all methods do
    nothing: systemd would take a message of the child for one of its parent.

    Args:
        environ: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read from it, once;
            it is not changed. Default: ``os.environ``. The socket is a path, or an abstract name
            that begins with ``@``; other addresses (``vsock:``) are ignored.

    Attributes:
        interval: seconds between two watchdog messages: half of ``WATCHDOG_USEC``, as
            sd_watchdog_enabled(3) recommends. None when the watchdog is off or meant for
            another process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._pid = os.getpid()
        self._address = _address(_variable(environ, "NOTIFY_SOCKET"))
        self.interval: float | None = None
        is_ours = _variable(environ, "WATCHDOG_PID") in {"", str(self._pid)}
        if self._address is not None and is_ours:
            self.interval = _interval(_variable(environ, "WATCHDOG_USEC"))

    @property
    def is_on(self) -> bool:
        """Whether the socket is set, and this is the process that created the notifier."""
        return self._address is not None and os.getpid() == self._pid

    def ready(self, status: str = "") -> None:
        """Send ``READY=1``: the service has started, or has finished a reload.

        Args:
            status: the new status line. Default: the status is not changed.
        """
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Send ``RELOADING=1``: a reload begins; ``ready`` must follow in every case.

        The time must be in the same datagram: systemd.service(5), ``notify-reload``.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, status: str = "") -> None:
        """Send ``STOPPING=1``: the service stops.

        Args:
            status: the new status line. Default: the status is not changed.
        """
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """Send the status line that ``systemctl status`` shows.

        Args:
            text: the status; it is redacted, joined to one line and shortened.
        """
        self._send("", text)

    def watchdog(self) -> None:
        """Send ``WATCHDOG=1``: the event loop runs."""
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        if not self.is_on:
            return
        import socket  # noqa: PLC0415  (only under systemd)

        if status or not state:
            state = f"{state}\nSTATUS={_line(status)}".lstrip()
        with (
            suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
        ):
            client.settimeout(0)
            client.sendto(state.encode(errors="replace"), self._address or "")


def _variable(environ: Mapping[str, str] | None, name: str) -> str:
    """Return the text of a variable; empty when it is not set."""
    # Not through a local variable: a traceback with locals would show all of os.environ.
    return (os.environ if environ is None else environ).get(name, "")


def _address(name: str) -> str | None:
    """Return the address of the socket; an abstract name begins with a zero byte."""
    if len(name) < 2:  # noqa: PLR2004  (``/`` or ``@`` alone is not a name)
        return None
    if name[0] == "@":
        return f"\0{name[1:]}"
    return name if name[0] == "/" else None


def _interval(microseconds: str) -> float | None:
    """Return half of the watchdog timeout, in seconds; None when it is off or invalid."""
    with suppress(ValueError):
        allowed = int(microseconds)
        if 0 < allowed < _FOREVER:
            return allowed / 2_000_000
    return None


def _line(text: str) -> str:
    """Return a text as one redacted line, without characters that systemd rejects."""
    printable = "".join(each if each.isprintable() else " " for each in redact_safely(text))
    return " ".join(printable.split())[:_MAX_STATUS_LENGTH]


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
        if state is State.RELOADING:
            self.notifier.reloading()
        elif state is State.READY:
            self.started = True
            self.notifier.ready("Ready")
        elif state is State.DRAINING or (state is State.STOPPING and not self.started):
            self.notifier.stopping(state.capitalize())
        else:
            self.notifier.status(state.capitalize())

    def transition_silently(self, state: State) -> None:
        """Enter a state; nothing is recorded or sent.

        Raises:
            IllegalTransitionError: the table does not allow this step.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(self.state, f"enter {state}")
        self.state = state
