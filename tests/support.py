"""Helpers of many tests: a fixed clock, a simulated machine, child processes."""

import codecs
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from traceback import TracebackException
from types import ModuleType
from typing import Any

import anyio
import pytest

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret
from hive_boot.exceptions import InvalidSecretsError, ProblemsError
from hive_boot.runtime.log_messages import note_text
from hive_boot.secrets.fields import FieldIndex
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceContext, SourceOptions, detect
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.secrets.sources.files import FileBatch, SourceHit
from tests.fixtures.package import OURS

ROOT = Path(__file__).parent.parent

SETTLED = ReadPolicy(wall=lambda: time.time() + 3600, missing_timeout=0.2, quiet_interval=0.01)
"""Read policy whose wall clock is one hour ahead, so that new files count as settled."""


class FakeClock:
    """A clock that advances only in ``sleep``, which can also call a function each time."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now
        self.slept: list[float] = []
        self.steps: list[object] = []

    def policy(self) -> ReadPolicy:
        """Return a read policy that uses this clock as wall clock and as monotonic clock."""
        return ReadPolicy(wall=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        """Advance the clock, and call the next function of ``steps``."""
        self.slept.append(seconds)
        self.now += seconds
        if self.steps:
            step = self.steps.pop(0)
            if callable(step):
                step()


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child: that of this process and ``variables``.

    A child has no terminal, so ``APP_ENV`` selects the profile of development mode.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    defaults = {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "APP_ENV": "development"}
    return {**os.environ, **defaults, **variables}


def run_child(
    source: str, *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``source`` in a child process, and wait for its end."""
    return run_python("-c", source, *arguments, cwd=cwd, seconds=60, **variables)


def run_python(
    *arguments: str, cwd: Path | None = ROOT, seconds: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run an interpreter with arguments, and wait for its end, at most ``seconds``."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=child_environment(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds,
        check=False,
    )


_UNUSED_PLUGINS = "asyncio benchmark cacheprovider dynamic_config faker hypothesispytest xdist"

FEW_PLUGINS = [text for name in _UNUSED_PLUGINS.split() for text in ("-p", f"no:{name}")]
"""Arguments of a pytest in a child process: plugins of this environment that its tests do not use.

Their imports take longer than its tests.
"""

TERMINAL = "stdin is a terminal"
"""Evidence of a developer on a simulated machine."""


class Inventory(SecretSet):
    """The eight secrets of the HIVE service."""

    openai_api_key: Secret = secret(used_by="semantic-memory, agents")
    hive_api_key: Secret | None = secret(used_by="auth middleware", required_in="production")
    jwt_secret: Secret | None = secret(used_by="user-auth", required_in="production")
    stripe_secret_key: Secret | None = secret(used_by="billing")
    stripe_webhook_secret: Secret | None = secret(used_by="billing webhooks")
    langsmith_api_key: Secret | None = secret(used_by="tracing")
    sentry_dsn: Secret | None = secret(used_by="error monitoring")
    github_token: Secret | None = secret(used_by="GitHub integrations")


def situate(  # noqa: PLR0913  (all that detection depends on)
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    pid: int = 4711,
    terminal: str = TERMINAL,
    system: str = "linux",
    declared: FieldIndex | None = None,
    **source_options: Any,  # noqa: ANN401  (the arguments of SourceOptions)
) -> SourceContext:
    """Detect mode and profile on a simulated machine with the root directory ``root``."""
    host = HostEnvironment(
        environ=dict(environ or {}),
        root=str(root),
        cwd=str(root / "cwd"),
        pid=pid,
        terminal=terminal,
        system=system,
    )
    return detect(host, SourceOptions(**source_options), declared)


def look(
    declared: type[SecretSet],
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    policy: ReadPolicy = SETTLED,
    **source_options: Any,  # noqa: ANN401  (the arguments of SourceOptions)
) -> LoadResult:
    """Load a declaration on a simulated machine with the root directory ``root``."""
    field_index = declared._field_index
    source_context = situate(root, environ, declared=field_index, **source_options)
    return load(field_index, source_context, declaration=declared.__name__, policy=policy)


def values_of(loaded: LoadResult) -> dict[str, str | bytes]:
    """Return the plain values of a load, by attribute."""
    return {attribute: value.reveal() for attribute, value in loaded.values.items()}


def report_of(loaded: LoadResult) -> str:
    """Return the report of a failed load."""
    sentences = [note_text(note) for note in loaded.report_notes]
    return InvalidSecretsError(loaded.problems, general_hints=sentences).report()


