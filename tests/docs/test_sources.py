"""The example and the table of docs/sources.md; its rules are tested in tests/secrets."""

import re
from pathlib import Path
from typing import Any

from hive_boot.secrets.sources.dotenv import DotenvFile, parse_dotenv
from tests.serving.served import interpreter
from tests.support import ROOT

TEXT = (ROOT / "docs" / "sources.md").read_text("utf-8")

BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

(NAMES,) = [block for block in BLOCKS if "prefix=" in block]

MODES = r"^(\| mode .*?)\n\n"


def test_the_blocks_run(tmp_path: Path) -> None:
    """The four functions return what the comments say, in a process without an application."""
    source = "\n".join([*BLOCKS, 'print(get_secret("SENTRY_DSN"), has_secret("SENTRY_DSN"))'])
    child = interpreter().run(
        source, cwd=tmp_path, HIVE_BOOT_MODE="environment", OPENAI_API_KEY="fake"
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout == "None False\n"


def test_the_comments_of_the_declaration_are_the_names() -> None:
    """Each field of the example is read under the name in its comment."""
    known: dict[str, Any] = {}
    exec(NAMES, known)  # noqa: S102  (the source is in the documentation)
    fields = known["OrderSecrets"]._field_index.fields.values()
    assert [field.name for field in fields] == re.findall(r"# ([A-Z_]+)$", NAMES, re.MULTILINE)


def test_the_modes_are_those_of_the_readme() -> None:
    """README.md and the page have the same table of modes."""
    readme = (ROOT / "README.md").read_text("utf-8")
    tables = [re.findall(MODES, text, re.DOTALL | re.MULTILINE) for text in (TEXT, readme)]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 1


def test_the_references_have_the_listed_values() -> None:
    """Each line of the table has the value beside it."""
    rows = re.findall(r"^\| `(URL|PASSWORD)(=.*?)` \| (?:`(.*)`|empty) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 8
    for name, rest, value in rows:
        result = DotenvFile(".env")
        line = f"{name}{rest}"
        parse_dotenv(result, lambda line=line: line, scopes=[{"HOST": "db", "PORT": ""}])  # type: ignore[misc]
        assert result.values[name].reveal() == value
