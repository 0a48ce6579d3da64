"""Each recipe of docs/recipes.md follows ten rotations under load, without a failed call."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from benchmarks.databases import ARE_INSTALLED, MISSING, Databases, running_databases
from hive_boot.testing import MountedVolume
from tests.docs.reading import python_files, read_page
from tests.recipes.counterparts import (
    Counterpart,
    OneRole,
    RedisUser,
    Tokens,
    TwoRoles,
    api_server,
    smtp_server,
)
from tests.serving.served import Served
from tests.support import started_child

pytestmark = [
    pytest.mark.skipif(not ARE_INSTALLED, reason=MISSING),
    # The SMTP server of the test is on the loopback interface.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]

ROTATIONS = 10

PROGRAMS = python_files(read_page("docs/recipes.md"))

RUN = "import runpy; runpy.run_module('tests.recipes.load', run_name='__main__')"

UNUSED = {
    "database_url": "postgresql://fake-user:fake-password@db/orders",
    "redis_url": "redis://:fake-password@cache",
    "smtp_password": "fake-smtp-password",
    "api_key": "fake-api-key",
    "jwt_secret": "fake-jwt-secret-0123456789-0123456789",
    "role_password": "fake-role-password",
    "tls_crt": "fake-certificate",
    "tls_key": "fake-tls-key",
    "tls_ca": "fake-tls-ca",
}
"""The secrets that a recipe does not use."""

FOLLOWS = r"\bboot\b|\bsecrets\.|\.wait\(|\.ping\(|\.connect\(\)\)"
"""Parts of a line that the plain code of a client does not have: the values, or a first login."""


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    """Start PostgreSQL and Redis, with a table."""
    with running_databases() as databases:
        databases.sql("CREATE TABLE orders (number int)")
        yield databases


TABLE: dict[str, Callable[[Databases, Path], AbstractContextManager[Counterpart]]] = {
    "with_asyncpg": lambda databases, _: nullcontext(TwoRoles(databases)),
    "with_psycopg": lambda databases, _: nullcontext(TwoRoles(databases)),
    "with_sqlalchemy": lambda databases, _: nullcontext(TwoRoles(databases)),
    "with_redis": lambda databases, _: nullcontext(RedisUser(databases)),
    "with_aiosmtplib": lambda *_: smtp_server(),
    "with_httpx": lambda _, directory: api_server(directory),
    "with_pyjwt": lambda *_: nullcontext(Tokens()),
    "one_role": lambda databases, _: nullcontext(OneRole(databases)),
}
"""The recipes, and what they talk to."""


@contextmanager
def running(recipe: str, counterpart: Counterpart, base: Path) -> Iterator[Served]:
    """Run a recipe under load, with the addresses and the times of the test."""
    for file, source in PROGRAMS.items():
        for old, new in counterpart.on_the_page.items():
            source = source.replace(old, new)  # noqa: PLW2901
        (base / file).write_text(source, "utf-8")
    variables = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": str(base / "secrets")}
    with started_child(RUN, recipe, counterpart.field, cwd=base, **variables) as process:
        served = Served(process, base)
        try:
            yield served
        finally:
            served.close()


def accepted_values(it: Served) -> list[str]:
    """Return the values that no call is older than, the current one first."""
    lines = [line.split()[1:] for line in it.out if line.startswith("accepted ")]
    return lines[-1] if lines else []


def rotate(it: Served, volume: MountedVolume, counterpart: Counterpart, number: int) -> None:
    """Replace the credential, and revoke the one before when it is not in use any more."""
    if not counterpart.has_one_credential:
        counterpart.create(number)
    values = counterpart.values(number)
    new = values[counterpart.field]
    volume.publish(UNUSED | values)
    it.wait_for(lambda: new in accepted_values(it))
    if counterpart.has_one_credential:
        counterpart.create(number)
        it.open("activate")
    it.wait_for(lambda: accepted_values(it) == [new])
    counterpart.revoke(number - 1)


@pytest.mark.parametrize("recipe", TABLE)
def test_no_call_fails(recipe: str, databases: Databases, tmp_path: Path) -> None:
    """The credential is rotated ten times, and the old one revoked each time."""
    volume = MountedVolume(tmp_path / "secrets")
    with TABLE[recipe](databases, tmp_path) as counterpart:
        counterpart.create(0)
        volume.publish(UNUSED | counterpart.values(0))
        with running(recipe, counterpart, tmp_path) as it:
            it.wait_for(lambda: accepted_values(it))
            for number in range(1, ROTATIONS + 1):
                rotate(it, volume, counterpart, number)
            it.send(signal.SIGTERM)
            assert it.end() == 0, it.err
        result = json.loads(it.out[-1])
        assert result["failures"] == []
        assert result["calls"] > ROTATIONS
        counterpart.verify()
    assert not it.logged("(WARNING|ERROR|Traceback).*")


def test_the_other_order_fails(databases: Databases, tmp_path: Path) -> None:
    """Connections fail from ``ALTER ROLE`` until the file has been read."""
    counterpart, volume = OneRole(databases), MountedVolume(tmp_path / "secrets")
    counterpart.create(0)
    volume.publish(UNUSED | counterpart.values(0))
    with running("one_role", counterpart, tmp_path) as it:
        it.wait_for(lambda: accepted_values(it))
        counterpart.create(1)
        refused = databases.refused_logins()
        it.wait_for(lambda: databases.refused_logins() > refused)
        rotate(it, volume, counterpart, 1)
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    failures = json.loads(it.out[-1])["failures"]
    assert failures
    assert all("password authentication failed" in failure for failure in failures)


def test_a_check_of_the_role_refuses_the_new_password(databases: Databases, tmp_path: Path) -> None:
    """Without ``at="start"`` the check tries a password that is not valid before ``ALTER ROLE``."""
    counterpart, volume = OneRole(databases), MountedVolume(tmp_path / "secrets")
    counterpart.on_the_page[', at="start"'] = ""
    counterpart.create(0)
    volume.publish(UNUSED | counterpart.values(0))
    with running("one_role", counterpart, tmp_path) as it:
        it.wait_for(lambda: accepted_values(it))
        volume.publish(UNUSED | counterpart.values(1))
        it.wait_logged("Rotation refused.*database_answers")


def test_every_recipe_is_tried() -> None:
    """Every block is a recipe that is run, or the module that the recipes share."""
    assert PROGRAMS.keys() == {"app.py", *(f"{recipe}.py" for recipe in TABLE)}


@pytest.mark.parametrize("recipe", sorted(TABLE.keys() - {"one_role"}))
def test_three_lines_are_enough(recipe: str) -> None:
    """A recipe has at most three lines that name the application or its secrets."""
    body = PROGRAMS[f"{recipe}.py"].partition("\n\n")[2]
    lines = [line for line in body.splitlines() if re.search(FOLLOWS, line)]
    assert 1 <= len(lines) <= 3, lines
