"""Whatever directories, bundles and variables hold: exactly those values, or a report without any.

Subdirectories, kubelet volumes, directories that cannot be listed, bundles of JSON and of lines,
``NAME_FILE``, copies in the environment, aliases and a prefix, in one machine.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.secrets.properties import (
    BAD,
    EMPTY,
    FIELDS,
    NAMES,
    Declared,
    Expected,
    Orders,
    Result,
    captured_log,
    compare,
    contents,
    everything,
    log_result,
    of_file,
    of_text,
    one_line_end,
    spellings,
    styles_of,
    texts,
    write,
)
from tests.support import as_ordinary_user, look

FILES = [spelling for name in NAMES for spelling in spellings(name)]
OTHER_FILES = ["README", "notes.txt", "ORDERS_PASSWORDS"]


@dataclass
class Place:
    """A configured path.

    Attributes:
        kind: ``plain``, ``volume``, ``unlistable``, ``bundle`` or ``secret`` (a file with a single
            secret, configured by mistake).
        files: the files of a directory.
        below: the files of its subdirectories.
        volumes: the names of the subdirectories that are kubelet volumes.
        closed: the names of the subdirectories that cannot be entered.
        bundle: the bytes of a file.
        members: the members of a bundle, as results of text and of bytes by name.
        is_broken: whether the bundle as a whole is a problem.
    """

    kind: str
    files: dict[str, bytes] = field(default_factory=dict)
    below: dict[str, dict[str, bytes]] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    bundle: bytes = b""
    members: list[tuple[str, Any]] = field(default_factory=list)
    is_broken: bool = False
    is_doubtful: bool = False


@dataclass
class Machine:
    """All sources of a mounted mode."""

    mode: str
    env_fallback: bool
    places: list[Place]
    pointers: dict[str, bytes | str]
    variables: dict[str, bytes]


@st.composite
def directories(draw: st.DrawFn, pool: st.SearchStrategy[bytes]) -> Place:
    """Draw a directory."""
    kind = draw(st.sampled_from(["plain", "plain", "plain", "volume", "unlistable"]))
    files = st.dictionaries(st.sampled_from([*FILES, *OTHER_FILES]), pool, max_size=4)
    place = Place(kind, draw(files))
    if kind == "plain":
        names = st.sampled_from(["app", "azure", "tokens", ".hidden", "orders-key", "API_TOKEN"])
        place.below = draw(st.dictionaries(names, files, max_size=3))
        place.below = {each: held for each, held in place.below.items() if each not in place.files}
        place.volumes = draw(st.sets(names))
        place.closed = draw(st.sets(names, max_size=1)) & place.below.keys()
    return place


NUMBERS = ["0", "5432", "-1", "0.10", "1e400", "12345678901234567890", "1E5"]


@st.composite
def json_bundles(draw: st.DrawFn) -> Place:
    """Draw a JSON object; its text is composed here, so that a name may be set twice."""
    names = st.sampled_from([*NAMES, *FILES, "OTHER", "port", "ORDERS_PASSWORDS"])
    place, parts = Place("bundle"), []
    for name in draw(st.lists(names, max_size=5)):
        kind = draw(st.sampled_from(["text", "text", "text", "bare", "null", "nested"]))
        written: str
        value: Any = BAD
        if kind == "text":
            value = draw(st.one_of(texts, st.sampled_from(["", " ", "a\0b", "\ud800", "yes"])))
            written = json.dumps(value, ensure_ascii=draw(st.booleans()) or "\ud800" in value)
        elif kind == "bare":
            written = value = draw(st.sampled_from([*NUMBERS, "true", "false"]))
        elif kind == "null":
            written = "null"
        else:
            inner = json.dumps(draw(texts))
            forms = ["[]", "{}", f"[{inner}]", f'{{"ORDERS_KEY": {inner}}}']
            written = draw(st.sampled_from(forms))
        parts.append(f"{json.dumps(name)}: {written}")
        place.members.append((name, value))
    text = draw(st.sampled_from(["", " ", "\n"])) + "{" + ", ".join(parts) + "}"
    ending = draw(st.sampled_from(["", "", "", "\n", "\r\n", "\n\n", 'x"}']))
    place.is_broken = bool(ending.strip())
    place.bundle = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + (text + ending).encode()
    return place


def quoted(text: str, style: str) -> str:
    """Return a value as it is written in a bundle of lines; there ``$`` means nothing."""
    if style == "bare":
        return text
    return style + text.replace("\\", "\\\\").replace(style, f"\\{style}") + style


@st.composite
def line_bundles(draw: st.DrawFn) -> Place:
    """Draw lines of ``NAME=value``, with some that cannot be parsed."""
    names = st.sampled_from([*NAMES, *FILES, "OTHER", "port", "ORDERS_PASSWORDS"])
    place, lines = Place("bundle"), []
    for _ in range(draw(st.integers(0, 5))):
        kinds = ["comment", "words", "open", "declared", "pem"]
        kind = draw(st.sampled_from(["value"] * 6 + kinds))
        text = draw(texts)
        one_line = "".join(each for each in text if each.isalnum())
        if kind == "value":
            name = draw(names)
            style = draw(st.sampled_from(styles_of(text)))
            before = draw(st.sampled_from(["", "export ", " "]))
            after = draw(st.sampled_from(["", " ", " # it's fake"]))
            lines.append(f"{before}{name}={quoted(text, style)}{after}")
            place.members.append((name, one_line_end(text)))
        elif kind == "comment":
            lines.append(f"# it's {one_line}")
        elif kind == "words":
            lines.append(f"these are words {one_line}")
        else:
            # An open quote, a line under a declared name, and a PEM block without quotes may hide
            # a secret: the bundle is a problem, or they hide none.
            place.is_doubtful = True
            pem = f"ORDERS_PASSWORD=-----BEGIN FAKE KEY-----\n{one_line}\n-----END FAKE KEY-----"
            forms = {"open": f'OTHER="{one_line}', "declared": f"API_TOKEN: {one_line}", "pem": pem}
            lines.append(forms[kind])
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))
    if draw(st.booleans()):
        text = one_line_end(text).replace("\n", "\r\n")
    place.bundle = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()
    place.is_broken = "\0" in text
    if text.lstrip().startswith("{"):
        place.is_broken = True
    return place


@st.composite
def machines(draw: st.DrawFn, *, with_bundle: bool) -> Machine:
    """Draw the sources; their values are a few, so that two sources often agree."""
    pool = st.sampled_from(draw(st.lists(contents, min_size=1, max_size=3)))
    single = contents.map(lambda content: Place("secret", bundle=content))
    mode = "docker" if with_bundle else draw(st.sampled_from(["kubernetes", "docker"]))
    places = [draw(directories(pool))]
    if with_bundle:
        bundle = st.one_of(json_bundles(), json_bundles(), line_bundles(), line_bundles(), single)
        places[draw(st.integers(0, 1)) :] = [draw(bundle)]
    elif mode == "docker" and draw(st.booleans()):
        places.append(draw(directories(pool)))
    pointed = st.one_of(pool, st.sampled_from(["nothing", "directory"]), texts.map("/{}".format))
    clean = pool.map(lambda content: content.replace(b"\0", b""))
    pointers = draw(st.dictionaries(st.sampled_from(NAMES), pointed, max_size=2))
    if draw(st.booleans()):
        # Without these most reports are about a missing secret.
        good = draw(texts).encode()
        is_file = places[0].kind in {"bundle", "secret"}
        held: dict[str, Any] = pointers if is_file else places[0].files
        held |= dict.fromkeys(["ORDERS_PASSWORD", "ORDERS_KEY"], good)
    return Machine(
        mode=mode,
        env_fallback=draw(st.booleans()),
        places=places,
        pointers=pointers,
        variables=draw(st.dictionaries(st.sampled_from(NAMES), clean, max_size=2)),
    )


def lay_out_place(path: Path, place: Place) -> None:
    """Write the files of one place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if place.kind in {"bundle", "secret"}:
        path.write_bytes(place.bundle)
        return
    write(path, place.files, is_volume=place.kind == "volume")
    for name, files in place.below.items():
        write(path / name, files, is_volume=name in place.volumes)
    for name in place.closed:
        (path / name).chmod(0o000)
    if place.kind == "unlistable":
        path.chmod(0o311)


