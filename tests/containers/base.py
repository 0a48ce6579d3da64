"""The file system of the base image: Debian with Python, from the mirror that apt is set to.

It is kept in the cache of the user, because it takes a minute.
"""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.containers.needs import Missing

_PACKAGES = "python3,python3-venv,ca-certificates"

_LAYOUT = 1
"""Counted up when what is done with the file system changes."""

_PATIENCE = 600.0


def base_tarball() -> Path:
    """Return the archive of the file system; it is made when there is none.

    Raises:
        Missing: it cannot be made here.
    """
    release = _release()
    machine = os.uname().machine
    kept = _cache() / f"base-{release}-{machine}-{_LAYOUT}.tar"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="base-", dir=kept.parent) as name:
            _make(release, Path(name), kept)
    return kept


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "hive_boot"


def _make(release: str, place: Path, kept: Path) -> None:
    root = place / "root"
    # What debootstrap mounts and starts is gone with its namespaces, however it ends.
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    make = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", release, str(root)]
    _run(place, [*apart, *make, _mirror(release)])
    # The official image has these names, and Dockerfiles use both.
    for alias in ("python", "python3"):
        (root / "usr/local/bin" / alias).symlink_to("/usr/bin/python3")
    for leavings in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / leavings)
        (root / leavings).mkdir()
    packed = place / "base.tar"
    _run(place, ["tar", "--numeric-owner", "-C", str(root), "-cf", str(packed), "."])
    packed.rename(kept)


def _release() -> str:
    """Name this machine's release: the mirror surely has it."""
    told = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text("utf-8").splitlines()
        if "=" in line
    )
    name = told.get("VERSION_CODENAME", "").strip('"')
    if not name:
        message = "/etc/os-release names no release: is this Debian?"
        raise Missing(message)
    return name


def _mirror(release: str) -> str:
    """Return the address that apt takes this release from."""
    asked = ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)"]
    listed = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    for line in listed.splitlines():
        suite, component, address = line.split(" ", 2)
        if suite.strip("/") == release and component == "main":
            return address
    message = f"apt has no source for {release} main, from which the base image could be made"
    raise Missing(message)


def _run(place: Path, command: list[str]) -> None:
    """Run a command; what it wrote is shown when it fails.

    Raises:
        Missing: it has failed.
    """
    told = place / "told"
    with told.open("ab") as sink:
        try:
            subprocess.run(
                command,
                env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
            last = told.read_text("utf-8", "replace")[-2000:]
            message = f"the base image cannot be made here: {exc}\n{last}"
            raise Missing(message) from None
