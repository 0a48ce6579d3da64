"""The two sources of `examples/sources`, with a server over HTTP and with real files."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples.sources.json_directory import JsonDirectory
from examples.sources.vault import VaultSource
from hive_boot import Bootstrap, Secret, SecretSet, Source
from tests.examples.kv_server import TOKEN, KvServer, serving
from tests.fixtures.timings import set_timings
from tests.runtime.rotations import Heard, Log
from tests.support import everything_told, failed_start, until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

PATH = "orders/production"


class Orders(SecretSet):
    """A password, and a port, which is a number in JSON."""

    database_password: Secret
    database_port: Secret | None


def content(number: int) -> dict[str, object]:
    """Return the keys of a version, one of which no application has declared."""
    password = f"fake-password-{number:06}"
    return {"DATABASE_PASSWORD": password, "DATABASE_PORT": 5432, "UNRELATED": "fake-unrelated"}


def declared(source: Source, **more: Any) -> Bootstrap[Orders, None]:  # noqa: ANN401  (what Bootstrap takes)
    """Declare an application that is tried again soon."""
    boot = Bootstrap(Orders, mode="environment", sources=[source], **more)
    set_timings(boot, check_retry_delay=0.02, max_check_retry_delay=0.1, source_timeout=1)
    return boot


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KvServer]:
    """Run a server that has one secret, and use no proxy."""
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as server:
        server.write(PATH, content(1))
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Write a valid token into a file, as Vault Agent does."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def test_vault_provides_rotates_and_recovers(
    server: KvServer, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Start, rotation by the interval, outage and recovery, deletion, and a new token."""
    source = VaultSource(server.address, PATH, token_file=token_file, interval=0.05)
    boot = declared(source)
    heard, log = Heard(boot), Log(caplog)
    async with boot.running() as secrets:
        assert secrets.database_password.reveal() == "fake-password-000001"
        assert secrets.database_port is not None
        assert secrets.database_port.reveal() == "5432"
        assert {each.place for each in boot.status().secrets} == {"vault"}

        server.write(PATH, content(2))
        await until(lambda: heard.changes)
        assert secrets.database_password.reveal() == "fake-password-000002"

        for status in (503, 429, 500):
            server.status = status
            await until(lambda s=status: f"HTTP {s}" in str(boot.status().reasons))  # type: ignore[misc]
        server.write(PATH, content(3))
        assert secrets.database_password.reveal() == "fake-password-000002"
        server.status = 0
        await until(lambda: secrets.database_password.reveal() == "fake-password-000003")
        await until(lambda: not boot.status().degraded)

        server.write(PATH, None)
        await until(lambda: "HTTP 404" in str(boot.status().reasons))
        assert secrets.database_password.reveal() == "fake-password-000003"
        server.write(PATH, content(4))
        await anyio.Path(token_file).write_text("fake-expired-token")
        await until(lambda: "HTTP 403" in str(boot.status().reasons))
        await anyio.Path(token_file).write_text(TOKEN)
        await until(lambda: secrets.database_password.reveal() == "fake-password-000004")
    assert set(server.requests) == {f"/v1/secret/data/{PATH}"}
    assert "fake-password" not in log.text
    assert TOKEN not in log.text


async def test_vault_that_refuses_stops_a_start_at_once(
    server: KvServer, token_file: Path, tmp_path: Path
) -> None:
    """A wrong token, a wrong path and a wrong engine: one request, and the status in the report."""
    other_token = tmp_path / "other-token"
    other_token.write_text("fake-other-token")
    refused = [
        (VaultSource(server.address, PATH, token_file=other_token), 403),
        (VaultSource(server.address, "orders/staging", token_file=token_file), 404),
        (VaultSource(server.address, PATH, token_file=token_file, mount="kv"), 404),
    ]
    for source, status in refused:
        server.requests.clear()
        error = await failed_start(declared(source))
        (problem,) = error.problems
        assert (problem.name, problem.kind) == ("vault", "source")
        assert f": HTTPStatusError, HTTP {status} (" in problem.message
        assert len(server.requests) == 1
    for token, text in ((None, "FileNotFoundError, ENOENT"), ("two\nlines", "LocalProtocolError")):
        # The text of the second exception contains the token.
        other_token.unlink()
        if token is not None:
            other_token.write_text(token)
        source = VaultSource(server.address, PATH, token_file=other_token)
        error = await failed_start(declared(source))
        assert f": {text} (" in error.problems[0].message
        other_token.touch()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_vault_that_is_sealed_is_waited_for(server: KvServer, token_file: Path) -> None:
    """A start asks again until the server is unsealed, or until its timeout."""
    server.status = 503
    source = VaultSource(server.address, PATH, token_file=token_file)
    error = await failed_start(declared(source, startup_timeout=1))
    assert error.problems[0].message.endswith(": HTTPStatusError, HTTP 503")
    assert len(server.requests) > 1
    assert TOKEN not in everything_told(error)

    server.requests.clear()

    async def unseal() -> None:
        await until(lambda: len(server.requests) > 2)
        server.status = 0

    async with anyio.create_task_group() as group:
        group.start_soon(unseal)
        async with declared(source).running() as secrets:
            assert secrets.database_password.reveal() == "fake-password-000001"


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_vault_that_is_not_reachable_is_named(
    token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the port, or the name has no address."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for address, text in (
            (f"http://127.0.0.1:{closed.getsockname()[1]}", "ConnectError, ECONNREFUSED"),
            ("http://vault.invalid", "ConnectError"),
        ):
            source = VaultSource(address, PATH, token_file=token_file)
            error = await failed_start(declared(source, startup_timeout=1))
            assert [each.name for each in error.problems] == ["vault"]
            assert error.problems[0].message.endswith(f": {text}")


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_vault_that_is_slow_is_waited_for_within_the_timeout(
    server: KvServer, token_file: Path
) -> None:
    """An answer that is slow, and in time, is an answer; afterwards an outage like any other."""
    server.delay = 0.2
    boot = declared(VaultSource(server.address, PATH, token_file=token_file, interval=0.02))
    async with boot.running() as secrets:
        server.delay = 10.0
        await until(lambda: "within 1 s" in str(boot.status().reasons))
        assert secrets.database_password.reveal() == "fake-password-000001"
        server.delay = 0.0
        await until(lambda: not boot.status().degraded)


