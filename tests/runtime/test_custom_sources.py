"""Sources of the application in a start: `sources=`."""

import math
import os
import time
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    DeclarationError,
    InvalidSecretsError,
    Secret,
    SecretBytes,
    SecretSet,
    secret,
)
from hive_boot.testing import MountedVolume, override
from tests.fixtures.sources import (
    VALUE,
    Fake,
    Service,
    StatusError,
    as_it_is,
    caused,
    declared,
    values,
)
from tests.fixtures.timings import set_timings
from tests.runtime.rotations import Log, mounted
from tests.support import everything_told, failed_start, until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def test_a_start_asks_a_source_for_secrets_that_nothing_else_provides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source is asked once, for all of these names, and the status names it as the origin."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    source = Fake(answer=values(1))
    boot = declared(source)
    async with boot.running() as secrets:
        assert secrets.api_key.reveal() == "fake-API_KEY-000001"
        assert secrets.jwt_secret.reveal() == VALUE
        assert secrets.sentry_dsn is None
        assert source.asked == [("API_KEY", "SENTRY_DSN")]
        origins = {each.name: (each.source, each.place) for each in boot.status().secrets}
        assert origins["API_KEY"] == ("source", "vault")
        assert origins["JWT_SECRET"] == ("environment", "JWT_SECRET")
        assert origins["SENTRY_DSN"] == ("", "")
        assert "fake-API_KEY" not in repr(boot.status())


async def test_a_start_asks_the_next_source_for_the_rest() -> None:
    """Each source is asked for what the ones before it do not have; an empty value is none."""
    first = Fake("first", {"API_KEY": values(1)["API_KEY"], "JWT_SECRET": ""})
    second, third = Fake("second", values(2)), Fake("third", values(3))
    boot = declared(first, second, third)
    async with boot.running() as secrets:
        assert secrets.api_key.reveal() == values(1)["API_KEY"]
        assert secrets.jwt_secret.reveal() == values(2)["JWT_SECRET"]
    assert first.asked == [("API_KEY", "JWT_SECRET", "SENTRY_DSN")]
    assert second.asked == [("JWT_SECRET", "SENTRY_DSN")]
    assert third.asked == [("SENTRY_DSN",)]


class Pair(SecretSet):
    """Text and bytes."""

    text: Secret | None
    raw: SecretBytes | None


async def test_a_value_is_read_by_the_rules_of_a_file() -> None:
    """Text or bytes for either type; one final newline and a byte order mark are not the value."""
    cases: list[tuple[str | bytes, str, bytes]] = [
        (VALUE, VALUE, VALUE.encode()),
        (f"{VALUE}\n", VALUE, f"{VALUE}\n".encode()),
        (f"\ufeff{VALUE}\r\n", VALUE, f"\ufeff{VALUE}\r\n".encode()),
        (VALUE.encode(), VALUE, VALUE.encode()),
        ("fake-ä-€", "fake-ä-€", "fake-ä-€".encode()),
        (type("Text", (str,), {})(VALUE), VALUE, VALUE.encode()),
        ("x" * (1 << 20), "x" * (1 << 20), b"x" * (1 << 20)),
    ]
    for given, text, raw in cases:
        boot = Bootstrap(
            Pair, mode="environment", sources=[Fake(answer={"TEXT": given, "RAW": given})]
        )
        async with boot.running() as secrets:
            assert secrets.text is not None
            assert secrets.raw is not None
            assert (secrets.text.reveal(), secrets.raw.reveal()) == (text, raw)
            assert (type(secrets.text.reveal()), type(secrets.raw.reveal())) == (str, bytes)


