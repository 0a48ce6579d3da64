"""What several tests need: a settled clock, a machine, a child process."""

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

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceContext, SourceOptions, detect
from hive_boot.secrets.sources.directories import ReadPolicy

ROOT = Path(__file__).parent.parent

SETTLED = ReadPolicy(wall=lambda: time.time() + 3600)
"""An hour from now by the wall clock: a file just written is one that nobody touches."""


class FakeClock:
    """A clock that moves only when somebody sleeps; a step can be done at each sleep."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now
        self.slept: list[float] = []
        self.steps: list[object] = []

    def policy(self) -> ReadPolicy:
        """Give the patience that runs by this clock, both wall and monotonic."""
        return ReadPolicy(wall=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        """Move on, and do what was planned for this moment."""
        self.slept.append(seconds)
        self.now += seconds
        if self.steps:
            step = self.steps.pop(0)
            if callable(step):
                step()


def child_environment(**variables: str) -> dict[str, str]:
    """Give the environment of a child: ours, which is bare, with ``variables`` in it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **variables}


def run_child(
    source: str, *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``source`` as a program of its own, and wait for it to end."""
    return subprocess.run(
        [sys.executable, "-c", source, *arguments],
        env=child_environment(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


class Inventory(SecretSet):
    """The eight secrets of the service that hive_boot grew from."""

    openai_api_key: Secret = secret(used_by="semantic-memory, agents")
    hive_api_key: Secret | None = secret(used_by="auth middleware", required_in="production")
    jwt_secret: Secret | None = secret(used_by="user-auth", required_in="production")
    stripe_secret_key: Secret | None = secret(used_by="billing")
    stripe_webhook_secret: Secret | None = secret(used_by="billing webhooks")
    langsmith_api_key: Secret | None = secret(used_by="tracing")
    sentry_dsn: Secret | None = secret(used_by="error monitoring")
    github_token: Secret | None = secret(used_by="GitHub integrations")


def situate(
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    pid: int = 4711,
    **source_options: Any,  # noqa: ANN401  (what SourceOptions takes)
) -> SourceContext:
    """Decide mode and profile on a machine whose file system begins at ``root``."""
    surroundings = HostEnvironment(
        environ=dict(environ or {}), root=str(root), cwd=str(root / "cwd"), pid=pid
    )
    return detect(surroundings, SourceOptions(**source_options))


def look(
    declared: type[SecretSet],
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    policy: ReadPolicy = SETTLED,
    **source_options: Any,  # noqa: ANN401  (what SourceOptions takes)
) -> LoadResult:
    """Load a declaration on a machine whose file system begins at ``root``."""
    source_context = situate(root, environ, **source_options)
    field_index = declared._field_index  # noqa: SLF001  (as a start does)
    return load(field_index, source_context, declaration=declared.__name__, policy=policy)


def values_of(loaded: LoadResult) -> dict[str, str | bytes]:
    """Give the plain values that a load found, by attribute."""
    return {attribute: value.reveal() for attribute, value in loaded.values.items()}


def report_of(loaded: LoadResult) -> str:
    """Give the report of a load that went wrong."""
    return InvalidSecretsError(loaded.problems, general_hints=loaded.general_hints).report()


def move_to(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let starts see a file system that begins at ``machine``, in files that nobody touches."""
    elsewhere = partial(HostEnvironment, root=str(machine), pid=4711)
    for room in ("hive_boot.runtime.load_pipeline", "hive_boot.secrets.global_access"):
        monkeypatch.setattr(f"{room}.HostEnvironment", elsewhere)
        monkeypatch.setattr(f"{room}.load", partial(load, policy=SETTLED))


async def failed_start(boot: Bootstrap[Any, Any]) -> InvalidSecretsError:
    """Start an application that cannot start, and give the error."""
    with pytest.raises(InvalidSecretsError) as caught:
        async with boot.running():
            pass
    return caught.value


def everything_told(exc: BaseException) -> str:
    """Give all that an error tracker sends: texts, and the variables of our own frames."""
    told = [str(exc), repr(exc), repr(exc.args)]
    todo = [TracebackException.from_exception(exc, capture_locals=True)]
    while todo:
        part = todo.pop()
        told += part.format_exception_only()
        for frame in part.stack:
            if f"{os.sep}hive_boot{os.sep}" in frame.filename:
                told.append(f"{frame.name}: {frame.locals}")
        todo += filter(None, [part.__cause__, part.__context__, *(part.exceptions or ())])
    return "\n".join(told)


@contextmanager
def started_child(
    source: str, *arguments: str, cwd: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Start ``source`` as a program of its own; it is killed when it hangs, and at the end."""
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
    """Be somebody whom permissions bind, also when root runs the tests, in a new directory."""
    root = os.geteuid() == 0
    for encoding in ("utf-8-sig", "unicode-escape"):
        # Python caches that a codec is unknown when this user cannot read its module.
        codecs.lookup(encoding)
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        if root:
            os.seteuid(65534)
        try:
            yield place
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
"""Attributes by which one thing leads to another."""


def texts_within_reach(start: object) -> str:
    """Give every text that attributes and items lead to; nothing is called on the way.

    It is what a debugger's pane shows to who clicks on everything. Modules, their
    namespaces and classes, which lead to the whole program, are left out.
    """
    found: list[str] = []
    todo = [start]
    seen: dict[int, object] = {}
    while todo:
        it = todo.pop()
        if id(it) in seen or isinstance(it, ModuleType | type):
            continue
        if isinstance(it, dict) and "__spec__" in it:
            continue
        seen[id(it)] = it
        if isinstance(it, str):
            found.append(it)
        elif isinstance(it, bytes | bytearray):
            found.append(it.decode("latin-1"))
        elif isinstance(it, dict):
            todo += it
            todo += it.values()
        elif isinstance(it, list | tuple | set | frozenset):
            todo += it
        elif not isinstance(it, int | float | None):
            slots = [name for kind in type(it).__mro__ for name in vars(kind).get("__slots__", ())]
            links = [name for name in LINKS if hasattr(type(it), name)]
            todo += [getattr(it, name, None) for name in (*links, *slots)]
    return "\n".join(found)


def descriptors() -> set[str]:
    """Name the file descriptors that this process holds, by what they lead to."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{entry.name} {entry.readlink()}")
    return found


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition, in the loop; after so many seconds the test has failed."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
            await anyio.sleep(0.005)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition, outside a loop; after so many seconds the test has failed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition did not come true"
        time.sleep(0.005)


@contextmanager
def tmpfs(path: Path) -> Iterator[None]:
    """Have an empty file system mounted over a directory; root alone may do so."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", bytes(path), b"tmpfs", ctypes.c_ulong(0), None) == 0
    try:
        yield
    finally:
        detach = 2  # MNT_DETACH, <sys/mount.h>
        assert libc.umount2(bytes(path), detach) == 0
