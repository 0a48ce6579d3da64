"""Builds the release in dist/, and tries it: `make dist`.

The sdist and the wheel are built twice, from copies of the files that git knows, with the time of
the last commit, and with another umask, time zone and hash seed. Both builds must have the same
bytes. The wheel is then installed into an empty
environment of each Python from 3.11 to 3.14 that is installed, and runs the first example of the
README outside the checkout. The bill of materials has what the wheel needs at run time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
MINORS = ("3.11", "3.12", "3.13", "3.14")
SHOWN = "ready with Secret('OPENAI_API_KEY', '***')\n"
"""The output of the first example of the README."""


def main() -> int:
    """Build and try the release, and return the exit status."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="hive_boot-") as name:
        base = Path(name)
        first = build(base / "first", umask=0o022)
        second = build(base / "second", umask=0o077, TZ="Asia/Kolkata", PYTHONHASHSEED="1")
        if differing := sorted(
            each for each in first | second if first.get(each) != second.get(each)
        ):
            return fail(f"two builds differ in {', '.join(differing)}")
        print("Two builds are the same, byte for byte.")
        wheel = next((base / "first" / "dist").glob("*.whl"))
        pythons = {minor: find_python(minor) for minor in MINORS}
        with ThreadPoolExecutor() as pool:
            tried = list(
                pool.map(
                    lambda found: run_example(found[1], wheel, base / found[0]),
                    [(minor, python) for minor, python in pythons.items() if python],
                )
            )
        if not tried:
            return fail("no Python from 3.11 to 3.14 was found")
        print(f"The first example of the README runs from the wheel on {', '.join(tried)}.")
        if absent := [minor for minor, python in pythons.items() if python is None]:
            print(f"Not installed here, so not tried: {', '.join(absent)}.")
        environment = next(base / minor for minor, python in pythons.items() if python)
        bill = base / "first" / "dist" / f"{wheel.name.removesuffix('-py3-none-any.whl')}.cdx.json"
        write_bill(environment, bill)
        publish(base / "first" / "dist")
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def build(directory: Path, umask: int, **variables: str) -> dict[str, bytes]:
    """Build the sdist and, from it, the wheel in a new directory, and return both by name.

    Args:
        directory: the directory.
        umask: the mask of the modes of files.
        variables: environment variables.
    """
    source, output = directory / "source", directory / "dist"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).is_file():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, source / file)
    variables["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    arguments = ("--no-isolation", "--outdir", str(output), str(source))
    run(sys.executable, "-m", "build", *arguments, cwd=directory, umask=umask, variables=variables)
    return {path.name: path.read_bytes() for path in output.iterdir()}


def find_python(minor: str) -> str | None:
    """Return the interpreter of a minor version: on PATH, otherwise the newest one of pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(versions.glob(f"{minor}.*/bin/python"), key=lambda path: len(str(path)))
    for name in (shutil.which(f"python{minor}"), *map(str, reversed(installed))):
        if name is not None:
            # A name may be a shim with nothing behind it.
            source = 'import sys, venv; print("%d.%d" % sys.version_info[:2], sys.executable)'
            done = subprocess.run([name, "-c", source], capture_output=True, text=True, check=False)
            if done.stdout.startswith(f"{minor} "):
                return done.stdout.split()[1]
    return None


def run_example(interpreter: str, wheel: Path, directory: Path) -> str:
    """Run the first example of the README from the wheel, in a new environment.

    Returns:
        The version of the interpreter.

    Raises:
        RuntimeError: the output differs, or the package was imported from elsewhere.
    """
    run(interpreter, "-m", "venv", "--without-pip", str(directory), cwd=directory.parent)
    python = str(directory / "bin" / "python")
    install = ("-m", "pip", "--python", python, "install", "--quiet", str(wheel))
    run(sys.executable, *install, cwd=directory)
    readme = (ROOT / "README.md").read_text("utf-8")
    (example, *_) = re.findall(
        r"^```python\n(# app\.py\n.*?)^```$", readme, re.DOTALL | re.MULTILINE
    )
    place = directory / "srv"
    place.mkdir()
    (place / "app.py").write_text(example, "utf-8")
    values = {"OPENAI_API_KEY": "fake-openai-key", "JWT_SECRET": "fake" * 8}
    shown = run(python, "app.py", cwd=place, variables={"HIVE_BOOT_MODE": "environment", **values})
    source = "import hive_boot, sys; print(sys.version.split()[0], hive_boot.__file__)"
    version, path = run(python, "-c", source, cwd=place).split()
    if shown != SHOWN or directory not in Path(path).parents:
        message = f"Python {version}, hive_boot of {path}: {shown}"
        raise RuntimeError(message)
    return version


def write_bill(environment: Path, path: Path) -> None:
    """Write the bill of materials of an environment, in CycloneDX JSON.

    Raises:
        RuntimeError: a dependency of pyproject.toml is not in it.
    """
    project = ROOT / "pyproject.toml"
    options = ["--output-reproducible", "--mc-type", "library", "--pyproject", str(project)]
    options += ["--output-format", "JSON", "--output-file", str(path)]
    python = str(environment / "bin" / "python")
    run(sys.executable, "-m", "cyclonedx_py", "environment", *options, python, cwd=environment)
    listed = {each["name"] for each in json.loads(path.read_text("utf-8"))["components"]}
    needed = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    if missing := {re.split("[^A-Za-z0-9-]", each)[0] for each in needed} - listed:
        message = f"the bill of materials lacks {', '.join(sorted(missing))}"
        raise RuntimeError(message)


def publish(built: Path) -> None:
    """Copy the files of a directory into dist/, with their hashes; remove what was there."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    shutil.copytree(built, dist)
    files = sorted(dist.iterdir())
    sums = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (dist / "SHA256SUMS").write_text("".join(sums), "utf-8")
    for path in files:
        print(f"  dist/{path.name}  {path.stat().st_size:,} bytes")


def run(
    *command: str, cwd: Path, umask: int = -1, variables: Mapping[str, str] | None = None
) -> str:
    """Run a command and return its output; its errors are shown, and a failure is raised."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        umask=umask,
        env={**environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="", file=sys.stderr)
        done.check_returncode()
    return done.stdout


def fail(reason: str) -> int:
    """Print why the release is not complete, and return the exit status 1."""
    print(f"make dist: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
