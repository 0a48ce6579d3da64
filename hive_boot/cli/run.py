"""``hive-boot run``: runs an application, with signal handlers installed before its import.

The kernel drops a signal without a handler when the process is PID 1, so a container that
is stopped during the imports would be killed at the end of its grace period. Here the first
signal is remembered, and the application stops in order as soon as it can: only then is it
known whether its main ``must_complete``, and which exit status is right.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hive_boot.cli.arguments import Parser, UsageError
from hive_boot.lifecycle.signals import install_early

if TYPE_CHECKING:
    from argparse import Namespace


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "run",
        "Run an application, with signal handlers installed before it is imported.\n"
        "The exit status is the application's: 0, what main returned, 70, 78 or 128 + n.",
        example="hive-boot run app:boot\n"
        "hive-boot run app:boot --serve app:web --host 0.0.0.0 --port 8000\n"
        "hive-boot run -m package.that.calls.run --its-own arguments",
    )
    parser.usage = (
        "hive-boot run [--backend BACKEND] APP\n"
        "       hive-boot run APP --serve ASGI [--host HOST] [--port PORT]\n"
        "                         [--server SERVER]\n"
        "       hive-boot run -m MODULE [ARGUMENT ...]"
    )
    parser.add_argument(
        "app", nargs="?", metavar="APP", help="the Bootstrap, as package.module:boot"
    )
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="MODULE",
        help="a module that calls boot.run() or boot.serve(), as python -m, and its arguments",
    )
    parser.add_argument(
        "--serve", metavar="ASGI", help="an ASGI application to serve, as package.module:web"
    )
    parser.add_argument("--host", help="the address to serve at (127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port to serve at (8000)")
    parser.add_argument("--server", help="uvicorn or hypercorn (uvicorn)")
    parser.add_argument("--backend", help="asyncio, uvloop or trio (asyncio)")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command; it returns only for a module that does not end the process itself.

    Raises:
        UsageError: the arguments do not name one thing to run.
        DeclarationError: what to serve is not an ASGI application.
        SystemExit: as :meth:`Bootstrap.run`.
    """
    install_early()
    given = {
        name: value
        for name in ("host", "port", "server", "backend")
        if (value := getattr(arguments, name)) is not None
    }
    _refuse_conflicts(arguments, given)
    if arguments.module:
        return _run_module(arguments.module)
    from hive_boot.cli.app_loader import (  # noqa: PLC0415  (the signal handlers come first)
        load_application,
        load_object,
    )
    from hive_boot.exceptions import DeclarationError  # noqa: PLC0415  (the same)
    from hive_boot.secrets.secret_set import SecretSet  # noqa: PLC0415  (the same)

    boot = load_application(arguments.app, to_run=True)
    if arguments.serve is None:
        return boot.run(**given)
    app: Any = load_object(arguments.serve)
    if not callable(app) or (isinstance(app, type) and issubclass(app, SecretSet)):
        message = f"--serve: {arguments.serve} is not an ASGI application, which is callable"
        raise DeclarationError(message)
    return boot.serve(app, **given)


def _refuse_conflicts(arguments: Namespace, given: dict[str, Any]) -> None:
    """Raise for arguments that do not go together.

    Raises:
        UsageError: two arguments conflict, or one is missing.
    """
    if (arguments.app is None) == (not arguments.module):
        message = "name what to run: APP, or -m MODULE"
    elif arguments.module and (given or arguments.serve):
        message = "-m MODULE takes no options of this command: its own arguments come after it"
    elif arguments.serve is None and given.keys() - {"backend"}:
        message = f"--{', --'.join(given.keys() - {'backend'})} goes with --serve"
    elif not 0 <= given.get("port", 0) < 1 << 16:
        message = "--port must be a number from 0 to 65535; 0 takes any that is free"
    else:
        return
    raise UsageError(message)


def _run_module(words: list[str]) -> int:
    """Run a module as ``python -m`` does.

    Raises:
        UsageError: the module does not exist, or is a package without ``__main__``.
    """
    import runpy  # noqa: PLC0415  (the signal handlers come first)

    from hive_boot.cli.app_loader import find_module  # noqa: PLC0415  (the same)

    if find_module(words[0]).submodule_search_locations is not None:
        find_module(f"{words[0]}.__main__")
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    return 0
