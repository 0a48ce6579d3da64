"""Make the pictures of the documentation: ``make pictures``, which needs Chromium.

Those of the README come from real runs, and that of docs/fleet.md from its simulation.
"""

import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from examples.fleet.simulation import draw
from tests.docs.reading import make_laptop, make_workplace
from tests.fixtures.ports import free_port
from tests.support import ROOT

IMAGES = ROOT / "docs" / "images"
FAILED_START = IMAGES / "failed-start.svg"
STATUS_PAGE = IMAGES / "status-page.png"
FLEET = IMAGES / "fleet.svg"


def run_in_terminal(command: list[str], cwd: Path, environment: dict[str, str]) -> str:
    """Run a command in a pseudo-terminal, and return its output with the colours."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        output = b""
        # On Linux the read fails when the last writer has closed the terminal.
        try:
            while part := os.read(ours, 1 << 16):
                output += part
        except OSError:
            pass
        os.close(ours)
    return output.decode()


def draw_failed_start() -> str:
    """Return the report of the first example without its secrets, as an SVG image."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        environment = {**make_laptop(base), "TERM": "xterm-256color", "COLUMNS": "100"}
        environment.pop("NO_COLOR", None)
        place = make_workplace(base)
        (place / ".env").write_text("JWT_SECRET=too-short\n", "utf-8")
        output = run_in_terminal(["python", "app.py"], place, environment)
        output = output.replace(str(place), "/srv/app").replace("\r\n", "\n")
    console = Console(record=True, width=90, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ python app.py\n{output.rstrip()}"))
    console.print()  # the last line would be cut at its underscores
    svg = console.export_svg(title="A failed start", unique_id="failed-start")
    # The fonts that rich names are on another server, from which a picture loads nothing.
    svg = re.sub(r"\s*@font-face \{.*?\n    \}", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code, monospace", "monospace")


def photograph_status_page(path: Path) -> None:
    """Start HIVE under ``make demo``, and photograph its status page after the rotations."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("pictures: Chromium is not installed; on Debian: apt install chromium")
    port = free_port()
    command = [sys.executable, "-m", "examples.hive.demo", "--pause", "4"]
    environment = {**os.environ, "PORT": str(port), "HIVE_BOOT_PROFILE": "development"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("4."):
                break
        key = "fake-hive-api-key-for-the-demo"
        subprocess.run(
            [
                chromium,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--window-size=1280,1180",
                "--virtual-time-budget=3000",
                f"--screenshot={path}",
                f"http://any:{key}@localhost:{port}/internal/boot",
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        demo.send_signal(signal.SIGINT)


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    FLEET.write_text(draw(), "utf-8")
    FAILED_START.write_text(draw_failed_start(), "utf-8")
    photograph_status_page(STATUS_PAGE)


if __name__ == "__main__":
    main()
