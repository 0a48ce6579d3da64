"""Tracebacks with frame variables, as error trackers send them and pytest shows them.

Only frames of files below ``hive_boot/`` are searched. The frame of a user's function that
has called ``reveal`` contains the value, and no library can prevent that, so those frames are
left out.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any, Never, cast

import dotenv.parser
import pytest

from hive_boot import (
    BootError,
    Bootstrap,
    DeclarationError,
    Secret,
    SecretBytes,
    get_secret,
    has_secret,
    mask_secret,
    require_secret,
)
from hive_boot import secrets as applications
from hive_boot.redaction.hooks import Redaction
from hive_boot.secrets import loader
from hive_boot.secrets.load_result import LoadResultBuilder
from hive_boot.secrets.loader import _Loader
from hive_boot.secrets.store import Store
from tests.canary.canaries import CANARIES, ENVIRONMENT, Canary
from tests.canary.frames import frames
from tests.canary.outputs import Outputs
from tests.canary.programs import starts
from tests.canary.programs.declared import Canaries

VALUE = ENVIRONMENT["JWT_SECRET"]

FIELDS = tuple(Canaries._field_index.fields)

pytestmark = pytest.mark.anyio


class InjectedError(Exception):
    """An error that hive_boot does not expect."""


def fail(*_: object, **__: object) -> Never:
    """Raise an error, whatever function this one replaces."""
    raise InjectedError


def search(*errors: BaseException, canaries: Iterable[Canary] = CANARIES) -> list[str]:
    """Search errors and the variables of hive_boot's frames for values; return those frames."""
    outputs = Outputs(canaries)
    found = []
    for error in errors:
        outputs.add("the error", f"{error} {error!r} {error.args}")
        outputs.add("its traceback", "".join(format_exception(error)))
        for where, variables in frames(error):
            found.append(where)
            outputs.add(where, variables)
    outputs.assert_silent()
    return found


