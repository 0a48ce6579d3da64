"""``hive-boot probe``: requests over real sockets."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hive_boot.cli.main import main
from tests.fixtures.certificates import make_certificate


@contextmanager
def answering(answer: bytes, *, family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """Answer one connection; the context is the port."""
    asked: list[bytes] = []
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        server.settimeout(30)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(1 << 16))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()
    assert asked[0].startswith(b"GET /"), asked


WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


def test_a_ready_service_is_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    """A port is enough; the output has the URL, the status and the first line."""
    with answering(WELL) as port:
        assert main(["probe", "--port", str(port)]) == 0
    assert capsys.readouterr().out == f"http://127.0.0.1:{port}/readyz: 200 ready\n"


def test_the_status_counts_as_for_the_kubelet() -> None:
    """From 200 to 399 is a success, whatever the reason phrase."""
    for line, status in (
        ("200 OK", 0),
        ("204 No", 0),
        ("307 Go", 0),
        ("404 No", 1),
        ("503 No", 1),
        ("100 Go", 1),
        ("200", 0),
        ("200 ", 0),
        ("200 2000", 0),
    ):
        with answering(f"HTTP/1.0 {line}\r\n\r\n".encode()) as port:
            assert main(["probe", f"http://127.0.0.1:{port}/livez"]) == status, line


def test_a_program_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The result, the URL, and the response."""
    with answering(b"HTTP/1.1 503 No\r\n\r\nstarting\nand more") as port:
        assert main(["probe", "--port", str(port), "--path", "startupz", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "url": f"http://127.0.0.1:{port}/startupz",
        "status": 503,
        "text": "starting",
    }


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """The output is one line of bounded length."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\n\x1b[31mred" + b"!" * 1000) as port:
        assert main(["probe", "--port", str(port)]) == 0
    shown = capsys.readouterr().out.partition(": 200 ")[2]
    assert shown == f"\\u001b[31mred{'!' * 192}\n"


def test_a_long_response_is_not_read_to_its_end() -> None:
    """The status is enough."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"!" * (1 << 17)) as port:
        assert main(["probe", "--port", str(port)]) == 0


def test_a_length_that_is_no_possible_number_is_ignored() -> None:
    """The body then ends with the connection."""
    for length in (b"9" * 5000, b"9" * 19, b"+5", b"0x5", b""):
        with answering(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nready") as port:
            assert main(["probe", "--port", str(port)]) == 0, length


def test_a_refused_connection_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """With the message of the system, and no status in JSON."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        assert main(["probe", "--port", port]) == 1
        assert "Connection refused" in capsys.readouterr().out
        assert main(["probe", "--port", port, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] is None


def test_the_timeout_covers_the_whole_request(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that never responds fails."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        assert main(["probe", "--port", port, "--timeout", "0.05"]) == 1
    assert "timed out" in capsys.readouterr().out


def test_a_response_after_the_timeout_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes that arrive in time for each read do not prolong it."""
    sent = threading.Event()
    times = iter([0.0])

    def monotonic() -> float:
        now = next(times, None)
        if now is None:
            sent.wait(60)
        return 100.0 if now is None else now

    monkeypatch.setattr("hive_boot.cli.probe.monotonic", monotonic)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(WELL)
                sent.set()
                connection.recv(1 << 16)

        thread = threading.Thread(target=serve)
        thread.start()
        assert main(["probe", "--port", str(server.getsockname()[1]), "--timeout", "50"]) == 1
        thread.join()
    assert "timed out" in capsys.readouterr().out


def test_a_response_that_is_not_http_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the port of another service, or a response that was cut off."""
    lines = [
        *("HTTP/1.1 2000", "HTTP/1.1 20", "HTTP/1.1 200x", "HTTP/1.1 200;x", "HTTP/1.1  200"),
        *("HTTP/2 200", "HTTP/1 200", "HTTP/11 200", "HTTP/1.10 200", "HTTP/0.9 200"),
        *("http/1.1 200 OK", " HTTP/1.1 200", "XHTTP/1.1 200", "HTTP/1.1\t200", "HTTP/1.1 +20"),
        *("HTTP/1.1 ²00", "HTTP/1.1 fine", "SSH-2.0-OpenSSH", "HTTP/1.1 099", "HTTP/1.1 600"),
    ]
    cut = (b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK")
    for answer in (*cut, *(f"{line}\r\n\r\n".encode() for line in lines)):
        with answering(answer) as port:
            assert main(["probe", "--port", str(port)]) == 1, answer
        assert "HTTP" in capsys.readouterr().out.partition("/readyz")[2]


def test_an_ipv6_address_has_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    """In the argument and in the output."""
    with answering(WELL, family=socket.AF_INET6) as port:
        assert main(["probe", f"http://[::1]:{port}"]) == 0
    assert capsys.readouterr().out == f"http://[::1]:{port}/: 200 ready\n"


def test_a_wrong_url_or_option_is_64(capsys: pytest.CaptureFixture[str]) -> None:
    """A health check with a typing error is not taken for a failed service."""
    for typed in (
        [],
        ["--port", "1", "http://127.0.0.1:1/"],
        ["127.0.0.1:8000"],
        ["ftp://127.0.0.1/"],
        ["http://"],
        ["http://127.0.0.1:eighty/"],
        ["http://127.0.0.1:65536/"],
        ["http://user@127.0.0.1/"],
        ["http://127.0.0.1/a b"],
        ["http://127.0.0.1/a\r\nHost: b"],
        [f"http://127.0.0.1:{'9' * 5000}/"],
        ["--port", "0"],
        ["--port", "-1"],
        ["--port", "8000", "--timeout", "0"],
        ["--port", "8000", "--timeout", "nan"],
        ["--port", "8000", "--timeout", "1e300"],
        ["http://127.0.0.1:8000", "--path", "/livez"],
    ):
        assert main(["probe", *typed]) == 64, typed
        assert capsys.readouterr().err.startswith("hive-boot: ")


def test_a_name_that_no_host_can_have_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout, no traceback."""
    for host in ("a..b", "a" * 70):
        assert main(["probe", f"http://{host}/"]) == 1
        out, err = capsys.readouterr()
        assert out.startswith(f"http://{host}:80/: ")
        assert err == ""


def test_a_connection_that_stays_open_is_no_delay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A response with a Content-Length ends there."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(WELL)
                asked.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        status = main(["probe", "--port", str(server.getsockname()[1]), "--timeout", "50"])
        asked.set()
        thread.join()
    assert status == 0
    assert capsys.readouterr().out.endswith("/readyz: 200 ready\n")


def test_a_url_without_a_port_has_the_default_port(capsys: pytest.CaptureFixture[str]) -> None:
    """80, and 443 for https; nothing listens here."""
    assert main(["probe", "http://127.0.0.1/", "--timeout", "5"]) == 1
    assert main(["probe", "https://[::1]/", "--timeout", "5"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("http://127.0.0.1:80/: ")
    assert second.startswith("https://[::1]:443/: ")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a key and a self-signed certificate of this machine."""
    made = tmp_path / "certificate.pem"
    made.write_text("".join(make_certificate(tmp_path)), "ascii")
    return made


@pytest.mark.parametrize("trusted", [True, False])
def test_https_verifies_the_certificate(
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    trusted: bool,
) -> None:
    """With the certificates that the system trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            plain, _ = server.accept()
            try:
                with plain, context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(1 << 16)
                    connection.sendall(WELL)
            except OSError:
                assert not trusted

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        assert main(["probe", url, "--timeout", "30"]) == int(not trusted)
        thread.join()
    assert ("200 ready" if trusted else "CERTIFICATE_VERIFY_FAILED") in capsys.readouterr().out
