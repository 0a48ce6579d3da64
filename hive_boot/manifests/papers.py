"""What people read: ``.env.example``, and a table of the inventory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hive_boot.manifests.writing import comment, header, join_lines, one_line

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment, SecretItem


def env_example(deployment: Deployment) -> str:
    """Render ``.env.example``."""
    lines: list[str] = []
    for item in deployment.required("development"):
        lines += ["", *comment(_sentences(item)), f"{item.name}="]
    for item in deployment.optional("development"):
        lines += ["", *comment(_sentences(item)), f"# {item.name}="]
    return join_lines(
        header(
            deployment,
            "env-example",
            "Copy it to .env, which git must not know, and fill in what has no # before it: a "
            "start on your own machine needs that.",
        ),
        lines,
    )


def field_index(deployment: Deployment) -> str:
    """Render ``SECRETS.md``."""
    head = header(deployment, "markdown")
    return join_lines(
        "<!--",
        [line.removeprefix("# ").replace("--", "- -").replace("#", "") for line in head[:1]],
        [line.removeprefix("# ").replace("-->", "- ->") for line in head[1:]],
        "-->",
        f"# The secrets of {_text(deployment.name)}",
        "",
        "| name | file | required | used by | what it has to be |",
        "|---|---|---|---|---|",
        [_row(item) for item in deployment.items],
    )


def _row(item: SecretItem) -> str:
    field = item.field
    used_by = field.used_by or ("the value before" if "." in field.attribute else "")
    cells = [
        _code(item.name),
        _code(item.file),
        _required(item),
        _text(used_by),
        _text("; ".join(filter(None, [field.description, *_rules(item)]))),
    ]
    return f"| {' | '.join(cells)} |"


def _required(item: SecretItem) -> str:
    if item.field.required:
        return "yes"
    profiles = ", ".join(sorted(item.field.required_in))
    return f"in {profiles}" if profiles else "no"


def _rules(item: SecretItem) -> list[str]:
    field = item.field
    unit = "bytes" if item.binary else "characters"
    rules = []
    if field.min_length is not None:
        rules.append(f"at least {field.min_length} {unit}")
    if field.max_length is not None:
        rules.append(f"at most {field.max_length} {unit}")
    if field.pattern is not None:
        rules.append("of a pattern")
    if field.dev_default is not None:
        rules.append("has a default for development")
    return rules


def _sentences(item: SecretItem) -> str:
    required = _required(item)
    need = "" if required == "no" else f"required {required}".replace(" yes", "")
    parts = [need, item.about, *_rules(item)]
    text = "; ".join(filter(None, parts)) or "optional"
    return f"{text[0].upper()}{text[1:]}."


def _code(text: str) -> str:
    return f"`{text}`" if re.fullmatch(r"[\w./-]+", text, re.ASCII) else _text(text)


def _text(text: str) -> str:
    """Give a text that Markdown shows as it is, in one cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", one_line(text))
