"""Fleet command: proof that every instance uses new secrets, before old ones are revoked."""

from __future__ import annotations

import re
import sys
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from hive_boot._output import is_terminal, write_stderr
from hive_boot.cli.fleet_evidence import (
    Client,
    PrometheusSource,
    Selector,
    Source,
    TargetSource,
)
from hive_boot.cli.fleet_judgement import (
    QUIET_INTERVALS,
    STAGES,
    Goal,
    Judgement,
    Observation,
    Round,
    Straggler,
    longest_acceptance,
    seconds,
    stage_of,
)
from hive_boot.cli.terminal import (
    Cell,
    Parser,
    UsageError,
    os_error_text,
    print_json,
    print_line,
    print_table,
)
from hive_boot.secrets.sources.files import read_regular_file

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

EXIT_UNAVAILABLE = 69
EXIT_NOT_YET = 75

_VERSION = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_PROMETHEUS_TIMEOUT = 30.0
_TARGET_TIMEOUT = 5.0

_HEADERS = ("INSTANCE", "VERSION", "STAGE", "OLD USE", "HOOKS", "DEGRADED", "UPTIME")


class _Subparser(Parser):
    """The parser of ``status``, ``wait`` or ``rotate``."""

    def __init__(self, *, prog: str, about: str, example: str) -> None:
        super().__init__(prog.removeprefix("hive-boot "), about, example=example)


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "fleet",
        "Show which secrets the instances use, and wait for proof before a revocation.",
        example="hive-boot fleet status --target http://10.0.0.7:8080\n"
        "hive-boot fleet wait 2026-12-01 --prometheus http://prometheus:9090",
    )
    commands = parser.add_subparsers(
        metavar="COMMAND", dest="command", required=True, parser_class=_Subparser
    )
    _add_status(commands)
    _add_wait(commands)
    return parser


def _add_status(commands: Any) -> None:
    status = commands.add_parser(
        "status",
        help="show the secrets of each instance",
        about="Show the version of the secrets of each instance, and what has not followed.",
        example="hive-boot fleet status --target http://shop-headless:8080\n"
        "hive-boot fleet status --prometheus http://prometheus:9090 --json",
    )
    _add_sources(status)
    status.add_json()


def _add_wait(commands: Any) -> None:
    wait = commands.add_parser(
        "wait",
        help="wait until a version has reached a stage in every instance",
        about="Wait until every instance accepts a version (accepted), uses it (current),\n"
        "and has not used an old value for the quiet time (quiet).\n"
        "Exit 0 only with proof; 75 after the timeout, with the instances that lack it;\n"
        "69 if no server has answered.",
        example="hive-boot fleet wait 2026-12-01 --prometheus http://prometheus:9090\n"
        "hive-boot fleet wait 2026-12-01 --target http://10.0.0.7:8080 --expect 1",
    )
    wait.add_argument("version", metavar="VERSION", help="the version of the new secrets")
    wait.add_argument(
        "--stage", choices=STAGES, default="current", help="the stage (default: %(default)s)"
    )
    _add_sources(wait)
    wait.add_argument("--expect", type=int, metavar="N", help="the exact number of live processes")
    wait.add_argument(
        "--quiet-for",
        type=float,
        metavar="SECONDS",
        help="the quiet time (default: the largest accept_old_for of the instances)",
    )
    wait.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="a secret whose old value must not be used, instead of every one. Repeatable",
    )
    for flag, default, about in (
        ("--timeout", 600.0, "time to wait"),
        ("--interval", 5.0, "time between two rounds of requests"),
    ):
        wait.add_argument(
            flag,
            type=float,
            default=default,
            metavar="SECONDS",
            help=f"{about} (default: %(default)g)",
        )
    wait.add_json()