async def test_an_invalid_value_is_one_problem_with_its_location() -> None:
    """Nothing of it is shown, whatever its type; the same holds for an optional secret."""
    wrong: list[tuple[object, str]] = [
        (None, "source"),
        (4711471147114711, "source"),
        (["fake-in-a-list"], "source"),
        (bytearray(b"fake-mutable"), "source"),
        (Secret("API_KEY", VALUE), "source"),
        ("fake-\0-value", "nul"),
        (b"fake-\xff-value", "not-utf-8"),
        ("fake-\ud800-value", "not-utf-8"),
        ("x" * ((1 << 20) + 1), "too-large"),
        ("fake", "length"),
    ]
    for value, kind in wrong:
        for name in ("API_KEY", "SENTRY_DSN") if kind != "length" else ("API_KEY",):
            error = await failed_start(declared(Fake(answer={**values(1), name: value})))
            (problem,) = error.problems
            assert (problem.name, problem.kind, problem.places) == (name, kind, ("source vault",))
            assert "vault" in problem.fix
            for text in ("fake", "47114711", "xxxx"):
                assert text not in everything_told(error)


async def test_an_invalid_answer_is_one_problem_of_the_source() -> None:
    """It is reported once, not once for each secret, and without its content."""

    class Broken(Mapping[str, str]):
        """A mapping that raises."""

        def __getitem__(self, key: str) -> str:
            raise KeyError(VALUE)

        def __iter__(self) -> Any:  # noqa: ANN401
            raise ValueError(VALUE)

        def __len__(self) -> int:
            return 1

    wrong = [
        [("API_KEY", VALUE)],
        VALUE,
        checkpoint,
        as_it_is({**values(1), VALUE: "API_KEY"}),
        as_it_is({name: name for name in ("fake-1", "fake-2")}),
        as_it_is({1: VALUE}),
        Broken(),
    ]
    for answer in wrong:
        error = await failed_start(declared(Fake(answer=answer)))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("vault", "source")
        assert "API_KEY, JWT_SECRET, SENTRY_DSN" in problem.message
        assert "fake" not in everything_told(error)


async def test_the_report_of_a_missing_secret_names_the_sources() -> None:
    """They are listed among the locations, after everything else."""
    error = await failed_start(declared(Fake("first"), Fake("second", {"JWT_SECRET": "\n"})))
    assert [(each.name, each.kind) for each in error.problems] == [
        ("API_KEY", "missing"),
        ("JWT_SECRET", "empty"),
    ]
    assert error.problems[0].places[-2:] == ("source first", "source second")
    assert error.problems[1].places == ("source second",)
    assert "second" in error.problems[1].fix


class Response:
    """A response of an HTTP client."""

    def __init__(self, status: object) -> None:
        self.status_code = status


def of_aws(status: int) -> dict[str, Any]:
    """Return a response as botocore has it."""
    return {"Error": {"Message": VALUE}, "ResponseMetadata": {"HTTPStatusCode": status}}


class HostileError(Exception):
    """An error whose attributes raise."""

    @property
    def response(self) -> object:
        """Raise, with the value."""
        raise LookupError(VALUE)


async def test_a_refusal_is_reported_at_once_without_its_text() -> None:
    """The report shows the type of the exception, and its HTTP status or errno."""
    cases = [
        (RuntimeError(VALUE), "RuntimeError"),
        (StatusError(response=Response(403)), "StatusError, HTTP 403"),
        (StatusError(status=404), "StatusError, HTTP 404"),
        (StatusError(code=401), "StatusError, HTTP 401"),
        (StatusError(response=of_aws(400)), "StatusError, HTTP 400"),
        (StatusError(response={VALUE: VALUE}), "StatusError"),
        (StatusError(response=Response(VALUE), code=VALUE), "StatusError"),
        (StatusError(response=Response([VALUE]), errno=[VALUE]), "StatusError"),
        (StatusError(response=Response(4711), errno=471147), "StatusError"),
        (HostileError(VALUE), "HostileError"),
        (PermissionError(13, VALUE, VALUE), "PermissionError, EACCES"),
        (caused(StatusError(), OSError(2, VALUE)), "StatusError, ENOENT"),
        (caused(StatusError(), StatusError(status=400), context=True), "StatusError, HTTP 400"),
        (ExceptionGroup(VALUE, [PermissionError(13, VALUE)]), "PermissionError, EACCES"),
        (ExceptionGroup(VALUE, [OSError(2, VALUE), OSError()]), "ExceptionGroup, ENOENT"),
        (SystemExit(VALUE), "SystemExit"),
        (KeyboardInterrupt(VALUE), "KeyboardInterrupt"),
        (GeneratorExit(VALUE), "GeneratorExit"),
    ]
    for failure, text in cases:
        source = Fake(answer=failure)
        error = await failed_start(declared(source))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("vault", "source")
        assert f": {text} (" in problem.message
        assert VALUE not in everything_told(error)
        assert len(source.asked) == 1, "it was not available"


