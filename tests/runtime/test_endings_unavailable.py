"""Exit status of a process that could not reach something outside while it started."""

from typing import NamedTuple

import pytest

from tests.fixtures.golden import assert_golden
from tests.fixtures.owned_processes import BACKENDS, STATUS_OF, ended, errors_of
from tests.fixtures.ports import closed_port

HELPERS = """
from hive_boot import require_secret
from hive_boot._timings import Timings

async def connect():
    import anyio

    async with await anyio.connect_tcp("127.0.0.1", int(sys.argv[2])):
        pass

async def hang():
    import anyio

    await anyio.sleep_forever()

class Refused(Exception):
    '''A login that is refused; the library has not translated it.'''

async def refuse():
    raise Refused("password authentication failed")

async def end(): ...

class Down:
    name = "vault"

    async def load(self, names):
        await connect()
"""


class Case(NamedTuple):
    """An application that cannot start.

    Attributes:
        status: its exit status.
        names: what its last report names.
        body: its functions.
        secrets: its declaration.
        more: further arguments of Bootstrap.
    """

    status: int
    names: tuple[str, ...]
    body: str
    secrets: str = "jwt_secret: Secret"
    more: str = ""


CHECK = """
@boot.check
async def database_answers():
    await {0}()
"""

RESOURCE = """
@boot.resource
async def {1}():
    await {0}()
    yield
"""

CASES = {
    "a check": Case(75, ("database_answers",), CHECK.format("connect")),
    "a resource": Case(75, ("pool",), RESOURCE.format("connect", "pool")),
    "two resources": Case(
        75,
        ("pool", "cache"),
        RESOURCE.format("connect", "pool") + RESOURCE.format("connect", "cache"),
    ),
    "a check that hangs": Case(
        75, ("database_answers",), CHECK.format("hang"), more="startup_timeout=0.3"
    ),
    "a check of a field": Case(
        75, ("JWT_SECRET",), "", "jwt_secret: Secret = secret(check=lambda _: connect())"
    ),
    "a check of the set": Case(
        75, ("Service",), "", "jwt_secret: Secret\n    async def check(self): await connect()"
    ),
    "a source": Case(75, ("vault",), "", "api_key: Secret", "sources=[Down()]"),
    "a source, and a wrong value": Case(
        78,
        ("vault", "JWT_SECRET"),
        "",
        "api_key: Secret\n    jwt_secret: Secret = secret(min_length=100)",
        "sources=[Down()]",
    ),
    "a check, and one that refuses": Case(
        78,
        ("database_answers", "login"),
        CHECK.format("connect") + "@boot.check\nasync def login():\n    await refuse()\n",
    ),
    "a resource, and one that raises": Case(
        70, ("login",), RESOURCE.format("connect", "pool") + RESOURCE.format("refuse", "login")
    ),
    "a resource, and one that hangs": Case(
        75, ("pool",), RESOURCE.format("connect", "pool") + RESOURCE.format("hang", "slow")
    ),
    "a resource that hangs": Case(
        70, ("slow",), RESOURCE.format("hang", "slow"), more="startup_timeout=0.3"
    ),
    "a missing secret in main, and a stop that raises": Case(
        78,
        ("SENTRY_DSN", "PermissionError"),
        "@boot.resource\nasync def files():\n    yield\n    raise PermissionError\n"
        "async def end(): require_secret('SENTRY_DSN')\n",
        "sentry_dsn: Secret | None = None",
    ),
    "a resource, and a stop that raises": Case(
        70,
        ("pool", "PermissionError"),
        RESOURCE.format("connect", "pool")
        + "@boot.resource\nasync def files():\n    yield\n    raise PermissionError\n",
    ),
}


SHOWN = {"a check", "a check of a field", "a source", "two resources"}
"""Cases whose reports are in the golden file."""


def source_of(case: Case) -> str:
    """Return the source that runs the application, and keeps its exit status."""
    return f"""
class Service(SecretSet):
    {case.secrets}

boot = Bootstrap(Service, {case.more})
# The first retry would come after the deadline, so the first failure is final.
boot._declaration.timings = Timings(check_retry_delay=100.0, max_check_retry_delay=100.0)
{case.body}
statuses.append(status_of(boot, end))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_could_not_be_reached_is_exit_75(backend: str) -> None:
    """Of several kinds, an invalid secret comes first, and then a failure of the application."""
    sources = "".join(source_of(case) for case in CASES.values())
    with closed_port() as port:
        result = ended(
            f"statuses = []\n{STATUS_OF}{HELPERS}{sources}\nprint(*statuses)",
            backend,
            str(port),
        )
    assert result.code == 0, result.err
    statuses, reports = result.out[-1].split(), []
    for (name, case), status, error in zip(
        CASES.items(), map(int, statuses), errors_of(result.err), strict=True
    ):
        assert status == case.status, (name, error)
        for text in case.names:
            assert text in error, (name, error)
        if status == 75:
            assert "Traceback" not in error
        if name in SHOWN:
            reports.append(error[error.rindex("hive_boot: something") :].replace(str(port), "5432"))
    if backend == "asyncio":
        assert_golden("start_unavailable", "\n".join(reports))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stop_while_something_outside_is_down_is_orderly(backend: str) -> None:
    """An attempt that fails after the signal would have been retried: the status is 0."""
    source = f"""
{HELPERS}
boot = Bootstrap(Needs)
attempts = []

@boot.resource
async def pool():
    yield
    print("pool stops")

@boot.resource
async def database(pool):
    attempts.append(None)
    if len(attempts) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    await connect()

@boot.main
async def main(): ...

boot.run(backend=backend)
"""
    with closed_port() as port:
        result = ended(source, backend, str(port))
    assert (result.code, result.out) == (0, ["pool stops"]), result.err
    assert "Traceback" not in result.err
