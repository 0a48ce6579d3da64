"""The entry point: help, exit statuses, and the end of the process."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from json import loads
from pathlib import Path
from threading import Timer

import pytest

from hive_boot.cli import CommandError
from hive_boot.cli.fleet import COMMANDS as FLEET_COMMANDS
from hive_boot.cli.main import COMMANDS, main
from tests.fixtures.golden import assert_golden
from tests.support import child_environment

SCRIPT = str(Path(sys.executable).with_name("hive-boot"))


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    return subprocess.run(
        command,
        env=child_environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [[SCRIPT], [sys.executable, "-m", "hive_boot"]])
def test_the_command_is_a_script_and_a_module(command: list[str]) -> None:
    """Both print the installed version, with exit status 0."""
    ended = run(*command, "--version")
    assert (ended.returncode, ended.stdout) == (0, f"hive_boot {version('hive_boot')}\n")


def test_the_import_of_the_module_runs_no_command() -> None:
    """A tool that imports all modules, as for documentation, runs nothing."""
    assert import_module("hive_boot.__main__").__name__ == "hive_boot.__main__"


def test_the_exit_status_of_the_process_is_that_of_the_command() -> None:
    """A failed check exits with 78, and its output is written."""
    variables = {"HIVE_BOOT_MODE": "environment"}
    ended = run(SCRIPT, "check", "tests.cli.declared:boot", **variables)
    assert ended.returncode == 78
    assert "JWT_SECRET" in ended.stdout
    assert "CLIENT_KEY" in ended.stderr


def test_what_a_module_has_registered_for_the_exit_is_called() -> None:
    """The process exits as any Python program does."""
    Path("leaving.py").write_text(
        "import atexit\nfrom hive_boot import SecretSet\natexit.register(print, 'last words')\n"
        "class Needs(SecretSet): ...\n",
        "utf-8",
    )
    ended = run(SCRIPT, "check", "leaving:Needs")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "last words")


def help_of(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    """Return what a command prints before it ends with 0."""
    with pytest.raises(SystemExit) as ended:
        main([*typed])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "typed",
    [
        ["migrate", "app:boot", "--to", "here", "--to", "there"],
        ["migrate", "app:boot", "--to", "here", "--to=here"],
        ["fleet", "wait", "v2", "--expect", "3", "--expect", "4"],
        ["fleet", "rotate", "KEY", "--set-version", "3", "--kubernetes", "--kubernetes", "b"],
        ["fleet", "rotate", "KEY", "--set-version", "3", "--from-step", "1", "--from-step", "2"],
        ["manifests", "app:boot", "--name", "a", "--name", "b"],
    ],
)
def test_an_option_with_one_value_is_not_repeated(
    typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise only the last value would count."""
    assert main(typed) == 64
    assert " was given more than once\n" in capsys.readouterr().err


def test_the_help_lists_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a command, the same is printed and the exit status is 64."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = help_of(capsys, "--help")
    assert_golden("help", shown)
    assert [name for name in COMMANDS if f"\n  {name} " in shown] == list(COMMANDS)
    assert help_of(capsys, "-h") == shown
    assert main([]) == 64
    assert capsys.readouterr().out == shown


def test_the_help_of_each_command_has_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the command itself, in lines of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for command in (*COMMANDS, *(f"fleet {each}" for each in FLEET_COMMANDS)):
        shown = help_of(capsys, *command.split(), "--help")
        assert shown.startswith(f"usage: hive-boot {command} ")
        assert f"hive-boot {command} " in shown.partition("\nexample:\n")[2]
        assert max(map(len, shown.splitlines())) <= 80, command


def test_help_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what ``--help`` prints; further arguments are not executed."""
    for command in COMMANDS:
        assert help_of(capsys, "help", command) == help_of(capsys, command, "--help")
    assert help_of(capsys, "help", "run", "-m", "this") == help_of(capsys, "run", "--help")
    whole = help_of(capsys, "--help")
    for typed in (["help"], ["help", "help"], ["help", "--help"], ["help", "--json"]):
        assert help_of(capsys, *typed) == whole, typed
    for typed, near in ((["help", "chekc"], "check?"), (["hlep"], "help?")):
        assert main(typed) == 64
        assert near in capsys.readouterr().err


def test_a_shell_completes_commands_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script of shtab, executed by bash, which itself completes paths."""
    pytest.importorskip("shtab")
    for shell in ("zsh", "tcsh", "bash"):
        assert main(["--print-completion", shell]) == 0
        script = capsys.readouterr().out
        assert not [name for name in ("help", *COMMANDS) if name not in script]
    (tmp_path / "completion").write_text(script)
    program = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_hive_boot'
    for typed, expected in (
        (["m"], {"migrate", "manifests"}),
        (["rotate", "--d"], {"--dry-run"}),
        (["help", "do"], {"doctor"}),
        (["migrate", "--to", "secr"], set()),
    ):
        words = ["bash", str(tmp_path / "completion"), "hive-boot", *typed]
        ended = run("bash", "-c", f'{program}; echo "${{COMPREPLY[@]}}"', *words)
        assert {*ended.stdout.split()} == expected, ended


def test_completion_without_shtab_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; a shell that is not supported is an error of the command line."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install 'hive_boot[completion]'" in err
    assert main(["--print-completion", "fish"]) == 64
    assert "bash" in capsys.readouterr().err


