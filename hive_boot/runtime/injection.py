"""Functions of the application: what is declared about each, and how its parameters are filled.

Parameters are filled by name and by type. A run builds its resources, services and readiness
contributors from the functions.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Never,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
)

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError, LifecycleError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from inspect import Parameter

    from hive_boot.lifecycle.instances import Resource
    from hive_boot.lifecycle.readiness import Contributor
    from hive_boot.lifecycle.services import RestartPolicy, SupervisedTask

T = TypeVar("T")

Work = Callable[..., Any]
"""An async function of the application, with any parameters."""


class Injectables(Record):
    """Objects that functions of the application can receive as parameters.

    Attributes:
        types: the key of each object, by its type.
        resources: the names of the resources, which are also the keys of their values. A handle
            has the key ``<name>.handle``.
    """

    types: Mapping[type, str]
    resources: Collection[str] = ()


_HANDLE = ".handle"
"""End of the key of a handle, which no name of a resource has."""


class Rebuild(Record):
    """When a resource is rebuilt: because of its ``rebuild_on``, or of a value that it takes.

    Attributes:
        fields: the attributes whose changes rebuild it.
        overlap: seconds for which the old instance continues.
    """

    fields: frozenset[str]
    overlap: float


class InjectionContext:
    """Values of the injectable objects, by key. Its repr shows none of them."""

    __slots__ = ("_known", "_resource")

    def __init__(
        self, known: Mapping[str, object], resource: Callable[[str], object] | None = None
    ) -> None:
        self._known = known
        self._resource = resource

    def with_resources(self, resource: Callable[[str], object]) -> InjectionContext:
        """Return the same values with other resources."""
        return InjectionContext(self._known, resource)

    def __getitem__(self, key: str) -> object:
        if key in self._known or self._resource is None:
            return self._known[key]
        return self._resource(key)


def require(valid: object, message: str) -> None:
    """Raise DeclarationError with a message unless a condition holds."""
    if not valid:
        raise DeclarationError(message)


def kind_of(function: object) -> Literal["async", "generator", "other"]:
    """Return whether a function is an ``async def``, or an async generator.

    The generator may be below ``@asynccontextmanager``.
    """
    # A bare declaration has no function.
    from inspect import isasyncgenfunction, iscoroutinefunction, unwrap

    if iscoroutinefunction(function):
        return "async"
    is_generator = callable(function) and isasyncgenfunction(unwrap(function))
    return "generator" if is_generator else "other"


def without_partial(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a partial calls; another function unchanged."""
    while isinstance(function, partial):
        function = function.func
    return function


def display_name(function: Callable[..., Any]) -> str:
    """Return the name of a function for messages."""
    # The repr of a partial shows its arguments, which may be secret.
    function = without_partial(function)
    name: str | None = getattr(function, "__qualname__", None)
    return repr(function) if name is None else name.rpartition("<locals>.")[2]


def require_async(decorator: str, function: object) -> None:
    """Raise DeclarationError unless a function is an ``async def`` without a ``yield``."""
    if (kind := kind_of(function)) == "async":
        return
    name = str(getattr(function, "__name__", ""))
    fix = f"write `async def {name if name.isidentifier() else 'name'}(...)`"
    if kind == "generator":
        fix = "remove its `yield`; only a resource has one"
    what = f"{display_name(function)}()" if callable(function) else repr(function)
    raise DeclarationError(f"{what} must be an async def, because of {decorator}. Fix: {fix}.")


class BoundCall:
    """Function of the application, with the source of each of its arguments.

    Args:
        function: the function.
        keys: the injection key of each parameter, by parameter name.
        after: the keys of further dependencies, of which the function takes no value.

    Attributes:
        dependencies: the keys of all parameters and of ``after``, each once; the key of a
            resource also for its handle.
        by_value: the keys of the parameters that receive a value and not a handle.
        display_name: the name of the function for messages.
    """

    __slots__ = ("_function", "_keys", "by_value", "dependencies", "display_name")

    def __init__(self, function: Work, keys: Mapping[str, str], after: Sequence[str] = ()) -> None:
        self._function = function
        self._keys = keys
        names = [key.removesuffix(_HANDLE) for key in keys.values()]
        self.dependencies: tuple[str, ...] = tuple(dict.fromkeys([*names, *after]))
        self.by_value: frozenset[str] = frozenset(keys.values())
        self.display_name: str = display_name(function)

    def __call__(self, context: InjectionContext, *first: object) -> Any:
        """Call the function: ``first`` by position, all else by keyword from ``context``."""
        return self._function(*first, **{name: context[key] for name, key in self._keys.items()})


