"""Parameters are dependencies: what each one is filled with, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from hive_boot import Bootstrap, DeclarationError, Secret, SecretSet
from hive_boot.bootstrap.wiring import Given, Offer, Wired, label, plan, wire

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


def test_nothing_is_asked_and_nothing_given() -> None:
    """A function without parameters is called without any."""

    async def main() -> None: ...

    assert filled(main) == {}


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


@pytest.mark.parametrize(
    "annotation",
    [
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
    ],
)
def test_an_annotation_that_nothing_on_offer_has_is_refused(annotation: str) -> None:
    """What is on offer is given for its own type, and not for everything or by resemblance."""

    async def main(wanted: object) -> None: ...

    main.__annotations__ = {"wanted": annotation}
    assert "'wanted'" in refused(main)


def test_the_refusal_names_function_parameter_and_what_there_is() -> None:
    """One line tells the author where the parameter is and what could be written there."""

    async def main(pool: int) -> None: ...

    assert refused(main) == (
        "main() has a "
        "parameter 'pool' that nothing fills: annotate it with one of HiveSecrets, Bootstrap, "
        "HiveSettings, or give it a default"
    )


def test_what_is_no_plain_function_is_read_as_well() -> None:
    """A partial of a function asks for what is left open, and is called by the function's name."""

    async def main(secrets: HiveSecrets, port: int) -> None: ...

    assert filled(partial(main, port=1)) == {"secrets": "secrets"}
    assert refused(partial(partial(main))).startswith("main() has a parameter 'port'")


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

    with pytest.raises(DeclarationError, match="a parameter 'pool' that nothing fills"):
        plan(main, PARTS)


def test_the_refusal_names_the_parts() -> None:
    """A typing error in a name is seen beside what there is."""

    async def main(pol: int) -> None: ...

    with pytest.raises(DeclarationError) as caught:
        plan(main, PARTS)
    assert str(caught.value) == (
        "main() has a parameter 'pol' that nothing fills: call it like one of the parts pool, "
        "agents, secrets_of_pool, annotate it with one of HiveSecrets, Bootstrap, HiveSettings, "
        "or give it a default"
    )


def work(*gathered: object, pool: int, config: HiveSettings) -> str:
    """Tell what it is given."""
    return f"{gathered} {pool} {config.port}"


def test_a_wired_function_is_called_with_what_it_needs() -> None:
    """By name what it asked for, after what comes by position, and nothing else is looked at."""
    wired = wire(work, PARTS)
    asked: list[str] = []

    def part(name: str) -> object:
        asked.append(name)
        return 7

    assert (wired.label, wired.needs) == ("work", ("pool", "config"))
    assert wired(Given({"config": HiveSettings(1)}, part)) == "() 7 1"
    assert wired(Given({"config": HiveSettings(2), "pool": 8}, part), "first") == "('first',) 8 2"
    assert asked == ["pool"]


def test_what_two_parameters_ask_for_is_needed_once() -> None:
    """Two names for the secrets are one thing to wait for."""
    assert Wired(work, {"a": "secrets", "b": "pool", "c": "secrets"}).needs == ("secrets", "pool")


def test_what_there_is_to_give_shows_nothing() -> None:
    """A part may hold what is secret: neither a debugger's line nor a log shows any of it."""
    given = Given({"config": "fake-value-0123456789"}, lambda name: f"fake-part-{name}")
    assert given["config"] == "fake-value-0123456789"
    assert given["pool"] == "fake-part-pool"
    shown = f"{given!r} {given} {vars(type(given)).get('__dict__')}"
    assert "fake-" not in shown
    assert not hasattr(given, "__dict__")


def test_without_parts_what_is_not_known_is_an_error_of_ours() -> None:
    """The plan has refused it before: this cannot happen, and does not pass unseen."""
    with pytest.raises(KeyError):
        Given({})["pool"]


def test_a_function_is_called_what_its_author_calls_it() -> None:
    """A method with its class, a partial by its function, an object without a name by itself."""

    class Callable_:  # noqa: N801  (its name is what is looked at)
        """Something to call that has no name."""

        def method(self) -> None: ...

        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return "<it>"

    assert label(Callable_().method) == "Callable_.method"
    assert label(partial(partial(work), pool=1)) == "work"
    assert label(Callable_()) == "<it>"
