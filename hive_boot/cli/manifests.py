"""``hive-boot manifests``: renders deploy files from the declaration, or compares them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli import (
    EXIT_FAILURE,
    Cell,
    CommandError,
    Parser,
    UsageError,
    os_error_text,
    print_error,
    print_json,
    print_line,
    print_text,
)
from hive_boot.cli.app_loader import load_application, serve_command
from hive_boot.cli.file_writing import FileTransaction
from hive_boot.cli.fleet_evidence import Selector
from hive_boot.cli.fleet_judgement import STAGES
from hive_boot.cli.probe import parse_url
from hive_boot.cli.secret_files import errors_reported, named_directory, refuse_links
from hive_boot.manifests import Deployment, items_of, name_of
from hive_boot.manifests.rendering import PROBED, TARGETS, File, TemplateError, compare, render

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from hive_boot.runtime.declarations import AppDeclaration

DEFAULT_PORT = 8000
"""The port of a service without ``--port``."""

_INSTALLED = (".txt", ".in", ".whl", ".zip", ".gz")
"""Suffixes of the files that pip reads."""

_CPU = "100m:1"
_MEMORY = "128Mi:512Mi"

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")

_NOT_RENDERED = frozenset({"app", "target", "write", "check", "json"})
"""Arguments that do not change the text of the files."""

_WRITTEN = {"new": "green", "changed": "yellow", "unchanged": "dim"}
"""The style of each state for ``--write``."""

_CHECKED = {"new": "missing", "changed": "differs", "unchanged": "same"}
"""The name of each state for ``--check``."""


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "manifests",
        "Render the files of a deployment from the declaration.\n"
        "Print them to stdout, write them with --write, or compare them to existing\n"
        "files with --check, which exits with 1 if they differ. Changes by hand belong\n"
        "in an overlay or an override.",
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
        ("--write", "write below DIR, which is created if it does not exist"),
        ("--check", "compare with the files in DIR"),
    ):
        mode.add_argument(flag, nargs="?", const=".", metavar="DIR", help=f"{about} (.)")
    parser.add_json()
    parser.add_argument("--name", help="the name of the application (HiveSecrets: hive)")
    parser.add_argument("--image", help="the image, with its tag (NAME:1)")
    parser.add_argument(
        "--port", type=int, help=f"the HTTP port ({DEFAULT_PORT}; none if APP has a main)"
    )
    parser.add_argument(
        "--command", help="the command that starts the application (hive-boot run APP)"
    )
    parser.add_argument("--base", default="python:3.13-slim", help="the base image (%(default)s)")
    parser.add_argument("--install", default=".", help="the arguments of pip install (%(default)s)")
    parser.add_argument(
        "--templates", metavar="DIR", help="a directory of templates that replace built-in ones"
    )
    parser.add_argument("--replicas", type=int, default=2, help="the number of pods (%(default)s)")
    for flag, default in (("--cpu", _CPU), ("--memory", _MEMORY)):
        parser.add_argument(
            flag,
            default=default,
            metavar="REQUEST[:LIMIT]",
            help="Kubernetes quantities; LIMIT is REQUEST if it is omitted (%(default)s)",
        )
    for flag, metavar, about in (
        ("--fleet-wait", "URL", "render a Job that asks this Prometheus to prove a rotation"),
        ("--fleet-selector", "MATCHERS", 'the targets that are instances (job="NAME")'),
    ):
        parser.add_argument(flag, metavar=metavar, help=about)
    parser.add_argument(
        "--fleet-stage",
        choices=STAGES,
        default="current",
        help="the stage that the Job waits for (%(default)s)",
    )
    for flag, metavar, about in (
        ("--egress", "PORT", "a TCP port that APP connects to, such as that of a database"),
        ("--env", "NAME=VALUE", "a setting that is not secret"),
        ("--use", "NAME", "an optional secret that is provided"),
        ("--writable", "PATH", "a directory that APP writes to, besides /tmp"),
        ("--context", "PATH", "another file or directory that the build of the image needs"),
        ("--copy", "PATH", "a file or directory to copy into the image, below /app"),
    ):
        parser.add_argument(
            flag,
            action="append",
            default=[],
            type=int if metavar == "PORT" else str,
            metavar=metavar,
            help=f"{about}. Repeatable",
        )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: an argument is invalid or missing.
        CommandError: a file would be lost, cannot be read or written, or a template cannot be used.
    """
    rendered = _render(arguments)
    if "compose" in arguments.target and _lacks_project(arguments.install):
        print_error(
            "warning: the image is built with `pip install .`, and this directory has no "
            "pyproject.toml. For a single file use --copy, --context and --install"
        )
    directory = arguments.write if arguments.check is None else arguments.check
    if directory is None:
        _print(rendered, json=arguments.json)
        return 0
    root, is_check = Path(directory), arguments.check is not None
    with errors_reported(root):
        if not root.is_dir() and (root.exists() or is_check):
            raise UsageError(f"{root} is not a directory")
        for path in () if is_check else rendered:
            refuse_links(named_directory(root), path, root)
        files = compare(root, rendered)
        if not is_check:
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
        raise UsageError(f"--templates {templates}: {os_error_text(exc)}") from None