def _add_sources(parser: Parser) -> None:
    for flag, about in (
        ("--prometheus", "a Prometheus server. Repeatable, for shards and replicas"),
        ("--target", "the metrics of an instance, without Prometheus. Repeatable"),
    ):
        parser.add_argument(flag, action="append", default=[], metavar="URL", help=about)
    parser.add_argument(
        "--selector",
        metavar="MATCHERS",
        help="labels of the targets that are instances, as in PromQL (default: all targets)",
    )
    parser.add_argument(
        "--credentials-file",
        metavar="FILE",
        help="a file with a bearer token, or with user:password",
    )


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: an argument is invalid or missing.
    """
    return COMMANDS[arguments.command](arguments)


def make_source(arguments: Namespace, *, interval: float, expect: int | None = None) -> Source:
    """Return the source that the arguments describe.

    Args:
        arguments: the options of the source.
        interval: seconds between two rounds.
        expect: the number of live processes; None if it is not given.

    Raises:
        UsageError: an argument is invalid or missing.
    """
    if bool(arguments.prometheus) == bool(arguments.target):
        raise UsageError("Specify the instances with either --prometheus or --target")
    if arguments.selector is not None and arguments.target:
        raise UsageError("--selector is only valid with --prometheus")
    file = arguments.credentials_file
    authorization = "" if file is None else _read_credentials(file)
    if arguments.target:
        client = Client(authorization=authorization, timeout=_TARGET_TIMEOUT)
        urls = [_parse_url("--target", url) for url in dict.fromkeys(arguments.target)]
        return TargetSource(urls, client, interval)
    client = Client(authorization=authorization, timeout=_PROMETHEUS_TIMEOUT)
    selector = Selector(arguments.selector or "")
    urls = [_parse_url("--prometheus", url) for url in dict.fromkeys(arguments.prometheus)]
    may_be_shard = len(urls) > 1 or expect is not None
    return PrometheusSource(urls, client, selector, may_be_shard=may_be_shard)


def _read_credentials(path: str) -> str:
    """Return the header ``Authorization`` for a file with a bearer token, or user:password.

    Raises:
        UsageError: the file cannot be read, or is not one line of text.
    """
    try:
        text = read_regular_file(path).decode("ascii").removesuffix("\n").removesuffix("\r")
    except OSError as exc:
        raise UsageError(f"--credentials-file {path}: {os_error_text(exc)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--credentials-file {path}: it is not ASCII text") from None
    if not text or not text.isprintable():
        raise UsageError(f"--credentials-file {path}: expected one line")
    return f"Basic {b64encode(text.encode()).decode()}" if ":" in text else f"Bearer {text}"


def _parse_url(option: str, text: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        UsageError: it is not a URL of HTTP, or contains a user or a fragment.
    """
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or "@" in parts.netloc or parts.fragment or not re.fullmatch("[!-~]+", text):
        raise UsageError(
            f"{option} must be http://host:port/path or https://host:port/path, without a user: "
            "credentials are read from --credentials-file"
        )
    return parts


def _status(arguments: Namespace) -> int:
    latest = make_source(arguments, interval=1.0).ask(None)
    shown = {(each.name, each.process_id): each for each in latest.observations}.values()
    if arguments.json:
        print_json(
            {
                "ok": latest.answered,
                "instances": [_instance_facts(each) for each in shown],
                "stragglers": [_straggler_facts(each) for each in latest.stragglers],
            }
        )
    else:
        if shown:
            print_table(_HEADERS, [_row(each) for each in shown])
        _print_stragglers(latest.stragglers)
    return 0 if latest.answered else EXIT_UNAVAILABLE


def _instance_facts(each: Observation) -> dict[str, Any]:
    return {
        "name": each.name,
        "process": each.process_id,
        "accepted": each.accepted,
        "current": each.current,
        "stage": stage_of(each),
        "old_use_age": dict(each.old_use_age),
        "uses": dict(each.uses),
        "pending_hooks": each.pending_hooks,
        "failed_hooks": each.failed_hooks,
        "resources_on_old": each.resources_on_old,
        "degraded": each.degraded,
        "worker": each.worker,
        "uptime": each.uptime,
    }


def _straggler_facts(each: Straggler) -> dict[str, str]:
    return {"name": each.name, "kind": each.kind, "message": each.message, "fix": each.fix}


def _row(each: Observation) -> list[Cell]:
    stage = stage_of(each)
    hooks = "/".join(
        "?" if n is None else f"{n:g}" for n in (each.pending_hooks, each.failed_hooks)
    )
    versions = dict.fromkeys(
        "-" if version is None else version or "unknown"
        for version in (each.accepted, each.current)
    )
    styles = {"quiet": "green", "current": "green", "accepted": "yellow"}
    return [
        Cell(each.name, "bold"),
        Cell(" / ".join(versions)),
        Cell(stage, styles.get(stage, "red")),
        Cell(_old_use(each)),
        Cell(hooks, "" if hooks == "0/0" else "yellow"),
        Cell("yes", "red") if each.degraded else Cell("no", "dim"),
        Cell("-" if each.uptime is None else seconds(each.uptime)),
    ]


def _old_use(each: Observation) -> str:
    """Return when an old value was used last, as a cell of the table."""
    if not each.old_use_age:
        return "-"
    if not all(each.uses.get(name, 0) > 0 for name in each.old_use_age):
        return "accepted, use unknown"
    age = min(each.old_use_age.values())
    never = each.uptime is not None and age >= each.uptime
    return "none since the start" if never else f"{seconds(age)} ago"


def _print_stragglers(stragglers: Sequence[Straggler]) -> None:
    for each in dict.fromkeys(stragglers):
        print_line("  ", Cell(each.name, "bold"), f": {each.message}")
        if each.fix:
            print_line(Cell(f"    Fix: {each.fix}", "dim"))


