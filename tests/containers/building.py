"""Image of HIVE, built from the unchanged ``deploy/Dockerfile`` in a copy of the repository."""

import ast
import re
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from string import Template
from urllib.parse import unquote, urlsplit

from tests.containers.podman import Podman
from tests.support import ROOT

IMAGE = "localhost/hive:test"

_TAKES = 400.0

_PLACES_OF_PACKAGES = (
    *("cert", "client-cert", "constraint", "default-timeout", "extra-index-url", "find-links"),
    *("index-url", "no-index", "proxy", "retries", "timeout", "trusted-host"),
)
"""Settings of pip that are needed to find packages."""

_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def copy_context(context: Path) -> None:
    """Copy the build context of ``podman build``: a working copy as a developer has it."""
    leave_out = shutil.ignore_patterns(
        *(".git", ".venv", ".hypothesis", ".*_cache", "__pycache__", ".coverage*", "htmlcov"),
        *("build", "dist", ".env", ".env.local", "*.db"),
    )
    shutil.copytree(ROOT, context, ignore=leave_out, symlinks=True)


def build(podman: Podman, base: Path, context: Path) -> None:
    """Build the image. ``base`` is tagged with the name in the Dockerfile, so nothing is pulled."""
    dockerfile = context / "deploy" / "Dockerfile"
    first, *others = _bases(dockerfile.read_text("utf-8"))
    podman.do("import", "--quiet", str(base), first)
    for name in others:
        podman.do("tag", first, name)
    podman.do(
        "build",
        "--quiet",
        "--pull=never",
        "--format=docker",  # the other format has no health check
        "--network=host",
        *_mounts_of_pip(podman.place),
        f"--file={dockerfile}",
        f"--tag={IMAGE}",
        str(context),
        timeout=_TAKES,
    )


def _bases(dockerfile: str) -> list[str]:
    """Return the base images that a Dockerfile names, each once, as names of local images."""
    defaults = dict(re.findall(r"(?m)^ARG\s+(\w+)=(\S+)", dockerfile))
    told = Template(dockerfile).safe_substitute(defaults)
    stages = re.findall(r"(?mi)^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", told)
    own = {name.lower() for _, name in stages}
    found = dict.fromkeys(image for image, _ in stages if image.lower() not in own)
    # A short name is looked for here before a registry is asked.
    return [image if "/" in image else f"localhost/{image}" for image in found]


def _mounts_of_pip(place: Path) -> list[str]:
    """Return the mounts that give pip in the build the package index of this machine."""
    told = _configuration_of_pip()
    if _AUTHORITIES.exists():
        told.setdefault("cert", str(_AUTHORITIES))
    parser = RawConfigParser()
    parser["global"] = told
    with (place / "pip.conf").open("w") as file:
        parser.write(file)
    mounts = {"/etc/pip.conf": place / "pip.conf"}
    for name, value in told.items():
        for word in value.split():
            path = Path(unquote(urlsplit(word).path)) if word.startswith("file:") else Path(word)
            if path.is_absolute() and path.exists():
                # An index leads to files that may lie beside it.
                seen = path.parent if name.endswith("index-url") else path
                mounts[str(seen)] = seen
    return [f"--volume={source}:{target}:ro" for target, source in mounts.items()]


def _configuration_of_pip() -> dict[str, str]:
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    told = {}
    # A variable is stronger than a file.
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        _, _, option = name.partition(".")
        if option in _PLACES_OF_PACKAGES:
            told[option] = str(ast.literal_eval(value))
    return told
