"""``hive-boot manifests``: render manifests from the declaration, or compare them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli.applications import find
from hive_boot.cli.showing import answer, painted, say
from hive_boot.cli.usage import NO, Parser, Refusal, UsageError, reason
from hive_boot.manifests.deployment import Deployment, described, name_of
from hive_boot.manifests.files import compared, write
from hive_boot.manifests.targets import PROBED, TARGETS, render

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hive_boot.manifests.files import File

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")
_PORT = 8000
_BASE = "python:3.13-slim"
_STYLES = {"new": "green", "changed": "yellow", "unchanged": "dim"}


def parser() -> Parser:
    """Give what it takes."""
    parser = Parser(
        "manifests",
        "Render what a deployment is made of from the declaration.\n"
        "To stdout; or --write it; or --check that the files are what would be written, exit 1\n"
        "when they are not. What was edited by hand belongs into an overlay or an override.",
        example="hive-boot manifests app:boot --target compose --write\n"
        "hive-boot manifests app:boot --target kubernetes --port 8000 --check",
    )
    parser.takes_app()
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        choices=list(TARGETS),
        help="what to render; compose has the Dockerfile and .dockerignore with it. Repeatable",
    )
    way = parser.add_mutually_exclusive_group()
    for flag, about in (("--write", "write below DIR"), ("--check", "compare with what is in DIR")):
        way.add_argument(flag, nargs="?", const=".", metavar="DIR", help=f"{about} (.)")
    parser.takes_json()
    parser.add_argument("--name", help="of the application (HiveSecrets is hive)")
    parser.add_argument("--image", help="with its tag (NAME:1)")
    parser.add_argument(
        "--port", type=int, help=f"where it serves HTTP ({_PORT}; none with a main)"
    )
    parser.add_argument("--command", help="what starts it (hive-boot run APP)")
    parser.add_argument(
        "--base", default=_BASE, help="the image that the image is made from (%(default)s)"
    )
    for flag, metavar, about in (
        ("--env", "NAME=VALUE", "a setting that is not secret"),
        ("--writable", "PATH", "a directory that it writes to, beside /tmp"),
        ("--context", "PATH", "what else the build of the image needs"),
        ("--copy", "PATH", "what of that is laid into the image as it is"),
    ):
        parser.add_argument(
            flag, action="append", default=[], metavar=metavar, help=f"{about}. Repeatable"
        )
    parser.add_argument("--install", default=".", help="what pip is told to install (%(default)s)")
    return parser


def run(arguments: Namespace) -> int:
    """Do it.

    Raises:
        UsageError: what to render is not said, or not clearly.
        Refusal: a file would be lost, or cannot be read or written.
    """
    rendered = render(_deployment(arguments), arguments.target)
    directory = arguments.write if arguments.check is None else arguments.check
    if directory is None:
        _print(rendered, json=arguments.json)
        return 0
    place = Path(directory)
    try:
        if not place.is_dir():
            message = f"{place} is no directory"
            raise UsageError(message)
        files = compared(place, rendered)
        if arguments.check is None:
            _refuse_losses(place, files)
            write(place, files)
    except OSError as exc:
        message = f"{exc.filename or place}: {reason(exc)}"
        raise Refusal(message) from None
    return _tell(place, files, arguments)


def _print(rendered: dict[str, str], *, json: bool) -> None:
    if json:
        answer({"files": [{"path": path, "text": text} for path, text in rendered.items()]})
        return
    yaml = False
    for path, text in rendered.items():
        if len(rendered) > 1:
            if yaml and path.endswith((".yml", ".yaml")):
                say("---")
            say(f"# {path}")
        yaml = path.endswith((".yml", ".yaml"))
        say(text.rstrip("\n"))


def _refuse_losses(place: Path, files: Sequence[File]) -> None:
    lost = [f"{place / file.path} {file.obstacle}" for file in files if file.obstacle]
    if lost:
        message = "\n  ".join(["nothing is written; move away first:", *lost])
        raise Refusal(message)


def _tell(place: Path, files: Sequence[File], arguments: Namespace) -> int:
    differing = [file for file in files if file.state != "unchanged"]
    well = arguments.check is None or not differing
    if arguments.json:
        facts = [
            {"path": file.path, "state": _state(file, arguments), "difference": file.difference}
            for file in files
        ]
        answer({"ok": well, "directory": str(place), "files": facts})
    elif arguments.check is None:
        for file in files:
            say(f"{painted(f'{file.state:<9}', _STYLES[file.state])}  {place / file.path}")
    else:
        for file in differing:
            say(f"{painted(_state(file, arguments), 'red')}: {place / file.path}")
            if file.there is not None:
                for line in file.difference:
                    say(f"  {line}")
        if well:
            say(f"All {len(files)} files are as the declaration has them.")
        else:
            say(f"{len(differing)} of {len(files)} differ; to write them: the same with --write")
    return 0 if well else NO


def _state(file: File, arguments: Namespace) -> str:
    if arguments.check is None:
        return file.state
    return {"new": "missing", "changed": "differs", "unchanged": "same"}[file.state]


def _deployment(arguments: Namespace) -> Deployment:
    boot = find(arguments.app)
    plan = boot._plan  # noqa: SLF001  (what was declared)
    facts = described(plan)
    name = arguments.name or name_of(plan.declared)
    if not _NAME.fullmatch(name):
        message = f"--name is a letter and at most 49 of a-z, 0-9 and '-', and {name!r} is not"
        raise UsageError(message)
    port = arguments.port
    if port is not None and not 0 < port < 1 << 16:
        message = "--port has to be a number from 1 to 65535"
        raise UsageError(message)
    if PROBED.intersection(arguments.target):
        _refuse_unclear(arguments, facts)
    if port is None and facts["served"]:
        port = _PORT
    return Deployment(
        **facts,
        name=name,
        port=port,
        image=_line(arguments, "image") or f"{name}:1",
        base=_line(arguments, "base"),
        command=_command(arguments),
        env=_env(arguments.env, {item.name for item in facts["items"]}),
        install=_line(arguments, "install"),
        context=(_source(arguments.app), *map(_inside, arguments.context)),
        copies=tuple(map(_inside, arguments.copy)),
        writable=tuple(map(_absolute, arguments.writable)),
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


def _told(arguments: Namespace) -> tuple[str, ...]:
    """Give the words that ask for the same again."""
    words: list[str] = [arguments.app]
    for option in ("name", "image", "port", "command", "base", "install"):
        value = getattr(arguments, option)
        if value is not None and (option, value) not in {("base", _BASE), ("install", ".")}:
            words += [f"--{option}", str(value)]
    for option in ("env", "writable", "context", "copy"):
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


def _inside(path: str) -> str:
    parts = path.strip("/").split("/")
    if path.startswith("/") or {"", ".", ".."}.intersection(parts) or not path.isprintable():
        message = f"a path of the repository is relative and below it, and {path!r} is not"
        raise UsageError(message)
    return path.rstrip("/")


def _absolute(path: str) -> str:
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[\w.-]+)+", path, re.ASCII) or {".", ".."}.intersection(
        path.split("/")
    ):
        message = (
            f"--writable is an absolute path of letters, digits and . _ -, and {path!r} is not"
        )
        raise UsageError(message)
    return path
