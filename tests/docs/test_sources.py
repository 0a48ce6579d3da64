"""The example and the table of docs/sources.md; its rules are tested in tests/secrets."""

import re
from pathlib import Path
from typing import Any

from tests.support import ROOT, run_child

TEXT = (ROOT / "docs" / "sources.md").read_text("utf-8")

BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

(BLOCK,) = [block for block in BLOCKS if "get_secret" in block]

(NAMES,) = [block for block in BLOCKS if "prefix=" in block]

MODES = r"^(\| mode .*?)\n\n"


def test_the_block_runs(tmp_path: Path) -> None:
    """The four functions return what the comments say, in a process without an application."""
    source = f'{BLOCK}\nprint(get_secret("SENTRY_DSN"), has_secret("SENTRY_DSN"))'
    child = run_child(source, cwd=tmp_path, HIVE_BOOT_MODE="environment", OPENAI_API_KEY="fake")
    assert child.returncode == 0, child.stderr
    assert child.stdout == "None False\n"


def test_the_comments_of_the_declaration_are_the_names() -> None:
    """Each field of the example is read under the name in its comment."""
    known: dict[str, Any] = {}
    exec(NAMES, known)  # noqa: S102  (the source is in the documentation)
    fields = known["OrderSecrets"]._field_index.fields.values()  # noqa: SLF001  (what a load reads)
    assert [field.name for field in fields] == re.findall(r"# ([A-Z_]+)$", NAMES, re.MULTILINE)


def test_the_modes_are_those_of_the_readme() -> None:
    """README.md and the page have the same table of modes."""
    readme = (ROOT / "README.md").read_text("utf-8")
    tables = [re.findall(MODES, text, re.DOTALL | re.MULTILINE) for text in (TEXT, readme)]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 1
