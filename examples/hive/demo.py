"""Start HIVE with mounted files, and rotate its secrets while it serves: ``make demo``."""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from examples.hive.accounts import DEMO_PASSWORD, DEMO_USERNAME
from examples.hive.settings import Settings

HIVE_API_KEY = "fake-hive-api-key-for-the-demo"


def new_value(prefix: str) -> str:
    """Return a fake value of 40 characters or more."""
    return f"fake-{prefix}-{secrets.token_hex(16)}"


@contextmanager
def hive(directory: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start HIVE with the secrets in a directory, and stop it at the end of the block."""
    settings = {
        "HIVE_BOOT_SECRETS_DIR": str(directory / "secrets"),
        "DATABASE_PATH": str(directory / "hive.db"),
        "DEMO_USER": "true",
        "LOG_LEVEL": "warning",
    }
    with suppress(httpx2.TransportError):
        httpx2.get(f"{url}/livez")
        sys.exit(f"Another process serves {url}: end it, such as `make run`, or set PORT.")
    command = [sys.executable, "-m", "examples.hive"]
    process = subprocess.Popen(command, env={**os.environ, **settings})
    try:
        while process.poll() is None:
            try:
                if httpx2.get(f"{url}/readyz").is_success:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        else:
            sys.exit(process.returncode)
        yield process
    finally:
        process.terminate()
        process.wait()


def rotate(directory: Path, name: str, value: str) -> None:
    """Write a new value as an operator does, with ``hive-boot rotate``."""
    command = [
        sys.executable,
        "-m",
        "hive_boot",
        "rotate",
        name,
        "--to",
        str(directory / "secrets"),
    ]
    subprocess.run(command, input=f"{value}\n", text=True, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Rotate a key, rotate the signing key, publish a value that is refused, and fix it."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--pause", type=float, default=8, help="seconds before each step (8)")
    pause: float = parser.parse_args().pause
    url = f"http://localhost:{Settings().port}"
    with tempfile.TemporaryDirectory() as name, httpx2.Client(base_url=url) as client:
        directory = Path(name)
        (directory / "secrets").mkdir()
        values = {"OPENAI_API_KEY": new_value("openai"), "JWT_SECRET": new_value("jwt")}
        for each, value in {**values, "HIVE_API_KEY": HIVE_API_KEY}.items():
            (directory / "secrets" / each).write_text(value, "utf-8")
        with hive(directory, url) as process:
            print(f"Open {url}/internal/boot (any user, password {HIVE_API_KEY}).", flush=True)
            credentials = {"username": DEMO_USERNAME, "password": DEMO_PASSWORD}
            token = client.post("/login", json=credentials).json()["access_token"]
            steps = (
                ("a new OPENAI_API_KEY, used at once", "OPENAI_API_KEY", new_value("openai")),
                (
                    "a new JWT_SECRET, accepted now, used for signing in 120 s",
                    "JWT_SECRET",
                    new_value("jwt"),
                ),
                ("a JWT_SECRET that is too short: refused", "JWT_SECRET", "too-short"),
                ("a good one again", "JWT_SECRET", new_value("jwt")),
            )
            for number, (text, secret, value) in enumerate(steps, 1):
                time.sleep(pause)
                before = client.get("/health").json()
                rotate(directory, secret, value)
                print(f"\n{number}. {text}", flush=True)
                now = before
                while now == before and process.poll() is None:
                    time.sleep(0.05)
                    now = client.get("/health").json()
                user = client.get("/me", headers={"Authorization": f"Bearer {token}"})
                print(f"   HIVE is {now['status']}, generation {now['generation']}; ", end="")
                print(f"the token of the first login gets {user.status_code}.", flush=True)
            time.sleep(pause)
    print("\nThe demo is over, and HIVE has stopped.")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C ends the demo, and HIVE with it
        main()