def bind(
    function: Work, injectables: Injectables, *, first: int = 0, after: object = ()
) -> BoundCall:
    """Resolve the parameters of a function, before anything runs.

    Args:
        function: the function.
        injectables: the objects that it can receive.
        first: as for :func:`resolve_parameters`.
        after: resources that it comes after, although it takes no value of them: a handle, a
            name, or a list of them.

    Raises:
        DeclarationError: a parameter cannot be filled, or a name in ``after`` is not a resource.
    """
    several = after if isinstance(after, list | tuple) else [after]
    names: list[Any] = [getattr(each, "name", getattr(each, "__name__", each)) for each in several]
    if unknown := [str(name) for name in names if name not in list(injectables.resources)]:
        message = f"{display_name(function)}() has after={unknown[0]!r}, which is not a resource."
        raise DeclarationError(message + did_you_mean(unknown[0], injectables.resources))
    return BoundCall(function, resolve_parameters(function, injectables, first=first), names)


def resolve_parameters(
    function: Callable[..., Any], injectables: Injectables, *, first: int = 0
) -> dict[str, str]:
    """Resolve each parameter of ``function`` to an injection key, before anything runs.

    A parameter receives the resource of its name (its handle, if the annotation is
    ``ResourceHandle``), or else the object whose type is its annotation or derives from it. When an
    annotation cannot be evaluated (an import under ``TYPE_CHECKING``), the last name in it is
    compared with the names of the types. Parameters with a default are not filled.

    Args:
        function: the function, which is called with keywords.
        injectables: the objects that it can receive.
        first: the number of leading parameters that are passed by position and not resolved.

    Raises:
        DeclarationError: a parameter cannot be filled, or leading parameters are absent.
    """
    import inspect  # a bare declaration has no function

    keys = {}
    parameters = list(inspect.signature(function).parameters.values())
    positional = [each for each in parameters[:first] if each.kind.name.startswith("POSITIONAL")]
    require(
        len(positional) == first,
        f"{display_name(function)}() has no positional parameter for the change. "
        "Fix: add one as the first parameter.",
    )
    for parameter in parameters[first:]:
        if parameter.default is not parameter.empty or parameter.kind.name.startswith("VAR_"):
            continue
        key: str | None = parameter.name
        if key not in injectables.resources:
            key = match_type(function, parameter.annotation, injectables.types)
        elif is_handle(function, parameter.annotation):
            key = f"{key}{_HANDLE}"
        if key is None or parameter.kind.name == "POSITIONAL_ONLY":
            raise DeclarationError(_unresolved_message(function, parameter, injectables))
        keys[parameter.name] = key
    return keys


def _unresolved_message(
    function: Callable[..., Any], parameter: Parameter, injectables: Injectables
) -> str:
    subject = f"{display_name(function)}() has"
    if parameter.kind.name == "POSITIONAL_ONLY":
        return (
            f"{subject} a positional-only parameter {parameter.name!r}, and hive_boot passes "
            "arguments by keyword. Fix: remove the '/' from the signature."
        )
    types = ", ".join(each.__name__ for each in injectables.types)
    names = ", ".join(each for each in injectables.resources if each != function.__name__)
    resources = f"rename it to one of the resources {names}, " if names else ""
    return (
        f"{subject} a parameter {parameter.name!r} that hive_boot cannot fill. "
        f"Fix: {resources}annotate it with one of {types}, or give it a default value."
    )


