"""Checks that have to be awaited: of one field, of the whole set, and of the application."""

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


def boot_of(declared: type[SecretSet], startup_timeout: float = 30) -> Bootstrap[SecretSet, None]:
    """Make an application whose secrets are variables."""
    return Bootstrap(declared, mode="environment", startup_timeout=startup_timeout)


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
    (says_false, "False"),
    (says_text, " str;"),
    (raises, "ValueError: *** is too guessable"),
    (raises_what_is_false, "EmptyRefusalError"),
]
"""Checks that refuse, and what their problem has to name."""


async def test_a_check_that_passes_lets_the_start_go_on() -> None:
    """None and True mean that the value is good."""
    for declare in (one_check, set_check):
        for check in (passes, says_true):
            async with boot_of(declare(check)).running() as secrets:
                assert getattr(secrets, "jwt_secret").reveal() == VALUE  # noqa: B009  (declared above)


@pytest.mark.both_backends
async def test_a_field_is_refused_with_a_reason_and_without_its_value() -> None:
    """The report names the secret, who needs it and the check's reason, never the value."""
    for check, named in REFUSALS:
        error = await failed_start(boot_of(one_check(check)))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("JWT_SECRET", "check")
        assert named in problem.message
        assert problem.used_by == "user-auth"
        assert VALUE not in str(error)


@pytest.mark.both_backends
async def test_a_set_is_refused_with_a_reason_and_without_its_values() -> None:
    """What does not belong together is reported under the name of the declaration."""
    for check, named in REFUSALS:
        error = await failed_start(boot_of(set_check(check)))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("Pair", "check")
        assert named in problem.message
        assert VALUE not in str(error)


async def test_a_set_check_sees_every_value_of_this_start() -> None:
    """The check of a set reads its own fields, as the application will."""
    seen: list[tuple[str, str]] = []

    async def judge(pair: Any) -> None:  # noqa: ANN401  (a set that is declared in a function)
        await checkpoint()
        seen.append((pair.jwt_secret.reveal(), pair.api_key.reveal()))

    async with boot_of(set_check(judge)).running():
        assert seen == [(VALUE, OTHER)]


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


@pytest.mark.both_backends
async def test_a_check_that_hangs_ends_with_the_start_timeout() -> None:
    """A check that never answers is a problem of the report, not a service that never starts."""
    declared = {"JWT_SECRET": one_check(hangs), "Pair": set_check(hangs)}
    for name, declaration in declared.items():
        error = await failed_start(boot_of(declaration, startup_timeout=0.2))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == (name, "unavailable")
        assert "0.2 s" in problem.message


async def test_a_check_that_passes_after_the_start_timeout_is_late() -> None:
    """A check that blocks the loop cannot be cancelled; the start does not become ready."""

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
async def test_no_time_at_all_is_a_problem_of_the_check_and_nothing_else() -> None:
    """With no time left an async check is named as late, and Python warns of nothing."""
    error = await failed_start(boot_of(one_check(passes), startup_timeout=1e-9))
    gc.collect()
    (problem,) = error.problems
    assert (problem.kind, "1e-09 s" in problem.message) == ("unavailable", True)


@pytest.mark.both_backends
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

    async with boot_of(Two, startup_timeout=PATIENCE).running():
        assert sorted(met) == sorted([VALUE, OTHER])


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

    error = await failed_start(boot_of(Two, startup_timeout=PATIENCE))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET", "API_KEY"]


@pytest.mark.both_backends
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


@pytest.mark.both_backends
async def test_a_check_that_was_never_begun_is_dropped_in_silence() -> None:
    """A start that ends before its async checks begin makes Python warn of nothing."""
    soon, going, gate = threadsafe_scheduler(), anyio.Event(), threading.Event()

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
    assert (problem.kind, "False" in problem.message) == ("check", True)


# Checks of the application


class Pair(SecretSet):
    """Two secrets that services outside know."""

    jwt_secret: Secret
    api_key: Secret


def pair(**more: Any) -> Bootstrap[Pair, None]:  # noqa: ANN401  (what Bootstrap takes)
    """Declare an application whose checks are soon repeated, if that makes sense."""
    boot = Bootstrap(Pair, mode="environment", **more)
    set_timings(boot, check_retry_delay=0.01, max_check_retry_delay=0.02)
    return boot


