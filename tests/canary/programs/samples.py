"""Sampler of every variable of hive_boot's frames, at every step of a start and of two reloads.

It runs once for each way to provide values. The first values are in the directory ``1`` below
``NEXT``, the second ones in ``2``. The values of the variables are written below ``LOG_DIR``.

"""

import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dis import get_instructions
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, NoneType
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    Change,
    InvalidSecretsError,
    Secret,
    get_secret,
    has_secret,
    require_secret,
    secret,
)
from hive_boot import secrets as applications
from hive_boot.secrets.global_access import StandaloneStore
from tests.canary.programs.declared import Canaries
from tests.fixtures.package import OURS

HIDING = f"{OURS}redaction{os.sep}"
"""Path of the modules that compute the encoded forms of a value from the value itself."""

UNCHANGING = (NoneType, bool, int, float, str, bytes, FunctionType, BuiltinFunctionType)
"""Types of variables that are sampled once, because they are immutable."""

IDLE = {
    "BUILD_LIST",
    "BUILD_MAP",
    "BUILD_SLICE",
    "BUILD_TUPLE",
    "CACHE",
    "COPY",
    "COPY_FREE_VARS",
    "EXTENDED_ARG",
    "IS_OP",
    "JUMP_BACKWARD",
    "JUMP_FORWARD",
    "KW_NAMES",
    "LOAD_ATTR",
    "LOAD_CLOSURE",
    "LOAD_CONST",
    "LOAD_DEREF",
    "LOAD_FAST",
    "LOAD_GLOBAL",
    "LOAD_METHOD",
    "LOAD_NAME",
    "MAKE_CELL",
    "MAKE_FUNCTION",
    "NOP",
    "POP_JUMP_BACKWARD_IF_FALSE",
    "POP_JUMP_BACKWARD_IF_NONE",
    "POP_JUMP_BACKWARD_IF_NOT_NONE",
    "POP_JUMP_BACKWARD_IF_TRUE",
    "POP_JUMP_FORWARD_IF_FALSE",
    "POP_JUMP_FORWARD_IF_NONE",
    "POP_JUMP_FORWARD_IF_NOT_NONE",
    "POP_JUMP_FORWARD_IF_TRUE",
    "POP_TOP",
    "PRECALL",
    "PUSH_NULL",
    "RESUME",
    "SWAP",
}
"""Instructions of Python 3.11 that store nothing, and call at most what looks up an attribute or a
truth value: the next look is at a step behind, and what they change is still there."""

Trace = Callable[[FrameType, str, Any], Any]


class Ruled(Canaries):
    """A set with a constraint and a check of every kind."""

    openai_api_key: Secret = secret(min_length=8, max_length=500)
    jwt_secret: Secret = secret(pattern="canary.*", activate_after=60, accept_old_for=60)
    passphrase: Secret = secret(check=bool)

    async def check(self) -> None:
        """Accept every set."""


