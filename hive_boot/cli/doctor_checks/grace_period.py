"""Grace period check: the time until SIGKILL, compared with the longest possible shutdown.

Manifests are searched for a few keys with regular expressions, without a YAML parser. A value
that is not a time span, such as a template or an anchor, is skipped.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli import os_error_text
from hive_boot.cli.doctor_checks import DoctorContext, Finding
from hive_boot.manifests import shutdown_steps
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hive_boot.runtime.declarations import AppDeclaration

_ROUNDED_TO = 5
"""Seconds. A suggested grace period is a multiple of it."""

_PLATFORMS: dict[str, tuple[str, str, float]] = {
    "kubernetes": ("terminationGracePeriodSeconds", ": {}", 30.0),
    "docker": ("stop_grace_period", ": {}s", 10.0),
    "systemd": ("TimeoutStopSec", "={}", 90.0),
}
"""The setting of each platform, the rest of its line, and the seconds without a setting.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
https://docs.docker.com/reference/cli/docker/container/stop/
systemd-system.conf(5), ``DefaultTimeoutStopSec=``
"""

_ENDINGS = frozenset({".yaml", ".yml", ".json", ".service"})

_COMMENT = re.compile(r"(?:(?<=\s)|^)#.*", re.MULTILINE)
_DOCUMENT = re.compile(r"^---.*$", re.MULTILINE)
_WORKLOAD = re.compile(
    r"""^[ \t]*["']?kind["']?[ \t]*:[ \t]*["']?"""
    r"(?:Pod|Deployment|StatefulSet|DaemonSet|ReplicaSet|Job|CronJob)\b",
    re.MULTILINE,
)
_CONTAINERS = re.compile(r"""^[ \t]*["']?containers["']?[ \t]*:""", re.MULTILINE)
_SERVICES = re.compile(r"^services[ \t]*:[ \t]*$", re.MULTILINE)
_SERVICE = re.compile(r"^([ \t]+)[\"']?[\w.-]+[\"']?[ \t]*:", re.MULTILINE)
_UNIT_SERVICE = re.compile(r"^\[Service\]", re.MULTILINE)
_HEADERS = {"kubernetes": _WORKLOAD, "docker": _SERVICE, "systemd": _UNIT_SERVICE}
"""The line that a finding without a setting refers to."""

_TIMEOUT = r"(?m)^[ \t]*Timeout(?:Stop)?Sec[ \t]*=([^\n]*)"
_USES_HIVE_BOOT = re.compile(r"hive[-_]boot", re.IGNORECASE)
_INHERITS = re.compile(r"^[ \t]*(?:<<|extends)[ \t]*:", re.MULTILINE)
_IS_BUILT = re.compile(r"^[ \t]*build[ \t]*:", re.MULTILINE)
_PRE_STOP = re.compile(r"""^(.*?)["']?preStop["']?\s*:""", re.MULTILINE)
_SLEEP = re.compile(
    r"""\bsleep["']?\s*:\s*(?:\{\s*)?["']?seconds["']?\s*:\s*(\d{1,9})"""
    r"""|\bsleep[\s"',(-]+(\d{1,9}(?:\.\d+)?)"""
)

_UNITS = {"us": 1e-6, "ms": 1e-3}
_UNITS |= dict.fromkeys(("", "s", "sec", "second"), 1.0)
_UNITS |= dict.fromkeys(("m", "min", "minute"), 60.0)
_UNITS |= dict.fromkeys(("h", "hr", "hour"), 3600.0)
_UNITS |= dict.fromkeys(("d", "day"), 86400.0) | {"w": 604800.0}
_TIME_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class GracePeriod:
    """The time that a platform waits between the request to stop and SIGKILL.

    Attributes:
        platform: the platform.
        seconds: the grace period.
        pre_stop: seconds of the grace period that a ``preStop`` hook uses.
        location: the file and the line; empty without a manifest.
        explicit: whether a manifest sets it; otherwise it is the default of the platform.
    """

    platform: str
    seconds: float
    pre_stop: float = 0.0
    location: str = ""
    explicit: bool = False


_Block = tuple[int, str]
"""A part of a file (a document, a service or a unit): its offset in the file, and its text."""


def short_grace_period(context: DoctorContext) -> Iterator[Finding]:
    """Yield a finding for each grace period that is shorter than the longest shutdown.

    Without manifests, the default of the platform that the mode implies is compared.
    """
    found: list[GracePeriod] = []
    for path in context.manifests:
        try:
            found += grace_periods(path)
        except OSError as exc:
            yield Finding(
                severity="note",
                kind="manifest-unreadable",
                message=f"a manifest was not compared with the shutdown: {os_error_text(exc)}",
                locations=(str(path),),
            )
    mode = context.sources.mode
    if not context.manifests and mode in _PLATFORMS:
        found = [GracePeriod(platform=mode, seconds=_PLATFORMS[mode][2])]
    yield from filter(None, (_short_grace_period(each, context.declarations) for each in found))


def _short_grace_period(grace: GracePeriod, declared: AppDeclaration) -> Finding | None:
    terms = {"preStop": grace.pre_stop}
    terms |= shutdown_steps(declared, kubernetes=grace.platform == "kubernetes")
    needed = sum(terms.values())
    if grace.seconds >= needed:
        return None
    total = " + ".join(f"{name} {seconds:g}" for name, seconds in terms.items() if seconds)
    suggested = math.ceil(needed / _ROUNDED_TO) * _ROUNDED_TO
    shorter = "grace_period" if "grace_period" in terms else "shutdown_delay"
    default = "" if grace.explicit else f", the default of {grace.platform}"
    key, value, _ = _PLATFORMS[grace.platform]
    return Finding(
        kind="grace-period",
        message=f"a shutdown can take {needed:g} s ({total}), but the process is killed after "
        f"{grace.seconds:g} s{default}",
        names=(key,),
        locations=(grace.location,) if grace.location else (),
        fix=f"{key}{value.format(suggested)}, or a shorter shutdown_timeout= or {shorter}=",
    )


def find_manifests(directory: Path) -> list[Path]:
    """Return the manifests below ``deploy``, and the Compose files in ``directory``."""
    names = ("docker-compose*.y*ml", "compose*.y*ml", "deploy")
    return sorted({*expand_manifests(path for name in names for path in directory.glob(name))})


def expand_manifests(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the manifests below the given directories."""
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # Path.is_dir() can raise
            # Unlike Path.rglob() and Path.is_file(), os.walk() ignores what it may not enter.
            below = [Path(parent, name) for parent, _, names in os.walk(path) for name in names]
            found += sorted(file for file in below if file.suffix in _ENDINGS)
        else:
            found.append(path)
    return found


def grace_periods(path: Path) -> list[GracePeriod]:
    """Return the grace periods in a manifest: one per workload, Compose service or unit.

    If some of them mention hive_boot, only these count. Of Compose services, those with
    ``build:`` are preferred in the same way.

    Raises:
        OSError: the file cannot be read.
    """
    text = read_regular_file(path).decode("utf-8", "replace").replace("\r\n", "\n")
    # Comments are replaced by spaces, so that the offsets do not change.
    text = _COMMENT.sub(lambda match: " " * len(match[0]), text)
    if path.suffix == ".service":
        platform, blocks = "systemd", [(0, text)]
        blocks = blocks if _UNIT_SERVICE.search(text) else []
    elif services := _SERVICES.search(text):
        platform, blocks = "docker", _compose_services(text, services.end())
        blocks = _preferred(blocks, _IS_BUILT)
    else:
        platform, blocks = "kubernetes", _workload_documents(text)
    line_ends = [match.start() for match in re.finditer("\n", text)]
    blocks = _preferred(blocks, _USES_HIVE_BOOT)
    found = [_grace_period(platform, block, path, line_ends) for block in blocks]
    return [grace for grace in found if grace is not None]


def parse_time_span(text: str) -> float | None:
    """Return the seconds of a time span, or None if the text is not a time span.

    Args:
        text: ``20``, ``10s``, ``1m30s``, ``1min 30s``, ``infinity``.
    """
    text = text.strip().strip("\"'").strip().lower()
    if text == "infinity":
        return math.inf
    if not text or _TIME_SPAN.sub("", text):
        return None
    total = 0.0
    for number, unit in _TIME_SPAN.findall(text):
        seconds = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
        if seconds is None:
            return None
        total += float(number) * seconds
    return total


def _grace_period(
    platform: str, block: _Block, path: Path, line_ends: Sequence[int]
) -> GracePeriod | None:
    """Return the grace period of a block, or None if its value is not known.

    The value is not known if it is a template or an anchor, or if a Compose service may
    inherit it from another one.
    """
    key, _, default = _PLATFORMS[platform]
    pattern = _TIMEOUT if platform == "systemd" else rf"""\b{key}["']?\s*:\s*([^\n,}}]*)"""
    begin, text = block
    matches = list(re.finditer(pattern, text))
    header = _HEADERS[platform].search(text)
    offset = begin + (matches[-1].start() if matches else header.end() if header else 0)
    location = f"{path}:{bisect_left(line_ends, offset) + 1}"
    pre_stop = _pre_stop_seconds(text) if platform == "kubernetes" else 0.0
    if not matches and platform == "docker" and _INHERITS.search(text):
        return None
    seconds = parse_time_span(matches[-1][1]) if matches else default
    if platform == "systemd" and seconds == 0:
        # systemd.service(5): 0 means no limit.
        seconds = math.inf
    if seconds is None:
        return None
    return GracePeriod(
        platform=platform,
        seconds=seconds,
        pre_stop=pre_stop,
        location=location,
        explicit=bool(matches),
    )


def _pre_stop_seconds(text: str) -> float:
    """Return the longest sleep of a ``preStop`` hook; the grace period includes the hook."""
    hooks = list(_PRE_STOP.finditer(text))
    longest = 0.0
    for hook, next_hook in zip_longest(hooks, hooks[1:]):
        # The hook ends before a line that is not indented more. No text is searched twice.
        limit = next_hook.start() if next_hook else len(text)
        less = re.compile(rf"\n[ \t]{{0,{len(hook[1])}}}[^\s]").search(text, hook.end(), limit)
        sleep = _SLEEP.search(text, hook.end(), less.start() if less else limit)
        if sleep is not None:
            longest = max(longest, float(sleep[1] or sleep[2]))
    return longest


def _workload_documents(text: str) -> list[_Block]:
    """Return the documents of a Kubernetes file that create pods."""
    edges = [0, *(match.end() for match in _DOCUMENT.finditer(text)), len(text)]
    blocks = [(begin, text[begin:end]) for begin, end in pairwise(edges)]
    return [each for each in blocks if _WORKLOAD.search(each[1]) and _CONTAINERS.search(each[1])]


def _compose_services(text: str, begin: int) -> list[_Block]:
    """Return the services of a Compose file."""
    end = re.compile(r"^\S", re.MULTILINE).search(text, begin)
    part = text[begin : end.start() if end else len(text)]
    first = _SERVICE.search(part)
    if first is None:
        return []
    starts = [match.start() for match in _SERVICE.finditer(part) if match[1] == first[1]]
    edges = [*starts, len(part)]
    return [(begin + start, part[start:stop]) for start, stop in pairwise(edges)]


def _preferred(blocks: list[_Block], pattern: re.Pattern[str]) -> list[_Block]:
    """Return the blocks that match ``pattern``, or all blocks if none matches."""
    return [block for block in blocks if pattern.search(block[1])] or blocks
