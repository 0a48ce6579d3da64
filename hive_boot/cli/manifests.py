"""``hive-boot manifests``: renders deploy files from the declaration, or compares them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli import run as run_command
from hive_boot.cli.app_loader import load_application
from hive_boot.cli.arguments import (
    EXIT_FAILURE,
    CommandError,
    Parser,
    UsageError,
    os_error_text,
)
from hive_boot.cli.output import Cell, print_json, print_line, print_text
from hive_boot.cli.secret_files import errors_reported, named_directory, refuse_links
from hive_boot.manifests.deployment import Deployment, declared_facts, name_of
from hive_boot.manifests.output_files import compare, write
from hive_boot.manifests.quoting import WORDS
from hive_boot.manifests.rendering import PROBED, TARGETS, TemplateError, render

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hive_boot.manifests.output_files import File

DEFAULT_PORT = 8000
"""The port of a service without ``--port``."""

DEFAULT_BASE = "python:3.13-slim"
"""The base image without ``--base``."""

_CPU = "100m:1"
_MEMORY = "128Mi:512Mi"
_REPLICAS = 2

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")

_RENDER_OPTIONS = (
    *("name", "image", "port", "command", "base", "install", "templates", "replicas", "cpu"),
    *("memory", "env", "use", "writable", "egress", "context", "copy"),
)
"""Options on which the text of the files depends, in the order of the header."""

_UNITS = {"": 1.0, "m": 1e-3, "Ki": 1.0, "Mi": 1024.0, "Gi": 1024.0**2}
"""Units of quantities; the memory is compared in KiB."""

_WRITTEN = {
    "new": ("new", "green"),
    "changed": ("changed", "yellow"),
    "unchanged": ("unchanged", "dim"),
}
_CHECKED = {"new": ("missing", "red"), "changed": ("differs", "red"), "unchanged": ("same", "")}
"""The name and the style of each state for ``--write`` and for ``--check``."""


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "manifests",
        "Render the files of a deployment from the declaration.\n"
        "To stdout; or --write them; or --check that the files are what would be written,\n"
        "exit 1 when they are not. Changes by hand belong in an overlay or an override.",
        example="hive-boot manifests app:boot --target compose --write\n"
        "hive-boot manifests app:boot --target kubernetes --port 8000 --check",
    )
    parser.add_app()
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        choices=list(TARGETS),
        help="what to render; compose includes the Dockerfile and .dockerignore. Repeatable",
    )
    mode = parser.add_mutually_exclusive_group()
    for flag, about in (
        ("--write", "write below DIR, which is created"),
        ("--check", "compare with what is in DIR"),
    ):
        mode.add_argument(flag, nargs="?", const=".", metavar="DIR", help=f"{about} (.)")
    parser.add_json()
    parser.add_argument("--name", help="the name of the application (HiveSecrets: hive)")
    parser.add_argument("--image", help="the image, with its tag (NAME:1)")
    parser.add_argument(
        "--port", type=int, help=f"the port of HTTP ({DEFAULT_PORT}; none with a main)"
    )
    parser.add_argument("--command", help="the command that starts it (hive-boot run APP)")
    parser.add_argument("--base", default=DEFAULT_BASE, help="the base image (%(default)s)")
    parser.add_argument(
        "--replicas", type=int, default=_REPLICAS, help="the number of pods (%(default)s)"
    )
    for flag, default in (("--cpu", _CPU), ("--memory", _MEMORY)):
        parser.add_argument(
            flag,
            default=default,
            metavar="REQUEST[:LIMIT]",
            help="Kubernetes quantities, LIMIT the same without one (%(default)s)",
        )
    parser.add_argument(
        "--egress",
        action="append",
        default=[],
        type=int,
        metavar="PORT",
        help="a TCP port that it connects to, such as that of a database. Repeatable",
    )
    for flag, metavar, about in (
        ("--env", "NAME=VALUE", "a setting that is not secret"),
        ("--use", "NAME", "an optional secret that is provided"),
        ("--writable", "PATH", "a directory that it writes to, besides /tmp"),
        ("--context", "PATH", "another file or directory that the build of the image needs"),
        ("--copy", "PATH", "a part of that to copy into the image"),
    ):
        parser.add_argument(
            flag, action="append", default=[], metavar=metavar, help=f"{about}. Repeatable"
        )
    parser.add_argument("--install", default=".", help="the arguments of pip install (%(default)s)")
    parser.add_argument(
        "--templates", metavar="DIR", help="a directory of templates to use instead of ours"
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: an argument is invalid or missing.
        CommandError: a file would be lost, cannot be read or written, or a template cannot be used.
    """
    rendered = _render(arguments)
    directory = arguments.write if arguments.check is None else arguments.check
    if directory is None:
        _print(rendered, json=arguments.json)
        return 0
    root, is_check = Path(directory), arguments.check is not None
    with errors_reported(root):
        if not root.is_dir() and (root.exists() or is_check):
            message = f"{root} is not a directory"
            raise UsageError(message)
        for path in () if is_check else rendered:
            refuse_links(named_directory(root), path, root)
        files = compare(root, rendered)
        if not is_check:
            _refuse_losses(root, files)
            write(root, files)
    return _print_result(root, files, is_check=is_check, json=arguments.json)


