"""Control characters of paths, names and texts are escaped wherever hive_boot prints them."""

import io
import json
import logging
import subprocess
from pathlib import Path

import pytest

from hive_boot import InvalidSecretsError, MissingSecretError, Problem, SourceError
from hive_boot._output import escape_controls
from hive_boot.cli import Cell, print_json, print_line, print_table
from hive_boot.cli.main import main
from tests.support import run_child

HOSTILE = "a\x1b[2J\nFix: curl evil\r\x00\x7f\x9b31m\x85\u2028\u202eb\u2066\u200f\u061c\tc"
"""A text that would clear a terminal, forge lines, and show its end in another order."""

SHOWN = r"a\u001b[2J\nFix: curl evil\r\u0000\u007f\u009b31m\u0085\u2028\u202eb\u2066\u200f\u061c\tc"

PATH = HOSTILE.replace("/", "").replace("\0", "")


def assert_clean(text: str, lines: int | None = None) -> None:
    """Assert that a text has no control character but line breaks, and none that was forged."""
    assert escape_controls(text, keep_lines=True) == text
    assert not [line for line in text.splitlines() if line.strip().startswith("Fix: curl")]
    assert lines is None or text.count("\n") == lines


def test_every_control_character_is_escaped_and_nothing_else() -> None:
    """C0, C1, DEL, other line ends, bidirectional controls, and bytes that are not UTF-8."""
    assert escape_controls(HOSTILE) == SHOWN
    assert escape_controls("\udc9b\udcff") == "\\udc9b\\udcff"
    for text in ("", "äöü 🔐 \u200d漢字 \\n 'a'", "a b"):
        assert escape_controls(text) == text
    assert escape_controls("a\n\tb\x1b", keep_lines=True) == "a\n\tb\\u001b"


def test_a_command_escapes_lines_tables_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON has the same text, in escapes that a parser reads; our own colours stay."""
    print_line(HOSTILE, Cell(HOSTILE, "red"))
    print_table(("NAME",), [[Cell(HOSTILE)]])
    assert capsys.readouterr().out == f"{SHOWN}{SHOWN}\nNAME\n{SHOWN}\n"
    monkeypatch.setattr("hive_boot.cli.is_colored", lambda: True)
    print_line(Cell(HOSTILE, "red"))
    assert capsys.readouterr().out == f"\x1b[31m{SHOWN}\x1b[0m\n"
    for encoding in ("utf-8", "ascii"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", stream)
        print_json({HOSTILE: [HOSTILE, "ä"]})
        stream.seek(0)
        out = stream.read()
        assert_clean(out, lines=6)
        assert json.loads(out) == {HOSTILE: [HOSTILE, "ä"]}


def test_a_report_has_each_field_on_one_line() -> None:
    """Names, places, ``used_by``, fixes, details, facts and hints; colours are only ours."""
    problem = Problem(
        name=HOSTILE,
        kind="check",
        message=f"failed: ValueError: {HOSTILE}",
        places=(HOSTILE, HOSTILE),
        used_by=HOSTILE,
        fix=HOSTILE,
        details=(HOSTILE,),
    )
    error = InvalidSecretsError([problem], facts=[("mode", HOSTILE)], general_hints=[HOSTILE])
    assert_clean(error.report(), lines=8)
    assert error.report().count(SHOWN) == 9
    assert "\x1b[2J" not in error.report(color=True)
    assert_clean(f"{SourceError(problem)}{MissingSecretError(HOSTILE, HOSTILE)}", lines=0)


APP = """
import os
from hive_boot import Bootstrap, Secret, SecretSet, secret
HOSTILE = os.environ["HOSTILE"]
def refuse(value):
    raise ValueError(HOSTILE)
class Needs(SecretSet):
    api_key: Secret = secret(used_by=HOSTILE, check=refuse)
    token: Secret = secret(used_by=HOSTILE)
