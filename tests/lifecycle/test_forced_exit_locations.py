"""Location of a suspended coroutine or thread: the line of the author's code, on both backends."""

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
"""The name of this file outside of the working directory, with its parent directory."""

Work = Coroutine[Any, Any, object] | AsyncGenerator[object, None]


def line_of(source: str, *, nth: int = 1) -> int:
    """Return the number of a line of this file."""
    lines = [number for number, line in enumerate(LINES, 1) if line.strip() == source]
    return lines[nth - 1]


LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


async def suspended_at(work: Work) -> str:
    """Run ``work`` in a task until it waits, cancel it, and return the location of the wait."""

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
    """Wait in a function of anyio."""
    await anyio.sleep(3600)


HERE_IT_WAITS = f"{HERE}:{line_of('await anyio.sleep(3600)')} in wait_here: await anyio.sleep(3600)"


async def call_another() -> None:
    """Await another coroutine."""
    await wait_here()


@asynccontextmanager
async def waiting_to_start() -> AsyncIterator[str]:
    """Wait before the yield."""
    await wait_here()
    yield "never"


@asynccontextmanager
async def waiting_to_stop() -> AsyncIterator[str]:
    """Wait after the yield."""
    yield "given"
    await wait_here()


@types.coroutine
def old_style() -> Generator[Any, Any, None]:
    """Wait in a generator-based coroutine."""
    yield from wait_here().__await__()


class Awaited:
    """An awaitable of a library."""

    def __init__(self, give: Callable[[], Awaitable[None]]) -> None:
        self._give = give

    def __await__(self) -> Generator[Any, Any, None]:
        """Await the wrapped awaitable."""
        return self._give().__await__()


class Handmade:
    """An awaitable whose iterator is not a generator."""

    def __await__(self) -> Iterator[None]:
        """Suspend once."""
        return iter([None])


async def enter(context: AbstractAsyncContextManager[object]) -> None:
    """Enter and exit a context manager."""
    async with context:
        pass


async def iterate() -> None:
    """Wait in ``async for``."""
    async for _ in numbers():
        pass


async def numbers() -> AsyncGenerator[int, None]:
    """Wait before the first item."""
    await wait_here()
    yield 1


async def next_or_none() -> None:
    """Wait in ``anext`` with a default."""
    await anext(numbers(), None)


async def send_in() -> None:
    """Wait in ``asend``; the value that is sent is itself an awaitable."""
    generator = echo()
    await anext(generator)
    await generator.asend(generator)


async def echo() -> AsyncGenerator[object, object]:
    """Wait after the first ``yield``."""
    yield 1
    await wait_here()


async def throw_in() -> None:
    """Wait in ``aclose``."""
    generator = ending()
    await anext(generator)
    await generator.aclose()


async def ending() -> AsyncGenerator[int, None]:
    """Wait in the ``finally`` block."""
    try:
        yield 1
    finally:
        await wait_here()


async def await_it(it: Awaitable[object]) -> None:
    """Await any awaitable."""
    await it


@pytest.mark.anyio
async def test_a_location_is_the_innermost_line_of_the_author() -> None:
    """Whatever the chain of awaits is, the location is the innermost line of the author."""
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
async def test_the_location_of_a_resource_that_waits_for_tasks_is_its_task_group() -> None:
    """The location of a task group that waits for its tasks is the line that opens it."""

    async def resource() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(wait_here)
        yield 1

    line = line_of("async with anyio.create_task_group() as group:", nth=2)
    assert await suspended_at(resource()) == (
        f"{HERE}:{line} in resource: async with anyio.create_task_group() as group:"
    )


@pytest.mark.anyio
async def test_the_location_of_a_started_resource_is_its_yield() -> None:
    """The location of a started resource is its ``yield``."""

    @asynccontextmanager
    async def resource() -> AsyncIterator[int]:
        async with anyio.create_task_group():
            yield 2

    context = resource()
    async with context:
        place = locate_coroutine(context.gen)
    line = line_of("yield 2")
    assert place == f"{HERE}:{line} in resource: yield 2"


@pytest.mark.anyio
async def test_the_location_of_a_call_in_a_thread_is_the_line_that_awaits_it() -> None:
    """The location of a call in a worker thread is the line that awaits it."""
    gate = threading.Event()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        gate.wait(20)

    async def resource() -> None:
        await anyio.to_thread.run_sync(work)

    coroutine = resource()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: coroutine)
        await until(begun.is_set)
        place = locate_coroutine(coroutine)
        gate.set()
    line = line_of("await anyio.to_thread.run_sync(work)")
    assert place == f"{HERE}:{line} in resource: await anyio.to_thread.run_sync(work)"


@pytest.mark.anyio
async def test_a_coroutine_of_a_library_alone_has_no_location() -> None:
    """A coroutine without a line of the author has no location."""
    assert await suspended_at(anyio.sleep_forever()) == ""


@pytest.mark.anyio
async def test_the_running_coroutine_has_no_location() -> None:
    """The running coroutine, or a caller of it, has no location."""
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


def test_the_location_of_a_task_that_has_not_started_is_its_first_line() -> None:
    """The location of a task that has not started is the first line of its function."""
    coroutine = wait_here()
    line = line_of("async def wait_here() -> None:")
    assert (
        locate_coroutine(coroutine) == f"{HERE}:{line} in wait_here: async def wait_here() -> None:"
    )
    coroutine.close()


