"""Config of an application: a call of its factory, the problems of a failure, and its secrets."""

from __future__ import annotations

import inspect
import os
import re
from contextlib import suppress
from functools import wraps
from operator import itemgetter
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, Never, Self, TypeVar, Union, get_args

from hive_boot.exceptions import Problem
from hive_boot.redaction.registry import drop_frames, line_of, scrub
from hive_boot.runtime import injection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hive_boot.secrets.sources.files import Value

T = TypeVar("T")


_ERROR = itemgetter("type", "loc", "msg", "input")
"""Kind, location, message and input of an error of pydantic."""


_NO_TYPES: frozenset[object] = frozenset({inspect.Signature.empty, Union, UnionType})


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
        message = "config= must be a class or a function that returns the settings."
        injection.require(callable(factory), message)
        message = "config= must not be async: the settings are created without an event loop."
        injection.require(injection.kind_of(factory) != "async", message)
        self._factory = factory
        self._function: Any = injection.without_partial(factory)
        try:
            self._signature = inspect.signature(factory)
        except (TypeError, ValueError):
            self._signature = inspect.Signature()  # implemented in C
        self._parameters = self._secrets_parameters({declared: "secrets"})
        self.takes_secrets: bool = bool(self._parameters)

    def _secrets_parameters(self, types: Mapping[type, str]) -> Iterable[str]:
        parameters = self._signature.parameters
        if getattr(self._function, "__name__", "") == "<lambda>" and [*parameters] == ["secrets"]:
            return parameters
        if parameters and not isinstance(self._function, type):
            return injection.resolve_parameters(self._factory, injection.Injectables(types))
        # A class may have parameters that it fills itself, such as the fields of its settings.
        return [
            name
            for name, each in parameters.items()
            if each.default is each.empty
            and injection.match_type(self._function, each.annotation, types)
        ]

    @property
    def config_type(self) -> type | None:
        """The type by which functions ask for the config; None without a return annotation."""
        if isinstance(self._function, type):
            return self._function
        annotation = self._signature.return_annotation
        returned: Any = injection.evaluate_annotation(self._function, annotation)
        if isinstance(returned, str):
            # A class that is imported under TYPE_CHECKING is compared by its name.
            return type(returned, (), {})
        if returned is Self:
            returned = getattr(self._function, "__self__", None)
        return returned if isinstance(returned, type) and returned not in _NO_TYPES else None

    def build(self, secrets: object, hidden: Sequence[Value]) -> tuple[object, list[Problem]]:
        """Call the factory, and return the config or the problems.

        Args:
            secrets: the set for the parameters that receive the secrets.
            hidden: the values that no message may show.
        """
        try:
            config = self._factory(**dict.fromkeys(self._parameters, secrets))
        except BaseException as exc:  # noqa: BLE001  (a factory may raise anything)
            return None, self._problems(exc, hidden)
        if not inspect.iscoroutine(config):
            return config, []
        config.close()
        failure = TypeError("it returned a coroutine, which is not awaited")
        return None, self._problems(failure, hidden)

    def _problems(self, exc: BaseException, hidden: Sequence[Value]) -> list[Problem]:
        model = self._failed_model(exc)
        name = getattr(model or self._function, "__name__", type(self._function).__name__)
        problems = []
        undeclared: dict[str, None] = {}
        for kind, location, message, has_value in _errors(exc):
            if kind == "extra_forbidden":
                above, _ = _locate(model, location[:-1])
                last = _undeclared_name(location[-1] if has_value else "", model, hidden)
                undeclared[".".join([*above, last])] = None
                continue
            fields, fix = _locate(model, location)
            if fields and not kind:
                fix += ", or the one that begins with it, to valid JSON"
            text = scrub(message, [each.reveal() for each in hidden])
            if model is None:
                text += line_of(drop_frames(exc))
            problems.append(_problem([name, *fields], text, fix))
        if undeclared:
            fix = 'set extra="ignore" in its model_config, or remove these names, such as from .env'
            problems.append(_problem([name], f"it has no fields for {', '.join(undeclared)}", fix))
        return problems

    def _failed_model(self, exc: BaseException) -> Any:
        """Return the class that has rejected its input; None if it is unknown.

        A function may create several settings, and settings may contain other ones.
        """
        title = getattr(exc, "title", None)
        if title is None and type(exc).__name__ != "SettingsError":
            return None
        for each in (self.config_type, injection.namespace(self._function).get(str(title))):
            names = (getattr(each, "__name__", ""), getattr(each, "model_config", {}).get("title"))
            if _fields(each) and (title is None or title in names):
                return each
        return None


class SecretProperty(property, Generic[T]):
    """Property of a settings class, whose value is made from the secret in use.

    Args:
        boot: the Bootstrap that has the secret.
        attribute: the attribute of its field.
        converter: makes the value from the plain one. Default: the value is the plain one.
    """

    def __init__(
        self, boot: Any, attribute: str, converter: Callable[[Any], T] | None = None
    ) -> None:
        message = f"as_property({attribute!r}, ...) expects a callable, such as SecretStr."
        injection.require(converter is None or callable(converter), message)

        def read(_: object) -> object:
            secret = getattr(boot.secrets, attribute)
            if secret is None:
                return None
            return secret.reveal() if converter is None else converter(secret.reveal())

        super().__init__(read)
        self._refusal = (
            f"is the secret {attribute} of {boot!r}, and cannot be set here. In a test write "
            f"`with override(boot, {attribute}=...)`, of hive_boot.testing."
        )

    if TYPE_CHECKING:

        def __get__(self, instance: Any, owner: Any = None, /) -> T | Any: ...  # type: ignore[override]

    def __set_name__(self, owner: Any, name: str) -> None:
        """Make a pydantic model refuse a value for it, which ``extra="ignore"`` would drop."""
        if not hasattr(owner, "model_config"):
            return
        original, refusal = owner.__init__, self._refusal

        @wraps(original)
        def create(*arguments: Any, **values: Any) -> None:
            if name in values:
                values.clear()
                raise TypeError(f"{owner.__name__}({name}=...): {name} {refusal}")
            original(*arguments, **values)

        owner.__init__ = create

    def __set__(self, instance: object, value: object, /) -> Never:
        del value
        raise AttributeError(f"The property {self._refusal}")


