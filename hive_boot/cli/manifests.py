"""``hive-boot manifests``: render manifests from the declaration, or compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.deploying import BASE, PORT, deployment_of
from hive_boot.cli.showing import answer, painted, say
from hive_boot.cli.usage import NO, Parser, Refusal, UsageError, reason
from hive_boot.manifests.files import compared, write
from hive_boot.manifests.targets import TARGETS, render

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hive_boot.manifests.files import File

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
    parser.add_argument("--port", type=int, help=f"where it serves HTTP ({PORT}; none with a main)")
    parser.add_argument("--command", help="what starts it (hive-boot run APP)")
    parser.add_argument(
        "--base", default=BASE, help="the image that the image is made from (%(default)s)"
    )
    for flag, metavar, about in (
        ("--env", "NAME=VALUE", "a setting that is not secret"),
        ("--use", "NAME", "an optional secret that is there"),
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
    rendered = render(deployment_of(arguments), arguments.target)
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
