"""Wrong arguments and declarations: a DeclarationError that names what is wrong."""

import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from hive_boot import Bootstrap, Change, DeclarationError, Secret
from hive_boot.runtime.injection import display_name
from tests.fixtures.applications import VALUE, Needs, Settings, application

NO_NUMBERS = [None, "5", "", True, False, 1j, math.nan, math.inf, -math.inf, [], object()]
"""Values that are not a number of seconds."""

POSITIVE = [*NO_NUMBERS, -1, 0, 0.0]
"""Wrong values where the number has to be above 0."""


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[Needs, Settings]:
    """Return an application that can be started."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    return application()


def refusal(declare: Callable[[], object], case: object) -> str:
    """Return the message of the DeclarationError; fail if the declaration is accepted."""
    try:
        declare()
    except DeclarationError as exc:
        return str(exc)
    pytest.fail(f"{case!r} was accepted")


def assert_each_refused(
    declare: Callable[..., object], wrong: Iterable[object], contains: str
) -> None:
    """Assert that each wrong value is rejected by a message that contains a text."""
    for value in wrong:
        assert contains in refusal(partial(declare, value), (contains, value)), repr(value)


async def work() -> None:
    """A correct function that does nothing."""


async def pool() -> AsyncIterator[int]:
    """A correct resource."""
    yield 3


def sync_function() -> int:
    """A function that is not async."""
    return 3


def sync_generator() -> Iterator[int]:
    """A generator that is not async."""
    yield 3


class Pool:
    """A class, which is not a function, even if its instances can be awaited."""

    async def __call__(self) -> int:
        """Return a number."""
        return 3


NOT_ASYNC = [
    sync_function,
    sync_generator,
    Pool,
    Pool(),
    lambda: 3,
    3,
    None,
    "pool",
    partial(sync_function),
]


NO_TRUTH = [None, 1, 0, "yes", "no", "", [], object()]


def test_arguments_of_an_application() -> None:
    """The error names the wrong argument of ``Bootstrap``."""
    delays = [*NO_NUMBERS[1:], -1, -0.001]
    directories = [[], (), "", b"/x", [""], [b"/x"], [1], 1, ["/x", None]]
    table: dict[str, list[Any]] = {
        **dict.fromkeys(["watch", "env_fallback", "unset_env"], NO_TRUTH),
        "wait_for_files": [*NO_NUMBERS, -1, -0.001],
        "startup_timeout": [*POSITIVE, [30]],
        "shutdown_timeout": POSITIVE,
        "shutdown_delay": delays,
        "probe_port": ["8081", -1, 65536, 8081.0, True, False, "", []],
        "probe_host": ["", 1, b"127.0.0.1", [], "127.0.0.1"],  # the last has no port
        "secrets_dirs": directories,
        "config": [3, work],
        "mode": ["kubernets"],
        "profile": ["kubernets"],
    }
    for name, wrong in table.items():
        assert_each_refused(lambda value, name=name: application_with(name, value), wrong, name)
    declared = [None, 3, object, dict, "Needs", Needs(jwt_secret=Secret("JWT_SECRET", VALUE))]
    assert_each_refused(Bootstrap, declared, "SecretSet")


def application_with(name: str, value: Any) -> Bootstrap[Needs, Any]:  # noqa: ANN401  (any argument)
    """Declare an application with one argument."""
    return Bootstrap(Needs, **{name: value})


def test_good_arguments_are_taken() -> None:
    """Whole numbers and fractions of seconds are accepted; some arguments may be None."""
    for seconds in (0.001, 1, 30, 86400.0):
        boot = Bootstrap(Needs, watch=True, wait_for_files=seconds, startup_timeout=seconds)
        assert callable(boot.on_rotate("jwt_secret", timeout=seconds))
        assert callable(boot.service(restart_window=seconds, max_restarts=0))
    for delay in (None, 0, 0.5, 30):
        Bootstrap(
            Needs, shutdown_delay=delay, shutdown_timeout=0.001, wait_for_files=0, watch=False
        )
    for port in (None, 0, 1, 8081, 65535):
        Bootstrap(Needs, probe_port=port, shutdown_timeout=3600)
    Bootstrap(Needs, probe_port=0, probe_host="::1")


def test_arguments_of_decorators(boot: Bootstrap[Needs, Settings]) -> None:
    """Wrong arguments are rejected before the function is decorated."""
    positive = POSITIVE[1:]  # None means the default
    assert_each_refused(lambda value: boot.resource(timeout=value), positive, "timeout=")
    assert_each_refused(lambda value: boot.check("jwt_secret", timeout=value), positive, "timeout=")
    assert_each_refused(lambda value: boot.on_rotate(timeout=value), POSITIVE, "timeout=")
    assert_each_refused(
        lambda value: boot.service(restart_window=value), POSITIVE, "restart_window="
    )
    words = ["sometimes", "", None, True, "on_failure", "ON-FAILURE"]
    assert_each_refused(lambda value: boot.service(restart=value), words, "restart=")
    budgets = [-1, 1.0, True, None, "5", math.inf]
    assert_each_refused(lambda value: boot.service(max_restarts=value), budgets, "max_restarts=")


def test_names_of_fields(boot: Bootstrap[Needs, Settings]) -> None:
    """A misspelt field name is rejected; the error lists every wrong name."""
    table: list[tuple[tuple[Any, ...], str]] = [
        (("jwt_secrt",), "jwt_secrt"),
        (("a", "jwt_secret", "b"), "a, b"),
        (("",), "Needs"),
        ((3, None), "3, None"),
    ]
    for names, contains in table:
        for declare in (boot.on_rotate, boot.check):
            told = refusal(partial(declare, *names), names)
            assert "Needs" in told
            assert contains in told
            assert ("Did you mean 'jwt_secret'?" in told) == (contains == "jwt_secrt")
    lists = [["jwt_secret"], {"jwt_secret"}, {}]
    assert_each_refused(boot.on_rotate, lists, "Needs")
    unchecked: Any = work
    assert "work" in refusal(lambda: boot.check(unchecked, unchecked), "two functions")
    # The brackets of the decorator were forgotten.
    assert_each_refused(boot.on_rotate, [work], "@boot.on_rotate()")


def test_functions(boot: Bootstrap[Needs, Settings]) -> None:
    """A function that is not an ``async def`` is rejected; the error names it and the decorator."""
    decorators: dict[str, Callable[[Any], object]] = {
        "@boot.main": boot.main,
        "@boot.service": boot.service,
        "@boot.check": boot.check,
        "@boot.on_rotate()": boot.on_rotate(),
        "@boot.resource": boot.resource(timeout=3),
    }
    # Text may be the name of a field, and None is the decorator without a function.
    accepted = {("@boot.check", str), ("@boot.main", type(None)), ("@boot.service", type(None))}
    for name, decorate in decorators.items():
        for wrong in NOT_ASYNC:
            if (name, type(wrong)) in accepted:
                continue
            told = refusal(partial(decorate, wrong), (name, wrong))
            assert name in told
            assert "must be an async def" in told
            assert (display_name(wrong) if callable(wrong) else repr(wrong)) in told
        if name != "@boot.resource":
            # One with a yield in it would never work, and nothing would show it.
            assert name in refusal(partial(decorate, pool), name)
    assert_each_refused(
        boot.resource, [wrong for wrong in NOT_ASYNC if wrong is not None], "@boot.resource"
    )


def test_names_of_resources_and_services(boot: Bootstrap[Needs, Settings]) -> None:
    """Each resource and service needs its own name, for parameters and the log."""
    handle = boot.resource(pool)
    assert "pool" in refusal(lambda: boot.resource(pool), "a second resource")
    assert "pool" in refusal(lambda: boot.resource(timeout=3)(pool), "a second resource")
    assert handle.name == "pool"

    async def resource() -> None: ...

    # Requests find the secrets and the settings under them.
    for name in ("secrets", "config", "boot"):
        resource.__name__ = name
        assert name in refusal(lambda: boot.resource(resource), name)
    for name in ("<lambda>", "", "two words", "1st"):
        resource.__name__ = name
        assert "@boot.resource" in refusal(lambda: boot.resource(resource), name)
    assert_each_refused(boot.resource, [partial(pool), partial(work)], "@boot.resource")

    assert boot.service(work) is work
    assert "work" in refusal(lambda: boot.service(work), "a second service")
    assert "work" in refusal(lambda: boot.service(restart="never")(partial(work)), "a partial")


def test_there_is_one_main() -> None:
    """A second main is rejected, and the error names the first one, also if it is a partial."""

    async def serve(port: int) -> None: ...

    for first in (serve, partial(serve, port=1)):
        for again in (Bootstrap.main, lambda boot, work: boot.main(must_complete=True)(work)):
            boot = application()
            boot.main(first)
            assert "serve" in refusal(partial(again, boot, partial(serve, port=2)), first)


def test_a_backend_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown backend is rejected before anything is read, in one line, with status 70."""
    boot = application()
    boot.main(work)
    for wrong in ("curio", "", None, 3, "Trio"):
        unchecked: Any = wrong
        with pytest.raises(SystemExit) as caught:
            boot.run(backend=unchecked)
        assert caught.value.code == 70
        (line,) = capsys.readouterr().err.splitlines()
        assert "DeclarationError" in line
        for name in (repr(wrong), "asyncio", "trio", "uvloop"):
            assert name in line