def _render(arguments: Namespace) -> dict[str, str]:
    templates = None if arguments.templates is None else Path(arguments.templates)
    deployment = build_deployment(arguments)
    try:
        return render(deployment, arguments.target, templates)
    except TemplateError as exc:
        raise CommandError(str(exc)) from exc
    except OSError as exc:
        message = f"--templates {templates}: {os_error_text(exc)}"
        raise UsageError(message) from None


def _print(rendered: dict[str, str], *, json: bool) -> None:
    if json:
        print_json({"files": [{"path": path, "text": text} for path, text in rendered.items()]})
        return
    yaml = False
    for path, text in rendered.items():
        if len(rendered) > 1:
            if yaml and path.endswith((".yml", ".yaml")):
                print_line("---")
            print_line(f"# {path}")
        yaml = path.endswith((".yml", ".yaml"))
        print_text(text.rstrip("\n"))


def _refuse_losses(root: Path, files: Sequence[File]) -> None:
    lost = [
        f"  {root / file.path} {file.overwrite_blocker}" for file in files if file.overwrite_blocker
    ]
    if lost:
        message = "nothing was written; move these files away first:"
        raise CommandError(message, *lost)


def _print_result(root: Path, files: Sequence[File], *, is_check: bool, json: bool) -> int:
    states = _CHECKED if is_check else _WRITTEN
    differing = [file for file in files if file.state != "unchanged"]
    ok = not (is_check and differing)
    if json:
        facts = [
            {"path": file.path, "state": states[file.state][0], "difference": file.difference}
            for file in files
        ]
        print_json({"ok": ok, "directory": str(root), "files": facts})
        return 0 if ok else EXIT_FAILURE
    for file in differing if is_check else files:
        state, style = states[file.state]
        separator = ": " if is_check else f"{'':{11 - len(state)}}"
        print_line(Cell(state, style), f"{separator}{root / file.path}")
        for line in file.difference if is_check and file.there is not None else ():
            print_line(f"  {line}")
    if is_check and ok:
        print_line(f"All {len(files)} files match the declaration.")
    elif is_check:
        print_line(f"{len(differing)} of {len(files)} differ; to write them, use --write")
    return 0 if ok else EXIT_FAILURE


def build_deployment(arguments: Namespace) -> Deployment:
    """Return the deployment that the arguments describe.

    Raises:
        UsageError: an argument is invalid or missing.
    """
    boot = load_application(arguments.app)
    plan = boot._declaration  # noqa: SLF001  (same package)
    facts = declared_facts(plan)
    name = arguments.name or name_of(plan.declared)
    if not _NAME.fullmatch(name):
        message = f"--name must be a letter and at most 49 of a-z, 0-9 and '-'; {name!r} is not"
        raise UsageError(message)
    if name in WORDS:
        message = f"YAML reads {name} as a value of another type: choose another --name"
        raise UsageError(message)
    port = arguments.port
    _check_options(arguments)
    if port is not None and port == facts["probe_port"]:
        message = f"{port} is the probe_port of {arguments.app}: choose another --port"
        raise UsageError(message)
    if PROBED.intersection(arguments.target):
        _check_command(arguments, facts)
    if port is None and facts["served"]:
        port = DEFAULT_PORT
    names = {item.name for item in facts["items"]}
    return Deployment(
        **facts,
        name=name,
        port=port,
        image=arguments.image or f"{name}:1",
        base=arguments.base,
        command=_command(arguments),
        env=_env(arguments.env, names),
        used=_used(arguments.use, names),
        install=arguments.install,
        context=(_source(arguments.app), *map(_inside, arguments.context)),
        copies=tuple(map(_inside, arguments.copy)),
        writable=tuple(dict.fromkeys(map(_absolute, arguments.writable))),
        replicas=arguments.replicas,
        cpu=_quantities("--cpu", arguments.cpu, r"\d+m|\d+(?:\.\d{1,3})?"),
        memory=_quantities("--memory", arguments.memory, r"\d+[KMG]i"),
        egress=tuple(sorted(set(arguments.egress) - {443})),
        rerun_arguments=rerun_arguments(arguments),
    )


def _check_options(arguments: Namespace) -> None:
    """Raise for a text that is not one line, and for a number out of its range."""
    for option in ("image", "base", "command", "install"):
        value = getattr(arguments, option)
        if value is not None and not (value.strip() and value.isprintable()):
            message = f"--{option} must be one line, without control characters"
            raise UsageError(message)
    ports = [("--port", arguments.port), *(("--egress", port) for port in arguments.egress)]
    for option, port in ports:
        if port is not None and not 0 < port < 1 << 16:
            message = f"{option} must be a number from 1 to 65535"
            raise UsageError(message)
    if arguments.replicas < 1:
        message = "--replicas must be 1 or more"
        raise UsageError(message)