def move_to(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make starts use ``machine`` as the root directory, with files that count as settled."""
    simulated = partial(HostEnvironment, root=str(machine), pid=4711, terminal=TERMINAL)
    for module in ("hive_boot.runtime.load_pipeline", "hive_boot.secrets.global_access"):
        monkeypatch.setattr(f"{module}.HostEnvironment", simulated)
    for module in ("hive_boot.runtime.load_pipeline", "hive_boot.secrets.loader"):
        monkeypatch.setattr(f"{module}.load", partial(load, policy=SETTLED))


async def failed_start(boot: Bootstrap[Any, Any]) -> ProblemsError:
    """Start an application that cannot start, and return the error."""
    with pytest.raises(ProblemsError) as caught:
        async with boot.running():
            pass
    return caught.value


def everything_told(exc: BaseException) -> str:
    """Return what an error tracker sends: texts, and the local variables of hive_boot's frames."""
    texts = [str(exc), repr(exc), repr(exc.args)]
    todo = [TracebackException.from_exception(exc, capture_locals=True)]
    while todo:
        part = todo.pop()
        texts += part.format_exception_only()
        for frame in part.stack:
            if frame.filename.startswith(OURS):
                texts.append(f"{frame.name}: {frame.locals}")
        todo += filter(None, [part.__cause__, part.__context__, *(part.exceptions or ())])
    return "\n".join(texts)


@contextmanager
def started_child(
    source: str, *arguments: str, cwd: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Start ``source`` in a child process; it is killed after 60 s, and at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", source, *arguments],
        env=child_environment(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        guard = Timer(60, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


@contextmanager
def as_ordinary_user() -> Iterator[Path]:
    """Run the block without root privileges, and yield a new directory."""
    root = os.geteuid() == 0
    for encoding in ("utf-8-sig", "unicode-escape"):
        # Python caches that a codec is unknown when this user cannot read its module.
        codecs.lookup(encoding)
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        if root:
            os.seteuid(65534)
        try:
            yield directory
        finally:
            if root:
                os.seteuid(0)


LINKS = (
    "__closure__",
    "__code__",
    "__defaults__",
    "__dict__",
    "__func__",
    "__globals__",
    "__kwdefaults__",
    "__self__",
    "cell_contents",
    "co_consts",
)
"""Attributes through which a debugger reaches other objects."""


def texts_within_reach(start: object) -> str:
    """Return every text that is reachable through attributes and items, without any call.

    This is what the variable view of a debugger can show. Modules, their namespaces and classes
    are excluded, because they lead to the whole program.
    """
    found: list[str] = []
    todo = [start]
    seen: dict[int, object] = {}
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, ModuleType | type):
            continue
        if isinstance(value, dict) and "__spec__" in value:
            continue
        seen[id(value)] = value
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, bytes | bytearray):
            found.append(value.decode("latin-1"))
        elif isinstance(value, dict):
            todo += value
            todo += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            todo += value
        elif not isinstance(value, int | float | None):
            slots = [
                name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())
            ]
            links = [name for name in LINKS if hasattr(type(value), name)]
            todo += [getattr(value, name, None) for name in (*links, *slots)]
    return "\n".join(found)


def descriptors() -> set[str]:
    """Return the open file descriptors of this process, each with its target."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{entry.name} {entry.readlink()}")
    return found


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition in the event loop; fail the test after ``seconds``."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  (the condition has no event)
            await anyio.sleep(0.005)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition outside an event loop; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {seconds} s"
        time.sleep(0.005)


@contextmanager
def tmpfs(path: Path) -> Iterator[None]:
    """Mount an empty file system over a directory during the block; this requires root."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", bytes(path), b"tmpfs", ctypes.c_ulong(0), None) == 0
    try:
        yield
    finally:
        detach = 2  # MNT_DETACH, <sys/mount.h>
        assert libc.umount2(bytes(path), detach) == 0


def good_values(batch: FileBatch) -> dict[str, Secret | SecretBytes]:
    """Return the value of each field with exactly one file and no problem."""
    found = [(name, hits[0].result) for name, hits in batch.hits.items() if len(hits) == 1]
    return {name: value for name, value in found if isinstance(value, Secret | SecretBytes)}


def other_hits(batch: FileBatch) -> dict[str, tuple[SourceHit, ...]]:
    """Return the results of the files of all other fields."""
    good = good_values(batch)
    return {name: hits for name, hits in batch.hits.items() if name not in good}