def test_an_invalid_command_line_is_exit_64(capsys: pytest.CaptureFixture[str]) -> None:
    """The message on stderr states what to type instead."""
    for typed, data in (
        (["chekc"], "check?"),
        (["x"], "check, doctor"),
        (["check"], "APP\nusage: hive-boot check"),
        (["check", "a:b", "--jsn"], "--jsn"),
        (["check", "nowhere:boot"], "nowhere"),
        (["migrate", "a:b", "--rewrite"], "--rewrite"),
    ):
        assert main(typed) == 64, typed
        out, err = capsys.readouterr()
        assert (out, err.startswith("hive-boot: ")) == ("", True)
        assert data in err


def test_a_closed_pipe_causes_no_traceback() -> None:
    """`hive-boot check … | head -0`: no traceback, not even at the end of the interpreter."""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [SCRIPT, "check", "tests.cli.declared:boot"],
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_output_to_an_ascii_terminal_is_escaped() -> None:
    """Other characters are escaped, or replaced as PYTHONIOENCODING demands."""
    for encoding in ("ascii", "ascii:replace"):
        ended = run(SCRIPT, "--help", PYTHONIOENCODING=encoding)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("usage: hive-boot")


def test_a_directory_whose_name_is_not_text_is_printed(tmp_path: Path) -> None:
    """With escapes, and JSON stays JSON."""
    directory = tmp_path / os.fsdecode(b"\xff\xc3\xa9")
    directory.mkdir()
    for encoding, more in (("ascii", []), ("ascii", ["--json"]), ("utf-8:strict", ["--json"])):
        ended = run(
            SCRIPT,
            "check",
            "tests.cli.declared:boot",
            *more,
            HIVE_BOOT_SECRETS_DIR=str(directory),
            PYTHONIOENCODING=encoding,
        )
        assert ended.returncode == 78
        assert "\\udcff" in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        assert not more or loads(ended.stdout)["directories"] == [str(directory)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has one")
def test_a_full_disk_is_a_one_line_error() -> None:
    """The exit status is not 0."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            [SCRIPT, "check", "tests.cli.declared:boot"],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "no space left on device" in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a PID namespace here")
def test_a_signal_ends_a_check_that_waits_for_files(tmp_path: Path) -> None:
    """A check that waits for its files does not hold up the end of the pod."""
    source = "from hive_boot import Bootstrap, Secret, SecretSet\n"
    source += "class Needs(SecretSet):\n    api_key: Secret\n"
    source += "print('imported', flush=True)\nboot = Bootstrap(Needs, wait_for_files=60)\n"
    (tmp_path / "waiting.py").write_text(source, "utf-8")
    command = ["unshare", "--pid", "--fork", "--kill-child", SCRIPT]
    with subprocess.Popen(
        [*command, "check", "waiting:boot"],
        cwd=tmp_path,
        env=child_environment(HIVE_BOOT_SECRETS_DIR=str(tmp_path / "nothing")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        guard = Timer(50, process.kill)
        guard.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "imported\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8")
        os.kill(int(children.split()[0]), signal.SIGTERM)
        status = process.wait()
        guard.cancel()
    assert status == 143


def test_an_exception_of_a_command_is_an_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is silent, a refusal is one line, and an error of ours is a traceback."""
    for failure, status, text in (
        (KeyboardInterrupt(), 130, ""),
        (CommandError("not today"), 1, "hive-boot: not today\n"),
        (RuntimeError("a fault"), 70, "RuntimeError: a fault\n"),
    ):

        def fail(*_: object, failure: BaseException = failure) -> None:
            raise failure

        monkeypatch.setattr("hive_boot.cli.check.load_application", fail)
        assert main(["check", "a:b"]) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith(text)
        assert bool(err) == bool(text)


def test_without_a_stderr_the_status_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon may have none."""
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["chekc"]) == 64


def test_a_health_check_imports_few_modules() -> None:
    """Neither the rest of the package, nor what a start needs."""
    modules = ["_output", "cli", "cli.main", "cli.probe"]
    ended = run(
        sys.executable,
        "-c",
        "import sys; before = {*sys.modules};"
        "from hive_boot.cli.main import main; main(['probe', '--port', '1']);"
        "new = {*sys.modules} - before;"
        "print(*sorted(name for name in new if name.startswith('hive_boot')));"
        "print(*sorted({'typing', 'anyio', 'logging', 'inspect', 'pathlib'} & new))",
    )
    assert ended.stdout.splitlines()[-2:] == [
        " ".join(["hive_boot", *(f"hive_boot.{each}" for each in modules)]),
        "",
    ]


def test_a_check_imports_no_event_loop(tmp_path: Path) -> None:
    """Neither of a set without checks, nor of parts, whose order is found without one."""
    source = "from hive_boot import Bootstrap, SecretSet\nclass Needs(SecretSet): ...\n"
    source += "boot = Bootstrap(Needs)\n@boot.resource\nasync def pool(): ...\n"
    (tmp_path / "cwd" / "parted.py").write_text(source, "utf-8")
    ended = run(
        sys.executable,
        "-c",
        "import sys; before = {*sys.modules};"
        "from hive_boot.cli.main import main;"
        "main(['check', 'examples.hive.inventory:HiveSecrets']);"
        "print(main(['check', 'parted:boot']));"
        "print(*sorted({'anyio', 'asyncio', 'trio', 'watchfiles'} & {*sys.modules} - before))",
    )
    assert ended.stdout.splitlines()[-2:] == ["0", ""]