def _quantities(option: str, text: str, pattern: str) -> tuple[str, str]:
    """Return the request and the limit of a resource, as Kubernetes quantities."""
    request, _, limit = text.partition(":")
    both = (request, limit or request)
    if not all(re.fullmatch(pattern, each) for each in both) or _amount(both[0]) > _amount(both[1]):
        message = f"{option} must be REQUEST or REQUEST:LIMIT, such as "
        message += f"{_CPU if option == '--cpu' else _MEMORY}; {text!r} is not"
        raise UsageError(message)
    return both


def _amount(quantity: str) -> float:
    number = quantity.rstrip("mKMGi")
    return float(number) * _UNITS[quantity.removeprefix(number)]


def _check_command(arguments: Namespace, facts: dict[str, Any]) -> None:
    """Raise if the probes of the platform would not reach the application."""
    asked = DEFAULT_PORT if arguments.port is None else arguments.port
    words = _command(arguments)
    # Of another command than that of hive_boot it is not known where it serves.
    known = words[2:] if words[:2] == ("hive-boot", "run") else ()
    options, _ = run_command.parser().parse_known_args(known)
    if facts["served"] and arguments.command is None:
        message = (
            f"{arguments.app} has no main, so a server must run it: use --command "
            f"'hive-boot run {arguments.app} --serve package.module:web --host 0.0.0.0'"
        )
    elif not facts["served"] and facts["probe_port"] is None and arguments.port is None:
        message = (
            f"{arguments.app} answers no probe: declare Bootstrap(probe_port=…), or use --port "
            "for the port at which it serves HTTP"
        )
    elif options.serve is None:
        return
    elif (DEFAULT_PORT if options.port is None else options.port) != asked:
        message = f"--command does not serve at the port {asked}: add --port {asked} to it"
    elif options.host in {None, "127.0.0.1", "::1", "localhost"}:
        message = (
            "--command serves at the loopback address of its container, which no probe reaches: "
            "add --host 0.0.0.0 to it"
        )
    else:
        return
    raise UsageError(message)


def rerun_arguments(arguments: Namespace) -> tuple[str, ...]:
    """Return the arguments that render the same files again."""
    defaults, words = parser(), [arguments.app]
    for option in _RENDER_OPTIONS:
        value = getattr(arguments, option)
        if value not in (None, defaults.get_default(option)):
            for each in value if isinstance(value, list) else [value]:
                words += [f"--{option}", str(each)]
    return tuple(words)


def _command(arguments: Namespace) -> tuple[str, ...]:
    line = arguments.command or f"hive-boot run {arguments.app}"
    try:
        return tuple(shlex.split(line))
    except ValueError as exc:
        message = f"--command must be words as in a shell: {exc}"
    raise UsageError(message)


def _source(app: str) -> str:
    """Return what the application is imported from: a directory, or a file."""
    top = app.partition(":")[0].partition(".")[0]
    return top if hasattr(sys.modules.get(top), "__path__") else f"{top}.py"


def _env(given: list[str], secrets: set[str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            message = "--env must be NAME=VALUE, where NAME is a valid variable name"
        elif name in secrets or name.removesuffix("_FILE") in secrets:
            message = f"{name} is a secret: it is mounted as a file, and is in no manifest"
        elif name.startswith("HIVE_BOOT_"):
            message = f"{name} is set by the manifests themselves"
        elif not value.isprintable():
            message = f"--env {name}: the value must be one line, without control characters"
        else:
            env[name] = value
            continue
        raise UsageError(message)
    return env


def _used(given: list[str], secrets: set[str]) -> frozenset[str]:
    unknown = sorted(set(given) - secrets)
    if unknown:
        message = f"--use takes the name of a declared secret; {unknown[0]!r} is not declared"
        raise UsageError(message)
    return frozenset(given)


def _inside(path: str) -> str:
    parts = path.strip("/").split("/")
    if path.startswith("/") or {"", ".", ".."}.intersection(parts) or not path.isprintable():
        message = f"a path of the build must be relative and below the repository; {path!r} is not"
        raise UsageError(message)
    path = path.rstrip("/")
    if any(f"{path}/".startswith(f"{place}/") for place in ("secrets", "deploy/secrets")):
        message = f"{path} holds the secrets, which do not belong in an image"
        raise UsageError(message)
    return path


def _absolute(path: str) -> str:
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[\w.-]+)+", path, re.ASCII) or {".", ".."}.intersection(
        path.split("/")
    ):
        message = (
            f"--writable must be an absolute path of letters, digits and . _ -; {path!r} is not"
        )
        raise UsageError(message)
    if path in {"/tmp", "/run"} or f"{path}/".startswith("/run/secrets/"):  # noqa: S108  (in a container)
        message = f"--writable {path} is mounted already: /tmp is writable, the secrets are not"
        raise UsageError(message)
    return path
