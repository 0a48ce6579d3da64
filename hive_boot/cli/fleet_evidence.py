"""Evidence of a fleet: samples of the metrics of each instance, from Prometheus or an endpoint.

Only the newest scrape of a target counts, by the timestamps of Prometheus and never by the clock of
this machine.
"""

from __future__ import annotations

import json
import re
import socket
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode

from hive_boot.cli import UsageError
from hive_boot.cli.fleet_judgement import (
    EXPORTED,
    HISTORY_INTERVALS,
    Matching,
    Observation,
    Round,
    Straggler,
    Target,
    cached_for,
    id_of,
    in_a_row,
    observation_of,
)
from hive_boot.cli.probe import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from hive_boot.cli.fleet_judgement import Series, Stage
    from hive_boot.cli.probe import Client

_OF_PROCESS = "process_info|uptime_seconds"
_OF_HOOKS = "secrets_info|degraded|failed_hooks|pending_hooks|resources_on_old"
_OF_AGE = "accept_old_for_seconds|secret_old_use_age_seconds"
_OF_USE = "secret_uses_total"
_QUERIES: dict[Stage, tuple[tuple[str, str], ...]] = {
    "accepted": (("secrets_info", ""),),
    "current": ((_OF_HOOKS, ""),),
    # Without the uses of pending values, which are one series more for each secret.
    "quiet": ((_OF_HOOKS, ""), (_OF_AGE, ""), (_OF_USE, 'value!="pending"')),
}
"""The metrics that prove each stage, and further matchers of them: queries that run at once.

With 5,000 instances each metric takes tenths of a second of one core of Prometheus.
"""

_PROMETHEUS_LIMIT = 1 << 28
"""Limit of the bytes of a response of Prometheus."""

_TARGET_LIMIT = 1 << 24
"""Limit of the bytes of the metrics of one target."""

_THREADS = 32

REQUESTS_PER_ROUND = 8
"""Requests to a direct target in each round, each over a new connection."""

_WRONG_PATH = {301, 302, 307, 308, 404}

_CLOCK_STEP = 5.0
"""Difference in seconds between two clocks from which one of them was set."""

_SAMPLE = re.compile(
    r'hive_boot_(\w+)(?:\{((?:[^"}]|"(?:[^"\\\n]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t]+\S+)?'
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\\n]|\\.)*)"')

_SHARD = re.compile(r'action: hashmod\n(?: +\S.*\n)*? +(?:- )?regex: "?([^"\n]*)')
"""The pattern of the rule after a hash, which selects the targets of a shard."""


def parse_metrics(text: str) -> list[Series]:
    """Return the series that are evidence, of metrics in the text format of Prometheus.

    Raises:
        Unanswered: a line is cut off, or is not a sample; or two samples are of one series.
    """
    found: list[Series] = []
    known: set[tuple[str, frozenset[tuple[str, str]]]] = set()
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
        if match[1] in f"{_OF_PROCESS}|{_OF_HOOKS}|{_OF_AGE}|{_OF_USE}".split("|"):
            labels = {key: _unescaped(value) for key, value in _LABEL.findall(match[2] or "")}
            found.append((match[1], labels, value))
            known.add((match[1], frozenset(labels.items())))
    if len(known) < len(found):
        raise Unanswered("its metrics have a series twice: several applications may export them")
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


