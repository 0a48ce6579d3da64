"""What was typed, as the deployment that was meant."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

from hive_boot.cli.applications import find
from hive_boot.cli.usage import UsageError
from hive_boot.manifests.deployment import Deployment, described, name_of
from hive_boot.manifests.targets import PROBED
from hive_boot.manifests.writing import WORDS

if TYPE_CHECKING:
    from argparse import Namespace

PORT = 8000
"""Where a service is served when nobody says it."""

BASE = "python:3.13-slim"
"""What an image is made from when nobody says it."""

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")


def deployment_of(arguments: Namespace) -> Deployment:
    """Give the deployment that was meant.

    Raises:
        UsageError: something is not said, or not clearly, or cannot be.
    """
    boot = find(arguments.app)
    plan = boot._plan  # noqa: SLF001  (what was declared)
    facts = described(plan)
    name = arguments.name or name_of(plan.declared)
    if not _NAME.fullmatch(name):
        message = f"--name is a letter and at most 49 of a-z, 0-9 and '-', and {name!r} is not"
        raise UsageError(message)
    if name in WORDS:
        message = f"{name} is no text to readers of YAML: say another --name"
        raise UsageError(message)
    port = arguments.port
    if port is not None and not 0 < port < 1 << 16:
        message = "--port has to be a number from 1 to 65535"
        raise UsageError(message)
    if port is not None and port == facts["probe_port"]:
        message = f"{port} is the probe_port of {arguments.app}: nothing else can be served there"
        raise UsageError(message)
    if PROBED.intersection(arguments.target):
        _refuse_unclear(arguments, facts)
    if port is None and facts["served"]:
        port = PORT
    names = {item.name for item in facts["items"]}
    return Deployment(
        **facts,
        name=name,
        port=port,
        image=_line(arguments, "image") or f"{name}:1",
        base=_line(arguments, "base"),
        command=_command(arguments),
        env=_env(arguments.env, names),
        used=_used(arguments.use, names),
        install=_line(arguments, "install"),
        context=(_source(arguments.app), *map(_inside, arguments.context)),
        copies=tuple(map(_inside, arguments.copy)),
        writable=tuple(dict.fromkeys(map(_absolute, arguments.writable))),
        told=_told(arguments),
    )


def _refuse_unclear(arguments: Namespace, facts: dict[str, Any]) -> None:
    if facts["served"] and arguments.command is None:
        message = (
            f"{arguments.app} has no main, so something has to serve it: say --command "
            f"'hive-boot run {arguments.app} --serve package.module:web --host 0.0.0.0'"
        )
        raise UsageError(message)
    if not facts["served"] and facts["probe_port"] is None and arguments.port is None:
        message = (
            f"{arguments.app} answers no probe: declare Bootstrap(probe_port=…), or say by --port "
            "where it serves HTTP"
        )
        raise UsageError(message)
    _refuse_deaf(arguments)


def _refuse_deaf(arguments: Namespace) -> None:
    """Refuse a command that serves elsewhere than where it is asked."""
    words = _command(arguments)
    if words[:2] != ("hive-boot", "run"):
        return
    from hive_boot.cli.run import parser  # noqa: PLC0415  (few say a command)

    said, _ = parser().parse_known_args(words[2:])
    asked = PORT if arguments.port is None else arguments.port
    if said.serve is None:
        return
    if (PORT if said.port is None else said.port) != asked:
        message = f"--command does not serve at the port {asked}: say --port {asked} in it as well"
    elif said.host in {None, "127.0.0.1", "::1", "localhost"}:
        message = (
            "--command serves inside of its container alone, where nobody asks: say "
            "--host 0.0.0.0 in it"
        )
    else:
        return
    raise UsageError(message)


def _told(arguments: Namespace) -> tuple[str, ...]:
    """Give the words that ask for the same again."""
    words: list[str] = [arguments.app]
    for option in ("name", "image", "port", "command", "base", "install"):
        value = getattr(arguments, option)
        if value is not None and (option, value) not in {("base", BASE), ("install", ".")}:
            words += [f"--{option}", str(value)]
    for option in ("env", "use", "writable", "context", "copy"):
        for value in getattr(arguments, option):
            words += [f"--{option}", value]
    return tuple(words)


def _command(arguments: Namespace) -> tuple[str, ...]:
    line = _line(arguments, "command") or f"hive-boot run {arguments.app}"
    try:
        return tuple(shlex.split(line))
    except ValueError as exc:
        message = f"--command is what a shell would be told: {exc}"
    raise UsageError(message)


def _line(arguments: Namespace, option: str) -> str:
    value: str | None = getattr(arguments, option)
    if value is None:
        return ""
    if not value.strip() or not value.isprintable():
        message = f"--{option} has to be one line, without control characters"
        raise UsageError(message)
    return value


def _source(app: str) -> str:
    """Name what the application is imported from: a directory, or a file."""
    top = app.partition(":")[0].partition(".")[0]
    return top if hasattr(sys.modules[top], "__path__") else f"{top}.py"


def _env(given: list[str], secrets: set[str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            message = "--env is NAME=VALUE, and NAME a variable's name"
        elif name in secrets or name.removesuffix("_FILE") in secrets:
            message = f"{name} is a secret: it is mounted as a file, and stands in no manifest"
        elif name.startswith("HIVE_BOOT_"):
            message = f"{name} is said by the manifests themselves"
        elif not value.isprintable():
            message = f"--env {name}: the value has to be one line, without control characters"
        else:
            env[name] = value
            continue
        raise UsageError(message)
    return env


def _used(given: list[str], secrets: set[str]) -> frozenset[str]:
    unknown = sorted(set(given) - secrets)
    if unknown:
        message = f"--use takes the name of a declared secret, and {unknown[0]!r} is none"
        raise UsageError(message)
    return frozenset(given)


def _inside(path: str) -> str:
    parts = path.strip("/").split("/")
    if path.startswith("/") or {"", ".", ".."}.intersection(parts) or not path.isprintable():
        message = f"a path of the repository is relative and below it, and {path!r} is not"
        raise UsageError(message)
    path = path.rstrip("/")
    if any(f"{path}/".startswith(f"{place}/") for place in ("secrets", "deploy/secrets")):
        message = f"{path} is where the secrets are, which are no part of an image"
        raise UsageError(message)
    return path


def _absolute(path: str) -> str:
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[\w.-]+)+", path, re.ASCII) or {".", ".."}.intersection(
        path.split("/")
    ):
        message = (
            f"--writable is an absolute path of letters, digits and . _ -, and {path!r} is not"
        )
        raise UsageError(message)
    if path in {"/tmp", "/run"} or f"{path}/".startswith("/run/secrets/"):  # noqa: S108  (in a container)
        message = f"--writable {path} has its place already: /tmp is writable, the secrets are not"
        raise UsageError(message)
    return path