@pytest.fixture
def injected(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Provide every secret as a variable."""
    for name, text in {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}.items():
        monkeypatch.setenv(name, text)
    return monkeypatch


@pytest.mark.usefixtures("injected")
@pytest.mark.parametrize("scenario", sorted(starts.SCENARIOS.keys() - {"as declared", "watched"}))
async def test_a_start_that_is_refused(scenario: str) -> None:
    """The traceback of a start that was rejected has no value in a variable of hive_boot."""
    starts.released.clear()
    with pytest.raises(BootError) as caught:
        async with starts.SCENARIOS[scenario]().running():
            pass
    assert search(caught.value)
    starts.released.set()


FAULTS: dict[str, tuple[object, str]] = {
    "open": (os, "open"),
    "fstat": (os, "fstat"),
    "read": (os, "read"),
    "thread": (threading.Thread, "start"),
    "dotenv": (dotenv.parser, "parse_stream"),
    "value": (loader, "as_value"),
    "findings": (LoadResultBuilder, "add"),
    "take": (_Loader, "_take"),
    "fault": (LoadResultBuilder, "add_value_problem"),
    "judge": (loader, "validate"),
    "secrecy": (Redaction, "hide"),
    "store": (Store, "accept"),
    "register": (applications, "register"),
}
"""Functions deep inside a start that are made to fail."""

REACHED = {
    "environment": "thread value findings fault judge secrecy store register",
    "pointers": "open findings",
    "docker": "fstat read take judge",
    "development": "open fstat read dotenv value findings fault judge secrecy",
}
"""The functions that a start calls in each mode."""


def provide(mode: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide every secret as the mode expects it; one of them violates its constraint."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment" if mode == "pointers" else mode)
    directory = place / "secrets"
    directory.mkdir()
    for canary in CANARIES:
        path = directory / canary.name.lower()
        path.write_bytes(os.fsencode(canary.variable))
        if mode == "pointers":
            monkeypatch.setenv(f"{canary.name}_FILE", str(path))
        if mode == "environment":
            monkeypatch.setenv(canary.name, canary.variable)
    if mode == "docker":
        monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(directory))
    lines = [
        f"{canary.name}={json.dumps(canary.variable)}"
        for canary in CANARIES
        if isinstance(canary.value, str)
    ]
    Path(".env").write_text("\n".join(lines), encoding="utf-8")


async def start_broken(boot: Bootstrap[Any, Any], fault: str, patch: pytest.MonkeyPatch) -> None:
    """Start while one function deep inside fails; restore the function afterwards."""
    try:
        patch.setattr(*FAULTS[fault], fail)
        async with boot.running():
            pass
    finally:
        patch.undo()


@pytest.mark.parametrize(
    ("mode", "fault"), [(mode, fault) for mode, names in REACHED.items() for fault in names.split()]
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_start_that_breaks(
    mode: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function deep inside a start fails unexpectedly; no frame above it contains a value."""
    provide(mode, tmp_path, monkeypatch)
    boot = starts.judged(min_length=5000) if fault == "fault" else Bootstrap(Canaries)
    with monkeypatch.context() as patch, pytest.raises(InjectedError) as caught:
        await start_broken(boot, fault, patch)
    assert search(caught.value)


WRONG: dict[str, Callable[[Canaries], object]] = {
    "mask bytes": lambda _: mask_secret(VALUE.encode()),  # type: ignore[arg-type]
    "mask a list": lambda _: mask_secret([VALUE]),  # type: ignore[arg-type]
    "match a list": lambda it: it.openai_api_key.matches([VALUE]),  # type: ignore[arg-type]
    "bytes for a Secret": lambda _: Secret("X", VALUE.encode()),  # type: ignore[arg-type]
    "text for SecretBytes": lambda _: SecretBytes("X", VALUE),  # type: ignore[arg-type]
    "texts for a set": lambda _: cast("Any", Canaries)(**dict.fromkeys(FIELDS, VALUE)),
    "too much for a set": lambda _: cast("Any", Canaries)(**dict.fromkeys(FIELDS), other=VALUE),
    "assign": lambda it: setattr(it, "jwt_secret", VALUE),
    "order": lambda it: it.openai_api_key < Secret("X", VALUE),  # type: ignore[operator]
    "measure": lambda it: len(it.openai_api_key),  # type: ignore[arg-type]
    "pickle": lambda it: it.openai_api_key.__reduce_ex__(2),
    "get a value": lambda _: get_secret(VALUE),
    "get what is no name": lambda _: get_secret(f"{VALUE} "),
    "get a list": lambda _: get_secret([VALUE]),  # type: ignore[arg-type]
    "get bytes": lambda _: get_secret("KEYSTORE"),
    "require a value": lambda _: require_secret(VALUE),
    "has a value": lambda _: has_secret(VALUE),
}
"""Calls with wrong arguments."""


@pytest.mark.usefixtures("injected")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_call_that_is_wrong() -> None:
    """A call with a value as the wrong argument leaves no value in a frame of hive_boot."""
    errors = []
    async with Bootstrap(Canaries).running() as secrets:
        for call in WRONG.values():
            with pytest.raises((TypeError, AttributeError, DeclarationError)) as caught:
                call(secrets)
            errors.append(caught.value)
    assert search(*errors)


@pytest.mark.parametrize("name", ["get what is no name", "get a list"])
def test_a_call_without_an_application(name: str) -> None:
    """The same holds without an application, where every name is valid."""
    with pytest.raises((TypeError, DeclarationError)) as caught:
        WRONG[name](Canaries.__new__(Canaries))
    assert search(caught.value)


class Tracking(logging.Handler):
    """A log handler that fails, or keeps the errors that an error tracker would be sent."""

    def __init__(self, kept: list[BaseException], *, emits: bool) -> None:
        super().__init__()
        self.kept = kept
        self.emits = emits

    def emit(self, record: logging.LogRecord) -> None:
        """Raise, or format the record and handle a failure."""
        if self.emits:
            raise InjectedError
        try:
            self.format(record)
        except InjectedError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (logging's)
        """Keep the error."""
        error = sys.exc_info()[1]
        assert error is not None
        self.kept.append(error)


class FailingFormatter(logging.Formatter):
    """A formatter that fails."""

    format = fail


class FailingFilter(logging.Filter):
    """A filter that fails."""

    filter = fail


@contextmanager
def handling(handler: logging.Handler) -> Iterator[logging.Logger]:
    """Add a handler to a logger while the block runs."""
    log = logging.getLogger("tests.canary.frames")
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)


def messages() -> list[tuple[object, ...]]:
    """Return the arguments of log calls that contain a value."""
    return [
        (VALUE,),
        ("it is %s", VALUE),
        ("it is %(it)s", {"it": VALUE}),
        (Exception(VALUE),),
    ]


@pytest.mark.usefixtures("injected")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("part", ["formatter", "handler", "filter"])
async def test_logging_that_fails(part: str) -> None:
    """If a formatter, handler or filter fails, no frame of hive_boot contains the logged value."""
    kept: list[BaseException] = []
    handler = Tracking(kept, emits=part == "handler")
    if part == "formatter":
        handler.setFormatter(FailingFormatter())
    if part == "filter":
        handler.addFilter(FailingFilter())
    async with Bootstrap(Canaries).running():
        with handling(handler) as log:
            for arguments in messages():
                try:
                    log.error(*arguments)
                except InjectedError as exc:
                    kept.append(exc)
    assert len(kept) == len(messages())
    assert search(*kept)
