"""``hive-boot fleet`` with the endpoints of instances, and the options that both sources have."""

import json
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.fleet_evidence import REQUESTS_PER_ROUND
from hive_boot.cli.main import main
from tests.cli import fleets
from tests.cli.fleets import Fleet, Process, Request, Server, fleet, metrics_of
from tests.fixtures.certificates import make_certificate
from tests.fixtures.golden import assert_golden
from tests.fixtures.ports import closed_port

assert fleet  # a fixture

SHORT = ("--timeout", "20")
"""Five rounds of the default interval."""


class Clock:
    """A monotonic clock that advances only while the command sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the command."""
    made = Clock()
    monkeypatch.setattr("hive_boot.cli.fleet.time", made)
    monkeypatch.setattr("hive_boot.cli.fleet_evidence.monotonic", made.monotonic)
    monkeypatch.setattr(fleets.Clock, "monotonic", made.monotonic)
    return made


def wait(
    capsys: pytest.CaptureFixture[str], *arguments: str, version: str = "v2"
) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
    """Run ``fleet wait`` and return its status, the name and kind of each straggler, and JSON."""
    status = main(["fleet", "wait", version, "--json", *arguments])
    facts = json.loads(capsys.readouterr().out)
    found = [(each["name"], each["kind"]) for each in facts["stragglers"]]
    assert facts["ok"] is (status == 0)
    assert bool(found) is (status != 0)
    return status, found, facts


def targets(*servers: Server) -> list[str]:
    """Return the options that name some servers."""
    return [text for server in servers for text in ("--target", server.url)]


