"""Every program of docs/frameworks.md is started, asked, rotated, and stopped with jobs in hand."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.frameworks import outside
from tests.frameworks.bot_api import bot_api
from tests.frameworks.outside import BROKER, Outside
from tests.frameworks.programs import fingerprint, started
from tests.support import wait_until

OLD, NEW = "fake-api-key-1", "fake-api-key-2"

IN_HAND = range(2, 7)
"""Jobs that have begun when the program gets SIGTERM; two others are complete."""

SHORTEST_LIMIT = 15
"""Seconds; a program that is not asked to stop uses up its grace period of 20 s."""

get = partial(outside.http, "GET")

TABLE: dict[str, tuple[list[str], Callable[[], AbstractContextManager[Outside]]]] = {
    "fastapi_app.py": (["fastapi"], get),
    "starlette_app.py": (["starlette"], get),
    "litestar_app.py": (["litestar"], get),
    "quart_app.py": (["quart"], get),
    "sanic_app.py": (["sanic"], get),
    "django_app.py": (["django"], get),
    "flask_app.py": (["flask", "a2wsgi"], get),
    "aiohttp_app.py": (["aiohttp"], get),
    "grpc_app.py": (["grpc"], outside.grpc),
    "aiogram_bot.py": (["aiogram"], outside.telegram),
    "telegram_bot.py": (["telegram"], outside.telegram),
    "arq_worker.py": (["arq"], partial(outside.redis, outside.push_to_arq)),
    "taskiq_app.py": (["taskiq", "quart"], partial(outside.http, "POST")),
    "taskiq_worker.py": (["taskiq", "redis"], partial(outside.redis, outside.push_to_taskiq)),
    "faststream_app.py": (
        ["faststream", "redis"],
        partial(outside.redis, outside.push_to_faststream),
    ),
    "faststream_memory.py": (["faststream", "redis", "quart"], partial(outside.http, "POST")),
}
"""Programs, the modules that they import, and what they talk to."""


def require(modules: list[str]) -> None:
    """Skip a test whose library is not installed."""
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed: make test-frameworks installs it")


@pytest.mark.parametrize("name", TABLE)
def test_no_job_is_lost(name: str, tmp_path: Path) -> None:
    """A program answers with the rotated key, and completes the jobs that it has begun."""
    modules, connect = TABLE[name]
    require(modules)
    with connect() as (send, addresses, answers, left), ThreadPoolExecutor() as pool:
        with started(tmp_path, name, OLD, {"broker.py": BROKER}, addresses) as program:
            program.wait_for("Ready")
            sent = [pool.submit(send, 0)]
            program.wait_for(f"job 0 begins with {fingerprint(OLD)}")
            program.wait_for("job 0 is complete")
            program.rotate(NEW)
            program.hold_jobs()
            for number in (1, *IN_HAND):
                sent.append(pool.submit(send, number))
                program.wait_for(f"job {number} begins with {fingerprint(NEW)}")
                if number == 1:
                    program.release_jobs()
                    program.wait_for("job 1 is complete")
                    program.hold_jobs()
            program.terminate()
            program.release_jobs()
            released_at = time.monotonic()
            code = program.wait()
            seconds = time.monotonic() - released_at
        replies = [future.result() for future in sent]
        assert not left or left() == 0
    report = program.report()
    assert code == 0, report
    assert seconds < SHORTEST_LIMIT, report
    complete = [line for line in program.out if line.endswith("is complete")]
    assert sorted(complete) == [f"job {number} is complete" for number in range(7)], report
    assert set(replies) <= {"done", "queued", None}
    if answers is not None:
        assert answers == ["done"] * 7
    for word in ("Traceback", "cut off", "WARNING", "ERROR", "has failed"):
        assert word not in report, report


def test_a_job_that_has_not_begun_stays_in_the_queue(tmp_path: Path) -> None:
    """FastStream takes no job from the list of Redis while all of its subscribers work."""
    modules, connect = TABLE["faststream_app.py"]
    require(modules)
    with connect() as (send, addresses, _, left):
        with started(tmp_path, "faststream_app.py", OLD, {}, addresses) as program:
            program.wait_for("Ready")
            program.hold_jobs()
            for number in range(12):
                send(number)
            for number in range(5):
                program.wait_for(f"job {number} begins")
            program.terminate()
            program.release_jobs()
            code = program.wait()
        complete = [line for line in program.out if line.endswith("is complete")]
        assert code == 0, program.report()
        assert left is not None
        assert len(complete) + left() == 12, program.report()
        assert left() > 0


@pytest.mark.parametrize("name", ["aiogram_bot.py", "telegram_bot.py"])
def test_an_answer_that_is_on_its_way_arrives(name: str, tmp_path: Path) -> None:
    """The session of a bot is closed after the last call of a job."""
    require(TABLE[name][0])
    with bot_api() as api:
        addresses = {"https://api.telegram.org": api.address}
        with started(tmp_path, name, OLD, {}, addresses) as program:
            program.wait_for("Ready")
            api.responds.clear()
            api.send("0")
            wait_until(lambda: api.calls == 1)
            program.terminate()
            time.sleep(0.3)  # in which a session that is closed too early cuts the call off
            api.responds.set()
            code = program.wait()
    assert code == 0, program.report()
    assert api.answers == ["done"]
    assert "Traceback" not in program.report(), program.report()
