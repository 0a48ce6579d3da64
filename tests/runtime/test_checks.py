"""Async checks: of one field, of the whole set, and of the application."""

import gc
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    DeclarationError,
    InvalidSecretsError,
    Secret,
    SecretSet,
    UnavailableError,
    secret,
)
from hive_boot.lifecycle.tasks import threadsafe_scheduler
from hive_boot.testing import MountedVolume
from tests.fixtures.applications import Meeting, outcomes, sleep_in_a_group_of_the_loop
from tests.fixtures.sources import caused
from tests.fixtures.timings import NEVER, set_timings
from tests.runtime.rotations import Log, Service, mounted, numbered
from tests.support import failed_start, until

pytestmark = pytest.mark.anyio

VALUE = "fake-jwt-secret-0123456789-0123456789"

OTHER = "fake-api-key-0123456789"

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables of all declarations in this module."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    monkeypatch.setenv("API_KEY", OTHER)


def one_check(check: Callable[[str], Any]) -> type[SecretSet]:
    """Return a declaration of one secret with a check."""

    class One(SecretSet):
        """One secret with a check."""

        jwt_secret: Secret = secret(check=check, used_by="user-auth")

    return One


def set_check(judge: Callable[[Any], Any]) -> type[SecretSet]:
    """Return a declaration of two secrets with a check of the set."""

    class Pair(SecretSet):
        """Two secrets that belong together."""

        jwt_secret: Secret
        api_key: Secret

        async def check(self) -> Any:  # noqa: ANN401  (a check may return anything)
            """Check both secrets."""
            return await judge(self)

    return Pair


def boot_of(declared: type[SecretSet], startup_timeout: float = 30) -> Bootstrap[SecretSet, None]:
    """Return an application that reads variables."""
    return Bootstrap(declared, mode="environment", startup_timeout=startup_timeout)


async def passes(_: object) -> None:
    """Return None after a step of the loop."""
    await checkpoint()


async def returns_true(_: object) -> bool:
    """Return True."""
    await checkpoint()
    return True


async def returns_false(_: object) -> bool:
    """Return False."""
    await checkpoint()
    return False


async def returns_text(_: object) -> str:
    """Return a text, which is invalid although it is true."""
    await checkpoint()
    return VALUE


async def raises(_: object) -> None:
    """Raise an exception whose text contains the value."""
    await checkpoint()
    message = f"{VALUE} is too guessable"
    raise ValueError(message)


class EmptyRefusalError(Exception):
    """An exception whose truth value is False."""

    def __len__(self) -> int:
        return 0


async def raises_a_false_exception(_: object) -> None:
    """Raise an exception whose truth value is False."""
    await checkpoint()
    raise EmptyRefusalError


async def hangs(_: object) -> None:
    """Wait forever."""
    await anyio.sleep_forever()


REFUSALS = [
    (returns_false, "False"),
    (returns_text, " str;"),
    (raises, "ValueError: *** is too guessable"),
    (raises_a_false_exception, "EmptyRefusalError"),
]
"""Checks that fail, and a text that their problem must contain."""


async def test_a_check_that_returns_none_or_true_passes() -> None:
    """The start continues after None and after True."""
    for declare in (one_check, set_check):
        for check in (passes, returns_true):
            async with boot_of(declare(check)).running() as secrets:
                assert getattr(secrets, "jwt_secret").reveal() == VALUE  # noqa: B009  (declared above)


@pytest.mark.both_backends
async def test_a_failed_check_of_a_field_is_reported_without_the_value() -> None:
    """The report has the secret, its users and the reason of the check."""
    for check, named in REFUSALS:
        error = await failed_start(boot_of(one_check(check)))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("JWT_SECRET", "check")
        assert named in problem.message
        assert problem.used_by == "user-auth"
        assert VALUE not in str(error)


@pytest.mark.both_backends
async def test_a_failed_check_of_a_set_is_reported_without_the_values() -> None:
    """The problem has the name of the declaration and the reason of the check."""
    for check, named in REFUSALS:
        error = await failed_start(boot_of(set_check(check)))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("Pair", "check")
        assert named in problem.message
        assert VALUE not in str(error)


async def test_the_check_of_a_set_sees_all_values_of_the_start() -> None:
    """The check reads the fields of its own object."""
    seen: list[tuple[str, str]] = []

    async def judge(pair: Any) -> None:  # noqa: ANN401  (a set that is declared in a function)
        await checkpoint()
        seen.append((pair.jwt_secret.reveal(), pair.api_key.reveal()))

    async with boot_of(set_check(judge)).running():
        assert seen == [(VALUE, OTHER)]


