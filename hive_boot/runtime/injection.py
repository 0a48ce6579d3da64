"""Dependency injection: the parameters of declared functions, filled by name and by type."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, get_origin

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError

_POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


_NAMED = ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")


_GATHERING = ("VAR_POSITIONAL", "VAR_KEYWORD")


Work = Callable[..., Any]
"""An ``async def`` of the author's, of whatever parameters."""


class Injectables(Record):
    """What the functions of the author's may ask for.

    Attributes:
        types: the type of what there is, and its key.
        resources: the names of the resources, which are their keys.
    """

    types: Mapping[type, str]
    resources: Collection[str] = ()


class InjectionContext:
    """What there is to give, by key. It shows none of it: a resource may hold what is secret."""

    __slots__ = ("_known", "_resource")

    def __init__(
        self, known: Mapping[str, object], resource: Callable[[str], object] | None = None
    ) -> None:
        self._known = known
        self._resource = resource

    def __getitem__(self, key: str) -> object:
        if key in self._known or self._resource is None:
            return self._known[key]
        return self._resource(key)


def is_async(function: object) -> bool:
    """Tell whether calling it gives something to be awaited."""
    from inspect import iscoroutinefunction  # noqa: PLC0415  (a bare declaration has no function)

    return iscoroutinefunction(function)


def display_name(function: Callable[..., Any]) -> str:
    """Give the name by which people are told of a function of the author's.

    Of a partial it is that of its function: its arguments may be anything.
    """
    while isinstance(function, partial):
        function = function.func
    name: str | None = getattr(function, "__qualname__", None)
    return repr(function) if name is None else name.rpartition("<locals>.")[2]


class BoundCall:
    """A function of the author's, and where its arguments come from.

    Args:
        function: what is called.
        keys: the key of what each parameter gets.

    Attributes:
        display_name: what people are told it is.
    """

    __slots__ = ("_function", "_keys", "display_name")

    def __init__(self, function: Work, keys: Mapping[str, str]) -> None:
        self._function = function
        self._keys = keys
        self.display_name: str = display_name(function)

    @property
    def dependencies(self) -> tuple[str, ...]:
        """The keys of what it is given."""
        return tuple(dict.fromkeys(self._keys.values()))

    def __call__(self, context: InjectionContext, *first: object) -> Any:  # noqa: ANN401  (what the author gives)
        """Call it with what its parameters ask for, out of ``context``."""
        return self._function(*first, **{name: context[key] for name, key in self._keys.items()})


def bind(function: Work, injectables: Injectables, *, first: int = 0) -> BoundCall:
    """Decide what a function gets, before anything runs.

    Args:
        function: what will be called.
        injectables: as for :func:`plan`.
        first: how many parameters are given by position, whatever they are called.

    Raises:
        DeclarationError: there is nothing for a parameter, or there are too few.
    """
    return BoundCall(function, resolve_parameters(function, injectables, first=first))


def resolve_parameters(
    function: Callable[..., Any], injectables: Injectables, *, first: int = 0
) -> dict[str, str]:
    """Decide what each parameter of ``function`` gets, before anything runs.

    A parameter is filled by the resource of its name; else by the type that it is annotated
    with; when that cannot be evaluated (an import under ``TYPE_CHECKING``), by the last name in it.
    Parameters with a default are left alone.

    Args:
        function: what will be called, with keywords.
        injectables: what there is to give. A parameter annotated with a base class of a
            type that is offered is given it as well.
        first: how many parameters are given by position and are not looked at.

    Returns:
        The key for each parameter.

    Raises:
        DeclarationError: there is nothing for a parameter, or there are too few.
    """
    import inspect  # noqa: PLC0415  (a bare declaration has no function)

    planned = {}
    parameters = list(inspect.signature(function).parameters.values())
    given = parameters[:first]
    if len(given) < first or any(each.kind.name not in _POSITIONAL for each in given):
        message = f"{display_name(function)}() has to take the change as its first parameter"
        raise DeclarationError(message)
    for parameter in parameters[first:]:
        if parameter.default is not parameter.empty or parameter.kind.name in _GATHERING:
            continue
        if parameter.name in injectables.resources:
            key: str | None = parameter.name
        else:
            key = _match(function, parameter.annotation, injectables.types)
        if key is None or parameter.kind.name not in _NAMED:
            raise DeclarationError(_unresolved_message(function, parameter.name, injectables))
        planned[parameter.name] = key
    return planned


def _unresolved_message(function: Callable[..., Any], name: str, injectables: Injectables) -> str:
    kinds = ", ".join(kind.__name__ for kind in injectables.types)
    resources = (
        f"call it like one of the resources {', '.join(injectables.resources)}, "
        if injectables.resources
        else ""
    )
    return (
        f"{display_name(function)}() has a parameter {name!r} that nothing fills: {resources}"
        "annotate it "
        f"with one of {kinds}, or give it a default"
    )


def _match(
    function: Callable[..., Any], annotation: object, injectables: Mapping[type, str]
) -> str | None:
    if isinstance(annotation, str):
        try:
            from inspect import unwrap  # noqa: PLC0415  (few parameters are ignored)

            names = getattr(unwrap(function), "__globals__", {})
            annotation = eval(annotation, names)  # noqa: S307  (get_type_hints reads all or none)
        except Exception:  # noqa: BLE001  (whatever it is, the name is what is left)
            last = str(annotation).partition("[")[0].rpartition(".")[2].strip()
            return next((key for kind, key in injectables.items() if kind.__name__ == last), None)
    annotation = get_origin(annotation) or annotation
    if not isinstance(annotation, type) or annotation in {object, type}:
        return None
    try:
        return next(
            (key for kind, key in injectables.items() if issubclass(kind, annotation)), None
        )
    except TypeError:
        # A Protocol with attributes can be asked about no class.
        return None
