"""Whether the kernel can tell of changes here."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom
from hive_boot.secrets.vantage import Vantage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hive_boot.cli.examinations.patient import Patient

_LIMITS = "/proc/sys/fs/inotify"

_FEW = 4
"""Instances that should be left: a deployment needs two for each process for a while."""

_ALL_EVENTS = 0xFFF
"""<sys/inotify.h>, IN_ALL_EVENTS"""

_NOT_FORCED = frozenset({"", "false", "disable", "disabled"})

_POLLED = "so changes are looked for every 2 s, and every file is read for it"


def watch_impossible(patient: Patient) -> list[Symptom]:
    """Try whether the kernel tells of changes, as a start with ``watch=True`` will."""
    if not patient.plan.watch:
        return []
    if patient.surroundings.variable("WATCHFILES_FORCE_POLLING").lower() not in _NOT_FORCED:
        text = f"WATCHFILES_FORCE_POLLING is set, {_POLLED}"
        return [Symptom("remark", "watch-polls", text, "the environment", "unset it")]
    if not patient.surroundings.exists(_LIMITS):
        return []
    limits = {
        name: patient.system_text(f"{_LIMITS}/{name}").strip() or "unknown"
        for name in ("max_user_instances", "max_user_watches")
    }
    view = Vantage(patient.findings.inventory, patient.situation).look()
    return try_to_watch(view.places.keys(), limits)


def try_to_watch(places: Collection[str], limits: dict[str, str]) -> list[Symptom]:
    """Take an instance of inotify and a watch on each place, and give all of it back.

    Args:
        places: directories and files.
        limits: what the kernel allows, by name, to be told.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with _instances(libc) as left:
        first = next(left, None)
        if first is None:
            return [_no_instance(limits["max_user_instances"])]
        for place in sorted(places):
            if libc.inotify_add_watch(first, os.fsencode(place), _ALL_EVENTS) < 0:
                return [_no_watch(place, ctypes.get_errno(), limits["max_user_watches"])]
        more = sum(1 for _ in zip(range(_FEW), left, strict=False))
    if more < _FEW:
        return [_few_instances(more + 1, limits["max_user_instances"])]
    return []


@contextmanager
def _instances(libc: ctypes.CDLL) -> Iterator[Iterator[int]]:
    """Give instances of inotify, as long as there are any; all are closed at the end."""
    held: list[int] = []

    def take() -> Iterator[int]:
        while (instance := libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)) >= 0:
            held.append(instance)
            yield instance

    try:
        yield take()
    finally:
        for instance in held:
            os.close(instance)


def _no_instance(limit: str) -> Symptom:
    # The same error comes when the process has no descriptor left.
    with suppress(OSError):
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return Symptom(
            "warning",
            "watch-impossible",
            f"no inotify instance is left for this user, {_POLLED}",
            f"{_LIMITS}/max_user_instances is {limit}, for all containers of this user together",
            "on the host: sysctl -w fs.inotify.max_user_instances=1024 (and in /etc/sysctl.d)",
        )
    return Symptom(
        "warning",
        "watch-impossible",
        f"no file descriptor is left for inotify, {_POLLED}",
        "the limits of this process",
        "ulimit -n 1024 (LimitNOFILE=, or ulimits: nofile: in Compose)",
    )


def _few_instances(left: int, limit: str) -> Symptom:
    return Symptom(
        "remark",
        "watch-nearly-impossible",
        f"only {left} inotify instances are left for this user: the next processes will poll",
        f"{_LIMITS}/max_user_instances is {limit}, for all containers of this user together",
        "on the host: sysctl -w fs.inotify.max_user_instances=1024 (and in /etc/sysctl.d)",
    )


def _no_watch(place: str, code: int, limit: str) -> Symptom:
    if code == errno.ENOSPC:
        return Symptom(
            "warning",
            "watch-impossible",
            f"no inotify watch is left for this user, {_POLLED}",
            f"{_LIMITS}/max_user_watches is {limit}, for all containers of this user together",
            "on the host: sysctl -w fs.inotify.max_user_watches=524288 (and in /etc/sysctl.d)",
        )
    return Symptom(
        "warning",
        "watch-impossible",
        f"a place cannot be watched ({os.strerror(code).lower()}), {_POLLED}",
        place,
        "let the user of the service list the directory",
    )