async def test_the_check_of_a_set_is_not_called_if_a_field_has_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing secret is reported, and the check of the set is not called."""
    monkeypatch.delenv("API_KEY")
    judged: list[object] = []

    async def judge(pair: object) -> None:
        await checkpoint()
        judged.append(pair)

    error = await failed_start(boot_of(set_check(judge)))
    assert [problem.name for problem in error.problems] == ["API_KEY"]
    assert judged == []


@pytest.mark.both_backends
async def test_a_check_that_hangs_ends_with_the_start_timeout() -> None:
    """A check that never answers is a problem of the report, not a service that never starts."""
    declared = {"JWT_SECRET": one_check(hangs), "Pair": set_check(hangs)}
    for name, declaration in declared.items():
        error = await failed_start(boot_of(declaration, startup_timeout=0.2))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == (name, "unavailable")
        assert "0.2 s" in problem.message


async def test_a_check_that_passes_after_the_start_timeout_fails_the_start() -> None:
    """A check that blocks the loop cannot be cancelled, so its time is compared at its end."""

    async def block(_: object) -> None:
        await checkpoint()
        time.sleep(0.1)  # noqa: ASYNC251  (the fault)

    for declaration in (one_check(block), set_check(block)):
        (problem,) = (await failed_start(boot_of(declaration, startup_timeout=0.05))).problems
        assert "0.05 s" in problem.message
    boot = Bootstrap(Pair, mode="environment", startup_timeout=0.05)
    boot.check()(partial(block, None))
    assert len((await failed_start(boot)).problems) == 1


@pytest.mark.both_backends
async def test_a_check_without_any_time_is_one_problem_and_no_warning() -> None:
    """Python does not warn about a coroutine that was never awaited."""
    error = await failed_start(boot_of(one_check(passes), startup_timeout=1e-9))
    gc.collect()
    (problem,) = error.problems
    assert (problem.kind, "1e-09 s" in problem.message) == ("unavailable", True)


@pytest.mark.both_backends
async def test_checks_of_fields_run_concurrently() -> None:
    """Two checks pass although each waits for the other one."""
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

    async with boot_of(Two, startup_timeout=PATIENCE).running():
        assert sorted(met) == sorted([VALUE, OTHER])


async def test_failed_checks_of_fields_are_reported_in_the_order_of_the_declaration() -> None:
    """Every check completes, also when another one has failed before."""
    first_refused = anyio.Event()

    async def late(_: str) -> bool:
        await first_refused.wait()
        return False

    async def early(_: str) -> bool:
        await checkpoint()
        first_refused.set()
        return False

    class Two(SecretSet):
        """Two secrets whose checks both fail, the second one first."""

        jwt_secret: Secret = secret(check=late)
        api_key: Secret = secret(check=early)

    error = await failed_start(boot_of(Two, startup_timeout=PATIENCE))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET", "API_KEY"]


@pytest.mark.both_backends
async def test_a_cancelled_start_ends_its_checks() -> None:
    """The check is cancelled, and Python warns about nothing."""
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


@pytest.mark.both_backends
async def test_a_check_that_was_not_called_before_a_cancellation_causes_no_warning() -> None:
    """A start that is cancelled before its async checks begin makes Python warn about nothing."""
    soon, has_begun, gate = threadsafe_scheduler(), anyio.Event(), threading.Event()

    def block(_: str) -> None:
        soon(has_begun.set)
        gate.wait(PATIENCE)

    class Two(SecretSet):
        """One check that blocks its thread, and one that waits for the loop."""

        jwt_secret: Secret = secret(check=passes)
        api_key: Secret = secret(check=block)

    async def start() -> None:
        async with boot_of(Two).running():
            pytest.fail("it started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await has_begun.wait()
        group.cancel_scope.cancel()
    gate.set()
    left_behind = [each for each in threading.enumerate() if each.name.startswith("hive_boot")]
    assert left_behind
    for thread in left_behind:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    gc.collect()


async def test_a_check_may_return_an_awaitable_that_is_not_a_coroutine() -> None:
    """A check may be a plain function that returns any awaitable."""

    class Answer:
        """An awaitable that is not a coroutine."""

        def __init__(self, value: str) -> None:
            self.value = value

        def __await__(self) -> Any:  # noqa: ANN401  (the type of a generator says nothing here)
            return returns_false(self.value).__await__()

    error = await failed_start(boot_of(one_check(Answer)))
    (problem,) = error.problems
    assert (problem.kind, "False" in problem.message) == ("check", True)


# Checks of the application


class Pair(SecretSet):
    """Two secrets."""

    jwt_secret: Secret
    api_key: Secret


def pair(**more: Any) -> Bootstrap[Pair, None]:  # noqa: ANN401  (what Bootstrap takes)
    """Return an application with short delays before the retry of a check."""
    boot = Bootstrap(Pair, mode="environment", **more)
    set_timings(boot, check_retry_delay=0.01, max_check_retry_delay=0.02)
    return boot


class RecordedCheck:
    """A check that records the value of each call, and returns or raises given results."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.values: list[str] = []

    async def check(self, secrets: Pair) -> Any:  # noqa: ANN401  (it may answer wrongly)
        """Return the next result; a check with the annotation of its parameter."""
        return await self(secrets)

    async def __call__(self, secrets: SecretSet) -> Any:  # noqa: ANN401  (it may answer wrongly)
        """Return or raise the next result; the last one is repeated."""
        await checkpoint()
        value: Secret = getattr(secrets, "api_key")  # noqa: B009  (each set here has it)
        self.values.append(value.reveal())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def with_check(
    asked: RecordedCheck,
    *names: str,
    **more: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[Pair, None]:
    """Return an application with one check of two secrets."""
    boot = pair(**more)

    @boot.check(*names)
    async def stripe_answers(secrets: Pair) -> bool | None:
        answer: bool | None = await asked(secrets)
        return answer

    return boot


async def test_a_check_of_the_application_is_called_once() -> None:
    """The start calls a check that passes once, with the candidate."""
    for answer in (None, True):
        asked = RecordedCheck(answer)
        boot = with_check(asked, "jwt_secret")
        async with boot.running():
            assert asked.values == [OTHER]
            assert outcomes(boot, "check") == [("stripe_answers", "done")]


FINAL = [
    (False, "False"),
    (3, " int;"),
    (ValueError(f"{OTHER} is revoked"), "ValueError: *** is revoked"),
    (LookupError("no account"), "LookupError: no account"),
    (AssertionError(), "AssertionError"),
    (TypeError("no"), "TypeError: no"),
    (RuntimeError("login refused"), "RuntimeError: login refused"),
    (OSError("no disk"), "OSError: no disk"),
    (SystemExit(1), "SystemExit: 1"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
]
"""Results of a check that are not retried, and a text that their problem must contain."""


@pytest.mark.both_backends
async def test_a_check_that_rejects_is_not_retried() -> None:
    """An exception that is not about the network fails the start at once."""
    for answer, named in FINAL:
        asked = RecordedCheck(answer)
        error = await failed_start(with_check(asked))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("stripe_answers", "check")
        assert named in problem.message
        assert asked.values == [OTHER], named
        assert OTHER not in str(error)


async def test_the_problem_of_a_check_names_the_fields_of_its_declaration() -> None:
    """The problem is that of the check, with the locations and users of its fields."""

    class Account(SecretSet):
        """An account of a database."""

        user: Secret = secret(name="JWT_SECRET", used_by="orders")
        password: Secret = secret(name="API_KEY", used_by="orders, billing")

    for names, fields in (
        (("password", "JWT_SECRET"), ("JWT_SECRET", "API_KEY")),
        (("password",), ("API_KEY",)),
        ((), ()),
    ):
        boot = boot_of(Account)

        @boot.check(*names)
        async def database_answers() -> bool:
            return False

        (problem,) = (await failed_start(boot)).problems
        subject = ", ".join(fields) or "the application"
        expected = f"(a check of {subject}) has failed: it returned False"
        assert (problem.name, problem.message) == ("database_answers", expected)
        assert problem.places == tuple(f"environment variable {name}" for name in fields)
        assert problem.used_by == ("orders, billing" if fields else "")


@pytest.mark.both_backends
async def test_a_check_that_cannot_connect_is_retried_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The delays grow up to a maximum, and the log has no value."""
    asked = RecordedCheck(ConnectionError(f"no route with {OTHER}"), TimeoutError(), None)
    boot = with_check(asked)
    set_timings(boot, check_retry_delay=0.02, max_check_retry_delay=0.03)
    async with boot.running():
        assert asked.values == [OTHER] * 3
        assert outcomes(boot, "check") == [("stripe_answers", "done")]
    first, second = (each for each in caplog.records if each.levelname == "WARNING")
    assert "stripe_answers" in first.getMessage()
    assert "ConnectionError: no route with ***" in first.getMessage()
    assert "stripe_answers" in second.getMessage()
    assert OTHER not in caplog.text
    # The delays grow up to a maximum, less up to a half at random.
    for record, longest in ((first, 0.02), (second, 0.03)):
        assert isinstance(record.args, tuple)
        delay: Any = record.args[-1]
        assert longest / 2 <= delay <= longest


@pytest.mark.both_backends
async def test_a_check_that_cannot_connect_until_the_timeout_is_reported() -> None:
    """At the end of ``startup_timeout`` the report has the last failure, without a value."""
    asked = RecordedCheck(ConnectionError("no route"), ConnectionError(f"reset by {OTHER}"))
    error = await failed_start(with_check(asked, startup_timeout=0.3))
    assert isinstance(error, UnavailableError)
    (problem,) = error.problems
    assert (problem.name, problem.kind) == ("stripe_answers", "unavailable")
    assert "ConnectionError: reset by ***" in problem.message
    assert len(asked.values) > 1


@pytest.mark.both_backends
async def test_a_rejection_after_a_failure_to_connect_is_final() -> None:
    """The second call of the check rejects, and there is no third call."""
    asked = RecordedCheck(ConnectionError("no route"), RuntimeError("login refused"))
    error = await failed_start(with_check(asked))
    assert isinstance(error, InvalidSecretsError)
    assert [problem.kind for problem in error.problems] == ["check"]
    assert len(asked.values) == 2


@pytest.mark.both_backends
async def test_a_rejection_ends_the_retries_of_other_checks() -> None:
    """The start fails at once, and its report has both problems."""
    boot = pair(startup_timeout=NEVER)
    set_timings(boot, check_retry_delay=NEVER / 2, max_check_retry_delay=NEVER / 2)
    down = anyio.Event()

    @boot.check
    async def database_answers() -> None:
        down.set()
        raise ConnectionError

    @boot.check
    async def stripe_answers() -> bool:
        await down.wait()
        await checkpoint()
        return False

    error = await failed_start(boot)
    assert isinstance(error, InvalidSecretsError)
    assert [(each.name, each.kind) for each in error.problems] == [
        ("database_answers", "unavailable"),
        ("stripe_answers", "check"),
    ]


@pytest.mark.both_backends
async def test_checks_of_fields_and_sets_are_retried() -> None:
    """A check that cannot connect is retried in the event loop and in a thread."""
    calls: list[object] = []

    def connect(asked: object) -> None:
        calls.append(asked)
        if len(calls) == 1:
            raise ConnectionRefusedError

    async def connect_later(asked: object) -> None:
        await checkpoint()
        connect(asked)

    for declared in (one_check(connect), one_check(connect_later), set_check(connect_later)):
        calls.clear()
        boot = boot_of(declared)
        set_timings(boot, check_retry_delay=0.01)
        async with boot.running():
            assert len(calls) == 2


class OperationalError(Exception):
    """An exception that a client library raises for every error."""


async def test_the_exceptions_of_retry_on_are_retried() -> None:
    """`retry_on` is one type or several, which are also found as a cause."""
    failure = OperationalError()
    for retry_on in (OperationalError, (ValueError, OperationalError), [OperationalError]):
        for raised in (failure, caused(LookupError(), failure)):
            asked = RecordedCheck(raised, None)
            boot = pair()
            boot.check(retry_on=retry_on)(asked.check)  # type: ignore[arg-type]  # a list works too
            async with boot.running():
                assert len(asked.values) == 2


async def test_at_limits_a_check_to_starts_or_rotations(volume: MountedVolume) -> None:
    """A check without `at` is called at both."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Service, watch=False)
    calls: list[str] = []

    def add(at: Literal["always", "start", "rotation"]) -> None:
        @boot.check(at=at)
        async def check() -> None:
            await checkpoint()
            calls.append(at)

    for at in ("always", "start", "rotation"):
        add(at)
    async with boot.running():
        assert sorted(calls) == ["always", "start"]
        calls.clear()
        volume.publish(numbered(2))
        await boot.reload()
        assert sorted(calls) == ["always", "rotation"]


def test_an_invalid_retry_on_or_at_is_a_declaration_error() -> None:
    """Invalid arguments of `boot.check` raise where they are written."""
    wrong: list[dict[str, Any]] = [
        {"retry_on": "OSError"},
        {"retry_on": OSError()},
        {"retry_on": (OSError, KeyboardInterrupt)},
        {"retry_on": None},
        {"at": "rotate"},
        {"at": None},
    ]
    for options in wrong:
        with pytest.raises(DeclarationError):
            pair().check(**options)


@pytest.mark.both_backends
async def test_a_timeout_during_a_retry_reports_the_failure_before() -> None:
    """If the timeout cuts off the last call, the exception of the call before is reported."""
    boot = pair(startup_timeout=0.3)
    calls: list[None] = []

    @boot.check
    async def stripe_answers() -> None:
        calls.append(None)
        if len(calls) > 1:
            await anyio.sleep_forever()
        raise ConnectionError

    (problem,) = (await failed_start(boot)).problems
    assert "ConnectionError" in problem.message
    assert len(calls) == 2


@pytest.mark.both_backends
async def test_a_check_that_exceeds_its_own_timeout_is_retried() -> None:
    """A second call may succeed, for example after a lost packet."""
    boot = pair()
    calls: list[None] = []

    @boot.check(timeout=0.05)
    async def stripe_answers() -> None:
        calls.append(None)
        if len(calls) == 1:
            await anyio.sleep_forever()

    async with boot.running():
        assert len(calls) == 2


@pytest.mark.both_backends
async def test_a_check_that_never_returns_is_reported_with_its_timeout() -> None:
    """The report has the timeout that has passed: of the check or of the start."""
    cases: list[tuple[float | None, str]] = [(None, "0.2 s"), (0.15, "0.15 s"), (30, "0.2 s")]
    for own, named in cases:
        boot = Bootstrap(Pair, mode="environment", startup_timeout=0.2)

        @boot.check("api_key", timeout=own)
        async def stripe_answers() -> None:
            await anyio.sleep_forever()

        (problem,) = (await failed_start(boot)).problems
        assert problem.name == "stripe_answers"
        assert f" {named}" in problem.message


@pytest.mark.both_backends
async def test_a_check_that_hangs_in_an_asyncio_task_group_is_a_timeout() -> None:
    """The cancellation of several tasks at the timeout is not a rejection."""

    async def hang(_: object) -> None:
        await sleep_in_a_group_of_the_loop()

    for declare in (one_check, set_check):
        (problem,) = (await failed_start(boot_of(declare(hang), startup_timeout=0.2))).problems
        assert "0.2 s" in problem.message


@pytest.mark.both_backends
async def test_the_checks_of_an_application_run_concurrently() -> None:
    """Each of three checks waits for the two others."""
    boot = Bootstrap(Pair, mode="environment", startup_timeout=PATIENCE)
    meeting = Meeting(3)

    @boot.check
    async def openai_answers() -> None:
        await meeting.come()

    @boot.check("jwt_secret")
    async def stripe_answers() -> None:
        await meeting.come()

    @boot.check()
    async def database_answers() -> None:
        await meeting.come()

    async with boot.running():
        assert sorted(outcomes(boot, "check")) == [
            ("database_answers", "done"),
            ("openai_answers", "done"),
            ("stripe_answers", "done"),
        ]


async def test_failed_checks_of_an_application_are_reported_in_the_order_of_the_declaration() -> (
    None
):
    """One failed check does not hide another, whichever fails first."""
    boot = Bootstrap(Pair, mode="environment")
    refused = anyio.Event()

    @boot.check
    async def late() -> bool:
        await refused.wait()
        return False

    @boot.check
    async def good() -> bool:
        await checkpoint()
        return True

    @boot.check
    async def early() -> bool:
        await checkpoint()
        refused.set()
        return False

    error = await failed_start(boot)
    assert [problem.name for problem in error.problems] == ["late", "early"]


async def test_the_checks_of_an_application_are_not_called_if_a_secret_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check may call a server, so it is called only for sets without other problems."""
    monkeypatch.delenv("JWT_SECRET")
    asked = RecordedCheck(None)
    error = await failed_start(with_check(asked, "api_key"))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET"]
    assert asked.values == []


@pytest.mark.both_backends
async def test_a_check_of_the_application_without_any_time_causes_no_warning() -> None:
    """Python does not warn about a coroutine that was never awaited."""
    boot = Bootstrap(Pair, mode="environment", startup_timeout=1e-9)

    @boot.check
    async def stripe_answers() -> None:
        await anyio.sleep_forever()

    (problem,) = (await failed_start(boot)).problems
    gc.collect()
    assert "1e-09 s" in problem.message


@pytest.mark.both_backends
async def test_a_start_that_is_cancelled_before_a_retry_ends_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stop does not wait for the next call of a check."""
    boot = with_check(RecordedCheck(ConnectionError()))
    set_timings(boot, check_retry_delay=20.0, max_check_retry_delay=20.0)

    async def start() -> None:
        async with boot.running():
            pytest.fail("it has started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await until(lambda: "stripe_answers" in caplog.text)
        group.cancel_scope.cancel()
    assert boot.status().state == "armed"


class Counted:
    """An application with three checks: two of some fields, and one of all."""

    def __init__(self, volume: MountedVolume, *, watch: bool = False) -> None:
        volume.publish(numbered(1))
        self.boot = boot = mounted(volume.path, Service, watch=watch)
        self.asked: list[str] = []
        self.answer: object = None

        @boot.check("api_key", timeout=3)
        async def stripe_answers(secrets: Service) -> None:
            await self.judge("stripe_answers", secrets)

        @boot.check("jwt_secret", "sentry_dsn")
        async def signatures_hold(secrets: Service) -> None:
            await self.judge("signatures_hold", secrets)

        @boot.check
        async def all_is_well(secrets: Service) -> None:
            await self.judge("all_is_well", secrets)

    async def judge(self, name: str, secrets: Service) -> None:
        """Record the check and the last letters of its set."""
        await checkpoint()
        self.asked.append(f"{name} {secrets.api_key.reveal()[-1]}{secrets.jwt_secret.reveal()[-1]}")
        if isinstance(self.answer, Exception):
            raise self.answer


async def test_a_rotation_calls_the_checks_of_changed_secrets(volume: MountedVolume) -> None:
    """They are called with the candidate; a start calls all checks."""
    cases = [
        ({"api_key": "fake-api-key-000002"}, ["all_is_well 21", "stripe_answers 21"]),
        ({"jwt_secret": "fake-jwt-secret-000002"}, ["all_is_well 12", "signatures_hold 12"]),
        ({"sentry_dsn": "fake-dsn-0123456789"}, ["all_is_well 11", "signatures_hold 11"]),
        (numbered(2), ["all_is_well 22", "signatures_hold 22", "stripe_answers 22"]),
    ]
    for changed, asked in cases:
        counted = Counted(volume)
        async with counted.boot.running():
            assert sorted(counted.asked) == [
                "all_is_well 11",
                "signatures_hold 11",
                "stripe_answers 11",
            ]
            counted.asked.clear()
            volume.publish(numbered(1, **changed))
            assert await counted.boot.reload()
            assert sorted(counted.asked) == asked
            assert await counted.boot.reload() is None
            assert len(counted.asked) == len(asked)
            names = [name for name, _ in outcomes(counted.boot, "check")]
            assert sorted(names[3:]) == [each.split()[0] for each in asked]


@pytest.mark.both_backends
async def test_a_rotation_whose_checks_cannot_connect_is_retried(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good set stays in use, degraded, and one line is logged."""
    counted = Counted(volume, watch=True)
    log = Log(caplog)
    async with counted.boot.running() as secrets:
        counted.asked.clear()
        counted.answer = ConnectionError("no route")
        volume.publish(numbered(2))
        await until(lambda: len(counted.asked) >= 6)
        status = counted.boot.status()
        assert (status.degraded, status.ready, status.generation) == (True, True, 1)
        assert "all_is_well unavailable" in status.reasons[0]
        assert secrets.api_key.reveal() == "fake-api-key-000001"
        assert log.about("no route") == ["ERROR"]
        counted.answer = None
        await until(lambda: not counted.boot.status().degraded)
        assert secrets.api_key.reveal() == "fake-api-key-000002"


@pytest.mark.both_backends
async def test_a_rotation_calls_each_check_once(volume: MountedVolume) -> None:
    """A check that cannot connect fails the reload; it is not retried within it."""
    counted = Counted(volume)
    async with counted.boot.running() as secrets:
        counted.asked.clear()
        counted.answer = ConnectionError("no route")
        volume.publish(numbered(2))
        with pytest.raises(UnavailableError) as caught:
            await counted.boot.reload()
        assert caught.value.kept
        assert sorted(problem.name for problem in caught.value.problems) == [
            "all_is_well",
            "signatures_hold",
            "stripe_answers",
        ]
        assert len(counted.asked) == 3
        assert secrets.api_key.reveal() == "fake-api-key-000001"
        assert {outcome for _, outcome in outcomes(counted.boot, "check")[3:]} == {"failed"}
        assert counted.boot.status().degraded
