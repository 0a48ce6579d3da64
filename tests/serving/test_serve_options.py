"""``boot.serve`` with TLS, a Unix socket, a descriptor, and options of the server."""

import json
import re
import signal
import socket
import ssl
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest
from httpx2 import Client, HTTPTransport

from hive_boot import LifecycleError
from hive_boot.serving.servers import bind
from tests.fixtures.certificates import common_name, encrypt_key, issue, make_certificate
from tests.serving.served import both_servers, each_server, serving

SCOPE = """
import json, socket

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        keys = "scheme", "http_version", "client", "root_path"
        await answer(send, json.dumps({key: scope[key] for key in keys}).encode())

def serve(boot, **options):
    try:
        boot.serve(app, server=server, backend=backend, **options)
    except SystemExit as exc:
        print("exit", exc.code)
"""
"""An application that answers with a part of its scope."""


# TLS

TLS = f"""{SCOPE}
class Tls(SecretSet):
    '''The certificate and its key.'''
    tls_crt: Secret
    tls_key: Secret

boot = Bootstrap(
    Tls, mode="docker", secrets_dirs=sys.argv[3], wait_for_files=3600, shutdown_timeout=3600
)
serve(boot, port=0, tls=("tls_crt", "TLS_KEY"))
"""


@both_servers
def test_tls_uses_a_certificate_that_is_a_secret(server: str, backend: str, tmp_path: Path) -> None:
    """Clients wait until the pair is valid; a rotation to an invalid pair is refused."""
    certificate, key = make_certificate(tmp_path)
    mount = tmp_path / "secrets"
    mount.mkdir()
    (mount / "tls_crt").write_text(certificate)
    trusted = ssl.create_default_context(cadata=certificate)
    with serving(TLS, server, backend, str(mount), cwd=tmp_path) as it:
        it.wait_logged("3600 s .*TLS_KEY")
        assert it.logged("Listening on https://")
        with socket.create_connection(("127.0.0.1", it.port), timeout=30) as plain:
            (mount / "tls_key").write_text(key)
            with trusted.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
                with Client(verify=trusted, base_url=f"https://localhost:{it.port}") as client:
                    it.wait_logged("Ready")
                    assert client.get("/").json()["scheme"] == "https"
                    (mount / "tls_key").write_text(encrypt_key(key))
                    it.send(signal.SIGHUP)
                    it.wait_logged("refused.*TLS_KEY is encrypted")
                    assert client.get("/readyz").text == "ready\n"
                # The idle connection does not hold the stop, which could take an hour.
                it.send(signal.SIGTERM)
                assert it.end() == 0
    assert it.out == ["exit 0"], it.err
    assert not any("PRIVATE KEY" in line or "Traceback" in line for line in it.err)


ROTATED = TLS.replace("wait_for_files=3600", "watch=True").replace(
    'serve(boot, port=0, tls=("tls_crt", "TLS_KEY"))',
    """
import ssl

app = boot.probes
options = {
    "uvicorn": {"ssl_ca_certs": sys.argv[4], "ssl_cert_reqs": ssl.CERT_REQUIRED},
    "hypercorn": {"ca_certs": sys.argv[4], "verify_mode": ssl.CERT_REQUIRED},
}[server]
serve(boot, port=0, tls=("tls_crt", "TLS_KEY"), server_options=options)
""",
)
"""Clients need a certificate, before and after a rotation."""