def _wait(arguments: Namespace) -> int:
    _check_numbers(arguments)
    if not _VERSION.fullmatch(arguments.version):
        raise UsageError("VERSION must be at most 64 letters, digits, '.', '_', ':' and '-'")
    goal = Goal(
        version=arguments.version,
        stage=arguments.stage,
        expect=arguments.expect,
        secrets=tuple(arguments.secret),
    )
    source = make_source(arguments, interval=arguments.interval, expect=arguments.expect)
    waiting = Waiting(goal, source, arguments.quiet_for)
    begun = time.monotonic()
    while True:
        found = waiting.next_round()
        left = begun + arguments.timeout - time.monotonic()
        if not found or left <= 0:
            break
        time.sleep(min(arguments.interval, left))
    latest, elapsed = waiting.latest, time.monotonic() - begun
    status = (EXIT_NOT_YET if latest.answered else EXIT_UNAVAILABLE) if found else 0
    if arguments.json:
        print_json(
            {
                "ok": status == 0,
                "version": goal.version,
                "stage": goal.stage,
                "quiet_for": waiting.quiet_for,
                "processes": len(latest.processes),
                "stragglers": [_straggler_facts(each) for each in dict.fromkeys(found)],
            }
        )
    elif status == 0:
        _print_proof(goal, latest, waiting.quiet_for)
    else:
        reason = f"{goal.version} is not proved to be {goal.stage} after {seconds(elapsed)}:"
        print_line(Cell(reason if latest.answered else "No server has answered:", "red"))
        _print_stragglers(found)
    return status


def _check_numbers(arguments: Namespace) -> None:
    """Raise UsageError for a number out of its range."""
    for option in ("timeout", "interval", "quiet_for"):
        number = getattr(arguments, option)
        least = 0.0 if option == "timeout" else 0.001
        if number is not None and not least <= number <= _MAX_SECONDS:
            name = f"--{option.replace('_', '-')}"
            raise UsageError(f"{name} must be a number of seconds, at most {_MAX_SECONDS:g}")
    if arguments.expect is not None and arguments.expect < 1:
        raise UsageError("--expect must be 1 or more")
    if arguments.stage != "quiet" and (arguments.quiet_for is not None or arguments.secret):
        raise UsageError("--quiet-for and --secret are only valid with --stage quiet")


_MAX_SECONDS = 366 * 86400.0


class Waiting:
    """The rounds of a wait, with progress on a terminal.

    Args:
        goal: the statement to prove.
        source: the source of the rounds.
        quiet_for: the quiet time in seconds; None for the largest ``accept_old_for``.

    Attributes:
        latest: the newest round.
        quiet_for: the quiet time in seconds; None while it is not known.
    """

    def __init__(self, goal: Goal, source: Source, quiet_for: float | None) -> None:
        self.latest = Round()
        self.quiet_for = quiet_for
        self._goal = goal
        self._source = source
        self._is_default = quiet_for is None
        self._judgement = Judgement(goal)
        self._begun = time.monotonic()
        self._shown = ""

    def next_round(self) -> tuple[Straggler, ...]:
        """Ask for a round, and return what is not proved.

        Raises:
            UsageError: the quiet time is shorter than three scrape intervals.
        """
        is_quiet = self._goal.stage == "quiet"
        self.latest = self._source.ask(self.quiet_for if is_quiet else None)
        if is_quiet:
            self._update_quiet_time()
        found = self._judgement.assess(self.latest, self.quiet_for)
        self._show_progress(found)
        return found

    def _update_quiet_time(self) -> None:
        if self._is_default:
            longest = longest_acceptance(self.latest, self._goal.secrets)
            if longest is not None:
                self.quiet_for = max(longest, self.quiet_for or 0.0)
        least = QUIET_INTERVALS * self.latest.interval
        if self.quiet_for is not None and self.quiet_for < least:
            given = "The largest accept_old_for" if self._is_default else "--quiet-for"
            raise UsageError(
                f"{given} is {self.quiet_for:g} s, but an old use is visible only at a scrape: "
                f"--quiet-for must be at least three scrape intervals, {least:g} s"
            )

    def _show_progress(self, found: tuple[Straggler, ...]) -> None:
        names = list(dict.fromkeys(each.name for each in found))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004
        shown = ", ".join(f"{name} ({_first(found, name)})" for name in names[:3])
        text = f"live processes: {len(self.latest.processes)}, waiting for: {shown}{more}"
        if names and text != self._shown and is_terminal(sys.stderr):
            elapsed = time.monotonic() - self._begun
            write_stderr(f"{Cell(f'{elapsed:5.0f} s  {text}').text}\n")
        self._shown = text


def _first(found: Sequence[Straggler], name: str) -> str:
    return next(each.message for each in found if each.name == name)


def _print_proof(goal: Goal, latest: Round, quiet_for: float | None) -> None:
    number = len(latest.processes)
    processes = "1 process" if number == 1 else f"{number} processes"
    meaning = {
        "accepted": f"{goal.version} is accepted by {processes}.",
        "current": f"{goal.version} is in use in {processes}.",
        "quiet": f"{goal.version} is in use in {processes}, and no old value was used for "
        f"{seconds(quiet_for or 0.0)}.",
    }
    print_line(Cell(meaning[goal.stage], "green"))


COMMANDS: dict[str, Callable[[Namespace], int]] = {"status": _status, "wait": _wait}
"""The function of each command below ``hive-boot fleet``."""
