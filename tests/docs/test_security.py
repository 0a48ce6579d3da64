"""Whatever docs/security.md promises is what happens, with the libraries that it names."""

import builtins
import inspect
import json
import keyword
import logging.handlers
import multiprocessing
import pkgutil
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import loguru
import pytest
import sentry_sdk.consts
import structlog

import hive_boot
from hive_boot.redaction.variants import encoded_variants
from tests.fixtures.forking import Interpreter, forking
from tests.support import ROOT

PAGE = ROOT / "docs" / "security.md"
TEXT = PAGE.read_text("utf-8")

# A program that is changed before it is run, as a user would run it.
RUN = """
import runpy
{change}
runpy.run_path("recipe.py", run_name="__main__")
"""

# Sentry, which prints to stdout what it would send.
PRINTING_SENTRY = """
from functools import partial
import sentry_sdk
from sentry_sdk.transport import Transport

class Printing(Transport):
    def capture_envelope(self, envelope):
        print(envelope.serialize().decode())

sentry_sdk.init = partial(sentry_sdk.init, transport=Printing)
"""

REDACT_NOTHING = "import hive_boot; hive_boot.redact = lambda shown: shown"
SCRUB_NOWHERE = "from hive_boot.redaction import hooks; hooks.PATCHED_FUNCTIONS = ()"

# What the libraries import when they are used, too: Sentry looks for every framework.
LIBRARIES = """
import anyio, loguru, pythonjsonlogger.json, sentry_sdk.integrations, structlog
list(sentry_sdk.integrations.iter_default_integrations(with_auto_enabling_integrations=True))
"""

PLAIN = "fake-billing-key"
AWKWARD = "fake\\billing'key\"\u00e4"
LONG = "fake-billing-key-" + "0123456789" * 16  # as long as a message of int() lets stand

SENTRY_AT_EITHER_TIME = """
import logging
import sys
import sentry_sdk
from app import AppSecrets, boot

def watch():
    sentry_sdk.init("http://public@127.0.0.1:9/1", include_local_variables=False)

@boot.main
async def main(secrets: AppSecrets) -> None:
    key = secrets.billing_key.reveal()
    if sys.argv[1] == "after":
        watch()
    logging.warning("asking with %s", key)
    try:
        int(key)
    except ValueError:
        logging.exception("refused %s", {"key": key})

if sys.argv[1] == "before":
    watch()
boot.run()
"""


class Block(NamedTuple):
    """A block of code, and the heading that it stands under."""

    heading: str
    text: str


