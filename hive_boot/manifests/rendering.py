"""Rendering of Jinja2 templates, with quoting filters; comparison with the existing files."""

from __future__ import annotations

import base64
import json
import re
import shlex
import textwrap
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hive_boot.manifests import USER, Deployment, one_line
from hive_boot.secrets.sources.files import read_regular_file
from hive_boot.secrets.validation import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from jinja2 import Environment

    from hive_boot.secrets.fields import Profile

RENDERED = "Rendered by hive-boot"
"""Text at the beginning of every rendered file; a file without it is not overwritten."""

TARGETS: dict[str, tuple[tuple[str, str, Profile], ...]] = {
    "compose": (
        ("docker-compose.yml", "docker-compose.yml.j2", "development"),
        ("deploy/docker-compose.yml", "docker-compose.yml.j2", "production"),
        ("deploy/Dockerfile", "Dockerfile.j2", "production"),
        (".dockerignore", "dockerignore.j2", "production"),
    ),
    "kubernetes": tuple(
        (f"deploy/k8s/{name}.yaml", f"{name}.yaml.j2", "production")
        for name in (
            "deployment",
            "poddisruptionbudget",
            "networkpolicy",
            "service",
            "secret",
            "kustomization",
            "fleet-wait",
        )
    ),
    "systemd": (("deploy/systemd/{name}.service", "systemd.service.j2", "production"),),
    "env-example": ((".env.example", "env.example.j2", "development"),),
    "markdown": (("SECRETS.md", "SECRETS.md.j2", "production"),),
}
"""The files of each target: path, template and the profile that decides what is required."""

PROBED = frozenset({"compose", "kubernetes"})
"""The targets whose platform probes the process."""

MAX_TEMPLATE_SIZE = 1 << 20
"""Maximum bytes of a template in the directory of ``--templates``."""


class TemplateError(Exception):
    """Jinja2 is not installed, or a template cannot be used; the text names what to change."""


def render(
    deployment: Deployment, targets: Iterable[str], templates: Path | None = None
) -> dict[str, str]:
    """Return the text of each file of the targets, by path.

    Args:
        deployment: what is deployed.
        targets: names in :data:`TARGETS`.
        templates: a directory with templates that replace those of the same name.

    Raises:
        TemplateError: jinja2 is not installed, or a template is unknown or invalid.
        OSError: the directory cannot be read.
    """
    environment = _environment(templates)
    return {
        path.format(name=deployment.name): _render(
            environment, template, deployment, target, profile
        )
        for target in dict.fromkeys(targets)
        for path, template, profile in TARGETS[target]
        if _is_needed(template, deployment)
    }


def _is_needed(template: str, deployment: Deployment) -> bool:
    """Return whether the deployment has what a template describes."""
    # A Kubernetes Service needs a port.
    needed = {
        "service.yaml.j2": deployment.port is not None,
        "fleet-wait.yaml.j2": bool(deployment.fleet_wait),
    }
    return needed.get(template, True)


