"""``hive-boot probe`` against real sockets."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hive_boot.cli.main import main


@contextmanager
def answering(answer: bytes, *, family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """Answer one connection, and give the port."""
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


def test_a_service_that_is_ready_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """A port is all that has to be said; the answer has a word of why."""
    with answering(WELL) as port:
        assert main(["probe", "--port", str(port)]) == 0
    assert capsys.readouterr().out == f"http://127.0.0.1:{port}/readyz: 200 ready\n"


@pytest.mark.parametrize(
    ("line", "status"),
    [("200 OK", 0), ("204 No", 0), ("307 Go", 0), ("404 No", 1), ("503 No", 1), ("100 Go", 1)],
)
def test_the_status_is_judged_as_the_kubelet_does(line: str, status: int) -> None:
    """From 200 to 399 is well, whatever the words are."""
    with answering(f"HTTP/1.0 {line}\r\n\r\n".encode()) as port:
        assert main(["probe", f"http://127.0.0.1:{port}/livez"]) == status


def test_a_program_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it is well, what was asked, and what came."""
    with answering(b"HTTP/1.1 503 No\r\n\r\nstarting\nand more") as port:
        assert main(["probe", "--port", str(port), "--path", "startupz", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "url": f"http://127.0.0.1:{port}/startupz",
        "status": 503,
        "text": "starting",
    }


def test_what_a_terminal_would_obey_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """An answer is shown as one line of characters that can be printed, and not at length."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\n\x1b[31mred" + b"!" * 1000) as port:
        assert main(["probe", "--port", str(port)]) == 0
    shown = capsys.readouterr().out.partition(": 200 ")[2]
    assert shown.startswith("[31mred!!!")
    assert len(shown) == 201


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    """A status is enough."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"!" * (1 << 17)) as port:
        assert main(["probe", "--port", str(port)]) == 0


def test_nobody_there_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason of the system is told; so it is in JSON, with no status."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        assert main(["probe", "--port", port]) == 1
        assert capsys.readouterr().out.endswith("/readyz: Connection refused\n")
        assert main(["probe", "--port", port, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] is None


def test_who_never_answers_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """The seconds are for all of it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        assert main(["probe", "--port", port, "--timeout", "0.05"]) == 1
    assert capsys.readouterr().out.endswith("timed out\n")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 fine\r\n\r\n"])
def test_what_is_no_http_is_not_well(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be another service's port."""
    with answering(answer) as port:
        assert main(["probe", "--port", str(port)]) == 1
    assert capsys.readouterr().out.endswith("what answers there does not speak HTTP\n")


def test_an_address_of_the_newer_kind_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """IPv6 stands in brackets, as in every URL."""
    with answering(WELL, family=socket.AF_INET6) as port:
        assert main(["probe", f"http://[::1]:{port}"]) == 0
    assert capsys.readouterr().out == f"http://[::1]:{port}/: 200 ready\n"


@pytest.mark.parametrize(
    "typed",
    [
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
        ["--port", "0"],
        ["--port", "-1"],
        ["--port", "8000", "--timeout", "0"],
        ["--port", "8000", "--timeout", "nan"],
        ["--port", "8000", "--timeout", "1e300"],
        ["http://127.0.0.1:8000", "--path", "/livez"],
    ],
)
def test_what_cannot_be_asked_is_a_mistake_of_usage(
    typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 64, so that a health check with a typo is not taken for a sick service."""
    assert main(["probe", *typed]) == 64
    assert capsys.readouterr().err.startswith("hive-boot: ")


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_name_that_no_host_can_have_is_not_well(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so, and no traceback."""
    assert main(["probe", f"http://{host}/"]) == 1
    assert capsys.readouterr().out == f"http://{host}:80/: this is no name of a host\n"


def test_who_keeps_the_connection_is_well_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An answer that says how long it is ends there, and not when the time is over."""
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


def test_a_url_without_a_port_means_the_usual_one(capsys: pytest.CaptureFixture[str]) -> None:
    """80, and 443 of https; here nobody listens to either."""
    assert main(["probe", "http://127.0.0.1/", "--timeout", "5"]) == 1
    assert main(["probe", "https://[::1]/", "--timeout", "5"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("http://127.0.0.1:80/: ")
    assert second.startswith("https://[::1]:443/: ")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a key and a certificate for this machine that nobody has signed."""
    made = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(made), "-out", str(made) + ".crt"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_bytes(made.read_bytes() + Path(f"{made}.crt").read_bytes())
    return made


@pytest.mark.parametrize("trusted", [True, False])
def test_https_trusts_who_the_system_trusts(
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    trusted: bool,
) -> None:
    """A certificate of nobody's is not well, and says so."""
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
