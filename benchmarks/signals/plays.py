"""How each moment is brought about, and what is seen of it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.signals.children import TO_START, Child, End
from benchmarks.signals.probes import (
    Asking,
    AskingOnce,
    Notifications,
    free_port,
    get,
    wait_until_served,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.signals.subjects import Subject

PATIENCE = 15.0
"""Seconds after which a process is killed, and said not to end."""

IN_TIME = 10.0
"""Seconds between SIGTERM and SIGKILL in Docker."""

AT_ONCE = 1.0
"""Seconds in which a person at a terminal calls it at once."""

_SETTLED = 1.0
_TO_NOTICE = 5.0
_ROUTED = 1.0
_OK = 200
_REPORTED = ("cache cannot stop", "queue cannot stop")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scenario has to say of a subject.

    Attributes:
        good: whether the answer to its question is yes.
        seen: what was seen.
    """

    good: bool
    seen: str

    def __str__(self) -> str:
        """Say it."""
        return f"{'yes' if self.good else 'no'}: {self.seen}"


class Scene:
    """One subject at one moment.

    Args:
        subject: who is measured.
        name: the scenario.
    """

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject = subject
        self._name = name
        self.port = free_port()

    def start(self, name: str = "", *, first: bool = False, **variables: str) -> Child:
        """Start the application.

        Args:
            name: what the application is to do. Default: what the scenario is called.
            first: as PID 1. Default False.
            variables: what it finds in its environment besides.
        """
        root = str(Path(__file__).parent.parent.parent)
        paths = [root, os.environ.get("PYTHONPATH", "")]
        environ = {
            **{name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "SIGNALS_SCENARIO": name or self._name,
            "SIGNALS_PORT": str(self.port),
            # Where secrets come from is of no interest here.
            "HIVE_BOOT_MODE": "environment",
            **variables,
        }
        return Child(self._subject.arguments(self.port), environ, first=first)


def stop_when_ready(scene: Scene) -> Answer:
    """SIGTERM while nothing else is going on."""
    with scene.start() as child:
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(PATIENCE)
        done = stops(child)
        in_order = done == ["stop cache", "stopped cache", "stop database", "stopped database"]
        return Answer(in_order and is_in_time(end), f"{end}, {told(child)}")


def stop_in_start(scene: Scene) -> Answer:
    """SIGTERM while a component hangs in its start."""
    with scene.start() as child:
        child.wait_for("start cache")
        time.sleep(_SETTLED)
        child.signal(signal.SIGTERM)
        end = child.wait(PATIENCE)
        good = is_in_time(end) and "stopped database" in child.marks
        return Answer(good, f"{end}, {told(child)}")


def fail_in_start(scene: Scene) -> Answer:
    """A component fails in its start, while systemd listens and a client asks."""
    with (
        Notifications() as notifications,
        Asking(scene.port) as asking,
        scene.start(NOTIFY_SOCKET=notifications.address) as child,
    ):
        child.wait_for("start cache")
        end = child.wait(PATIENCE)
        lied = []
        if "READY=1" in notifications.received():
            lied.append("READY=1 sent")
        if asking.last_answer() is not None:
            lied.append("served")
        good = is_error(end) and not lied and "stopped database" in child.marks
        return Answer(good, ", ".join([str(end), told(child), *lied]))


def stop_with_trouble(scene: Scene) -> Answer:
    """SIGTERM, and a component hangs in its stop."""
    with scene.start() as child:
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(PATIENCE)
        named = "cache" in child.said().lower()
        good = is_in_time(end) and named and "stopped database" in child.marks
        culprit = "culprit named" if named else "culprit not named"
        return Answer(good, f"{end}, {told(child)}, {culprit}")


def interrupt_twice(scene: Scene) -> Answer:
    """Ctrl-C, and again while a component hangs in its stop."""
    with scene.start() as child:
        settle(child)
        child.signal(signal.SIGINT, group=True)
        child.wait_for("stop cache")
        time.sleep(_SETTLED)
        child.signal(signal.SIGINT, group=True)
        end = child.wait(PATIENCE)
        return Answer(end.code is not None and end.seconds < AT_ONCE, str(end))


def stop_in_flight(scene: Scene) -> Answer:
    """SIGTERM while a request is being answered, and clients who do not know of it yet."""
    with scene.start() as child:
        wait_until_served(scene.port, TO_START)
        time.sleep(_SETTLED)
        slow = AskingOnce(scene.port, "/slow")
        child.wait_for("request")
        sent = time.monotonic()
        child.signal(signal.SIGTERM)
        with Asking(scene.port) as asking:
            end = child.wait(PATIENCE)
            slow.join()
        last = asking.last_answer()
        window = 0.0 if last is None else max(last - sent, 0.0)
        failed = sum(
            status != _OK for when, status in asking.answers if when - sent < min(_ROUTED, window)
        )
        kept = slow.status == _OK
        request = "request answered" if kept else "request lost"
        accepts = "no new ones" if last is None else f"new ones for {window:.1f} s"
        if failed:
            accepts += f" ({failed} of them lost)"
        good = kept and window >= _ROUTED and not failed and is_in_time(end)
        return Answer(good, f"{end}, {request}, {accepts}")


def crash_in_the_background(scene: Scene) -> Answer:
    """Background work crashes while the application serves."""
    with scene.start() as child:
        child.wait_for("work")
        deadline = time.monotonic() + _TO_NOTICE
        while child.is_alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if not child.is_alive:
            end = child.wait(PATIENCE)
            good = is_error(end) and "stopped database" in child.marks
            return Answer(good, f"exit {end.code}, {told(child)}")
        answers = get(scene.port) == _OK
        child.signal(signal.SIGTERM)
        end = child.wait(PATIENCE)
        goes_on = "goes on, and answers 200" if answers else "goes on, and answers nothing"
        return Answer(good=False, seen=f"{goes_on}; after SIGTERM: {end}, {told(child)}")


def fail_twice_in_stop(scene: Scene) -> Answer:
    """SIGTERM, and two of three components fail in their stop."""
    with scene.start() as child:
        settle(child)
        child.signal(signal.SIGTERM)
        end = child.wait(PATIENCE)
        said = child.said()
        reported = sum(each in said for each in _REPORTED)
        good = is_in_time(end) and is_error(end) and reported == len(_REPORTED)
        good = good and "stopped database" in child.marks
        return Answer(good, f"{end}, {told(child)}, {reported} of 2 reported")


def stop_as_pid_1(scene: Scene) -> Answer:
    """SIGTERM as PID 1, while the application imports and while it starts."""
    if os.geteuid() != 0:
        return Answer(good=False, seen="not measured, because it takes the rights of root")
    ends = {}
    for name, mark in (("pid-1-importing", "importing"), ("pid-1", "start cache")):
        with scene.start(name, first=True) as child:
            child.wait_for(mark)
            child.signal(signal.SIGTERM)
            ends[name] = child.wait(PATIENCE)
    seen = [
        f"{when}: {'signal lost' if end.code is None else end}"
        for when, end in zip(("importing", "starting"), ends.values(), strict=True)
    ]
    return Answer(all(is_in_time(end) for end in ends.values()), "; ".join(seen))


def settle(child: Child) -> None:
    """Wait until the application is ready, and whoever runs it has found its feet."""
    child.wait_for("ready")
    time.sleep(_SETTLED)


def is_in_time(end: End) -> bool:
    """Tell whether Docker would have seen the end without killing."""
    return end.code is not None and end.seconds < IN_TIME


def is_error(end: End) -> bool:
    """Tell whether the exit status says that something went wrong.

    To end by the signal that was sent is no error; a clean stop may look the same.
    """
    return end.code is not None and end.code > 0


def stops(child: Child) -> list[str]:
    """Give what the application has done to stop."""
    return [mark for mark in child.marks if mark.startswith("stop")]


def told(child: Child) -> str:
    """Say what was stopped, and in which order."""
    marks = child.marks
    begun = [mark.removeprefix("stop ") for mark in marks if mark.startswith("stop ")]
    stopped = [mark.removeprefix("stopped ") for mark in marks if mark.startswith("stopped ")]
    if not begun:
        return "nothing stopped"
    if not stopped:
        return f"{_listed(begun)} began to stop, and none came to the end of it"
    if len(stopped) > 1 and marks.index(f"stop {stopped[1]}") > marks.index(
        f"stopped {stopped[0]}"
    ):
        return f"{', then '.join(stopped)} stopped"
    together = " side by side" if len(stopped) > 1 else ""
    return f"{_listed(stopped)} stopped{together}"


def _listed(names: Sequence[str]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} and {last}" if most else last
