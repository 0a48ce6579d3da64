"""Whatever `.env` files and variables hold: exactly those values, or a report without any of them.

Quotes, references, comments, PEM blocks, line ends and lines that cannot be parsed, in `.env.local`
and `.env`, below the environment and beside ``NAME_FILE``, with aliases and a prefix.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from tests.secrets.properties import (
    BAD,
    EMPTY,
    FIELDS,
    NAMES,
    PEM,
    Declared,
    Expected,
    Mark,
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
    styles_of,
    texts,
)
from tests.support import look

HOSTS = ["HOST", "PORT"]
POINTERS = [f"{name}_FILE" for name in NAMES]
OTHERS = [*POINTERS, "orders_key", "ORDERS_PASSWORDS", "HIVE_BOOT_MODE"]
PATHS = st.one_of(st.sampled_from(["../pointed/one", "../pointed/two", "../pointed/none"]), texts)
"""What stands in ``NAME_FILE``: a path below the working directory, or a value by mistake."""


@dataclass(frozen=True)
class Reference:
    """A reference in a value, such as ``${HOST:-localhost}``; ``written`` is its text."""

    written: str
    name: str | None
    default: str | None = None


@dataclass
class Line:
    """One line of a file, or several of one value.

    Attributes:
        name: the name that it sets; empty for a comment and the like.
        written: the line.
        parts: the value: texts and references. A list with :data:`BAD` is a problem.
        hides: whether it may hide other lines, or the value of its own name.
        opens: whether it may also begin a value of several lines.
    """

    written: str
    name: str = ""
    parts: list[str | Reference] = field(default_factory=list)
    hides: bool = False
    opens: bool = False


@dataclass
class EnvFile:
    """A `.env` file: its lines, or a state in which it cannot be read."""

    state: str = "absent"
    lines: list[Line] = field(default_factory=list)
    content: bytes = b""


@dataclass
class Machine:
    """All sources of development mode."""

    profile: str
    variables: dict[str, str]
    files: dict[str, bytes]
    local: EnvFile
    main: EnvFile


def escaped(text: str, style: str) -> str:
    """Return a text as it stands in a value; a dollar that could begin a reference is escaped."""
    if style == "bare":
        return text.replace("${", "\\${")
    text = text.replace("\\", "\\\\").replace(style, f"\\{style}")
    return text.replace("$", "\\$") if style == '"' else text


@st.composite
def references(draw: st.DrawFn, literals: st.SearchStrategy[str]) -> Reference:
    """Draw a reference, also of a form that is not supported."""
    name = draw(st.sampled_from([*HOSTS * 4, *NAMES, "NOWHERE"]))
    form = draw(st.sampled_from(["plain", "plain", "default", "default", "other"]))
    if form == "plain":
        return Reference(f"${{{name}}}", name)
    if form == "default":
        text = "".join(each for each in draw(literals) if each.isalnum() and each.isascii())
        text = draw(st.sampled_from([text, ""]))
        return Reference(f"${{{name}:-{text}}}", name, text)
    forms = [f"${{{name}-x}}", f"${{{name}:?x}}", f"${{{name}", f"${{{name}:-${{HOST}}}}", "${}"]
    return Reference(draw(st.sampled_from(forms)), None)


@st.composite
def assignments(draw: st.DrawFn, pool: st.SearchStrategy[str]) -> Line:
    """Draw a line that sets a variable."""
    name = draw(st.sampled_from(draw(st.sampled_from([NAMES, NAMES, NAMES, HOSTS, HOSTS, OTHERS]))))
    before = draw(st.sampled_from(["", "", "export ", "  "]))
    equals = draw(st.sampled_from(["=", "=", " = "]))
    after = draw(st.sampled_from(["", "", " ", " # it's ${fake}"]))
    parts: list[str | Reference] = []
    if draw(st.integers(0, 5)) == 0:
        value = draw(st.sampled_from(["", "''", '""']))
    else:
        text = draw(PATHS if name in POINTERS else pool)
        styles = styles_of(text)
        if "\\$" in text or "\\\\" in text:
            # Without quotes it is open whether `\\$` is a backslash and a dollar.
            styles = styles[:2]
        style = draw(st.sampled_from(styles))
        parts = [one_line_end(text)]
        value = escaped(text, style)
        # A backslash before a reference would escape it, and a dollar would change its form.
        if draw(st.booleans()) and not text.endswith(("\\", "$")):
            reference = draw(references(pool))
            parts.append(reference.written if style == "'" else reference)
            value += reference.written
        value = value if style == "bare" else style + value + style
    return Line(f"{before}{name}{equals}{value}{after}", name, parts)


@st.composite
def other_lines(draw: st.DrawFn, pool: st.SearchStrategy[str]) -> Line:
    """Draw a comment, a line that cannot be parsed, or one that may hide others."""
    text = "".join(each for each in draw(pool) if each.isalnum() and each.isascii())
    name = draw(st.sampled_from([*NAMES, "API_TOKEN", "HOST"]))
    block = PEM.format(text)
    forms = {
        "comment": Line(f"# {name}={text} isn't used"),
        "blank": Line(draw(st.sampled_from(["", " ", "\t"]))),
        "words": Line(f"these are words {text}"),
        "no name": Line(f"={text}"),
        "export": Line(f"export {name}"),
        "yaml": Line(f"{name}: {text}", name, [text], hides=True),
        "open": Line(f'{name}="{text}', name, [text], hides=True, opens=True),
        "apostrophe": Line(f"{name}='{text}", name, [text], hides=True, opens=True),
        "inner": Line(f'{name}="{text}"{text}"', name, [f'{text}"{text}'], hides=True),
        "pem": Line(f"{name}={block}", name, [block], hides=True),
    }
    return forms[draw(st.sampled_from([*forms, *["comment", "words"] * 4]))]


@st.composite
def env_files(draw: st.DrawFn, pool: st.SearchStrategy[str]) -> EnvFile:
    """Draw a file."""
    states = ["absent", *["lines"] * 14, "directory", "dangling", "not text"]
    file = EnvFile(draw(st.sampled_from(states)))
    line = st.one_of(assignments(pool), assignments(pool), assignments(pool), other_lines(pool))
    if file.state == "lines":
        file.lines = draw(st.lists(line, min_size=1, max_size=9))
        text = "\n".join(each.written for each in file.lines)
        text += draw(st.sampled_from(["", "\n", "\n\n"]))
        if draw(st.booleans()):
            text = one_line_end(text).replace("\n", "\r\n")
        file.content = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()
        if "\0" in text:
            file.state = "not text"
    elif file.state == "not text":
        file.content = draw(pool).encode() + draw(st.sampled_from([b"\xff", b"\0"]))
    return file


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Draw the sources; their values are a few, so that two sources often agree."""
    pool = st.sampled_from(draw(st.lists(texts, min_size=1, max_size=3)))
    clean = st.one_of(pool.map(lambda text: text.replace("\0", "")), st.just(""))
    names = st.sampled_from([*NAMES, *HOSTS * 3])
    pointed = st.one_of(pool.map(str.encode), contents)
    variables = draw(st.dictionaries(names, clean, max_size=3))
    clean = PATHS.map(lambda text: text.replace("\0", ""))
    variables |= draw(
        st.dictionaries(st.sampled_from(["ORDERS_PASSWORD_FILE", "ORDERS_KEY_FILE"]), clean)
    )
    # Without these most reports are about a missing secret.
    needed = draw(st.sampled_from([[], ["ORDERS_KEY"], *[["ORDERS_PASSWORD", "ORDERS_KEY"]] * 2]))
    variables |= dict.fromkeys(needed, draw(texts).replace("\0", ""))
    return Machine(
        profile=draw(st.sampled_from(["development", "test", "staging", "production"])),
        variables=variables,
        files=draw(st.fixed_dictionaries({"one": pointed}, optional={"two": pointed})),
        local=draw(env_files(pool)),
        main=draw(env_files(pool)),
    )