def _environment(templates: Path | None) -> Environment:
    try:
        import jinja2  # no other command renders templates
    except ModuleNotFoundError:
        raise TemplateError(
            "manifests requires jinja2, which is not installed. "
            "Fix: pip install 'hive_boot[deploy]'"
        ) from None
    loader: jinja2.BaseLoader = jinja2.PackageLoader("hive_boot.manifests")
    if templates is not None:
        _check_directory(templates, loader.list_templates())
        loader = jinja2.ChoiceLoader([jinja2.FileSystemLoader(templates), loader])
    environment = jinja2.Environment(
        loader=loader,
        # Escaping for HTML would corrupt every format here; FILTERS has a filter for each.
        autoescape=False,  # noqa: S701
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    return environment


def _check_directory(directory: Path, known: list[str]) -> None:
    for path in sorted(directory.iterdir()):
        if path.name not in known:
            message = f"{path} must have the name of a template: {', '.join(known)}"
        elif not path.is_file() or path.stat().st_size > MAX_TEMPLATE_SIZE:
            message = f"{path} must be a file of at most {MAX_TEMPLATE_SIZE} bytes"
        else:
            continue
        raise TemplateError(message)


def _render(
    environment: Environment, template: str, deployment: Deployment, target: str, profile: Profile
) -> str:
    required, optional = deployment.files(profile)
    try:
        text = environment.get_template(template).render(
            app=deployment,
            header=_header(deployment, target),
            optional=optional,
            profile=profile,
            required=required,
            user=USER,
        )
    except Exception as exc:  # an expression in a custom template can raise anything
        message = f"template {template}{_line(exc)}: {str(exc) or type(exc).__name__}"
        raise TemplateError(message) from exc
    if RENDERED not in text[:400]:
        raise TemplateError(
            f"template {template} must print {{{{ header }}}} in its first lines: --write does not "
            "overwrite a file without it"
        )
    return text


def _line(exc: Exception) -> str:
    """Return the line of a template that an exception names, as text; empty if it is not known."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(exc.__traceback__)
        if frame.filename.endswith(".j2")
    ]
    number = getattr(exc, "lineno", None) or (lines[-1] if lines else None)
    return f", line {number}" if number else ""


def _header(deployment: Deployment, target: str) -> str:
    """Return the first lines of a file, with the command that renders it again."""
    app, *options = deployment.rerun_arguments
    words = ["hive-boot", "manifests", app, "--target", target, *options, "--write"]
    declared = one_line(deployment.declaration.declared.__name__)
    first = f"# {RENDERED} from {declared}; do not edit, render it again:"
    return f"{first}\n{comment_command(words)}"


_HEADER = re.compile(rf"(?m)^.*{RENDERED}.*\n(?:# {{5,}}.*\n?)+")
"""The first lines of a file, with the command that renders it."""

SECRET_FILES = frozenset({"deploy/k8s/secret.yaml", ".env.example"})
"""Files in which a user may have written values, although they are not meant for values."""

State = Literal["new", "changed", "unchanged"]

_PLACEHOLDERS = (MARK, base64.b64encode(MARK.encode())[:-4].decode())
"""Beginning of a placeholder in a rendered file, as text and in base64."""

_NAME_AND_VALUE = re.compile(r"\s*[^#\s].*?(?::\s|=)\s*\S.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A rendered file and the existing one.

    Attributes:
        path: relative to the directory.
        text: what was rendered.
        existing: the text of the existing file; None if it does not exist.
    """

    path: str
    text: str
    existing: str | None

    @property
    def state(self) -> State:
        """Return the effect that writing would have."""
        if self.existing is None:
            return "new"
        return "unchanged" if self.existing == self.text else "changed"

    @property
    def differs_in_header(self) -> bool:
        """Return whether the existing file differs only in the command that renders it."""
        existing = self.existing or ""
        is_same = _HEADER.sub("", existing, count=1) == _HEADER.sub("", self.text, count=1)
        return is_same and self.state == "changed"

    @property
    def overwrite_blocker(self) -> str:
        """Return why the existing file must not be overwritten; empty if it may."""
        if self.existing is None or self.existing == self.text:
            return ""
        if RENDERED not in self.existing[:400]:
            return "was not rendered by this command"
        if self.path in SECRET_FILES and _holds_values(self.existing, self.text):
            return "contains what may be the value of a secret"
        return ""


def compare(directory: Path, rendered: Mapping[str, str]) -> list[File]:
    """Return the rendered files, each with the existing one.

    Raises:
        OSError: a file cannot be read.
    """
    return [
        File(path=path, text=text, existing=_read(directory / path))
        for path, text in rendered.items()
    ]


def _read(path: Path) -> str | None:
    try:
        return read_regular_file(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _holds_values(existing: str, rendered: str) -> bool:
    """Return whether a file has a name and a value that are not in the rendered file."""
    rendered_lines = set(rendered.splitlines())
    # A Secret has its values after stringData or data, other files in every line.
    in_values = "stringData" not in existing
    for line in existing.splitlines():
        in_values = in_values or line in {"stringData:", "data:"}
        is_added = in_values and line not in rendered_lines and _NAME_AND_VALUE.fullmatch(line)
        if is_added and not any(each in line for each in _PLACEHOLDERS):
            return True
    return False


_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
"""Words that YAML 1.1 reads as a value of another type than text."""

_WIDTH = 98

_PLAIN_YAML = re.compile(r"(\./|/)?[A-Za-z][-A-Za-z0-9_./:]*[A-Za-z0-9]")


def yaml_scalar(text: str) -> str:
    """Return a text as a YAML scalar that every YAML parser reads as this text."""
    if text.lower() not in _YAML_WORDS and _PLAIN_YAML.fullmatch(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    # YAML has every escape that Python has.
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def yaml_dollar(text: str) -> str:
    """Return a text as a YAML scalar for a program that expands ``$`` and reads ``$$`` as ``$``."""
    return yaml_scalar(text.replace("$", "$$"))


def dockerfile(text: str) -> str:
    """Return a text as the value of an ``ENV`` instruction."""
    return _quoted(text, plain=r"[A-Za-z0-9_./:@,-]+", special=r'(["\\$])')


def _quoted(text: str, *, plain: str, special: str) -> str:
    if re.fullmatch(plain, str(text)):  # str() raises if a template variable is undefined
        return text
    return '"' + re.sub(special, r"\\\1", text) + '"'


def dockerignore(path: str) -> str:
    """Return a path as a pattern that matches only this path."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", path.strip("/"))


def systemd_text(text: str) -> str:
    """Return a text for a unit setting that needs no quotes; only ``%`` is special in it."""
    return text.replace("%", "%%")


def systemd(text: str) -> str:
    """Return a text as one word of a unit setting."""
    return _quoted(systemd_text(text), plain=r"[\w./:=@,+%$-]+", special=r'(["\\])')


def systemd_word(text: str) -> str:
    """Return a text as one word of ``ExecStart=``, where systemd expands variables too."""
    return systemd(text.replace("$", "$$"))


def shell(words: str | Iterable[str]) -> str:
    """Return a word, or a command of several words, quoted for a shell."""
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


def comment(text: str, indent: int = 0) -> str:
    """Return a text as lines of comment; an empty string for an empty text."""
    lines = textwrap.wrap(one_line(text), _WIDTH - indent, break_on_hyphens=False)
    return "".join(f"{' ' * indent}# {line}\n" for line in lines)


def comment_out(text: str, indent: int, *, when: object = True) -> str:
    """Return lines with ``#`` at the column ``indent`` if ``when`` is true, else unchanged."""
    return re.sub(f"(?m)^.{{{indent}}}(?=.)", r"\g<0># ", text) if when else text


def comment_command(words: Iterable[str]) -> str:
    """Return a shell command as lines of comment, without a line end after the last one."""
    lines = []
    line = "#    "
    for word in (one_line(shlex.quote(word)) for word in words):
        if len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = "#        "
        line = f"{line} {word}"
    return "\n".join([*lines, line])


_BY_NAME: tuple[Callable[..., str], ...] = (
    comment,
    comment_command,
    comment_out,
    dockerfile,
    dockerignore,
    markdown,
    markdown_code,
    one_line,
    shell,
    systemd,
    systemd_text,
    systemd_word,
)
FILTERS: dict[str, Callable[..., str]] = {
    **{each.__name__: each for each in _BY_NAME},
    "compose": yaml_dollar,
    "kubernetes_env": yaml_dollar,
    "json": json_array,
    "yaml": yaml_scalar,
}
"""The quoting filters of the templates, by name."""
