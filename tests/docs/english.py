"""English checker: finds the words of english.toml in docstrings, comments, messages and pages.

``python -m tests.docs.english PATH...`` prints the findings and the number of them per 1,000
words. The exit status is 1 when there are findings.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT

WORD_LIST = Path(__file__).with_name("english.toml")

_SENTENCE = 3
"""Words from which on a string literal is checked; a shorter one is a name or a key."""

_DIRECTIVE = re.compile(r"#+|noqa(: [A-Z0-9, ]+)?|type: ignore(\[[^]]*\])?")

_CODE = re.compile(r"``.+?``|`[^`\n]+`", re.DOTALL)

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


class Text(NamedTuple):
    """A piece of prose in a file.

    Attributes:
        line: the line of its first character.
        content: the prose, with the line breaks of the file.
        is_docstring: whether the rule for the first word applies.
    """

    line: int
    content: str
    is_docstring: bool = False


class Finding(NamedTuple):
    """A banned word.

    Attributes:
        file: the path from the root of the repository.
        line: the number of the line.
        word: the word, as the word list contains it.
        use: the replacement.
    """

    file: str
    line: int
    word: str
    use: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word!r}, use: {self.use}"


class Result(NamedTuple):
    """The result of a check.

    Attributes:
        words: the number of words that were read.
        findings: the banned words, without the exceptions.
        unused: the exceptions of the files that were read to which no finding corresponds.
    """

    words: int
    findings: list[Finding]
    unused: list[tuple[str, str]]

    @property
    def per_thousand(self) -> float:
        """The number of findings per 1,000 words."""
        return 1000 * len(self.findings) / self.words if self.words else 0.0

    def __str__(self) -> str:
        count = len(self.findings)
        total = f"{count} idioms in {self.words:,} words: {self.per_thousand:.1f} per 1,000"
        unused = [f"{file}: unused exception {word!r}" for file, word in self.unused]
        return "\n".join([*map(str, self.findings), *unused, total])


class WordList:
    """The banned words with their replacements, and the exceptions.

    Args:
        toml: the text of a word list.
    """

    def __init__(self, toml: str) -> None:
        content = tomllib.loads(toml)
        self.paths: list[str] = content.get("paths", [])
        self.first_words = _replacements(content.get("first_word", ()))
        self.idioms = {
            word.lower(): use for word, use in _replacements(content.get("idiom", ())).items()
        }
        self.exceptions = {
            (each["file"], each["word"]): each["reason"] for each in content.get("exception", ())
        }

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # The longest phrase first: it is reported instead of a word in it.
        phrases = sorted(self.idioms, key=len, reverse=True)
        words = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases)
        # "It is no longer" is not "it is no".
        return re.compile(rf"(?<![\w.-])(?:{words})(?![\w-]|\s+longer\b)", re.IGNORECASE)

    def check_text(self, text: Text, file: str) -> Iterator[Finding]:
        """Return the banned words of a text."""
        prose = _CODE.sub(lambda match: re.sub(r"[^\n]", "_", match[0]), text.content)
        first = _WORD.match(prose.lstrip())
        if text.is_docstring and first and first[0] in self.first_words:
            yield Finding(file, text.line, first[0], self.first_words[first[0]])
            prose = " " * len(first[0]) + prose.lstrip()[len(first[0]) :]
        for match in self._pattern.finditer(prose) if self.idioms else ():
            word = " ".join(match[0].lower().split())
            line = text.line + prose.count("\n", 0, match.start())
            yield Finding(file, line, word, self.idioms[word])

    def check(self, paths: Iterable[Path], root: Path = ROOT) -> Result:
        """Check files, and the Python files and pages below directories.

        Args:
            paths: the files and directories.
            root: the directory to which the reported paths are relative. Default: the repository.
        """
        words = 0
        findings: list[Finding] = []
        read: set[str] = set()
        for path in _files(paths):
            file = path.relative_to(root).as_posix()
            read.add(file)
            for text in texts_of(path):
                words += len(_WORD.findall(text.content))
                findings += self.check_text(text, file)
        allowed = {(each.file, each.word) for each in findings} & self.exceptions.keys()
        unused = [each for each in self.exceptions if each[0] in read and each not in allowed]
        left = [each for each in findings if (each.file, each.word) not in allowed]
        return Result(words, sorted(left), unused)


def load_word_list() -> WordList:
    """Return the word list of the project."""
    return WordList(WORD_LIST.read_text("utf-8"))


def _replacements(entries: Iterable[dict[str, object]]) -> dict[str, str]:
    replacements: dict[str, str] = {}
    for entry in entries:
        words = entry["words"]
        assert isinstance(words, list)
        replacements.update(dict.fromkeys(words, str(entry["use"])))
    return replacements


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix in {".md", ".py"})
        else:
            yield path


def texts_of(path: Path) -> Iterator[Text]:
    """Return the prose of a Python file or of a page."""
    source = path.read_text("utf-8")
    if path.suffix == ".py":
        yield from _comments(source)
        yield from _strings(ast.parse(source))
    else:
        yield Text(1, _FENCE.sub(lambda match: "\n" * match[0].count("\n"), source))


def _comments(source: str) -> Iterator[Text]:
    """Return the comments; lines below each other are one text, as a sentence may be wrapped."""
    start, column, lines = 0, 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, at = token.start
        if lines and (line, at) != (start + len(lines), column):
            yield Text(start, "\n".join(lines))
            lines = []
        if not lines:
            start, column = line, at
        lines.append(_DIRECTIVE.sub("", token.string))
    if lines:
        yield Text(start, "\n".join(lines))


def _strings(tree: ast.Module) -> Iterator[Text]:
    """Return the docstrings, also those below a variable, and the literals that are sentences."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.Expr) and (text := _literal(node.value)) is not None:
            inner.add(id(node.value))
            yield Text(node.lineno, text, is_docstring=True)
        elif isinstance(node, ast.expr) and (text := _literal(node)) is not None:
            inner.update(map(id, ast.walk(node)))
            if len(_WORD.findall(text)) >= _SENTENCE:
                yield Text(node.lineno, text)


def _literal(node: ast.expr) -> str | None:
    """Return the text of a string literal, with placeholders in an f-string, or None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)
        return "".join(map(str, parts))
    return None


def main(arguments: list[str]) -> int:
    """Print the findings of files and directories, and return the exit status."""
    result = load_word_list().check([Path(each).resolve() for each in arguments])
    print(result)  # noqa: T201  (the output of a command)
    return 1 if result.findings or result.unused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
