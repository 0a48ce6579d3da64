"""Checks that have to be awaited: of one field, and of the whole set."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.lifecycle.waking import loop_waker
from tests.support import failed_start

VALUE = "fake-jwt-secret-0123456789-0123456789"

OTHER = "fake-api-key-0123456789"

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the values of all the declarations here into the environment."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    monkeypatch.setenv("API_KEY", OTHER)


def one_check(check: Callable[[str], Any]) -> type[SecretSet]:
    """Declare one secret that ``check`` judges."""

    class One(SecretSet):
        """One secret with a check."""

        jwt_secret: Secret = secret(check=check, used_by="user-auth")

    return One


def set_check(judge: Callable[[Any], Any]) -> type[SecretSet]:
    """Declare two secrets that ``judge`` judges together."""

    class Pair(SecretSet):
        """Two secrets that belong together."""

        jwt_secret: Secret
        api_key: Secret

        async def check(self) -> Any:  # noqa: ANN401  (a check may answer wrongly)
            """Judge the two."""
            return await judge(self)

    return Pair


def boot_of(declared: type[SecretSet], start_timeout: float = 30) -> Bootstrap[SecretSet, None]:
    """Make an application whose secrets are variables."""
    return Bootstrap(declared, mode="environment", start_timeout=start_timeout)


async def passes(_: object) -> None:
    """Pass, after a step of the loop."""
    await checkpoint()


async def says_true(_: object) -> bool:
    """Pass by saying so."""
    await checkpoint()
    return True


async def says_false(_: object) -> bool:
    """Refuse without a reason."""
    await checkpoint()
    return False


async def says_text(_: object) -> str:
    """Answer as no check may; the text would pass for true."""
    await checkpoint()
    return VALUE


async def raises(_: object) -> None:
    """Refuse with a reason that tells the value."""
    await checkpoint()
    message = f"{VALUE} is too guessable"
    raise ValueError(message)


class EmptyRefusalError(Exception):
    """A refusal that counts nothing, and is false where a truth is asked for."""

    def __len__(self) -> int:
        return 0


async def raises_what_is_false(_: object) -> None:
    """Refuse by an error that is false."""
    await checkpoint()
    raise EmptyRefusalError


async def hangs(_: object) -> None:
    """Answer never."""
    await anyio.sleep_forever()


REFUSALS = [
    (says_false, "was refused by its check: it returned False"),
    (
        says_text,
        "was refused by its check: it returned str, and a check returns True, False or None",
    ),
    (raises, "was refused by its check: ValueError: *** is too guessable"),
    (raises_what_is_false, "was refused by its check: EmptyRefusalError"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("check", [passes, says_true])
@pytest.mark.parametrize("declare", [one_check, set_check])
async def test_a_check_that_passes_lets_the_start_go_on(
    declare: Callable[[Any], type[SecretSet]], check: Callable[[object], Any]
) -> None:
    """None and True mean that the value is good."""
    async with boot_of(declare(check)).running() as secrets:
        assert getattr(secrets, "jwt_secret").reveal() == VALUE  # noqa: B009  (declared above)


@pytest.mark.anyio
@pytest.mark.parametrize(("check", "message"), REFUSALS)
async def test_a_field_is_refused_with_a_reason_and_without_its_value(
    check: Callable[[object], Any], message: str
) -> None:
    """The report names the secret, who needs it and the check's reason, never the value."""
    error = await failed_start(boot_of(one_check(check)))
    (problem,) = error.problems
    assert (problem.name, problem.kind) == ("JWT_SECRET", "check")
    assert problem.message == message
    assert problem.used_by == "user-auth"
    assert VALUE not in str(error)


@pytest.mark.anyio
@pytest.mark.parametrize(("check", "message"), REFUSALS)
async def test_a_set_is_refused_with_a_reason_and_without_its_values(
    check: Callable[[object], Any], message: str
) -> None:
    """What does not belong together is reported under the name of the declaration."""
    error = await failed_start(boot_of(set_check(check)))
    (problem,) = error.problems
    assert (problem.name, problem.kind, problem.message) == ("Pair", "check", message)
    assert VALUE not in str(error)


@pytest.mark.anyio
async def test_a_set_check_sees_every_value_of_this_start() -> None:
    """The check of a set reads its own fields, as the application will."""
    seen: list[tuple[str, str]] = []

    async def judge(pair: Any) -> None:  # noqa: ANN401  (a set that is declared in a function)
        await checkpoint()
        seen.append((pair.jwt_secret.reveal(), pair.api_key.reveal()))

    async with boot_of(set_check(judge)).running():
        assert seen == [(VALUE, OTHER)]


