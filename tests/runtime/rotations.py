"""An application whose secrets change, and its hooks and log."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hive_boot import Bootstrap, Change, Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.loader import load
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.testing import MountedVolume
from tests.fixtures.timings import QUICK_RETRIES, set_timings

S = TypeVar("S", bound=SecretSet)


class Service(SecretSet):
    """The secrets of the application."""

    api_key: Secret = secret(used_by="billing", min_length=12)
    jwt_secret: Secret = secret(used_by="user-auth")
    sentry_dsn: Secret | None = secret(used_by="error monitoring")


def numbered(number: int, **more: str) -> dict[str, str]:
    """Return the files of a generation, and ``more``."""
    return {
        "api_key": f"fake-api-key-{number:06}",
        "jwt_secret": f"fake-jwt-secret-{number:06}",
        **more,
    }


def number_of(value: Secret | SecretBytes | None) -> int:
    """Return the generation that a value was written with; 0 for None."""
    return 0 if value is None else int(value.reveal()[-6:])


def mounted(
    place: Path,
    declared: type[S],
    timings: Mapping[str, float] | None = None,
    **more: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[S, None]:
    """Declare an application whose secrets are mounted at ``place``.

    By default it watches them, and retries failures after a short time.

    """
    more = {"mode": "kubernetes", "watch": True, **more}
    boot = Bootstrap(declared, secrets_dirs=place, **more)
    set_timings(boot, **{**QUICK_RETRIES, **(timings or {})})
    return boot


def watching(volume: MountedVolume) -> Bootstrap[Service, None]:
    """Publish the first generation, and declare an application that watches it."""
    volume.publish(numbered(1))
    return mounted(volume.path, Service)


def set_read_policy(
    monkeypatch: pytest.MonkeyPatch,
    **limits: Any,  # noqa: ANN401  (what ReadPolicy takes)
) -> None:
    """Make a load wait for writers by other limits, by default for a short time."""
    patient = partial(load, policy=ReadPolicy(**{"quiet_interval": 0.01, **limits}))
    monkeypatch.setattr("hive_boot.runtime.load_pipeline.load", patient)


class Heard:
    """A hook that keeps its changes."""

    def __init__(self, boot: Bootstrap[Any, Any], *names: str) -> None:
        self.changes: list[Change] = []

        @boot.on_rotate(*names)
        async def hear(change: Change) -> None:
            self.changes.append(change)

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The names of each change."""
        return [change.names for change in self.changes]


class Log:
    """The log of an application, from now on."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "hive_boot")
        self._caplog = caplog

    @property
    def rotations(self) -> list[logging.LogRecord]:
        """The log records about rotations."""
        return [each for each in self._caplog.records if each.name == "hive_boot.rotation"]

    @property
    def watch(self) -> list[str]:
        """Level of each record: WARNING for polling, ERROR for a failure, INFO for events again."""
        records = self._caplog.records
        return [each.levelname for each in records if each.name == "hive_boot.watching"]

    @property
    def verdicts(self) -> list[tuple[str, int | None, list[str]]]:
        """Verdict, generation and names of each rotation."""
        return [
            (facts["verdict"], facts["generation"], facts["names"])
            for facts in map(vars, self.rotations)
            if "verdict" in facts
        ]

    def about(self, datum: str) -> list[str]:
        """Return the levels of the records whose text has a name, a path or a number in it."""
        records = [each for each in self._caplog.records if datum in each.getMessage()]
        return [each.levelname for each in records]

    @property
    def text(self) -> str:
        """The text of the log, with a line for each record."""
        return self._caplog.text

    def clear(self) -> None:
        """Delete the log records so far."""
        self._caplog.clear()
