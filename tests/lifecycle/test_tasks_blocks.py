"""A block that is ended from beside it, and what is left of that afterwards."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from hive_boot.lifecycle.tasks import CancellableBlock
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def assert_nothing_is_left(anyio_backend: str) -> None:
    """See that the task can go on as if nothing had been."""
    await anyio.lowlevel.checkpoint()
    if anyio_backend == "asyncio":
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_a_block_that_waits_is_ended(anyio_backend: str) -> None:
    """Whatever the block waits for, it ends; what stands below it goes on."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            with CancellableBlock() as body:
                group.start_soon(cancelling, body)
                await anyio.sleep_forever()
            await assert_nothing_is_left(anyio_backend)


async def cancelling(body: CancellableBlock) -> None:
    """End a block from a task beside it, and make sure."""
    body.cancel()
    body.cancel()


async def test_what_the_block_has_started_ends_with_it(anyio_backend: str) -> None:
    """Tasks in a group inside the block are cancelled, and may clean up."""
    said: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            said.append("cleaned up")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as outside:
            with CancellableBlock() as body:
                async with anyio.create_task_group() as group:
                    group.start_soon(work)
                    outside.start_soon(cancelling, body)
                    await anyio.sleep_forever()
            await assert_nothing_is_left(anyio_backend)
    assert said == ["cleaned up"]


async def test_an_error_on_the_way_out_is_the_blocks_own(anyio_backend: str) -> None:
    """What the block raises when it is cancelled comes out as it is, and no cancellation."""

    async def block() -> None:
        with CancellableBlock() as body:
            group.start_soon(cancelling, body)
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError

    async with anyio.create_task_group() as group:
        with pytest.raises(ValueError, match=r"^$"):
            await block()
        await assert_nothing_is_left(anyio_backend)


async def test_a_block_that_nobody_ends_is_left_alone(anyio_backend: str) -> None:
    """It runs to its end, and what it raises is what it was."""
    with CancellableBlock() as body:
        await anyio.lowlevel.checkpoint()
    body.cancel()
    await assert_nothing_is_left(anyio_backend)
    with pytest.raises(ValueError, match=r"^$"), CancellableBlock():
        raise ValueError
    await assert_nothing_is_left(anyio_backend)


async def test_somebody_elses_cancellation_goes_through(anyio_backend: str) -> None:
    """A scope of the caller's ends the block, too, and what is around it up to the scope."""
    went_on = False
    with anyio.move_on_after(0.01) as scope:
        with CancellableBlock():
            await anyio.sleep_forever()
        went_on = True
    assert scope.cancelled_caught
    assert not went_on
    await assert_nothing_is_left(anyio_backend)


@ASYNCIO
async def test_a_block_whose_task_has_ended_is_not_held_up() -> None:
    """A fixture enters in one task and leaves in another: to end it harms neither."""
    body = CancellableBlock()

    async def enter() -> None:
        body.__enter__()

    task = asyncio.create_task(enter())
    await until(task.done)
    body.cancel()
    body.cancel()
    assert not body.__exit__(None, None, None)
    await assert_nothing_is_left("asyncio")


@ASYNCIO
async def test_a_task_that_catches_its_cancellation_has_none_left() -> None:
    """A block that goes on in spite of it reaches its end, and the task is not marked."""
    async with anyio.create_task_group() as group:
        with CancellableBlock() as body:
            group.start_soon(cancelling, body)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
        await assert_nothing_is_left("asyncio")


@ASYNCIO
async def test_somebody_elses_cancellation_at_the_same_moment_is_not_lost() -> None:
    """Whoever cancels the task while its block is ended gets a task that is cancelled."""

    async def work() -> None:
        with CancellableBlock() as body:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            loop.call_soon(body.cancel)
            loop.call_soon(task.cancel)
            await anyio.sleep_forever()

    task = asyncio.create_task(work())
    await until(task.done)
    assert task.cancelled()
