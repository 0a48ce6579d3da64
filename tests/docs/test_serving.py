"""Programs, commands and names of docs/serving.md, run as they are shown."""

import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from httpx2 import Client

from hive_boot import DeclarationError
from hive_boot._timings import DEFAULTS
from hive_boot.serving.servers import HttpServer
from hive_boot.testing import MountedVolume
from tests.docs.reading import python_files, read_page, write_files
from tests.fixtures.certificates import common_name, issue, make_certificate
from tests.fixtures.forking import PYTEST, pytest_sessions
from tests.fixtures.ports import free_port
from tests.serving.served import Served, asked, under
from tests.support import FEW_PLUGINS

TEXT = read_page("docs/serving.md")

PYTHON = python_files(TEXT)

COMMANDS = re.findall(r"^\$ (.*)$", TEXT, re.MULTILINE)

KEY = "fake-api-key-0123456789"

workers = pytest.mark.parametrize("command", COMMANDS[:2], ids=["uvicorn", "gunicorn"])
"""The commands of the page that start two workers."""


@pytest.fixture
def volume(tmp_path: Path) -> MountedVolume:
    """Return a volume with the required secret."""
    volume = MountedVolume(tmp_path / "secrets")
    volume.publish({"api_key": KEY})
    return volume


@contextmanager
def running(command: str, volume: MountedVolume) -> Iterator[tuple[Served, int, int]]:
    """Run a command of the page; the context is the process, its port and its probe port."""
    port, probe_port = free_port(), free_port()
    home = volume.path.parent
    files = {name: text.replace("8081", str(probe_port)) for name, text in PYTHON.items()}
    address = f"--bind=127.0.0.1:{port}" if "gunicorn" in command else f"--port={port}"
    mounted = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": str(volume.path)}
    # gunicorn creates a control socket in the home directory.
    variables = {**mounted, "HOME": str(home)}
    with under(*command.split(), address, cwd=write_files(home, files), **variables) as it:
        yield it, port, probe_port


@workers
def test_each_worker_is_a_run_of_its_own(command: str, volume: MountedVolume) -> None:
    """Two workers start, rotate and stop; one of them has the probe port."""
    with running(command, volume) as (it, port, probe_port):
        it.wait_for(lambda: len(it.logged("Ready after")) == 2)
        assert len(it.logged(f"Probe server listens on port {probe_port}")) == 1
        assert len(it.logged(f"probe_port {probe_port} is in use")) == 1
        it.wait_for(lambda: asked(port, "/readyz") == 200)
        assert asked(probe_port, "/readyz") == 200
        assert it.ask("/", port).body == "http 127.0.0.1"
        volume.publish({"api_key": f"{KEY}-2"})
        it.wait_for(lambda: len(it.logged("generation 2")) == 2)
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    assert asked(probe_port, "/readyz") is None
    assert not it.logged("Traceback")


@workers
def test_a_start_of_workers_that_fails_is_reported(command: str, volume: MountedVolume) -> None:
    """The report is in the log; the exit status is what the server decides."""
    volume.publish({"other": KEY})
    with running(command, volume) as (it, _, _):
        assert it.end() in ({1, 3} if "gunicorn" in command else {0}), it.err
    assert it.logged("API_KEY is missing")


def test_a_changed_file_starts_a_new_run(volume: MountedVolume) -> None:
    """With --reload the old process stops in order, and the new one gets the probe port."""
    with running(COMMANDS[2], volume) as (it, port, probe_port):
        it.wait_for(lambda: asked(port, "/readyz") == 200)
        source = volume.path.parent / "workplace" / "web.py"
        changed = source.read_text("utf-8").replace('f"{request', 'f"new {request')

        def is_noticed() -> bool:
            # uvicorn watches only from a moment on that it does not log.
            source.write_text(changed, "utf-8")
            time.sleep(0.2)
            return bool(it.logged("detected changes"))

        it.wait_for(is_noticed)
        it.wait_for(lambda: len(it.logged("Ready after")) >= 2)
        it.wait_for(lambda: asked(probe_port, "/readyz") == asked(port, "/readyz") == 200)
        assert it.ask("/", port).body == "new http 127.0.0.1"
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    assert len(it.logged("Application shutdown complete")) == len(it.logged("Ready after"))
    assert not it.logged("in use|Traceback")


