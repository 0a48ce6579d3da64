"""What the author has declared, as a run takes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap.wiring import Wired, is_async, label, wire
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot.bootstrap.wiring import Work
    from hive_boot.secrets.mode import Wishes
    from hive_boot.secrets.sources.reading import Value


class Hook:
    """What is called after a rotation.

    Args:
        work: the function.
        names: the fields that it is about; none stands for all.
        timeout: seconds that one call may take.
    """

    __slots__ = ("names", "timeout", "work")

    def __init__(self, work: Work, names: frozenset[str], timeout: float) -> None:
        self.work = work
        self.names = names
        self.timeout = timeout


class Plan:
    """What the author has declared.

    Args:
        declared: the set of secrets.
        factory: what makes the settings.
        wishes: what was decided about mode, profile and places.
        watch: whether changed files are taken up.
        wait: seconds that missing files are waited for.
        start_timeout: seconds that the checks of a start, or of a rotation, may take.
        scrub_environ: whether the variables of the secrets leave the environment.

    Attributes:
        main: what runs when everything is ready.
        checks: what judges a set before it is in use.
        hooks: what hears of a rotation.
        given: values that count more than any source, by attribute; None for none.

    Raises:
        DeclarationError: one of the arguments cannot be.
    """

    def __init__(  # noqa: PLR0913  (each is a name of Bootstrap's)
        self,
        declared: type[Any],
        factory: Callable[..., Any] | None,
        wishes: Wishes,
        *,
        watch: bool,
        wait: float,
        start_timeout: float,
        scrub_environ: bool,
    ) -> None:
        given: object = declared
        if not (isinstance(given, type) and issubclass(given, SecretSet)):
            message = "Bootstrap takes a class that derives from SecretSet"
            raise DeclarationError(message)
        maker: object = factory
        if maker is not None and not callable(maker):
            message = "config= has to be a class or a function that makes the settings"
            raise DeclarationError(message)
        if is_async(factory):
            message = "config= cannot be an async def: settings are made without a loop"
            raise DeclarationError(message)
        flag: object = watch
        if not isinstance(flag, bool):
            message = "watch= has to be True or False"
            raise DeclarationError(message)
        refuse_seconds("start_timeout=", start_timeout)
        refuse_seconds("wait=", wait, least=0)
        self.declared = declared
        self.factory = factory
        self.wishes = wishes
        self.watch = watch
        self.wait = wait
        self.start_timeout = start_timeout
        self.scrub_environ = scrub_environ
        self.main: Work | None = None
        self.checks: list[Work] = []
        self.hooks: list[Hook] = []
        self.given: Mapping[str, Value | None] = {}

    def wire_checks(self, offered: Mapping[type, str]) -> list[Wired]:
        """Decide what each check gets.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [wire(work, offered) for work in self.checks]

    def wire_hooks(self, offered: Mapping[type, str]) -> list[tuple[Wired, Hook]]:
        """Decide what each hook gets, beside the change.

        Raises:
            DeclarationError: a parameter asks for what there is not.
        """
        return [(wire(hook.work, offered, first=1), hook) for hook in self.hooks]


def refuse_seconds(name: str, value: object, *, least: float | None = None) -> None:
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


def refuse_plain(decorator: str, function: object) -> None:
    """Refuse what cannot be awaited.

    Raises:
        DeclarationError: it is no ``async def``.
    """
    if not is_async(function):
        message = f"{decorator} takes an async def, and {function!r} is none"
        raise DeclarationError(message)


def refuse_second(function: Work | None) -> None:
    """Refuse a second main.

    Raises:
        DeclarationError: there is one already.
    """
    if function is not None:
        message = f"there is a main already: {label(function)}"
        raise DeclarationError(message)
