"""The application loader: what ``APP`` may name, and the error for everything else."""

import sys
from pathlib import Path

import pytest

from hive_boot import Bootstrap, DeclarationError
from hive_boot.cli import UsageError
from hive_boot.cli.app_loader import find_module, load_application, load_object
from tests.cli import declared


def test_an_application_is_a_bootstrap_or_a_set() -> None:
    """The very object; a set of secrets is wrapped in a Bootstrap of its own."""
    assert load_application("tests.cli.declared:boot") is declared.boot
    assert repr(load_application("tests.cli.declared:Needs")) == repr(Bootstrap(declared.Needs))


def test_a_name_of_nothing_is_a_usage_error() -> None:
    """The message has the part that is wrong, and the applications that the module has."""
    for app, data in (
        ("app", "'app'"),
        (":boot", "':boot'"),
        ("app:", "'app:'"),
        ("nowhere:boot", "nowhere"),
        ("nowhere.at.all:boot", "nowhere"),
        ("tests.cli.nowhere:boot", "tests.cli.nowhere"),
        ("tests.cli.declared.deeper:boot", "tests.cli.declared.deeper"),
        (".declared:boot", ".declared"),
        ("__main__x:boot", "__main__x"),
        ("tests.cli.declared:bood", "Awaited, Checked, Needs, Versioned, boot"),
        ("tests.cli.declared:boot.nothing", "boot.nothing"),
        ("tests.support:nothing", "Inventory"),
        ("tests.cli:nothing", "tests.cli has no attribute nothing"),
        ("sys:maxsize.nothing", "maxsize.nothing"),
    ):
        with pytest.raises(UsageError) as caught:
            load_object(app)
        assert data in str(caught.value), app


def test_another_object_is_an_error_of_the_code() -> None:
    """It declares nothing."""
    with pytest.raises(DeclarationError, match=r"tests\.cli\.declared:something_else"):
        load_application("tests.cli.declared:something_else")


def test_a_module_that_raises_shows_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins in the module; the exception itself is in the text, and not in the chain."""
    (tmp_path / "broken_here.py").write_text("import nothing_of_this_name\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeclarationError) as caught:
        load_application("broken_here:boot", to_run=True)
    text = str(caught.value)
    assert text.startswith("broken_here ")
    assert text.splitlines()[2].startswith(f'  File "{tmp_path / "broken_here.py"}", line 1')
    assert text.endswith("ModuleNotFoundError: No module named 'nothing_of_this_name'")
    assert caught.value.__cause__ is None


def test_a_command_that_needs_the_declaration_names_a_module_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine in the same module may fail; an error of the declaration is found there too."""
    monkeypatch.syspath_prepend(tmp_path)
    for number, (source, is_named) in enumerate(
        [
            ("int('no engine')\n", True),
            ("from hive_boot import Bootstrap\nBootstrap(int)\n", False),
        ]
    ):
        (tmp_path / f"broken_app{number}.py").write_text(source, "utf-8")
        with pytest.raises(DeclarationError) as caught:
            load_application(f"broken_app{number}:boot")
        assert ("config:boot" in str(caught.value)) == is_named


def test_the_working_directory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `python -m`; it is put on the path once."""
    Path("found_here_only.py").write_text("answer = 42\n", "utf-8")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    assert load_object("found_here_only:answer") == 42
    assert find_module("found_here_only") is not None
    assert sys.path.count(str(Path.cwd())) == 1


def test_a_working_directory_that_was_removed_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="working directory"):
        load_application("tests.cli.declared:boot")


def test_a_module_that_runs_itself_is_an_error_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing guard starts nothing, and a check does not pass with it."""
    source = "from hive_boot import Bootstrap, SecretSet\nboot = Bootstrap(SecretSet)\n"
    monkeypatch.syspath_prepend(tmp_path)
    for number, (line, data) in enumerate(
        (
            ("boot.run()", "boot.run()"),
            ("boot.serve(None)", "boot.serve()"),
            ("raise SystemExit(0)", "own_end2"),
        )
    ):
        (tmp_path / f"own_end{number}.py").write_text(f"{source}{line}\n", "utf-8")
        with pytest.raises(DeclarationError) as caught:
            load_application(f"own_end{number}:boot")
        assert data in str(caught.value)


def test_a_module_that_is_run_may_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with python itself."""
    (tmp_path / "own_way.py").write_text("raise SystemExit(3)\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as caught:
        load_application("own_way:boot", to_run=True)
    assert caught.value.code == 3
