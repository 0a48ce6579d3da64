"""Validation of values: constraints, checks and placeholders."""

import base64
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import pytest

from hive_boot import (
    Bootstrap,
    InvalidSecretsError,
    Problem,
    Secret,
    SecretBytes,
    SecretSet,
    secret,
)
from hive_boot._timings import DEFAULTS
from hive_boot.runtime.checks import field_check, run_checks
from hive_boot.secrets.fields import Field
from hive_boot.secrets.validation import placeholder
from tests.fixtures.cases import case, empty_machines
from tests.support import failed_start, look, until, values_of

FAKE = "fake-jwt/secret+0123456789-\u00e4"
INJECTED = {"HIVE_BOOT_MODE": "environment"}


@pytest.fixture(autouse=True)
def injected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every start here read variables, of which one is set."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", FAKE)


def checked(check: Callable[[str], Any]) -> Bootstrap[Any, None]:
    """Return an application with one secret, which ``check`` validates."""

    class Checked(SecretSet):
        """One secret with a check."""

        jwt_secret: Secret = secret(used_by="user-auth", check=check)

    return Bootstrap(Checked, startup_timeout=5)


async def refusal(check: Callable[[str], Any]) -> Problem:
    """Start, and give the one problem that the check makes."""
    failure = await failed_start(checked(check))
    assert len(failure.problems) == 1
    problem = failure.problems[0]
    assert (problem.name, problem.kind, problem.used_by) == ("JWT_SECRET", "check", "user-auth")
    return problem


# Length and pattern


class Ruled(SecretSet):
    """Secrets with rules."""

    short: Secret = secret(min_length=4, max_length=6)
    raw: SecretBytes = secret(min_length=4, max_length=6)
    key: Secret = secret(pattern=r"sk-[a-z]+|pk")
    blob: SecretBytes = secret(pattern=re.compile(r"fake-\d+"))


GOOD = {"SHORT": "fake5", "RAW": "fake5", "KEY": "sk-fake", "BLOB": "fake-123"}


def broken(root: Path, **changes: str) -> list[tuple[str, str, list[int]]]:
    """Return name, kind and numbers of the problems with some changed values."""
    loaded = look(Ruled, root, INJECTED | GOOD | changes)
    return [
        (each.name, each.kind, [int(number) for number in re.findall(r"\d+", each.message)])
        for each in loaded.problems
    ]


def test_a_value_that_meets_its_constraints_is_accepted(tmp_path: Path) -> None:
    """The minimum and maximum are allowed, and every alternative of the pattern."""
    cases: list[dict[str, str]] = [
        {},
        {"SHORT": "fake"},
        {"SHORT": "fake56"},
        {"RAW": "fake"},
        {"RAW": "fake56"},
        {"KEY": "pk"},
    ]
    machines = empty_machines(tmp_path)
    for changes in cases:
        with case(changes):
            root = next(machines)
            assert broken(root, **changes) == []


def test_too_short_and_too_long(tmp_path: Path) -> None:
    """A value of a wrong length is refused with both numbers, in its own unit."""
    machines = empty_machines(tmp_path)
    for field in ("SHORT", "RAW"):
        with case(field):
            root = next(machines)
            assert broken(root, **{field: "fak"}) == [(field, "length", [3, 4])]
            assert broken(root, **{field: "fake567"}) == [(field, "length", [7, 6])]


def test_length_is_counted_in_the_unit_of_the_type(tmp_path: Path) -> None:
    """Six characters of two bytes each are six for a Secret and twelve for SecretBytes."""
    assert broken(tmp_path, SHORT="ääääää") == []
    assert broken(tmp_path, RAW="ääääää") == [("RAW", "length", [12, 6])]


def test_the_pattern_has_to_match_the_whole(tmp_path: Path) -> None:
    """A value of which only a part matches is refused, and not shown."""
    cases: list[str] = ["sk-fake1", "xsk-fake", "sk-fake\n", "sk-", "pkpk", "PK"]
    machines = empty_machines(tmp_path)
    for value in cases:
        with case(value):
            root = next(machines)
            assert broken(root, KEY=value) == [("KEY", "pattern", [])]


def test_a_pattern_for_bytes(tmp_path: Path) -> None:
    """A pattern judges SecretBytes as well."""
    assert [name for name, *_ in broken(tmp_path, BLOB="fake-x")] == ["BLOB"]


