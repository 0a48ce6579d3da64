"""Access benchmark: one secret by attribute, and by name."""

from __future__ import annotations

import logging
import timeit
from functools import partial
from typing import TYPE_CHECKING

import anyio

from benchmarks.environment import (
    HIVE,
    environment,
    fake_value,
    wait_until_settled,
    write_directory,
)
from benchmarks.peers import PEERS, add_peer
from benchmarks.tables import Table
from benchmarks.timing import alternate
from hive_boot import Bootstrap, Secret, SecretSet, get_secret

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Peer
    from benchmarks.timing import Figures, Measure

ATTRIBUTE = 2.0
"""Maximum ratio of an attribute of a SecretSet to a plain attribute."""

BY_NAME = 4.0
"""Maximum ratio of ``get_secret`` to a dict look-up inside a function."""

STANDALONE = 20.0
"""Maximum ratio of ``get_secret`` without a running application to the same dict look-up."""

_ROUNDS = 60
_LOOPS = 2_000


class HiveSecrets(SecretSet):
    """The eight secrets of the HIVE service."""

    openai_api_key: Secret
    hive_api_key: Secret
    jwt_secret: Secret
    stripe_secret_key: Secret
    stripe_webhook_secret: Secret
    langsmith_api_key: Secret
    sentry_dsn: Secret
    github_token: Secret


class PlainObject:
    """Baseline: an object with plain attributes."""

    def __init__(self) -> None:
        self.openai_api_key = fake_value("openai_api_key")
        self.hive_api_key = fake_value("hive_api_key")
        self.jwt_secret = fake_value("jwt_secret")
        self.stripe_secret_key = fake_value("stripe_secret_key")
        self.stripe_webhook_secret = fake_value("stripe_webhook_secret")
        self.langsmith_api_key = fake_value("langsmith_api_key")
        self.sentry_dsn = fake_value("sentry_dsn")
        self.github_token = fake_value("github_token")


_plain_values = {name.upper(): fake_value(name) for name in HIVE}


def look_up(name: str) -> str:
    """Return a value by its name: the baseline of ``get_secret``."""
    return _plain_values[name]


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    table = Table(
        "access: one secret in a running application",
        ("floors: a plain instance attribute; a dict look-up inside a function.",),
    )
    directory = base / "secrets"
    write_directory(directory, HIVE)
    wait_until_settled(base)
    boot = Bootstrap(HiveSecrets, secrets_dirs=directory)
    by_name = {
        "floor": _expression("it('{name}')", look_up),
        "ours": _expression("it('{name}')", get_secret),
    }
    figures = alternate(by_name, _ROUNDS)
    table.add("get_secret(name), no application", figures, "ours", "floor", STANDALONE)

    async def measure_ours() -> None:
        async with boot.running() as secrets:
            by_attribute = {
                "floor": _expression("it.{attribute}", PlainObject()),
                "ours": _expression("it.{attribute}", secrets),
            }
            figures = alternate(by_attribute, _ROUNDS)
            table.add("secrets.name", figures, "ours", "floor", ATTRIBUTE)
            figures = alternate(by_name, _ROUNDS)
            table.add("get_secret(name)", figures, "ours", "floor", BY_NAME)

    # Discards the log of the start. hive_boot writes to stderr only what no handler gets.
    null_handler = logging.NullHandler()
    log = logging.getLogger("hive_boot")
    log.addHandler(null_handler)
    try:
        anyio.run(measure_ours)
    finally:
        log.removeHandler(null_handler)
    for peer in PEERS:
        expression = peer.expression.format(attribute="name", name="NAME")
        label = f"{peer.name}: {expression.removeprefix('it')}"
        add_peer(table, label, peer, partial(_measure_peer, peer, directory))
    return table


def _measure_peer(peer: Peer, directory: Path) -> Figures:
    with environment(**peer.variables(directory, HIVE)):
        settings, _ = peer.reader(directory, HIVE)()
        by_attribute = _expression("it.{attribute}", PlainObject())
        by_name = _expression("it('{name}')", look_up)
        return alternate(
            {
                "floor": by_attribute if peer.attribute else by_name,
                "peer": _expression(peer.expression, settings, loops=_LOOPS // 100),
            },
            _ROUNDS // 6,
        )


def _expression(text: str, it: object, loops: int = _LOOPS) -> Measure:
    """Return a measure of one evaluation of ``text``, in which ``it`` is a local variable.

    Each loop reads every secret once, because the time of one depends on the position of its
    hash in a dict, and hashes differ between processes.
    """
    each = [text.format(attribute=name, name=name.upper()) for name in HIVE]
    timer = timeit.Timer("; ".join(each), "it = given", globals={"given": it})
    return lambda: timer.timeit(loops) / loops / len(each)