def resolving(monkeypatch: pytest.MonkeyPatch, host: str, *answers: list[str]) -> None:
    """Resolve a host name to addresses, which change with each look-up; the last ones stay."""
    left = [*answers]
    real = socket.getaddrinfo

    def getaddrinfo(name: str, port: int, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if name != host:
            return real(name, port, *args, **options)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_table_has_one_row_for_each_instance(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Version, stage, old use, hooks, degraded, uptime; the ones that fail are below it."""
    current = fleet.serve(Process(id="a1", uptime=7200, old_use_age={"JWT_SECRET": 7200}))
    behind = fleet.serve(
        Process(id="b1", current="v1", pending_hooks=1, degraded=1, uses={"JWT_SECRET": 0})
    )
    bare = fleet.serve(Process(id="c1", accepted=None, current=None, old_use_age={}))
    other = fleet.server(lambda _: (404, {}, b""))
    assert main(["fleet", "status", *targets(current, behind, bare, other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("  ") for line in lines]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[1:4] == [
        [current.url, "v2", "quiet", "none since the start", "0/0", "no", "2 h"],
        [behind.url, "v2 / v1", "accepted", "accepted, use unknown", "1/0", "yes", "2.78 h"],
        [bare.url, "-", "no version", "-", "0/0", "no", "2.78 h"],
    ]
    assert cells[4] == [f"{other.url}: it cannot be asked: HTTP status 404"]


def test_a_program_gets_the_status_as_json(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the numbers of each secret."""
    server = fleet.serve(Process(id="a1"))
    assert main(["fleet", "status", "--json", *targets(server)]) == 0
    (instance,) = json.loads(capsys.readouterr().out)["instances"]
    assert instance["process_id"] == "a1"
    assert instance["stage"] == "quiet"
    assert instance["old_use_age"] == {"JWT_SECRET": 9000}
    assert instance["uses"] == {"JWT_SECRET": 7}


def test_69_if_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """In both commands."""
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}"
        for option in ("--target", "--prometheus"):
            assert main(["fleet", "status", option, url]) == 69
            assert "Connection refused" in capsys.readouterr().out
            status, found, _ = wait(capsys, option, url, *SHORT)
            assert (status, found) == (69, [(url, "unreachable")])
            assert main(["fleet", "wait", "v2", option, url, *SHORT]) == 69
            assert capsys.readouterr().out.startswith("No server has answered:\n")


@pytest.mark.parametrize("stage", ["accepted", "current"])
def test_proof_is_0(fleet: Fleet, capsys: pytest.CaptureFixture[str], stage: str) -> None:
    """With the number of processes."""
    servers = [fleet.serve(Process(id=each)) for each in ("a1", "b1")]
    arguments = ["--stage", stage, *targets(*servers)]
    status, _, facts = wait(capsys, *arguments, "--expect", "2")
    assert (status, facts["processes"], facts["stage"]) == (0, 2, stage)
    assert main(["fleet", "wait", "v2", *arguments]) == 0
    assert "2 processes" in capsys.readouterr().out


def test_75_names_each_straggler_and_what_is_wrong(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are not named; a reason that waiting does not change has a fix."""
    good = fleet.serve(Process(id="a1"))
    behind = fleet.serve(Process(id="b1", current="v1"))
    worker = fleet.serve(Process(id="c1", worker="true"))
    bare = fleet.serve(Process(id="d1", accepted=None, current=None))
    arguments = [*targets(good, behind, worker, bare), *SHORT]
    status, found, _ = wait(capsys, *arguments)
    assert status == 75
    assert found == [
        (behind.url, "not-current"),
        (worker.url, "worker"),
        (bare.url, "no-version"),
    ]
    assert main(["fleet", "status", *targets(good, behind, worker, bare)]) == 0
    table = capsys.readouterr().out
    assert main(["fleet", "wait", "v2", *arguments]) == 75
    servers = (good, behind, worker, bare)
    # Each has the length of an address here, because the table has columns.
    shown = {each.url: f"http://10.0.0.{n}:8080/m" for n, each in enumerate(servers, 1)}
    assert_golden("fleet_report", f"{capsys.readouterr().out}\n{table}", shown)


def test_a_wait_ends_when_the_last_instance_has_followed(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """It looks again after each interval."""
    process = Process(id="a1", accepted="v1", current="v1")
    server = fleet.serve(process)
    answer = server.answer

    def follow(request: Request) -> tuple[int, dict[str, str], bytes]:
        if len(server.requests) > 4:
            process.accepted = process.current = "v2"
        return answer(request)

    server.answer = follow
    assert wait(capsys, *targets(server))[0] == 0
    assert len(server.requests) >= 6


def test_progress_is_shown_on_a_terminal(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line when it changes, on stderr; otherwise nothing."""
    servers = [fleet.serve(Process(id=f"p{each}", current="v1")) for each in range(5)]
    assert main(["fleet", "wait", "v2", *targets(*servers), *SHORT]) == 75
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("hive_boot.cli.fleet.is_terminal", lambda stream: stream is sys.stderr)
    assert main(["fleet", "wait", "v2", *targets(*servers), *SHORT]) == 75
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("    0 s  live processes: 5, waiting for: http://127.0.0.1:")
    assert line.count("(it accepts v2, but uses v1)") == 3
    assert line.endswith(") and 2 more")


def test_several_processes_behind_one_target_prove_nothing(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a load balancer, or a Service instead of its pods."""
    both = fleet.serve(Process(id="a1"), Process(id="b1"))
    status, found, _ = wait(capsys, *targets(both), *SHORT)
    assert status == 75
    assert (both.url, "several-processes") in found
    # A round asks several times: the other one must not be met by chance.
    rare = fleet.serve(*[Process(id="a1")] * (REQUESTS_PER_ROUND - 1), Process(id="b1"))
    assert wait(capsys, *targets(rare), *SHORT)[1] == [(rare.url, "several-processes")]


def test_expect_counts_processes(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly; a process with two endpoints is one."""
    servers = [fleet.serve(Process(id=each)) for each in ("a1", "a1", "b1")]
    for number, wanted in ((1, 75), (2, 0), (3, 75)):
        status, found, _ = wait(capsys, *targets(*servers), *SHORT, "--expect", str(number))
        assert status == wanted
        assert found == ([] if wanted == 0 else [("fleet", "count")])


def test_each_address_of_a_host_name_is_asked(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A headless Service has one for each pod."""
    first = fleet.serve(Process(id="a1"))
    second = fleet.serve(Process(id="b1", current="v1"), host="127.0.0.2", port=first.port)
    resolving(monkeypatch, "shop", ["127.0.0.1", "127.0.0.2"])
    url = f"http://shop:{first.port}"
    status, found, _ = wait(capsys, "--target", url, *SHORT)
    assert status == 75
    assert found == [(f"{url} (127.0.0.2)", "not-current")]
    assert {each.headers["Host"] for each in second.requests} == {f"shop:{first.port}"}


def test_a_change_of_dns_is_seen(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that appears counts; a name that vanishes is a straggler."""
    first = fleet.serve(Process(id="a1"))
    fleet.serve(Process(id="b1", current="v1"), host="127.0.0.2", port=first.port)
    url = f"http://shop:{first.port}"
    resolving(monkeypatch, "shop", ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"])
    found = wait(capsys, "--target", url, *SHORT)[1]
    assert found == [(f"{url} (127.0.0.2)", "not-current")]
    resolving(monkeypatch, "shop", ["127.0.0.1"], [])
    status, found, _ = wait(capsys, "--target", url, *SHORT)
    assert (status, found) == (75, [(url, "unreachable")])


def test_the_quiet_time_of_direct_targets_begins_with_the_wait(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    """Nothing is known of the processes that ended before it."""
    server = fleet.serve(Process(id="a1"))
    quiet = ["--stage", "quiet", *targets(server)]
    status, found, facts = wait(capsys, *quiet)
    assert (status, found) == (75, [(server.url, "short-history")])
    assert facts["quiet_for"] == 3600
    begun = clock.now
    assert wait(capsys, *quiet, "--timeout", "4000", "--interval", "100")[0] == 0
    assert clock.now - begun == 3700
    assert main(["fleet", "wait", "v2", *quiet, "--quiet-for", "60"]) == 0
    assert "no old value was used for 60 s" in capsys.readouterr().out


def test_the_quiet_time_begins_again_when_an_instance_disappears(
    fleet: Fleet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    """Its last uses of an old value may not have been seen. Its address has another process."""
    first = fleet.serve(Process(id="a1"))
    processes = [*[Process(id="b1")] * 3, Process(id="other")]
    fleet.serve(
        *(each for each in processes for _ in range(REQUESTS_PER_ROUND)),
        host="127.0.0.2",
        port=first.port,
    )
    url = f"http://shop:{first.port}"
    answers = [*[["127.0.0.1", "127.0.0.2"]] * 3, ["127.0.0.1"]]
    quiet = ["--target", url, "--stage", "quiet", "--quiet-for", "60"]
    resolving(monkeypatch, "shop", *answers)
    found = wait(capsys, *quiet, "--timeout", "70")[1]
    assert found == [(f"{url} (127.0.0.2)", "departed")]
    resolving(monkeypatch, "shop", *answers)
    begun = clock.now
    assert wait(capsys, *quiet)[0] == 0
    assert clock.now - begun == 15 + 60 + 5


def test_a_secret_whose_use_is_unknown_is_never_quiet(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless other secrets are selected."""
    server = fleet.serve(
        Process(
            id="a1",
            uses={"JWT_SECRET": 7, "API_KEY": 0},
            old_use_age={"JWT_SECRET": 9000, "API_KEY": 9000},
        )
    )
    quiet = ["--stage", "quiet", "--quiet-for", "15", *targets(server)]
    status, found, facts = wait(capsys, *quiet, "--timeout", "60")
    assert (status, found) == (75, [(server.url, "use-unknown")])
    assert facts["stragglers"][0]["message"] == "API_KEY: accepted, use unknown"
    assert wait(capsys, *quiet, "--timeout", "60", "--secret", "JWT_SECRET")[0] == 0


def test_the_default_quiet_time_must_cover_three_intervals(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """An accept_old_for of 0 is no quiet time."""
    server = fleet.serve(Process(id="a1", accept_old_for={"JWT_SECRET": 0}))
    quiet = ["fleet", "wait", "v2", "--stage", "quiet", *targets(server)]
    assert main(quiet) == 64
    assert "The largest accept_old_for is 0 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["status"],
        ["wait"],
        ["wait", "v2"],
        ["status", "--target", "http://a", "--prometheus", "http://b"],
        ["status", "--target", "http://a", "--selector", 'job="shop"'],
        ["status", "--target", "a:8080"],
        ["status", "--target", "ftp://a"],
        ["status", "--target", "http://"],
        ["status", "--target", "http://user:fake-password@a"],
        ["status", "--target", "http://a/#b"],
        ["status", "--target", "http://a/b c"],
        ["status", "--target", "http://a:port"],
        ["status", "--target", "http://a:99999"],
        ["status", "--target", "http://[::1"],
        ["status", "--prometheus", "http://a", "--selector", "shop"],
        ["status", "--prometheus", "http://a", "--selector", 'job="shop'],
        ["status", "--prometheus", "http://a", "--selector", 'job=~"("'],
        ["status", "--prometheus", "http://a", "--selector", '__name__="up"'],
        ["status", "--prometheus", "http://a", "--selector", 'job="shop"} or up{a="b"'],
        ["wait", "v 2", "--target", "http://a"],
        ["wait", "v" * 65, "--target", "http://a"],
        ["wait", "", "--target", "http://a"],
        ["wait", "v2", "--target", "http://a", "--stage", "revoked"],
        ["wait", "v2", "--target", "http://a", "--expect", "0"],
        ["wait", "v2", "--target", "http://a", "--timeout", "-1"],
        ["wait", "v2", "--target", "http://a", "--timeout", "nan"],
        ["wait", "v2", "--target", "http://a", "--timeout", "1e300"],
        ["wait", "v2", "--target", "http://a", "--interval", "0"],
        ["wait", "v2", "--target", "http://a", "--quiet-for", "60"],
        ["wait", "v2", "--target", "http://a", "--secret", "JWT_SECRET"],
        ["wait", "v2", "--stage", "quiet", "--target", "http://a", "--quiet-for", "14.9"],
    ],
)
def test_bad_use_is_64(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is asked, and without a part of a password."""
    assert main(["fleet", *typed]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hive-boot: ")
    assert "fake-password" not in err


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("fake-token-0123456789\n", "Bearer fake-token-0123456789"),
        ("ops:fake-password", "Basic b3BzOmZha2UtcGFzc3dvcmQ="),
    ],
)
def test_credentials_come_from_a_file(
    content: str,
    header: str,
    fleet: Fleet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bearer token, or user and password."""
    file = tmp_path / "credentials"
    file.write_text(content, "utf-8")
    server = fleet.serve(Process(id="a1"))
    arguments = [*targets(server), "--credentials-file", str(file)]
    assert main(["fleet", "status", *arguments]) == 0
    assert "fake" not in capsys.readouterr().out
    assert {each.headers["Authorization"] for each in server.requests} == {header}
    main(["fleet", "status", *targets(server)])
    assert "Authorization" not in server.requests[-1].headers


def test_an_unusable_file_of_credentials_is_64(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its content is not shown."""
    file = tmp_path / "credentials"
    for content in (None, b"", b"\n", b"fake-one\nfake-two\n", b"fake-\xff", b"fake\r\nX: y"):
        if content is not None:
            file.write_bytes(content)
        options = ["--target", "http://127.0.0.1:1", "--credentials-file", str(file)]
        assert main(["fleet", "status", *options]) == 64, content
        assert "fake" not in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--target", "--prometheus"])
def test_a_redirect_is_not_followed(
    option: str, fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So another host never gets the credentials."""
    file = tmp_path / "credentials"
    file.write_text("fake-token-0123456789", "utf-8")
    other = fleet.serve(Process(id="a1"))
    redirect = fleet.server(lambda _: (302, {"Location": f"{other.url}/metrics"}, b""))
    arguments = [option, redirect.url, "--credentials-file", str(file)]
    assert main(["fleet", "status", *arguments]) == 69
    assert f"it leads to {other.url}/metrics" in capsys.readouterr().out
    assert redirect.requests
    assert other.requests == []


def test_the_certificate_of_a_target_is_verified(
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of an unknown authority proves nothing; SSL_CERT_FILE names another authority."""
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    server = fleet.serve(Process(id="a1"))
    server.encrypt(context)
    arguments = ["fleet", "status", "--target", f"https://127.0.0.1:{server.port}"]
    assert main(arguments) == 69
    assert "certificate" in capsys.readouterr().out
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.crt"))
    assert main(arguments) == 0


def test_the_path_of_a_target_can_be_given(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one it is /metrics."""
    server = fleet.serve(Process(id="a1"))
    for suffix, path in (
        ("", "/metrics"),
        ("/", "/metrics"),
        ("/internal/metrics?x=1", "/internal/metrics?x=1"),
    ):
        server.requests.clear()
        assert main(["fleet", "status", "--target", server.url + suffix]) == 0
        assert {each.path for each in server.requests} == {path}
    assert "a1" not in capsys.readouterr().err


def test_a_response_without_evidence_is_a_straggler(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with it."""
    good = Process(id="a1").metrics().encode()
    cut = {"Content-Length": str(len(good) + 1)}
    for status, headers, body, kind in (
        (503, {}, good, "unreachable"),
        (204, {}, b"", "unreachable"),
        (200, {}, b"", "no-metrics"),
        (200, {}, b"up 1\n", "no-metrics"),
        (200, {}, good[:-1], "unreachable"),
        (200, {**cut, "Connection": "close"}, good, "unreachable"),
        (200, {}, b"hive_boot_uptime_seconds\n", "unreachable"),
        (200, {}, b"hive_boot_uptime_seconds fine\n", "unreachable"),
        (200, {}, b'hive_boot_process_info{id="a} 1\n', "unreachable"),
        (200, {}, b"hive_boot_uptime_seconds 7\n", "no-process"),
        (200, {}, good + b'hive_boot_process_info{id="b1"} 1\n', "several-processes"),
        (200, {}, b"#" * (1 << 24) + b"\n" + good, "unreachable"),
    ):
        answer = (status, headers, body)
        server = fleet.server(lambda _, answer=answer: answer)  # type: ignore[misc]
        assert main(["fleet", "status", "--json", *targets(server)]) in {0, 69}
        facts = json.loads(capsys.readouterr().out)
        assert [each["kind"] for each in facts["stragglers"]] == [kind], body[:60]
        assert facts["instances"] == []


def test_labels_are_read_with_their_escapes(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """And timestamps, and other metrics whose labels look like ours."""
    text = (
        'requests_total{path="hive_boot_process_info{id=\\"x\\"} 1"} 5\n'
        'hive_boot_process_info{id="a\\"}1\\\\",worker="false",endpoint="app",} 1 1700000000\n'
        "hive_boot_uptime_seconds 7\n"
    )
    server = fleet.server(lambda _: (200, {}, text.encode()))
    assert main(["fleet", "status", "--json", *targets(server)]) == 0
    (instance,) = json.loads(capsys.readouterr().out)["instances"]
    assert (instance["process_id"], instance["uptime"]) == ('a"}1\\', 7)


def test_a_slow_response_ends_at_the_timeout(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that arrive now and then do not prolong it."""
    monkeypatch.setattr("hive_boot.cli.fleet_evidence.monotonic", time.monotonic)
    monkeypatch.setattr("hive_boot.cli.fleet._TARGET_TIMEOUT", 0.3)
    good = fleet.serve(Process(id="a1"))
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def serve() -> None:
            connection, _ = slow.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Filler: ")
                while not ended.wait(0.02):
                    connection.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{slow.getsockname()[1]}"
        status = main(["fleet", "status", *targets(good), "--target", url])
        ended.set()
        thread.join()
    assert status == 0
    assert f"{url}: it cannot be asked: no response within 0.3 s" in capsys.readouterr().out


def test_control_characters_of_a_server_are_escaped(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server cannot forge a line, or clear the terminal."""
    server = fleet.serve(Process(id="a1", accepted="\x1b[31mv2", current="v1"))
    assert main(["fleet", "wait", "v2", *targets(server), *SHORT]) == 75
    assert main(["fleet", "status", *targets(server)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\u001b[31mv2" in out


def test_a_restart_begins_its_samples_again(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new process counts after three samples, and the old one is no second process."""
    server = fleet.serve(Process(id="a1"))
    before = server.answer

    def answer(request: Request) -> tuple[int, dict[str, str], bytes]:
        if len(server.requests) == 4:
            server.answer = metrics_of(Process(id="a2", uptime=0))
            return server.answer(request)
        return before(request)

    server.answer = answer
    status, _, facts = wait(capsys, *targets(server))
    assert (status, facts["processes"]) == (0, 1)


def test_a_cache_in_front_of_a_target_proves_nothing(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the answer of a process that does not exist any more."""
    process = Process(id="a1")
    body = process.metrics().encode()
    server = fleet.server(lambda _: (200, {}, body))
    status, found, facts = wait(capsys, *targets(server), *SHORT)
    assert (status, found) == (75, [(server.url, "cached")])
    assert facts["stragglers"][0]["message"] == "its metrics are 20 s old: a cache has answered"


def test_a_target_that_never_answered_begins_the_quiet_time_again(
    fleet: Fleet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    """When it disappears, its last uses of an old value are not known."""
    first = fleet.serve(Process(id="a1"))
    silent = fleet.server(lambda _: (500, {}, b""), host="127.0.0.2", port=first.port)
    url = f"http://shop:{first.port}"
    resolving(monkeypatch, "shop", *[["127.0.0.1", "127.0.0.2"]] * 20, ["127.0.0.1"])
    begun = clock.now
    quiet = ["--target", url, "--stage", "quiet", "--quiet-for", "60"]
    status, found, _ = wait(capsys, *quiet, "--timeout", "120")
    assert (status, found) == (75, [(f"{url} (127.0.0.2)", "departed")])
    resolving(monkeypatch, "shop", *[["127.0.0.1", "127.0.0.2"]] * 20, ["127.0.0.1"])
    begun = clock.now
    assert wait(capsys, *quiet)[0] == 0
    assert clock.now - begun == 100 + 60 + 5
    assert silent.requests
