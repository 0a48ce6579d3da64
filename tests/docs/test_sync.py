"""The examples of docs/sync.md, run as they are shown."""

import re
from pathlib import Path

import pytest

from tests.docs.reading import python_files, read_page, write_files
from tests.serving.served import interpreter

PAGE = read_page("docs/sync.md")

PYTHON = python_files(PAGE)

(CONSOLE,) = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

KEY = "fake-signing-key-0123456789-0123456789"


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory that contains the Python blocks of the page."""
    return write_files(tmp_path, PYTHON)


def run(workplace: Path, source: str, **variables: str) -> tuple[str, str, int]:
    """Run a program beside the examples, in environment mode."""
    done = interpreter().run(
        f"import sys; sys.path.insert(0, '')\n{source}",
        cwd=workplace,
        HIVE_BOOT_MODE="environment",
        HIVE_BOOT_PROFILE="production",
        **variables,
    )
    return done.stdout, done.stderr, done.returncode


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    assert PYTHON.keys() == {"config.py", "main.py", "mail.py"}
    assert len(re.findall(r"^```python$", PAGE, re.MULTILINE)) == len(PYTHON) + 1


def test_the_application_is_served(workplace: Path) -> None:
    """A module reads a setting that is a secret."""
    source = (
        "from fastapi.testclient import TestClient\nfrom main import app\n"
        "with TestClient(app) as client: print(client.get('/key-length').json())"
    )
    assert run(workplace, source, SECRET_KEY=KEY)[0] == f"{len(KEY)}\n"


def test_the_script_runs(workplace: Path) -> None:
    """Its block has the secrets."""
    source = "import mail; mail.main()"
    variables = {"SECRET_KEY": KEY, "SMTP_PASSWORD": "fake-smtp-password"}
    assert run(workplace, source, **variables)[0] == "mails are on\n"
    assert run(workplace, source, SECRET_KEY=KEY)[0] == "mails are off\n"


def test_the_failure_prints_what_is_shown(workplace: Path) -> None:
    """The report is the whole output, and the status is that of the page."""
    assert CONSOLE.startswith("$ python main.py\n")
    assert CONSOLE.endswith("$ echo $?\n78\n")
    shown = CONSOLE.partition("\n")[2].removesuffix("$ echo $?\n78\n")
    assert run(workplace, "import main", SMTP_PASSWORD_FILE="/run/smtp") == ("", shown, 78)


def test_the_function_without_an_application_runs(workplace: Path) -> None:
    """The last block needs no Bootstrap."""
    *_, block = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    stdout, stderr, _ = run(workplace, f"{block}\nprint(sign('text'))", SIGNING_KEY=KEY)
    assert stdout == f"text.{len(KEY)}\n", stderr