async def test_a_start_asks_an_unavailable_source_again(caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection, an unknown host, a timeout, a sealed or busy server may pass."""
    passing = [
        ConnectionRefusedError(111, VALUE),
        TimeoutError(VALUE),
        caused(StatusError(), ConnectionResetError(104, VALUE)),
        StatusError(response=Response(503)),
        StatusError(status=429),
        StatusError(response=of_aws(503)),
    ]
    log = Log(caplog)
    for failure in passing:
        source = Fake()

        async def recover(source: Fake = source, failure: BaseException = failure) -> object:
            if len(source.asked) < 3:
                raise failure
            return values(1)

        source.answer = recover
        log.clear()
        async with declared(source).running() as secrets:
            assert secrets.api_key.reveal() == values(1)["API_KEY"]
        assert len(source.asked) == 3
        assert log.about("vault") == ["WARNING", "INFO"], "one line for a failure, one for its end"
        assert VALUE not in log.text


async def test_a_source_that_is_unavailable_until_the_timeout_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The report has the failure of the source, not the timeout."""
    log = Log(caplog)
    error = await failed_start(
        declared(Fake(answer=ConnectionRefusedError(111, VALUE)), startup_timeout=0.3)
    )
    assert error.problems[0].message.endswith(": ConnectionRefusedError, ECONNREFUSED")

    source = Fake()

    async def hang_later() -> object:
        if len(source.asked) < 2:
            raise ConnectionRefusedError(111, VALUE)
        await anyio.sleep_forever()
        return None

    source.answer = hang_later
    error = await failed_start(declared(source, startup_timeout=0.3))
    assert error.problems[0].message.endswith(": ConnectionRefusedError, ECONNREFUSED")
    assert VALUE not in log.text


async def test_a_source_that_never_answers_leaves_no_time_for_the_next_one() -> None:
    """The next source is not asked, and the report states that no time was left."""
    second = Fake("second", values(1))
    boot = declared(Fake("first", anyio.sleep_forever), second, startup_timeout=0.2)
    error = await failed_start(boot)
    assert [(each.name, each.kind) for each in error.problems] == [
        ("first", "unavailable"),
        ("second", "unavailable"),
    ]
    assert "0.2 s" in error.problems[0].message
    assert "no time" in error.problems[1].message
    assert second.asked == []


async def test_a_start_without_time_for_a_source_does_not_start() -> None:
    """A slow answer is in time, and the next source cannot be asked: no secret is left out."""

    class Relaxed(SecretSet):
        """Nothing is required."""

        api_key: Secret | None
        sentry_dsn: Secret | None

    async def block() -> object:
        time.sleep(0.2)  # noqa: ASYNC251
        return values(1, "API_KEY")

    second = Fake("second", values(1, "SENTRY_DSN"))
    sources = [Fake("first", block), second]
    boot = Bootstrap(Relaxed, mode="environment", sources=sources, startup_timeout=0.1)
    error = await failed_start(boot)
    assert [(each.name, each.kind) for each in error.problems] == [("second", "unavailable")]
    assert second.asked == []


async def test_a_load_without_an_event_loop_does_not_go_without_a_required_secret() -> None:
    """`boot.load()` asks no source: what only a source can provide is a problem that names it."""
    source = Fake(answer=values(1))
    with pytest.raises(InvalidSecretsError) as caught:
        declared(source).load()
    (problem,) = caught.value.problems
    assert (problem.name, problem.kind) == ("vault", "source")
    assert "API_KEY, JWT_SECRET: it was not asked" in problem.message
    assert source.asked == []


async def test_a_load_without_an_event_loop_does_not_ask_for_an_optional_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is absent until a run has asked the source, and a warning names it."""
    for name, value in values(1).items():
        monkeypatch.setenv(name, value)
    boot = declared(Fake(answer=values(2, "SENTRY_DSN")))
    log = Log(caplog)
    with boot.loaded() as secrets:
        assert secrets.sentry_dsn is None
        assert log.about("SENTRY_DSN") == ["WARNING"]
        async with boot.running():
            assert secrets.sentry_dsn is not None


async def test_two_sources_that_refuse_are_reported_together() -> None:
    """All problems of a start are in one report."""
    error = await failed_start(
        declared(Fake("first", RuntimeError()), Fake("second", LookupError()))
    )
    assert [each.name for each in error.problems] == ["first", "second"]


async def test_a_source_that_blocks_the_loop_is_waited_for() -> None:
    """Its answer counts, and its refusal is reported."""

    async def block() -> object:
        time.sleep(0.2)  # noqa: ASYNC251
        return values(1)

    async with declared(Fake(answer=block), startup_timeout=0.1).running():
        pass


async def test_wait_for_files_does_not_apply_to_secrets_of_a_source(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """`wait_for_files` concerns what no source has; a source is not asked at each read."""
    source = Fake(answer=values(1, "JWT_SECRET"))
    boot = mounted(volume.path, Service, watch=False, wait_for_files=20, sources=[source])
    log = Log(caplog)

    async def sidecar() -> None:
        await until(lambda: "files: API_KEY" in log.text)
        volume.publish({"api_key": "fake-api-key-000001"})

    async with anyio.create_task_group() as group:
        group.start_soon(sidecar)
        async with boot.running() as secrets:
            assert secrets.jwt_secret.reveal() == values(1)["JWT_SECRET"]
    assert len(source.asked) == 1
    log.clear()
    async with boot.running():
        assert "20 s" not in log.text


async def test_a_variable_beside_a_source_follows_the_rules_of_a_file(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted mode does not read it, unless `env_fallback=True` lets it provide the value."""
    volume.publish({"api_key": "fake-api-key-000001"})
    monkeypatch.setenv("JWT_SECRET", VALUE)
    cases = [(False, values(1)["JWT_SECRET"]), (True, VALUE)]
    for env_fallback, expected in cases:
        source = Fake(answer=values(1, "JWT_SECRET"))
        boot = mounted(
            volume.path, Service, watch=False, env_fallback=env_fallback, sources=[source]
        )
        async with boot.running() as secrets:
            assert secrets.jwt_secret.reveal() == expected
    error = await failed_start(
        mounted(volume.path, Service, watch=False, sources=[Fake(answer={})])
    )
    assert [(each.name, each.kind) for each in error.problems] == [
        ("JWT_SECRET", "environment-only")
    ]
    assert "source vault" in error.problems[0].places


async def test_in_development_a_source_comes_after_env_and_before_a_default() -> None:
    """`.env` provides the value, then the source, then `dev_default`."""

    class Local(SecretSet):
        """Three secrets with a default."""

        first: Secret = secret(dev_default="fake-default")
        second: Secret = secret(dev_default="fake-default")
        third: Secret = secret(dev_default="fake-default")

    await anyio.Path(".env").write_text("FIRST=fake-dotenv\n", "utf-8")
    source = Fake(answer={"FIRST": "fake-source", "SECOND": "fake-source"})
    boot = Bootstrap(Local, mode="development", profile="development", sources=[source])
    async with boot.running() as secrets:
        found = [each.reveal() for each in (secrets.first, secrets.second, secrets.third)]
    assert found == ["fake-dotenv", "fake-source", "fake-default"]
    assert source.asked == [("SECOND", "THIRD")]


async def test_a_fifo_is_read_once_in_a_start_that_asks() -> None:
    """A start loads again after each answer; the content of a FIFO is gone after the first load."""
    await anyio.to_thread.run_sync(os.mkfifo, ".env")
    source = Fake(answer=values(1, "JWT_SECRET"))
    boot = declared(source, mode="development", profile="development")
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.Path(".env").write_text, "API_KEY=fake-of-a-fifo\n")
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-of-a-fifo"
            assert secrets.jwt_secret.reveal() == values(1)["JWT_SECRET"]
    assert source.asked == [("JWT_SECRET", "SENTRY_DSN")]


