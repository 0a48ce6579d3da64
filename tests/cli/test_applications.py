"""What ``APP`` may name, and what is said of what it may not."""

import sys
from pathlib import Path

import pytest

from hive_boot import Bootstrap, DeclarationError
from hive_boot.cli.applications import find, named, spec_of
from hive_boot.cli.usage import UsageError
from tests.cli import declared


def test_a_bootstrap_is_found() -> None:
    """The very object, not another one."""
    assert find("tests.cli.declared:boot") is declared.boot


def test_a_set_of_secrets_becomes_an_application() -> None:
    """A library ships its set, and has nothing to start."""
    assert repr(find("tests.cli.declared:Needs")) == repr(Bootstrap(declared.Needs))


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("app", "APP is package.module:name, as app:boot, and 'app' is not"),
        (":boot", "and ':boot' is not"),
        ("app:", "and 'app:' is not"),
        ("nowhere:boot", "there is no module nowhere"),
        ("nowhere.at.all:boot", "there is no module nowhere"),
        ("tests.cli.nowhere:boot", "there is no module tests.cli.nowhere"),
        ("tests.cli.declared.deeper:boot", "there is no module tests.cli.declared.deeper"),
        (".declared:boot", "there is no module .declared"),
        ("__main__x:boot", "there is no module __main__x"),
        ("tests.cli.declared:bood", "has no bood; there is Awaited, Checked, Needs, boot"),
        ("tests.cli.declared:boot.nothing", "has no boot.nothing"),
        ("tests.support:nothing", "has no nothing; there is Inventory"),
        ("tests.cli:nothing", "tests.cli has no nothing"),
        ("sys:maxsize.nothing", "sys has no maxsize.nothing"),
    ],
)
def test_what_names_nothing_is_told_with_what_there_is(app: str, told: str) -> None:
    """A slip of the fingers is mended by reading one line."""
    with pytest.raises(UsageError) as caught:
        named(app)
    assert told in str(caught.value)


def test_anything_else_is_refused() -> None:
    """An object that declares nothing is a fault of the code."""
    with pytest.raises(DeclarationError, match="is neither a Bootstrap nor a SecretSet"):
        find("tests.cli.declared:something_else")


def test_a_module_that_raises_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is the author's; the first line says what it is."""
    (tmp_path / "broken_here.py").write_text("import nothing_of_this_name\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeclarationError) as caught:
        find("broken_here:boot")
    text = str(caught.value)
    assert text.startswith("broken_here cannot be imported:\n")
    assert text.endswith("ModuleNotFoundError: No module named 'nothing_of_this_name'")
    assert caught.value.__cause__ is None


def test_the_working_directory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's own module is found where it is, as `python -m` finds it."""
    Path("found_here_only.py").write_text("answer = 42\n", "utf-8")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    assert named("found_here_only:answer") == 42
    assert spec_of("found_here_only") is not None
    assert sys.path.count(str(Path.cwd())) == 1


def test_a_working_directory_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has removed it behind a shell's back reads what to do, and no traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="the working directory is gone"):
        find("tests.cli.declared:boot")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("boot.run()", "boot.run() is called when the module is imported"),
        ("boot.serve(None)", "boot.serve() is called when the module is imported"),
        ("raise SystemExit(0)", "own_end ends the process when it is imported"),
    ],
)
def test_a_module_that_runs_itself_is_no_check_that_has_passed(
    line: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who forgets the guard is told so: nothing is started, and the status is not 0."""
    source = "from hive_boot import Bootstrap, SecretSet\nboot = Bootstrap(SecretSet)\n"
    (tmp_path / "own_end.py").write_text(f"{source}{line}\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_end", raising=False)
    with pytest.raises(DeclarationError) as caught:
        find("own_end:boot")
    assert told in str(caught.value)


def test_what_is_run_may_end_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it ended with is the answer, as with python itself."""
    (tmp_path / "own_way.py").write_text("raise SystemExit(3)\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as caught:
        find("own_way:boot", to_run=True)
    assert caught.value.code == 3
