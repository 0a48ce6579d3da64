"""What the author registers: the declaration of an application, before it runs.

Registering starts nothing and reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Never, TypeVar, overload

from hive_boot.bootstrap.handles import Handle, PartDecorator
from hive_boot.bootstrap.plan import Check, Hook, PartPlan, Plan, ServicePlan
from hive_boot.bootstrap.refusals import (
    refuse_part,
    refuse_plain,
    refuse_same,
    refuse_second,
    refuse_seconds,
    refuse_service,
    refuse_unknown,
)
from hive_boot.bootstrap.wiring import Offer
from hive_boot.exceptions import DeclarationError
from hive_boot.secrets.mode import Mode, StrPath, StrPaths, Wishes
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
Main = TypeVar("Main", bound="Callable[..., Coroutine[Any, Any, int | None]]")
Work = TypeVar("Work", bound="Callable[..., Coroutine[Any, Any, object]]")
Judge = TypeVar("Judge", bound="Callable[..., Coroutine[Any, Any, bool | None]]")
T = TypeVar("T")
OnRotate = TypeVar(
    "OnRotate", bound="Callable[Concatenate[Change, ...], Coroutine[Any, Any, object]]"
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
        dotenv: StrPath | None = None,
        env_fallback: bool = False,
        scrub_environ: bool = False,
        probe_port: int | None = None,
        wait: float = 0.0,
        start_timeout: float = 30,
        drain: float | None = None,
        stop_timeout: float = 8,
    ) -> None:
        wishes = Wishes(
            mode=mode,
            profile=profile,
            secrets_dirs=secrets_dirs,
            dotenv=dotenv,
            env_fallback=env_fallback,
        )
        self._plan = Plan(
            secrets,
            config,
            wishes,
            watch=watch,
            wait=wait,
            start_timeout=start_timeout,
            scrub_environ=scrub_environ,
            probe_port=probe_port,
            drain=drain,
            stop_timeout=stop_timeout,
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
    def main(self, function: Main, /) -> Main: ...
    @overload
    def main(self, /, *, must_finish: bool) -> Callable[[Main], Main]: ...
    def main(self, function: Any = None, /, *, must_finish: bool = False) -> Any:
        """Register the application's main; it is called when everything is ready.

        Its parameters are filled by their names, with the parts of these names, and by
        their types: the SecretSet, the class of the settings, Bootstrap.

        Args:
            function: an ``async def``. What it returns is the exit status; None
                is 0.
            must_finish: whether a stop by a signal before its end is no success: the exit
                status is then 128 + n, as a Kubernetes Job needs it. Default False.

        Raises:
            DeclarationError: it is not async, or there is a main already.
        """

        def register(function: Main) -> Main:
            refuse_plain("@boot.main", function)
            refuse_second(self._plan.main)
            self._plan.main, self._plan.must_finish = function, must_finish
            return function

        return register if function is None else register(function)

    @overload
    def part(self, function: Callable[..., AsyncGenerator[T, None]], /) -> Handle[T]: ...
    @overload
    def part(self, function: Callable[..., AsyncIterator[T]], /) -> Handle[T]: ...
    @overload
    def part(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> Handle[T]: ...
    @overload
    def part(self, /, *, timeout: float) -> PartDecorator: ...
    def part(self, function: Any = None, /, *, timeout: float | None = None) -> Any:
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
            refuse_seconds("timeout=", timeout)

        def register(function: Callable[..., Any]) -> Handle[Any]:
            refuse_part(function, self._plan.parts)
            handle: Handle[Any] = Handle(function, self)
            self._plan.parts[handle.name] = PartPlan(function, timeout)
            return handle

        return register if function is None else register(function)

    @overload
    def service(self, function: Work, /) -> Work: ...
    @overload
    def service(
        self,
        /,
        *,
        restart: Literal["never", "on-failure"] = "on-failure",
        budget: int = 5,
        within: float = 60,
    ) -> Callable[[Work], Work]: ...
    def service(
        self,
        function: Any = None,
        /,
        *,
        restart: Literal["never", "on-failure"] = "on-failure",
        budget: int = 5,
        within: float = 60,
    ) -> Any:
        """Register a service: work in the background, from READY to the stop.

        One that fails is started again, after a jittered pause that grows from 0.1 to 30 s.
        One that has spent its budget ends the application. One that returns has done its
        work. Its parameters are filled as those of :meth:`main`.

        Args:
            function: an ``async def``; it is cancelled when the application stops.
            restart: ``on-failure`` or ``never``. Default ``on-failure``.
            budget: how many times it is started again within ``within``. Default 5.
            within: seconds. Default 60.

        Raises:
            DeclarationError: it is not async, there is a service of this name already, or a
                number is none.
        """
        refuse_service(restart, budget)
        refuse_seconds("within=", within)

        def register(function: Work) -> Work:
            refuse_plain("@boot.service", function)
            refuse_same(function, [service.work for service in self._plan.services])
            again = restart == "on-failure"
            self._plan.services.append(ServicePlan(function, again, budget, within))
            return function

        return register if function is None else register(function)

    @overload
    def check(self, function: Judge, /) -> Judge: ...
    @overload
    def check(self, /, *names: str, timeout: float | None = None) -> Callable[[Judge], Judge]: ...
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
            refuse_seconds("timeout=", timeout)

        def register(function: Judge) -> Judge:
            refuse_plain("@boot.check", function)
            self._plan.checks.append(Check(function, frozenset(fields), timeout))
            return function

        fields: tuple[str, ...] = ()
        if len(names) == 1 and not isinstance(names[0], str):
            return register(names[0])
        refuse_unknown(names, self._fields, self._plan.declared.__name__)
        fields = names
        return register

    def on_rotate(self, *names: str, timeout: float = 30) -> Callable[[OnRotate], OnRotate]:
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
        refuse_unknown(names, self._fields, self._plan.declared.__name__)
        refuse_seconds("timeout=", timeout)

        def register(function: OnRotate) -> OnRotate:
            refuse_plain("@boot.on_rotate()", function)
            self._plan.hooks.append(Hook(function, frozenset(names), timeout))
            return function

        return register

    def _offered(self) -> Offer:
        """Give what a function of the author's may ask for."""
        offered: dict[type, str] = {self._plan.declared: "secrets", type(self): "boot"}
        if isinstance(self._plan.factory, type):
            offered[self._plan.factory] = "config"
        return Offer(offered, self._plan.parts)

    @property
    def _fields(self) -> Mapping[str, Field]:
        fields: Mapping[str, Field] = self._plan.declared._inventory.fields  # noqa: SLF001  (ours)
        return fields