@each_server
def test_tls_follows_a_rotation(server: str, backend: str, tmp_path: Path) -> None:
    """No handshake fails while certificate and key are written apart, and no connection breaks."""
    ca, _ = make_certificate(tmp_path, "ca")
    mount = tmp_path / "secrets"
    mount.mkdir()
    pairs = [
        issue(tmp_path, name, "ca", days=(-1, 1 + at)) for at, name in enumerate(("one", "two"))
    ]

    def write(**files: str) -> None:
        for name, text in files.items():
            (mount / name).write_text(text)

    write(tls_crt=pairs[0][0], tls_key=pairs[0][1])
    trusted = ssl.create_default_context(cadata=ca)
    trusted.load_cert_chain(tmp_path / "one.crt", tmp_path / "one.key")
    ca_file = str(tmp_path / "ca.crt")
    with serving(ROTATED, server, backend, str(mount), ca_file, cwd=tmp_path) as it:
        it.wait_logged("Ready")

        def shake(context: ssl.SSLContext = trusted) -> str:
            with (
                socket.create_connection(("127.0.0.1", it.port), timeout=30) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as tls,
            ):
                # With TLS 1.3 the client learns that it is refused when it reads.
                tls.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                answer = tls.recv(1 << 16)
                if not answer:
                    raise ConnectionError
                assert answer.startswith(b"HTTP/1.1 200")
                return common_name(tls)

        def shakes_until(text: str) -> set[str]:
            found = {shake()}
            while not it.logged(text):
                found.add(shake())
                time.sleep(0.02)
            return found

        def refuses_strangers() -> bool:
            with suppress(ssl.SSLError, ConnectionError):
                return not shake(ssl.create_default_context(cadata=ca))
            return True

        assert refuses_strangers()
        with Client(verify=trusted, base_url=f"https://localhost:{it.port}") as client:
            (before,) = client.get("/health").json()["certificates"].values()
            write(tls_crt=pairs[1][0])
            assert shakes_until("refused.*TLS_KEY does not belong") == {"one"}
            assert client.get("/health").json()["degraded"]
            write(tls_key=pairs[1][1])
            assert shakes_until("generation 2") <= {"one", "two"}
            assert shake() == "two"
            health = client.get("/health").json()
            assert not health["degraded"]
            gauge = 'hive_boot_certificate_expiry_timestamp_seconds{secret="TLS_CRT"} '
            (line,) = (each for each in client.get("/metrics").text.splitlines() if gauge in each)
            assert before < health["certificates"]["TLS_CRT"] == float(line.removeprefix(gauge))
            # The key may be written first too.
            write(tls_key=pairs[0][1])
            assert shakes_until("generation 2 stays.*TLS_KEY does not belong") == {"two"}
            write(tls_crt=pairs[0][0])
            assert shakes_until("generation 3") <= {"one", "two"}
            assert shake() == "one"
        assert refuses_strangers()
        it.send(signal.SIGTERM)
        assert it.end() == 0
    assert not it.logged("Traceback|PRIVATE KEY"), it.err


def test_an_unusable_pair_is_one_problem_of_the_secrets(tmp_path: Path) -> None:
    """The start fails with the report and 78, without a prompt; a server that cannot use it, 70."""
    certificate, key = make_certificate(tmp_path)
    values = {"TLS_CRT": certificate, "TLS_KEY": encrypt_key(key), "GOOD_KEY": key}
    source = (
        TLS.replace('"docker"', '"environment"')
        + """
os.environ["TLS_KEY"] = os.environ["GOOD_KEY"]
serve(boot, port=0, tls=("tls_crt", "tls_key"), server_options={"ssl_ciphers": "nonsense"})
"""
    )
    with serving(source, "uvicorn", "asyncio", ".", cwd=tmp_path, **values) as it:
        assert it.end() == 0
    assert it.out == ["exit 78", "exit 70"], it.err
    assert it.logged("1 problem")
    assert len(it.logged("TLS_KEY is encrypted")) == 1


# Sockets

LOCAL = f"""{SCOPE}
boot = Bootstrap(Needs)
serve(boot, uds="app.sock")
serve(boot, fd=socket.create_server(("127.0.0.1", 0)).detach(), uds="unused.sock")
"""


@each_server
def test_a_unix_socket_and_a_descriptor_are_served(
    server: str, backend: str, tmp_path: Path
) -> None:
    """A stale path is replaced and removed at the stop; a descriptor of a socket is taken over."""
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with serving(LOCAL, server, backend, cwd=tmp_path) as it:
        it.wait_logged("unix:app.sock")
        it.wait_logged("Ready")
        transport = HTTPTransport(uds=str(path))
        with Client(transport=transport, base_url="http://here") as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/").json()["scheme"] == "http"
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        it.send(signal.SIGTERM)
        it.wait_told("exit 0")
        assert not path.exists()
        it.wait_ready()
        assert json.loads(it.ask().body)["client"][0] == "127.0.0.1"
        it.send(signal.SIGTERM)
        assert it.end() == 0
    assert it.out == ["exit 0"] * 2, it.err


def test_a_path_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    """Neither a socket that a process listens on nor a file is replaced; the error names it."""
    live, file, datagrams = (tmp_path / name for name in ("live.sock", "file", "datagrams"))
    file.write_text("content")
    with bind("", 0, uds=live), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(datagrams))
        for path in (live, file, datagrams):
            with pytest.raises(LifecycleError, match=re.escape(str(path))):
                bind("", 0, uds=path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(live))
        assert datagrams.exists()
    assert file.read_text() == "content"
    bind("", 0, uds=live).close()  # its process is gone