def read_blocks() -> list[Block]:
    """Give every block of the page that is Python."""
    found = []
    for section in re.split(r"^##+ ", TEXT, flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        codes = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        found += [Block(heading, code) for code in codes]
    return found


APP, *RECIPES = read_blocks()
LOGGING, STRUCTLOG, LOGURU, SENTRY = RECIPES


class Workplace(NamedTuple):
    """A directory with app.py, and the interpreter that runs programs in it."""

    path: Path
    interpreter: Interpreter


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    """Start the interpreter that runs the programs of this page."""
    with forking(LIBRARIES) as interpreter:
        yield interpreter


@pytest.fixture
def workplace(tmp_path: Path, interpreter: Interpreter) -> Workplace:
    """Make a directory with app.py."""
    assert APP.text.startswith("# app.py\n")
    place = tmp_path / "workplace"
    place.mkdir()
    (place / "app.py").write_text(APP.text, "utf-8")
    return Workplace(place, interpreter)


def run(
    source: str, workplace: Workplace, *arguments: str, value: str = PLAIN, change: str = ""
) -> CompletedProcess[str]:
    """Run a program beside app.py with a secret in its environment, and something changed."""
    (workplace.path / "recipe.py").write_text(source, "utf-8")
    if "sentry_sdk" in source:
        change = f"{PRINTING_SENTRY}\n{change}"
    return workplace.interpreter.run(
        RUN.format(change=change),
        *arguments,
        cwd=workplace.path,
        HIVE_BOOT_MODE="environment",
        BILLING_KEY=value,
        SENTRY_DSN="http://public@127.0.0.1:9/1",
    )


def shown_by(done: CompletedProcess[str]) -> str:
    """Give all that a program has shown, once it is sure that it did what it is for."""
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    shown = done.stdout + done.stderr
    assert "asking" in shown
    return shown


def told(value: str, shown: str) -> set[str]:
    """Give the forms of a value that are in a text, also that of a traceback in JSON."""
    twice = json.dumps(repr(value)[1:-1])[1:-1]
    return {form for form in encoded_variants(value, 8) | {twice} if form in shown}


def changed(source: str, old: str, new: str, *, at: int = 0) -> str:
    """Replace one of the places in a program where ``old`` stands."""
    parts = source.split(old)
    assert len(parts) > at + 1, f"{old!r} is not in the recipe"
    return old.join(parts[: at + 1]) + new + old.join(parts[at + 1 :])


def test_every_block_is_tried() -> None:
    """No block is of a kind that this module does not know."""
    assert 2 * (1 + len(RECIPES)) == len(re.findall(r"^```", TEXT, re.MULTILINE))
    headings = [block.heading for block in RECIPES]
    assert headings == ["logging", "structlog", "loguru", "Sentry"]


def test_a_recipe_shows_no_value(workplace: Workplace) -> None:
    """A reader who copies a recipe sees stars where the value stood."""
    for recipe in RECIPES:
        for value in (PLAIN, LONG):
            shown = shown_by(run(recipe.text, workplace, value=value))

            assert "***" in shown, recipe.heading
            assert value[:16] not in shown, recipe.heading
            assert told(value, shown) == set(), recipe.heading


def test_a_recipe_shows_no_value_that_has_to_be_escaped(workplace: Workplace) -> None:
    """A value with quotes, a backslash and an umlaut is also removed."""
    for recipe in (STRUCTLOG, LOGURU, SENTRY):
        shown = shown_by(run(recipe.text, workplace, value=AWKWARD))

        assert "***" in shown, recipe.heading
        assert told(AWKWARD, shown) == set(), recipe.heading


def test_without_redaction_a_recipe_shows_the_value(workplace: Workplace) -> None:
    """The recipe is what hides the value: the same program without it tells."""
    for recipe in RECIPES:
        change = REDACT_NOTHING if "redact" in recipe.text else SCRUB_NOWHERE

        shown = shown_by(run(recipe.text, workplace, change=change))

        assert PLAIN in told(PLAIN, shown), recipe.heading


def test_structlog_may_format_what_goes_through_logging(workplace: Workplace) -> None:
    """The formatter that structlog brings for logging needs nothing either."""
    as_dict = "structlog.stdlib.ProcessorFormatter.wrap_for_formatter"
    formatter = "structlog.stdlib.ProcessorFormatter(structlog.processors.JSONRenderer())"
    source = changed(LOGGING.text, "structlog.stdlib.render_to_log_kwargs", as_dict)
    source = re.sub(r"JsonFormatter\(.*?\)(?=\)$)", formatter, source, flags=re.MULTILINE)
    assert formatter in source

    shown = shown_by(run(source, workplace))
    open_ = shown_by(run(source, workplace, change=SCRUB_NOWHERE))

    assert not told(PLAIN, shown)
    assert told(PLAIN, open_)


def test_structlog_needs_the_processor_behind_the_renderer(workplace: Workplace) -> None:
    """Without it an object that only the renderer turns into text tells the value."""
    noted = changed(STRUCTLOG.text, 'f"Bearer {key}"', "__import__('types').SimpleNamespace(k=key)")
    without = changed(noted, "        scrub, ", "        # scrub, ")

    assert not told(PLAIN, shown_by(run(noted, workplace)))
    assert told(PLAIN, shown_by(run(without, workplace)))


def test_loguru_needs_the_first_sink_removed(workplace: Workplace) -> None:
    """The sink that loguru begins with redacts nothing."""
    source = changed(LOGURU.text, "logger.remove()", "")

    assert told(PLAIN, shown_by(run(source, workplace)))


def test_loguru_needs_diagnose_off(workplace: Workplace) -> None:
    """A variable that loguru shows is cut, and what is cut is not found."""
    source = changed(LOGURU.text, "diagnose=False", "diagnose=True")

    shown = shown_by(run(source, workplace, value=LONG))

    assert LONG not in shown
    assert LONG[:50] in shown
    assert LONG[:50] not in shown_by(run(LOGURU.text, workplace, value=LONG))


def test_a_handler_of_logging_is_a_sink_for_loguru(workplace: Workplace) -> None:
    """With a handler as the sink nothing has to be redacted, in a file neither."""
    sink = "lambda line: sys.stderr.write(redact(line))"
    handler = "__import__('logging.handlers').handlers.RotatingFileHandler('app.log')"
    source = changed(LOGURU.text, sink, handler)

    done = run(source, workplace, value=AWKWARD, change=REDACT_NOTHING)

    assert done.returncode == 0, done.stderr
    written = (workplace.path / "app.log").read_text("utf-8")
    assert "refused" in written
    assert not told(AWKWARD, done.stderr + written)


def test_sentry_needs_each_hook(workplace: Workplace) -> None:
    """Without one of them, what it is for is sent with the value."""
    for hook, kind in (
        ("before_send", "event"),
        ("before_send_transaction", "transaction"),
        ("before_send_log", "log"),
    ):
        source = changed(SENTRY.text, f"        {hook}=scrub,", "")

        lines = shown_by(run(source, workplace)).splitlines()

        telling = [
            json.loads(header)["type"] for header, line in pairwise(lines) if told(PLAIN, line)
        ]
        assert telling == [kind]


def test_sentry_needs_local_variables_off(workplace: Workplace) -> None:
    """A variable that holds a part of the value is sent, and the part is not found."""
    source = changed(SENTRY.text, "int(key)", "(half := key[:12], int(key))")
    without = changed(source, "include_local_variables=False,", "")

    assert PLAIN[:12] not in shown_by(run(source, workplace))
    assert PLAIN[:12] in shown_by(run(without, workplace))


def test_sentry_gets_scrubbed_records_whenever_it_is_started(workplace: Workplace) -> None:
    """What comes through logging holds no value before any hook looks at it."""
    for when in ("before", "after"):
        shown = shown_by(run(SENTRY_AT_EITHER_TIME, workplace, when))
        open_ = shown_by(run(SENTRY_AT_EITHER_TIME, workplace, when, change=SCRUB_NOWHERE))

        assert '"type":"event"' in shown, when
        assert "ValueError" in shown, when
        assert not told(PLAIN, shown), when
        assert told(PLAIN, open_), when


def test_links_lead_somewhere() -> None:
    """What the page links to is in the repository, or is a heading of its own."""
    anchors = {
        "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)
    }
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert targets
    for target in targets:
        assert target in anchors or (PAGE.parent / target).is_file(), target


def spans() -> set[str]:
    """Give what the page says in code, outside of its blocks."""
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", prose))


def exists(name: str) -> bool:
    """Tell whether a name leads to something that a reader can find."""
    parts = name.removesuffix("()").split(".")
    if parts[0] in hive_boot.__all__:
        return _leads_on(hive_boot, parts)
    if parts[0] in {"structlog", *sys.stdlib_module_names}:
        try:
            pkgutil.resolve_name(".".join(parts))
        except (ImportError, AttributeError):
            return False
        return True
    places = (builtins, logging, logging.handlers, hive_boot.Secret)
    return any(_leads_on(place, parts) for place in places)


def _leads_on(place: object, parts: list[str]) -> bool:
    for part in parts:
        if not hasattr(place, part):
            return False
        place = getattr(place, part)
    return True


def parameters() -> set[str]:
    """Name the parameters of what the page tells to call."""
    called = (
        hive_boot.Bootstrap.__init__,
        hive_boot.secret,
        json.dumps,
        logging.Logger._log,  # noqa: SLF001  (where the parameters of all levels are written)
        type(loguru.logger).add,
        structlog.dev.ConsoleRenderer,
        structlog.dev.RichTracebackFormatter,
    )
    found = {name for each in called for name in inspect.signature(each).parameters}
    return found | sentry_sdk.consts.DEFAULT_OPTIONS.keys()


def test_every_name_exists() -> None:
    """A name that the page mentions is one that a reader can look up."""
    others = {
        "hive_boot",
        "project_id",  # as Google's documents call it
        "client_email",
        "host",
        "print_exc",
        "ptrace",
        *multiprocessing.get_all_start_methods(),
        *keyword.kwlist,
    }
    known = parameters() | others
    names = {span for span in spans() if re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", span)}
    assert names & set(hive_boot.__all__)
    assert {name for name in names if name not in known and not exists(name)} == set()


def test_every_parameter_exists() -> None:
    """A setting that the page tells to make is one that something takes."""
    settings = {name for span in spans() for name in re.findall(r"\b(\w+)=[\w.]", span)}
    assert "unset_env" in settings
    assert settings <= parameters()


def test_every_public_name_is_imported_from_the_package() -> None:
    """What the page calls by its bare name is in the package's public face."""
    names = sorted(set(hive_boot.__all__) & spans())
    assert names
    for name in names:
        assert getattr(hive_boot, name).__module__ == "hive_boot", name
