"""What an author declares, and what is refused where it stands."""

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from hive_boot import Bootstrap, Change, DeclarationError, Secret, SecretSet
from hive_boot.bootstrap import refusals

VALUE = "fake-jwt-secret-0123456789-0123456789"


class HiveSecrets(SecretSet):
    """What the application needs."""

    jwt_secret: Secret
    api_key: Secret | None


@dataclass
class Settings:
    """What is not secret."""

    port: int = 3000


NO_NUMBERS = [None, "5", "", True, False, 1j, math.nan, math.inf, -math.inf, [], object()]
"""What counts no seconds."""


def refusal(declare: Callable[[], object]) -> str:
    """Give what is said of a declaration that cannot be."""
    with pytest.raises(DeclarationError) as caught:
        declare()
    return str(caught.value)


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[HiveSecrets, Settings]:
    """Give an application that can be started."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    return Bootstrap(HiveSecrets, config=Settings, mode="environment")


@pytest.mark.parametrize("wrong", [None, 1, 0, "yes", "", [], object()])
def test_watch_is_yes_or_no(wrong: Any) -> None:  # noqa: ANN401  (what is wrong)
    """A word that looks like no would mean yes, so only the two truths are taken."""
    assert refusal(lambda: Bootstrap(HiveSecrets, watch=wrong)) == "watch= has to be True or False"


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, -1, -0.001])
def test_wait_is_a_number_of_seconds(wrong: Any) -> None:  # noqa: ANN401  (what is wrong)
    """A wait that can never end, or that is none, is refused; zero is no wait."""
    told = refusal(lambda: Bootstrap(HiveSecrets, wait=wrong))
    assert told == "wait= has to be a number of seconds from 0 on"


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, -1, 0, 0.0])
def test_start_timeout_is_a_number_of_seconds(wrong: Any) -> None:  # noqa: ANN401  (what is wrong)
    """A start without any time could never succeed, and one without an end would hang."""
    told = refusal(lambda: Bootstrap(HiveSecrets, start_timeout=wrong))
    assert told == "start_timeout= has to be a number of seconds above 0"


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, -1, 0, 0.0])
def test_the_time_of_a_hook_is_a_number_of_seconds(
    wrong: Any,  # noqa: ANN401  (what is wrong)
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """A hook that has no time could never succeed, and one that may hang would go unnoticed."""
    told = refusal(lambda: boot.on_rotate(timeout=wrong))
    assert told == "timeout= has to be a number of seconds above 0"


def test_good_numbers_are_taken() -> None:
    """Whole numbers and fractions, small and large, are seconds."""
    for seconds in (0.001, 1, 30, 86400.0):
        boot = Bootstrap(HiveSecrets, watch=True, wait=seconds, start_timeout=seconds)
        assert callable(boot.on_rotate("jwt_secret", timeout=seconds))
    Bootstrap(HiveSecrets, watch=False, wait=0)
    Bootstrap(HiveSecrets, wait=0.0)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("jwt_secrt",), "HiveSecrets declares no jwt_secrt"),
        (("JWT_SECRET",), "HiveSecrets declares no JWT_SECRET"),
        (("api_key", "a", "jwt_secret", "b"), "HiveSecrets declares no a, b"),
        (("",), "HiveSecrets declares no "),
        ((3, None), "HiveSecrets declares no 3, None"),
    ],
)
def test_a_hook_is_about_fields(
    names: tuple[Any, ...], told: str, boot: Bootstrap[HiveSecrets, Settings]
) -> None:
    """A typing error would be a hook that is never called: all of them are named at once."""
    assert refusal(lambda: boot.on_rotate(*names)) == told


def test_a_hook_without_brackets_is_told_what_is_missing(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """Who forgets the brackets of the decorator is told to write them."""

    async def reconnect(change: Change) -> None: ...

    wrong: Any = reconnect
    assert "write @boot.on_rotate()" in refusal(lambda: boot.on_rotate(wrong))


@pytest.mark.parametrize("wrong", [["jwt_secret"], {"jwt_secret"}, {}])
def test_names_in_a_list_are_refused_like_other_mistakes(
    wrong: Any,  # noqa: ANN401  (what is wrong)
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """Names are given one by one; a list of them is a bug of the code that is told as one."""
    assert "HiveSecrets declares no " in refusal(lambda: boot.on_rotate(wrong))


def plain_function() -> None:
    """Be called, and not awaited."""


async def generator() -> AsyncIterator[int]:
    """Yield, as no check does."""
    yield 1


NOT_ASYNC = [plain_function, generator, 3, None, Settings, partial(plain_function)]


@pytest.mark.parametrize("wrong", NOT_ASYNC)
def test_a_check_is_an_async_def(
    wrong: Any,  # noqa: ANN401  (what is wrong)
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """What cannot be awaited would pass everything."""
    told = refusal(lambda: boot.check(wrong))
    assert told == f"@boot.check takes an async def, and {wrong!r} is none"


@pytest.mark.parametrize("wrong", NOT_ASYNC)
def test_a_hook_is_an_async_def(
    wrong: Any,  # noqa: ANN401  (what is wrong)
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """What cannot be awaited is refused where it is declared."""
    told = refusal(lambda: boot.on_rotate()(wrong))
    assert told == f"@boot.on_rotate() takes an async def, and {wrong!r} is none"


async def without_change() -> None:
    """Take nothing."""


async def change_by_name(*, change: Change) -> None:
    """Take the change by its name alone."""


async def all_by_name(**more: object) -> None:
    """Take whatever there is by name."""


async def pool_first(change: Change, pool: int) -> None:
    """Ask for what nobody has."""


async def positional(change: Change, secrets: HiveSecrets, /) -> None:
    """Take by position what is given by name."""


THERE = "annotate it with one of HiveSecrets, Bootstrap, Settings, or give it a default"
FIRST = "has to take the change as its first parameter"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("hook", "told"),
    [
        (without_change, f"without_change() {FIRST}"),
        (change_by_name, f"change_by_name() {FIRST}"),
        (all_by_name, f"all_by_name() {FIRST}"),
        (pool_first, f"pool_first() has a parameter 'pool' that nothing fills: {THERE}"),
        (positional, f"positional() has a parameter 'secrets' that nothing fills: {THERE}"),
    ],
)
async def test_the_parameters_of_a_hook_are_looked_at_before_anything_runs(
    hook: Any,  # noqa: ANN401  (what is wrong)
    told: str,
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """A hook that cannot be called is told at the start, not at the first rotation."""
    boot.on_rotate()(hook)
    with pytest.raises(DeclarationError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    assert str(caught.value) == told
    assert boot.status().state == "armed"


async def asks_for_a_pool(pool: int) -> None:
    """Ask for what nobody has."""


async def asks_for_anything(secrets) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  (what is wrong)
    """Ask for nothing in particular."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("check", "parameter"), [(asks_for_a_pool, "pool"), (asks_for_anything, "secrets")]
)
async def test_the_parameters_of_a_check_are_looked_at_before_anything_runs(
    check: Any,  # noqa: ANN401  (what is wrong)
    parameter: str,
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """A check that asks for what there is not is a bug of the code, found before any reading."""
    boot.check(check)
    with pytest.raises(DeclarationError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    told = f"{check.__name__}() has a parameter {parameter!r} that nothing fills: {THERE}"
    assert str(caught.value) == told


def test_what_is_decorated_stays_what_it_was(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """A test can call a check or a hook as the function that it is."""

    async def check(secrets: HiveSecrets) -> None: ...

    async def hook(change: Change, boot: Bootstrap[HiveSecrets, Settings]) -> None: ...

    assert boot.check(check) is check
    assert boot.on_rotate("jwt_secret", timeout=3)(hook) is hook


def test_a_second_main_names_the_first() -> None:
    """Who looks for the other one is told its name."""

    async def serve() -> None: ...

    refusals.refuse_second(None)
    assert refusal(lambda: refusals.refuse_second(serve)) == "there is a main already: serve"


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, -1, 0, 0.0])
def test_stop_timeout_is_a_number_of_seconds(wrong: Any) -> None:  # noqa: ANN401  (what is wrong)
    """A stop without any time would break off everything."""
    told = refusal(lambda: Bootstrap(HiveSecrets, stop_timeout=wrong))
    assert told == "stop_timeout= has to be a number of seconds above 0"


@pytest.mark.parametrize("wrong", [*NO_NUMBERS[1:], -1, -0.001])
def test_drain_is_a_number_of_seconds_or_none(wrong: Any) -> None:  # noqa: ANN401  (what is wrong)
    """None leaves it to the mode, 0 is no drain; a drain without end would never stop."""
    told = refusal(lambda: Bootstrap(HiveSecrets, drain=wrong))
    assert told == "drain= has to be a number of seconds from 0 on"


@pytest.mark.parametrize("wrong", ["8081", -1, 65536, 8081.0, True, False, "", []])
def test_the_port_of_the_probes_is_a_port(wrong: Any) -> None:  # noqa: ANN401  (what is wrong)
    """What nothing can listen on is refused where it stands, and so are yes and no."""
    told = refusal(lambda: Bootstrap(HiveSecrets, probe_port=wrong))
    assert told == "probe_port= has to be a number of a port, or 0 for any that is free"


def test_good_arguments_of_a_stop_are_taken() -> None:
    """Each of them may be left out, or be as small as it can."""
    for drain in (None, 0, 0.5, 30):
        Bootstrap(HiveSecrets, drain=drain, stop_timeout=0.001)
    for port in (None, 0, 1, 8081, 65535):
        Bootstrap(HiveSecrets, probe_port=port, stop_timeout=3600)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("jwt_secrt",), "HiveSecrets declares no jwt_secrt"),
        (("JWT_SECRET", "api_key"), "HiveSecrets declares no JWT_SECRET"),
        (("api_key", "a", "jwt_secret", "b"), "HiveSecrets declares no a, b"),
        (("",), "HiveSecrets declares no "),
        ((3, None), "HiveSecrets declares no 3, None"),
    ],
)
def test_a_check_is_about_fields(
    names: tuple[Any, ...], told: str, boot: Bootstrap[HiveSecrets, Settings]
) -> None:
    """A typing error would be a check that no rotation asks: all of them are named at once."""
    assert refusal(lambda: boot.check(*names)) == told
    assert refusal(lambda: boot.check(*names, timeout=3)) == told


