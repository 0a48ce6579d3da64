"""Entry point of ``hive-boot``: finds the command, runs it, and sets the exit status.

The module of a command is imported when that command is run: an init container or a health
check waits for every import.
"""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentParser
from contextlib import suppress
from importlib import import_module

from hive_boot.cli import (
    EXIT_FAILURE,
    EXIT_USAGE,
    CommandError,
    Parser,
    Terminated,
    UsageError,
    print_error,
    print_text,
    raise_terminated,
)

TYPE_CHECKING = False  # importing typing takes as long as all of a probe
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMANDS = {
    "check": "load and validate secrets and settings as a start would; start nothing",
    "doctor": "check, and find what is likely to fail later",
    "run": "run an application, with signal handlers installed before its import",
    "migrate": "write each secret of a .env file into a separate file",
    "rotate": "write a new value into the file of a secret, in place",
    "manifests": "render deploy files from the declaration, or compare them",
    "fleet": "show the secrets of the instances, and wait for proof before a revocation",
    "probe": "request a health endpoint, for images without curl",
}

_HELP = {"help": "print the help text of a command"}


def entry_point() -> None:
    """Run one command, and exit with its status.

    Raises:
        SystemExit: always.
    """
    if sys.argv[1:2] == ["run"]:
        sys.exit(main())
    if os.getpid() == 1:
        import signal  # only for PID 1

        # The kernel drops a signal for which PID 1 has no handler.
        signal.signal(signal.SIGTERM, raise_terminated)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # As on stderr: a character that the terminal cannot show is escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    status = main()
    _flush_stdout()
    sys.exit(status)


def _flush_stdout() -> None:
    """Write what stdout still holds; close it if that fails, or Python would exit with 120."""
    try:
        print(end="", flush=True)  # noqa: T201  (unlike sys.stdout.flush(), it accepts None)
    except (OSError, ValueError):
        with suppress(OSError):
            sys.stdout.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line. Default: the arguments of this process.

    Returns:
        The exit status.

    Raises:
        KeyboardInterrupt: SIGINT has stopped the application of ``hive-boot run``.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run_command(typed)
    except (UsageError, CommandError) as exc:
        print_error(str(exc))
        return exc.exit_code
    except Terminated as exc:
        return 128 + int(exc.args[0])
    except KeyboardInterrupt:
        if typed[:1] == ["run"]:
            raise
        return 130
    except BrokenPipeError:
        # The reader of stdout has ended, as in `| head`.
        return EXIT_FAILURE
    except Exception as exc:  # noqa: BLE001  (this is the outermost frame)
        from hive_boot.runtime.process import report_failure  # only for a failure

        return report_failure(exc)


def _run_command(typed: list[str]) -> int:
    while typed[:1] == ["help"]:
        typed = [*typed[1:2], "--help", *typed[2:]]
    name = typed[0] if typed else ""
    if name in COMMANDS:
        command: Any = import_module(f"hive_boot.cli.{name}")
        status: int = command.run(command.parser().parse_args(typed[1:]))
        return status
    parser = _parser()
    shell = parser.parse_args(typed).print_completion
    if shell is not None:
        _print_completion(shell)
    else:
        parser.print_help()
    return 0 if typed else EXIT_USAGE


def _print_completion(shell: str) -> None:
    """Print the script with which a shell completes commands and options.

    Raises:
        CommandError: shtab is not installed.
    """
    try:
        shtab: Any = import_module("shtab")
    except ImportError:
        message = "--print-completion needs shtab: pip install 'hive_boot[completion]'"
        raise CommandError(message) from None
    parser = ArgumentParser("hive-boot")
    commands = parser.add_subparsers()
    for name, about in COMMANDS.items():
        command: Any = import_module(f"hive_boot.cli.{name}")
        commands.add_parser(name, parents=[command.parser()], add_help=False, help=about)
    commands.add_parser("help", help=_HELP["help"]).add_argument("command", choices=[*COMMANDS])
    print_text(shtab.complete(parser, shell))


def _parser() -> Parser:
    from importlib.metadata import version  # only for the help

    listed = "\n".join(f"  {name:<10} {about}" for name, about in (COMMANDS | _HELP).items())
    about = f"The boot layer of an async Python service.\n\ncommands:\n{listed}"
    parser = Parser("", about, example="hive-boot check app:boot\nhive-boot check --help")
    parser.usage = "hive-boot [--help] [--version] [--print-completion SHELL] COMMAND …"
    parser.add_argument("--version", action="version", version=f"hive_boot {version('hive_boot')}")
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh", "tcsh"),
        metavar="SHELL",
        help="print a script for bash, zsh or tcsh that completes commands and options",
    )
    parser.add_argument(
        "command", nargs="?", metavar="COMMAND", type=_unknown_command, help="see above"
    )
    return parser


def _unknown_command(name: str) -> str:
    from difflib import get_close_matches  # only for a wrong command

    near = get_close_matches(name, COMMANDS | _HELP, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    raise UsageError(f"this command does not exist; {hint}")
