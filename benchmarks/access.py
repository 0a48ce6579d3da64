"""Read one secret: an attribute of the live set, and a value by its name."""

from __future__ import annotations

import logging
import timeit
from functools import partial
from typing import TYPE_CHECKING

import anyio

from benchmarks.measuring import take_turns
from benchmarks.peers import PEERS, show_peer
from benchmarks.tables import Table
from benchmarks.workplace import (
    HIVE,
    environment,
    fake_value,
    wait_until_settled,
    write_directory,
)
from hive_boot import Bootstrap, Secret, SecretSet, get_secret

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measuring import Figures, Measure
    from benchmarks.peers import Peer

ATTRIBUTE = 2.0
"""How much more than a plain attribute an attribute of a SecretSet may cost."""

BY_NAME = 4.0
"""How much more than a dict look-up inside a function ``get_secret`` may cost."""

_ROUNDS = 60
_LOOPS = 2_000


class HiveSecrets(SecretSet):
    """Eight secrets, as the HIVE service has them."""

    openai_api_key: Secret
    hive_api_key: Secret
    jwt_secret: Secret
    stripe_secret_key: Secret
    stripe_webhook_secret: Secret
    langsmith_api_key: Secret
    sentry_dsn: Secret
    github_token: Secret


class Plain:
    """What somebody would write by hand: an object with attributes."""

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
    """Do the least that a function of this kind can do."""
    return _plain_values[name]


def measure(base: Path) -> Table:
    """Measure, with files below ``base``, an empty directory."""
    table = Table(
        "access: one secret in a running application",
        ("floors: a plain instance attribute; a dict look-up inside a function.",),
    )
    directory = base / "secrets"
    write_directory(directory, HIVE)
    wait_until_settled(base)
    boot = Bootstrap(HiveSecrets, secrets_dirs=directory)

    async def ours() -> None:
        async with boot.running() as secrets:
            by_attribute = {
                "floor": _expression("it.{attribute}", Plain()),
                "ours": _expression("it.{attribute}", secrets),
            }
            figures = take_turns(by_attribute, _ROUNDS)
            table.add("secrets.name", figures, "ours", "floor", ATTRIBUTE)
            by_name = {
                "floor": _expression("it('{name}')", look_up),
                "ours": _expression("it('{name}')", get_secret),
            }
            figures = take_turns(by_name, _ROUNDS)
            table.add("get_secret(name)", figures, "ours", "floor", BY_NAME)

    # A logger with a handler is not lent one, and what a start says is not asked for here.
    silence = logging.NullHandler()
    log = logging.getLogger("hive_boot")
    log.addHandler(silence)
    try:
        anyio.run(ours)
    finally:
        log.removeHandler(silence)
    for peer in PEERS:
        written = peer.expression.format(attribute="name", name="NAME")
        what = f"{peer.name}: {written.removeprefix('it')}"
        show_peer(table, what, peer, partial(_measure_peer, peer, directory))
    return table


def _measure_peer(peer: Peer, directory: Path) -> Figures:
    with environment(**peer.variables(directory, HIVE)):
        settings, _ = peer.reader(directory, HIVE)()
        by_attribute = _expression("it.{attribute}", Plain())
        by_name = _expression("it('{name}')", look_up)
        return take_turns(
            {
                "floor": by_attribute if peer.attribute else by_name,
                "peer": _expression(peer.expression, settings, loops=_LOOPS // 100),
            },
            _ROUNDS // 6,
        )


def _expression(text: str, it: object, loops: int = _LOOPS) -> Measure:
    """Make a measure of one evaluation of ``text``, in which ``it`` is a local name.

    Every secret is read once in each loop: how quick one of them is depends on where
    its hash, which differs from process to process, happens to put it in a dict.
    """
    each = [text.format(attribute=name, name=name.upper()) for name in HIVE]
    timer = timeit.Timer("; ".join(each), "it = given", globals={"given": it})
    return lambda: timer.timeit(loops) / loops / len(each)