async def test_vault_with_a_thousand_keys_is_one_request(
    server: KvServer, token_file: Path
) -> None:
    """A start and a reload are one request each, whatever the number of secrets."""
    names = [f"key_{number:04}" for number in range(1000)]
    many: Any = type("Many", (SecretSet,), {"__annotations__": dict.fromkeys(names, Secret)})
    source = VaultSource(server.address, "many", token_file=token_file)
    boot: Bootstrap[Any, None] = Bootstrap(many, mode="environment", sources=[source])
    server.write("many", {name.upper(): f"fake-{name}-000001" for name in names})
    async with boot.running() as secrets:
        server.write("many", {name.upper(): f"fake-{name}-000002" for name in names})
        change = await boot.reload()
        assert change is not None
        assert len(change.names) == 1000
        assert secrets.key_0999.reveal() == "fake-key_0999-000002"
    assert len(server.requests) == 2


async def test_a_namespace_is_a_header(server: KvServer, token_file: Path) -> None:
    """Vault Enterprise and OpenBao read it there."""
    source = VaultSource(server.address, PATH, token_file=token_file, namespace="team/orders")
    async with declared(source).running():
        assert server.headers["X-Vault-Namespace"] == "team/orders"
        assert server.headers["X-Vault-Request"] == "true"


async def test_a_directory_of_json_files_provides_and_rotates(tmp_path: Path) -> None:
    """The keys of all files are one table; other files, and keys of other names, are ignored."""
    (tmp_path / "a.json").write_text(json.dumps({"DATABASE_PASSWORD": "fake-password-000001"}))
    (tmp_path / "b.json").write_text(json.dumps({"DATABASE_PORT": "5432", "UNRELATED": 7}))
    (tmp_path / "notes.txt").write_text("fake-notes")
    boot = declared(JsonDirectory(tmp_path, interval=0.03))
    heard = Heard(boot)
    async with boot.running() as secrets:
        assert secrets.database_password.reveal() == "fake-password-000001"
        assert secrets.database_port is not None
        (tmp_path / "a.json").write_text(json.dumps({"DATABASE_PASSWORD": "fake-password-000002"}))
        await until(lambda: heard.changes)
        assert secrets.database_password.reveal() == "fake-password-000002"

        # A writer has written the half of it.
        (tmp_path / "a.json").write_text('{"DATABASE_PASSWORD": "fake-passw')
        await until(lambda: "JSONDecodeError" in str(boot.status().reasons))
        assert "fake" not in str(boot.status().reasons)
        assert secrets.database_password.reveal() == "fake-password-000002"
        (tmp_path / "a.json").write_text(json.dumps({"DATABASE_PASSWORD": "fake-password-000003"}))
        await until(lambda: secrets.database_password.reveal() == "fake-password-000003")
        await until(lambda: not boot.status().degraded)


async def test_an_invalid_directory_of_json_files_is_named_by_the_type(tmp_path: Path) -> None:
    """A missing directory, a JSON list, a name in two files, a value that is not text."""
    directory = tmp_path / "json"
    boot = declared(JsonDirectory(directory))

    async def failure() -> str:
        error = await failed_start(boot)
        assert "fake" not in str(error)
        return str(error.problems[0])

    assert "FileNotFoundError, ENOENT" in await failure()
    directory.mkdir()
    (directory / "a.json").write_text('["fake-in-a-list"]')
    assert "ValueError" in await failure()
    (directory / "a.json").write_text('{"DATABASE_PASSWORD": "fake-password"}')
    (directory / "b.json").write_text('{"DATABASE_PASSWORD": "fake-password"}')
    assert "LookupError" in await failure()
    (directory / "b.json").write_text('{"DATABASE_PORT": 5432}')
    assert "DATABASE_PORT" in await failure()
