"""What a declaration cannot be is refused where it stands, in one sentence."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from hive_boot import Bootstrap, DeclarationError
from hive_boot.bootstrap.refusals import (
    refuse_backend,
    refuse_main_and_app,
    refuse_part,
    refuse_same,
    refuse_seconds,
)
from tests.bootstrap.applications import Needs, Settings, application


def refusal(declare: Callable[[], object]) -> str:
    """Give what is said of a declaration that cannot be."""
    with pytest.raises(DeclarationError) as caught:
        declare()
    return str(caught.value)


@pytest.fixture
def boot() -> Bootstrap[Needs, Settings]:
    """Give an application that has declared nothing yet."""
    return application()


def sync_part() -> int:
    """Return, and not wait."""
    return 3


def sync_generator() -> Iterator[int]:
    """Yield, and not wait."""
    yield 3


async def pool() -> AsyncIterator[int]:
    """Be a good part."""
    yield 3


async def number() -> int:
    """Be a good part without a stop."""
    return 3


class Pool:
    """A class is none, even one whose objects could be awaited."""

    async def __call__(self) -> int:
        """Give a number."""
        return 3


NO_PARTS = [sync_part, sync_generator, Pool, Pool(), lambda: 3, 3, None, "pool", partial(sync_part)]


@pytest.mark.parametrize("wrong", NO_PARTS)
def test_a_part_is_an_async_def(boot: Bootstrap[Needs, Settings], wrong: Any) -> None:  # noqa: ANN401
    """What cannot be awaited is no part, with brackets and without; it is shown as it is."""
    expected = f"@boot.part takes an async def, with one yield or with none: {wrong!r}"
    assert refusal(lambda: boot.part(timeout=3)(wrong)) == expected
    if wrong is not None:
        assert refusal(lambda: boot.part(wrong)) == expected


@pytest.mark.parametrize("wrong", NO_PARTS[:-3])
@pytest.mark.parametrize("decorator", ["main", "service", "check"])
def test_the_others_are_async_defs_too(
    boot: Bootstrap[Needs, Settings],
    decorator: str,
    wrong: Any,  # noqa: ANN401  (what is wrong)
) -> None:
    """Neither main, nor a service, nor a check can be a plain function, a class or a lambda."""
    told = refusal(lambda: getattr(boot, decorator)(wrong))
    assert told == f"@boot.{decorator} takes an async def, and {wrong!r} is none"


@pytest.mark.parametrize("decorator", ["main", "service", "check"])
def test_nothing_but_a_part_yields(boot: Bootstrap[Needs, Settings], decorator: str) -> None:
    """A service with a yield in it would never work, and nobody would notice."""
    told = refusal(lambda: getattr(boot, decorator)(pool))
    assert told == f"@boot.{decorator} takes an async def, and {pool!r} is none"


@pytest.mark.parametrize("name", ["secrets", "config", "boot"])
def test_three_names_are_taken(boot: Bootstrap[Needs, Settings], name: str) -> None:
    """Requests find the secrets and the settings under them."""

    async def part() -> None: ...

    part.__name__ = name
    expected = f"a part cannot be called {name}: that is what requests know other things by"
    assert refusal(lambda: boot.part(part)) == expected


@pytest.mark.parametrize("wrong", [partial(pool), partial(number)])
def test_a_part_has_a_name(boot: Bootstrap[Needs, Settings], wrong: Any) -> None:  # noqa: ANN401
    """What has none could not be asked for."""
    assert "@boot.part takes a function with a name" in refusal(lambda: boot.part(wrong))


def test_a_name_that_nothing_can_be_called_by_is_none() -> None:
    """An async lambda, or a name that was made up, is no parameter's."""

    async def part() -> None: ...

    for name in ("<lambda>", "", "two words", "1st"):
        part.__name__ = name
        assert "a function with a name" in refusal(lambda: refuse_part(part, []))


def test_a_second_part_of_a_name_is_refused(boot: Bootstrap[Needs, Settings]) -> None:
    """A parameter could not say which of them it means; the first one stays."""
    first = boot.part(pool)
    assert refusal(lambda: boot.part(pool)) == "there is a part pool already"
    assert refusal(lambda: boot.part(timeout=3)(pool)) == "there is a part pool already"
    assert boot._plan.parts.keys() == {first.name}  # noqa: SLF001  (as a start does)


