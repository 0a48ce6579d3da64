"""Parameters are dependencies: what each one is filled with, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from hive_boot import Bootstrap, DeclarationError, Secret, SecretSet
from hive_boot.runtime.injection import (
    Injectables,
    InjectionContext,
    display_name,
    fields_read,
    resolve_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class LibrarySecrets(SecretSet):
    """What a library needs."""

    token: Secret


class HiveSecrets(LibrarySecrets):
    """What the application needs."""

    jwt_secret: Secret


class OtherSecrets(SecretSet):
    """What another application needs."""

    token: Secret


@dataclass
class HiveSettings:
    """What is not secret."""

    port: int = 3000


class WithToken(Protocol):
    """Whatever has a token."""

    token: Secret


OFFERED = Injectables({HiveSecrets: "secrets", Bootstrap: "boot", HiveSettings: "config"})

PARTS = Injectables(OFFERED.types, {"pool": 1, "agents": 2, "secrets_of_pool": 3})


def filled(function: Callable[..., Any]) -> dict[str, str]:
    """Resolve the parameters of ``function`` to a set, a Bootstrap and settings."""
    return resolve_parameters(function, OFFERED)


def refused(function: Callable[..., Any]) -> str:
    """Return the error about a function that cannot be filled."""
    with pytest.raises(DeclarationError) as caught:
        filled(function)
    return str(caught.value)


def test_parameters_are_filled_by_type() -> None:
    """The annotation decides, as text or as a type; neither name nor order of a parameter does."""

    async def any_order(
        a: HiveSettings, b: Bootstrap[HiveSecrets, HiveSettings], *, c: HiveSecrets
    ) -> None: ...

    async def base_classes(secrets: LibrarySecrets, also: SecretSet) -> None: ...

    async def plain(boot: Bootstrap) -> None: ...  # type: ignore[type-arg]

    async def evaluated(a: object, b: object) -> None: ...

    evaluated.__annotations__ = {"a": HiveSecrets, "b": Bootstrap[HiveSecrets, None]}
    assert filled(any_order) == {"a": "config", "b": "boot", "c": "secrets"}
    assert filled(base_classes) == {"secrets": "secrets", "also": "secrets"}
    assert filled(plain) == {"boot": "boot"}
    assert filled(evaluated) == {"a": "secrets", "b": "boot"}


def test_the_last_name_counts_when_an_annotation_cannot_be_evaluated() -> None:
    """A type that is imported for the type checker alone is found by its name."""

    async def main(secrets: object, config: object, boot: object, plain: object) -> None: ...

    # The names in these are imported under TYPE_CHECKING in an application.
    main.__annotations__ = {
        "secrets": "application.HiveSecrets",
        "config": "application.settings.HiveSettings",
        "boot": "hive.Bootstrap[HiveSecrets, application.Unseen]",
        "plain": "Bootstrap[HiveSecrets, Unseen]",
    }
    expected = {"secrets": "secrets", "config": "config", "boot": "boot", "plain": "boot"}
    assert filled(main) == expected


def test_parameters_that_need_nothing_are_left_alone() -> None:
    """A default is the author's answer, also beside a part of that name; ``*args`` need nothing."""

    async def defaults(secrets: HiveSecrets | None = None, port: int = 3000) -> None: ...

    async def gathering(
        secrets: HiveSecrets, *args: HiveSecrets, **kwargs: HiveSettings
    ) -> None: ...

    async def like_parts(pool: int = 3, *agents: int, **secrets_of_pool: int) -> None: ...

    assert filled(defaults) == {}
    assert filled(gathering) == {"secrets": "secrets"}
    assert resolve_parameters(like_parts, PARTS) == {}


def test_a_parameter_that_cannot_be_filled_is_refused() -> None:
    """What is on offer is given for its own type, and not for everything or by resemblance."""

    async def main(wanted: object) -> None: ...

    annotations = [
        "int",
        "object",
        "type",
        "Any",
        "OtherSecrets",
        "HiveSecrets | None",
        "list[HiveSecrets]",
        "WithToken",
        "1",
        "1 +",
        "application.Unseen",
    ]
    for annotation in annotations:
        main.__annotations__ = {"wanted": annotation}
        assert "'wanted'" in refused(main), annotation

    # Parameters are given by name, also those that name a part.
    async def by_position(secrets: HiveSecrets, /) -> None: ...

    async def part_by_position(pool: int, /) -> None: ...

    async def bare(secrets) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    assert "'secrets'" in refused(by_position)
    assert "'secrets'" in refused(bare)
    with pytest.raises(DeclarationError, match="'pool'"):
        resolve_parameters(part_by_position, PARTS)


def test_a_partial_is_read_as_its_function() -> None:
    """It asks for what is left open, and is called by the function's name."""

    async def main(secrets: HiveSecrets, port: int) -> None: ...

    assert filled(partial(main, port=1)) == {"secrets": "secrets"}
    told = refused(partial(partial(main)))
    assert told.startswith("main()")
    assert "'port'" in told


def test_the_name_of_a_part_comes_before_the_type() -> None:
    """A parameter called like a part gets the part, whatever its type, evaluated or not."""

    async def main(pool: HiveSecrets, other: HiveSecrets, agents) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    async def unseen(pool: object, *, agents: object) -> None: ...

    unseen.__annotations__ = {"pool": "library.Unseen[int]", "agents": "1 +"}
    assert resolve_parameters(main, PARTS) == {
        "pool": "pool",
        "other": "secrets",
        "agents": "agents",
    }
    assert resolve_parameters(unseen, PARTS) == {"pool": "pool", "agents": "agents"}


def test_the_change_of_a_hook_may_be_called_like_a_part() -> None:
    """What comes first is given by position, and its name is the author's."""

    async def hook(pool: object, agents: int) -> None: ...

    assert resolve_parameters(hook, PARTS, first=1) == {"agents": "agents"}


def test_a_hook_has_a_positional_parameter_for_the_change() -> None:
    """Without a first parameter that is passed by position it is refused."""

    async def nothing() -> None: ...

    async def by_keyword(*, change: object) -> None: ...

    async def variadic(*change: object) -> None: ...

    for hook in (nothing, by_keyword, variadic):
        with pytest.raises(DeclarationError, match=hook.__name__):
            resolve_parameters(hook, PARTS, first=1)


def test_the_context_shows_no_value() -> None:
    """A part may hold what is secret: neither a debugger's line nor a log shows any of it."""
    given = InjectionContext({"config": "fake-value-0123456789"}, lambda name: f"fake-part-{name}")
    assert given["config"] == "fake-value-0123456789"
    assert given["pool"] == "fake-part-pool"
    shown = f"{given!r} {given} {vars(type(given)).get('__dict__')}"
    assert "fake-" not in shown
    assert not hasattr(given, "__dict__")


def test_a_function_has_the_name_of_its_definition() -> None:
    """A method with its class, a partial by its function, an object without a name by itself."""

    class Callable_:  # noqa: N801  (its name is what is looked at)
        """Something to call that has no name."""

        def method(self) -> None: ...

        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return "<it>"

    assert display_name(Callable_().method) == "Callable_.method"
    assert display_name(Callable_()) == "<it>"


def test_a_function_without_code_reads_no_field() -> None:
    """A function of C or an object with ``__call__`` cannot be examined."""
    assert fields_read(print, HiveSecrets) == frozenset()
