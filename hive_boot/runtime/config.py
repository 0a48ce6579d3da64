"""Config of an application: what its factory takes and returns, and the problems of a failure."""

from __future__ import annotations

import inspect
import os
import re
from types import UnionType
from typing import TYPE_CHECKING, Any, Self, Union, get_args, get_origin

from hive_boot.exceptions import DeclarationError, Problem
from hive_boot.redaction.registry import scrub
from hive_boot.runtime.injection import (
    Injectables,
    evaluate_annotation,
    is_async,
    match_type,
    namespace,
    resolve_parameters,
    without_partial,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hive_boot.secrets.sources.files import Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Pattern of the names of the input that are shown. Other text may be a value set by mistake."""


class ConfigFactory:
    """Factory of the config.

    Args:
        factory: a class, a function or another callable that returns the config.
        declared: the ``SecretSet``, which a parameter can receive by its type. A lambda, which
            has no annotations, receives it as ``secrets``.

    Attributes:
        takes_secrets: whether a parameter receives the secrets.

    Raises:
        DeclarationError: the factory cannot be called, is async, or is a function with a
            parameter that cannot be filled.
    """

    def __init__(self, factory: Callable[..., Any], declared: type) -> None:
        given: object = factory
        if not callable(given):
            message = "config= must be a class or a function that returns the settings."
            raise DeclarationError(message)
        if is_async(factory):
            message = (
                "config= must not be an async def: the settings are created without an event loop."
            )
            raise DeclarationError(message)
        self._factory = factory
        self._function: Any = without_partial(factory)
        self._parameters = self._secrets_parameters(declared)
        self.takes_secrets = bool(self._parameters)

    @property
    def config_type(self) -> type | None:
        """The type by which functions ask for the config; None without a return annotation."""
        if isinstance(self._function, type):
            return self._function
        returned: Any = evaluate_annotation(self._function, _signature(self._function)[1])
        if isinstance(returned, str):
            # A class that is imported under TYPE_CHECKING is compared by its name.
            return type(returned, (), {})
        if returned is Self:
            returned = getattr(self._function, "__self__", None)
        returned = get_origin(returned) or returned
        is_type = isinstance(returned, type) and returned not in {Union, UnionType}
        return returned if is_type else None

    def build(self, secrets: object, hidden: Sequence[Value]) -> tuple[object, list[Problem]]:
        """Call the factory, and return the config or the problems.

        Args:
            secrets: the set for the parameters that receive the secrets.
            hidden: the values that no message may show.
        """
        try:
            return self._factory(**dict.fromkeys(self._parameters, secrets)), []
        except BaseException as exc:  # noqa: BLE001  (a factory may raise anything)
            return None, list(self._problems(exc, hidden))

    def _secrets_parameters(self, declared: type) -> Iterable[str]:
        parameters = _signature(self._factory)[0]
        types = {declared: "secrets"}
        if parameters and not isinstance(self._function, type):
            is_lambda = getattr(self._function, "__name__", "") == "<lambda>"
            injectables = Injectables(types, ("secrets",) if is_lambda else ())
            return resolve_parameters(self._factory, injectables)
        # A class may have parameters that it fills itself, such as the fields of its settings.
        return [
            each.name
            for each in parameters
            if each.default is each.empty and match_type(self._function, each.annotation, types)
        ]

    def _problems(self, exc: BaseException, hidden: Sequence[Value]) -> Iterator[Problem]:
        model = self._failed_model(exc)
        name = getattr(model or self._function, "__name__", type(self._function).__name__)
        undeclared: dict[str, list[object]] = {}
        for kind, location, message in _errors(exc):
            is_undeclared = kind == "extra_forbidden"
            fields, variables = _locate(model, location[:-1] if is_undeclared else location)
            where = ".".join([name, *fields])
            if is_undeclared:
                undeclared.setdefault(where, []).append(location[-1])
                continue
            text = scrub(message, [value.reveal() for value in hidden])
            fix = "correct the environment variables that the settings are read from"
            if variables:
                fix = f"set the environment variable {' or '.join(_not_json(exc, variables))}"
            yield Problem(name=where, kind="config", message=f"is invalid: {text}", fix=fix)
        for where, names in undeclared.items():
            yield _undeclared_problem(where, names, model, hidden)

    def _failed_model(self, exc: BaseException) -> Any:  # noqa: ANN401  (a class of pydantic)
        """Return the class that has rejected its input; None if it is unknown.

        A function may create several settings, and settings may contain other ones.
        """
        title = getattr(exc, "title", None)
        if title is None and type(exc).__name__ != "SettingsError":
            return None
        for each in (self.config_type, namespace(self._function).get(str(title))):
            names = (getattr(each, "__name__", ""), getattr(each, "model_config", {}).get("title"))
            if _fields(each) and (title is None or title in names):
                return each
        return None


def _signature(function: Callable[..., Any]) -> tuple[list[inspect.Parameter], object]:
    """Return the parameters of a function, and its return annotation; None without one."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return [], None  # implemented in C
    returned = signature.return_annotation
    return [*signature.parameters.values()], None if returned is signature.empty else returned


def _errors(exc: BaseException) -> list[tuple[str, Sequence[object], str]]:
    """Return the kind, the location and the message of each error of a failure."""
    name = type(exc).__name__
    try:
        errors: Any = getattr(exc, "errors", None)
        if callable(errors):
            # str() of an error of pydantic contains the input. Some of its messages do, too.
            found = errors(include_context=False, include_url=False)
            return [(e["type"], _location(e), _without(e["msg"], e["input"])) for e in found]
        text = str(exc)
        field = re.search(r'field "(\w+)"', text) if name == "SettingsError" else None
        return [("", field.groups() if field else (), f"{name}: {text}" if text else name)]
    except BaseException:  # noqa: BLE001  (a method of the exception may raise)
        return [("", (), name)]


def _location(error: Mapping[str, Any]) -> Sequence[object]:
    """Return the location of an error, without a name that is the last line of a key block.

    Such a line ends with ``=``, and so its beginning would be the name of a variable.
    """
    location: Sequence[object] = error["loc"]
    is_base64 = error["type"] == "extra_forbidden" and not str(error["input"]).strip("=")
    return (*location[:-1], "") if is_base64 else location


def _without(text: str, value: object) -> str:
    """Return a text in which each text of the input that is a whole word is ``***``."""
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            text = _without(text, each)
    elif str(value):
        text = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", "***", text)
    return text


def _fields(model: object) -> Mapping[str, Any]:
    """Return the fields of a model or a dataclass of pydantic; of another type, none."""
    fields: Any = getattr(model, "model_fields", None) or getattr(model, "__pydantic_fields__", {})
    return fields if isinstance(model, type) else {}


def _aliases(field: Any) -> list[str]:  # noqa: ANN401  (a field of pydantic)
    alias = field.validation_alias
    choices = getattr(alias, "choices", [] if alias is None else [alias])
    return [getattr(each, "path", [each])[0] for each in choices]


def _models(annotation: object) -> list[object]:
    """Return the models in an annotation, such as those of a union or a list."""
    if _fields(annotation):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


def _locate(model: object, location: Sequence[object]) -> tuple[list[str], list[str]]:
    """Return the fields that a location leads through, and the variables that set the last one.

    Any other part of a location may be a text of the input, such as the key of a mapping. It is
    not shown, and ends the variables, which then set the whole mapping.
    """
    names: list[str] = []
    variables: list[str] = []
    config: Mapping[str, Any] = getattr(model, "model_config", {})
    delimiter = config.get("env_nested_delimiter")
    models, is_exact, is_tag = [model], "env_prefix" in config, False
    for part in location:
        found = [
            (name, field)
            for each in models
            for name, field in _fields(each).items()
            if part in {name, *_aliases(field)}
        ]
        if not found:
            # A part for the type in a union is in no variable.
            is_exact &= is_tag or part in {getattr(each, "__name__", None) for each in models}
            continue
        name, field = found[0]
        aliases = _aliases(field)
        if is_exact and not names:
            target = config.get("env_prefix_target") or "variable"
            prefix = (
                config["env_prefix"]
                if target in {"all", "alias" if aliases else "variable"}
                else ""
            )
            variables = [f"{prefix}{each}" for each in aliases or [name]]
        elif is_exact and delimiter:
            variables = [f"{each}{delimiter}{(aliases or [name])[0]}" for each in variables]
        names.append(name)
        models, is_tag = _models(field.annotation), field.discriminator is not None
    if not config.get("case_sensitive"):
        variables = [each.upper() for each in variables]
    return names, variables


def _not_json(exc: BaseException, variables: Sequence[str]) -> Sequence[str]:
    """Return the variables whose text is not JSON, for an error of a parser; else ``variables``."""
    if not isinstance(getattr(exc.__cause__, "doc", None), str):
        return variables
    texts = os.environ
    found = [
        name
        for name in texts
        if name.upper().startswith(tuple(each.upper() for each in variables))
        and texts[name] == exc.__cause__.doc  # type: ignore[union-attr]
    ]
    return [f"{' or '.join(found or variables)} to valid JSON"]


def _undeclared_problem(
    where: str, names: Sequence[object], model: object, hidden: Sequence[Value]
) -> Problem:
    """Return the problem of names in the input that no field has."""
    lower = [value.reveal().lower() for value in hidden]
    shown = [
        name
        for name in map(str, names)
        if _NAME.fullmatch(name) and scrub(name.lower(), lower) == name.lower()
    ]
    config: Mapping[str, Any] = getattr(model, "model_config", {})
    if "env_prefix" in config and not config.get("case_sensitive"):
        shown = [name.upper() for name in shown]
    rest = len(names) - len(shown)
    if rest:
        shown.append(f"{rest} name{'' if rest == 1 else 's'} that cannot be shown")
    return Problem(
        name=where,
        kind="config",
        message=f"is invalid: it has no fields for {', '.join(shown)}",
        fix='set extra="ignore" in its model_config, or remove these names, for example from .env',
    )