def lay_out(root: Path, machine: Machine) -> dict[str, str]:
    """Write the files of a machine, and return the environment."""
    (root / "cwd").mkdir()
    (root / "pointed").mkdir()
    for name, file in ((".env.local", machine.local), (".env", machine.main)):
        path = root / "cwd" / name
        if file.state == "directory":
            path.mkdir()
        elif file.state == "dangling":
            path.symlink_to("nowhere")
        elif file.state != "absent":
            path.write_bytes(file.content)
    for name, content in machine.files.items():
        (root / "pointed" / name).write_bytes(content)
    return machine.variables | {"HIVE_BOOT_PROFILE": machine.profile}


Variables = dict[str, str | Mark]


def read(file: EnvFile, stronger: list[Mapping[str, str | Mark]]) -> Variables:
    """Return the variables of a file; the last line of a name counts."""
    values: Variables = {}
    if file.state != "lines":
        return values
    for line in file.lines:
        if line.name:
            scopes = [*stronger, values]
            parts = [each if isinstance(each, str) else refer(each, scopes) for each in line.parts]
            values[line.name] = (
                BAD if BAD in parts else "".join(each for each in parts if isinstance(each, str))
            )
    return values


def refer(reference: Reference, scopes: list[Mapping[str, str | Mark]]) -> str | Mark:
    """Return what a reference stands for."""
    name = reference.name
    if name is None:
        return BAD
    found = [scope[name] for scope in scopes if name in scope]
    set_ones = [each for each in found if each]
    if set_ones:
        return set_ones[0]
    if reference.default is not None:
        return reference.default
    return "" if found else BAD


