"""The ported application: what the port costs, and what it gains."""

import difflib
import shutil
from pathlib import Path

import httpx2
import jwt
import pytest

from tests.examples.service import interpreter
from tests.fixtures.cases import case
from tests.fixtures.ports import free_port
from tests.support import FEW_PLUGINS, ROOT, run_child, wait_until

PORTED = ROOT / "examples" / "ported"

FIRST = "fake-first-signing-key-0123456789-0123456789"
SECOND = "fake-second-signing-key-9876543210-9876543210"
PASSWORD = "fake-admin-password"

RUN_MODULE = """
import runpy, sys
sys.argv[1:] = {arguments!r}
sys.path.insert(0, "")
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def module(name: str, *arguments: str) -> str:
    """Return the source of a child that runs a module, as ``python -m`` does."""
    return RUN_MODULE.format(module=name, arguments=list(arguments))


def copy_of(tree: str, base: Path) -> Path:
    """Copy one of the two applications."""
    target = base / tree
    shutil.copytree(PORTED / tree, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture
def after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the ported application, with mounted secrets and its settings."""
    target = copy_of("after", tmp_path)
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted/secret_key").write_text(FIRST)
    (tmp_path / "mounted/first_superuser_password").write_text(PASSWORD)
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "mounted"))
    monkeypatch.setenv("PROJECT_NAME", "Task list")
    monkeypatch.setenv("DATABASE_PATH", "tasks.db")
    monkeypatch.setenv("FIRST_SUPERUSER", "admin@example.com")
    return target


def files_of(tree: str) -> dict[str, list[str]]:
    """Return the lines of each file of an application, by its path."""
    top = PORTED / tree
    return {
        str(path.relative_to(top)): path.read_text("utf-8").splitlines()
        for path in sorted(top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_port_is_small_and_leaves_the_tests_alone() -> None:
    """At most 6 files and 50 lines, those that were removed and those that were added."""
    before, after = files_of("before"), files_of("after")
    changed = {
        name: [
            line
            for line in difflib.unified_diff(before.get(name, []), after.get(name, []), n=0)
            if line[0] in "+-" and line[:4] not in {"+++ ", "--- "}
        ]
        for name in before | after
        if before.get(name) != after.get(name)
    }
    assert not [name for name in changed if name.startswith("tests/")]
    assert changed.keys() == {"app/core/config.py", "app/main.py", "pytest.ini", "requirements.txt"}
    assert 0 < sum(map(len, changed.values())) <= 50


def test_its_own_tests_pass_before_and_after(tmp_path: Path) -> None:
    """They import settings, engine and scripts without a loop, and start the application."""
    for tree in ("before", "after"):
        with case(tree):
            target = copy_of(tree, tmp_path)
            shutil.copy(target / ".env.example", target / ".env")
            done = run_child(
                module("pytest", "-q", "-W", "error", *FEW_PLUGINS, "tests"),
                cwd=target,
                HIVE_BOOT_MODE="development",
                HIVE_BOOT_PROFILE="test",
            )
            assert done.returncode == 0, done.stdout
            assert "7 passed" in done.stdout


def test_scripts_need_no_event_loop(after: Path) -> None:
    """The migration and the initial data read mounted secrets, and log none."""
    done = interpreter().run(module("migrations.upgrade"), cwd=after)
    assert (done.stdout, done.returncode) == ("database version 1\n", 0), done.stderr
    done = interpreter().run(module("app.initial_data"), cwd=after)
    assert done.returncode == 0, done.stderr
    assert "Created admin@example.com" in done.stderr
    done = run_child(
        "import sys, migrations.upgrade, app.initial_data\n"
        "print({'anyio', 'uvicorn'} & sys.modules.keys())",
        cwd=after,
    )
    assert done.stdout == "set()\n", done.stderr


def test_a_missing_secret_is_one_report(
    after: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a missing setting, whatever imports the application: no traceback, and 78."""
    (tmp_path / "mounted/secret_key").unlink()
    monkeypatch.delenv("DATABASE_PATH")
    for name, *arguments in (
        ("migrations.upgrade",),
        ("app.initial_data",),
        ("uvicorn", "app.main:app", "--port", "0"),
        ("hive_boot", "check", "app.core.config:boot"),
        ("hive_boot", "run", "app.core.config:boot", "--serve", "app.main:app"),
    ):
        with case(name, *arguments):
            done = interpreter().run(module(name, *arguments), cwd=after)
            assert done.returncode == 78, done.stderr
            assert done.stderr.count("AppSecrets has 2 problems; the service does not start.") == 1
            assert "1. SECRET_KEY is missing." in done.stderr
            assert "\n  2. " in done.stderr
            assert "Field required" in done.stderr
            assert "Traceback" not in done.stderr
            assert PASSWORD not in done.stdout + done.stderr


def test_the_running_application_sees_a_rotated_key(after: Path, tmp_path: Path) -> None:
    """Its modules still read settings.SECRET_KEY, and logins are signed with the new key."""
    assert interpreter().run(module("migrations.upgrade"), cwd=after).returncode == 0
    assert interpreter().run(module("app.initial_data"), cwd=after).returncode == 0
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/v1/login"
    form = {"email": "admin@example.com", "password": PASSWORD}

    def is_signed_with(key: str) -> bool:
        try:
            token = httpx2.post(url, json=form, timeout=10).json()["access_token"]
            jwt.decode(token, key, algorithms=["HS256"])
        except (httpx2.TransportError, jwt.InvalidSignatureError):
            return False
        return True

    server = module("uvicorn", "app.main:app", "--port", str(port))
    with interpreter().started(server, cwd=after) as child:
        wait_until(lambda: is_signed_with(FIRST))
        (tmp_path / "mounted/secret_key").write_text(SECOND)
        wait_until(lambda: is_signed_with(SECOND))
        child.terminate()
        _, stderr = child.communicate()
    assert not [value for value in (FIRST, SECOND, PASSWORD) if value in stderr]
