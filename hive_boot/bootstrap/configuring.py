"""Make the settings that are not secret, and report what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive_boot.exceptions import Problem
from hive_boot.redaction.hidden import scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from hive_boot.secrets.sources.reading import Value


def build_settings(
    factory: Callable[..., Any], values: Sequence[Value]
) -> tuple[Any, list[Problem]]:
    """Call the factory of the settings.

    pydantic's errors show the input, and with it the neighbours of what is wrong:
    so their parts are taken one by one, without it.

    Args:
        factory: what makes the settings.
        values: the secrets, which no message may show.

    Returns:
        The settings, or the problems.
    """
    try:
        return factory(), []
    except BaseException as exc:  # noqa: BLE001  (whatever a factory raises is a report's line)
        parts = _validation_errors(exc, getattr(factory, "model_fields", {}))
    name = getattr(factory, "__name__", type(factory).__name__)
    return None, [
        Problem(
            name=".".join([name, *where]),
            kind="config",
            message=f"is not valid: {_scrubbed(what, values)}",
            fix=_fix_hint(factory, where),
        )
        for where, what in parts
    ]


def _scrubbed(text: str, values: Sequence[Value]) -> str:
    return scrub(text, [value.reveal() for value in values])


def _fix_hint(factory: Callable[..., Any], where: Sequence[str]) -> str:
    """Name the variable of a pydantic-settings field; of anything else nothing is known."""
    settings: Any = getattr(factory, "model_config", {})
    if not where or "env_prefix" not in settings:
        return "settings that are not secret are set in the environment"
    variable = f"{settings['env_prefix']}{where[0]}".upper()
    return f"set the variable {variable}"


def _validation_errors(exc: BaseException, known: Container[str]) -> list[tuple[list[str], str]]:
    """Take a failure apart: where in the settings, and what is wrong there.

    Args:
        exc: what the factory raised.
        known: the fields of the settings. Any other place is a text of the input's,
            a stray line of ``.env`` or the key of a mapping, and is not shown.
    """
    name = type(exc).__name__
    try:
        errors: Any = getattr(exc, "errors", None)
        if not callable(errors):
            text = str(exc)
            return [([], f"{name}: {text}" if text else name)]
        parts = errors(include_input=False, include_context=False, include_url=False)
        return [([str(s) for s in part["loc"][:1] if s in known], part["msg"]) for part in parts]
    except BaseException:  # noqa: BLE001  (a failure may fail to say what it is)
        return [([], name)]
