"""Documents of a deployment: their text format, and the instructions that come with them."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment, SecretItem

_WIDTH = 98


RENDERED = "Rendered by hive-boot"
"""How the first line of every file of ours begins."""


_PLAIN = re.compile(r"(\./|/)?[A-Za-z][-A-Za-z0-9_./:]*[A-Za-z0-9]")


WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
"""What YAML 1.1 takes for something else than text."""


def quoted(text: str, *, dollar: str = "$") -> str:
    """Give a text as a scalar of YAML that no reader takes for anything else.

    Args:
        text: any text.
        dollar: what stands for a dollar sign.
    """
    if _PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return f'"{"".join(dollar if each == "$" else _escaped(each) for each in text)}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    if code < 1 << 8:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """Give a text as one line: for a comment, or where a line end would end more."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def comment(text: str, indent: int = 0) -> list[str]:
    """Give a text as lines of comment; none for no text."""
    head = f"{' ' * indent}# "
    lines = textwrap.wrap(one_line(text), _WIDTH - indent, break_on_hyphens=False)
    return [head + line for line in lines]


def json_array(words: tuple[str, ...]) -> str:
    """Give a command in the form that a Dockerfile executes as it is."""
    return json.dumps(list(words), ensure_ascii=False)


def header(deployment: Deployment, target: str, *about: str) -> list[str]:
    """Give the first lines of a file: what has rendered it, and what it is.

    Args:
        deployment: what is deployed.
        target: what was asked for.
        about: paragraphs for who reads the file.
    """
    app, *options = deployment.rerun_arguments
    words = ["hive-boot", "manifests", app, "--target", target, *options, "--write"]
    lines = [f"# {RENDERED} from {one_line(deployment.declared)}; do not edit, render it again:"]
    lines += command(words)
    for paragraph in about:
        lines += ["#", *comment(paragraph)]
    return lines


def command(words: list[str]) -> list[str]:
    """Give a command for a shell as lines of comment."""
    lines = []
    line = "#    "
    for word in [one_line(shlex.quote(word)) for word in words]:
        if len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = "#        "
        line = f"{line} {word}"
    return [*lines, line]


def join_lines(*parts: list[str] | str) -> str:
    """Put lines together to a file."""
    lines: list[str] = []
    for part in parts:
        lines += [part] if isinstance(part, str) else part
    return "\n".join(lines) + "\n"


def dedented_lines(text: str, indent: int = 0) -> list[str]:
    """Give the lines of a written-out piece, moved to where it stands."""
    return textwrap.indent(textwrap.dedent(text).strip("\n"), " " * indent).split("\n")


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