# Parameters


async def change_by_name(*, change: Change) -> None:
    """A hook that takes the change only by keyword."""


async def all_by_name(**more: object) -> None:
    """A hook that takes any keyword."""


async def asks(pool: int) -> None:
    """A function with a parameter that cannot be resolved."""


async def asks_after_the_change(change: Change, pool: int) -> None:
    """A hook with a parameter that cannot be resolved."""


async def asks_by_position(change: Change, secrets: Needs, /) -> None:
    """A hook with a positional-only parameter."""


async def asks_for_anything(secrets) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  (what is wrong)
    """A function with a parameter that has no annotation."""


@pytest.mark.anyio
async def test_parameters_are_looked_at_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A function with a wrong signature is rejected at startup; the error lists the types."""
    monkeypatch.delenv("JWT_SECRET", raising=False)  # which a start would miss if it looked
    there = ("Needs", "Bootstrap", "Settings")
    table: list[tuple[Callable[[Any], Any], Callable[..., Any], tuple[str, ...]]] = [
        (lambda boot: boot.on_rotate(), work, ("work()", "change")),
        (lambda boot: boot.on_rotate(), change_by_name, ("change_by_name()", "change")),
        (lambda boot: boot.on_rotate(), all_by_name, ("all_by_name()", "change")),
        (lambda boot: boot.on_rotate(), asks_after_the_change, ("'pool'", *there)),
        (lambda boot: boot.on_rotate(), asks_by_position, ("'secrets'", "'/'")),
        (lambda boot: boot.check, asks, ("asks()", "'pool'", *there)),
        (lambda boot: boot.check, asks_for_anything, ("'secrets'", *there)),
        (lambda boot: boot.service, asks, ("asks()", "'pool'", *there)),
        (lambda boot: boot.resource, asks, ("asks()", "'pool'", *there)),
    ]
    for decorator, function, contains in table:
        boot = application()
        decorator(boot)(function)
        with pytest.raises(DeclarationError) as caught:
            async with boot.running():
                pytest.fail("it has started")
        for text in contains:
            assert text in str(caught.value), function
        assert boot.status().state == "armed"


@pytest.mark.anyio
async def test_resources_with_unresolved_parameters_are_rejected_at_startup(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The error lists the resources; that of a check does not, because a check runs before them."""
    lines: list[str] = []

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        lines.append("pool starts")
        yield "pool"

    @boot.resource
    async def agents(pol: str) -> None: ...

    with pytest.raises(DeclarationError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    for text in ("agents()", "'pol'", "resources pool,", "Needs, Bootstrap, Settings"):
        assert text in str(caught.value)

    other = application()
    other.resource(pool.fn)

    @other.check
    async def judge(pool: str) -> None: ...

    with pytest.raises(DeclarationError) as caught:
        async with other.running():
            pytest.fail("it has started")
    for text in ("judge()", "'pool'", "Needs, Bootstrap, Settings"):
        assert text in str(caught.value)
    assert lines == []


@pytest.mark.anyio
async def test_resources_that_need_each_other_are_rejected() -> None:
    """The error shows the cycle, and nothing has been read or started."""

    async def need_itself(a: object) -> None: ...

    async def need_a(a: object) -> None: ...

    async def need_b(b: object) -> None: ...

    async def need_pool_and_c(pool: object, c: object) -> None: ...

    circles: list[dict[str, Callable[..., Any]]] = [
        {"a": need_itself},
        {"a": need_b, "b": need_a},
        {"pool": work, "a": need_pool_and_c, "b": need_a, "c": need_b},
    ]
    for resources in circles:
        boot = application()
        for name, function in resources.items():
            function.__name__ = name
            boot.resource(function)
        with pytest.raises(DeclarationError) as caught:
            async with boot.running():
                pytest.fail("it has started")
        shown = str(caught.value).partition(": ")[2].partition(". ")[0].split(" → ")
        assert set(shown) == resources.keys() - {"pool"}
        assert boot.status().state == "armed"
