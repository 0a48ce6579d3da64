"""What the author registers: the declaration of an application, before it runs.

Registering starts nothing and reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Never, TypeVar, overload

from hive_boot.bootstrap.handles import ResourceDecorator, ResourceHandle
from hive_boot.bootstrap.plan import AppDeclaration, CheckSpec, ResourceSpec, RotationHook, TaskSpec
from hive_boot.bootstrap.refusals import (
    require_async,
    require_single_main,
    require_unique_name,
    validate_field_names,
    validate_resource,
    validate_seconds,
    validate_service,
)
from hive_boot.bootstrap.wiring import Injectables
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.mode import Mode, SourceOptions, StrPath, StrPaths
from hive_boot.secrets.snapshot import SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
    from typing import Concatenate, Self

    from typing_extensions import TypeVar as TypeVarWithDefault

    from hive_boot.secrets.change import Change
    from hive_boot.secrets.field import Field

S = TypeVar("S", bound=SecretSet)
if TYPE_CHECKING:
    C = TypeVarWithDefault("C", default=None)
else:
    C = TypeVar("C")
MainFunction = TypeVar("MainFunction", bound="Callable[..., Coroutine[Any, Any, int | None]]")
TaskFunction = TypeVar("TaskFunction", bound="Callable[..., Coroutine[Any, Any, object]]")
CheckFunction = TypeVar("CheckFunction", bound="Callable[..., Coroutine[Any, Any, bool | None]]")
T = TypeVar("T")
HookFunction = TypeVar(
    "HookFunction", bound="Callable[Concatenate[Change, ...], Coroutine[Any, Any, object]]"
)


class Registry(Generic[S, C]):
    """What is declared: the arguments of :class:`Bootstrap`, and what its decorators take."""

    def __init__(  # noqa: PLR0913  (each is a promised name, and none has to be given)
        self,
        secrets: type[S],
        *,
        config: Callable[..., C] | None = None,
        watch: bool = False,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        env_file: StrPath | None = None,
        env_fallback: bool = False,
        unset_env: bool = False,
        probe_port: int | None = None,
        wait_for_files: float = 0.0,
        startup_timeout: float = 30,
        shutdown_delay: float | None = None,
        shutdown_timeout: float = 8,
    ) -> None:
        source_options = SourceOptions(
            mode=mode,
            profile=profile,
            secrets_dirs=secrets_dirs,
            env_file=env_file,
            env_fallback=env_fallback,
        )
        self._declaration = AppDeclaration(
            secrets,
            config,
            source_options,
            watch=watch,
            wait_for_files=wait_for_files,
            startup_timeout=startup_timeout,
            unset_env=unset_env,
            probe_port=probe_port,
            shutdown_delay=shutdown_delay,
            shutdown_timeout=shutdown_timeout,
        )

    def __class_getitem__(cls, parameters: Any) -> Any:  # noqa: ANN401  (as Generic's own)
        # A type variable has a default since Python 3.13 only, and type checkers know it here.
        given = parameters if isinstance(parameters, tuple) else (parameters, type(None))
        return super().__class_getitem__(given)  # type: ignore[misc]

    def __repr__(self) -> str:
        # A frame of __init__ is shown, too, when it has refused its arguments.
        plan = vars(self).get("_plan")
        return f"Bootstrap({plan.declared.__name__ if plan else ''})"

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> Never:
        message = f"{self!r} cannot be pickled: it is this process's"
        raise TypeError(message)

    @overload
    def main(self, function: MainFunction, /) -> MainFunction: ...
    @overload
    def main(self, /, *, must_complete: bool) -> Callable[[MainFunction], MainFunction]: ...
    def main(self, function: Any = None, /, *, must_complete: bool = False) -> Any:
        """Register the application's main; it is called when everything is ready.

        Its parameters are filled by their names, with the parts of these names, and by
        their types: the SecretSet, the class of the settings, Bootstrap.

        Args:
            function: an ``async def``. What it returns is the exit status; None
                is 0.
            must_complete: whether a stop by a signal before its end is no success: the exit
                status is then 128 + n, as a Kubernetes Job needs it. Default False.

        Raises:
            DeclarationError: it is not async, or there is a main already.
        """

        def register(function: MainFunction) -> MainFunction:
            require_async("@boot.main", function)
            require_single_main(self._declaration.main)
            self._declaration.main, self._declaration.must_complete = function, must_complete
            return function

        return register if function is None else register(function)

    @overload
    def resource(
        self, function: Callable[..., AsyncGenerator[T, None]], /
    ) -> ResourceHandle[T]: ...
    @overload
    def resource(self, function: Callable[..., AsyncIterator[T]], /) -> ResourceHandle[T]: ...
    @overload
    def resource(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> ResourceHandle[T]: ...
    @overload
    def resource(self, /, *, timeout: float) -> ResourceDecorator: ...
    def resource(self, function: Any = None, /, *, timeout: float | None = None) -> Any:
        """Register a part: what is started before main, and stopped after it.

        It is started when the parts are there that its parameters name, side by side with
        those that do not need each other, and stopped in reverse. Its own parameters are
        filled as those of :meth:`main`.

        Args:
            function: an ``async def`` with one ``yield``: what stands above it starts the
                part, what it yields is the value, what stands below it stops the part. Or
                one without, which returns the value and has nothing to stop.
            timeout: seconds that its start, and its stop, may take, within
                ``start_timeout`` and ``stop_timeout``. Default: no bound of its own.

        Returns:
            A handle: ``handle.value`` is the running value, ``handle.fn`` the function.

        Raises:
            DeclarationError: it is not async, or there is a part of this name already.
        """
        if timeout is not None:
            validate_seconds("timeout=", timeout)

        def register(function: Callable[..., Any]) -> ResourceHandle[Any]:
            validate_resource(function, self._declaration.resources)
            handle: ResourceHandle[Any] = ResourceHandle(function, self)
            self._declaration.resources[handle.name] = ResourceSpec(function, timeout)
            return handle

        return register if function is None else register(function)

    @overload
    def service(self, function: TaskFunction, /) -> TaskFunction: ...
    @overload
    def service(
        self,
        /,
        *,
        restart: Literal["never", "on-failure"] = "on-failure",
        max_restarts: int = 5,
        restart_window: float = 60,
    ) -> Callable[[TaskFunction], TaskFunction]: ...
    def service(
        self,
        function: Any = None,
        /,
        *,
        restart: Literal["never", "on-failure"] = "on-failure",
        max_restarts: int = 5,
        restart_window: float = 60,
    ) -> Any:
        """Register a service: work in the background, from READY to the stop.

        One that fails is started again, after a jittered pause that grows from 0.1 to 30 s.
        One that has spent its budget ends the application. One that returns has done its
        work. Its parameters are filled as those of :meth:`main`.

        Args:
            function: an ``async def``; it is cancelled when the application stops.
            restart: ``on-failure`` or ``never``. Default ``on-failure``.
            max_restarts: how many times it is started again within ``restart_window``. Default 5.
            restart_window: seconds. Default 60.

        Raises:
            DeclarationError: it is not async, there is a service of this name already, or a
                number is none.
        """
        validate_service(restart, max_restarts)
        validate_seconds("within=", restart_window)

        def register(function: TaskFunction) -> TaskFunction:
            require_async("@boot.service", function)
            require_unique_name(function, [service.work for service in self._declaration.services])
            again = restart == "on-failure"
            self._declaration.services.append(
                TaskSpec(function, again, max_restarts, restart_window)
            )
            return function

        return register if function is None else register(function)

    @overload
    def check(self, function: CheckFunction, /) -> CheckFunction: ...
    @overload
    def check(
        self, /, *names: str, timeout: float | None = None
    ) -> Callable[[CheckFunction], CheckFunction]: ...
    def check(self, /, *names: Any, timeout: float | None = None) -> Any:
        """Register what judges a set before it is used, at a start and at each rotation.

        A parameter annotated with the SecretSet is given the set that is judged; the
        others are filled as those of :meth:`main`, but there are no parts yet. Checks run
        side by side, after those of the fields and of the set.

        It passes by True or None, and refuses by False, or by what is raised for a wrong
        value: ValueError, TypeError, LookupError, AssertionError and the like. Whatever
        else it raises, and a time that is over, may be the network's fault: at a start it
        is tried again, after 0.1 to 5 s, while ``start_timeout`` lasts.

        Args:
            names: the fields that it is about; a rotation of others does not call it.
                Default: every one.
            timeout: seconds that one call may take. Default: what the start has left.

        Raises:
            DeclarationError: it is not async, or a field is not declared.
        """
        if timeout is not None:
            validate_seconds("timeout=", timeout)

        def register(function: CheckFunction) -> CheckFunction:
            require_async("@boot.check", function)
            self._declaration.checks.append(CheckSpec(function, frozenset(fields), timeout))
            return function

        fields: tuple[str, ...] = ()
        if len(names) == 1 and not isinstance(names[0], str):
            return register(names[0])
        validate_field_names(names, self._fields, self._declaration.declared.__name__)
        fields = names
        return register

    def on_rotate(self, *names: str, timeout: float = 30) -> Callable[[HookFunction], HookFunction]:
        """Register what is to be done when secrets have changed.

        The decorated ``async def`` takes the :class:`Change` first; its other parameters
        are filled as those of :meth:`main`. Hooks run in the order of their declaration,
        after the new values are in use. One that raises, or takes too long, is called
        again after 1 to 60 s, until it succeeds; the others do not wait for that.

        Args:
            names: the fields that it is about. Default: every one.
            timeout: seconds that one call may take. Default 30.

        Raises:
            DeclarationError: a field is not declared, or it is not async.
        """
        if any(map(callable, names)):
            message = "on_rotate takes the names of fields: write @boot.on_rotate()"
            raise DeclarationError(message)
        validate_field_names(names, self._fields, self._declaration.declared.__name__)
        validate_seconds("timeout=", timeout)

        def register(function: HookFunction) -> HookFunction:
            require_async("@boot.on_rotate()", function)
            self._declaration.hooks.append(RotationHook(function, frozenset(names), timeout))
            return function

        return register

    def _injectables(self) -> Injectables:
        """Give what a function of the author's may ask for."""
        injectables: dict[type, str] = {self._declaration.declared: "secrets", type(self): "boot"}
        if isinstance(self._declaration.config_factory, type):
            injectables[self._declaration.config_factory] = "config"
        return Injectables(injectables, self._declaration.resources)

    @property
    def _fields(self) -> Mapping[str, Field]:
        fields: Mapping[str, Field] = self._declaration.declared._field_index.fields  # noqa: SLF001  (ours)
        return fields
