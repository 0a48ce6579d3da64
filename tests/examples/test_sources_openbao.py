"""The source for Vault and OpenBao with a real OpenBao server, which `make test` installs."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from examples.sources.vault import VaultSource
from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet
from tests.fixtures.ports import free_port
from tests.fixtures.timings import set_timings
from tests.runtime.rotations import Heard, Log
from tests.support import child_environment, failed_start, until, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

TOOLS = Path(sys.prefix) / "tools" / "bin"

ROOT_TOKEN = "fake-root-token"

PATH = "orders/production"


class OpenBao:
    """A development server, whose content is in memory.

    Args:
        address: the address of the server.
        unseal_key: its only unseal key.
    """

    def __init__(self, address: str, unseal_key: str) -> None:
        self.address = address
        self._unseal_key = unseal_key

    def call(self, method: str, path: str, **body: object) -> Any:  # noqa: ANN401  (any JSON)
        """Call the API as the operator, and return the body of its answer."""
        response = httpx.request(
            method,
            f"{self.address}/v1/{path}",
            headers={"X-Vault-Token": ROOT_TOKEN},
            json=body,
            trust_env=False,
        )
        assert response.is_success, response.text
        return response.json() if response.content else None

    def write(self, path: str, content: Mapping[str, object]) -> None:
        """Write a version of a secret."""
        self.call("POST", f"secret/data/{path}", data=content)

    def seal(self) -> None:
        """Seal the server, which then answers 503."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal the server."""
        self.call("PUT", "sys/unseal", key=self._unseal_key)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """Run a server for the tests of this module; skip them where there is none."""
    program = TOOLS / "bao" if (TOOLS / "bao").exists() else shutil.which("bao")
    if program is None:
        pytest.skip("no bao here: make test installs it into .venv/tools")
    home, port = tmp_path_factory.mktemp("bao"), free_port()
    command = [program, "server", "-dev", "-dev-no-store-token"]
    command += [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    output: list[str] = []
    with subprocess.Popen(
        command,
        env=child_environment(HOME=str(home)),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=output.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            wait_until(lambda: process.poll() is not None or "Unseal Key:" in "".join(output), 60)
            keys = [line for line in output if line.startswith("Unseal Key:")]
            assert keys, "".join(output)
            server = OpenBao(f"http://127.0.0.1:{port}", keys[0].split()[-1])
            yield server
        finally:
            process.send_signal(signal.SIGKILL)
            reader.join()


@pytest.fixture
def token_file(bao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the first version of the secret, and a token that may read only this secret."""
    monkeypatch.setenv("NO_PROXY", "*")
    bao.write(PATH, content(1))
    policy = f'path "secret/data/{PATH}" {{ capabilities = ["read"] }}'
    bao.call("PUT", "sys/policies/acl/orders", policy=policy)
    token = bao.call("POST", "auth/token/create", policies=["orders"])["auth"]["client_token"]
    path = tmp_path / "token"
    path.write_text(f"{token}\n")
    return path


class Orders(SecretSet):
    """A password, and a port, which is a number in JSON."""

    database_password: Secret
    database_port: Secret | None


def content(number: int) -> dict[str, object]:
    """Return the keys of a version, one of which no application has declared."""
    password = f"fake-password-{number:06}"
    return {"DATABASE_PASSWORD": password, "DATABASE_PORT": 5432, "UNRELATED": "fake-unrelated"}


def declared(bao: OpenBao, token_file: Path, **more: Any) -> Bootstrap[Orders, None]:  # noqa: ANN401
    """Declare an application with a source that is asked often."""
    source = VaultSource(bao.address, token_file=token_file, **{"path": PATH, **more})
    boot = Bootstrap(Orders, mode="environment", sources=[source])
    set_timings(boot, check_retry_delay=0.02, max_check_retry_delay=0.1)
    return boot


async def test_a_rotation_an_outage_and_a_deletion(
    bao: OpenBao, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Start, a new version, a sealed server, a deleted version, and a token that was revoked."""
    boot = declared(bao, token_file, interval=0.05)
    heard, log = Heard(boot), Log(caplog)
    token = token_file.read_text().strip()  # noqa: ASYNC240
    async with boot.running() as secrets:
        assert secrets.database_password.reveal() == "fake-password-000001"
        assert secrets.database_port is not None
        assert secrets.database_port.reveal() == "5432"
        bao.write(PATH, content(2))
        await until(lambda: heard.changes)
        assert secrets.database_password.reveal() == "fake-password-000002"

        bao.seal()
        await until(lambda: "HTTP 503" in str(boot.status().reasons))
        assert secrets.database_password.reveal() == "fake-password-000002"
        bao.unseal()
        await until(lambda: not boot.status().degraded)

        bao.call("DELETE", f"secret/data/{PATH}")
        await until(lambda: "HTTP 404" in str(boot.status().reasons))
        assert secrets.database_password.reveal() == "fake-password-000002"
        bao.write(PATH, content(3))
        await until(lambda: secrets.database_password.reveal() == "fake-password-000003")

        bao.call("POST", "auth/token/revoke", token=token)
        await until(lambda: "HTTP 403" in str(boot.status().reasons))
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        await anyio.Path(token_file).write_text(ROOT_TOKEN)
        await until(lambda: not boot.status().degraded)
    assert token not in log.text
    assert "fake-password" not in log.text


async def test_a_start_is_refused(bao: OpenBao, token_file: Path) -> None:
    """A path that the token may not read, and a secret that does not exist, with their status."""
    forbidden = await failed_start(declared(bao, token_file, path="orders/staging"))
    assert ": HTTPStatusError, HTTP 403 (" in forbidden.problems[0].message
    await anyio.Path(token_file).write_text(ROOT_TOKEN)
    absent = await failed_start(declared(bao, token_file, path="orders/staging"))
    assert ": HTTPStatusError, HTTP 404 (" in absent.problems[0].message


async def test_a_start_waits_for_a_sealed_server(
    bao: OpenBao, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks again until an operator has unsealed the server."""
    boot = declared(bao, token_file)
    log = Log(caplog)
    bao.seal()

    async def unseal() -> None:
        await until(lambda: "HTTP 503" in log.text)
        bao.unseal()

    async with anyio.create_task_group() as group:
        group.start_soon(unseal)
        async with boot.running() as secrets:
            assert secrets.database_password.reveal() == "fake-password-000001"


async def test_a_thousand_secrets(bao: OpenBao, token_file: Path) -> None:
    """A start and a reload with four sources: OpenBao refuses a secret of a thousand keys."""
    await anyio.Path(token_file).write_text(ROOT_TOKEN)
    names = [f"key_{number:04}" for number in range(1000)]
    many: Any = type("Many", (SecretSet,), {"__annotations__": dict.fromkeys(names, Secret)})
    sources = [
        VaultSource(bao.address, f"many/{part}", token_file=token_file, name=f"vault {part}")
        for part in range(4)
    ]
    boot: Bootstrap[Any, None] = Bootstrap(many, mode="environment", sources=sources)

    def write(number: int) -> None:
        for part in range(4):
            some = names[part * 250 : part * 250 + 250]
            bao.write(f"many/{part}", {name.upper(): f"fake-{name}-00000{number}" for name in some})

    write(1)
    async with boot.running() as secrets:
        assert {each.place for each in boot.status().secrets} == {each.name for each in sources}
        write(2)
        change = await boot.reload()
        assert change is not None
        assert len(change.names) == 1000
        assert secrets.key_0999.reveal() == "fake-key_0999-000002"
