"""How long a platform waits for a stop, as its manifests say.

They are read line by line: what is looked for are a few keys, and a parser of YAML would
be a dependency. What is written in another way (a template, an anchor) is passed over.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Platform = Literal["kubernetes", "docker", "systemd"]

KEYS: dict[Platform, str] = {
    "kubernetes": "terminationGracePeriodSeconds",
    "docker": "stop_grace_period",
    "systemd": "TimeoutStopSec",
}

DEFAULTS: dict[Platform, float] = {"kubernetes": 30.0, "docker": 10.0, "systemd": 90.0}
"""Seconds that a platform waits when nothing is said.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
https://docs.docker.com/reference/cli/docker/container/stop/
systemd-system.conf(5), ``DefaultTimeoutStopSec=``
"""

_ENDINGS = frozenset({".yaml", ".yml", ".json", ".service"})

_COMMENT = re.compile(r"(?:(?<=\s)|^)#.*", re.MULTILINE)
_DOCUMENT = re.compile(r"^---.*$", re.MULTILINE)
_WORKLOAD = re.compile(
    r"""^\s*["']?kind["']?\s*:\s*["']?"""
    r"(?:Pod|Deployment|StatefulSet|DaemonSet|ReplicaSet|Job|CronJob)\b",
    re.MULTILINE,
)
_CONTAINERS = re.compile(r"""^\s*["']?containers["']?\s*:""", re.MULTILINE)
_SERVICES = re.compile(r"^services\s*:\s*$", re.MULTILINE)
_SERVICE = re.compile(r"^([ \t]+)[\"']?[\w.-]+[\"']?\s*:", re.MULTILINE)
_UNIT_SERVICE = re.compile(r"^\[Service\]", re.MULTILINE)
_TIMEOUT = r"(?m)^[ \t]*Timeout(?:Stop)?Sec[ \t]*=([^\n]*)"
_OURS = re.compile(r"hive[-_]boot", re.IGNORECASE)
_INHERITS = re.compile(r"^\s*(?:<<|extends)\s*:", re.MULTILINE)
_BUILT = re.compile(r"^\s*build\s*:", re.MULTILINE)
_PRE_STOP = re.compile(r"""["']?preStop["']?\s*:""")
_SLEEP = re.compile(
    r"""\bsleep["']?\s*:\s*\{?\s*["']?seconds["']?\s*:\s*(\d+)"""
    r"""|\bsleep[\s"',(-]+(\d+(?:\.\d+)?)"""
)

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGER = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "day": "d"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


class Grace(NamedTuple):
    """What one manifest says about a stop.

    Attributes:
        platform: whose manifest it is.
        seconds: how long is waited.
        before: seconds of that which a ``preStop`` takes.
        where: the file and the line.
        said: whether it is written there; else it is the platform's default.
    """

    platform: Platform
    seconds: float
    before: float
    where: str
    said: bool


class _Block(NamedTuple):
    """A part of a file: a document, a service, a unit; and where in the file it begins."""

    at: int
    text: str


def usual_manifests(directory: Path) -> list[Path]:
    """Give the manifests that lie where they usually do."""
    found = [*directory.glob("docker-compose*.y*ml"), *directory.glob("compose*.y*ml")]
    return sorted({*found, *_below(directory / "deploy")})


def named_manifests(paths: Iterable[Path]) -> list[Path]:
    """Give the manifests that were named, and those in directories that were."""
    return [file for path in paths for file in (_below(path) if path.is_dir() else [path])]


def graces(path: Path) -> list[Grace]:
    """Read what a manifest says; nothing when it says nothing about a stop of ours.

    Raises:
        OSError: it cannot be read.
    """
    # As long as before, so that places are right.
    text = _COMMENT.sub(lambda match: " " * len(match[0]), path.read_text("utf-8", "replace"))
    platform: Platform
    if path.suffix == ".service":
        platform, blocks = "systemd", [_Block(0, text)] if _UNIT_SERVICE.search(text) else []
    elif services := _SERVICES.search(text):
        platform, blocks = "docker", _services(text, services.end())
        blocks = _chosen(blocks, _BUILT)
    else:
        platform, blocks = "kubernetes", _documents(text)
    found = [_grace(platform, block, path, text) for block in _chosen(blocks, _OURS)]
    return [grace for grace in found if grace is not None]


def seconds_of(said: str) -> float | None:
    """Give the seconds of a time span: ``20``, ``10s``, ``1m30s``, ``1min 30s``, ``infinity``.

    None when it is none.
    """
    text = said.strip().strip("\"'").strip().lower()
    if text == "infinity":
        return math.inf
    if not text or _SPAN.sub("", text):
        return None
    total = 0.0
    for number, unit in _SPAN.findall(text):
        short = _LONGER.get(unit.removesuffix("s") or unit, unit) or "s"
        if short not in _UNITS:
            return None
        total += float(number) * _UNITS[short]
    return total


def _grace(platform: Platform, block: _Block, path: Path, text: str) -> Grace | None:
    """Give what a block says; None when that cannot be known."""
    key = KEYS[platform]
    pattern = _TIMEOUT if platform == "systemd" else rf"""\b{key}["']?\s*:\s*([^\n,}}]*)"""
    matches = list(re.finditer(pattern, block.text))
    at = block.at + (matches[-1].start() if matches else _first(platform, block))
    where = f"{path}:{text.count(chr(10), 0, at) + 1}"
    before = _pre_stop(block.text) if platform == "kubernetes" else 0.0
    if not matches:
        inherits = platform == "docker" and _INHERITS.search(block.text)
        return None if inherits else Grace(platform, DEFAULTS[platform], before, where, said=False)
    seconds = seconds_of(matches[-1][1])
    if platform == "systemd" and seconds == 0:
        # systemd.service(5): that is no bound.
        seconds = math.inf
    return None if seconds is None else Grace(platform, seconds, before, where, said=True)


def _first(platform: Platform, block: _Block) -> int:
    """Give where in a block the line is that says what it is."""
    pattern = {"kubernetes": _WORKLOAD, "docker": _SERVICE, "systemd": _UNIT_SERVICE}[platform]
    match = pattern.search(block.text)
    return 0 if match is None else match.end()


def _pre_stop(text: str) -> float:
    """Give the longest sleep of a ``preStop``, which counts towards the grace period."""
    longest = 0.0
    for match in _PRE_STOP.finditer(text):
        sleep = _SLEEP.search(_deeper(text, match.start()))
        if sleep is not None:
            longest = max(longest, float(sleep[1] or sleep[2]))
    return longest


def _deeper(text: str, at: int) -> str:
    """Give a line, and those below it that are indented more."""
    begin = text.rfind("\n", 0, at) + 1
    first, *rest = text[begin:].split("\n")
    depth = at - begin
    kept = [first]
    for line in rest:
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        kept.append(line)
    return "\n".join(kept)


def _documents(text: str) -> list[_Block]:
    """Give the documents of a file of Kubernetes that make pods."""
    edges = [0, *(match.end() for match in _DOCUMENT.finditer(text)), len(text)]
    blocks = [_Block(begin, text[begin:end]) for begin, end in pairwise(edges)]
    return [
        block for block in blocks if _WORKLOAD.search(block.text) and _CONTAINERS.search(block.text)
    ]


def _services(text: str, begin: int) -> list[_Block]:
    """Give the services of a Compose file."""
    end = re.compile(r"^\S", re.MULTILINE).search(text, begin)
    part = text[begin : end.start() if end else len(text)]
    first = _SERVICE.search(part)
    if first is None:
        return []
    starts = [match.start() for match in _SERVICE.finditer(part) if match[1] == first[1]]
    edges = [*starts, len(part)]
    return [_Block(begin + at, part[at:stop]) for at, stop in pairwise(edges)]


def _chosen(blocks: list[_Block], pattern: re.Pattern[str]) -> list[_Block]:
    """Give the blocks that show by ``pattern`` that they are ours; all when none does."""
    return [block for block in blocks if pattern.search(block.text)] or blocks


def _below(directory: Path) -> Iterator[Path]:
    files = sorted(directory.rglob("*")) if directory.is_dir() else []
    return (file for file in files if file.suffix in _ENDINGS and file.is_file())
