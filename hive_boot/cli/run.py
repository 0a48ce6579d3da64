"""Run command: installs signal handlers, then imports an application and runs it.

For PID 1 the kernel drops a signal that has no handler, so a container that is stopped during
the imports would run until SIGKILL at the end of its grace period. The handler records the
first signal, and ``boot.run()`` or ``boot.serve()`` then stops the application in order. The
first signal does not end the process during the import: the exit status depends on
``@boot.main(must_complete=...)``, which is unknown until the import is complete.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hive_boot.cli import Parser, UsageError
from hive_boot.lifecycle.signals import install_early

if TYPE_CHECKING:
    from argparse import Namespace


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "run",
        "Run an application, with signal handlers installed before it is imported.\n"
        "The exit status is that of the application: 0 or the return value of main, 70\n"
        "for a failure or an exceeded shutdown timeout, 78 for invalid secrets or\n"
        "settings, or 128 + signal number. After a Ctrl-C it ends by SIGINT.",
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
        help="module that calls boot.run() or boot.serve(), with its arguments, as for python -m",
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
        0, if the module after ``-m`` ends without an exception. ``boot.run()`` and
        ``boot.serve()`` always raise one.

    Raises:
        UsageError: the arguments conflict, APP and MODULE are both missing, or a module or a
            name does not exist.
        DeclarationError: an import fails, APP is not a Bootstrap or a SecretSet, or the value of
            ``--serve`` is not an ASGI application.
        SystemExit: when an application was run; its code is that of :meth:`Bootstrap.run`.
        KeyboardInterrupt: as :meth:`Bootstrap.run` does.
    """
    install_early()
    options = {
        name: value
        for name in ("host", "port", "server", "backend")
        if (value := getattr(arguments, name)) is not None
    }
    _reject_invalid(arguments, options)
    if arguments.module:
        return _run_module(arguments.module)
    from hive_boot.cli import app_loader  # after the signal handlers
    from hive_boot.serving.endpoints import validate_asgi

    boot = app_loader.load_application(arguments.app, to_run=True)
    if arguments.serve is None:
        return boot.run(**options)
    app: Any = app_loader.load_object(arguments.serve, "--serve")
    validate_asgi(app, f"--serve {arguments.serve}")
    return boot.serve(app, **options)


def _reject_invalid(arguments: Namespace, options: dict[str, Any]) -> None:
    """Raise if arguments conflict, APP and MODULE are both missing, or the port is invalid.

    Raises:
        UsageError: the arguments are invalid.
    """
    if (arguments.app is None) == (not arguments.module):
        message = "Specify either APP or -m MODULE"
    elif arguments.module and (options or arguments.serve):
        message = (
            "-m MODULE cannot be combined with other options. Fix: write the options of the module "
            "after MODULE"
        )
    elif arguments.serve is None and options.keys() - {"backend"}:
        message = f"--{', --'.join(sorted(options.keys() - {'backend'}))}: only valid with --serve"
    elif not 0 <= options.get("port", 0) < 1 << 16:
        message = "--port must be a number from 0 to 65535; 0 selects a free port"
    else:
        return
    raise UsageError(message)


def _run_module(module_and_arguments: list[str]) -> int:
    """Run a module with its arguments, as ``python -m`` does.

    Raises:
        UsageError: the module does not exist, or is a package without ``__main__``.
    """
    import runpy  # after the signal handlers

    from hive_boot.cli.app_loader import find_module

    module = module_and_arguments[0]
    if find_module(module).submodule_search_locations is not None:
        find_module(f"{module}.__main__")
    sys.argv = list(module_and_arguments)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0