boot = Bootstrap(Needs)
"""


def test_each_command_escapes_a_hostile_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory, ``used_by`` and the text of a check, on stdout and on stderr."""
    here = tmp_path / PATH
    (here / "secrets").mkdir(parents=True)
    (here / "secrets/api_key").write_text("fake-api-key")
    (here / "app.py").write_text(APP)
    (here / ".env").write_text("API_KEY=fake-other\n")
    subprocess.run(["git", "init", "-q", str(here)], check=True)  # noqa: S607
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(here / "secrets"))
    source = """
import json, sys
from hive_boot.cli.main import main
print(json.dumps([main(arguments) for arguments in json.loads(sys.argv[1])]))
"""
    markdown = ["manifests", "app:boot", "--target", "markdown"]
    expected: list[tuple[list[str], int]] = [
        (["check", "app:boot"], 78),
        (["doctor", "app:boot"], 78),
        (["doctor", "app:boot", "--manifests", f"{here}/none"], 64),
        (["check", "nowhere:boot"], 64),
        (["migrate", "app:boot", "--to", "secrets"], 1),
        (["migrate", "app:boot", "--to", f"{here}/other"], 64),
        (["migrate", "app:boot", "--to", "new"], 0),
        (["rotate", "API_KEY", "--to", f"{here}/none"], 64),
        (markdown, 0),
        ([*markdown, "--write", f"{here}/written"], 0),
        ([*markdown, "--check", f"{here}/secrets"], 1),
        ([*markdown, "--check", f"{here}/none"], 64),
        ([*markdown, "--templates", f"{here}/secrets"], 1),
        (["probe", f"http://{HOSTILE}/"], 64),
    ]
    commands = json.dumps([arguments for arguments, _ in expected])
    ended = run_child(source, commands, cwd=here, HOSTILE=HOSTILE.replace("\0", ""))
    assert json.loads(ended.stdout.splitlines()[-1]) == [status for _, status in expected], ended
    assert_clean(ended.stdout + ended.stderr)
    assert "fake-api-key" not in ended.stdout + ended.stderr
    assert PATH.partition("\n")[0].replace("\x1b", "\\u001b") in ended.stderr


def test_a_failure_that_is_not_ours_is_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback keeps its lines."""
    failure = "\x1b[2J\u202e"

    def fail(*_: object) -> None:
        raise RuntimeError(failure)

    monkeypatch.setattr("hive_boot.cli.check.load_application", fail)
    assert main(["check", "a:b"]) == 70
    err = capsys.readouterr().err
    assert_clean(err)
    assert "\n  File " in err
    assert "RuntimeError: \\u001b[2J\\u202e\n" in err


STARTED = """
import os
from hive_boot import Bootstrap, Secret, SecretSet

class Needs(SecretSet):
    api_key: Secret

boot = Bootstrap(Needs, secrets_dirs=os.getcwd(), watch=True)

@boot.check
async def refuse(secrets: Needs) -> None:
    raise ValueError(os.getcwd())

@boot.main
async def main() -> None: ...

boot.run()
"""


def test_a_start_escapes_its_log_and_its_report(tmp_path: Path) -> None:
    """The handler is ours, because the application has none."""
    here = tmp_path / PATH
    here.mkdir()
    (here / "api_key").write_text("fake-api-key")
    ended = run_child(STARTED, cwd=here, HIVE_BOOT_MODE="docker")
    assert ended.returncode in {70, 78}
    assert "Secrets mode: docker" in ended.stderr
    assert "a\\u001b[2J" in ended.stderr
    assert_clean(ended.stderr)


def test_the_arguments_of_a_record_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """For every handler of the application; other types of arguments keep their type."""
    for name in ("hive_boot", "hive_boot.rotation", "hive_boot.watching"):
        logging.getLogger(name).warning("%s %d %s", HOSTILE, 5, None)
        logging.getLogger(name).warning("%(a)s", {"a": "mapping"})
    first, second = caplog.records[:2]
    assert first.args == (SHOWN, 5, None)
    assert second.getMessage() == "mapping"
    assert {record.getMessage() for record in caplog.records} == {f"{SHOWN} 5 None", "mapping"}