def _print(rendered: dict[str, str], *, json: bool) -> None:
    if json:
        print_json({"files": [{"path": path, "text": text} for path, text in rendered.items()]})
        return
    for path, text in rendered.items():
        if len(rendered) > 1:
            if path.endswith((".yml", ".yaml")):
                print_line("---")
            print_line(f"# {path}")
        print_text(text.rstrip("\n"))


def write(directory: Path, files: Sequence[File]) -> None:
    """Write the new and the changed files; if one of them fails, the others stay as they were.

    Raises:
        OSError: a file cannot be written.
        CommandError: a file would be lost, or was changed meanwhile.
    """
    blocked = [each for each in files if each.overwrite_blocker]
    if blocked:
        lines = [f"  {directory / each.path} {each.overwrite_blocker}" for each in blocked]
        raise CommandError("nothing was written; move these files away first:", *lines)
    target = named_directory(directory)
    with FileTransaction() as transaction:
        for file in files:
            path, existing = target / file.path, file.existing
            path.parent.mkdir(parents=True, exist_ok=True)
            before = None if existing is None else existing.encode("utf-8", "surrogateescape")
            if file.state != "unchanged":
                transaction.write(path, file.text.encode(), before)


def _print_result(root: Path, files: Sequence[File], *, is_check: bool, json: bool) -> int:
    differing = [file for file in files if file.state != "unchanged"]
    status = EXIT_FAILURE if is_check and differing else 0
    if json:
        facts = [
            {"path": file.path, "state": _CHECKED[file.state] if is_check else file.state}
            for file in files
        ]
        print_json({"ok": status == 0, "directory": str(root), "files": facts})
        return status
    for file in differing if is_check else files:
        if is_check:
            print_line(Cell(_CHECKED[file.state], "red"), f": {root / file.path}")
        else:
            print_line(Cell(f"{file.state:<11}", _WRITTEN[file.state]), f"{root / file.path}")
    if status:
        print_line(f"{len(differing)} of {len(files)} differ; to write them, use --write")
        if all(file.differs_in_header for file in differing):
            print_line(
                "Only the command in the first lines of the files differs: use the options of "
                "that command with --check"
            )
    elif is_check:
        print_line(f"All {len(files)} files match the declaration.")
    return status


def build_deployment(arguments: Namespace) -> Deployment:
    """Return the deployment that the arguments describe.

    Raises:
        UsageError: an argument is invalid or missing.
    """
    declaration = load_application(arguments.app)._declaration
    index = declaration.field_index
    name = arguments.name or name_of(declaration.declared)
    for problem in _problems(arguments, declaration, name):
        raise UsageError(problem)
    return Deployment(
        declaration=declaration,
        items=items_of([*index.all_fields, *([index.version_field] if index.version else [])]),
        name=name,
        port=arguments.port or (DEFAULT_PORT if declaration.main is None else None),
        image=arguments.image or f"{name}:1",
        base=arguments.base,
        command=tuple(shlex.split(_command(arguments))),
        env={key: value for key, _, value in (text.partition("=") for text in arguments.env)},
        used=frozenset(arguments.use),
        install=arguments.install,
        context=(_source(arguments.app), *(path.rstrip("/") for path in arguments.context)),
        copies=tuple(path.rstrip("/") for path in arguments.copy),
        writable=tuple(dict.fromkeys(path.rstrip("/") for path in arguments.writable)),
        replicas=arguments.replicas,
        cpu=_quantities(arguments.cpu),
        memory=_quantities(arguments.memory),
        egress=tuple(sorted(set(arguments.egress) - {443})),
        rerun_arguments=rerun_arguments(arguments),
        fleet_wait=arguments.fleet_wait or "",
        fleet_selector=arguments.fleet_selector or f'job="{name}"',
        fleet_stage=arguments.fleet_stage,
    )


