"""What these tests need of a machine, and what a person is told when it is not there."""

import os
import shutil
import sys
from pathlib import Path

_COMMANDS = {
    "podman": "podman",
    "runc": "runc",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "apt-get": "apt",
    "unshare": "util-linux",
    "tar": "tar",
}
"""Commands, and the packages of Debian that have them."""

_HELPERS = {"netavark": "netavark", "catatonit": "catatonit"}
"""What podman calls: the network of a container, and the first process of a pod."""

_PLACES = (
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/libexec/podman",
    "/usr/lib/podman",
    "/usr/bin",
)
"""Where podman looks for its helpers."""


class Missing(Exception):  # noqa: N818  (it is no fault of the tests)
    """This machine cannot run the tests; the text says what it lacks and how to mend that."""


def require() -> None:
    """See whether everything is here.

    Raises:
        Missing: something is not.
    """
    if sys.platform != "linux":
        message = "containers need Linux"
        raise Missing(message)
    absent = [package for name, package in _COMMANDS.items() if not _command(name)]
    absent += [package for name, package in _HELPERS.items() if not _helper(name)]
    if absent:
        message = (
            f"{', '.join(absent)} not installed; as root on Debian: "
            f"apt-get install --no-install-recommends {' '.join(absent)}"
        )
        raise Missing(message)
    if os.geteuid():
        message = "the base image is made by debootstrap, and a tmpfs is mounted: run it as root"
        raise Missing(message)


def _command(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _helper(name: str) -> bool:
    return any(Path(place, name).exists() for place in _PLACES)