def test_an_unusable_address_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    """A path, a descriptor or a port that cannot be listened on is reported with its name."""
    with (tmp_path / "file").open("w+") as file, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        table = [
            ({"uds": tmp_path / "nowhere" / "app.sock"}, "nowhere"),
            ({"uds": "x" * 200}, "too long"),
            ({"uds": "a\0b"}, "null byte"),
            ({"fd": file.fileno()}, "non-socket"),
            ({"fd": -1}, "negative"),
            ({"fd": "3"}, "integer"),
        ]
        for address, text in table:
            with pytest.raises(LifecycleError, match=text):
                bind("127.0.0.1", 0, **address)  # type: ignore[arg-type]
        with pytest.raises(LifecycleError, match="not supported"):
            bind("127.0.0.1", 0, fd=datagrams.detach())
        assert file.read() == ""


# Options

WRONG = f"""{SCOPE}
boot = Bootstrap(Needs)
for options in WRONG[server]:
    serve(boot, port=0, server_options=options)
serve(boot, host=5)
serve(boot, port=0, server_options={{"forwarded_allow_ips": 5}})
serve(boot, port=0, server_options={{"forwarded_allow_ips": ["nonsense"]}})
serve(boot, port=0, server_options={{"proxy_headers": "no"}})
serve(boot, port=0, server_options=5)
""".replace(
    "WRONG[server]",
    """{
    "uvicorn": [
        {"http": "nonsense"},
        {"ws": "nonsense:nonsense"},
        {"headers": 5},
        {"timeout_keep_alive": "5"},
        {"limit_concurrency": "10"},
        {"access_log": "no"},
        {"root_path": 5},
        {"backlog": None, "access_log": 1},
        {"http": None},
        {"headers": {"x-name": "x"}},
    ],
    "hypercorn": [
        {"keep_alive_timeout": "x"},
        {"read_timeout": "x"},
        {"include_server_header": "no"},
        {"access_log_format": 5},
        {"h2_max_concurrent_streams": "x"},
        {"root_path": 5},
        {"accesslog": None, "backlog": "x"},
        {"errorlog": 5, "ciphers": 5},
        {"server_names": "example.com"},
        {"alt_svc_headers": 5},
    ],
}[server]""",
)
"""Each call has one wrong value."""


@both_servers
def test_a_wrong_value_is_an_error_of_one_sentence(
    server: str, backend: str, tmp_path: Path
) -> None:
    """The value of an option is refused at the start with 70, without a traceback."""
    with serving(WRONG, server, backend, cwd=tmp_path) as it:
        assert it.end() == 0
    assert it.out == ["exit 70"] * 15, it.err
    errors = [line for line in it.err if not re.match("INFO |WARNING ", line)]
    assert len(errors) == 15, it.err
    assert all(re.match("hive-boot: |hive_boot: (Declaration|Lifecycle)Error: ", e) for e in errors)


OPTIONS = f"""{SCOPE}
boot = Bootstrap(Needs)
log = "access_log" if server == "uvicorn" else "accesslog"
serve(boot, port=0, server_options={{"root_path": "/api"}})
serve(boot, port=0, server_options={{log: None, "proxy_headers": False}})
"""

ADDRESS = "203.0.113.9"


@both_servers
def test_both_servers_log_requests_and_trust_proxies_alike(
    server: str, backend: str, tmp_path: Path
) -> None:
    """Without any logging setup stderr has the access log, with the client that a proxy names."""
    headers = {"x-forwarded-for": f"10.0.0.1, {ADDRESS}", "x-forwarded-proto": "https"}
    with serving(OPTIONS, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        with Client(base_url=f"http://127.0.0.1:{it.port}") as client:
            scope = client.get("/?page=2", headers=headers).json()
            assert scope["client"] == [ADDRESS, 0]
            assert (scope["scheme"], scope["root_path"]) == ("https", "/api")
            # hypercorn logs no status if the client closes the connection before.
            line = it.wait_logged(rf"^INFO {server}\.access: {re.escape(ADDRESS)}.*")
        assert " 200" in line
        it.send(signal.SIGTERM)
        it.wait_told("exit 0")
        it.wait_for(lambda: len(it.logged(r"Ready")) == 2)
        lines = len(it.logged(r"\.access: "))
        port = it.logged(r"(?<=://127\.0\.0\.1:)\d+")[-1]
        with Client(base_url=f"http://127.0.0.1:{port}") as client:
            scope = client.get("/", headers=headers).json()
        assert (scope["scheme"], scope["client"][0]) == ("http", "127.0.0.1")
        it.send(signal.SIGTERM)
        assert it.end() == 0
    assert len(it.logged(r"\.access: ")) == lines
