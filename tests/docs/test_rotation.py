"""Examples, log lines and names of docs/rotation.md, compared with a real run."""

import re
from pathlib import Path

import pytest

import hive_boot
from hive_boot.runtime.status import Status
from hive_boot.testing import MountedVolume
from tests.docs.reading import python_files, write_files
from tests.serving.served import interpreter
from tests.support import ROOT

TEXT = (ROOT / "docs" / "rotation.md").read_text("utf-8")

PYTHON = python_files(TEXT)

LOGGED = re.findall(r"^(?:INFO|ERROR) hive_boot\.rotation: .*$", TEXT, re.MULTILINE)

FIRST = {"DB_PASSWORD": "fake-password-1", "JWT_SECRET": "fake-jwt-secret-0001"}

# The beginning of each program that uses the blocks. Argument 1 is the volume.
PROLOGUE = """
import sys
import anyio
from hive_boot.testing import MountedVolume
from app import boot

FIRST = {first!r}
volume = MountedVolume(sys.argv[1])

async def until(condition):
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)
"""

ROTATE = """
async def main():
    async with boot.running() as secrets:
        volume.publish({**FIRST, "DB_PASSWORD": "fake-password-2"})
        await until(lambda: secrets.db_password.matches("fake-password-2"))
        volume.publish({**FIRST, "DB_PASSWORD": "bad"})
        await until(lambda: boot.status().degraded)
        assert secrets.db_password.matches("fake-password-2")
        print("reasons:", *boot.status().reasons)
        volume.publish({**FIRST, "DB_PASSWORD": "fake-password-2", "tls_key": "fake-key"})
        await until(lambda: boot.status().rejected_names == ("AppSecrets",))
        volume.publish(
            {**FIRST, "DB_PASSWORD": "fake-password-2", "tls_key": "k", "tls_certificate": "c"})
        await until(lambda: not boot.status().degraded)
        from pair import pair
        print("pair:", *pair(secrets))

anyio.run(main)
"""

CHECKED = """
import checked

async def main():
    async with boot.running() as secrets:
        volume.publish({**FIRST, "DB_PASSWORD": "fake-expired"})
        await until(lambda: boot.status().rejected_names == ("database_answers",))
        assert secrets.db_password.matches("fake-password-1")

anyio.run(main)
"""

FLEET = """
from tokens import is_ours, sign

async def main():
    async with boot.running() as secrets:
        before = sign("text")
        volume.publish({**FIRST, "JWT_SECRET": "fake-jwt-secret-0002"})
        await until(lambda: len(boot.accepted("jwt_secret")) == 2)
        assert secrets.jwt_secret.matches("fake-jwt-secret-0001")
        assert 0 < boot.status().secrets[1].due <= 120
        change = await boot.reload(now=True)
        assert change.names == ("jwt_secret",)
        assert secrets.jwt_secret.matches("fake-jwt-secret-0002")
        assert sign("text") != before
        assert is_ours("text", before) and is_ours("text", sign("text"))
        assert not is_ours("text", "0" * 64)

anyio.run(main)
"""


VERSIONED = """
from versioned import boot

def versions():
    status = boot.status()
    return status.secrets_version, status.secrets_version_in_use

def mount(jwt_secret, version):
    volume.publish({"jwt_secret": jwt_secret, "secrets-version": version})

async def main():
    mount("fake-jwt-secret-0001", "2026-01-05.1")
    async with boot.running():
        assert versions() == ("2026-01-05.1", "2026-01-05.1")
        mount("fake-jwt-secret-0002", "2026-01-05.2")
        await until(lambda: versions() == ("2026-01-05.2", "2026-01-05.1"))
        await boot.reload(now=True)
        assert versions() == ("2026-01-05.2", "2026-01-05.2")
        mount("fake-jwt-secret-0003", "2026-01-05.2")
        await until(lambda: versions()[0] == "")

anyio.run(main)
"""


VERIFIED = """
from verified import BadSignatureError, claims, is_known
from versioned import boot
import hmac

def signed(key):
    return hmac.new(key.encode(), b"text", "sha256").hexdigest()

async def main():
    old, new = "fake-jwt-secret-0001", "fake-jwt-secret-0002"
    volume.publish({"jwt_secret": old})
    async with boot.running() as secrets:
        volume.publish({"jwt_secret": new})
        await until(lambda: len(boot.accepted("jwt_secret")) == 2)
        assert claims("text", signed(new)) == "text"
        await boot.reload(now=True)
        assert claims("text", signed(old)) == claims("text", signed(new)) == "text"
        assert is_known(old) and not is_known("fake-other-token-0003")
        assert secrets.jwt_secret.matches(new)
        try:
            claims("text", signed("fake-jwt-secret-0003"))
        except BadSignatureError:
            pass
        else:
            raise AssertionError
        (uses,) = boot.status().uses
        assert (uses.current, uses.pending, uses.old) == (2, 1, 2)
        assert uses.old_use_age < boot.status().uptime

anyio.run(main)
"""