def lay_out(root: Path, machine: Machine) -> dict[str, str]:
    """Write the files of a machine, and return the environment."""
    environ = {name: os.fsdecode(content) for name, content in machine.variables.items()}
    paths = []
    for number, place in enumerate(machine.places):
        path = root / ("run/secrets" if machine.mode == "kubernetes" else f"place{number}")
        lay_out_place(path, place)
        paths.append(str(path))
    if machine.mode == "kubernetes":
        environ["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    else:
        environ["HIVE_BOOT_SECRETS_DIR"] = os.pathsep.join(paths)
    (root / "pointed").mkdir()
    for name, pointed in machine.pointers.items():
        path = root / "pointed" / name
        if isinstance(pointed, bytes):
            path.write_bytes(pointed)
        elif pointed == "directory":
            path.mkdir()
        environ[f"{name}_FILE"] = str(path)
        if isinstance(pointed, str) and pointed.startswith("/"):
            environ[f"{name}_FILE"] = pointed.replace("\0", "")  # the value, by mistake
    return environ


def hits_in(place: Place, declared: Declared) -> Iterator[tuple[str, Result]]:
    """Yield each result of a field in a place, with the name under which it was found."""
    if place.kind in {"bundle", "secret"}:
        yield from members_of(place, declared)
        return

    def found(files: Mapping[str, bytes]) -> list[tuple[str, Result]]:
        return [
            (name, of_file(files[spelling], is_text=declared.is_text))
            for name in declared.names
            for spelling in spellings(name)
            if spelling in files
        ]

    own = found(place.files)
    yield from own
    # Only a name that the directory lacks is searched in its subdirectories.
    if all(result is EMPTY for _, result in own):
        for name, files in place.below.items():
            if not name.startswith(".") and name not in place.closed:
                yield from found(files)


def members_of(place: Place, declared: Declared) -> Iterator[tuple[str, Result]]:
    """Yield the results of a field in a bundle; the same name twice must have the same value."""
    seen: dict[str, Result] = {}
    for member, value in () if place.is_broken else place.members:
        for name in declared.names:
            if member == name or member in spellings(name):
                result = BAD if value is BAD else member_result(value, declared)
                yield name, (BAD if seen.setdefault(member, result) != result else result)


def member_result(value: str, declared: Declared) -> Result:
    """Return what the rules make of the text of a member."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return BAD
    return of_text(value, is_text=declared.is_text)


def expect(machine: Machine) -> Expected:
    """Return what the rules make of a machine."""
    expected = Expected()
    expected.doubtful = any(place.is_doubtful for place in machine.places)
    if any(place.is_broken for place in machine.places):
        expected.broken = True
    elif any(place.kind == "secret" for place in machine.places):
        # A single secret may be no bundle at all; it provides nothing in any case.
        expected.broken = None
    for declared in FIELDS:
        hits: dict[str, list[Result]] = {name: [] for name in declared.names}
        for place in machine.places:
            for name, result in hits_in(place, declared):
                hits[name].append(result)
            # Such a directory is one of several secrets, or was created in the place of a file.
            if place.below.keys() & {each for name in declared.names for each in spellings(name)}:
                expected.uncertain.add(declared.names[0])
        for name, pointed in machine.pointers.items():
            if name in hits and name != "API_TOKEN":  # it is declared with file_variable=False
                content = b"\xff" if isinstance(pointed, str) else pointed
                result = of_file(content, is_text=declared.is_text)
                hits[name].append(BAD if isinstance(pointed, str) else result)
        # Files precede variables, and a name precedes those after it.
        copies = [machine.variables.get(name, b"") for name in declared.names]
        copy = next(filter(None, copies), b"")
        files = [found for found in hits.values() if any(each is not EMPTY for each in found)]
        if not files and copy:
            text = of_text(os.fsdecode(copy), is_text=declared.is_text)
            expected.settle(declared, [text if machine.env_fallback else BAD])
        else:
            expected.settle(declared, files[0] if files else [])
    return expected


def check(machine: Machine) -> None:
    """Load from a machine, and compare the result with the rules."""
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        environ = lay_out(root, machine)
        restricted = any(place.kind == "unlistable" or place.closed for place in machine.places)
        with as_ordinary_user() if restricted else nullcontext(), captured_log() as lines:
            loaded = look(Orders, root, environ, env_fallback=machine.env_fallback)
            log_result(loaded)
        compare(expect(machine), loaded, root, lines)
    finally:
        shutil.rmtree(root)


@everything
@given(machine=machines(with_bundle=False))
def test_directories(machine: Machine) -> None:
    """Directories give exactly their values, or a report that shows none of them."""
    check(machine)


@everything
@given(machine=machines(with_bundle=True))
def test_bundles(machine: Machine) -> None:
    """A bundle, also beside a directory, gives exactly its values, or a report without them."""
    check(machine)
