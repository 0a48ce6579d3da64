"""The clients of docs/guides follow rotations against real servers."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.databases import ARE_INSTALLED, MISSING, Databases, running_databases
from hive_boot.testing import MountedVolume
from tests.docs.reading import python_files, read_page
from tests.recipes.counterparts import Counterpart, OneRole, RedisUser, password
from tests.recipes.test_recipes import RUN, accepted_values
from tests.serving.served import Served
from tests.support import started_child

pytestmark = pytest.mark.skipif(not ARE_INSTALLED, reason=MISSING)

ROTATIONS = 5

CLIENTS = python_files(read_page("docs/guides/clients.md"))

FASTAPI = python_files(read_page("docs/guides/into-fastapi.md"))

UNUSED = {
    "role_password": "fake-role-password",
    "redis_password": "fake-redis-password",
    "secret_key": "fake-secret-key-0123456789-0123456789",
}


class Role(OneRole):
    """A role of PostgreSQL, for asyncpg, whose pool has open connections."""

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases)
        self.on_the_page["max_queries=1000"] = "max_queries=5"


class SettingsRole(Role):
    """The same role, under the names of a page with a settings class."""

    field = "db_password"

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases)
        url = databases.postgresql_url("orders").replace("postgresql:", "postgresql+psycopg:")
        self.on_the_page = {
            "postgresql+psycopg://orders@db/orders": url,
            "activate_after=120": "activate_after=60",
            # Open connections have no part in the test.
            "pool_recycle=300": "pool_recycle=0",
            # The load awaits each call.
            "def count() -> int:": "async def count() -> int:",
        }


class RedisPassword(RedisUser):
    """A user of Redis with two passwords for a moment; no old connection is left."""

    field = "redis_password"

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases)
        self.on_the_page = {'host="cache"': f'unix_socket_path="{databases.redis_socket}"'}

    def values(self, number: int) -> dict[str, str]:
        """Return the password."""
        return {self.field: password(number)}


LAST_LOGIN = "SELECT max(backend_start) FROM pg_stat_activity WHERE usename = 'orders'"

TABLE: dict[str, tuple[dict[str, str], Callable[[Databases], Counterpart]]] = {
    "with_connect": (CLIENTS, Role),
    "with_provider": (CLIENTS, RedisPassword),
    "db": ({**FASTAPI, "app.py": "from config import boot\n"}, SettingsRole),
}
"""Modules of the pages, and the credential that each of them follows."""


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    """Start PostgreSQL and Redis, with a table."""
    with running_databases() as databases:
        databases.sql("CREATE TABLE orders (number int)")
        yield databases


@contextmanager
def running(
    module: str, files: dict[str, str], counterpart: Counterpart, base: Path
) -> Iterator[Served]:
    """Run a module under load, with the addresses and the times of the test."""
    for file, source in files.items():
        for old, new in counterpart.on_the_page.items():
            source = source.replace(old, new)  # noqa: PLW2901
        (base / file).write_text(source, "utf-8")
    variables = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": str(base / "secrets")}
    with started_child(RUN, module, counterpart.field, cwd=base, **variables) as process:
        served = Served(process, base)
        try:
            yield served
        finally:
            served.close()


@pytest.mark.parametrize("module", TABLE)
def test_no_call_fails(module: str, databases: Databases, tmp_path: Path) -> None:
    """The credential is rotated several times under load, and the old one revoked each time."""
    files, make = TABLE[module]
    counterpart, volume = make(databases), MountedVolume(tmp_path / "secrets")
    counterpart.create(0)
    volume.publish(UNUSED | counterpart.values(0))
    with running(module, files, counterpart, tmp_path) as it:
        it.wait_for(lambda: accepted_values(it))
        for number in range(1, ROTATIONS + 1):
            new = counterpart.values(number)[counterpart.field]
            if not counterpart.has_one_credential:
                counterpart.create(number)
            volume.publish(UNUSED | counterpart.values(number))
            it.wait_for(lambda new=new: new in accepted_values(it))  # type: ignore[misc]
            if counterpart.has_one_credential:
                counterpart.create(number)
                it.open("activate")
            it.wait_for(lambda new=new: accepted_values(it) == [new])  # type: ignore[misc]
            counterpart.revoke(number - 1)
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    result = json.loads(it.out[-1])
    assert result["failures"] == []
    assert result["calls"] > ROTATIONS
    counterpart.verify()


def test_connections_are_replaced_when_the_password_is_in_use(
    databases: Databases, tmp_path: Path
) -> None:
    """A hook makes the pool of a function as ``password=`` log in with the new password."""
    counterpart, volume = Role(databases), MountedVolume(tmp_path / "secrets")
    counterpart.create(0)
    volume.publish(UNUSED | counterpart.values(0))
    with running("with_password", CLIENTS, counterpart, tmp_path) as it:
        it.wait_for(lambda: accepted_values(it))
        volume.publish(UNUSED | counterpart.values(1))
        it.wait_for(lambda: len(accepted_values(it)) > 1)
        counterpart.create(1)
        refused, now = databases.refused_logins(), databases.sql("SELECT now()")
        it.open("activate")
        it.wait_for(lambda: accepted_values(it) == [password(1)])
        it.wait_logged("Activated ROLE_PASSWORD.*hooks: expire")
        it.wait_for(lambda: databases.sql(LAST_LOGIN) > now)
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
        assert databases.refused_logins() == refused
    assert json.loads(it.out[-1])["failures"] == []


def test_every_program_is_tried() -> None:
    """Every program of the page is run here, and the bot in tests/frameworks."""
    here = {f"{module}.py" for module in TABLE} - {"db.py"}
    assert CLIENTS.keys() == {"app.py", "with_password.py", "token_bot.py", *here}
