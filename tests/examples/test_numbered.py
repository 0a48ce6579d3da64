"""The numbered examples, started by the commands in their docstrings."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.reading import make_laptop
from tests.docs.terminal import terminal
from tests.fixtures.ports import free_port
from tests.support import ROOT, wait_until

EXAMPLES = ROOT / "examples"

LISTED = re.findall(r"\((\d\d_\w+\.py)\)", (EXAMPLES / "README.md").read_text("utf-8"))

SHOWN: dict[str, list[str]] = {
    "01_script.py": ["Secret: Secret('API_KEY', '***')\nLength of the value: 19\n"],
    "02_fastapi.py": ["Ready after", '["tea"]'],
    "03_worker.py": ["job 1 begins", "job 1 is complete"],
    "04_rotation.py": ["", "paying with the first key", "closed the client of the first key"],
    "05_live_tls.py": ["", "Ready after", "generation 1"],
    "06_hooks_and_checks.py": [
        "",
        "Ready after",
        "Rotation refused, generation 1 stays in use",
        "generation 2 changed db_password",
    ],
    "07_testing.py": ["2 passed"],
    "08_several_services.py": [
        "orders with Secret('DB_PASSWORD', '***') and Secret('ORDERS_API_KEY', '***')",
        "mails with Secret('DB_PASSWORD', '***') and None",
    ],
    "09_settings.py": ["2 workers connect to db.example/orders"],
    "10_job.py": ["row 3 of 3 with Secret('API_KEY', '***')"],
}
"""The text that each command shows, or that the program in the background then has shown."""


def commands_of(file: Path) -> list[str]:
    """Return the commands in the docstring of an example."""
    text = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    assert text
    return text.partition("\n\n")[2].splitlines()


@pytest.mark.parametrize("name", LISTED)
def test_an_example_shows_what_it_is_about(name: str, tmp_path: Path) -> None:
    """The commands are typed in order, in a directory that has the examples."""
    place, log, port = tmp_path / "place", tmp_path / "log", str(free_port())
    place.mkdir()
    (place / "examples").symlink_to(EXAMPLES)
    log.touch()
    default = "8443" if "8443" in (EXAMPLES / name).read_text("utf-8") else "8000"
    environment = make_laptop(tmp_path) | {"PORT": port}
    with terminal(place, environment, {port: default}) as screen:
        for command, shown in zip(commands_of(EXAMPLES / name), SHOWN[name], strict=True):
            background = f"{command.removesuffix(' &')} > {log} 2>&1 &"
            text = screen.type(background if command.endswith(" &") else command)
            wait_until(lambda: shown in text + log.read_text("utf-8"))  # noqa: B023


def test_every_example_is_listed_and_short() -> None:
    """README.md lists each numbered file in order; none has 60 lines."""
    files = sorted(EXAMPLES.glob("[0-9]*.py"))
    assert [file.name for file in files] == LISTED == list(SHOWN)
    for file in files:
        assert len(file.read_text("utf-8").splitlines()) < 60, file
