"""Measurements: how each scenario is produced, and what is observed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.comparison import Answer
from benchmarks.environment import child_environment
from benchmarks.processes import START_TIMEOUT, Child, End, free_port
from benchmarks.signals.probes import (
    BackgroundRequest,
    Notifications,
    get,
    last_answer,
    repeated_requests,
    wait_until_served,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.comparison import Subject

KILL_AFTER = 15.0
"""Seconds after which a process is killed, and counts as one that does not end."""

IN_TIME = 10.0
"""Seconds between SIGTERM and SIGKILL in Docker."""

AT_ONCE = 1.0
"""Maximum seconds of an end that counts as immediate."""

_SETTLED = 1.0
_NOTICE_TIMEOUT = 5.0
_ROUTED = 1.0
_OK = 200
_REPORTED = ("cache cannot stop", "queue cannot stop")


class Measurement:
    """One scenario for one subject.

    Args:
        subject: the subject.
        name: the name of the scenario.
    """

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject = subject
        self._name = name
        self.port = free_port()

    def start(self, name: str = "", *, first: bool = False, **variables: str) -> Child:
        """Start the application.

        Args:
            name: the behaviour of the application. Default: the name of the scenario.
            first: whether the process is PID 1. Default False.
            variables: further environment variables.
        """
        own = {
            "SIGNALS_SCENARIO": name or self._name,
            "SIGNALS_PORT": str(self.port),
            # Fixes the mode, so that the machine does not influence it.
            "HIVE_BOOT_MODE": "environment",
        }
        environ = child_environment(**own, **variables)
        return Child(self._subject.arguments(self.port), environ, first=first)


def stop_when_ready(measurement: Measurement) -> Answer:
    """Send SIGTERM to a ready application."""
    with measurement.start() as child:
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        done = stops(child)
        in_order = done == ["stop cache", "stopped cache", "stop database", "stopped database"]
        return Answer(in_order and is_in_time(end), f"{end}, {describe_stops(child)}")


def stop_in_start(measurement: Measurement) -> Answer:
    """Send SIGTERM while a component hangs in its start."""
    with measurement.start() as child:
        child.wait_for("start cache")
        time.sleep(_SETTLED)
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        good = is_in_time(end) and "stopped database" in child.marks
        return Answer(good, f"{end}, {describe_stops(child)}")


def fail_in_start(measurement: Measurement) -> Answer:
    """Start an application whose component fails; observe READY=1 and HTTP answers."""
    with (
        Notifications() as notifications,
        repeated_requests(measurement.port) as asking,
        measurement.start(NOTIFY_SOCKET=notifications.address) as child,
    ):
        child.wait_for("start cache")
        end = child.wait(KILL_AFTER)
        false_reports = []
        if "READY=1" in notifications.received():
            false_reports.append("READY=1 sent")
        if last_answer(asking) is not None:
            false_reports.append("served")
        good = is_error(end) and not false_reports and "stopped database" in child.marks
        return Answer(good, ", ".join([str(end), describe_stops(child), *false_reports]))


def stop_with_trouble(measurement: Measurement) -> Answer:
    """Send SIGTERM to an application whose component hangs in its stop."""
    with measurement.start() as child:
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        named = "cache" in child.output().lower()
        good = is_in_time(end) and named and "stopped database" in child.marks
        culprit = "culprit named" if named else "culprit not named"
        return Answer(good, f"{end}, {describe_stops(child)}, {culprit}")


def interrupt_twice(measurement: Measurement) -> Answer:
    """Send SIGINT, and again while a component hangs in its stop."""
    with measurement.start() as child:
        settle(child)
        child.signal(signal.SIGINT, group=True)
        child.wait_for("stop cache")
        time.sleep(_SETTLED)
        child.signal(signal.SIGINT, group=True)
        end = child.wait(KILL_AFTER)
        return Answer(end.code is not None and end.seconds < AT_ONCE, str(end))


def stop_in_flight(measurement: Measurement) -> Answer:
    """Send SIGTERM during a request, while a client continues to send new requests."""
    with measurement.start() as child:
        wait_until_served(measurement.port, START_TIMEOUT)
        time.sleep(_SETTLED)
        slow = BackgroundRequest(measurement.port, "/slow")
        child.wait_for("request")
        sent = time.monotonic()
        child.signal(signal.SIGTERM)
        with repeated_requests(measurement.port) as asking:
            end = child.wait(KILL_AFTER)
            slow.join()
        last = last_answer(asking)
        window = 0.0 if last is None else max(last - sent, 0.0)
        failed = sum(status != _OK for when, status in asking if when - sent < min(_ROUTED, window))
        answered = slow.status == _OK
        request = "request answered" if answered else "request lost"
        accepts = "no new ones" if last is None else f"new ones for {window:.1f} s"
        if failed:
            accepts += f" ({failed} of them lost)"
        good = answered and window >= _ROUTED and not failed and is_in_time(end)
        return Answer(good, f"{end}, {request}, {accepts}")


def crash_in_the_background(measurement: Measurement) -> Answer:
    """Start an application whose background work crashes while it serves."""
    with measurement.start() as child:
        child.wait_for("work")
        deadline = time.monotonic() + _NOTICE_TIMEOUT
        while child.is_alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if not child.is_alive:
            end = child.wait(KILL_AFTER)
            good = is_error(end) and "stopped database" in child.marks
            return Answer(good, f"exit {end.code}, {describe_stops(child)}")
        answers = get(measurement.port) == _OK
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        state = "continues and answers 200" if answers else "continues and does not answer"
        return Answer(good=False, seen=f"{state}; after SIGTERM: {end}, {describe_stops(child)}")


def fail_twice_in_stop(measurement: Measurement) -> Answer:
    """Send SIGTERM to an application of which two of three components fail in their stop."""
    with measurement.start() as child:
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        output = child.output()
        reported = sum(each in output for each in _REPORTED)
        good = is_in_time(end) and is_error(end) and reported == len(_REPORTED)
        good = good and "stopped database" in child.marks
        return Answer(good, f"{end}, {describe_stops(child)}, {reported} of 2 reported")


def stop_during_work(measurement: Measurement) -> Answer:
    """Send SIGTERM to an application whose background work cleans up in ``finally``."""
    with measurement.start() as child:
        child.wait_for("work")
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        marks = child.marks
        done = "committed" in marks
        before = done and "stop cache" in marks[marks.index("committed") :]
        order = "" if before or not done else ", while the cache stops"
        seen = f"{end}, clean-up {'completed' if done else 'cut'}{order}, {describe_stops(child)}"
        return Answer(before and is_in_time(end), seen)


def start_before_dependency(measurement: Measurement) -> Answer:
    """Start an application whose database refuses connections for 2 s."""
    with measurement.start() as child:
        child.wait_for("start database")
        began = time.monotonic()
        while child.is_alive and "ready" not in child.marks:
            if time.monotonic() > began + KILL_AFTER:
                return Answer(good=False, seen="neither ready nor ended")
            time.sleep(0.05)
        if "ready" in child.marks:
            return Answer(good=True, seen=f"ready after {time.monotonic() - began:.1f} s")
        return Answer(good=False, seen=str(child.wait(KILL_AFTER)))


def stop_during_job(measurement: Measurement) -> Answer:
    """Send SIGTERM during a job."""
    with measurement.start() as child:
        settle(child)
        child.wait_for("job begins")
        sent = child.marks.count("job begins")
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        begun, ended = (child.marks.count(f"job {verb}") for verb in ("begins", "ends"))
        # A job can begin between the count and the signal.
        good = is_in_time(end) and begun == ended and begun <= sent + 1
        seen = f"{end}, {'job completed' if begun == ended else 'job cut'}"
        return Answer(
            good and "stopped database" in child.marks, f"{seen}, {describe_stops(child)}"
        )


def stop_with_children(measurement: Measurement) -> Answer:
    """Send SIGTERM to an application with a process pool, whose component hangs in its stop."""
    with measurement.start() as child:
        try:
            settle(child)
        except TimeoutError:
            if "daemonic processes" not in child.output():
                raise
            return Answer(good=False, seen="a worker is a daemonic process and cannot have any")
        children = child.children()
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        time.sleep(_SETTLED)
        left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
        for pid in left if end.code is not None else ():
            os.kill(pid, signal.SIGKILL)
        seen = f"{len(left)} of {len(children)} processes left"
        return Answer(bool(children) and is_in_time(end) and not left, f"{end}, {seen}")


def stop_at_thread_limit(measurement: Measurement) -> Answer:
    """Send SIGTERM to an application that cannot start a thread."""
    with measurement.start() as child:
        child.wait_for("limited")
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(KILL_AFTER)
        good = is_in_time(end) and not is_error(end) and "stopped database" in child.marks
        return Answer(good, f"{end}, {describe_stops(child)}")


def stop_as_pid_1(measurement: Measurement) -> Answer:
    """Send SIGTERM to PID 1 while the application imports, and while it starts."""
    if os.geteuid() != 0:
        return Answer(good=False, seen="not measured, because it requires root")
    ends = {}
    for name, mark in (("pid-1-importing", "importing"), ("pid-1", "start cache")):
        with measurement.start(name, first=True) as child:
            child.wait_for(mark)
            child.signal(signal.SIGTERM)
            ends[name] = child.wait(KILL_AFTER)
    seen = [
        f"{when}: {'signal lost' if end.code is None else end}"
        for when, end in zip(("importing", "starting"), ends.values(), strict=True)
    ]
    return Answer(all(is_in_time(end) for end in ends.values()), "; ".join(seen))


def settle(child: Child) -> None:
    """Wait until the application is ready, and 1 s more for its runner."""
    child.wait_for("ready")
    time.sleep(_SETTLED)


def is_in_time(end: End) -> bool:
    """Check whether the process ended before Docker would have killed it."""
    return end.code is not None and end.seconds < IN_TIME


def is_error(end: End) -> bool:
    """Check whether the exit status indicates a failure.

    Termination by the signal is not a failure: a clean stop can end in the same way.
    """
    return end.code is not None and end.code > 0


def stops(child: Child) -> list[str]:
    """Return the reported steps of the stop."""
    return [mark for mark in child.marks if mark.startswith("stop")]


def describe_stops(child: Child) -> str:
    """Return a description of the stopped components and their order."""
    marks = child.marks
    started = [mark.removeprefix("stop ") for mark in marks if mark.startswith("stop ")]
    stopped = [mark.removeprefix("stopped ") for mark in marks if mark.startswith("stopped ")]
    if not started:
        return "nothing stopped"
    if not stopped:
        return f"{_listed(started)} began to stop and did not finish"
    if len(stopped) > 1 and marks.index(f"stop {stopped[1]}") > marks.index(
        f"stopped {stopped[0]}"
    ):
        return f"{', then '.join(stopped)} stopped"
    together = " concurrently" if len(stopped) > 1 else ""
    return f"{_listed(stopped)} stopped{together}"


def _listed(names: Sequence[str]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} and {last}" if most else last
