"""Where somebody stands who is waited for: the line of the author's, on both backends."""

import asyncio
import re
import threading
import types
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from hive_boot.lifecycle.forced_exit import locate_coroutine, locate_thread
from tests.support import until

pytestmark = pytest.mark.both_backends

HERE = str(Path(*Path(__file__).parts[-2:]))
"""How this file is named, seen from elsewhere: by its directory and itself."""

Work = Coroutine[Any, Any, object] | AsyncGenerator[object, None]


def line_of(source: str, *, nth: int = 1) -> int:
    """Find a line of this file."""
    lines = [number for number, line in enumerate(LINES, 1) if line.strip() == source]
    return lines[nth - 1]


LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


async def suspended_at(work: Work) -> str:
    """Let a task do something until it waits, say where, and end it."""

    async def do() -> None:
        if isinstance(work, AsyncGenerator):
            try:
                async for _ in work:
                    await anyio.sleep_forever()
            finally:
                await work.aclose()
        else:
            await work

    async with anyio.create_task_group() as group:
        group.start_soon(do)
        await anyio.wait_all_tasks_blocked()
        place = locate_coroutine(work)
        group.cancel_scope.cancel()
    assert locate_coroutine(work) == ""
    return place


async def wait_here() -> None:
    """Wait, by a function of anyio's."""
    await anyio.sleep(3600)


HERE_IT_WAITS = f"{HERE}:{line_of('await anyio.sleep(3600)')} in wait_here: await anyio.sleep(3600)"


async def call_another() -> None:
    """Wait for another coroutine."""
    await wait_here()


@asynccontextmanager
async def waiting_to_start() -> AsyncIterator[str]:
    """Wait before there is anything to give."""
    await wait_here()
    yield "never"


@asynccontextmanager
async def waiting_to_stop() -> AsyncIterator[str]:
    """Wait when it is over."""
    yield "given"
    await wait_here()


@types.coroutine
def old_style() -> Generator[Any, Any, None]:
    """Wait as code from before `async def` does."""
    yield from wait_here().__await__()


class Awaited:
    """Something of a library's that can be awaited."""

    def __init__(self, give: Callable[[], Awaitable[None]]) -> None:
        self._give = give

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for what it was made with."""
        return self._give().__await__()


class Handmade:
    """Something that can be awaited, by an iterator that is no generator."""

    def __await__(self) -> Iterator[None]:
        """Wait once."""
        return iter([None])


async def enter(context: AbstractAsyncContextManager[object]) -> None:
    """Go through a context manager."""
    async with context:
        pass


async def iterate() -> None:
    """Wait for the items of a generator."""
    async for _ in numbers():
        pass


async def numbers() -> AsyncGenerator[int, None]:
    """Wait before the first item."""
    await wait_here()
    yield 1


async def next_or_none() -> None:
    """Wait for one item of a generator, if there is one."""
    await anext(numbers(), None)


async def send_in() -> None:
    """Wait for a generator that is told something, which itself can be awaited."""
    generator = echo()
    await anext(generator)
    await generator.asend(generator)


async def echo() -> AsyncGenerator[object, object]:
    """Wait when it has been told something."""
    yield 1
    await wait_here()


async def throw_in() -> None:
    """Wait for a generator that is to end."""
    generator = ending()
    await anext(generator)
    await generator.aclose()


async def ending() -> AsyncGenerator[int, None]:
    """Wait when it is to end."""
    try:
        yield 1
    finally:
        await wait_here()


async def await_it(it: Awaitable[object]) -> None:
    """Await whatever it is."""
    await it


@pytest.mark.anyio
async def test_the_innermost_line_of_the_author_is_named() -> None:
    """However the wait is reached, what is shown is the line that waits, not who led to it."""
    works: tuple[Callable[[], Work], ...] = (
        wait_here,
        call_another,
        lambda: enter(waiting_to_start()),
        lambda: enter(waiting_to_stop()),
        iterate,
        next_or_none,
        send_in,
        throw_in,
        lambda: await_it(old_style()),
        lambda: await_it(Awaited(wait_here)),
        lambda: await_it(Awaited(lambda: Awaited(wait_here))),
        numbers,
        lambda: waiting_to_start().gen,
    )
    for number, work in enumerate(works):
        assert await suspended_at(work()) == HERE_IT_WAITS, number


@pytest.mark.anyio
async def test_a_part_that_waits_for_its_tasks_is_found_at_its_task_group() -> None:
    """Of a task group that does not end, the line that opens it is shown."""

    async def part() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(wait_here)
        yield 1

    line = line_of("async with anyio.create_task_group() as group:", nth=2)
    assert await suspended_at(part()) == (
        f"{HERE}:{line} in part: async with anyio.create_task_group() as group:"
    )


@pytest.mark.anyio
async def test_a_part_that_runs_is_found_at_its_yield() -> None:
    """A generator whose body waits outside stands where it has given its value."""

    @asynccontextmanager
    async def part() -> AsyncIterator[int]:
        async with anyio.create_task_group():
            yield 2

    context = part()
    async with context:
        place = locate_coroutine(context.gen)
    line = line_of("yield 2")
    assert place == f"{HERE}:{line} in part: yield 2"


@pytest.mark.anyio
async def test_a_wait_for_a_thread_is_found_where_it_was_called() -> None:
    """Work that was given to a thread is shown by the line that waits for it."""
    gate = threading.Event()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        gate.wait(20)

    async def part() -> None:
        await anyio.to_thread.run_sync(work)

    coroutine = part()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: coroutine)
        await until(begun.is_set)
        place = locate_coroutine(coroutine)
        gate.set()
    line = line_of("await anyio.to_thread.run_sync(work)")
    assert place == f"{HERE}:{line} in part: await anyio.to_thread.run_sync(work)"


@pytest.mark.anyio
async def test_what_stands_in_a_library_alone_has_no_line_of_the_author() -> None:
    """A service that is nothing but a sleep of anyio's is said to stand nowhere."""
    assert await suspended_at(anyio.sleep_forever()) == ""