async def test_a_fifo_without_a_writer_is_not_replaced_by_a_source() -> None:
    """It is a problem, as without a source, and is waited for once."""
    await anyio.to_thread.run_sync(os.mkfifo, ".env")
    reports = []
    for sources in ([], [Fake(answer={})]):
        boot = declared(*sources, mode="development", profile="development")
        set_timings(boot, fifo_timeout=0.1)
        error = await failed_start(boot)
        reports.append([(each.name, each.kind) for each in error.problems])
    assert reports[0] == reports[1]


async def test_an_overridden_secret_is_not_asked_for() -> None:
    """A test that overrides the secrets of a source needs no server."""
    source = Fake(answer=RuntimeError())
    boot = declared(source)
    with override(boot, api_key="fake-override-1", jwt_secret="fake-override", sentry_dsn=None):
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-override-1"
    assert source.asked == []


async def test_any_object_with_a_name_and_an_async_load_is_a_source() -> None:
    """A mock, a partial, a method of another object; any mapping is an answer."""

    async def function(table: Mapping[str, str], names: Sequence[str]) -> Mapping[str, str]:
        await checkpoint()
        return ChainMap({name: table[name] for name in names if name in table}, {})

    answer = MappingProxyType(values(1))
    named: list[Any] = [
        SimpleNamespace(name="mock", load=AsyncMock(return_value=answer)),
        SimpleNamespace(name="partial", load=partial(function, answer)),
        SimpleNamespace(name="method", load=Fake(answer=values(1)).load),
    ]
    for source in named:
        async with declared(source).running() as secrets:
            assert secrets.api_key.reveal() == values(1)["API_KEY"]


