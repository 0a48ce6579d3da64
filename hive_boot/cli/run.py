"""Run command: start of an application, with signal handlers installed before its import.

For PID 1 the kernel drops a signal that has no handler, so a container that is stopped during
the imports would run until SIGKILL at the end of its grace period. The handler records the
first signal, and ``boot.run()`` or ``boot.serve()`` then stops the application in order. The
process does not exit during the import, because the exit status depends on ``must_complete``
of the main, which is unknown until the application is imported.
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
        "The exit status is that of the application: 0 or the return value of main, 70\n"
        "for an error in its code, 78 for invalid secrets or settings, or 128 + signal\n"
        "number.",
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
    parser.add_argument("app", nargs="?", metavar="APP", help="Bootstrap, as package.module:boot")
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="MODULE",
        help="module that calls boot.run() or boot.serve(), run as by python -m, and its arguments",
    )
    parser.add_argument(
        "--serve", metavar="ASGI", help="ASGI application to serve, as package.module:web"
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8000)")
    parser.add_argument("--server", help="uvicorn or hypercorn (default: uvicorn)")
    parser.add_argument("--backend", help="asyncio, uvloop or trio (default: asyncio)")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Returns:
        0, if the module after ``-m`` ends without SystemExit. An application always ends
        with SystemExit.

    Raises:
        UsageError: the arguments conflict, or APP and MODULE are both missing.
        DeclarationError: the value of ``--serve`` names an object that is not callable, or a
            SecretSet.
        SystemExit: as for :meth:`Bootstrap.run`.
    """
    install_early()
    options = {
        name: value
        for name in ("host", "port", "server", "backend")
        if (value := getattr(arguments, name)) is not None
    }
    _refuse_conflicts(arguments, options)
    if arguments.module:
        return _run_module(arguments.module)
    from hive_boot.cli.app_loader import (  # noqa: PLC0415  (after the signal handlers)
        load_application,
        load_object,
    )
    from hive_boot.exceptions import DeclarationError  # noqa: PLC0415  (the same)
    from hive_boot.secrets.secret_set import SecretSet  # noqa: PLC0415  (the same)

    boot = load_application(arguments.app, to_run=True)
    if arguments.serve is None:
        return boot.run(**options)
    app: Any = load_object(arguments.serve)
    if not callable(app) or (isinstance(app, type) and issubclass(app, SecretSet)):
        message = f"--serve: {arguments.serve} is not an ASGI application (a callable)"
        raise DeclarationError(message)
    return boot.serve(app, **options)


def _refuse_conflicts(arguments: Namespace, options: dict[str, Any]) -> None:
    """Raise if two arguments conflict, or one is missing.

    Raises:
        UsageError: the arguments are invalid.
    """
    if (arguments.app is None) == (not arguments.module):
        message = "Specify either APP or -m MODULE"
    elif arguments.module and (options or arguments.serve):
        message = (
            "-m MODULE excludes other options. Write the arguments of the module after MODULE."
        )
    elif arguments.serve is None and options.keys() - {"backend"}:
        message = f"--{', --'.join(sorted(options.keys() - {'backend'}))}: only valid with --serve"
    elif not 0 <= options.get("port", 0) < 1 << 16:
        message = "--port must be a number from 0 to 65535; 0 selects a free port"
    else:
        return
    raise UsageError(message)


def _run_module(module_and_arguments: list[str]) -> int:
    """Run a module as ``python -m`` does.

    Raises:
        UsageError: the module does not exist, or is a package without ``__main__``.
    """
    import runpy  # noqa: PLC0415  (after the signal handlers)

    from hive_boot.cli.app_loader import find_module  # noqa: PLC0415  (the same)

    module = module_and_arguments[0]
    if find_module(module).submodule_search_locations is not None:
        find_module(f"{module}.__main__")
    sys.argv = list(module_and_arguments)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0