@pytest.mark.anyio
async def test_what_runs_now_stands_nowhere() -> None:
    """Who asks about itself, or about who called it, is told nothing."""
    told: list[str] = []

    async def ask() -> None:
        await anyio.lowlevel.checkpoint()
        told.append(locate_coroutine(coroutine))

    async def ask_from_a_generator() -> AsyncGenerator[int, None]:
        await anyio.lowlevel.checkpoint()
        told.append(locate_coroutine(generator))
        yield 1

    coroutine = ask()
    await coroutine
    generator = ask_from_a_generator()
    await anext(generator)
    await generator.aclose()
    assert told == ["", ""]


def test_what_has_not_begun_stands_at_its_first_line() -> None:
    """A task that never got its turn is shown by the function that it is to run."""
    coroutine = wait_here()
    line = line_of("async def wait_here() -> None:")
    assert (
        locate_coroutine(coroutine) == f"{HERE}:{line} in wait_here: async def wait_here() -> None:"
    )
    coroutine.close()


class Odd:
    """Something on which every look fails."""

    def __getattribute__(self, name: str) -> object:
        """Fail."""
        raise ZeroDivisionError(name)


def test_what_cannot_stand_anywhere_harms_nobody() -> None:
    """Asking about anything at all gives nothing, and no error."""
    for it in (None, 1, "text", object(), Odd(), [], wait_here, iter([]), lambda: None):
        assert locate_coroutine(it) == ""


def test_a_future_is_the_end_of_the_way() -> None:
    """On asyncio a task waits for a Future, and what fulfils it is not asked for."""

    async def run() -> str:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(await_it(future))
        await asyncio.sleep(0)
        place = locate_coroutine(task.get_coro())
        future.set_result(None)
        await task
        return place

    assert asyncio.run(run()) == f"{HERE}:{line_of('await it')} in await_it: await it"


def test_an_awaitable_without_a_frame_is_the_end_of_the_way() -> None:
    """What a library wrote by hand is shown by the line that waits for it."""
    coroutine = await_it(Handmade())  # type: ignore[arg-type]
    coroutine.send(None)
    assert locate_coroutine(coroutine) == f"{HERE}:{line_of('await it')} in await_it: await it"
    coroutine.close()


