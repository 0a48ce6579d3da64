"""Objects of hive_boot in a repr, a copy or an iteration: none of them shows a value."""

import copy
import dataclasses
import inspect
import json
import logging
import pickle
import pprint
import reprlib
import sys
from collections.abc import AsyncIterator, Callable
from io import StringIO
from traceback import TracebackException
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from rich.console import Console
from rich.pretty import pretty_repr

from hive_boot import Bootstrap, Change, Secret, SecretBytes, SecretSet, secret
from hive_boot import secrets as applications
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case
from tests.support import texts_within_reach, until

TEXT = "fake-jwt-secret-0123456789-0123456789"


class HiveSecrets(SecretSet):
    """A secret with a previous and a pending value, and bytes."""

    jwt_secret: Secret = secret(
        previous="JWT_SECRET_PREVIOUS", activate_after=3600, accept_old_for=3600
    )
    keystore: SecretBytes


@pytest.fixture
async def shown(mounted_volume: MountedVolume) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects that hold secrets of a running application, present and past ones."""

    def publish(text: str) -> None:
        before = f"{text}, before"
        files = {"jwt_secret": text, "jwt_secret_previous": before, "keystore": text}
        mounted_volume.publish(files)

    publish(TEXT)
    boot = Bootstrap(HiveSecrets, mode="kubernetes", secrets_dirs=mounted_volume.path)
    async with boot.running() as secrets:
        publish(f"{TEXT}, the second")
        change = await boot.reload()
        assert change is not None
        assert len(boot.accepted("jwt_secret")) == 3
        yield {
            "Secret": secrets.jwt_secret,
            "SecretBytes": secrets.keystore,
            "the live set": secrets,
            "a pinned set": secrets.current,
            "the application": boot,
            "its status": boot.status(),
            "accepted": boot.accepted("jwt_secret"),
            "a change": change,
            "an old value": change.old["keystore"],
            "the store": applications.running[-1],
        }


def rich_print(it: object) -> str:
    """Return the output of rich for an object."""
    console = Console(file=StringIO(), width=500)
    console.print(it)
    console.log(it, log_locals=True)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def raise_with(it: object) -> str:
    """Return the traceback of an error with an object, with the variables of each frame."""

    def fail(it: object) -> None:
        raise RuntimeError(it)

    with pytest.raises(RuntimeError) as caught:
        fail(it)
    return "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())


def log_it(it: object) -> str:
    """Return the log records with an object in each of their attributes."""
    sink = StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s"))
    log = logging.getLogger("tests.showing")
    log.propagate = False
    log.addHandler(handler)
    log.warning("%s %r %(it)s" if isinstance(it, dict) else "%s", it, extra={"extra": it})
    log.warning(it, extra={"extra": [it]})
    log.removeHandler(handler)
    return sink.getvalue()


def take_apart(it: Any) -> str:  # noqa: ANN401  (anything can be matched)
    """Return the text that a ``match`` statement captures from an object."""
    match it:
        case str(text) | bytes(text):
            return str(text)
        case {"value": value} | object(value=value) | object(_value=value):
            return str(value)
        case object(_open=value):
            return str(value)
    return ""


WAYS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "percent": lambda it: "%s %r %a" % ([it], [it], [it]),  # noqa: UP031  (this way, too)
    "format": lambda it: f"{it} {it!s} {it!r} {[it]}",
    "a spec": lambda it: f"{it:>80}" if not isinstance(it, tuple) else "",
    "pprint": pprint.pformat,
    "reprlib": reprlib.repr,
    "rich": pretty_repr,
    "rich, printed": rich_print,
    "vars": lambda it: str(vars(it)) + pprint.pformat(vars(it), depth=9),
    "dir": lambda it: f"{dir(it)}{[getattr(it, name, None) for name in dir(it)]}",
    "members": lambda it: str(inspect.getmembers(it)),
    "asdict": lambda it: str(dataclasses.asdict(it)),
    "asdict around it": lambda it: str(
        dataclasses.asdict(dataclasses.make_dataclass("Around", ["it"])(it))
    ),
    "JSON": json.dumps,
    "JSON, default=str": lambda it: json.dumps(it, default=str),
    "JSON, default=repr": lambda it: json.dumps([it], default=repr),
    "JSON, default=vars": lambda it: json.dumps(it, default=vars),
    "pickle": lambda it: str(pickle.dumps(it)),
    "old pickle": lambda it: str(pickle.dumps([it], 0)),
    "reduce": lambda it: str(it.__reduce__()),
    "reduce_ex": lambda it: str([it.__reduce_ex__(protocol) for protocol in range(6)]),
    "object's reduce_ex": lambda it: str([object.__reduce_ex__(it, n) for n in range(6)]),
    "state": lambda it: str(it.__getstate__()),
    "copy": lambda it: str(copy.copy(it)),
    "deepcopy": lambda it: str(copy.deepcopy(it)),
    "len": len,
    "iteration": lambda it: str(list(it)),
    "add": lambda it: it + TEXT[:0],
    "order": lambda it: sorted([it, it]),
    "hash": lambda it: str(hash(it)),
    "equality": lambda it: f"{it == it} {it == TEXT} {it != TEXT}",  # noqa: PLR0124  (with itself)
    "key of a dict": lambda it: str({it: 1}),
    "match": take_apart,
    "traceback": raise_with,
    "log": log_it,
    "size": sys.getsizeof,
}


@pytest.mark.anyio
async def test_no_way_of_showing_gives_a_value(shown: dict[str, Any]) -> None:
    """Each way to show an object of hive_boot gives a mask, or an error without the value."""
    for label, way in WAYS.items():
        with case(label):
            for name, it in shown.items():
                try:
                    told = str(way(it))
                except (TypeError, ValueError, AttributeError) as exc:
                    told = f"{exc!r} {exc.__context__!r} {exc.__cause__!r}"
                assert TEXT not in told, name


@pytest.mark.anyio
async def test_no_format_field_leads_to_a_value(shown: dict[str, Any]) -> None:
    """A format string such as ``{0.a.b[c]}`` cannot reach a value by attributes."""
    logging.getLogger("tests").warning("a log line makes what finds the values")
    for name, it in shown.items():
        assert TEXT not in texts_within_reach(it), name
    assert TEXT in texts_within_reach([shown, {"a": [TEXT]}])


@pytest.mark.anyio
async def test_no_part_of_a_rotation_leads_to_a_value(mounted_volume: MountedVolume) -> None:
    """No attribute of the watcher, a rejected set or a failed hook leads to a value."""
    mounted_volume.publish({"jwt_secret": TEXT, "keystore": TEXT})
    place = mounted_volume.path
    boot = Bootstrap(HiveSecrets, mode="kubernetes", secrets_dirs=place, watch=True)

    @boot.on_rotate()
    async def fail(change: Change) -> None:
        await checkpoint()
        old = change.old["keystore"]
        assert old is not None
        raise ValueError(old.reveal())

    async with boot.running():
        logging.getLogger("tests").warning("a log line makes what finds the values")
        mounted_volume.publish({"jwt_secret": TEXT[::-1], "keystore": TEXT[::-1]})
        await until(lambda: boot.status().failing_hooks)
        mounted_volume.publish({"jwt_secret": f"{TEXT}\0", "keystore": f"{TEXT}, the third"})
        await until(lambda: boot.status().rejected)
        reach = texts_within_reach(boot)
    assert TEXT not in reach
    assert TEXT[::-1] not in reach


@pytest.mark.anyio
async def test_what_holds_a_value_cannot_be_written_down(shown: dict[str, Any]) -> None:
    """The object in a secret that holds the value cannot be pickled or copied either."""
    for name in ("Secret", "SecretBytes"):
        with pytest.raises(TypeError):
            pickle.dumps(shown[name]._open)
        with pytest.raises(TypeError):
            copy.copy(shown[name]._open.__self__)


@pytest.mark.anyio
async def test_an_application_is_neither_copied_nor_pickled(shown: dict[str, Any]) -> None:
    """A copy of an application is the application, and it cannot be pickled."""
    boot = shown["the application"]
    assert copy.copy(boot) is boot
    assert copy.deepcopy([boot])[0] is boot
    with pytest.raises(TypeError, match=r"Bootstrap\(HiveSecrets\)"):
        pickle.dumps(boot)
