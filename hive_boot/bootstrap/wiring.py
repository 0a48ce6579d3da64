"""Parameters are dependencies: what a function of the author's asks for, by its types."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_origin

from hive_boot.exceptions import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_GATHERING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def plan(function: Callable[..., Any], offered: Mapping[type, str]) -> dict[str, str]:
    """Decide what each parameter of ``function`` gets, before anything runs.

    A parameter is filled by the type that it is annotated with; when that cannot
    be evaluated (an import under ``TYPE_CHECKING``), by the last name in it.
    Parameters with a default are left alone.

    Args:
        function: what will be called, with keywords.
        offered: what there is to give, as type and key. A parameter annotated
            with a base class of such a type is given it as well.

    Returns:
        The key for each parameter.

    Raises:
        DeclarationError: there is nothing for a parameter.
    """
    planned = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty or parameter.kind in _GATHERING:
            continue
        key = _match(function, parameter.annotation, offered)
        if key is None or parameter.kind not in _NAMED:
            whose = getattr(function, "__qualname__", repr(function))
            there = ", ".join(kind.__name__ for kind in offered)
            message = (
                f"{whose}() has a parameter {parameter.name!r} that nothing fills: "
                f"annotate it with one of {there}, or give it a default"
            )
            raise DeclarationError(message)
        planned[parameter.name] = key
    return planned


def _match(
    function: Callable[..., Any], annotation: object, offered: Mapping[type, str]
) -> str | None:
    if isinstance(annotation, str):
        try:
            names = getattr(inspect.unwrap(function), "__globals__", {})
            annotation = eval(annotation, names)  # noqa: S307  (the author's code)
        except Exception:  # noqa: BLE001  (whatever it is, the name is what is left)
            last = str(annotation).partition("[")[0].rpartition(".")[2].strip()
            return next((key for kind, key in offered.items() if kind.__name__ == last), None)
    annotation = get_origin(annotation) or annotation
    if not isinstance(annotation, type) or annotation in {object, type}:
        return None
    try:
        return next((key for kind, key in offered.items() if issubclass(kind, annotation)), None)
    except TypeError:
        # A Protocol with attributes can be asked about no class.
        return None