@pytest.mark.anyio
async def test_a_set_is_not_judged_when_a_part_of_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check of the whole set never sees half a set."""
    monkeypatch.delenv("API_KEY")
    judged: list[object] = []

    async def judge(pair: object) -> None:
        await checkpoint()
        judged.append(pair)

    error = await failed_start(boot_of(set_check(judge)))
    assert [problem.name for problem in error.problems] == ["API_KEY"]
    assert judged == []


@pytest.mark.anyio
@pytest.mark.parametrize(("declare", "name"), [(one_check, "JWT_SECRET"), (set_check, "Pair")])
async def test_a_check_that_hangs_ends_with_the_start_timeout(
    declare: Callable[[Any], type[SecretSet]], name: str
) -> None:
    """A check that never answers is a problem of the report, not a service that never starts."""
    error = await failed_start(boot_of(declare(hangs), start_timeout=0.2))
    (problem,) = error.problems
    assert (problem.name, problem.kind) == (name, "check")
    assert problem.message == "was not judged: its check took more than 0.2 s"


@pytest.mark.anyio
async def test_no_time_at_all_is_a_problem_of_the_check_and_nothing_else() -> None:
    """With no time left an async check is named as late, and Python warns of nothing."""
    error = await failed_start(boot_of(one_check(passes), start_timeout=1e-9))
    gc.collect()
    (problem,) = error.problems
    assert problem.message == "was not judged: its check took more than 1e-09 s"


@pytest.mark.anyio
async def test_checks_run_side_by_side() -> None:
    """Checks that ask slow services wait for each other's answers, not one after the other."""
    met: list[str] = []
    both = anyio.Event()

    async def meet(value: str) -> None:
        met.append(value)
        if len(met) == 2:
            both.set()
        await both.wait()

    class Two(SecretSet):
        """Two secrets with slow checks."""

        jwt_secret: Secret = secret(check=meet)
        api_key: Secret = secret(check=meet)

    async with boot_of(Two, start_timeout=PATIENCE).running():
        assert sorted(met) == sorted([VALUE, OTHER])


@pytest.mark.anyio
async def test_all_refusals_are_reported_in_the_order_of_the_declaration() -> None:
    """Every check has its say, also when another one has refused already."""
    first_refused = anyio.Event()

    async def late(_: str) -> bool:
        await first_refused.wait()
        return False

    async def early(_: str) -> bool:
        await checkpoint()
        first_refused.set()
        return False

    class Two(SecretSet):
        """Two secrets that are both refused, the second one first."""

        jwt_secret: Secret = secret(check=late)
        api_key: Secret = secret(check=early)

    error = await failed_start(boot_of(Two, start_timeout=PATIENCE))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET", "API_KEY"]


@pytest.mark.anyio
async def test_a_start_that_is_cancelled_while_it_checks_leaves_nothing_behind() -> None:
    """A stop in the middle of a check ends the check; Python warns of nothing."""
    checking = anyio.Event()
    ended: list[str] = []

    async def wait(_: str) -> None:
        checking.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("check")

    class Two(SecretSet):
        """Two secrets with checks."""

        jwt_secret: Secret = secret(check=wait)
        api_key: Secret = secret(check=passes)

    boot = boot_of(Two)

    async def start() -> None:
        async with boot.running():
            pytest.fail("it started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await checking.wait()
        group.cancel_scope.cancel()
    gc.collect()
    assert ended == ["check"]
    assert boot.status().state == "armed"


@pytest.mark.anyio
async def test_a_check_that_was_never_begun_is_dropped_in_silence() -> None:
    """A start that ends before its async checks begin makes Python warn of nothing."""
    soon, going, gate = loop_waker(), anyio.Event(), threading.Event()

    def block(_: str) -> None:
        soon(going.set)
        gate.wait(PATIENCE)

    class Two(SecretSet):
        """One check that blocks its thread, and one that waits for its turn in the loop."""

        jwt_secret: Secret = secret(check=passes)
        api_key: Secret = secret(check=block)

    async def start() -> None:
        async with boot_of(Two).running():
            pytest.fail("it started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await going.wait()
        group.cancel_scope.cancel()
    gate.set()
    left_behind = [each for each in threading.enumerate() if each.name.startswith("hive_boot")]
    assert left_behind
    for thread in left_behind:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    gc.collect()


@pytest.mark.anyio
async def test_what_is_no_coroutine_can_be_awaited_as_well() -> None:
    """A check may be a plain function that returns anything that can be awaited."""

    class Answer:
        """Something to await that is no coroutine."""

        def __init__(self, value: str) -> None:
            self.value = value

        def __await__(self) -> Any:  # noqa: ANN401  (the type of a generator says nothing here)
            return says_false(self.value).__await__()

    error = await failed_start(boot_of(one_check(Answer)))
    (problem,) = error.problems
    assert problem.message == "was refused by its check: it returned False"