def _problems(arguments: Namespace, declaration: AppDeclaration, name: str) -> Iterator[str]:
    """Yield what is wrong with the arguments; a later problem may follow from the first one."""
    if not _NAME.fullmatch(name):
        yield (
            "--name must have at most 50 of a-z, 0-9 and '-', begin with a letter and not end with "
            f"'-'; {name!r} does not"
        )
    for option in ("image", "base", "command", "install"):
        value = getattr(arguments, option)
        if value is not None and not (value.strip() and value.isprintable()):
            yield f"--{option} must be one line, without control characters"
    yield from _number_problems(arguments, declaration)
    yield from _fleet_problems(arguments, declaration)
    try:
        shlex.split(_command(arguments))
    except ValueError as exc:
        yield f"--command must be words as in a shell: {exc}"
    if PROBED.intersection(arguments.target):
        yield from _probe_problems(arguments, declaration)
    yield from _name_problems(arguments, declaration)
    yield from _path_problems(arguments)


def _number_problems(arguments: Namespace, declaration: AppDeclaration) -> Iterator[str]:
    """Yield what is wrong with the ports, the replicas and the resources."""
    ports = [("--port", arguments.port), *(("--egress", port) for port in arguments.egress)]
    for option, port in ports:
        if port is not None and not 0 < port < 1 << 16:
            yield f"{option} must be a number from 1 to 65535"
    if arguments.port is not None and arguments.port == declaration.probe_port:
        yield f"{arguments.port} is the probe_port of {arguments.app}: choose another --port"
    if arguments.replicas < 1:
        yield "--replicas must be 1 or more"
    for option, text, pattern, example in (
        ("--cpu", arguments.cpu, r"[0-9]+m|[0-9]+(?:\.[0-9]{1,3})?", _CPU),
        ("--memory", arguments.memory, r"[0-9]+[KMG]i", _MEMORY),
    ):
        if not all(re.fullmatch(pattern, each) for each in _quantities(text)):
            yield f"{option} must be REQUEST or REQUEST:LIMIT, such as {example}; {text!r} is not"


def _fleet_problems(arguments: Namespace, declaration: AppDeclaration) -> Iterator[str]:
    """Yield what is wrong with the options of the Job that waits."""
    if arguments.fleet_wait is None:
        if arguments.fleet_selector is not None or arguments.fleet_stage != "current":
            yield "--fleet-selector and --fleet-stage are only valid with --fleet-wait"
        return
    parse_url("--fleet-wait", arguments.fleet_wait)
    Selector(arguments.fleet_selector or "", option="--fleet-selector")
    if not declaration.field_index.version:
        yield (
            f"--fleet-wait needs a version: class {declaration.declared.__name__}(SecretSet, "
            "version=…)"
        )


def _probe_problems(arguments: Namespace, declaration: AppDeclaration) -> Iterator[str]:
    """Yield why the probes of the platform would not reach the application."""
    app = arguments.app
    if declaration.main is None and arguments.command is None:
        yield (f"{app} has no main, so a server must run it: use --command '{serve_command(app)}'")
    words = shlex.split(_command(arguments))
    if words[:2] == ["hive-boot", "run"] and "--serve" in words and "--host" not in words:
        yield "without --host, --serve listens on 127.0.0.1 alone: add --host 0.0.0.0 to --command"
    if declaration.main and not declaration.probe_port and arguments.port is None:
        yield (
            f"{app} answers no probe: declare Bootstrap(probe_port=…), or use --port for the port "
            "at which it serves HTTP"
        )
    host = declaration.probe_host
    everywhere = {None, "0.0.0.0", "::"}  # noqa: S104  (compared, not bound)
    if "kubernetes" in arguments.target and host not in everywhere:
        yield (
            f"{app} listens for probes only on {host}, but the kubelet connects to the address of "
            "the pod: remove probe_host="
        )