def test_two_functions_are_no_names(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """One check is declared at a time."""

    async def check() -> None: ...

    wrong: Any = check
    assert "HiveSecrets declares no <function" in refusal(lambda: boot.check(wrong, wrong))


def test_a_check_is_declared_in_three_forms(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """Bare, with empty brackets, with names and a time: it stays the function that it is."""

    async def check(secrets: HiveSecrets) -> None: ...

    assert boot.check(check) is check
    assert boot.check()(check) is check
    assert boot.check("jwt_secret", "api_key", timeout=3)(check) is check
    declared = boot._plan.checks  # noqa: SLF001  (as a start takes it)
    assert [(each.work, sorted(each.names), each.timeout) for each in declared] == [
        (check, [], None),
        (check, [], None),
        (check, ["api_key", "jwt_secret"], 3),
    ]


def test_a_main_is_declared_in_two_forms() -> None:
    """Bare, or with what is to be said of it."""

    async def main() -> None: ...

    boot = Bootstrap(HiveSecrets)
    assert boot.main(main) is main
    assert not boot._plan.must_finish  # noqa: SLF001  (as a start takes it)
    boot = Bootstrap(HiveSecrets)
    assert boot.main(must_finish=False)(main) is main
    assert not boot._plan.must_finish  # noqa: SLF001  (as a start takes it)
    boot = Bootstrap(HiveSecrets)
    assert boot.main(must_finish=True)(main) is main
    assert boot._plan.must_finish  # noqa: SLF001  (as a start takes it)
    with pytest.raises(DeclarationError, match=r"there is a main already: .*main"):
        boot.main(must_finish=False)(main)
    assert boot._plan.must_finish  # noqa: SLF001  (as a start takes it)


def test_parts_are_put_in_order_before_anything_runs(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """Each comes after those that it asks for, and an application without parts has none."""
    plan, offered = boot._plan, boot._offered()  # noqa: SLF001  (as a start does)
    assert plan.wire_parts(offered) == {}

    @boot.part
    async def api(agents: int, pool: int, secrets: HiveSecrets) -> None: ...

    @boot.part(timeout=3)
    async def agents(pool: int) -> None: ...

    @boot.part
    async def pool(config: Settings) -> None: ...

    wired = plan.wire_parts(boot._offered())  # noqa: SLF001  (as a start does)
    assert list(wired) == ["pool", "agents", "api"]
    assert [work.needs for work, _ in wired.values()] == [
        ("config",),
        ("pool",),
        ("agents", "pool", "secrets"),
    ]
    assert [part.timeout for _, part in wired.values()] == [None, 3, None]


@pytest.mark.anyio
async def test_the_parameters_of_a_service_are_looked_at_before_anything_runs(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """A service that cannot be called is told at the start, and not each time it fails."""

    @boot.service
    async def poll(pool: int) -> None: ...

    with pytest.raises(DeclarationError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    assert str(caught.value) == f"poll() has a parameter 'pool' that nothing fills: {THERE}"
    assert boot.status().state == "armed"
