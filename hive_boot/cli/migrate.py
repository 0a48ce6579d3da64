"""``hive-boot migrate``: write the secrets of a ``.env`` file into files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.applications import find
from hive_boot.cli.dotenv_lines import refuse_losses
from hive_boot.cli.gitignore import repository_of
from hive_boot.cli.migration import Migration
from hive_boot.cli.secret_files import content_of
from hive_boot.cli.sightings import differing, in_directory, in_env_files
from hive_boot.cli.staging import Staging
from hive_boot.cli.telling import facts_of, show
from hive_boot.cli.usage import Parser, Refusal, UsageError, reason
from hive_boot.secrets.sources.dotenv import read_dotenv

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


def parser() -> Parser:
    """Give what it takes."""
    parser = Parser(
        "migrate",
        "Write each declared secret that a .env file holds into a file of its own.\n"
        "The files get the mode 0444 and the directory 0700, and git ignores it then.\n"
        "All of it is done, or nothing. Without --rewrite the .env file stays as it is.",
        example="hive-boot migrate app:boot --env-file .env --to secrets/ --dry-run\n"
        "hive-boot migrate app:boot --env-file .env --to secrets/ --rewrite",
    )
    parser.takes_app()
    parser.add_argument(
        "--env-file",
        action="append",
        metavar="FILE",
        help="the file; of several the last one is the strongest. Default: the one that a "
        "start in development reads",
    )
    parser.add_argument(
        "--to", default="secrets", metavar="DIR", help="the directory. Default: secrets"
    )
    parser.add_argument(
        "--rewrite", action="store_true", help="comment the secrets out in the .env file"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and write nothing"
    )
    parser.takes_json()
    return parser


def run(arguments: Namespace) -> int:
    """Do it.

    Raises:
        UsageError: the file is not there, or the directory cannot be one of secrets alone.
        SecretsError: a line of the file cannot be read.
        Refusal: something is in the way, or could not be written; nothing was changed.
    """
    boot = find(arguments.app)
    plan = boot._plan  # noqa: SLF001  (ours)
    files = [Path(file) for file in arguments.env_file or [plan.wishes.dotenv or ".env"]]
    _refuse_place(arguments.to, files)
    migration = Migration(plan.declared, files, Path(arguments.to), rewrite=arguments.rewrite)
    if not arguments.dry_run:
        perform(migration)
    if arguments.json:
        from hive_boot.cli.showing import answer  # noqa: PLC0415  (few ask)

        answer(facts_of(migration, dry=arguments.dry_run))
    else:
        show(migration, arguments.app, dry=arguments.dry_run)
    return 0


def _refuse_place(to: str, files: Sequence[Path]) -> None:
    for file in files:
        if not file.exists():
            message = f"there is no file {file}: name it with --env-file"
            raise UsageError(message)
    if not to.isprintable():
        message = "--to has to be the path of a directory that can be printed"
        raise UsageError(message)
    directory = Path(to).resolve()
    root = repository_of(directory)
    if any(each.is_relative_to(directory) for each in (Path.cwd(), *([root] if root else []))):
        message = (
            f"--to has to be a directory for secrets alone, as secrets/; {to} holds more than those"
        )
        raise UsageError(message)
    if directory.exists() and not directory.is_dir():
        message = f"--to has to be a directory; {to} is a file"
        raise UsageError(message)
    if any((each / "__init__.py").exists() for each in (directory, *directory.parents)):
        message = (
            f"--to has to be a directory outside of packages, as secrets/; {to} is in one, "
            "and would go with it into what is built"
        )
        raise UsageError(message)


def perform(migration: Migration) -> None:
    """Do everything, or nothing.

    Raises:
        Refusal: nothing, and why.
    """
    failure = ""
    try:
        with Staging() as staging:
            _stage(migration, staging)
            staging.commit()
    except OSError as exc:
        place = exc.filename2 or exc.filename or migration.shown
        failure = f"nothing was changed, because of {place}: {reason(exc).lower()}"
    except Refusal as exc:
        # Raised anew below: the frames that it has come through hold values.
        failure = str(exc)
    if failure:
        raise Refusal(failure)


def _stage(migration: Migration, staging: Staging) -> None:
    """Prepare everything, and read it back before it counts."""
    if amendment := migration.amendment:
        staging.replace(amendment.path, amendment.content, amendment.before)
    if migration.tightens:
        staging.tighten(migration.directory)
    new = {item.file: content_of(item.value) for item in migration.items if item.is_new}
    if new:
        refuse_unlike(migration, staging.add(migration.directory, new))
    for rewriting in migration.rewritings:
        path = rewriting.path.resolve()
        staged = staging.replace(path, rewriting.content(), rewriting.before())
        refuse_losses(read_dotenv(str(path)), read_dotenv(str(staged)), migration.names)
    # What is commented out has to be what was written, though somebody may be at the file.
    again = in_env_files(migration.inventory, migration.files)
    if migration.rewritings and differing(migration.inventory, migration.found, again):
        message = "the .env file was changed by somebody else meanwhile: try again"
        raise Refusal(message)


def refuse_unlike(migration: Migration, staged: Path) -> None:
    """Make sure that a start reads from the new files what it reads from the ``.env`` file.

    Raises:
        Refusal: it does not.
    """
    new = {item.attribute for item in migration.items if item.is_new}
    read = in_directory(migration.inventory, staged)
    unlike = [
        field.name
        for field in differing(migration.inventory, migration.found, read)
        if field.attribute in new
    ]
    if unlike:
        message = (
            f"what would be read from files is not what it was for {', '.join(unlike)}, "
            "so nothing was changed"
        )
        raise Refusal(message)