def test_a_rejected_value_is_not_in_the_result(tmp_path: Path) -> None:
    """Its problem has a location and a fix."""
    loaded = look(Ruled, tmp_path, INJECTED | GOOD | {"KEY": "fake"})
    assert "key" not in values_of(loaded)
    assert loaded.problems[0].places == ("environment variable KEY",)
    assert "KEY" in loaded.problems[0].fix


# Checks of one secret


@pytest.mark.anyio
async def test_a_check_passes() -> None:
    """True and None let a start go on, and the check saw the plain value."""
    for verdict in (True, None):
        with case(verdict):
            judge = Judge(answer=verdict)
            async with checked(judge).running() as secrets:
                assert secrets.jwt_secret.reveal() == FAKE
            assert judge.seen == [FAKE]


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_an_async_check_passes() -> None:
    """An async check is awaited before the application is ready."""
    seen: list[str] = []

    async def check(value: str) -> bool:
        await anyio.lowlevel.checkpoint()
        seen.append(value)
        return True

    async with checked(check).running():
        assert seen == [FAKE]


@pytest.mark.anyio
async def test_a_check_returns_false() -> None:
    """False refuses the value."""
    problem = await refusal(lambda _: False)
    assert problem.message.endswith(" False")


@pytest.mark.anyio
async def test_an_async_check_returns_false() -> None:
    """False refuses the value when it is awaited too."""

    async def check(_: str) -> bool:
        return False

    problem = await refusal(check)
    assert problem.message.endswith(" False")


@pytest.mark.anyio
async def test_a_check_returns_something_else() -> None:
    """Any other answer is a mistake, which is named by its type alone."""
    cases: list[tuple[object, str]] = [(0, "int"), (1, "int"), ("", "str"), (FAKE, "str")]
    for answer, kind in cases:
        with case(answer, kind):
            problem = await refusal(Judge(answer))
            assert f" {kind};" in problem.message
            assert FAKE not in problem.message


@pytest.mark.anyio
async def test_a_check_raises() -> None:
    """What a check raises is the reason that the report gives."""

    def check(_: str) -> None:
        message = "the issuer does not know this key"
        raise LookupError(message)

    problem = await refusal(check)
    assert " LookupError: the issuer does not know this key (" in problem.message


@pytest.mark.anyio
async def test_a_check_raises_without_words() -> None:
    """An exception without a text is named by its class."""

    async def check(_: str) -> None:
        raise PermissionError

    assert " PermissionError (" in (await refusal(check)).message


@pytest.mark.anyio
async def test_a_check_exits() -> None:
    """A check that calls sys.exit refuses its value; it does not end the process."""

    def check(_: str) -> None:
        raise SystemExit(3)

    assert " SystemExit: 3 (" in (await refusal(check)).message


class Mute(Exception):  # noqa: N818  (it says nothing, not even that)
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError(FAKE)


@pytest.mark.anyio
async def test_a_check_may_raise_an_exception_whose_text_raises() -> None:
    """The problem has the class of the exception, and no value."""

    def check(_: str) -> None:
        raise Mute

    assert " Mute (" in (await refusal(check)).message


def forms_of_the_value() -> Iterator[tuple[str, str]]:
    """Return the forms in which a careless message may contain the value."""
    raw = FAKE.encode()
    yield "plain", FAKE
    yield "repr", repr(FAKE)
    yield "repr of bytes", repr(raw)
    yield "JSON", json.dumps(FAKE)
    yield "base64", base64.b64encode(raw).decode()
    yield "base64 in a longer text", base64.b64encode(b"user:" + raw + b"\n").decode()
    yield "base64 for a URL", base64.urlsafe_b64encode(b"??" + raw).decode()
    yield "hex", raw.hex()
    yield "HEX", raw.hex().upper()
    yield "URL-encoded", quote(FAKE, safe="")


def is_told(text: str) -> bool:
    """Return whether a text contains a recognisable piece of the value in one of its forms."""
    raw = FAKE.encode()
    pieces = [FAKE[:12], FAKE[12:24], raw.hex()[:24], raw.hex().upper()[:24], quote(FAKE, safe="")]
    pieces += [
        base64.b64encode(bytes(shift) + raw).decode()[4:16].replace(*change)
        for shift in range(3)
        for change in (("+", "+"), ("+", "-"), ("/", "_"))
    ]
    return any(piece in text for piece in pieces)