def hits_of(
    name: str, files: Mapping[str, bytes], layers: list[Variables], declared: Declared
) -> list[Result]:
    """Return what counts for one name: the strongest result, and those that must agree with it."""
    hits: list[Result] = []
    for layer in layers:
        value = layer.get(name, "")
        pointer = layer.get(f"{name}_FILE", "") if name != "API_TOKEN" else ""
        found: list[Result] = []
        if value:
            is_bad = isinstance(value, Mark)
            found.append(BAD if is_bad else of_text(str(value), is_text=declared.is_text))
        if pointer and not hits:
            content = files.get(str(pointer).removeprefix("../pointed/"))
            found.append(BAD if content is None else of_file(content, is_text=declared.is_text))
        hits += found
        # A file that only NAME_FILE of the environment names must agree with the next variable.
        if value or (found and layer is not layers[0]):
            break
    return hits


def expect(machine: Machine) -> Expected:
    """Return what the rules make of a machine."""
    expected = Expected()
    environment: Variables = dict(machine.variables)
    local = read(machine.local, [environment])
    main = read(machine.main, [environment, local])
    layers = [environment, local, main]
    lines = [*machine.local.lines, *machine.main.lines]
    expected.doubtful = any(line.hides for line in lines)
    # An open quote and a later one make a valid value, and hide the lines between them. This is a
    # problem only for a declared name that no other line of the file sets.
    if any(line.opens for line in lines):
        expected.unclear = any(isinstance(part, Reference) for line in lines for part in line.parts)
        for file in (machine.local, machine.main):
            names = [line.name for line in file.lines if line.name]
            expected.unclear |= len(names) > len(set(names))
    for declared in FIELDS:
        by_name = [hits_of(name, machine.files, layers, declared) for name in declared.names]
        found = [hits for hits in by_name if any(hit is not EMPTY for hit in hits)]
        expected.settle(declared, found[0] if found else [])
    # A file that cannot be read is the problem instead of the names that it may contain.
    unread = {"directory", "dangling", "not text"} & {machine.local.state, machine.main.state}
    if unread and expected.failed & {each.names[0] for each in FIELDS if each.required}:
        expected.broken = True
    return expected


BESIDE_A_POINTER = Machine(
    profile="test",
    variables={"ORDERS_PASSWORD": "fake", "ORDERS_KEY_FILE": "../pointed/one"},
    files={"one": b"fake-one"},
    local=EnvFile(),
    main=EnvFile("lines", [Line("", "ORDERS_KEY", ["fake-two"])], b"ORDERS_KEY=fake-two"),
)
"""``NAME_FILE`` of the environment, and another value in `.env`; few drawn machines have both."""


@everything
@given(machine=machines())
@example(machine=BESIDE_A_POINTER)
def test_dotenv_files(machine: Machine) -> None:
    """Files and variables give exactly their values, or a report that shows none of them."""
    root = Path(tempfile.mkdtemp())
    try:
        environ = lay_out(root, machine)
        with captured_log() as lines:
            loaded = look(Orders, root, environ)
            log_result(loaded)
        compare(expect(machine), loaded, root, lines)
    finally:
        shutil.rmtree(root)
