"""Application loader: the import of the Bootstrap or SecretSet that ``APP`` names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap import Bootstrap
from hive_boot.cli import UsageError
from hive_boot.exceptions import BootError, DeclarationError, InvalidSecretsError, SecretsError
from hive_boot.redaction.registry import format_failure
from hive_boot.secrets.secret_set import SecretSet

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def serve_command(app: str) -> str:
    """Return a command that serves an application without a main; its ASGI app is not known."""
    return f"hive-boot run {app} --serve package.module:web --host 0.0.0.0"


def load_application(app: str, *, to_run: bool = False) -> Bootstrap[Any, Any]:
    """Import an application. The working directory is on the path, as with ``python -m``.

    Args:
        app: ``package.module:name`` of a :class:`Bootstrap` or a :class:`SecretSet`.
        to_run: whether the module may call ``run()`` or ``serve()`` or raise SystemExit
            during the import. Default False.

    Returns:
        The Bootstrap; a SecretSet is wrapped in a new one.

    Raises:
        UsageError: ``app`` does not have this form, or the module or the name does not exist.
        DeclarationError: the object is not a Bootstrap or a SecretSet, or the import raises an
            exception; without ``to_run`` also if it calls ``run()`` or ``serve()`` or raises
            SystemExit.
        SecretsError: the module needs secrets that are missing or invalid.
    """
    found: Any = load_object(app) if to_run else _load_without_running(app)
    if isinstance(found, type) and issubclass(found, SecretSet):
        return Bootstrap(found)
    if not isinstance(found, Bootstrap):
        kind = f"a {type(found).__name__}"
        raise DeclarationError(f"{app} is {kind}, not a Bootstrap or a SecretSet{_known(app)}")
    return found


def load_object(app: str, argument: str = "APP") -> object:
    """Return the object that ``package.module:name`` names.

    Args:
        app: the module and the name.
        argument: the argument that names it, for the message. Default ``APP``.

    Raises:
        UsageError: ``app`` does not have this form, or the module or the name does not exist.
        DeclarationError: the import of the module raises an exception.
        SecretsError: as :func:`import_module`.
    """
    module, _, name = app.partition(":")
    if not module or not name or module.endswith(".py"):
        message = f"Invalid {argument} {app!r}: expected package.module:name, such as app:boot"
        raise UsageError(message)
    found: Any = import_module(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"The module {module} has no attribute {name}{_known(app)}") from None
    return found


def import_module(module: str) -> ModuleType:
    """Import a module of the application.

    Raises:
        UsageError: the module does not exist.
        DeclarationError: the module raises an exception; the message has its traceback.
        SecretsError: the module needs secrets that are missing or invalid.
    """
    find_module(module)
    try:
        return importlib.import_module(module)
    except SecretsError:
        raise
    except Exception as exc:  # noqa: BLE001  (the module can raise anything)
        message = f"{module} cannot be imported:\n{format_failure(exc)}".rstrip()
        if Bootstrap._inspection_only and not isinstance(exc, BootError):
            message += (
                "\nFix: correct the module. This command needs only the declaration: if that is in "
                "a separate module, name this one instead, such as config:boot."
            )
    raise DeclarationError(message)


def find_module(module: str) -> ModuleSpec:
    """Import the parent packages of a module and return its spec.

    Raises:
        UsageError: the module or the working directory does not exist.
        DeclarationError: a parent package raises an exception.
    """
    here = working_directory()
    if not {here, ""}.intersection(sys.path):
        sys.path.insert(0, here)
    parent = module.rpartition(".")[0]
    if parent:
        import_module(parent)
    found = None
    with suppress(ImportError, ValueError):
        found = importlib.util.find_spec(module)
    if found is None:
        raise UsageError(f"The module {module} does not exist. Looked in: {here} and sys.path")
    return found


def _load_without_running(app: str) -> object:
    """Return the object that ``app`` names; ``run()`` and ``serve()`` raise during the import.

    If ``load()`` of a Bootstrap has ended the import, return this Bootstrap: its declaration is
    complete, and a dry run of it reports the same problems.
    """
    Bootstrap._inspection_only = True
    before = Bootstrap._failed_load
    try:
        return load_object(app)
    except InvalidSecretsError:
        if Bootstrap._failed_load is before:
            raise
        return Bootstrap._failed_load
    except SystemExit:
        module = app.partition(":")[0]
        message = (
            f"{module} raises SystemExit when it is imported. Move the call of sys.exit() "
            'below `if __name__ == "__main__":`.'
        )
    finally:
        Bootstrap._inspection_only = False
    raise DeclarationError(message)


def working_directory() -> str:
    """Return the working directory, in which modules and ``.env`` files are looked up.

    Raises:
        UsageError: the working directory was removed.
    """
    try:
        return os.getcwd()  # avoids the import of pathlib
    except FileNotFoundError:
        message = "The working directory was removed. Change to a directory that exists."
    raise UsageError(message)


def _known(app: str) -> str:
    """Return the sentence that names the applications of an imported module; empty without one."""
    members = getattr(sys.modules.get(app.partition(":")[0]), "__dict__", {}).items()
    known = sorted(key for key, value in members if _is_application(value))
    return f". Applications in it: {', '.join(known)}" if known else ""


def _is_application(value: object) -> bool:
    if isinstance(value, type):
        return issubclass(value, SecretSet) and value is not SecretSet
    return isinstance(value, Bootstrap)