@pytest.mark.anyio
async def test_a_value_in_the_message_of_a_check_is_redacted() -> None:
    """This holds for every usual form of the value."""

    def check(message: str, _: str) -> None:
        raise ValueError(message)

    async def async_check(message: str, _: str) -> None:
        raise ValueError(message)

    for name, form in forms_of_the_value():
        for judge in (check, async_check):
            with case(name, judge):
                assert is_told(form)
                problem = await refusal(partial(judge, f"token <{form}> is not known"))
                assert not is_told(problem.message)
                assert "***" in problem.message
                assert "ValueError: token <" in problem.message
                assert "> is not known (" in problem.message


@pytest.mark.anyio
async def test_a_check_raises_a_key_error() -> None:
    """An exception that is made of the value alone, as a look-up raises it, shows nothing."""

    def check(value: str) -> None:
        raise KeyError(value)

    assert " KeyError: '***' (" in (await refusal(check)).message


@pytest.mark.anyio
async def test_bytes_in_the_message_of_a_check_are_redacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check of SecretBytes gets bytes."""
    monkeypatch.setenv("BLOB", "fake-blob-0123456789")

    def check(value: bytes) -> None:
        message = f"cannot parse {value!r}"
        raise ValueError(message)

    class Blob(SecretSet):
        """Bytes with a check."""

        blob: SecretBytes = secret(check=check)

    failure = await failed_start(Bootstrap(Blob))
    assert " ValueError: cannot parse b'***' (" in failure.problems[0].message


class Judge:
    """A callable object that returns one answer, and keeps the values that it was called with."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.seen: list[str] = []

    def __call__(self, value: str) -> object:
        """Return the answer."""
        self.seen.append(value)
        return self.answer


class AsyncJudge:
    """A callable object that takes its time."""

    async def __call__(self, value: str) -> bool:
        """Refuse."""
        await anyio.lowlevel.checkpoint()
        return value != FAKE


class Promise:
    """Something that can be awaited and is no coroutine."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from anyio.lowlevel.checkpoint().__await__()
        message = "broken promise"
        raise ValueError(message)


@pytest.mark.anyio
async def test_a_check_may_be_a_callable_object() -> None:
    """An object with ``__call__``, sync or async, works like a function."""
    async with checked(Judge(answer=True)).running():
        pass
    assert (await refusal(Judge(answer=False))).message.endswith(" False")
    assert (await refusal(AsyncJudge())).message.endswith(" False")


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_anything_awaitable_is_awaited() -> None:
    """A check may return any awaitable, not only a coroutine."""

    def check(_: str) -> Awaitable[None]:
        return Promise()

    assert "ValueError: broken promise (" in (await refusal(check)).message


# Several checks, and time


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_checks_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sync checks that wait for one another all pass."""
    together = threading.Barrier(3)

    def check(_: str) -> None:
        together.wait(timeout=10)

    class Three(SecretSet):
        """Three secrets that are checked at the same time."""

        jwt_secret: Secret = secret(check=check)
        second: Secret = secret(check=check)
        third: Secret = secret(check=check)

    monkeypatch.setenv("SECOND", "fake-second")
    monkeypatch.setenv("THIRD", "fake-third")
    async with Bootstrap(Three).running():
        assert not together.broken


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_async_checks_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two async checks of which each waits for the other both pass."""
    one, two = anyio.Event(), anyio.Event()

    async def check_one(_: str) -> None:
        one.set()
        await two.wait()

    async def check_two(_: str) -> None:
        two.set()
        await one.wait()

    class Two(SecretSet):
        """Two secrets that are checked at the same time."""

        jwt_secret: Secret = secret(check=check_one)
        second: Secret = secret(check=check_two)

    monkeypatch.setenv("SECOND", "fake-second")
    async with Bootstrap(Two, startup_timeout=10).running():
        assert one.is_set()


@pytest.mark.anyio
async def test_all_problems_are_in_the_order_of_the_declaration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This holds for sync and async checks and for missing secrets."""

    async def later(_: str) -> bool:
        return False

    class Four(SecretSet):
        """Four secrets, none of which is right."""

        jwt_secret: Secret = secret(check=later)
        second: Secret = secret(check=lambda _: False)
        third: Secret
        fourth: Secret = secret(check=later)

    monkeypatch.setenv("SECOND", "fake-second")
    monkeypatch.setenv("FOURTH", "fake-fourth")
    failure = await failed_start(Bootstrap(Four))
    assert [(each.name, each.kind) for each in failure.problems] == [
        ("JWT_SECRET", "check"),
        ("SECOND", "check"),
        ("THIRD", "missing"),
        ("FOURTH", "check"),
    ]


