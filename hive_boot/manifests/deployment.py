"""What is deployed: the declaration, and what was said beside it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hive_boot.secrets.fix_hints import object_name
from hive_boot.secrets.value import SecretBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.secrets.fields import Field, Profile

USER = 10001
"""The user and the group of the process: no system has one of its own at 10000 and above."""

PRE_STOP = 5
"""Seconds in which a pod that is about to stop is taken out of the load balancers."""

_DRAIN = 5.0
"""Seconds of ``shutdown_delay=None`` under ``serve`` in kubernetes mode."""

_SPARE = 1
"""Seconds in which what hangs is named and left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretItem:
    """One secret, as platforms name it.

    Attributes:
        field: what was declared.
        file: the file that it is read from.
        key: what the object or the credential is called that becomes the file.
    """

    field: Field
    file: str
    key: str

    @property
    def name(self) -> str:
        """Give the name of the variable."""
        return self.field.name

    @property
    def binary(self) -> bool:
        """Whether the value is no text."""
        return self.field.kind is SecretBytes

    @property
    def renamed(self) -> bool:
        """Whether the platform has to be told the file's name."""
        return self.key != self.file

    @property
    def about(self) -> str:
        """Say who needs it, and what the declaration says about it."""
        previous = "the value before the last rotation" if "." in self.field.attribute else ""
        used_by = f"used by {self.field.used_by}" if self.field.used_by else ""
        return "; ".join(filter(None, [previous, used_by, self.field.description]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """All that a manifest can depend on.

    Attributes:
        name: what the application is called.
        declared: the name of the :class:`SecretSet`.
        items: every secret, those of ``previous=`` as well.
        watch: whether changed files are taken up.
        served: whether the process serves HTTP; else it runs a main.
        port: where it serves; None for nowhere.
        probe_port: where the probes are answered.
        image: the image, with its tag.
        base: the image that it stands on.
        command: what starts it.
        env: settings that are not secret.
        used: optional secrets that are there all the same, by the names of their variables.
        install: what pip is told to install.
        context: what of the repository the build needs.
        copies: what of that is laid into the image as it is.
        writable: directories that the process writes to, beside ``/tmp``.
        start: seconds that a start may take.
        drain: seconds between the wish to stop and the stop; None to decide by the mode.
        stop: seconds that the stop may take after that.
        rerun_arguments: the words that rendered this, without the target.
    """

    name: str
    declared: str
    items: tuple[SecretItem, ...]
    watch: bool
    served: bool
    port: int | None
    probe_port: int | None
    image: str
    base: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    used: frozenset[str]
    install: str
    context: tuple[str, ...]
    copies: tuple[str, ...]
    writable: tuple[str, ...]
    start: float
    drain: float | None
    stop: float
    rerun_arguments: tuple[str, ...] = field(default=())

    @property
    def object_name(self) -> str:
        """Give the name of the Kubernetes Secret, as our hints have it."""
        return object_name(self.declared)

    @property
    def directory(self) -> str:
        """Give where the secrets are mounted in a pod.

        Not at ``/run/secrets``: a service-account token would be below it
        (kubernetes/kubernetes#65835).
        """
        return f"/run/secrets/{self.name}"

    @property
    def start_seconds(self) -> int:
        """Give the whole seconds that a start may take."""
        return math.ceil(self.start)

    def grace(self, *, kubernetes: bool = False) -> int:
        """Give the whole seconds that the platform has to wait before it kills."""
        drain = self.drain
        if drain is None:
            drain = _DRAIN if kubernetes and self.served else 0.0
        return math.ceil((PRE_STOP if kubernetes else 0) + drain + self.stop + _SPARE)

    def required(self, profile: Profile) -> list[SecretItem]:
        """Give the secrets that a start under ``profile`` needs, and those that are used."""
        return [item for item in self.items if self._needs(item, profile)]

    def optional(self, profile: Profile) -> list[SecretItem]:
        """Give the others."""
        return [item for item in self.items if not self._needs(item, profile)]

    def _needs(self, item: SecretItem, profile: Profile) -> bool:
        default = item.field.dev_default is not None and profile == "development"
        return item.name in self.used or (item.field.required_for(profile) and not default)


def items_of(fields: Iterable[Field]) -> tuple[SecretItem, ...]:
    """Give each field the name that its file has on a platform, no two the same."""
    items: list[SecretItem] = []
    taken: set[str] = set()
    for each in fields:
        file = each.file_name
        # What a key of a Secret allows is allowed everywhere; its dots must not come first.
        plain = re.sub(r"[^-._a-zA-Z0-9]+", "-", file).lstrip(".")[:200] or "secret"
        key, number = plain, 1
        while key.lower() in taken:
            number += 1
            key = f"{plain}-{number}"
        taken.add(key.lower())
        items.append(SecretItem(field=each, file=file, key=key))
    return tuple(items)


def name_of(declared: type[Any]) -> str:
    """Give the name of an application: ``HiveSecrets`` is ``hive``."""
    stem = re.sub(r"_?(SecretSet|Secrets?|Inventory)$", "", declared.__name__, flags=re.IGNORECASE)
    above = [part for part in declared.__module__.split(".") if part != "__main__"]
    for each in (stem, *above[:1]):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", each).lower()
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-0123456789")[:50].rstrip("-")
        if name:
            return name
    return "app"


def declared_facts(plan: AppDeclaration) -> dict[str, Any]:
    """Give what the declaration says about a deployment."""
    declared = plan.declared
    return {
        "declared": declared.__name__,
        "items": items_of(declared._field_index.all_fields),  # noqa: SLF001  (as a start does)
        "watch": plan.watch,
        "served": plan.main is None,
        "probe_port": plan.probe_port or None,
        "start": plan.wait_for_files + plan.startup_timeout,
        "drain": plan.shutdown_delay,
        "stop": plan.shutdown_timeout,
    }
