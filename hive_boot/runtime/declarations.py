"""Application declaration: the arguments and the decorated functions of a Bootstrap, validated."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import DeclarationError, did_you_mean
from hive_boot.runtime.injection import (
    BoundCall,
    BoundFunctions,
    CheckSpec,
    ContributorSpec,
    Injectables,
    Rebuild,
    ResourceSpec,
    RotationHook,
    ServiceSpec,
    bind,
    display_name,
    kind_of,
    require,
    require_async,
)
from hive_boot.secrets.secret_set import SecretSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hive_boot.lifecycle.services import RestartPolicy
    from hive_boot.runtime.config import ConfigFactory
    from hive_boot.runtime.injection import CheckMoment, Work
    from hive_boot.secrets.fields import FieldIndex
    from hive_boot.secrets.platform import SourceOptions
    from hive_boot.secrets.sources.external import Source
    from hive_boot.secrets.sources.files import Value

    WorkT = TypeVar("WorkT", bound="Work")

    class LiveCertificate(Protocol):
        """TLS context whose certificate is a secret."""

        @property
        def check(self) -> tuple[BoundCall, CheckSpec]:
            """The check of the certificate of a candidate."""

        def report_expiry(self) -> Mapping[str, float]:
            """Return the expiry of the certificate in use, by its name; log one that is near."""


def validate_seconds(name: str, value: object, *, allow_zero: bool = False) -> None:
    """Raise DeclarationError if a value is not a finite number of seconds, or is too small.

    Args:
        name: the name of the argument, for the message.
        value: the value of the argument.
        allow_zero: whether 0 is valid. Default False.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_valid = is_number and 0 <= value < math.inf and (value or allow_zero)  # type: ignore[operator]
    kind = "number of seconds of at least 0" if allow_zero else "positive number of seconds"
    require(is_valid, f"{name} must be a {kind}.")


def _require_choice(name: str, value: object, *choices: str) -> None:
    """Raise DeclarationError if a value is not one of the choices."""
    known = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
    require(value in choices, f"Invalid {name}{value!r}: expected {known}.")


def _exception_types(retry_on: object) -> tuple[type[Exception], ...]:
    """Return the value of ``retry_on=``, one type of exceptions or several, as a tuple."""
    types = tuple(retry_on) if isinstance(retry_on, list | tuple) else (retry_on,)
    are_valid = all(isinstance(each, type) and issubclass(each, Exception) for each in types)
    require(are_valid, "retry_on= must be a subclass of Exception, or a tuple of them.")
    return types