def _name_problems(arguments: Namespace, declaration: AppDeclaration) -> Iterator[str]:
    """Yield what is wrong with ``--env`` and ``--use``."""
    index = declaration.field_index
    for text in arguments.env:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield "--env must be NAME=VALUE, where NAME is a valid variable name"
        if {name, name.removesuffix("_FILE")} & index.by_variable.keys():
            yield f"{name} is a secret: it is mounted as a file, and must not be in a manifest"
        if name.startswith("HIVE_BOOT_"):
            yield f"{name} is set by the manifests themselves"
        if not value.isprintable():
            yield f"--env {name}: the value must be one line, without control characters"
    for name in sorted({*arguments.use} - {field.name for field in index.all_fields}):
        yield f"--use takes the name of a declared secret; {name!r} is not declared"


def _path_problems(arguments: Namespace) -> Iterator[str]:
    """Yield what is wrong with ``--context``, ``--copy`` and ``--writable``."""
    for path in (*arguments.context, *arguments.copy):
        parts = path.strip("/").split("/")
        if path.startswith("/") or {"", ".", ".."}.intersection(parts) or not path.isprintable():
            yield f"a path of the build must be relative and below the repository; {path!r} is not"
        if parts[0] == "secrets" or parts[:2] == ["deploy", "secrets"]:
            yield f"{path} holds the secrets, which do not belong in an image"
    if "compose" in arguments.target:
        yield from _install_problems(arguments)
    for path in (each.rstrip("/") for each in arguments.writable):
        if not re.fullmatch(r"(/(?!\.\.?(/|$))[\w.-]+)+", path, re.ASCII):
            yield f"--writable must be an absolute path of letters, digits and ._-; {path!r} is not"
        if path in {"/tmp", "/run"} or f"{path}/".startswith("/run/secrets/"):  # noqa: S108  (in a container)
            yield f"--writable {path} is mounted already: /tmp is writable, the secrets are not"


def _install_problems(arguments: Namespace) -> Iterator[str]:
    """Yield the files of ``--install`` that the build of the image would not have."""
    included = tuple(each.strip("/") for each in (*arguments.context, *arguments.copy))
    for word in _words(arguments.install):
        path = word.rpartition("=")[2].removeprefix("./")
        if path.endswith(_INSTALLED) and "://" not in path:
            top = path.partition("/")[0]
            if not any(f"{path}/".startswith(f"{each}/") for each in included):
                yield f"--install: {path} is not in the build of the image: add --context {top}"


def _lacks_project(install: str) -> bool:
    """Return whether pip would install this directory, which is not a project."""
    is_project = any(Path(name).exists() for name in ("pyproject.toml", "setup.py"))
    return "." in _words(install) and not is_project


def _words(command: str) -> list[str]:
    """Return the words of a command; none if a quote is not closed, which pip reports."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _command(arguments: Namespace) -> str:
    return arguments.command or f"hive-boot run {arguments.app}"


def _quantities(text: str) -> tuple[str, str]:
    """Return the request and the limit of a resource."""
    request, _, limit = text.partition(":")
    return request, limit or request


def rerun_arguments(arguments: Namespace) -> tuple[str, ...]:
    """Return the arguments that render the same files again."""
    defaults, words = parser(), [arguments.app]
    for option, value in vars(arguments).items():
        if option not in _NOT_RENDERED and value not in (None, defaults.get_default(option)):
            for each in value if isinstance(value, list) else [value]:
                words += [f"--{option.replace('_', '-')}", str(each)]
    return tuple(words)


def _source(app: str) -> str:
    """Return the directory or the file that the application is imported from."""
    top = app.partition(":")[0].partition(".")[0]
    return top if hasattr(sys.modules.get(top), "__path__") else f"{top}.py"
