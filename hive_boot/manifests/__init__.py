"""Deployment: the declaration of an application and the options of the command, as facts."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hive_boot.secrets.fix_hints import object_name
from hive_boot.secrets.validation import placeholder
from hive_boot.secrets.value import SecretBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hive_boot.runtime.declarations import AppDeclaration
    from hive_boot.secrets.fields import Field, Profile

USER = 10001
"""User and group of the process; no system assigns numbers from 10000 on to its own users."""

_PRE_STOP = 5
"""Seconds between the request to stop a pod and SIGTERM, for load balancers to remove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretItem:
    """One secret, as platforms name it.

    Attributes:
        field: the field of the declaration.
        file: the file that it is read from.
        key: the key of the Kubernetes Secret, or the name of the credential.
    """

    field: Field
    file: str
    key: str

    @property
    def name(self) -> str:
        """Return the name of the variable."""
        return self.field.name

    @property
    def binary(self) -> bool:
        """Return whether the value is bytes instead of text."""
        return self.field.kind is SecretBytes

    @property
    def is_previous(self) -> bool:
        """Return whether it is the value before the last rotation, of ``previous=``."""
        return "." in self.field.attribute

    @property
    def renamed(self) -> bool:
        """Return whether the platform needs the name of the file beside the key."""
        return self.key != self.file

    @property
    def about(self) -> str:
        """Return what the secret is for, as one line."""
        previous = "the value before the last rotation" if self.is_previous else ""
        used_by = f"used by {self.field.used_by}" if self.field.used_by else ""
        return one_line("; ".join(filter(None, [previous, used_by, self.field.description])))

    @property
    def placeholder(self) -> str:
        """Return what a rendered Secret contains instead of the value."""
        text = placeholder(self.name)
        return base64.b64encode(text.encode()).decode() if self.binary else text

    @property
    def stored_name(self) -> str:
        """Return the name of the file in ``/etc/credstore``.

        It is the name that migrate and rotate use, if a line of a unit can contain it.
        """
        plain = self.file.isprintable() and self.file == self.file.strip("\\ ")
        return self.file if plain else self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything that a rendered file can depend on.

    Attributes:
        declaration: the declaration of the application.
        items: every secret, including those of ``previous=``.
        name: the name of the application.
        port: the port of HTTP; None without one.
        image: the image, with its tag.
        base: the base image.
        command: the command that starts the application.
        env: settings that are not secret.
        used: optional secrets that are provided, by the names of their variables.
        install: the arguments of ``pip install``.
        context: the paths of the repository that the build needs.
        copies: the paths among them that are copied into the image.
        writable: directories that the process writes to, besides ``/tmp``.
        replicas: the number of pods.
        cpu: the processors that a pod requests, and their limit, as Kubernetes quantities.
        memory: the same of the memory.
        egress: the TCP ports that the process connects to, besides 443.
        fleet_wait: the URL of the Prometheus that a Job asks whether every instance has followed a
            rotation; empty for no Job.
        fleet_selector: the targets of that Prometheus that are instances.
        fleet_stage: the stage that the Job waits for.
        rerun_arguments: the arguments that render the same again, without the target.
    """

    declaration: AppDeclaration
    items: tuple[SecretItem, ...]
    name: str
    port: int | None
    image: str
    base: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    used: frozenset[str]
    install: str
    context: tuple[str, ...]
    copies: tuple[str, ...]
    writable: tuple[str, ...]
    replicas: int
    cpu: tuple[str, str]
    memory: tuple[str, str]
    egress: tuple[int, ...]
    rerun_arguments: tuple[str, ...]
    fleet_wait: str = ""
    fleet_selector: str = ""
    fleet_stage: str = "current"

    @property
    def object_name(self) -> str:
        """Return the name of the Kubernetes Secret, the same as in fix hints."""
        return object_name(self.declaration.declared.__name__)

    @property
    def directory(self) -> str:
        """Return where the secrets are mounted in a pod.

        Not at ``/run/secrets``: a service-account token would be below it
        (kubernetes/kubernetes#65835).
        """
        return f"/run/secrets/{self.name}"

    @property
    def ports(self) -> list[int]:
        """Return the ports of the process."""
        ports = (self.port, self.probe_port)
        return list(dict.fromkeys(port for port in ports if port is not None))

    @property
    def probe_port(self) -> int | None:
        """Return the port of the probes; None if HTTP answers them."""
        return self.declaration.probe_port or None

    @property
    def probed_port(self) -> int | None:
        """Return the port that answers probes."""
        return self.probe_port or self.port

    @property
    def fleet_timeout(self) -> int:
        """Return how long the Job waits, in whole seconds.

        The kubelet needs about a minute for the volume, and then each of these times passes.
        """
        fields = self.declaration.field_index.fields.values()
        delays = (each.activate_after + each.accept_old_for for each in fields)
        return math.ceil(600 + 2 * max(delays, default=0))

    @property
    def create_secret(self) -> list[str]:
        """Return the command that creates the Kubernetes Secret from files."""
        files = ["--from-file=secrets/"]
        if any(item.renamed for item in self.items):
            items, _ = self.files("production")
            files = [f"--from-file={item.key}=secrets/{item.file}" for item in items]
        return ["kubectl", "create", "secret", "generic", self.object_name, *files]

    @property
    def start_seconds(self) -> int:
        """Return how long a start may take, in whole seconds."""
        return math.ceil(self.declaration.wait_for_files + self.declaration.startup_timeout)

    @property
    def pre_stop(self) -> int:
        """Return the seconds before SIGTERM in a pod; 0 for a worker, which gets no requests."""
        return _PRE_STOP if self.port is not None else 0

    def grace(self, *, kubernetes: bool = False) -> int:
        """Return the whole seconds that the platform must wait before it kills."""
        steps = shutdown_steps(self.declaration, kubernetes=kubernetes).values()
        return math.ceil(sum(steps, self.pre_stop if kubernetes else 0))

    def compose_name(self, item: SecretItem) -> str:
        """Return the name of a secret in Compose, which ignores keys that begin with ``x-``."""
        taken = {each.key for each in self.items}
        name = item.key
        while name.startswith("x-") or (name != item.key and name in taken):
            name = f"_{name}"
        return name

    def required(self, profile: Profile) -> list[SecretItem]:
        """Return the secrets that a start under ``profile`` needs, and those of ``used``."""
        return [item for item in self.items if self._needs(item, profile)]

    def optional(self, profile: Profile) -> list[SecretItem]:
        """Return the other secrets."""
        return [item for item in self.items if not self._needs(item, profile)]

    def files(self, profile: Profile) -> tuple[list[SecretItem], list[SecretItem]]:
        """Return the required and the optional secrets, of the members of a file the first."""
        required, optional = self.required(profile), self.optional(profile)
        first = {item.file: item for item in reversed(required + optional)}
        return [item for item in required if first[item.file] is item], [
            item for item in optional if first[item.file] is item
        ]

    def _needs(self, item: SecretItem, profile: Profile) -> bool:
        default = item.field.dev_default is not None and profile == "development"
        return item.name in self.used or (item.field.required_for(profile) and not default)


def items_of(fields: Iterable[Field]) -> tuple[SecretItem, ...]:
    """Return each field with the name of its file on a platform.

    No two are the same, except those of members of one file.
    """
    items: list[SecretItem] = []
    taken: set[str] = set()
    keys: dict[str, str] = {}
    for each in fields:
        file = each.bundle or each.file_name
        if file not in keys:
            # A key of a Secret is valid on every platform; it must not begin with a dot.
            plain = re.sub(r"[^-._a-zA-Z0-9]+", "-", file).lstrip(".")[:200] or "secret"
            key, number = plain, 1
            while key.lower() in taken:
                number += 1
                key = f"{plain}-{number}"
            taken.add(key.lower())
            keys[file] = key
        items.append(SecretItem(field=each, file=file, key=keys[file]))
    return tuple(items)


def name_of(declared: type[Any]) -> str:
    """Return the name of an application: ``hive`` for ``HiveSecrets``."""
    stem = re.sub(r"_?(SecretSet|Secrets?|Inventory)$", "", declared.__name__, flags=re.IGNORECASE)
    above = [part for part in declared.__module__.split(".") if part != "__main__"]
    for each in (stem, *above[:1]):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", each).lower()
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-0123456789")[:50].rstrip("-")
        if name:
            return name
    return "app"


def shutdown_steps(declaration: AppDeclaration, *, kubernetes: bool) -> dict[str, float]:
    """Return the seconds of each step of the longest shutdown, after SIGTERM.

    The shutdown delay and the grace periods of main and services pass at the same time.
    """
    delay = declaration.shutdown_delay
    if delay is None:
        # boot.run(), which an application with a main uses, has no default delay.
        is_served = kubernetes and declaration.main is None
        delay = declaration.timings.kubernetes_shutdown_delay if is_served else 0.0
    grace_periods = (service.grace_period for service in declaration.services)
    grace = max(declaration.main_grace_period, *grace_periods, 0.0)
    first = {"grace_period": grace} if grace > delay else {"shutdown_delay": delay}
    return {
        **first,
        "shutdown_timeout": declaration.shutdown_timeout,
        "forced exit": declaration.timings.forced_exit_delay,
    }


def one_line(text: str) -> str:
    """Return a text as one line, without control characters and repeated blanks."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