def made_by(source: str, filename: str, **names: object) -> Coroutine[Any, Any, object]:
    """Run a source that defines `part`, as if it were a file, and call that up to its wait."""
    namespace: dict[str, Any] = {"paused": Handmade, "__name__": "app", **names}
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102  (it is the test's own)
    coroutine: Coroutine[Any, Any, object] = namespace["part"]()
    coroutine.send(None)
    return coroutine


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str, str], str]:
    """Return what writes a source to a file, and says where a part that it defines stands."""

    def write_and_ask(name: str, source: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        coroutine = made_by(source, str(path))
        found = locate_coroutine(coroutine)
        coroutine.close()
        return found

    return write_and_ask


PART = "async def part():\n    await paused()\n"


def test_a_file_is_named_as_its_author_does(place: Callable[[str, str], str]) -> None:
    """Below the working directory by its way from there, elsewhere by its directory."""
    for name, shown in (
        ("cwd/app.py", "app.py"),
        ("cwd/service/parts/app.py", "service/parts/app.py"),
        ("elsewhere/service/parts/app.py", "parts/app.py"),
        ("cwdlike/app.py", "cwdlike/app.py"),
    ):
        assert place(name, PART).startswith(f"{shown}:")


def test_the_line_waits_inside_its_statement(place: Callable[[str, str], str]) -> None:
    """Of a statement of several lines the one that waits is shown, without its indentation."""
    source = "async def part():\n    return [\n        await paused(),\n    ]\n"
    assert place("cwd/app.py", source) == "app.py:3 in part: await paused(),"


def test_a_long_line_is_cut(place: Callable[[str, str], str]) -> None:
    """A line that fills a screen does not."""
    line = f"await paused({'*(), ' * 100})"
    found = place("cwd/app.py", f"async def part():\n    {line}\n")
    assert found == f"app.py:2 in part: {line[:120]}..."


def test_values_are_not_shown(place: Callable[[str, str], str]) -> None:
    """What a variable holds is not part of where somebody stands."""
    source = "async def part(key='fake-' + 'value'):\n    await paused()\n    return key\n"
    assert place("cwd/app.py", source) == "app.py:2 in part: await paused()"


def test_a_source_that_is_not_there_is_left_out() -> None:
    """Code without a file, as `python -c` runs, is named by its line alone."""
    coroutine = made_by(PART, "<string>")
    assert locate_coroutine(coroutine) == "<string>:2 in part"
    coroutine.close()


def test_a_loader_that_fails_costs_the_source_line_alone() -> None:
    """A source that cannot be asked for, from an archive that is gone, is left out."""

    class Broken:
        """A loader whose archive is gone."""

        def get_source(self, name: str) -> str:
            """Fail."""
            raise ZeroDivisionError(name)

    coroutine = made_by(PART, "/gone/app.zip/app.py", __loader__=Broken())
    assert locate_coroutine(coroutine) == "app.zip/app.py:2 in part"
    coroutine.close()


def test_a_working_directory_that_is_gone_harms_nobody(
    tmp_path: Path, place: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose directory was removed under it is told where it stands all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert place("service/app.py", PART) == "service/app.py:2 in part: await paused()"


@pytest.mark.anyio
async def test_a_thread_is_found_at_the_line_of_its_author(gate: threading.Event) -> None:
    """Of a thread that hangs in a lock, the line that wanted it is shown."""

    def hold() -> None:
        gate.wait(30)

    line = line_of("gate.wait(30)")
    thread = threading.Thread(target=hold)
    thread.start()
    await until(lambda: locate_thread(thread).startswith(f"{HERE}:{line}"))
    assert locate_thread(thread) == f"{HERE}:{line} in hold: gate.wait(30)"
    gate.set()
    thread.join()
    assert locate_thread(thread) == ""


@pytest.mark.anyio
async def test_a_thread_without_code_of_an_author_is_found_all_the_same(
    gate: threading.Event,
) -> None:
    """Of a thread that runs a library's function alone, its innermost line is shown."""
    thread = threading.Thread(target=gate.wait, args=(20,))
    thread.start()
    await until(lambda: re.search(r"/threading\.py:\d+ in wait: ", locate_thread(thread)))
    gate.set()
    thread.join()
    assert locate_thread(thread) == ""


def test_a_thread_that_has_not_begun_stands_nowhere() -> None:
    """A thread that was never started has no line, and asking for it is no error."""
    assert locate_thread(threading.Thread()) == ""
