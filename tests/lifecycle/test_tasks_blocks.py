"""Blocks that another task cancels, and the state of their task afterwards."""

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest

from hive_boot._timings import Timings
from hive_boot.lifecycle.tasks import CancellableBlock
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def assert_nothing_is_left(anyio_backend: str) -> None:
    """Assert that the task can continue without a pending cancellation."""
    await anyio.lowlevel.checkpoint()
    if anyio_backend == "asyncio":
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_a_waiting_block_is_cancelled(anyio_backend: str) -> None:
    """A block that waits is cancelled, and the code after it runs."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            with CancellableBlock() as body:
                group.start_soon(cancelling, body)
                await anyio.sleep_forever()
            await assert_nothing_is_left(anyio_backend)


async def cancelling(body: CancellableBlock) -> None:
    """Cancel a block, twice."""
    body.cancel()
    body.cancel()


async def test_tasks_that_the_block_has_started_are_cancelled(anyio_backend: str) -> None:
    """Tasks that the block has started are cancelled, and may clean up."""
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


async def test_an_error_of_the_clean_up_is_raised(anyio_backend: str) -> None:
    """An error of the clean-up is raised, and no cancellation."""

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


async def test_a_block_that_is_not_cancelled_runs_to_its_end(anyio_backend: str) -> None:
    """A block that is not cancelled runs to its end, and may raise."""
    with CancellableBlock() as body:
        await anyio.lowlevel.checkpoint()
    body.cancel()
    await assert_nothing_is_left(anyio_backend)
    with pytest.raises(ValueError, match=r"^$"), CancellableBlock():
        raise ValueError
    await assert_nothing_is_left(anyio_backend)


async def test_a_cancelled_scope_around_a_block_cancels_both(anyio_backend: str) -> None:
    """A cancelled scope around a block cancels both."""
    went_on = False
    with anyio.move_on_after(0.01) as scope:
        with CancellableBlock():
            await anyio.sleep_forever()
        went_on = True
    assert scope.cancelled_caught
    assert not went_on
    await assert_nothing_is_left(anyio_backend)


@ASYNCIO
async def test_a_block_may_be_left_in_another_task() -> None:
    """A block may be entered in one task and left in another, as in a fixture."""
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
async def test_a_block_that_catches_its_cancellation_has_none_pending() -> None:
    """A block that catches its cancellation reaches its end, without a pending cancellation."""
    async with anyio.create_task_group() as group:
        with CancellableBlock() as body:
            group.start_soon(cancelling, body)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
        await assert_nothing_is_left("asyncio")


@ASYNCIO
async def test_a_cancellation_of_the_task_at_the_same_moment_is_not_lost() -> None:
    """If the task is cancelled at the same moment as its block, that cancellation is not lost."""

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


# The clean-up of a block on asyncio


@ASYNCIO
async def test_the_clean_up_of_a_block_may_await() -> None:
    """The clean-up of a block may await, also in the children of a TaskGroup."""
    done: list[str] = []

    async def commit(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            await anyio.sleep(0.01)
            done.append(name)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as outside:
            with CancellableBlock() as body:
                outside.start_soon(cancelling, body)
                async with asyncio.TaskGroup() as group:
                    child = group.create_task(commit("child"))
                    await commit("block")
                assert child
            await assert_nothing_is_left("asyncio")
    assert sorted(done) == ["block", "child"]


@ASYNCIO
async def test_shielded_code_in_a_block_is_not_cancelled() -> None:
    """A thread and a shielded commit complete; the cancellation arrives after them."""
    done: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(20)
        done.append("thread")

    async def cancel_meanwhile(body: CancellableBlock) -> None:
        await until(begun.is_set)
        body.cancel()
        await anyio.sleep(0.05)
        may_end.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as outside:
            with CancellableBlock() as body:
                outside.start_soon(cancel_meanwhile, body)
                await anyio.to_thread.run_sync(work)
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.05)
                    done.append("commit")
                await anyio.sleep_forever()
            await assert_nothing_is_left("asyncio")
    assert done == ["thread", "commit"]


@ASYNCIO
async def test_a_shield_around_a_block_does_not_protect_it() -> None:
    """Only scopes inside the block delay its cancellation."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as outside:
            with anyio.CancelScope(shield=True), CancellableBlock() as body:
                outside.start_soon(cancelling, body)
                await anyio.sleep_forever()


@ASYNCIO
async def test_a_block_that_swallows_its_cancellation_gets_a_second_one() -> None:
    """It arrives after three quarters of the time."""
    seen: list[float] = []
    with anyio.fail_after(20), CancellableBlock() as body:
        began = asyncio.get_running_loop().time()
        body.cancel(0.2)
        for _each in range(2):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append(asyncio.get_running_loop().time() - began)
    assert len(seen) == 2
    assert 0.15 <= seen[1] < 10
    await assert_nothing_is_left("asyncio")


@ASYNCIO
async def test_a_cancellation_that_was_delayed_is_not_followed_by_another_at_once() -> None:
    """The time until the second cancellation counts from the first one, so clean-up may await."""
    done: list[str] = []
    with anyio.fail_after(20), CancellableBlock(Timings(cancel_retry_interval=0.001)) as body:
        body.cancel(0.4)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.32)
        try:
            await asyncio.sleep(60)
        finally:
            for _each in range(3):
                await asyncio.sleep(0.002)
            done.append("clean-up")
    assert done == ["clean-up"]
    await assert_nothing_is_left("asyncio")


@ASYNCIO
async def test_a_block_that_cancels_itself_does_not_affect_the_code_after_it() -> None:
    """The cancellation does not arrive in the code after the block."""
    with CancellableBlock() as body:
        body.cancel()
    await assert_nothing_is_left("asyncio")


async def test_a_block_that_was_cancelled_before_it_begins_ends_at_once() -> None:
    """Its first wait is interrupted."""
    body = CancellableBlock()
    body.cancel()
    with anyio.fail_after(20), body:
        await anyio.sleep_forever()


@ASYNCIO
async def test_a_result_that_has_arrived_is_not_lost() -> None:
    """The cancellation waits until the task has received what it waited for."""
    received: list[str] = []
    with anyio.fail_after(20), CancellableBlock() as body:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            future.set_result("answer")
            body.cancel()

        asyncio.get_running_loop().call_soon(answer)
        received.append(await future)
        await anyio.sleep_forever()
    assert received == ["answer"]


@ASYNCIO
async def test_with_an_unknown_anyio_a_block_is_cancelled_without_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Private names of anyio may change: then shields do not delay a cancellation."""
    monkeypatch.delattr("anyio._backends._asyncio._task_states", raising=True)
    with CancellableBlock() as body:
        body.cancel()
        await asyncio.sleep(60)
