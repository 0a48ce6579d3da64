"""Setup check for the tests in containers: ``python -m tests.containers``."""

import sys
from pathlib import Path

from tests.containers.base import base_tarball
from tests.containers.needs import Missing, require
from tests.containers.podman import podman_of_its_own


def main() -> int:
    """Run the checks, print what is missing, and return the exit status."""
    try:
        require()
        base = base_tarball()
        print(f"The base image is {base}", flush=True)  # noqa: T201  (it took a minute)
        try_one(base)
    except Missing as exc:
        sys.stderr.write(f"The tests in containers cannot run: {exc}\n")
        return 1
    return 0


def try_one(base: Path) -> None:
    """Start a container that only exits: some sandboxes do not allow containers.

    Raises:
        Missing: it does not start.
    """
    try:
        with podman_of_its_own() as podman:
            podman.do("import", "--quiet", str(base), "localhost/base")
            podman.do("run", "--rm", f"--network={podman.network}", "localhost/base", "true")
    except AssertionError as exc:
        message = f"podman cannot start a container here: {exc}"
        raise Missing(message) from None


if __name__ == "__main__":
    sys.exit(main())