def _problem(names: Sequence[str], message: str, fix: str) -> Problem:
    return Problem(name=".".join(names), kind="config", message=f"is invalid: {message}", fix=fix)


def _errors(exc: BaseException) -> list[tuple[str, Sequence[object], str, bool]]:
    """Return the kind, the location and the message of each error, and whether it has a value.

    A name without a value may be the last line of a key, which ends with ``=``.
    """
    name = type(exc).__name__
    try:
        errors: Any = getattr(exc, "errors", None)
        if callable(errors):
            # str() of an error of pydantic contains the input. Some of its messages do, too.
            listed = errors(include_context=False, include_url=False)
            return [
                (kind, location, _without(text, given), bool(str(given).strip("=")))
                for kind, location, text, given in map(_ERROR, listed)
            ]
        text = str(exc)
        field = re.search(r'field "(\w+)"', text) if name == "SettingsError" else None
        return [("", field.groups() if field else (), f"{name}: {text}" if text else name, True)]
    except BaseException:  # noqa: BLE001  (a method of the exception may raise)
        return [("", (), name, True)]


def _without(text: str, value: object) -> str:
    """Return a text in which each text of the input that is a whole word is ``***``."""
    if not isinstance(value, dict | list | tuple):
        word = re.escape(str(value))
        return re.sub(rf"(?<!\w){word}(?!\w)", "***", text) if word else text
    for each in value.values() if isinstance(value, dict) else value:
        text = _without(text, each)
    return text


def _undeclared_name(name: object, model: object, hidden: Sequence[Value]) -> str:
    """Return a name of the input that no field has; not if it may be a value set by mistake."""
    text = str(name)
    is_name = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text)
    redacted = scrub(text.lower(), [value.reveal().lower() for value in hidden])
    if not is_name or redacted != text.lower():
        return "a name that cannot be shown"
    return text if getattr(model, "model_config", {}).get("case_sensitive", True) else text.upper()


def _fields(model: object) -> Mapping[str, Any]:
    """Return the fields of a model or a dataclass of pydantic; of another type, none."""
    fields: Any = getattr(model, "model_fields", None) or getattr(model, "__pydantic_fields__", {})
    return fields if isinstance(model, type) else {}


def _aliases(field: Any) -> list[str]:
    alias = field.validation_alias
    choices = getattr(alias, "choices", [] if alias is None else [alias])
    return [getattr(each, "path", [each])[0] for each in choices]


def _models(annotation: object) -> list[object]:
    """Return the models in an annotation, such as those of a union or a list."""
    if _fields(annotation):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


def _locate(model: object, location: Sequence[object]) -> tuple[list[str], str]:
    """Return the fields that a location leads through, and how to set the last one.

    Any other part of a location may be a text of the input, such as the key of a mapping. It is
    not shown, and the variable is the one that contains the whole mapping.
    """
    config: Mapping[str, Any] = getattr(model, "model_config", {})
    names: list[str] = []
    variables: list[str] = []
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
            targets = {"all", "alias" if aliases else "variable"}
            has_prefix = (config.get("env_prefix_target") or "variable") in targets
            variables = [config["env_prefix"] * has_prefix + each for each in aliases or [name]]
        elif is_exact and (delimiter := config.get("env_nested_delimiter")):
            variables = [f"{each}{delimiter}{(aliases or [name])[0]}" for each in variables]
        names.append(name)
        models, is_tag = _models(field.annotation), field.discriminator is not None
    if not variables:
        return names, "correct the environment variables that the settings are read from"
    return names, _how_to_set(variables, config)


def _how_to_set(variables: Sequence[str], config: Mapping[str, Any]) -> str:
    """Return the fix: the file of ``env_file=`` that sets a variable, or the environment."""
    from hive_boot.secrets.sources.files import read_regular_file  # only a failure needs it

    is_exact, files = config.get("case_sensitive"), config.get("env_file") or ()
    spelled = variables if is_exact else [each.upper() for each in variables]
    flags = re.MULTILINE if is_exact else re.MULTILINE | re.IGNORECASE
    line = re.compile(
        rf"^[ \t]*(?:export[ \t]+)?({'|'.join(map(re.escape, spelled))})[ \t]*=", flags
    )
    if not any(line.match(f"{name}=") for name in os.environ):
        for file in reversed([files] if isinstance(files, str | os.PathLike) else [*files]):
            path = os.path.abspath(os.path.expanduser(file))
            with suppress(OSError):
                if found := line.search(read_regular_file(path).decode("utf-8", "replace")):
                    return f"change {found[1]}=... in {path}"
    return f"set the environment variable {' or '.join(spelled)}"
