"""Find what ``APP`` names: a Bootstrap, or a SecretSet that becomes one."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap.declare import Application
from hive_boot.cli.usage import UsageError
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.serving.bootstrap import Bootstrap

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def find(app: str, *, to_run: bool = False) -> Bootstrap[Any, Any]:
    """Import what ``app`` names. The working directory counts, as with ``python -m``.

    Args:
        app: ``package.module:name``, of a :class:`Bootstrap` or a :class:`SecretSet`.
        to_run: whether the import may start it. Default False.

    Raises:
        UsageError: it names nothing.
        DeclarationError: it names something else, or its import fails; or starts it, or
            ends the process, so that a tool would seem to have found all well.
    """
    found: Any = named(app) if to_run else _declared(app)
    if isinstance(found, type) and issubclass(found, SecretSet):
        return Bootstrap(found)
    if not isinstance(found, Bootstrap):
        message = f"{app} is neither a Bootstrap nor a SecretSet"
        raise DeclarationError(message)
    return found


def named(app: str) -> object:
    """Give the object that ``package.module:name`` names.

    Raises:
        UsageError: it names nothing.
        DeclarationError: its import fails.
    """
    module, _, name = app.partition(":")
    if not module or not name:
        message = f"APP is package.module:name, as app:boot, and {app!r} is not"
        raise UsageError(message)
    found: Any = imported(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            there = [key for key, it in getattr(found, "__dict__", {}).items() if _is_app(it)]
            hint = f"; there is {', '.join(sorted(there))}" if there else ""
            message = f"{module} has no {name}{hint}"
            raise UsageError(message) from None
    return found


def imported(module: str) -> ModuleType:
    """Import a module of the author's.

    Raises:
        UsageError: there is no such module.
        DeclarationError: it raises.
    """
    spec_of(module)
    try:
        return import_module(module)
    except Exception as exc:  # noqa: BLE001  (whatever the author's module raises)
        from hive_boot.redaction.showing import trace  # noqa: PLC0415  (only a failure needs it)

        message = f"{module} cannot be imported:\n{trace(exc)}".rstrip()
    raise DeclarationError(message)


def spec_of(module: str) -> ModuleSpec:
    """Find a module; its packages are imported. The working directory counts.

    Raises:
        UsageError: there is no such module, or no working directory.
        DeclarationError: a package above it raises.
    """
    here = _working_directory()
    if not {here, ""}.intersection(sys.path):
        sys.path.insert(0, here)
    above = module.rpartition(".")[0]
    if above:
        imported(above)
    found = None
    with suppress(ImportError, ValueError):
        found = find_spec(module)
    if found is None:
        message = f"there is no module {module}: neither in {here}, nor where Python looks"
        raise UsageError(message)
    return found


def _declared(app: str) -> object:
    """Give what ``app`` names, without starting it."""
    Application._only_declared = True  # noqa: SLF001  (ours)
    try:
        return named(app)
    except SystemExit:
        module = app.partition(":")[0]
        message = (
            f"{module} ends the process when it is imported: what calls sys.exit() belongs "
            'below `if __name__ == "__main__":`'
        )
    finally:
        Application._only_declared = False  # noqa: SLF001  (ours)
    raise DeclarationError(message)


def _working_directory() -> str:
    """Give the working directory, where a module and ``.env`` files are looked for.

    Raises:
        UsageError: it was removed.
    """
    try:
        return os.getcwd()  # noqa: PTH109  (an import less on the way of a check)
    except FileNotFoundError:
        message = "the working directory is gone: cd to one that is there"
    raise UsageError(message)


def _is_app(it: object) -> bool:
    if isinstance(it, type):
        return issubclass(it, SecretSet) and it is not SecretSet
    return isinstance(it, Application)