async def test_a_secret_that_is_found_under_an_alias_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value under an alias is a value; a source is asked for the name, never for an alias."""

    class Renamed(SecretSet):
        """Two secrets with older names."""

        first: Secret = secret(aliases=("FORMER_FIRST",))
        second: Secret = secret(aliases=("FORMER_SECOND",))

    monkeypatch.setenv("FORMER_FIRST", VALUE)
    source = Fake(answer=values(1, "FIRST", "SECOND"))
    boot = Bootstrap(Renamed, mode="environment", sources=[source])
    async with boot.running() as secrets:
        found = (secrets.first.reveal(), secrets.second.reveal())
    assert found == (VALUE, values(1, "SECOND")["SECOND"])
    assert source.asked == [("SECOND",)]


async def test_an_invalid_source_is_a_declaration_error() -> None:
    """The error is raised where the Bootstrap is created."""

    class Blocking:
        """A source that is not async."""

        name = "blocking"

        def load(self, names: Sequence[str]) -> Mapping[str, str]:
            """Return nothing."""
            raise NotImplementedError

    wrong: list[Any] = [
        Fake(),
        None,
        "vault",
        {Fake()},
        [None],
        [Fake],
        [Blocking()],
        [Fake(name="")],
        [Fake(name=" ")],
        [Fake(name="two\nlines")],
        [Fake(name=7)],  # type: ignore[arg-type]
        [Fake(), Fake()],
        *[[Fake(interval=interval)] for interval in (0, -1, math.inf, math.nan, "5", True)],
    ]
    for sources in wrong:
        with pytest.raises(DeclarationError):
            Bootstrap(Service, sources=sources)
    for interval in (None, 1, 0.5):
        Bootstrap(Service, sources=[Fake(interval=interval)])