def namespace(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the global names of a function, of a class, or of an object that can be called."""
    from inspect import unwrap  # few annotations are strings

    function = unwrap(without_partial(function))
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(function, "__globals__", None) or vars(module or object).copy()


def evaluate_annotation(function: Callable[..., Any], annotation: object) -> object:
    """Evaluate an annotation of a function, and remove its type arguments and metadata.

    If it cannot be evaluated, return the last name in it.
    """
    # Under `from __future__ import annotations`, a quoted annotation is a string in a string.
    for _ in range(3):
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        annotation = getattr(annotation, "__forward_arg__", annotation)
        if not isinstance(annotation, str):
            break
        try:
            annotation = eval(annotation, namespace(function))  # noqa: S307  (get_type_hints reads all or none)
        except Exception:  # noqa: BLE001  (an annotation can raise anything)
            return str(annotation).partition("[")[0].rpartition(".")[2].strip()
    return get_origin(annotation) or annotation


def match_type(
    function: Callable[..., Any], annotation: object, injectables: Mapping[type, str]
) -> str | None:
    """Return the key of the first object that an annotation of a function asks for, if any."""
    meant = evaluate_annotation(function, annotation)
    with suppress(TypeError):  # issubclass() raises it for a Protocol with attributes
        for kind, key in injectables.items():
            if kind.__name__ == meant or (
                isinstance(meant, type) and meant not in {object, type} and issubclass(kind, meant)
            ):
                return key
    return None


def is_handle(function: Callable[..., Any], annotation: object) -> bool:
    """Return whether an annotation of a function is ``ResourceHandle``, also without import."""
    meant = evaluate_annotation(function, annotation)
    return "ResourceHandle" in {meant, getattr(meant, "__name__", "")}


def fields_read(function: Callable[..., Any], declared: type[Any]) -> frozenset[str]:
    """Return the attributes of the fields whose values a function reads when it is called.

    They are found in its code. What a function inside it reads is left out: it reads later.

    Args:
        function: the function.
        declared: the declaration.
    """
    import inspect  # a bare declaration has no function

    function = inspect.unwrap(without_partial(function))
    code = getattr(function, "__code__", None)
    if code is None:
        return frozenset()
    names, parameters = {*code.co_names}, inspect.signature(function).parameters.values()
    has_secrets = "secrets" in names or any(
        match_type(function, each.annotation, {declared: "secrets"}) for each in parameters
    )
    has_access = names & {"get_secret", "require_secret"}
    return frozenset(
        attribute
        for attribute, field in declared._field_index.fields.items()
        if (has_secrets and attribute in names) or (has_access and field.name in code.co_consts)
    )


def context_manager(
    work: BoundCall, function: Work, injection_context: Callable[[], InjectionContext]
) -> Callable[[], AbstractAsyncContextManager[object]]:
    """Return the context manager of a resource. A function without a ``yield`` only starts it."""
    if kind_of(function) != "generator":

        async def without_stop() -> AsyncIterator[object]:
            yield await work(injection_context())

        return asynccontextmanager(without_stop)

    def manage() -> AbstractAsyncContextManager[object]:
        made: Any = work(injection_context())
        return made if hasattr(made, "__aenter__") else asynccontextmanager(lambda: made)()

    return manage


class RotationHook(Record):
    """Function that is called after a rotation.

    Attributes:
        work: the function.
        names: the fields whose change causes a call; empty for all fields.
        timeout: seconds for one call.
    """

    work: Work
    names: frozenset[str]
    timeout: float


CheckMoment: TypeAlias = 'Literal["always", "start", "rotation"]'
"""When a check of the application is called: at a start, at a rotation, or at both."""


class CheckSpec(Record):
    """Check of the application: accepts or refuses a candidate.

    Attributes:
        work: the function.
        names: the fields whose change causes a call in a rotation; empty for all fields.
        timeout: seconds for one call; None for the rest of ``startup_timeout``.
        retry_on: further exceptions which mean that something outside could not be reached.
        at: when it is called.
    """

    work: Work
    names: frozenset[str]
    timeout: float | None
    retry_on: tuple[type[Exception], ...] = ()
    at: CheckMoment = "always"


class ResourceSpec(Record):
    """Declared resource.

    Attributes:
        work: the function.
        timeout: the limit of its start, and the limit of its stop, in seconds; infinite if only
            the limits of the whole startup and the whole shutdown apply.
        retry_on: further exceptions which mean that something outside could not be reached.
        after: resources that start before it and stop after it, by handle or name.
        rebuild_on: the attributes whose changes make a new instance of it.
        overlap: seconds for which the old instance continues after a rebuild.
    """

    work: Work
    timeout: float = math.inf
    retry_on: tuple[type[Exception], ...] = ()
    after: object = ()
    rebuild_on: frozenset[str] = frozenset()
    overlap: float = 30.0


class ServiceSpec(Record):
    """Declared service.

    Attributes:
        work: the function.
        restart: when the service is started again.
        max_restarts: the maximum number of restarts within ``restart_window``.
        restart_window: the period in which restarts are counted, in seconds.
        grace_period: seconds between the request to stop and the cancellation.
        on_stop: called when a stop is requested; None without.
    """

    work: Work
    restart: RestartPolicy
    max_restarts: int
    restart_window: float
    grace_period: float
    on_stop: Callable[[], object] | None


class ContributorSpec(Record):
    """Declared readiness contributor.

    Attributes:
        work: the function.
        name: the name, also in the path of its endpoint.
        interval: seconds between the end of a call and the next one.
        timeout: seconds for one call.
    """

    work: Work
    name: str
    interval: float
    timeout: float


class BoundFunctions(Record):
    """Declared functions, each with its specification and the source of its arguments.

    Attributes:
        resources: the resources in start order, by name.
        rebuilds: when a resource is rebuilt, by name.
        services: the services.
        hooks: the rotation hooks.
        checks: the checks.
        contributors: the readiness contributors.
    """

    resources: Mapping[str, tuple[BoundCall, ResourceSpec]]
    rebuilds: Mapping[str, Rebuild]
    services: Sequence[tuple[BoundCall, ServiceSpec]]
    hooks: Sequence[tuple[BoundCall, RotationHook]]
    checks: Sequence[tuple[BoundCall, CheckSpec]]
    contributors: Sequence[tuple[BoundCall, ContributorSpec]]


class ResourceHandle(Generic[T]):
    """The handle of a declared resource, through which code reads its running value.

    ``await handle()`` returns the running value, and so does FastAPI's ``Depends(handle)``.

    Attributes:
        fn: the decorated function, for tests.
        name: the name of the resource; a parameter of this name receives its value.
    """

    def __init__(self, fn: Callable[..., Any], boot: Any) -> None:
        self.fn = fn
        self.name: str = fn.__name__
        self._boot = boot
        self.__doc__ = fn.__doc__

    @property
    def value(self) -> T:
        """The running value of the resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        # No local variable: a traceback may show it.
        return cast("T", self._boot._resource_value(self.name))

    @asynccontextmanager
    async def use(self) -> AsyncIterator[T]:
        """Use the running value in an ``async with`` block, during which it is not stopped.

        After a rebuild the instance of the block continues until the end of the block, up to ten
        times as long as ``overlap``.

        Raises:
            LifecycleError: the resource is not running, or this is not the event loop that started
                the application.
        """
        with self._boot._lease(self.name):
            yield self.value

    async def __call__(self) -> T:
        """Return the running value of the resource.

        Raises:
            LifecycleError: the resource is not running.
        """
        return self.value

    def __repr__(self) -> str:
        return f"<resource {self.name}>"

    if not TYPE_CHECKING:  # a type checker would accept every attribute

        def __getattr__(self, name: str) -> Never:
            wrap = functools.update_wrapper
            if name == "__name__" and sys._getframe(1).f_code is wrap.__code__:
                message = "A decorator above @boot.resource does not change the resource. Write it "
                raise DeclarationError(message + f"below @boot.resource of {self.name}.")
            message = f"This is a handle: write {self.__dict__.get('name')}.value.{name}"
            raise AttributeError(message)

        def __enter__(self) -> Never:
            message = f"The run starts the resource {self.name}, which needs no `with`. Write "
            raise LifecycleError(message + f"{self.name}.value, or a parameter {self.name}.")

        async def __aenter__(self) -> Never:
            self.__enter__()

        def __exit__(self, *exc_info: object) -> None:
            """Exist, so that a ``with`` block calls ``__enter__``."""

        __aexit__ = __exit__


if TYPE_CHECKING:
    # Only annotations name them.
    Started: TypeAlias = AsyncIterator[T] | Coroutine[Any, Any, T] | AbstractAsyncContextManager[T]

    class ResourceDecorator(Protocol):
        """Type of the decorator that ``@boot.resource(timeout=...)`` returns."""

        def __call__(self, function: Callable[..., Started[T]], /) -> ResourceHandle[T]:
            """Register a resource."""


ASGI_COMPONENT = "the ASGI application"
"""Name, in messages, of the ASGI application as a resource. It starts after all others."""


def build_components(
    bound: BoundFunctions,
    injection_context: Callable[[], InjectionContext],
    asgi_component: Callable[[], AbstractAsyncContextManager[object]] | None,
) -> tuple[list[Resource], list[SupervisedTask], list[Contributor]]:
    """Return the resources, services and readiness contributors of a run, each in start order.

    Args:
        bound: the declared functions.
        injection_context: returns the values of parameters when a function is called.
        asgi_component: starts and stops the ASGI application, which depends on all resources;
            None without one.
    """
    resources, services, contributors = [], [], []
    if bound.resources or asgi_component is not None:
        from hive_boot.lifecycle.instances import Resource  # it needs a loop

        for name, (work, spec) in bound.resources.items():
            manager = context_manager(work, spec.work, injection_context)
            dependencies = tuple(key for key in work.dependencies if key in bound.resources)
            resources.append(Resource(name, manager, dependencies, spec.timeout, spec.retry_on))
        if asgi_component is not None:
            resources.append(Resource(ASGI_COMPONENT, asgi_component, tuple(bound.resources)))
    if bound.services:
        from hive_boot.lifecycle.services import SupervisedTask  # it needs a loop

        for work, task in bound.services:
            call = partial(_call, work, injection_context)
            restart = task.restart, task.max_restarts, task.restart_window
            stop = task.grace_period, task.on_stop
            services.append(SupervisedTask(work.display_name, call, *restart, *stop))
    if bound.contributors:
        from hive_boot.lifecycle.readiness import Contributor  # it needs a loop

        for work, each in bound.contributors:
            call = partial(_call, work, injection_context)
            contributors.append(Contributor(each.name, call, each.interval, each.timeout))
    return resources, services, contributors


def _call(work: BoundCall, injection_context: Callable[[], InjectionContext]) -> Any:
    return work(injection_context())