@pytest.mark.parametrize("wrong", ["3", 0, -1, float("nan"), float("inf"), True])
def test_the_time_of_a_part_is_a_number_of_seconds(
    boot: Bootstrap[Needs, Settings],
    wrong: Any,  # noqa: ANN401  (what is wrong)
) -> None:
    """A part without time could never start."""
    told = refusal(lambda: boot.part(timeout=wrong))
    assert told == "timeout= has to be a number of seconds above 0"


@pytest.mark.parametrize("wrong", ["3", 0, -1, float("nan"), float("inf"), True])
def test_the_time_of_a_check_is_a_number_of_seconds(
    boot: Bootstrap[Needs, Settings],
    wrong: Any,  # noqa: ANN401  (what is wrong)
) -> None:
    """A check without time could never pass."""
    told = refusal(lambda: boot.check("jwt_secret", timeout=wrong))
    assert told == "timeout= has to be a number of seconds above 0"


@pytest.mark.parametrize("wrong", ["3", 0, -1, float("nan"), float("inf"), True, None])
def test_the_time_of_a_budget_is_a_number_of_seconds(
    boot: Bootstrap[Needs, Settings],
    wrong: Any,  # noqa: ANN401  (what is wrong)
) -> None:
    """A budget within no time would be none."""
    told = refusal(lambda: boot.service(within=wrong))
    assert told == "within= has to be a number of seconds above 0"


@pytest.mark.parametrize("wrong", ["always", "", None, True, "on_failure", "ON-FAILURE"])
def test_restart_is_one_of_two_words(boot: Bootstrap[Needs, Settings], wrong: Any) -> None:  # noqa: ANN401
    """A word that means nothing is refused where it stands."""
    told = refusal(lambda: boot.service(restart=wrong))
    assert told == f"restart={wrong!r} is none of never, on-failure"


@pytest.mark.parametrize("wrong", [-1, 1.0, True, None, "5", float("inf")])
def test_a_budget_is_a_whole_number(boot: Bootstrap[Needs, Settings], wrong: Any) -> None:  # noqa: ANN401
    """How often is counted."""
    told = refusal(lambda: boot.service(budget=wrong))
    assert told == "budget= has to be a whole number from 0 on"


def test_a_second_service_of_a_name_is_refused(boot: Bootstrap[Needs, Settings]) -> None:
    """Nobody who reads of one in a log could tell which it is; a partial has a name, too."""

    async def poll() -> None: ...

    assert boot.service(poll) is poll
    assert refusal(lambda: boot.service(poll)) == "there is a service poll already"
    told = refusal(lambda: boot.service(restart="never")(partial(poll)))
    assert told == "there is a service poll already"
    refuse_same(poll, [])


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_a_loop_that_there_is_is_taken(name: str) -> None:
    """Both loops that anyio knows are here."""
    refuse_backend(name)


@pytest.mark.parametrize("wrong", ["curio", "", None, 3, "Trio"])
def test_a_loop_that_there_is_not_is_refused(wrong: object) -> None:
    """The three that there are are named."""
    told = refusal(lambda: refuse_backend(wrong))
    assert told == f"backend={wrong!r} is none of asyncio, trio, uvloop"


@pytest.mark.parametrize("name", ["trio", "uvloop"])
def test_a_loop_that_is_not_installed_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for one is told the package that brings it."""
    monkeypatch.setitem(sys.modules, name, None)
    told = refusal(lambda: refuse_backend(name))
    assert told == f"backend={name!r} needs the package {name}: pip install {name}"


def test_asyncio_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a part of Python."""
    monkeypatch.delitem(sys.modules, "asyncio", raising=False)
    refuse_backend("asyncio")


def test_an_application_that_is_served_has_no_main() -> None:
    """One of the two would never be called."""

    async def work() -> None: ...

    refuse_main_and_app(None)
    told = refusal(lambda: refuse_main_and_app(work))
    assert told == "boot.serve runs the ASGI application, and work is the main already"


@pytest.mark.parametrize("seconds", [0.001, 1, 86400.0])
def test_seconds_are_whole_numbers_and_fractions(seconds: float) -> None:
    """What counts seconds is taken."""
    refuse_seconds("timeout=", seconds)
    refuse_seconds("wait=", 0, least=0)
