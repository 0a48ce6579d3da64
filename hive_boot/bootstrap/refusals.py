"""What a declaration cannot be is refused where it is written, in one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hive_boot.bootstrap.wiring import display_name, is_async
from hive_boot.exceptions import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from hive_boot.bootstrap.wiring import Work


def validate_seconds(name: str, value: object, *, least: float | None = None) -> None:
    """Refuse what is no number of seconds.

    Args:
        name: what is said of it.
        value: what was given.
        least: the smallest number that is allowed; None when it has to be above 0.

    Raises:
        DeclarationError: it is none.
    """
    bad = not isinstance(value, int | float) or isinstance(value, bool) or not value < math.inf
    if bad or (value <= 0 if least is None else value < least):  # type: ignore[operator]
        bound = "above 0" if least is None else f"from {least:g} on"
        message = f"{name} has to be a number of seconds {bound}"
        raise DeclarationError(message)


def require_async(decorator: str, function: object) -> None:
    """Refuse what cannot be awaited.

    Raises:
        DeclarationError: it is no ``async def``.
    """
    if not is_async(function):
        message = f"{decorator} takes an async def, and {function!r} is none"
        raise DeclarationError(message)


def require_single_main(function: Work | None) -> None:
    """Refuse a second main.

    Raises:
        DeclarationError: there is one already.
    """
    if function is not None:
        message = f"there is a main already: {display_name(function)}"
        raise DeclarationError(message)


def validate_resource(function: object, taken: Collection[str]) -> None:
    """Refuse what cannot be started, or asked for.

    Raises:
        DeclarationError: it is neither an async generator nor an ``async def``, or its name
            is taken.
    """
    from inspect import isasyncgenfunction  # noqa: PLC0415  (many have no part)

    if not (isasyncgenfunction(function) or is_async(function)):
        message = f"@boot.part takes an async def, with one yield or with none: {function!r}"
        raise DeclarationError(message)
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        message = f"@boot.part takes a function with a name: {function!r}"
        raise DeclarationError(message)
    if name in {"secrets", "config", "boot"}:
        message = f"a part cannot be called {name}: that is what requests know other things by"
        raise DeclarationError(message)
    if name in taken:
        message = f"there is a part {name} already"
        raise DeclarationError(message)


def validate_field_names(names: Collection[str], known: Collection[str], whose: str) -> None:
    """Refuse names of fields that there are not.

    Raises:
        DeclarationError: there are some.
    """
    if unknown := [name for name in names if name not in list(known)]:
        message = f"{whose} declares no {', '.join(map(str, unknown))}"
        raise DeclarationError(message)


def validate_service(restart: object, budget: object) -> None:
    """Refuse what cannot be kept up.

    Raises:
        DeclarationError: it says neither when it is started again, or not how often.
    """
    if restart not in {"never", "on-failure"}:
        message = f"restart={restart!r} is none of never, on-failure"
        raise DeclarationError(message)
    if type(budget) is not int or budget < 0:
        message = "budget= has to be a whole number from 0 on"
        raise DeclarationError(message)


def require_unique_name(function: Work, others: Collection[Work]) -> None:
    """Refuse a second service of the same name: nobody could tell them apart.

    Raises:
        DeclarationError: there is one already.
    """
    if display_name(function) in map(display_name, others):
        message = f"there is a service {display_name(function)} already"
        raise DeclarationError(message)


def validate_backend(backend: object) -> None:
    """Refuse a loop that there is not.

    Raises:
        DeclarationError: it is none, or not installed.
    """
    if backend not in {"asyncio", "trio", "uvloop"}:
        message = f"backend={backend!r} is none of asyncio, trio, uvloop"
        raise DeclarationError(message)
    if backend == "asyncio":
        return
    from importlib.util import find_spec  # noqa: PLC0415  (most run on asyncio)

    if find_spec(str(backend)) is None:
        message = f"backend={backend!r} needs the package {backend}: pip install {backend}"
        raise DeclarationError(message)


def forbid_main_with_serve(main: Work | None) -> None:
    """Refuse a main beside an application that is served: one of them would not be called.

    Raises:
        DeclarationError: there is one.
    """
    if main is not None:
        message = (
            f"boot.serve runs the ASGI application, and {display_name(main)} is the main already"
        )
        raise DeclarationError(message)
