"""Inotify limits: whether the kernel has instances and watches left to report changes."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hive_boot.cli.doctor_checks.context import Finding
from hive_boot.secrets.vantage import WatchTargets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hive_boot.cli.doctor_checks.context import DoctorContext, Severity

_LIMITS = "/proc/sys/fs/inotify"

_ENOUGH = 4
"""Instances that should be left: a deployment needs two for each process for some time."""

_ALL_EVENTS = 0xFFF
"""<sys/inotify.h>, IN_ALL_EVENTS"""

_SUGGESTED = {"max_user_instances": 1024, "max_user_watches": 524288}

_NOT_FORCED = frozenset({"", "false", "disable", "disabled"})

_POLLED = "so changes are found by reading every file every 2 s"


def watch_limits(context: DoctorContext) -> list[Finding]:
    """Return why a start with ``watch=True`` would poll instead of using inotify."""
    if not context.declarations.watch:
        return []
    if context.host.variable("WATCHFILES_FORCE_POLLING").lower() not in _NOT_FORCED:
        return [
            Finding(
                severity="note",
                kind="watch-polls",
                message=f"WATCHFILES_FORCE_POLLING is set, {_POLLED}",
                names=("WATCHFILES_FORCE_POLLING",),
                locations=("the environment",),
                fix="unset it",
            )
        ]
    if not context.host.exists(_LIMITS):
        return []
    limits = {
        name: context.read_system_file(f"{_LIMITS}/{name}").strip() or "unknown"
        for name in ("max_user_instances", "max_user_watches")
    }
    view = WatchTargets(context.load_result.field_index, context.sources).snapshot()
    return try_to_watch(view.targets.keys(), limits)


def try_to_watch(targets: Collection[str], limits: Mapping[str, str]) -> list[Finding]:
    """Create an inotify instance and a watch on each target, and close all of it again.

    Args:
        targets: directories and files.
        limits: the kernel's limits, by the name of their file.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with _instances(libc) as available:
        first = next(available, None)
        if first is None:
            return [_no_instance(limits["max_user_instances"])]
        for target in sorted(targets):
            if libc.inotify_add_watch(first, os.fsencode(target), _ALL_EVENTS) < 0:
                return [_no_watch(target, ctypes.get_errno(), limits["max_user_watches"])]
        more = sum(1 for _ in zip(range(_ENOUGH), available, strict=False))
    if more < _ENOUGH:
        return [_few_instances(more + 1, limits["max_user_instances"])]
    return []


@contextmanager
def _instances(libc: ctypes.CDLL) -> Iterator[Iterator[int]]:
    """Return an iterator that creates inotify instances, and close them all at the end."""
    created: list[int] = []

    def create() -> Iterator[int]:
        while (instance := libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)) >= 0:
            created.append(instance)
            yield instance

    try:
        yield create()
    finally:
        for instance in created:
            os.close(instance)


def _no_instance(limit: str) -> Finding:
    # The error is the same when the process has no file descriptor left.
    with suppress(OSError):
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        message = f"no inotify instance is left for this user, {_POLLED}"
        return _limit_finding("warning", "watch-impossible", message, "max_user_instances", limit)
    return Finding(
        severity="warning",
        kind="watch-impossible",
        message=f"no file descriptor is left for inotify, {_POLLED}",
        names=("RLIMIT_NOFILE",),
        locations=("the limits of this process",),
        fix="`ulimit -n 1024` (LimitNOFILE=, or ulimits: nofile: in Compose)",
    )


def _few_instances(left: int, limit: str) -> Finding:
    message = f"only {left} inotify instances are left for this user: the next processes will poll"
    return _limit_finding("note", "watch-nearly-impossible", message, "max_user_instances", limit)


def _no_watch(target: str, code: int, limit: str) -> Finding:
    if code == errno.ENOSPC:
        message = f"no inotify watch is left for this user, {_POLLED}"
        return _limit_finding("warning", "watch-impossible", message, "max_user_watches", limit)
    return Finding(
        severity="warning",
        kind="watch-impossible",
        message=f"a location cannot be watched ({os.strerror(code).lower()}), {_POLLED}",
        locations=(target,),
        fix="let the user of the service list the directory",
    )


def _limit_finding(severity: Severity, kind: str, problem: str, name: str, limit: str) -> Finding:
    """Return the finding for a limit that all containers of a user share."""
    setting = f"fs.inotify.{name}"
    return Finding(
        severity=severity,
        kind=kind,
        message=f"{problem} ({setting} is {limit}, for all containers of this user together)",
        names=(setting,),
        locations=(f"{_LIMITS}/{name}",),
        fix=f"on the host: `sysctl -w {setting}={_SUGGESTED[name]}` (and in /etc/sysctl.d)",
    )
