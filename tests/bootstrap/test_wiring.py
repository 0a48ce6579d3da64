"""Parameters are dependencies: what each one is filled with, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from hive_boot import Bootstrap, DeclarationError, Secret, SecretSet
from hive_boot.bootstrap.wiring import Given, Offer, label, plan

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


OFFERED = Offer({HiveSecrets: "secrets", Bootstrap: "boot", HiveSettings: "config"})


def filled(function: Callable[..., Any]) -> dict[str, str]:
    """Plan ``function`` with a set, a Bootstrap and a settings class on offer."""
    return plan(function, OFFERED)


def refused(function: Callable[..., Any]) -> str:
    """Give what is said of a function that cannot be filled."""
    with pytest.raises(DeclarationError) as caught:
        filled(function)
    return str(caught.value)


def test_parameters_are_filled_by_type_in_any_order() -> None:
    """The annotation decides; neither the name nor the order of a parameter does."""

    async def main(
        a: HiveSettings, b: Bootstrap[HiveSecrets, HiveSettings], *, c: HiveSecrets
    ) -> None: ...

    assert filled(main) == {"a": "config", "b": "boot", "c": "secrets"}


def test_annotations_that_are_types_already_count_the_same() -> None:
    """A module without ``from __future__ import annotations`` is read as well."""

    async def main(a: object, b: object) -> None: ...

    main.__annotations__ = {"a": HiveSecrets, "b": Bootstrap[HiveSecrets, None]}
    assert filled(main) == {"a": "secrets", "b": "boot"}


def test_a_base_class_is_filled() -> None:
    """A library's function that knows only its own part of the declaration is served."""

    async def main(secrets: LibrarySecrets, also: SecretSet) -> None: ...

    assert filled(main) == {"secrets": "secrets", "also": "secrets"}


def test_a_plain_bootstrap_is_filled() -> None:
    """The application itself can be asked for with its type arguments or without."""

    async def main(boot: Bootstrap) -> None: ...  # type: ignore[type-arg]

    assert filled(main) == {"boot": "boot"}


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


def test_an_unknown_name_that_cannot_be_evaluated_is_refused() -> None:
    """A name that nothing on offer has is not guessed at."""

    async def main(config: object) -> None: ...

    main.__annotations__ = {"config": "application.Unseen"}
    assert "'config'" in refused(main)


def test_parameters_with_defaults_are_left_alone() -> None:
    """A default is the author's answer, also where something could be given."""

    async def main(secrets: HiveSecrets | None = None, port: int = 3000) -> None: ...

    assert filled(main) == {}


def test_gathering_parameters_are_left_alone() -> None:
    """``*args`` and ``**kwargs`` need nothing, so they get nothing."""

    async def main(secrets: HiveSecrets, *args: HiveSecrets, **kwargs: HiveSettings) -> None: ...

    assert filled(main) == {"secrets": "secrets"}


def test_a_positional_only_parameter_is_refused() -> None:
    """Parameters are given by name, so one without a usable name is a clear error."""

    async def main(secrets: HiveSecrets, /) -> None: ...

    assert "'secrets'" in refused(main)


def test_a_parameter_without_annotation_is_refused() -> None:
    """A name alone says nothing: nothing is guessed."""

    async def main(secrets) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    assert "'secrets'" in refused(main)


def test_an_annotation_that_nothing_on_offer_has_is_refused() -> None:
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
    ]
    for annotation in annotations:
        main.__annotations__ = {"wanted": annotation}
        assert "'wanted'" in refused(main), annotation


def test_a_partial_is_read_as_its_function() -> None:
    """It asks for what is left open, and is called by the function's name."""

    async def main(secrets: HiveSecrets, port: int) -> None: ...

    assert filled(partial(main, port=1)) == {"secrets": "secrets"}
    told = refused(partial(partial(main)))
    assert told.startswith("main()")
    assert "'port'" in told


PARTS = Offer(OFFERED.kinds, {"pool": 1, "agents": 2, "secrets_of_pool": 3})


def test_the_name_of_a_part_comes_before_the_type() -> None:
    """Who names a part gets the part, whatever its type; the type decides for other names."""

    async def main(pool: HiveSecrets, other: HiveSecrets, agents) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    assert plan(main, PARTS) == {"pool": "pool", "other": "secrets", "agents": "agents"}


def test_a_part_whose_type_cannot_be_evaluated_is_found_by_its_name() -> None:
    """What a part yields may be imported for the type checker alone."""

    async def main(pool: object, *, agents: object) -> None: ...

    main.__annotations__ = {"pool": "library.Unseen[int]", "agents": "1 +"}
    assert plan(main, PARTS) == {"pool": "pool", "agents": "agents"}


def test_a_parameter_with_a_default_is_left_alone_whatever_its_name() -> None:
    """A default is an answer, also beside a part of that name."""

    async def main(pool: int = 3, *agents: int, **secrets_of_pool: int) -> None: ...

    assert plan(main, PARTS) == {}


def test_the_change_of_a_hook_may_be_called_like_a_part() -> None:
    """What comes first is given by position, and its name is the author's."""

    async def hook(pool: object, agents: int) -> None: ...

    assert plan(hook, PARTS, first=1) == {"agents": "agents"}


def test_a_part_by_position_alone_is_refused() -> None:
    """Parameters are given by name, also those that name a part."""

    async def main(pool: int, /) -> None: ...

    with pytest.raises(DeclarationError, match="'pool'"):
        plan(main, PARTS)


def test_what_there_is_to_give_shows_nothing() -> None:
    """A part may hold what is secret: neither a debugger's line nor a log shows any of it."""
    given = Given({"config": "fake-value-0123456789"}, lambda name: f"fake-part-{name}")
    assert given["config"] == "fake-value-0123456789"
    assert given["pool"] == "fake-part-pool"
    shown = f"{given!r} {given} {vars(type(given)).get('__dict__')}"
    assert "fake-" not in shown
    assert not hasattr(given, "__dict__")


def test_a_function_is_called_what_its_author_calls_it() -> None:
    """A method with its class, a partial by its function, an object without a name by itself."""

    class Callable_:  # noqa: N801  (its name is what is looked at)
        """Something to call that has no name."""

        def method(self) -> None: ...

        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return "<it>"

    assert label(Callable_().method) == "Callable_.method"
    assert label(Callable_()) == "<it>"
