"""Tell what a migration has done, or would do; never a value."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from hive_boot.cli.showing import Cell, painted, say, show_table
from hive_boot.secrets.hints import near_misses

if TYPE_CHECKING:
    from hive_boot.cli.migration import Migration
    from hive_boot.secrets.field import Field


def facts_of(migration: Migration, *, dry: bool) -> dict[str, Any]:
    """Give it for programs."""
    amendment = migration.amendment
    return {
        "declaration": migration.declaration,
        "directory": str(migration.shown),
        "dry_run": dry,
        "secrets": [
            {
                "name": item.name,
                "file": str(migration.shown / item.file),
                "state": "new" if item.is_new else "unchanged",
            }
            for item in migration.items
        ],
        "missing": [field.name for field in migration.absent],
        "tightened": migration.tightens,
        "gitignore": amendment and {"file": str(amendment.path), "line": amendment.line},
        "rewritten": [
            {"file": str(each.path), "lines": each.lines} for each in migration.rewritings
        ],
        "warnings": migration.warnings,
    }


def show(migration: Migration, app: str, *, dry: bool) -> None:
    """Show it to a person, with what comes next."""
    shown = migration.shown
    say(painted("Nothing was written. This would be done:" if dry else "Done:", "bold"))
    say()
    show_table(("NAME", "FILE", ""), _rows(migration))
    say()
    for line in _done(migration):
        say(f"- {line}")
    for warning in migration.warnings:
        say(f"{painted('warning:', 'yellow')} {warning}")
    if dry:
        return
    directory = shlex.quote(str(shown))
    say()
    say(painted("Next:", "bold"))
    say("- judge it as a start would:")
    say(f"    HIVE_BOOT_SECRETS_DIR={directory} hive-boot check {app}")
    say("  A directory means the profile production; on this machine there may be")
    say("  HIVE_BOOT_PROFILE=development before it.")
    say("- run it with Compose:")
    say(f"    hive-boot manifests {app} --target compose --write")
    say("- change one later, in place:")
    say(f"    hive-boot rotate NAME --to {directory}")


def _rows(migration: Migration) -> list[list[Cell]]:
    rows = [
        [
            Cell(item.name, "bold"),
            Cell(str(migration.shown / item.file)),
            Cell("new", "green") if item.is_new else Cell("unchanged", "dim"),
        ]
        for item in migration.items
    ]
    return rows + [
        [Cell(field.name, "bold"), Cell("-", "dim"), Cell(_absent(field, migration))]
        for field in migration.absent
    ]


def _absent(field: Field, migration: Migration) -> str:
    where = "" if field.required else f" in {', '.join(sorted(field.required_in))}"
    near = near_misses(field, migration.found.names)
    meant = f" (there is {near[0]})" if near else ""
    return f"required{where}, and not there{meant}"


def _done(migration: Migration) -> list[str]:
    shown = migration.shown
    lines = []
    if any(item.is_new for item in migration.items):
        lines.append(f"new files are 0444, so that a container may read them, in {shown}, 0700")
    if migration.tightens:
        lines.append(f"{shown} becomes 0700: others get into it so far")
    if amendment := migration.amendment:
        lines.append(f"{amendment.path} gets the line {amendment.line}, so git ignores {shown}")
    for each in migration.rewritings:
        become = "line becomes a comment" if each.lines == 1 else "lines become comments"
        lines += [
            f"{each.lines} {become} in {each.path}; the values stay in there until you delete them"
        ]
    if not migration.rewritings:
        files = " and ".join(map(str, migration.files))
        lines.append(f"{files} stays as it is, values and all; --rewrite comments them out")
    return lines
