"""Evidence of a fleet: samples of the metrics of each instance, from Prometheus or an endpoint.

Only the newest scrape of a target counts, by the timestamps of Prometheus and never by the clock of
this machine.
"""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode, urlsplit

from hive_boot.cli import UsageError
from hive_boot.cli.fleet_judgement import (
    EXPORTED,
    History,
    Matching,
    Observation,
    Round,
    Straggler,
    Target,
    id_of,
    in_a_row,
    observation_of,
)
from hive_boot.cli.probe import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hive_boot.cli.fleet_judgement import Series, Stage
    from hive_boot.cli.probe import Client

_OF_VERSION = "process_info|secrets_info|uptime_seconds"
_OF_HOOKS = f"{_OF_VERSION}|degraded|failed_hooks|pending_hooks|resources_on_old"
_OF_USE = "accept_old_for_seconds|secret_old_use_age_seconds|secret_uses_total"
_QUERIES: dict[Stage, tuple[str, ...]] = {
    "accepted": (_OF_VERSION,),
    "current": (_OF_HOOKS,),
    "quiet": (_OF_HOOKS, _OF_USE),
}
"""The metrics that prove each stage. With 5,000 instances each query takes seconds of one core."""

_PROMETHEUS_LIMIT = 1 << 28
"""Limit of the bytes of a response of Prometheus."""

_TARGET_LIMIT = 1 << 24
"""Limit of the bytes of the metrics of one target."""

_THREADS = 32

_ID_INTERVALS = 10
"""Length of the history of a target, in scrape intervals, that is searched for other processes."""

_CLOCK_STEP = 5.0
"""Difference in seconds between two clocks from which one of them was set."""


def parse_url(option: str, text: str) -> SplitResult:
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


_SAMPLE = re.compile(
    r'hive_boot_(\w+)(?:\{((?:[^"}]|"(?:[^"\\\n]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t]+\S+)?'
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\\n]|\\.)*)"')


def parse_metrics(text: str) -> list[Series]:
    """Return the series that are evidence, of metrics in the text format of Prometheus.

    Raises:
        Unanswered: a line is cut off, or is not a sample.
    """
    found: list[Series] = []
    lines = text.split("\n")
    if lines.pop():
        raise Unanswered("the metrics are cut off")
    for line in lines:
        if not line.startswith("hive_boot_"):
            continue
        match = _SAMPLE.fullmatch(line.rstrip())
        try:
            if match is None:
                raise ValueError  # noqa: TRY301  (the same as for a number)
            value = float(match[3])
        except ValueError:
            raise Unanswered("its metrics are not in the text format of Prometheus") from None
        if match[1] in f"{_OF_HOOKS}|{_OF_USE}".split("|"):
            labels = {key: _unescaped(value) for key, value in _LABEL.findall(match[2] or "")}
            found.append((match[1], labels, value))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


class TargetSource:
    """The metrics endpoints of instances, which are asked directly.

    Args:
        urls: the URLs; a host name is resolved in each round, and each of its addresses is asked.
        client: the HTTP client.
        interval: seconds between two rounds.
    """

    def __init__(self, urls: Sequence[SplitResult], client: Client, interval: float) -> None:
        self._urls = urls
        self._client = client
        self._interval = interval
        self._history = History()

    def ask(self, quiet_for: float | None, _stage: Stage = "quiet") -> Round:
        """Return the samples of this moment; ``quiet_for`` is the quiet time, if it is needed."""
        stragglers: list[Straggler] = []
        with ThreadPoolExecutor(_THREADS) as threads:
            names: dict[str, tuple[SplitResult, str]] = {}
            for url, found in zip(self._urls, threads.map(_resolve, self._urls), strict=True):
                if isinstance(found, Straggler):
                    stragglers.append(found)
                else:
                    names |= {name: (url, address) for name, address in found.items()}
            answers = [*threads.map(self._scrape, names, names.values())]
        now = monotonic()
        observations = [each for each in answers if isinstance(each, Observation)]
        stragglers += [each for each in answers if isinstance(each, Straggler)]
        history = self._history
        history.record({each.name: each.process_id for each in observations}, now)
        return Round(
            observations=tuple(
                replace(
                    each,
                    samples=history.samples(each.name),
                    others=history.others(each.name, each.process_id, now),
                    seen_for=history.seen_for(each.process_id, now),
                )
                for each in observations
            ),
            stragglers=tuple(stragglers),
            departed=history.departed(now, quiet_for) if quiet_for is not None else {},
            answered=any(getattr(each, "kind", "") != "unreachable" for each in answers),
            interval=self._interval,
        )

    def _scrape(self, name: str, place: tuple[SplitResult, str]) -> Observation | Straggler:
        url, address = place
        path = (url.path if url.path.strip("/") else "/metrics") + (url.query and f"?{url.query}")
        try:
            body = self._client.get(url, path, limit=_TARGET_LIMIT, address=address)
            series = parse_metrics(body.decode("utf-8", "replace"))
        except Unanswered as exc:
            return Straggler(name=name, kind="unreachable", message=f"it cannot be asked: {exc}")
        return observation_of(name, series, interval=self._interval)


