"""Quoting of text for YAML, Compose, Dockerfile, systemd, shell and Markdown; comment lines."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
"""Words that YAML 1.1 reads as a value of another type than text."""

_WIDTH = 98

_PLAIN = re.compile(r"(\./|/)?[A-Za-z][-A-Za-z0-9_./:]*[A-Za-z0-9]")


def yaml_scalar(text: str) -> str:
    """Return a text as a YAML scalar that every reader takes for this text."""
    if text.lower() not in _WORDS and _PLAIN.fullmatch(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    # YAML has every escape that Python has.
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def yaml_dollar(text: str) -> str:
    """Return a YAML scalar for a reader that expands ``$`` and reads ``$$`` as one ``$``."""
    return yaml_scalar(text.replace("$", "$$"))


def dockerfile(text: str) -> str:
    """Return a text as the value of an ``ENV`` instruction."""
    return _quoted(text, plain=r"[A-Za-z0-9_./:@,-]+", special=r'(["\\$])')


def _quoted(text: str, *, plain: str, special: str) -> str:
    if re.fullmatch(plain, str(text)):  # str() of an undefined value of a template raises
        return text
    return '"' + re.sub(special, r"\\\1", text) + '"'


def dockerignore(path: str) -> str:
    """Return a path as a pattern that matches only this path."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", path.strip("/"))


def systemd_text(text: str) -> str:
    """Return a text for a unit setting without quotes: ``%`` begins a specifier."""
    return text.replace("%", "%%")


def systemd(text: str) -> str:
    """Return a text as one word of a unit setting."""
    return _quoted(systemd_text(text), plain=r"[\w./:=@,+%$-]+", special=r'(["\\])')


def systemd_word(text: str) -> str:
    """Return a text as one word of ``ExecStart=``, where systemd expands variables too."""
    return systemd(text.replace("$", "$$"))


def shell(words: str | Iterable[str]) -> str:
    """Return a word, or words with blanks between them, as a shell reads them."""
    return shlex.quote(words) if isinstance(words, str) else shlex.join(words)


def json_array(words: Iterable[str]) -> str:
    """Return words as a JSON array, the exec form of a Dockerfile instruction."""
    return json.dumps(list(words), ensure_ascii=False)


def markdown(text: str) -> str:
    """Return a text that Markdown shows unchanged in one cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", one_line(text))


def markdown_code(text: str) -> str:
    """Return a name in backquotes if it contains nothing that Markdown interprets."""
    plain = text.isascii() and re.fullmatch(r"[\w./-]+", text)
    return f"`{text}`" if plain else markdown(text)


def one_line(text: str) -> str:
    """Return a text as one line, without control characters and repeated blanks."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def comment(text: str, indent: int = 0) -> str:
    """Return a text as whole lines of comment; an empty string for no text."""
    lines = textwrap.wrap(one_line(text), _WIDTH - indent, break_on_hyphens=False)
    return "".join(f"{' ' * indent}# {line}\n" for line in lines)


def comment_out(text: str, indent: int, *, when: object = True) -> str:
    """Return lines with ``#`` at the column ``indent`` if ``when`` is true, else unchanged."""
    return re.sub(f"(?m)^.{{{indent}}}(?=.)", r"\g<0># ", text) if when else text


def comment_command(words: Iterable[str]) -> str:
    """Return a shell command as lines of comment, without the last line end."""
    lines = []
    line = "#    "
    for word in [one_line(shlex.quote(word)) for word in words]:
        if len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = "#        "
        line = f"{line} {word}"
    return "\n".join([*lines, line])


_BY_NAME: tuple[Callable[..., str], ...] = (
    *(comment, comment_command, comment_out, dockerfile, dockerignore, markdown, markdown_code),
    *(one_line, shell, systemd, systemd_text, systemd_word),
)
FILTERS: dict[str, Callable[..., str]] = {
    **{each.__name__: each for each in _BY_NAME},
    "compose": yaml_dollar,
    "kubernetes_env": yaml_dollar,
    "json": json_array,
    "yaml": yaml_scalar,
}
"""The quoting filters of the templates, by name."""