def test_without_a_lifespan_the_log_has_what_to_do(volume: MountedVolume) -> None:
    """Requests get 500, and the reason is logged once."""
    with running("uvicorn web:app --lifespan off", volume) as (it, port, _):
        it.wait_for(lambda: asked(port, "/") == 500)
        assert asked(port, "/readyz") == 503
        assert asked(port, "/livez") == 200
        it.send(signal.SIGTERM)
        it.end()
    assert len(it.logged("ASGI lifespan is not running")) == 1


def test_the_program_serves_tls(tmp_path: Path) -> None:
    """The page's program serves the pair in the secrets, with the options of uvicorn."""
    certificate, key = make_certificate(tmp_path)
    port, probe_port = free_port(), free_port()
    files = {
        name: text.replace("8081", str(probe_port)).replace("8443", str(port))
        for name, text in PYTHON.items()
    }
    values = {"API_KEY": KEY, "TLS_CRT": certificate, "TLS_KEY": key}
    with under("serve", cwd=write_files(tmp_path, files), **values) as it:
        it.wait_logged("Ready after")
        trusted = ssl.create_default_context(cadata=certificate)
        with Client(base_url=f"https://localhost:{port}", verify=trusted) as client:
            # 127.0.0.1 is not one of the trusted proxies.
            headers = {"x-forwarded-for": "203.0.113.9"}
            assert client.get("/", headers=headers).text == "https 127.0.0.1"
        assert it.ask("/readyz", probe_port).status == 200
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err


FACTORY = """
import sys
import uvicorn
from mutual import boot, server_tls

tls = {"ssl_context_factory": lambda config, default: server_tls}
uvicorn.run(boot.asgi(boot.probes), port=PORT, log_level="warning", **tls)
"""


@pytest.mark.parametrize("module", ["mutual", "factory"])
def test_the_contexts_of_the_page_follow(module: str, tmp_path: Path) -> None:
    """A plain server with a client of httpx, and uvicorn as the owner of the process."""
    port = free_port()
    ca, _ = make_certificate(tmp_path, "ca")
    pairs = [issue(tmp_path, name, "ca") for name in ("one", "two")]
    volume = MountedVolume(tmp_path / "secrets")
    volume.publish({"tls_crt": pairs[0][0], "tls_key": pairs[0][1], "tls_ca": ca})
    sources = {**PYTHON, "factory.py": FACTORY.replace("PORT", "8444")}
    files = {name: text.replace("8444", str(port)) for name, text in sources.items()}
    mounted = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": str(volume.path)}
    trusted = ssl.create_default_context(cadata=ca)

    def shown() -> str | None:
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            return None
        with plain, trusted.wrap_socket(plain, server_hostname="localhost") as tls:
            return common_name(tls)

    with under(module, cwd=write_files(tmp_path, files), **mounted) as it:
        it.wait_for(lambda: shown() == "one")
        if module == "mutual":
            it.wait_told("hi")
        volume.publish({"tls_crt": pairs[1][0], "tls_key": pairs[1][1], "tls_ca": ca})
        it.wait_for(lambda: shown() == "two")
        it.send(signal.SIGTERM)
        it.end()
    assert not it.logged("Traceback"), it.err


def test_the_test_enters_the_client(tmp_path: Path) -> None:
    """The page's test passes with the required secret, and fails with the report without it."""
    cwd = write_files(tmp_path, {name: text.replace("8081", "0") for name, text in PYTHON.items()})
    arguments = ("-q", *FEW_PLUGINS, ".")
    passed = pytest_sessions().run(PYTEST, *arguments, cwd=cwd, API_KEY=KEY)
    assert passed.returncode == 0, passed.stdout
    failed = pytest_sessions().run(PYTEST, *arguments, cwd=cwd, API_KEY="")
    assert failed.returncode == 1
    assert "InvalidSecretsError" in failed.stdout


def test_names_and_numbers_are_true() -> None:
    """Every option that the page names exists, and the seconds are the default."""
    for server, options in {
        "uvicorn": {"ssl_ca_certs": "", "ssl_cert_reqs": 2, "access_log": False}
        | {"timeout_keep_alive": 30},
        "hypercorn": {"ca_certs": "", "verify_mode": 2, "accesslog": None},
    }.items():
        assert all(f"`{option}`" in TEXT or f'"{option}"' in TEXT for option in options)
        HttpServer(server, "asyncio", options=options)
    with pytest.raises(DeclarationError, match="access_log"):
        HttpServer("uvicorn", "asyncio", options={"acess_log": False})
    assert f"{DEFAULTS.full_read_interval:g} s while files are watched" in TEXT
    assert f"within {DEFAULTS.probe_port_retry_delay:g} seconds" in TEXT