class History:
    """The processes that direct targets have shown, round by round.

    A Prometheus has this history itself. Times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._last: dict[str, dict[str, float]] = {}
        self._in_a_row: dict[str, tuple[str, deque[float]]] = {}
        self._first: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._gone: dict[str, float] = {}

    def record(
        self,
        shown: Mapping[str, Mapping[str, tuple[float, float]]],
        failed: Collection[str],
        now: float,
    ) -> None:
        """Record one round.

        Args:
            shown: the processes that each target has shown, in their order: when each has answered
                last, and when it was started, by its uptime.
            failed: the targets that exist and have not always shown a process.
            now: the time of the round.
        """
        for target, processes in shown.items():
            for process_id, (at, _) in processes.items():
                self._last.setdefault(target, {})[process_id] = at
                self._first.setdefault(process_id, now)
                self._names[process_id] = target
            before, starts = self._in_a_row.get(target, ("", deque[float]()))
            starts = starts if before == process_id else deque(maxlen=HISTORY_INTERVALS)
            starts.append(processes[process_id][1])
            self._in_a_row[target] = (process_id, starts)
            # What it was while it failed is known now: the process that it shows, or one before.
            self._names.pop(target, None)
            self._gone.pop(target, None)
        for target in self._in_a_row.keys() - shown.keys():
            del self._in_a_row[target]
        self._names.update(zip(failed, failed, strict=True))
        present = {each for processes in shown.values() for each in processes}.union(failed)
        for identity in self._names:
            if identity in present:
                self._gone.pop(identity, None)
            else:
                self._gone.setdefault(identity, now)

    def facts(self, target: str, process_id: str, now: float) -> dict[str, Any]:
        """Return what an :class:`Observation` of this moment takes from the rounds before."""
        _, starts = self._in_a_row[target]
        shown = self._last[target].items()
        return {
            "samples": len(starts),
            "cached_for": starts[-1] - min(starts),
            "others": {each: now - last for each, last in shown if each != process_id},
            "seen_for": now - self._first[process_id],
        }

    def departed(self, now: float, window: float) -> dict[str, str]:
        """Return the targets of what disappeared within ``window`` seconds, by its identity."""
        return {
            identity: self._names[identity]
            for identity, since in self._gone.items()
            if now - since < window
        }


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
        self._known: dict[str, tuple[str, tuple[SplitResult, str]]] = {}

    def ask(self, quiet_for: float | None, _stage: Stage = "quiet") -> Round:
        """Return the samples of this moment; ``quiet_for`` is the quiet time, if it is needed."""
        unresolved: list[Straggler] = []
        places: dict[str, tuple[SplitResult, str]] = {}
        with ThreadPoolExecutor(_THREADS) as threads:
            for url, found in zip(self._urls, threads.map(_resolve, self._urls), strict=True):
                if isinstance(found, Straggler):
                    unresolved.append(found)
                else:
                    places |= {name: (url, address) for name, address in found.items()}
            # DNS may leave out an instance that still works, such as a pod that is not ready.
            absent = {name: at for name, (_, at) in self._known.items() if name not in places}
            places |= absent
            answers = [*threads.map(self._scrape, places, places.values())]
            # Behind a load balancer, other connections lead to other processes.
            again = [each.name for _, each in answers if isinstance(each, Observation)]
            again *= REQUESTS_PER_ROUND - 1
            answers += threads.map(self._scrape, again, map(places.__getitem__, again))
        shown: dict[str, dict[str, tuple[float, Observation]]] = {}
        failed: dict[str, Straggler] = {}
        for at, each in answers:
            if isinstance(each, Observation):
                shown.setdefault(each.name, {})[each.process_id] = (at, each)
            else:
                failed[each.name] = each
        for name in absent:
            if self._known[name][0] not in shown.get(name, ()):
                del self._known[name]
                shown.pop(name, None)
                failed.pop(name, None)
        self._known |= {name: ([*shown[name]][-1], places[name]) for name in shown}
        now, history = monotonic(), self._history
        seen = {
            name: {key: (at, at - (each.uptime or 0.0)) for key, (at, each) in processes.items()}
            for name, processes in shown.items()
        }
        history.record(seen, failed, now)
        return Round(
            observations=tuple(
                replace(each, **history.facts(each.name, each.process_id, now))
                for processes in shown.values()
                for _, each in processes.values()
            ),
            stragglers=(*unresolved, *failed.values()),
            departed=history.departed(now, quiet_for) if quiet_for is not None else {},
            answered=bool(shown) or any(each.kind != "unreachable" for each in failed.values()),
            interval=self._interval,
        )

    def _scrape(
        self, name: str, place: tuple[SplitResult, str]
    ) -> tuple[float, Observation | Straggler]:
        """Return the answer of one target, and when it came."""
        url, address = place
        path = (url.path if url.path.strip("/") else "/metrics") + (url.query and f"?{url.query}")
        try:
            body = self._client.get(url, path, limit=_TARGET_LIMIT, address=address)
            at, series = monotonic(), parse_metrics(body.decode("utf-8", "replace"))
        except Unanswered as exc:
            message = f"it cannot be asked: {exc}"
            fix = "name the path, such as /internal/metrics" if exc.status in _WRONG_PATH else ""
            return monotonic(), Straggler(name=name, kind="unreachable", message=message, fix=fix)
        return at, observation_of(name, series, interval=self._interval)


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
    if "~" in operator and ("[:" in text or "{," in text):
        raise ValueError  # RE2 of Prometheus has another meaning of these
    pattern = re.compile(text if "~" in operator else re.escape(text), re.ASCII)
    wanted = not operator.startswith("!")
    return lambda value: (pattern.fullmatch(value) is not None) is wanted


class PrometheusSource:
    """One or more Prometheus servers: shards, replicas, or both.

    A process that several servers scrape is one process, and each of its samples counts.

    Args:
        urls: the URLs of the servers.
        client: the HTTP client.
        selector: the targets that are instances.
        is_counted: whether the number of processes is given, so that no shard can be missing.
            Default False: the shards that the configuration of a server names must all be here.
    """

    def __init__(
        self,
        urls: Sequence[SplitResult],
        client: Client,
        selector: Selector,
        *,
        is_counted: bool = False,
    ) -> None:
        self._servers = [_Server(url, client, selector) for url in urls]
        self._is_counted = is_counted

    def ask(self, quiet_for: float | None, stage: Stage = "quiet") -> Round:
        """Return the newest samples; ``quiet_for`` is the quiet time, if it is needed."""
        with ThreadPoolExecutor(_THREADS) as threads:
            asked = threads.map(lambda server: server.ask(quiet_for, stage), self._servers)
            rounds = list(asked)
        observations = tuple(each for one in rounds for each in one.observations)
        current = {each.process_id for each in observations}
        return Round(
            observations=observations,
            stragglers=tuple(
                chain(self._missing_shards(), *(one.stragglers for one in rounds)),
            ),
            departed={
                process_id: name
                for one in rounds
                for process_id, name in one.departed.items()
                if process_id not in current
            },
            answered=any(one.answered for one in rounds),
            interval=max(one.interval for one in rounds),
        )

    def _missing_shards(self) -> Iterator[Straggler]:
        """Yield that a shard is missing: those of one fleet have different configurations."""
        sharded = [each for each in self._servers if "action: hashmod" in each.configuration]
        # The replicas of a shard may differ in all but the rule after its hash: one is newer.
        shards = {frozenset(_SHARD.findall(each.configuration)): each.name for each in sharded}
        texts = "".join(each.configuration for each in sharded)
        sizes = map(int, re.findall(r"\bmodulus: (\d{1,9})", texts))
        if shards and not self._is_counted and len(shards) < (size := max(sizes, default=2)):
            message = f"its configuration has {size} shards (hashmod), and {len(shards)} is asked"
            fix = "name every shard with --prometheus, or the number of processes with --expect"
            name = next(iter(shards.values()))
            yield Straggler(name=name, kind="shard", message=message, fix=fix)


class _Server:
    """One Prometheus server."""

    def __init__(self, url: SplitResult, client: Client, selector: Selector) -> None:
        self.name = url.geturl()
        self.configuration = ""
        self._url = url
        self._client = client
        self._selector = selector
        self._starts: set[str] = set()
        self._interval = 0.0
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
        with suppress(Unanswered):
            self._starts.add(self._get("status/runtimeinfo")["startTime"])
        # The first list of targets has the intervals, the second one every target of the samples.
        try:
            interval = max([self._interval, *(each.interval for each in self._targets())])
        except Unanswered as exc:
            if exc.status not in {404, 405, 501}:
                raise
            message = "it has no targets endpoint, so an instance that is down is invisible"
            return Round(stragglers=(self._straggler("no-targets-endpoint", message),))
        # An interval that became shorter was the longer one in the time before.
        self._interval = interval
        window = _milliseconds(2 * interval or 60)
        queries = [f"{self._metrics(*each)}[{window}]" for each in _QUERIES[stage]]
        window = _milliseconds(HISTORY_INTERVALS * interval or 60)
        queries.append(f"{self._metrics(_OF_PROCESS)}[{window}]")
        with ThreadPoolExecutor(_THREADS) as threads:
            at = f"{begun:.3f}"
            samples = [*threads.map(lambda query: self._query(query, time=at), queries)]
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
        shown, starts = matched.processes(samples[-1])
        observations = []
        for number, target in enumerate(targets):
            found = self._observe(target, own.get(number, ()), now, newest.get(number, 0.0))
            if isinstance(found, Straggler):
                stragglers.append(found)
                continue
            history = shown.get(number, {})
            process_id = found.process_id
            others = {each: now - max(times) for each, times in history.items()}
            others.pop(process_id, None)
            older = cached_for(starts.get(number, {}), history.get(process_id, ()))
            changes: dict[str, Any] = {
                "is_new": newest[number] - older > self._since,
                "samples": in_a_row(history, process_id),
                "cached_for": older,
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
            departed=matched.departed(within),
            interval=max([interval, *(each.interval for each in targets)]),
        )

    def _observe(
        self, target: Target, series: Iterable[Series], now: float, newest: float
    ) -> Observation | Straggler:
        if target.scraped < newest - target.interval:
            message = "its samples are newer than the list of targets: a cache has answered"
            return Straggler(name=target.name, kind="old-targets", message=message)
        if target.problem:
            return Straggler(name=target.name, kind="not-scraped", message=target.problem)
        hidden = [name for name in target.labels if name in EXPORTED]
        if hidden:
            message = f"its target label {hidden[0]} hides a label of hive_boot"
            return Straggler(name=target.name, kind="hidden-label", message=message)
        facts = {"age": now - newest, "interval": target.interval, "is_new": True}
        return observation_of(target.name, series, **facts)

    def _server_problems(self, now: float, quiet_for: float | None) -> Iterator[Straggler]:
        """Yield why this server itself proves nothing."""
        try:
            started = self._get("status/runtimeinfo")["startTime"]
        except Unanswered:
            message = "it does not report when it was started"
            yield self._straggler("no-start-time", message)
            return
        self._starts.add(started)
        running = now - datetime.fromisoformat(started).timestamp()
        if len(self._starts) > 1:
            message = "it was restarted, or several servers answer at its address in turn"
            fix = "start the wait again, and name each server with its own --prometheus"
            yield self._straggler("restarted", message, fix)
        elif running < monotonic() - self._begun:
            message = "it was started after the wait began"
            yield self._straggler("restarted", message, "start the wait again")
        elif quiet_for is not None and running < quiet_for:
            message = f"it has run for {running:.0f} s; quiet time: {quiet_for:g} s"
            yield self._straggler("short-history", message)
        if self._clock_was_set(now):
            yield self._straggler("clock", "its clock was set, so the wait begins again")
        with suppress(Unanswered):  # some proxies do not allow it
            self.configuration = self._get("status/config")["yaml"]

    def _clock_was_set(self, now: float) -> bool:
        first, here = self._first or (now, monotonic())
        return abs((now - first) - (monotonic() - here)) > _CLOCK_STEP

    def _quiet_time(
        self, quiet_for: float | None, interval: float, now: float
    ) -> tuple[set[str], list[Mapping[str, str]]]:
        """Return the processes known a quiet time ago, and the series of those known since.

        A target without a scrape that succeeded has a series too, which is ``up``.
        """
        if quiet_for is None:
            return set(), []
        before = self._query(self._metrics("process_info"), time=f"{now - quiet_for:.3f}")
        # A process may have ended up to one interval after its last sample.
        window = _milliseconds(quiet_for + 2 * interval)
        within = [
            each["metric"]
            for name in (self._metrics("process_info"), f"up{{{self._selector.text}}}")
            for each in self._query(f"last_over_time({name}[{window}])")
        ]
        return {id_of(each["metric"]) for each in before}, within

    def _metrics(self, names: str, more: str = "") -> str:
        matchers = [f'__name__=~"hive_boot_({names})"', more, self._selector.text]
        return f"{{{','.join(filter(None, matchers))}}}"

    def _targets(self) -> list[Target]:
        found = self._get("targets", state="active")["activeTargets"]
        active = [each for each in found if self._selector.matches(each["labels"])]
        active.sort(key=lambda each: each["labels"].get("instance", ""))
        names = [each["labels"].get("instance", "") for each in active]
        number = Counter(names)
        return [
            Target(
                name=name if name and number[name] == 1 else each["scrapeUrl"],
                labels=each["labels"],
                interval=_duration(each["scrapeInterval"]),
                problem=_scrape_problem(each),
                scraped=datetime.fromisoformat(each["lastScrape"]).timestamp(),
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
        if answer.get("warnings") or answer.get("isPartial"):
            # A querier in front of several servers answers without those that are down.
            reason = (answer.get("warnings") or ["isPartial"])[0]
            raise Unanswered(f"its answer is incomplete: {reason}")
        return answer["data"]

    def _straggler(self, kind: str, message: str, fix: str = "") -> Straggler:
        return Straggler(name=self.name, kind=kind, message=message, fix=fix)


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