def _resolve(url: SplitResult) -> dict[str, str] | Straggler:
    """Return the addresses of the host of a URL, by the names to show."""
    host = str(url.hostname)
    shown = url.geturl()
    try:
        found = socket.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        message = f"its host name cannot be resolved: {reason}"
        return Straggler(name=shown, kind="unreachable", message=message)
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    if list(addresses) == [host]:
        return {shown: host}
    return {f"{shown} ({address})": address for address in addresses}


class Selector:
    """Label matchers in the syntax of PromQL, such as ``job="hive", namespace=~"prod.*"``.

    Raises:
        UsageError: the text is not a list of matchers.
    """

    _MATCHER = re.compile(
        r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\\n]|\\.)*")\s*(?:,|$)', re.ASCII
    )

    def __init__(self, text: str, *, option: str = "--selector") -> None:
        self.text: str = text.strip().removeprefix("{").removesuffix("}").strip().removesuffix(",")
        self._tests: list[tuple[str, Callable[[str], bool]]] = []
        position = 0
        while position < len(self.text):
            match = self._MATCHER.match(self.text, position)
            try:
                if match is None or match[1] == "__name__":
                    raise ValueError  # noqa: TRY301  (the same as for a pattern)
                self._tests.append((match[1], _matcher(match[2], json.loads(match[3]))))
            except (ValueError, re.error):
                raise UsageError(
                    f"{option} must be matchers of target labels as in PromQL, such as "
                    'job="hive",namespace=~"prod-.*"'
                ) from None
            position = match.end()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels of a target match."""
        return all(test(labels.get(name, "")) for name, test in self._tests)


def _matcher(operator: str, text: str) -> Callable[[str], bool]:
    pattern = re.compile(text if "~" in operator else re.escape(text))
    wanted = not operator.startswith("!")
    return lambda value: (pattern.fullmatch(value) is not None) is wanted


class PrometheusSource:
    """One or more Prometheus servers: shards, replicas, or both.

    A process that several servers scrape is one process, and each of its samples counts.

    Args:
        urls: the URLs of the servers.
        client: the HTTP client.
        selector: the targets that are instances.
        may_be_shard: whether a server may be one shard of several. Default False: such a server
            proves nothing, because the others are not asked.
    """

    def __init__(
        self,
        urls: Sequence[SplitResult],
        client: Client,
        selector: Selector,
        *,
        may_be_shard: bool = False,
    ) -> None:
        self._servers = [_Server(url, client, selector, may_be_shard=may_be_shard) for url in urls]

    def ask(self, quiet_for: float | None, stage: Stage = "quiet") -> Round:
        """Return the newest samples; ``quiet_for`` is the quiet time, if it is needed."""
        with ThreadPoolExecutor(_THREADS) as threads:
            rounds = list(threads.map(lambda server: server.ask(quiet_for, stage), self._servers))
        observations = tuple(each for one in rounds for each in one.observations)
        current = {each.process_id for each in observations}
        return Round(
            observations=observations,
            stragglers=tuple(each for one in rounds for each in one.stragglers),
            departed={
                process_id: name
                for one in rounds
                for process_id, name in one.departed.items()
                if process_id not in current
            },
            answered=any(one.answered for one in rounds),
            interval=max(one.interval for one in rounds),
        )


class _Server:
    """One Prometheus server."""

    def __init__(
        self, url: SplitResult, client: Client, selector: Selector, *, may_be_shard: bool
    ) -> None:
        self._url = url
        self._name = url.geturl()
        self._client = client
        self._selector = selector
        self._may_be_shard = may_be_shard
        self._begun = monotonic()
        self._first: tuple[float, float] | None = None
        self._since = 0.0

    def ask(self, quiet_for: float | None, stage: Stage = "quiet") -> Round:
        """Return one round; a server that does not answer is a straggler."""
        try:
            return self._ask(quiet_for, stage)
        except Unanswered as exc:
            message = f"it cannot be asked: {exc}"
        except (LookupError, TypeError, ValueError, AttributeError):
            message = "it cannot be asked: the response is not that of a Prometheus"
        return Round(answered=False, stragglers=(self._straggler("unreachable", message),))

    def _ask(self, quiet_for: float | None, stage: Stage) -> Round:
        begun = self._now()
        # The first list of targets has the intervals, the second one every target of the samples.
        try:
            interval = max((each.interval for each in self._targets()), default=0.0)
        except Unanswered as exc:
            if exc.status not in {404, 405, 501}:
                raise
            message = "it has no targets endpoint, so an instance that is down is invisible"
            return Round(stragglers=(self._straggler("no-targets-endpoint", message),))
        window = _milliseconds(2 * interval or 60)
        queries = [f"{self._metrics(names)}[{window}]" for names in _QUERIES[stage]]
        queries.append(f"{self._process_info()}[{_milliseconds(_ID_INTERVALS * interval or 60)}]")
        with ThreadPoolExecutor(_THREADS) as threads:
            at = f"{begun:.3f}"
            *samples, ids = threads.map(lambda query: self._query(query, time=at), queries)
        seen, within = self._quiet_time(quiet_for, interval, begun)
        now = self._now()
        targets = self._targets()
        stragglers = [*self._server_problems(now, quiet_for)]
        if not targets:
            stragglers.append(self._straggler("no-targets", "no target matches the selector"))
        matched = Matching(targets)
        newest, own = matched.newest(chain.from_iterable(samples))
        if self._first is None or self._clock_was_set(now):
            # A sample that exists at the beginning is old, whatever the clock was set to.
            self._first = (now, monotonic())
            self._since = max([begun, *newest.values()])
        shown = matched.processes(ids)
        observations = []
        for number, target in enumerate(targets):
            found = self._observe(target, own.get(number, ()), now - newest.get(number, 0))
            if isinstance(found, Straggler):
                stragglers.append(found)
                continue
            history = shown.get(number, {})
            process_id = found.process_id
            others = {each: now - max(times) for each, times in history.items()}
            others.pop(process_id, None)
            changes: dict[str, Any] = {
                "is_new": newest[number] > self._since,
                "samples": in_a_row(history, process_id),
                "others": others,
                "seen_for": quiet_for if quiet_for and process_id in seen else 0.0,
            }
            observations.append(replace(found, **changes))
        stragglers += [
            Straggler(name=name, kind=kind, message=message)
            for name, kind, message in matched.problems
        ]
        return Round(
            observations=tuple(observations),
            stragglers=tuple(stragglers),
            departed=within,
            interval=max([interval, *(each.interval for each in targets)]),
        )

    def _observe(
        self, target: Target, series: Iterable[Series], age: float
    ) -> Observation | Straggler:
        if target.problem:
            return Straggler(name=target.name, kind="not-scraped", message=target.problem)
        hidden = [name for name in target.labels if name in EXPORTED]
        if hidden:
            message = f"its target label {hidden[0]} hides a label of hive_boot"
            return Straggler(name=target.name, kind="hidden-label", message=message)
        return observation_of(target.name, series, age=age, interval=target.interval, is_new=True)

    def _server_problems(self, now: float, quiet_for: float | None) -> Iterator[Straggler]:
        """Yield why this server itself proves nothing."""
        configuration = ""
        try:
            started = self._get("status/runtimeinfo")["startTime"]
        except Unanswered:
            message = "it does not report when it was started"
            yield self._straggler("no-start-time", message)
            return
        running = now - datetime.fromisoformat(started).timestamp()
        if running < monotonic() - self._begun:
            message = "it was started after the wait began"
            yield self._straggler("restarted", message, "start the wait again")
        elif quiet_for is not None and running < quiet_for:
            message = f"it has run for {running:.0f} s, and the quiet time is {quiet_for:g} s"
            yield self._straggler("short-history", message)
        if self._clock_was_set(now):
            yield self._straggler("clock", "its clock was set, so the wait begins again")
        with suppress(Unanswered):  # some proxies do not allow it
            configuration = "" if self._may_be_shard else self._get("status/config")["yaml"]
        if re.search(r"\baction: hashmod\b", configuration):
            message = "it is one of several shards (its configuration has hashmod)"
            fix = "name every shard with --prometheus, or the number of processes with --expect"
            yield self._straggler("shard", message, fix)

    def _clock_was_set(self, now: float) -> bool:
        first, here = self._first or (now, monotonic())
        return abs((now - first) - (monotonic() - here)) > _CLOCK_STEP

    def _quiet_time(
        self, quiet_for: float | None, interval: float, now: float
    ) -> tuple[set[str], dict[str, str]]:
        """Return the processes that were known a quiet time ago, and those known since then."""
        if quiet_for is None:
            return set(), {}
        info = self._process_info()
        before = self._query(info, time=f"{now - quiet_for:.3f}")
        # A process may have ended up to one interval after its last sample.
        window = _milliseconds(quiet_for + 2 * interval)
        within = self._query(f"last_over_time({info}[{window}])")
        return {id_of(each["metric"]) for each in before}, {
            id_of(each["metric"]): each["metric"].get("instance", self._name) for each in within
        }

    def _process_info(self) -> str:
        return f"hive_boot_process_info{{{self._selector.text}}}"

    def _metrics(self, names: str) -> str:
        separator = "," if self._selector.text else ""
        name = f'__name__=~"hive_boot_({names})"'
        return f"{{{name}{separator}{self._selector.text}}}"

    def _targets(self) -> list[Target]:
        active = [
            each
            for each in self._get("targets", state="active")["activeTargets"]
            if self._selector.matches(each["labels"])
        ]
        names = [each["labels"].get("instance", "") for each in active]
        number = Counter(names)
        return [
            Target(
                name=name if name and number[name] == 1 else each["scrapeUrl"],
                labels=each["labels"],
                interval=_duration(each["scrapeInterval"]),
                problem=_scrape_problem(each),
            )
            for name, each in zip(names, active, strict=True)
        ]

    def _now(self) -> float:
        return float(self._get("query", query="time()")["result"][0])

    def _query(self, query: str, **parameters: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._get("query", query=query, **parameters)["result"]
        return result

    def _get(self, endpoint: str, **parameters: str) -> Any:
        query = f"?{urlencode(parameters)}" if parameters else ""
        path = f"{self._url.path.rstrip('/')}/api/v1/{endpoint}{query}"
        answer = json.loads(self._client.get(self._url, path, limit=_PROMETHEUS_LIMIT))
        if answer.get("warnings"):
            # A querier in front of several servers answers without those that are down.
            raise Unanswered(f"its answer is incomplete: {answer['warnings'][0]}")
        return answer["data"]

    def _straggler(self, kind: str, message: str, fix: str = "") -> Straggler:
        return Straggler(name=self._name, kind=kind, message=message, fix=fix)


def _scrape_problem(target: Mapping[str, Any]) -> str:
    """Return why a target has no sample of its last scrape; empty if it has one."""
    if target["health"] == "up":
        return ""
    failed = f"its last scrape has failed: {target['lastError'][:200]}"
    return "it was not scraped yet" if target["health"] == "unknown" else failed


_UNITS = {"y": 31536000, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


def _duration(text: str) -> float:
    """Return a duration of Prometheus, such as ``1m30s``, in seconds."""
    return sum(
        int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[ywdhms])", text)
    )


def _milliseconds(number: float) -> str:
    return f"{round(number * 1000)}ms"