class Odd:
    """An object whose attributes cannot be read."""

    def __getattribute__(self, name: str) -> object:
        """Raise an error."""
        raise ZeroDivisionError(name)


def test_an_object_that_is_not_a_coroutine_has_no_location() -> None:
    """An object that is not a coroutine has no location, and raises no error."""
    for it in (None, 1, "text", object(), Odd(), [], wait_here, iter([]), lambda: None):
        assert locate_coroutine(it) == ""


def test_the_search_for_a_location_ends_at_a_future() -> None:
    """On asyncio the search for the location ends at a Future."""

    async def run() -> str:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(await_it(future))
        await asyncio.sleep(0)
        place = locate_coroutine(task.get_coro())
        future.set_result(None)
        await task
        return place

    assert asyncio.run(run()) == f"{HERE}:{line_of('await it')} in await_it: await it"


def test_the_location_of_an_awaitable_without_a_frame_is_the_line_that_awaits_it() -> None:
    """The location of an awaitable without a frame is the line that awaits it."""
    coroutine = await_it(Handmade())  # type: ignore[arg-type]
    coroutine.send(None)
    assert locate_coroutine(coroutine) == f"{HERE}:{line_of('await it')} in await_it: await it"
    coroutine.close()


def made_by(source: str, filename: str, **names: object) -> Coroutine[Any, Any, object]:
    """Execute ``source``, which defines `resource`, as if it were a file; run it to its wait."""
    namespace: dict[str, Any] = {"paused": Handmade, "__name__": "app", **names}
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102  (it is the test's own)
    coroutine: Coroutine[Any, Any, object] = namespace["resource"]()
    coroutine.send(None)
    return coroutine


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str, str], str]:
    """Return a function that writes a source file, and returns the location of its `resource`."""

    def write_and_ask(name: str, source: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        coroutine = made_by(source, str(path))
        found = locate_coroutine(coroutine)
        coroutine.close()
        return found

    return write_and_ask


RESOURCE = "async def resource():\n    await paused()\n"


def test_a_file_is_named_by_its_relative_path(place: Callable[[str, str], str]) -> None:
    """A file below the working directory is named by its relative path, others by their parent."""
    for name, shown in (
        ("cwd/app.py", "app.py"),
        ("cwd/service/parts/app.py", "service/parts/app.py"),
        ("elsewhere/service/parts/app.py", "parts/app.py"),
        ("cwdlike/app.py", "cwdlike/app.py"),
    ):
        assert place(name, RESOURCE).startswith(f"{shown}:")


def test_the_line_of_a_long_statement_that_waits_is_shown(place: Callable[[str, str], str]) -> None:
    """In a statement of several lines, the line that waits is shown, without its indentation."""
    source = "async def resource():\n    return [\n        await paused(),\n    ]\n"
    assert place("cwd/app.py", source) == "app.py:3 in resource: await paused(),"


def test_a_long_line_is_cut(place: Callable[[str, str], str]) -> None:
    """A very long line is cut."""
    line = f"await paused({'*(), ' * 100})"
    found = place("cwd/app.py", f"async def resource():\n    {line}\n")
    assert found == f"app.py:2 in resource: {line[:120]}..."


def test_values_are_not_shown(place: Callable[[str, str], str]) -> None:
    """The location contains no value of a variable."""
    source = "async def resource(key='fake-' + 'value'):\n    await paused()\n    return key\n"
    assert place("cwd/app.py", source) == "app.py:2 in resource: await paused()"


def test_code_without_a_file_is_located_by_its_line_number() -> None:
    """Code without a file, as from `python -c`, is located by its line number alone."""
    coroutine = made_by(RESOURCE, "<string>")
    assert locate_coroutine(coroutine) == "<string>:2 in resource"
    coroutine.close()


def test_a_loader_that_fails_costs_the_source_line_alone() -> None:
    """A source that cannot be read, from a deleted archive, is left out."""

    class Broken:
        """A loader whose archive is gone."""

        def get_source(self, name: str) -> str:
            """Raise an error."""
            raise ZeroDivisionError(name)

    coroutine = made_by(RESOURCE, "/gone/app.zip/app.py", __loader__=Broken())
    assert locate_coroutine(coroutine) == "app.zip/app.py:2 in resource"
    coroutine.close()


def test_a_removed_working_directory_does_not_prevent_a_location(
    tmp_path: Path, place: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose working directory was removed has a location all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert place("service/app.py", RESOURCE) == "service/app.py:2 in resource: await paused()"


@pytest.mark.anyio
async def test_the_location_of_a_thread_is_the_line_of_its_author(gate: threading.Event) -> None:
    """The location of a thread that waits for a lock is the line that waits."""

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
async def test_the_location_of_a_thread_of_a_library_is_its_innermost_line(
    gate: threading.Event,
) -> None:
    """The location of a thread that runs only a library's function is its innermost line."""
    thread = threading.Thread(target=gate.wait, args=(20,))
    thread.start()
    await until(lambda: re.search(r"/threading\.py:\d+ in wait: ", locate_thread(thread)))
    gate.set()
    thread.join()
    assert locate_thread(thread) == ""


def test_a_thread_that_was_not_started_has_no_location() -> None:
    """A thread that was never started has no location, and raises no error."""
    assert locate_thread(threading.Thread()) == ""