@pytest.mark.anyio
async def test_an_absent_or_invalid_value_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check is called only for values that meet the constraints."""
    seen: list[str] = []

    class Unjudged(SecretSet):
        """Secrets that no check sees."""

        jwt_secret: Secret = secret(check=seen.append, min_length=1000)
        second: Secret | None = secret(check=seen.append)
        third: Secret = secret(check=seen.append)

    monkeypatch.setenv("THIRD", "fake-third")
    failure = await failed_start(Bootstrap(Unjudged))
    assert [each.kind for each in failure.problems] == ["length"]
    assert seen == ["fake-third"]


@pytest.mark.anyio
async def test_the_previous_value_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A previous value is validated by the same check, and reported by its own name."""
    monkeypatch.setenv("OLD", "fake-old-0123456789")

    class Rotated(SecretSet):
        """A secret with a value before it."""

        jwt_secret: Secret = secret(previous="OLD", check=lambda value: "old" not in value)

    failure = await failed_start(Bootstrap(Rotated))
    assert [each.name for each in failure.problems] == ["OLD"]


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_check_hangs(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that never answers is named when the time is up; the others are told as well."""

    class Hanging(SecretSet):
        """One secret whose check hangs, and one that is refused."""

        jwt_secret: Secret = secret(check=lambda _: release.wait(60))
        second: Secret = secret(check=lambda _: False)

    monkeypatch.setenv("SECOND", "fake-second")
    failure = await failed_start(Bootstrap(Hanging, startup_timeout=0.2))
    assert [(each.name, each.kind) for each in failure.problems] == [
        ("JWT_SECRET", "unavailable"),
        ("SECOND", "check"),
    ]
    assert "0.2 s" in failure.problems[0].message
    assert not release.is_set()


@pytest.mark.anyio
async def test_a_check_that_still_runs_is_not_called_again(release: threading.Event) -> None:
    """Each call that hangs occupies a thread. Another value is checked, and this one later."""
    seen: list[str] = []

    def check(value: str) -> None:
        seen.append(value)
        release.wait()

    field = Field(attribute="jwt_secret", name="JWT_SECRET", check=check)
    running: set[tuple[str, Any]] = set()

    async def call(text: str, seconds: float = 0.01) -> list[str]:
        asked = field_check(field, Secret("JWT_SECRET", text), running)
        deadline = time.monotonic() + seconds
        problems = await run_checks(
            [asked], deadline=deadline, seconds=5, retry=False, timings=DEFAULTS
        )
        return [problem.kind for problem in problems]

    texts = ("fake-1", "fake-1", "fake-2")
    assert [await call(text) for text in texts] == [["unavailable"]] * 3
    await until(lambda: seen == ["fake-1", "fake-2"])
    release.set()
    for thread in threading.enumerate():
        if thread.name == "hive_boot check of JWT_SECRET":
            thread.join()
    assert running == set()
    field = field.replace(check=seen.append)
    assert await call("fake-1", seconds=20) == []
    assert seen == ["fake-1", "fake-2", "fake-1"]


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_an_async_check_hangs() -> None:
    """An async check that never answers is cancelled and named when the time is up."""
    cancelled: list[bool] = []

    async def check(_: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    class Hanging(SecretSet):
        """A secret whose check hangs."""

        jwt_secret: Secret = secret(check=check)

    failure = await failed_start(Bootstrap(Hanging, startup_timeout=0.1))
    (problem,) = failure.problems
    assert (problem.name, problem.kind) == ("JWT_SECRET", "unavailable")
    assert "0.1 s" in problem.message
    assert cancelled == [True]


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_hanging_check_leaves_no_time_for_others(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is shared by all checks, so a sync check that hangs leaves none for an async one."""

    async def check(_: str) -> None:
        await anyio.sleep_forever()

    class Hanging(SecretSet):
        """Two secrets whose checks hang."""

        jwt_secret: Secret = secret(check=lambda _: release.wait(60))
        second: Secret = secret(check=check)

    monkeypatch.setenv("SECOND", "fake-second")
    failure = await failed_start(Bootstrap(Hanging, startup_timeout=0.1))
    assert {each.name for each in failure.problems} == {"JWT_SECRET", "SECOND"}
    assert all("0.1 s" in each.message for each in failure.problems)


# The check of the whole set


class Pair(SecretSet):
    """A key and a certificate that belong together."""

    jwt_secret: Secret
    certificate: Secret | None

    async def check(self) -> None:
        """Refuse a pair that does not match, and tell too much about it."""
        await anyio.lowlevel.checkpoint()
        if self.certificate is not None and self.certificate.reveal() != self.jwt_secret.reveal():
            message = f"{self.certificate.reveal()} is not for {self.jwt_secret.reveal()!r}"
            raise ValueError(message)


@pytest.mark.anyio
async def test_a_set_passes_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole set is checked with its values, also when one of them is absent."""
    async with Bootstrap(Pair).running() as secrets:
        assert secrets.certificate is None
    monkeypatch.setenv("CERTIFICATE", FAKE)
    async with Bootstrap(Pair).running() as secrets:
        assert secrets.certificate == Secret("CERTIFICATE", FAKE)


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_check_that_rejects_the_set_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem has the name of the set, and none of its values."""
    monkeypatch.setenv("CERTIFICATE", "fake-certificate-0123456789")
    failure = await failed_start(Bootstrap(Pair))
    assert [(each.name, each.kind) for each in failure.problems] == [("Pair", "check")]
    assert " ValueError: *** is not for '***' (" in failure.problems[0].message


@pytest.mark.anyio
async def test_a_set_check_returns_false() -> None:
    """A set refuses itself by returning False as well."""

    class Refused(SecretSet):
        """A set that is never right."""

        jwt_secret: Secret

        async def check(self) -> bool:
            """Refuse."""
            return False

    failure = await failed_start(Bootstrap(Refused))
    assert failure.problems[0].message.endswith(" False")


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_set_check_hangs() -> None:
    """The check of a set shares the time of the start."""

    class Hanging(SecretSet):
        """A set whose check never ends."""

        jwt_secret: Secret

        async def check(self) -> None:
            """Wait for ever."""
            await anyio.sleep_forever()

    failure = await failed_start(Bootstrap(Hanging, startup_timeout=0.1))
    (problem,) = failure.problems
    assert (problem.name, problem.kind) == ("Hanging", "unavailable")
    assert "0.1 s" in problem.message


@pytest.mark.anyio
async def test_a_set_with_problems_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fields may be absent."""
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("CERTIFICATE", "fake-certificate-0123456789")
    failure = await failed_start(Bootstrap(Pair))
    assert [each.name for each in failure.problems] == ["JWT_SECRET"]


@pytest.mark.anyio
async def test_a_refused_start_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal the same application starts with a better value."""
    boot = checked(lambda value: value != FAKE)
    with pytest.raises(InvalidSecretsError):
        async with boot.running():
            pass
    monkeypatch.setenv("JWT_SECRET", "fake-better-0123456789")
    async with boot.running() as secrets:
        assert secrets.jwt_secret.reveal() == "fake-better-0123456789"


# Placeholders


class Planned(SecretSet):
    """Secrets for which a manifest was rendered."""

    text: Secret = secret(used_by="billing", min_length=200)
    raw: SecretBytes = secret()
    absent: Secret | None = secret()


def test_a_rendered_placeholder_is_a_problem_in_every_profile(tmp_path: Path) -> None:
    """A rendered manifest that is applied without changes has one problem for each secret."""
    machines = empty_machines(tmp_path)
    for profile in ("development", "test", "production"):
        for around in ("{}", "{}\n\n", "{} fake-and-more"):
            with case(profile, around):
                root = next(machines)
                names = ("TEXT", "RAW", "ABSENT")
                variables = {name: around.format(placeholder(name)) for name in names}
                loaded = look(
                    Planned, root, {**INJECTED, **variables, "HIVE_BOOT_PROFILE": profile}
                )
                assert [(each.name, each.kind) for each in loaded.problems] == [
                    (name, "placeholder") for name in names
                ]
                assert loaded.values == {}
                assert "TEXT" in loaded.problems[0].fix


def test_a_value_that_only_contains_a_placeholder_is_accepted(tmp_path: Path) -> None:
    """Only a value that begins as a placeholder is one."""
    value = f"fake {placeholder('RAW')}"
    loaded = look(Planned, tmp_path, {**INJECTED, "TEXT": value * 4, "RAW": value})
    assert loaded.problems == ()