class Asked:
    """A check that keeps what it was asked, and answers what it is told to."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.values: list[str] = []

    async def check(self, secrets: Pair) -> Any:  # noqa: ANN401  (it may answer wrongly)
        """Answer as a check of a set of two."""
        return await self(secrets)

    async def __call__(self, secrets: SecretSet) -> Any:  # noqa: ANN401  (it may answer wrongly)
        """Answer, the last answer for ever."""
        await checkpoint()
        value: Secret = getattr(secrets, "api_key")  # noqa: B009  (each set here has it)
        self.values.append(value.reveal())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def judged_by(
    asked: Asked,
    *names: str,
    **more: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[Pair, None]:
    """Declare an application with one check of two secrets."""
    boot = pair(**more)

    @boot.check(*names)
    async def stripe_answers(secrets: Pair) -> bool | None:
        answer: bool | None = await asked(secrets)
        return answer

    return boot


async def test_a_check_of_the_application_passes_once() -> None:
    """It is asked one time, of the set that is about to be used."""
    for answer in (None, True):
        asked = Asked(answer)
        boot = judged_by(asked, "jwt_secret")
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
"""Answers that stay what they are, and what their problem has to name."""


@pytest.mark.both_backends
async def test_what_will_not_pass_by_itself_is_asked_once() -> None:
    """A value that is wrong stays wrong: the start does not wait for another answer."""
    for answer, named in FINAL:
        asked = Asked(answer)
        error = await failed_start(judged_by(asked))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("stripe_answers", "check")
        assert named in problem.message
        assert asked.values == [OTHER], named
        assert OTHER not in str(error)


async def test_the_problem_of_a_check_names_what_it_is_declared_for() -> None:
    """The check has failed, and nothing has refused a secret: fields, locations and users."""

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
async def test_what_may_pass_by_itself_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """A service outside that is not up yet is waited for, and the log says so."""
    asked = Asked(ConnectionError(f"no route with {OTHER}"), TimeoutError(), None)
    boot = judged_by(asked)
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
async def test_what_does_not_pass_while_the_start_lasts_is_reported() -> None:
    """At the end of ``startup_timeout`` the report has the last failure, without a value."""
    asked = Asked(ConnectionError("no route"), ConnectionError(f"reset by {OTHER}"))
    error = await failed_start(judged_by(asked, startup_timeout=0.3))
    assert isinstance(error, UnavailableError)
    (problem,) = error.problems
    assert (problem.name, problem.kind) == ("stripe_answers", "unavailable")
    assert "ConnectionError: reset by ***" in problem.message
    assert len(asked.values) > 1


@pytest.mark.both_backends
async def test_a_refusal_after_a_failure_to_connect_is_final() -> None:
    """The server is up at the second call, and refuses: nothing is called a third time."""
    asked = Asked(ConnectionError("no route"), RuntimeError("login refused"))
    error = await failed_start(judged_by(asked))
    assert isinstance(error, InvalidSecretsError)
    assert [problem.kind for problem in error.problems] == ["check"]
    assert len(asked.values) == 2


@pytest.mark.both_backends
async def test_a_refusal_ends_the_retries_of_the_others() -> None:
    """The start fails with 78 at once, and its report names both."""
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
async def test_the_check_of_a_field_and_of_a_set_is_called_again() -> None:
    """Theirs may ask the outside world too, in the event loop or in a thread."""
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
    """An error of a library that has one for everything."""


async def test_further_exceptions_are_retried() -> None:
    """``retry_on`` names one type or several, and they are found as a cause too."""
    failure = OperationalError()
    for retry_on in (OperationalError, (ValueError, OperationalError), [OperationalError]):
        for raised in (failure, caused(LookupError(), failure)):
            asked = Asked(raised, None)
            boot = pair()
            boot.check(retry_on=retry_on)(asked.check)  # type: ignore[arg-type]  # a list works too
            async with boot.running():
                assert len(asked.values) == 2


async def test_a_check_of_one_moment_is_not_called_at_the_other(volume: MountedVolume) -> None:
    """``at`` limits a check to starts or to rotations."""
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


def test_what_is_no_exception_and_no_moment_is_refused() -> None:
    """A wrong argument fails where it is written."""
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
async def test_the_end_of_the_start_hides_no_refusal() -> None:
    """A last call that the end cuts short says nothing: what was said before it is reported."""
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
async def test_a_check_that_hangs_for_its_own_time_is_asked_again() -> None:
    """A call that takes too long may be a lost packet: the next one may come through."""
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
async def test_a_check_that_hangs_for_ever_is_reported() -> None:
    """The start ends, and the report says whose time was over, and how long that was."""
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
async def test_a_check_that_hangs_in_a_group_of_the_loop_is_late() -> None:
    """Several tasks that are cancelled when the time is over are no refusal."""

    async def hang(_: object) -> None:
        await sleep_in_a_group_of_the_loop()

    for declare in (one_check, set_check):
        (problem,) = (await failed_start(boot_of(declare(hang), startup_timeout=0.2))).problems
        assert "0.2 s" in problem.message


@pytest.mark.both_backends
async def test_the_checks_of_an_application_run_side_by_side() -> None:
    """Three slow services are asked at once."""
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


async def test_all_that_refuse_are_reported_in_the_order_of_the_declaration() -> None:
    """One refusal does not hide another one, whichever comes first."""
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


async def test_nobody_outside_is_asked_about_a_set_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check that costs a call over the network is for sets that have passed all else."""
    monkeypatch.delenv("JWT_SECRET")
    asked = Asked(None)
    error = await failed_start(judged_by(asked, "api_key"))
    assert [problem.name for problem in error.problems] == ["JWT_SECRET"]
    assert asked.values == []


@pytest.mark.both_backends
async def test_a_check_of_the_application_with_no_time_at_all_warns_of_nothing() -> None:
    """It passes or it is late; Python has nothing to say about a coroutine."""
    boot = Bootstrap(Pair, mode="environment", startup_timeout=1e-9)

    @boot.check
    async def stripe_answers() -> None:
        await anyio.sleep_forever()

    (problem,) = (await failed_start(boot)).problems
    gc.collect()
    assert "1e-09 s" in problem.message


@pytest.mark.both_backends
async def test_a_start_that_is_cancelled_in_a_pause_is_over_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stop does not wait until a check would have been asked again."""
    boot = judged_by(Asked(ConnectionError()))
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
    """An application with three checks, about one field each and about all."""

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
        """Note who was asked about which set."""
        await checkpoint()
        self.asked.append(f"{name} {secrets.api_key.reveal()[-1]}{secrets.jwt_secret.reveal()[-1]}")
        if isinstance(self.answer, Exception):
            raise self.answer


async def test_a_rotation_asks_those_whose_secrets_have_changed(volume: MountedVolume) -> None:
    """They are asked about the new set before anybody uses it; a start asks them all."""
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
async def test_a_rotation_that_reaches_nothing_is_retried(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good set stays in use, degraded, until the check has an answer; one line says so."""
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
async def test_a_rotation_asks_once(volume: MountedVolume) -> None:
    """What fails is not asked again while a rotation waits: the last good set stays in use."""
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