def start_order(resources: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of resources in start order: each after its dependencies.

    Args:
        resources: the names of the dependencies of each resource, by its name.

    Raises:
        DeclarationError: resources depend on each other in a cycle.
    """
    from graphlib import CycleError, TopologicalSorter  # many applications have no resources

    try:
        return list(TopologicalSorter(resources).static_order())
    except CycleError as exc:
        cycle = " → ".join(reversed(exc.args[1]))
    message = f"Resources form a cycle: {cycle}. Fix: remove one of these dependencies."
    raise DeclarationError(message)


def validate_sources(sources: object) -> None:
    """Raise DeclarationError if a source of ``sources=`` is invalid, or two have the same name."""
    names: list[object] = []
    for source in sources if isinstance(sources, list | tuple) else [None]:
        name, interval = getattr(source, "name", None), getattr(source, "interval", None)
        is_named = isinstance(name, str) and name.strip() and name.isprintable()
        is_source = is_named and kind_of(getattr(source, "load", None)) == "async"
        require(
            is_source and not isinstance(source, type) and name not in names,
            "sources= must be a list or tuple of objects, each with a unique name and an "
            "`async def load(self, names)`.",
        )
        names.append(name)
        if interval is not None:
            validate_seconds(f"interval of the source {name}", interval)


def _validate_stop(decorator: str, grace_period: object, on_stop: object) -> None:
    """Raise if the arguments about the end of main or a service are invalid."""
    validate_seconds(f"grace_period= of {decorator}", grace_period, allow_zero=True)
    is_valid = on_stop is None or callable(on_stop)
    require(is_valid, f"on_stop= of {decorator} must be a function without arguments.")


def _decorator(name: str, add: Callable[[Work], None]) -> Callable[[WorkT], WorkT]:
    """Return a decorator that adds an async function, and returns it unchanged."""

    def register(function: WorkT) -> WorkT:
        require_async(name, function)
        add(function)
        return function

    return register


def forbid_unknown_options(names: Iterable[str], function: Any) -> None:
    """Raise DeclarationError for an unknown argument of Bootstrap, with a similar known one.

    Args:
        names: the names of the unknown arguments.
        function: the method that takes the known arguments.
    """
    for name in names:
        known = function.__kwdefaults__
        near = did_you_mean(name, known) or f" Known: {', '.join(known)}"
        raise DeclarationError(f"Bootstrap has no argument {name!r}.{near}")


def validate_backend(backend: object) -> None:
    """Raise DeclarationError if a backend is unknown or not installed."""
    _require_choice("backend ", backend, "asyncio", "trio", "uvloop")
    if backend != "asyncio":
        from importlib.util import find_spec  # most applications run on asyncio

        message = f"The backend {backend!r} is not installed. Fix: pip install {backend}"
        require(find_spec(str(backend)), message)


def forbid_main_with_serve(main: Work | None) -> None:
    """Raise DeclarationError if a main is declared: ``boot.serve`` would never call it."""
    if main is not None:
        raise DeclarationError(
            f"boot.serve() runs the ASGI application, so the main {display_name(main)}() would "
            "never run. Fix: remove @boot.main, or use boot.run()."
        )


_PATH_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""Pattern of a name that a URL contains without an escape."""


class AppDeclaration:
    """Declaration of an application.

    Args:
        declared: the ``SecretSet`` class.
        config_factory: creates the settings; None without settings.
        source_options: the declared mode, profile and locations of the sources.
        watch: this and the further arguments are those of :class:`Bootstrap`.

    Attributes:
        field_index: the declared fields.
        main: the function of ``@boot.main``; None without one.
        must_complete: whether a stop before main has returned is a failure.
        main_grace_period: seconds between the request to stop and the cancellation of main.
        main_on_stop: called when a stop is requested; None without such a function.
        checks: the checks, in the order of the declaration.
        hooks: the rotation hooks, in the order of the declaration.
        resources: the resources, by name.
        services: the services, in the order of the declaration.
        contributors: the readiness contributors, in the order of the declaration.
        certificates: the TLS contexts that exist, also those that a run has created.
        timings: the timings of a run; tests set them before the start.
        overrides: values of a test, by attribute, that take precedence over every source; None
            makes a secret absent.
        stand_ins: values of a test, by the name of the resource that they replace.

    Raises:
        DeclarationError: an argument of Bootstrap or of a decorator is invalid; a decorated
            function is not async; or its name is in use.
    """

    def __init__(
        self,
        declared: type[Any],
        config_factory: Callable[..., Any] | None,
        source_options: SourceOptions,
        *,
        watch: bool,
        wait_for_files: float,
        startup_timeout: float,
        unset_env: bool,
        sources: Sequence[Source],
        probe_port: int | None,
        probe_host: str | None,
        shutdown_delay: float | None,
        shutdown_timeout: float,
        finish_tasks: float,
    ) -> None:
        require(
            isinstance(declared, type) and issubclass(declared, SecretSet),
            "The first argument of Bootstrap must be a subclass of SecretSet.",
        )
        flags = {"watch": watch, "unset_env": unset_env}
        flags["env_fallback"] = source_options.env_fallback
        for name, flag in flags.items():
            require(isinstance(flag, bool), f"{name}= must be True or False.")
        validate_seconds("startup_timeout=", startup_timeout)
        validate_seconds("wait_for_files=", wait_for_files, allow_zero=True)
        validate_seconds("shutdown_timeout=", shutdown_timeout)
        validate_seconds("finish_tasks=", finish_tasks, allow_zero=True)
        if shutdown_delay is not None:
            validate_seconds("shutdown_delay=", shutdown_delay, allow_zero=True)
        validate_sources(sources)
        require(
            probe_port is None or (type(probe_port) is int and 0 <= probe_port < 1 << 16),
            "probe_port= must be a port from 1 to 65535, or 0 for any free port.",
        )
        require(
            probe_host is None or (isinstance(probe_host, str) and probe_host != ""),
            "probe_host= must be an address or a host name, such as 127.0.0.1.",
        )
        require(
            probe_host is None or probe_port is not None,
            "probe_host= has no effect without probe_port=.",
        )
        self.declared = declared
        self.field_index: FieldIndex = declared._field_index
        self.config_factory: ConfigFactory | None = None
        if config_factory is not None:
            from hive_boot.runtime.config import ConfigFactory  # many have no config

            self.config_factory = ConfigFactory(config_factory, declared)
        self.source_options = source_options
        self.watch = watch
        self.wait_for_files = wait_for_files
        self.startup_timeout = startup_timeout
        self.unset_env = unset_env
        self.sources: tuple[Source, ...] = tuple(sources)
        self.probe_port = probe_port
        self.probe_host = probe_host
        self.shutdown_delay = shutdown_delay
        self.shutdown_timeout = shutdown_timeout
        self.finish_tasks = finish_tasks
        self.main: Work | None = None
        self.must_complete: bool = False
        self.main_grace_period: float = 0.0
        self.main_on_stop: Callable[[], object] | None = None
        self.checks: list[CheckSpec] = []
        self.hooks: list[RotationHook] = []
        self.resources: dict[str, ResourceSpec] = {}
        self.services: list[ServiceSpec] = []
        self.contributors: list[ContributorSpec] = []
        self.certificates: WeakSet[LiveCertificate] = WeakSet()
        self.timings = DEFAULTS
        self.overrides: Mapping[str, Value | None] = {}
        self.stand_ins: Mapping[str, object] = {}

    @property
    def name(self) -> str:
        """The name of the ``SecretSet`` class."""
        return self.declared.__name__

    def resolve_field_names(self, names: Iterable[str]) -> frozenset[str]:
        """Return the attributes of fields that are named by their attributes or declared names.

        Raises:
            DeclarationError: a name is not that of a declared field.
        """
        fields = self.field_index.fields
        known = {field.name: attribute for attribute, field in fields.items()}
        known |= {attribute: attribute for attribute in fields}
        if unknown := [str(name) for name in names if name not in list(known)]:
            message = f"{self.name} does not declare {', '.join(unknown)}."
            raise DeclarationError(message + did_you_mean(unknown[0], fields))
        return frozenset(known[name] for name in names)

    def main_decorator(
        self, grace_period: float, on_stop: Callable[[], object] | None, *, must_complete: bool
    ) -> Callable[[WorkT], WorkT]:
        """Return a decorator that sets the main function, once."""
        _validate_stop("@boot.main", grace_period, on_stop)

        def add(function: Work) -> None:
            if self.main is not None:
                first = display_name(self.main)
                message = f"A main is already declared: {first}(). Fix: remove one @boot.main."
                raise DeclarationError(message)
            self.main, self.must_complete = function, must_complete
            self.main_grace_period, self.main_on_stop = grace_period, on_stop

        return _decorator("@boot.main", add)

    def resource_decorator(
        self, timeout: Any, retry_on: object, after: object, rebuild_on: object, overlap: float
    ) -> Callable[[Work], None]:
        """Return a function that adds a resource; the arguments are those of ``@boot.resource``.

        Raises:
            DeclarationError: an argument is invalid.
        """
        if timeout is not None:
            validate_seconds("timeout=", timeout)
        validate_seconds("overlap=", overlap, allow_zero=True)
        fields: Any = [rebuild_on] if isinstance(rebuild_on, str) else rebuild_on
        is_list = isinstance(fields, list | tuple)
        require(is_list, "rebuild_on= must be the name of a field or a list.")
        limit, retried = timeout or math.inf, _exception_types(retry_on)
        options = limit, retried, after, self.resolve_field_names(fields), overlap

        def add(function: Work) -> None:
            self.resources[self._resource_name(function)] = ResourceSpec(function, *options)

        return add

    def _resource_name(self, function: Work) -> str:
        """Return the name of a new resource: an async generator, or an ``async def``."""
        if kind_of(function) != "generator":
            require_async("@boot.resource", function)
        name = getattr(function, "__name__", "")
        message = f"@boot.resource requires a function with a name, but {function!r} has none."
        require(name.isidentifier(), message)
        message = f"A resource cannot have the reserved name {name!r}. Fix: rename it."
        require(name not in {"secrets", "config", "boot"}, message)
        self._require_unique_name(name)
        return name

    def _require_unique_name(self, name: str) -> None:
        """Raise if a resource or service has this name: messages identify both by name only."""
        kinds = dict.fromkeys((display_name(service.work) for service in self.services), "service")
        _require_unused(name, kinds | dict.fromkeys(self.resources, "resource"))

    def service_decorator(
        self,
        restart: RestartPolicy,
        max_restarts: int,
        restart_window: float,
        grace_period: float,
        on_stop: Callable[[], object] | None,
    ) -> Callable[[WorkT], WorkT]:
        """Return a decorator that adds a service."""
        _require_choice("restart=", restart, "never", "on-failure", "always")
        is_count = type(max_restarts) is int and max_restarts >= 0
        require(is_count, "max_restarts= must be 0 or a positive integer.")
        validate_seconds("restart_window=", restart_window)
        _validate_stop("@boot.service", grace_period, on_stop)

        def add(function: Work) -> None:
            self._require_unique_name(display_name(function))
            self.services.append(
                ServiceSpec(function, restart, max_restarts, restart_window, grace_period, on_stop)
            )

        return _decorator("@boot.service", add)

    def check_decorator(
        self, names: Iterable[str], timeout: float | None, retry_on: object, at: CheckMoment
    ) -> Callable[[WorkT], WorkT]:
        """Return a decorator that adds a check."""
        fields = self.resolve_field_names(names)
        if timeout is not None:
            validate_seconds("timeout=", timeout)
        retried = _exception_types(retry_on)
        _require_choice("at=", at, "always", "start", "rotation")

        def add(function: Work) -> None:
            self.checks.append(CheckSpec(function, fields, timeout, retried, at))

        return _decorator("@boot.check", add)

    def hook_decorator(self, names: Iterable[str], timeout: float) -> Callable[[WorkT], WorkT]:
        """Return a decorator that adds a rotation hook."""
        fields = self.resolve_field_names(names)
        validate_seconds("timeout=", timeout)

        def add(function: Work) -> None:
            self.hooks.append(RotationHook(function, fields, timeout))

        return _decorator("@boot.on_rotate()", add)

    def readiness_decorator(
        self, name: str | None, interval: float, timeout: float
    ) -> Callable[[WorkT], WorkT]:
        """Return a decorator that adds a readiness contributor."""
        validate_seconds("interval=", interval)
        validate_seconds("timeout=", timeout)

        def add(function: Work) -> None:
            label = display_name(function) if name is None else name
            require(
                isinstance(label, str) and re.fullmatch(_PATH_SEGMENT, label),
                f"A readiness contributor cannot be named {label!r}: its name is part of a "
                "path. Fix: @boot.readiness(name=...) with letters, digits, '.', '_' and '-'.",
            )
            names = [contributor.name for contributor in self.contributors]
            _require_unused(label, dict.fromkeys(names, "readiness contributor"))
            self.contributors.append(ContributorSpec(function, label, interval, timeout))

        return _decorator("@boot.readiness", add)

    def bind(self, injectables: Injectables, *, resources: bool = True) -> BoundFunctions:
        """Resolve the parameters of all functions except main, before anything runs.

        Args:
            injectables: the objects that parameters can receive.
            resources: whether resources are bound, and functions that may need one. Default True.

        Raises:
            DeclarationError: a parameter cannot be filled, or resources depend on each other in a
                cycle.
        """
        without_resources = Injectables(injectables.types)  # resources start after the checks
        checks = [(bind(each.work, without_resources), each) for each in self.checks]
        if not resources:
            return BoundFunctions({}, {}, (), (), checks, ())
        bound = self._bind_resources(injectables)
        return BoundFunctions(
            resources=bound,
            rebuilds=_rebuilds(bound),
            services=[(bind(each.work, injectables), each) for each in self.services],
            # The first parameter of a hook receives the change.
            hooks=[(bind(each.work, injectables, first=1), each) for each in self.hooks],
            checks=checks,
            contributors=[(bind(each.work, injectables), each) for each in self.contributors],
        )

    def bind_main(self, main: Work, injectables: Injectables) -> BoundCall:
        """Resolve the parameters of main.

        Args:
            main: the function.
            injectables: the objects that it can receive.

        Raises:
            DeclarationError: a parameter cannot be resolved, or takes the value of a resource that
                is rebuilt while main runs.
        """
        call = bind(main, injectables)
        if any(each.rebuild_on for each in self.resources.values()):
            rebuilt = call.by_value & _rebuilds(self._bind_resources(injectables)).keys()
            for name in sorted(rebuilt):
                raise DeclarationError(
                    f"{call.display_name}() takes the value of the resource {name}, which is "
                    f"rebuilt while main runs. Fix: annotate the parameter {name} as "
                    f"ResourceHandle[...], and read {name}.value where it is needed."
                )
        return call

    def _bind_resources(
        self, injectables: Injectables
    ) -> dict[str, tuple[BoundCall, ResourceSpec]]:
        """Resolve the parameters of all resources, and return them in start order."""
        if not self.resources:
            return {}
        specs = self.resources | {name: _stand_in(each) for name, each in self.stand_ins.items()}
        bound = {key: bind(each.work, injectables, after=each.after) for key, each in specs.items()}
        order = start_order({name: work.dependencies for name, work in bound.items()})
        # `order` also has the secrets, the settings and the Bootstrap, which are not resources.
        return {name: (bound[name], specs[name]) for name in order if name in bound}


def _require_unused(name: str, kinds: Mapping[str, str]) -> None:
    """Raise DeclarationError if a name is in ``kinds``, the kinds of the declared functions."""
    if kind := kinds.get(name):
        message = f"A {kind} named {name!r} is already declared. Fix: rename one of them."
        raise DeclarationError(message)


def _rebuilds(bound: Mapping[str, tuple[BoundCall, ResourceSpec]]) -> dict[str, Rebuild]:
    """Return when each resource is rebuilt, without the resources that never are."""
    rebuilds: dict[str, Rebuild] = {}
    for name, (work, spec) in bound.items():
        taken = [
            rebuilds[need] for need in work.dependencies if need in work.by_value & rebuilds.keys()
        ]
        fields = spec.rebuild_on.union(*(each.fields for each in taken))
        overlaps = [spec.overlap] if spec.rebuild_on else [each.overlap for each in taken]
        if fields:
            rebuilds[name] = Rebuild(fields, max(overlaps))
    return rebuilds


def _stand_in(value: object) -> ResourceSpec:
    """Return a resource that returns a value given by a test, and has no dependencies."""

    async def stand_in() -> object:
        return value

    return ResourceSpec(stand_in)
