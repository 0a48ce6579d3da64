"""The design example, run unchanged."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from hive_boot import LifecycleError
from hive_boot.testing import MountedVolume
from tests.support import run_child, until
from tests.typing.design import EXAMPLE, POOL

KEY = "fake-openai-api-key-0123456789"

TOKEN = "fake-jwt-secret-0123456789-0123456789"

VALUES = {"openai_api_key": KEY, "jwt_secret": TOKEN}


def test_the_example_runs(tmp_path: Path) -> None:
    """The pool is opened before main and closed after it, and the exit status is 0."""
    child = run_child(
        POOL + EXAMPLE,
        cwd=tmp_path,
        HIVE_BOOT_MODE="environment",
        OPENAI_API_KEY=KEY,
        JWT_SECRET=TOKEN,
    )
    assert (child.returncode, child.stdout) == (0, f"opened with {len(KEY)}\nclosed\n"), child
    for logged in ("Secrets mode: environment", "Ready", "Stopped"):
        assert logged in child.stderr
    assert not [value for value in VALUES.values() if value in child.stderr]


def test_the_example_runs_with_mounted_secrets(tmp_path: Path) -> None:
    """The same program runs with a volume that the kubelet has published."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({name.upper(): value for name, value in VALUES.items()})
    child = run_child(
        POOL + EXAMPLE,
        cwd=tmp_path,
        HIVE_BOOT_MODE="kubernetes",
        HIVE_BOOT_SECRETS_DIR=str(volume.path),
    )
    assert (child.returncode, child.stdout) == (0, f"opened with {len(KEY)}\nclosed\n"), child


def test_the_example_reports_missing_secrets(tmp_path: Path) -> None:
    """Without its secrets nothing starts, and the report names them and what uses them."""
    child = run_child(POOL + EXAMPLE, cwd=tmp_path, HIVE_BOOT_MODE="environment")
    assert (child.returncode, child.stdout) == (78, "")
    assert "HiveSecrets" in child.stderr
    assert "OPENAI_API_KEY" in child.stderr
    assert "semantic-memory, agents" in child.stderr
    assert "JWT_SECRET" in child.stderr
    assert "user-auth" in child.stderr
    assert "Traceback" not in child.stderr


@pytest.mark.anyio
async def test_the_hook_of_the_example_receives_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new key is used at once, the new token after `activate_after`; the hook gets the pool."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish(VALUES)
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernetes")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(volume.path))
    (tmp_path / "app.py").write_text(POOL + EXAMPLE)
    app = runpy.run_path(str(tmp_path / "app.py"))
    boot: Any = app["boot"]
    agents: Any = app["agents"]
    async with boot.running() as secrets:
        assert isinstance(agents.value, app["AgentPool"])
        assert agents.value.key == KEY
        volume.publish({name: f"{value}-new" for name, value in VALUES.items()})
        await until(lambda: secrets.openai_api_key.reveal() == f"{KEY}-new")
        assert secrets.jwt_secret.reveal() == TOKEN
        assert [each.reveal() for each in boot.accepted("jwt_secret")] == [TOKEN, f"{TOKEN}-new"]
        assert boot.status().hook_failures == {"reconnect": 0}
        assert not boot.status().degraded
    assert capsys.readouterr().out == f"opened with {len(KEY)}\nclosed\n"
    with pytest.raises(LifecycleError):
        _ = agents.value
