"""The table of platforms in docs/platforms.md: each row, on a simulated machine."""

import os
import re
from pathlib import Path

from hive_boot.secrets.platform import DEVELOPMENT_CONTAINERS, PLATFORM_VARIABLES
from tests.docs.reading import read_page
from tests.fixtures.cases import case, empty_machines
from tests.support import TERMINAL, situate

(TABLE,) = re.findall(
    r"^\| process \| .*\n\|---.*\n((?:\|.*\n)+)", read_page("docs/platforms.md"), re.MULTILINE
)
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in TABLE.splitlines()
]


def write(root: Path, name: str, content: str = "fake-content") -> None:
    """Create a file or, if the name ends in a slash, a directory of a machine."""
    path = root / name.lstrip("/") if name.startswith("/") else root / "cwd" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_text(content)


def test_each_row_of_the_table_is_true(tmp_path: Path) -> None:
    """Each process gets the mode, the profile and the reason that the page shows."""
    status = os.fstat(2)
    machines = empty_machines(tmp_path)
    for name, there, terminal, mode, profile, reason in ROWS:
        with case(name, there, terminal):
            root = next(machines)
            environ = {}
            tokens = re.findall(r"`([^`]+)`", there)
            assert tokens or there == "nothing"
            for token in tokens:
                if match := re.fullmatch(r"cgroup (.+)", token):
                    line = match[1] if ":" in match[1] else f"0::{match[1]}"
                    write(root, "/proc/self/cgroup", f"{line}\n")
                elif match := re.fullmatch(r"(\.env\S*): (.+)", token):
                    write(root, match[1], f"{match[2]}\n")
                elif match := re.fullmatch(r"(\w+)=(.*)", token):
                    environ[match[1]] = match[2]
                elif token.startswith(("/", ".env")):
                    write(root, token)
                else:
                    assert token in {"PID 1", "macOS"}
            if environ.get("JOURNAL_STREAM") == "stderr":
                environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"

            context = situate(
                root,
                environ,
                pid=1 if "PID 1" in tokens else 4711,
                terminal={"yes": TERMINAL, "no": ""}[terminal],
                system="darwin" if "macOS" in tokens else "linux",
            )

            assert (context.mode, context.profile) == (mode, profile)
            assert reason.strip("`") in context.profile_reason


def test_the_table_has_every_platform_that_is_known() -> None:
    """Each platform, and each variable of a development container, is in a row."""
    reasons = " ".join(reason for *_, reason in ROWS)

    assert len(ROWS) >= 40
    for platform, variables in PLATFORM_VARIABLES.items():
        assert any(f"`{variable}=" in TABLE for variable in variables.split()), platform
    for variable in DEVELOPMENT_CONTAINERS:
        assert f"`{variable}=" in TABLE
    assert "stdin is a terminal" in reasons
