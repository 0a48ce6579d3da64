"""Applications that fail to start: ``main(SCENARIO, HOW)`` in a process of :mod:`.forked`.

HOW is ``asyncio`` or ``trio`` for ``boot.run``, or ``uvicorn`` for ``boot.lifespan``.

"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Never

import anyio

from hive_boot import Bootstrap, Secret, SecretBytes, secret
from tests.canary.programs.declared import Canaries
from tests.canary.programs.telling import all_of, everything, log_to_files

Boot = Bootstrap[Any, Any]

log = logging.getLogger("app")


def judged(
    check: Callable[[Any], object] | None = None,
    *,
    startup_timeout: float = 60,
    **rules: Any,  # noqa: ANN401  (what secret takes)
) -> Boot:
    """Declare an application with a secret of each kind, with a check or with constraints."""

    def rule() -> Any:  # noqa: ANN401  (as secret says)
        return secret(check=check, **rules)

    class Judged(Canaries):
        """A set with these checks or constraints."""

        jwt_secret: Secret = rule()
        keystore: SecretBytes = secret(check=check)
        signing_key: Secret = rule()
        database_url: Secret = rule()
        service_account: Secret = rule()
        passphrase: Secret = rule()

    return Bootstrap(Judged, startup_timeout=startup_timeout)


def as_declared() -> Boot:
    """Declare an application without checks: its deployment is wrong."""
    return Bootstrap(Canaries)


def watched() -> Boot:
    """Declare an application that watches its secrets."""
    return Bootstrap(Canaries, watch=True)


def plain_check() -> Boot:
    """Reject a value with a message that contains it."""

    def refuse(value: str | bytes) -> Never:
        raise ValueError(everything(value))

    return judged(refuse)


def chained_check() -> Boot:
    """Reject a value with an error that has a cause and a note."""

    async def refuse(value: str | bytes) -> Never:
        await anyio.lowlevel.checkpoint()
        try:
            raise KeyError(value)  # noqa: TRY301  (people do)
        except KeyError as cause:
            error = LookupError(everything(value))
            error.add_note(everything(value))
            raise error from cause

    return judged(refuse)


def grouped_check() -> Boot:
    """Reject a value with an exception group."""

    async def fail(value: str | bytes) -> Never:
        await anyio.lowlevel.checkpoint()
        raise ValueError(everything(value))

    async def refuse(value: str | bytes) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail, value)
            group.start_soon(fail, value)

    return judged(refuse)


def leaving_check() -> Boot:
    """Exit with a value as the message."""

    def refuse(value: str | bytes) -> Never:
        sys.exit(everything(value))

    return judged(refuse)


def false_check() -> Boot:
    """Reject a value without a message."""
    return judged(lambda _: False)


def odd_check() -> Boot:
    """Return the value instead of a verdict."""
    return judged(lambda value: value)


released = threading.Event()
"""Ends the threads of `hanging_check`, when a test wants to leave none."""


def hanging_check() -> Boot:
    """Hang in a thread forever."""

    def hang(value: str | bytes) -> None:
        log.debug("%s has to be judged", value)
        released.wait()

    return judged(hang, startup_timeout=0.2)


def sleeping_check() -> Boot:
    """Hang in the event loop forever."""

    async def hang(value: str | bytes) -> None:
        log.debug("%s has to be judged", value)
        await anyio.sleep_forever()

    return judged(hang, startup_timeout=0.2)


def set_check() -> Boot:
    """Reject a set with a message that contains all values."""

    class Whole(Canaries):
        """A set with a check."""

        async def check(self) -> None:
            """Raise an error."""
            raise ValueError(all_of(self)) from KeyError(all_of(self))

    return Bootstrap(Whole)


def false_set_check() -> Boot:
    """Reject a set without a message."""

    class Whole(Canaries):
        """A set with a check."""

        async def check(self) -> bool:
            """Log the values, and return False."""
            log.info("%s", all_of(self))
            return False

    return Bootstrap(Whole)


def _variables() -> str:
    names = [field.name for field in Canaries._field_index.all_fields]
    said = [os.environ[name] for name in names if name in os.environ]
    return " | ".join(everything(os.fsencode(text)) + everything_of_text(text) for text in said)


def everything_of_text(text: str) -> str:
    """Return a variable in every encoded form, if it is UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text
    return everything(text)


def settings_class() -> Boot:
    """Declare settings that read secrets, and reject them with messages that contain the values."""
    from pydantic import field_validator  # noqa: PLC0415  (it takes its time, and few use it)
    from pydantic_settings import BaseSettings  # noqa: PLC0415

    class Settings(BaseSettings):
        """Settings with the names of secrets."""

        jwt_secret: int
        openai_api_key: str
        hive_api_key: str

        @field_validator("openai_api_key")
        @classmethod
        def refuse(cls, value: str) -> Never:
            """Raise an error."""
            raise ValueError(everything(value)) from KeyError(value)

        @field_validator("hive_api_key")
        @classmethod
        def insist(cls, value: str) -> str:
            """Fail an assertion."""
            assert value == "", everything(value)
            return value

    return Bootstrap(Canaries, config=Settings)


def settings_function() -> Boot:
    """Declare settings by a function that raises an error with all values."""

    def settings() -> Never:
        try:
            raise KeyError(_variables())  # noqa: TRY301  (people do)
        except KeyError as cause:
            raise RuntimeError(_variables()) from cause

    return Bootstrap(Canaries, config=settings)


def leaving_settings() -> Boot:
    """Declare settings by a function that exits with all values."""

    def settings() -> Never:
        log.error("%s", _variables())
        sys.exit(_variables())

    return Bootstrap(Canaries, config=settings)


SCENARIOS: dict[str, Callable[[], Boot]] = {
    "as declared": as_declared,
    "watched": watched,
    "too short": lambda: judged(min_length=5000),
    "too long": lambda: judged(max_length=5),
    "pattern": lambda: judged(pattern="[0-9]+"),
    "plain check": plain_check,
    "chained check": chained_check,
    "grouped check": grouped_check,
    "leaving check": leaving_check,
    "false check": false_check,
    "odd check": odd_check,
    "hanging check": hanging_check,
    "sleeping check": sleeping_check,
    "set check": set_check,
    "false set check": false_set_check,
    "settings class": settings_class,
    "settings function": settings_function,
    "leaving settings": leaving_settings,
}


def main(scenario: str, how: str) -> None:
    """Start a scenario, and log what is raised, as a careful caller does."""
    log_to_files()
    boot = SCENARIOS[scenario]()

    @boot.main
    async def started() -> None:
        print("main")  # noqa: T201  (what a test sees when nothing failed)

    try:
        if how == "uvicorn":
            import uvicorn  # noqa: PLC0415  (it takes its time, and few use it)
            from starlette.applications import Starlette  # noqa: PLC0415

            uvicorn.run(Starlette(lifespan=boot.lifespan), port=0)
        else:
            boot.run(backend=how)
    except BaseException:
        log.exception("It did not start")
        raise
