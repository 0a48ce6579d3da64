"""Find the command, and end with its status.

A command is imported when it is asked for: an init container or a health check waits for
every import.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from contextlib import ExitStack, suppress
from importlib import import_module

from hive_boot.cli.usage import NO, USAGE, Parser, Refusal, UsageError

TYPE_CHECKING = False  # typing would take as long as all of a probe
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMANDS = {
    "check": "judge secrets and settings as a start would, and start nothing",
    "doctor": "check, and tell what is likely to go wrong later",
    "run": "run an application, with the signals caught before it is imported",
    "migrate": "write the secrets of a .env file into files of their own",
    "rotate": "write a new value into a secret's file, in place",
    "manifests": "render manifests from the declaration, or compare them",
    "probe": "ask an endpoint whether it is well, for images without curl",
}


def script() -> None:
    """Be the process of one command.

    Whoever waits for an init container or a health check waits for the end of the
    interpreter too. So it leaves without taking itself apart: what was registered for the
    exit is called, and nothing is collected on the way.

    It does not come back.

    Raises:
        SystemExit: an application was run. What it has left behind, as a thread that is
            still at work, is waited for as Python does.
    """
    if sys.argv[1:2] == ["run"]:
        sys.exit(main())
    gc.disable()
    if os.getpid() == 1:
        _hear_sigterm()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # As stderr does: what a terminal cannot show, or a name that is no text, is no crash.
        sys.stdout.reconfigure(errors="backslashreplace")
    status = main()
    with ExitStack() as last:
        # A flush that fails keeps nobody from leaving.
        last.callback(os._exit, status)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            last.callback(stream.flush)
        atexit._run_exitfuncs()  # noqa: SLF001  (what Python itself calls at this point)


def _hear_sigterm() -> None:
    """End at SIGTERM: as PID 1, of an init container, the kernel drops it without a handler."""
    import signal  # noqa: PLC0415  (few are the first process)

    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command.

    Args:
        arguments: what was typed. Default: the arguments of this process.

    Returns:
        The exit status.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _command(typed)
    except UsageError as exc:
        return _say(exc, USAGE)
    except Refusal as exc:
        return _say(exc, NO)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads has gone, as `| head` does; what Python has left to say goes nowhere.
        with suppress(OSError):
            sys.stdout.close()
        return NO
    except Exception as exc:  # noqa: BLE001  (this is the outermost frame)
        # What knows of errors knows of much: it is imported when there is one.
        from hive_boot.bootstrap.process import fail  # noqa: PLC0415  (as said)

        return fail(exc)


def _command(typed: list[str]) -> int:
    name = typed[0] if typed else ""
    if name in COMMANDS:
        command: Any = import_module(f"hive_boot.cli.{name}")
        status: int = command.run(command.parser().parse_args(typed[1:]))
        return status
    parser = _parser()
    parser.parse_args(typed)
    parser.print_help()
    return 0 if typed else USAGE


def _parser() -> Parser:
    listed = "\n".join(f"  {name:<10} {about}" for name, about in COMMANDS.items())
    about = f"The boot layer of an async Python service.\n\ncommands:\n{listed}"
    parser = Parser("", about, example="hive-boot check app:boot\nhive-boot check --help")
    parser.usage = "hive-boot [--help] [--version] COMMAND …"
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("command", nargs="?", metavar="COMMAND", type=_unknown, help="see above")
    return parser


def _unknown(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  (only a slip needs it)

    near = get_close_matches(name, COMMANDS, n=1)
    meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(COMMANDS)}"
    message = f"there is no command of this name{meant}"
    raise UsageError(message)


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  (few ask)

    return f"hive_boot {version('hive_boot')}"


def _say(exc: Exception, status: int) -> int:
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"hive-boot: {exc}\n")
        sys.stderr.flush()
    return status