class Samples:
    """Distinct texts of frame variables at each step, each with its first place."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {"ours.txt": {}, "hiding.txt": {}}
        self.functions: set[str] = set()
        self.sources = ""
        self._local = threading.local()

    def begin(self) -> None:
        """Trace this thread, and the threads that start from now on."""
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def end(self) -> None:
        """Stop tracing."""
        sys.settrace(None)
        threading.settrace(None)

    def write(self, directory: Path) -> None:
        """Write the samples to files, and print the functions that were traced."""
        for name, texts in self.found.items():
            lines = [f"{where} = {text}" for text, where in texts.items()]
            directory.joinpath(name).write_text("\n".join(lines), "utf-8", "replace")
        print(*sorted(self.functions), sep="\n")  # noqa: T201  (what the test asks for)

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Trace | None:
        path = frame.f_code.co_filename
        # Its volumes are written by the tests. The making of forms has very many steps, so
        # of those only the lines of two files are sampled.
        if not path.startswith(OURS) or path.startswith(f"{OURS}testing{os.sep}"):
            return None
        is_hiding = path.startswith(HIDING) and not path.endswith("hooks.py")
        if is_hiding and not path.endswith(("decoding.py", "matcher.py")):
            return None
        frame.f_trace_opcodes = not is_hiding
        frame.f_trace_lines = is_hiding  # a line begins with an instruction
        where = f"{frame.f_code.co_qualname} in {path.removeprefix(OURS)}"
        self.functions.add(where)
        texts = self.found["hiding.txt" if is_hiding else "ours.txt"]
        known: dict[str, object] = {}
        idle = idle_instructions(frame.f_code) if frame.f_trace_opcodes else ()
        before = -1

        def step(frame: FrameType, _event: str, _arg: object) -> Trace:
            nonlocal before
            has_changed, before = before not in idle, frame.f_lasti
            # A repr may be ours, too.
            if has_changed and not getattr(self._local, "is_looking", False):
                self._local.is_looking = True
                variables = dict(frame.f_locals)
                for name, it in variables.items():
                    if known.get(name, known) is not it or is_changing(it):
                        texts.setdefault(shown(it), f"{self.sources}: {where}: {name}")
                known.update(variables)
                self._local.is_looking = False
            return step

        return step


def is_changing(it: object) -> bool:
    """Return whether the text of an object depends on its present content."""
    return type(it) not in UNCHANGING and type(it).__repr__ is not object.__repr__


@cache
def idle_instructions(code: CodeType) -> frozenset[int]:
    """Return the offsets of the instructions that change no object."""
    return frozenset(each.offset for each in get_instructions(code) if each.opname in IDLE)


def shown(it: object) -> str:
    """Return the repr of a variable; it may fail while the object is being built."""
    try:
        return repr(it)
    except AttributeError:
        return "not yet made"


def write_files(values: dict[str, bytes]) -> None:
    """Write a file for each value, as editors and shells write it."""
    ends = [b"", b"\n", b"\r\n"]
    directory = Path("secrets")
    directory.mkdir(exist_ok=True)
    for number, (name, value) in enumerate(values.items()):
        is_text = name != "keystore"
        mark = b"\xef\xbb\xbf" if is_text and number % 2 else b""
        directory.joinpath(name).write_bytes(mark + value + (ends[number % 3] if is_text else b""))


def name_files(values: dict[str, bytes]) -> None:
    """Write a file for each value, and set the variables that name the files."""
    write_files(values)
    os.environ |= {f"{name.upper()}_FILE": f"secrets/{name}" for name in values}


def set_variables(values: dict[str, bytes]) -> None:
    """Set a variable to each value."""
    os.environ |= {name.upper(): os.fsdecode(value) for name, value in values.items()}


def write_dotenv(values: dict[str, bytes]) -> None:
    """Write the text values and references to them into ``.env``; set a variable for the bytes."""
    set_variables({"keystore": values["keystore"]})
    texts = {name: value.decode() for name, value in values.items() if name != "keystore"}
    escaped = {
        name: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for name, text in texts.items()
    }
    lines = [
        f'PART_{name}="{text}"\n{name.upper()}="${{PART_{name}}}${{NOWHERE:-}}"'
        for name, text in escaped.items()
    ]
    Path(".env").write_text("\n".join(lines), encoding="utf-8")


SOURCES: dict[str, tuple[Any, Callable[[dict[str, bytes]], None]]] = {
    "files": ("docker", write_files),
    "pointers": ("environment", name_files),
    "variables": ("environment", set_variables),
    "dotenv": ("development", write_dotenv),
}
"""Ways to provide values, each with the mode that reads them."""


def following(number: int) -> dict[str, bytes]:
    """Return the values of one generation."""
    directory = Path(os.environ["NEXT"], str(number))
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def read_without_a_run(
    boot: Bootstrap[Any, Any], provide: Callable[[dict[str, bytes]], None]
) -> None:
    """Read changes by the standalone store, and load secrets for a block."""
    now = [0.0]
    store = StandaloneStore(boot._declaration, clock=lambda: now[0])
    applications.standalone_store = store
    before = get_secret("PASSPHRASE")
    for number in (2, 2, 1, 1):
        provide(following(number))
        now[0] += 1
        assert require_secret("PASSPHRASE")
    assert get_secret("PASSPHRASE") == before
    with boot.loaded() as secrets:
        key = boot.as_property("jwt_secret").fget
        assert key is not None
        assert key(None) == get_secret("JWT_SECRET") == secrets.jwt_secret.reveal()
        length = boot.as_property("jwt_secret", len).fget
        assert length is not None
        assert length(None) == len(secrets.jwt_secret.reveal())
        assert boot.accepted("jwt_secret")


async def main(sources: str) -> None:
    """Start, rotate, and reload once without a change."""
    mode, provide = SOURCES[sources]
    provide(following(1))
    changes: list[Change] = []
    starts: list[str] = []
    boot: Bootstrap[Any, Any] = Bootstrap(
        Ruled,
        mode=mode,
        secrets_dirs="secrets" if mode == "docker" else None,
        unset_env=True,
    )

    @boot.on_rotate()
    async def keep(change: Change) -> None:
        changes.append(change)
        await checkpoint()

    @boot.resource(rebuild_on=["passphrase", "jwt_secret"], overlap=0)
    async def client(secrets: Ruled) -> AsyncIterator[str]:
        await checkpoint()
        starts.append(sources)
        if starts == ["files", "files"]:
            raise PermissionError
        yield secrets.passphrase.reveal()

    @boot.service
    async def user(client: str) -> None:
        assert client
        await anyio.sleep_forever()

    samples.begin()
    if sources == "files":  # the readers of each source are those of a run
        read_without_a_run(boot, provide)
    async with boot.running():
        logging.getLogger("app").warning("It runs")
        provide(following(2))
        # The variables of a process are those of its start.
        rotates = sources != "variables"
        if sources == "files":
            with suppress(InvalidSecretsError):  # of the rebuild
                await boot.reload()
        assert bool(await boot.reload()) is rotates
        assert await boot.reload() is None
        assert has_secret("JWT_SECRET")
        assert require_secret("JWT_SECRET") == get_secret("JWT_SECRET")
        assert bool(await boot.reload(now=True)) is rotates
        while rotates and not changes:  # noqa: ASYNC110  (the hook is called soon)
            await anyio.sleep(0.01)
        async with client.use() as value:
            assert value == client.value == get_secret("PASSPHRASE")
    samples.end()


if __name__ == "__main__":
    samples = Samples()
    place, variables = Path.cwd(), dict(os.environ)
    for samples.sources in SOURCES:
        place.joinpath(samples.sources).mkdir()
        os.chdir(place / samples.sources)
        anyio.run(main, samples.sources)
        os.environ.clear()
        os.environ.update(variables)
    samples.write(Path(os.environ["LOG_DIR"]))