SETTINGS = """
from settings import boot

async def main():
    async with boot.running():
        assert boot.config.dsn == "postgresql://app:fake-password-1@db/orders"
        volume.publish({**FIRST, "DB_PASSWORD": "fake-expired"})
        await until(lambda: boot.status().rejected_names == ("database_answers",))
        volume.publish({**FIRST, "DB_PASSWORD": "fake-password-2"})
        await until(lambda: "password-2" in boot.config.dsn)

anyio.run(main)
"""


REBUILT = """
from hive_boot import InvalidSecretsError
from pools import main, orders, pool

async def run():
    async with boot.running() as secrets:
        await main(orders)
        before = pool.value
        volume.publish({**FIRST, "DB_PASSWORD": "fake-revoked"})
        await until(lambda: boot.status().rejected_names == ("pool",))
        assert pool.value is orders.value is before
        volume.publish({**FIRST, "DB_PASSWORD": "fake-password-2"})
        await until(lambda: secrets.db_password.matches("fake-password-2"))
        assert pool.value is orders.value is not before
        assert await pool.value.query() == "fake-password-2"
        assert before.is_open
        await until(lambda: not before.is_open)

anyio.run(run)
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory that contains the Python blocks of the page."""
    return write_files(tmp_path, PYTHON)


def run(source: str, workplace: Path) -> tuple[str, str]:
    """Run a program beside the blocks with a volume; return its output and its log."""
    volume = MountedVolume(workplace / "volume")
    volume.publish(FIRST)
    child = interpreter().run(
        PROLOGUE.replace("{first!r}", repr(FIRST)) + source,
        str(volume.path),
        cwd=workplace,
        HIVE_BOOT_SECRETS_DIR=str(volume.path),
    )
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout, child.stderr


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    names = {"app.py", "pair.py", "checked.py", "pools.py", "settings.py", "tokens.py"}
    names |= {"versioned.py", "verified.py"}
    assert PYTHON.keys() == names
    assert len(re.findall(r"^```python$", TEXT, re.MULTILINE)) == len(PYTHON)
    assert len(LOGGED) == 2


def test_a_rotation_and_a_refusal(workplace: Path) -> None:
    """New values are used and announced; bad ones are rejected, named, and logged as shown."""
    printed, logged = run(ROTATE, workplace)
    assert "generation 2 brought db_password" in printed
    assert "reasons: the candidate was refused: DB_PASSWORD length" in printed
    assert "pair: c k" in printed
    for line in LOGGED:
        assert line in logged.splitlines()


def test_a_check_of_the_application(workplace: Path) -> None:
    """A value that a check of the application rejects is not used."""
    run(CHECKED, workplace)


def test_resources_that_follow(workplace: Path) -> None:
    """A refused password keeps the pool; a good one brings a new pool, and what is built on it."""
    printed, logged = run(REBUILT, workplace)
    assert "True" in printed
    assert "pool could not be rebuilt: PermissionError" in logged


def test_settings_that_contain_secrets(workplace: Path) -> None:
    """They follow the values, and a check receives those of the candidate."""
    run(SETTINGS, workplace)


def test_a_fleet(workplace: Path) -> None:
    """The old value signs and the new one is accepted, until `activate_after` is over."""
    run(FLEET, workplace)


def test_a_version_of_the_set(workplace: Path) -> None:
    """It is accepted, then in use, and unknown when values change under it."""
    run(VERSIONED, workplace)


def test_evidence_of_uses(workplace: Path) -> None:
    """Each value that succeeds is counted, and a signature of another key is refused."""
    run(VERIFIED, workplace)


def test_the_names_are_right() -> None:
    """Every name in the paragraph on the status is a field of Status."""
    (paragraph,) = re.findall(r"^`boot\.status\(\)` has(.*?)\n\n", TEXT, re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", paragraph)) - {"inotify", "poll", "down", "off"}
    assert named <= set(Status.__dataclass_fields__)
    assert "Change" in hive_boot.__all__
