"""English of the project: the word list, its checker, and the files that must have no finding."""

from pathlib import Path

import pytest

from tests.docs.english import WordList, load_word_list, main
from tests.support import ROOT

WORDS = """
[[first_word]]
words = ["Give", "What"]
use = "Return"

[[idiom]]
words = ["nobody", "for ever", "it is no"]
use = "the literal word"

[[exception]]
file = "allowed.py"
word = "nobody"
reason = "a quotation"

[[exception]]
file = "allowed.py"
word = "for ever"
reason = "not in the file any more"
"""

BAD = '''"""What this module is about.

A wrapped phrase lasts for
ever; ``nobody`` in code is not checked, and it is no longer a finding here.
"""

LIMIT = 1
"""Give it a docstring."""


class Example:
    """Give an example."""

    def run(self, name: str) -> None:
        """Giver is another word; Give is banned only as the first word."""
        # Nobody reads a comment that is wrapped for
        # ever.
        message = f"{name}: nobody answers the call"
        raise ValueError(message)  # noqa: TRY004  (nobody cares)


KEYS = ("nobody", "is nobody", "is there nobody?")
'''

PAGE = """# Nobody

```python
nobody = 1
```

`nobody` is code, and this lasts
for ever.
"""


@pytest.fixture
def words() -> WordList:
    """Return a word list of a few words."""
    return WordList(WORDS)


def test_the_project_uses_no_banned_word() -> None:
    """The files in the word list have no finding, and every exception is needed."""
    known = load_word_list()
    result = known.check(ROOT / path for path in known.paths)
    assert result.words > 0
    assert not result.findings, f"\n{result}"
    assert not result.unused, f"\n{result}"


def test_every_word_has_a_replacement_and_every_exception_a_reason() -> None:
    """No replacement and no reason is empty, and a replacement is not a banned word."""
    known = load_word_list()
    assert all({**known.first_words, **known.idioms}.values())
    assert all(known.exceptions.values())
    assert not {use.lower() for use in known.idioms.values()} & known.idioms.keys()
    for word in ("Give", "Tell", "Say", "Be", "Have", "Let", "Do", "What", "Who", "Where", "How"):
        assert word in known.first_words


def test_a_python_file_is_checked(words: WordList, tmp_path: Path) -> None:
    """Docstrings, comments and sentences are checked; code and short literals are not."""
    (tmp_path / "bad.py").write_text(BAD, "utf-8")
    result = words.check([tmp_path / "bad.py"], tmp_path)
    assert [(each.line, each.word) for each in result.findings] == [
        (1, "What"),
        (3, "for ever"),
        (8, "Give"),
        (12, "Give"),
        (16, "for ever"),
        (16, "nobody"),
        (18, "nobody"),
        (19, "nobody"),
        (22, "nobody"),
    ]
    assert str(result.findings[0]) == "bad.py:1: 'What', use: Return"
    assert str(result).splitlines()[-1] == (
        f"9 idioms in {result.words} words: {9000 / result.words:.1f} per 1,000"
    )


def test_a_page_is_checked(words: WordList, tmp_path: Path) -> None:
    """The prose of a page is checked, without blocks of code and inline code."""
    (tmp_path / "page.md").write_text(PAGE, "utf-8")
    (tmp_path / "data.txt").write_text("nobody", "utf-8")
    found = words.check([tmp_path], tmp_path).findings
    assert [(each.file, each.line, each.word) for each in found] == [
        ("page.md", 1, "nobody"),
        ("page.md", 8, "for ever"),
    ]


def test_an_exception_allows_a_word_in_one_file(words: WordList, tmp_path: Path) -> None:
    """An exception removes the findings of its word, and is reported if there are none."""
    for name in ("allowed.py", "other.py"):
        (tmp_path / name).write_text('"""Answer of nobody."""\n', "utf-8")
    result = words.check([tmp_path], tmp_path)
    assert [each.file for each in result.findings] == ["other.py"]
    assert result.unused == [("allowed.py", "for ever")]
    assert words.check([tmp_path / "other.py"], tmp_path).unused == []


def test_an_empty_directory_has_no_words(words: WordList, tmp_path: Path) -> None:
    """Without words the number per 1,000 is 0."""
    result = words.check([tmp_path], tmp_path)
    assert str(result) == "0 idioms in 0 words: 0.0 per 1,000"


def test_the_command_prints_the_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 1 with findings; this file contains some."""
    assert main([str(ROOT / "tests" / "docs" / "test_english.py")]) == 1
    assert "tests/docs/test_english.py:" in capsys.readouterr().out
    assert main([str(ROOT / "hive_boot" / "exceptions.py")]) == 0
