"""Recipes, names and links of docs/security.md, tested with the named libraries."""

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
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import loguru
import pytest
import sentry_sdk.consts
import structlog

import hive_boot
from hive_boot.redaction.registry import encoded_variants
from tests.fixtures.forking import Interpreter, forking
from tests.support import ROOT

PAGE = ROOT / "docs" / "security.md"
TEXT = PAGE.read_text("utf-8")

# Runs a recipe as a main program, after a change.
RUN = """
import runpy
{change}
runpy.run_path("recipe.py", run_name="__main__")
"""

# Replaces the transport of Sentry by one that prints to stdout. The integrations of frameworks have
# no part in a recipe, and take long to be looked for.
PRINTING_SENTRY = """
from functools import partial
import sentry_sdk
from sentry_sdk.transport import Transport

class Printing(Transport):
    def capture_envelope(self, envelope):
        print(envelope.serialize().decode())

sentry_sdk.init = partial(
    sentry_sdk.init, transport=Printing, auto_enabling_integrations=False
)
"""

REDACT_NOTHING = "import hive_boot; hive_boot.redact = lambda shown: shown"
SCRUB_NOWHERE = "from hive_boot.redaction import hooks; hooks.PATCHED_FUNCTIONS = ()"

# Includes the lazy imports of the libraries.
LIBRARIES = """
import anyio, loguru, pythonjsonlogger.json, sentry_sdk.integrations, structlog
list(sentry_sdk.integrations.iter_default_integrations(with_auto_enabling_integrations=False))
"""

PLAIN = "fake-billing-key"
AWKWARD = "fake\\billing'key\"\u00e4"
LONG = (
    "fake-billing-key-" + "0123456789" * 16
)  # the longest value that a message of int() does not truncate

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
    """A block of code, and the heading of its section."""

    heading: str
    text: str


def read_blocks() -> list[Block]:
    """Return every Python block of the page."""
    found = []
    for section in re.split(r"^##+ ", TEXT, flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        codes = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        found += [Block(heading, code) for code in codes]
    return found


APP, *RECIPES = read_blocks()
LOGGING, STRUCTLOG, LOGURU, SENTRY, OPENTELEMETRY = RECIPES
if find_spec("opentelemetry.sdk") is None:
    RECIPES.remove(OPENTELEMETRY)  # the SDK is not installed everywhere


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
    """Return a directory with app.py, and the interpreter."""
    assert APP.text.startswith("# app.py\n")
    place = tmp_path / "workplace"
    place.mkdir()
    (place / "app.py").write_text(APP.text, "utf-8")
    return Workplace(place, interpreter)


def run(
    source: str, workplace: Workplace, *arguments: str, value: str = PLAIN, change: str = ""
) -> CompletedProcess[str]:
    """Run a program beside app.py with a secret in its environment, after a change."""
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
    """Assert that a program succeeded and made the mistake, and return its output."""
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    shown = done.stdout + done.stderr
    assert "asking" in shown
    return shown


def leaked_forms(value: str, shown: str) -> set[str]:
    """Return the encoded forms of a value that a text contains, also of a traceback in JSON."""
    twice = json.dumps(repr(value)[1:-1])[1:-1]
    return {form for form in encoded_variants(value, 8) | {twice} if form in shown}


def changed(source: str, old: str, new: str, *, at: int = 0) -> str:
    """Return a program in which one occurrence of ``old`` is replaced."""
    parts = source.split(old)
    assert len(parts) > at + 1, f"{old!r} is not in the recipe"
    return old.join(parts[: at + 1]) + new + old.join(parts[at + 1 :])


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    blocks = read_blocks()[1:]
    assert 2 * (1 + len(blocks)) == len(re.findall(r"^```", TEXT, re.MULTILINE))
    headings = [block.heading for block in blocks]
    assert headings == ["logging", "structlog", "loguru", "Sentry", "OpenTelemetry"]


def test_a_recipe_shows_no_value(workplace: Workplace) -> None:
    """Each recipe prints ``***`` instead of the value."""
    for recipe in RECIPES:
        for value in (PLAIN, LONG):
            shown = shown_by(run(recipe.text, workplace, value=value))

            assert "***" in shown, recipe.heading
            assert value[:16] not in shown, recipe.heading
            assert leaked_forms(value, shown) == set(), recipe.heading


def test_a_recipe_shows_no_value_that_has_to_be_escaped(workplace: Workplace) -> None:
    """A value with quotes, a backslash and an umlaut is also removed."""
    for recipe in RECIPES[1:]:
        shown = shown_by(run(recipe.text, workplace, value=AWKWARD))

        assert "***" in shown, recipe.heading
        assert leaked_forms(AWKWARD, shown) == set(), recipe.heading


def test_without_redaction_a_recipe_shows_the_value(workplace: Workplace) -> None:
    """The same program without redaction shows the value."""
    for recipe in RECIPES:
        change = REDACT_NOTHING if "redact" in recipe.text else SCRUB_NOWHERE

        shown = shown_by(run(recipe.text, workplace, change=change))

        assert PLAIN in leaked_forms(PLAIN, shown), recipe.heading


def test_structlog_may_format_what_goes_through_logging(workplace: Workplace) -> None:
    """Output of the formatter that structlog has for logging is redacted."""
    as_dict = "structlog.stdlib.ProcessorFormatter.wrap_for_formatter"
    formatter = "structlog.stdlib.ProcessorFormatter(structlog.processors.JSONRenderer())"
    source = changed(LOGGING.text, "structlog.stdlib.render_to_log_kwargs", as_dict)
    source = re.sub(r"JsonFormatter\(.*?\)(?=\)$)", formatter, source, flags=re.MULTILINE)
    assert formatter in source

    shown = shown_by(run(source, workplace))
    open_ = shown_by(run(source, workplace, change=SCRUB_NOWHERE))

    assert not leaked_forms(PLAIN, shown)
    assert leaked_forms(PLAIN, open_)


def test_structlog_needs_the_processor_behind_the_renderer(workplace: Workplace) -> None:
    """Without it an object that only the renderer turns into text shows the value."""
    noted = changed(STRUCTLOG.text, 'f"Bearer {key}"', "__import__('types').SimpleNamespace(k=key)")
    without = changed(noted, "        scrub, ", "        # scrub, ")

    assert not leaked_forms(PLAIN, shown_by(run(noted, workplace)))
    assert leaked_forms(PLAIN, shown_by(run(without, workplace)))


def test_loguru_needs_the_first_sink_removed(workplace: Workplace) -> None:
    """The default sink of loguru redacts nothing."""
    source = changed(LOGURU.text, "logger.remove()", "")

    assert leaked_forms(PLAIN, shown_by(run(source, workplace)))


def test_loguru_needs_diagnose_off(workplace: Workplace) -> None:
    """Loguru truncates variables, and a truncated value is not redacted."""
    source = changed(LOGURU.text, "diagnose=False", "diagnose=True")

    shown = shown_by(run(source, workplace, value=LONG))

    assert LONG not in shown
    assert LONG[:50] in shown
    assert LONG[:50] not in shown_by(run(LOGURU.text, workplace, value=LONG))


def test_a_handler_of_logging_is_a_sink_for_loguru(workplace: Workplace) -> None:
    """A logging handler as the sink needs no redact(), also for a file."""
    sink = "lambda line: sys.stderr.write(redact(line))"
    handler = "__import__('logging.handlers').handlers.RotatingFileHandler('app.log')"
    source = changed(LOGURU.text, sink, handler)

    done = run(source, workplace, value=AWKWARD, change=REDACT_NOTHING)

    assert done.returncode == 0, done.stderr
    written = (workplace.path / "app.log").read_text("utf-8")
    assert "refused" in written
    assert not leaked_forms(AWKWARD, done.stderr + written)


def test_sentry_needs_each_hook(workplace: Workplace) -> None:
    """Without one of the hooks, its kind of envelope is sent with the value."""
    for hook, kind in (
        ("before_send", "event"),
        ("before_send_transaction", "transaction"),
        ("before_send_log", "log"),
    ):
        source = changed(SENTRY.text, f"        {hook}=scrub,", "")

        lines = shown_by(run(source, workplace)).splitlines()

        leaking = [
            json.loads(header)["type"]
            for header, line in pairwise(lines)
            if leaked_forms(PLAIN, line)
        ]
        assert leaking == [kind]


def test_sentry_needs_local_variables_off(workplace: Workplace) -> None:
    """A variable with a part of the value is sent, and the part is not redacted."""
    source = changed(SENTRY.text, "int(key)", "(half := key[:12], int(key))")
    without = changed(source, "include_local_variables=False,", "")

    assert PLAIN[:12] not in shown_by(run(source, workplace))
    assert PLAIN[:12] in shown_by(run(without, workplace))


def test_sentry_gets_scrubbed_records_whenever_it_is_started(workplace: Workplace) -> None:
    """A record of logging contains no value before any hook of Sentry runs."""
    for when in ("before", "after"):
        shown = shown_by(run(SENTRY_AT_EITHER_TIME, workplace, when))
        open_ = shown_by(run(SENTRY_AT_EITHER_TIME, workplace, when, change=SCRUB_NOWHERE))

        assert '"type":"event"' in shown, when
        assert "ValueError" in shown, when
        assert not leaked_forms(PLAIN, shown), when
        assert leaked_forms(PLAIN, open_), when


def test_links_lead_somewhere() -> None:
    """Every link target is a file of the repository or a heading of the page."""
    anchors = {
        "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)
    }
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert targets
    for target in targets:
        assert target in anchors or (PAGE.parent / target).is_file(), target


def spans() -> set[str]:
    """Return the code spans of the page, outside of its blocks."""
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", prose))


def exists(name: str) -> bool:
    """Return whether a name exists in hive_boot, a library or the standard library."""
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
    """Return the parameters of the functions that the page mentions."""
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
    """Every name on the page exists."""
    others = {
        "hive_boot",
        "project_id",  # of Google's service account files
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
    """Every setting on the page is a parameter of a function."""
    settings = {name for span in spans() for name in re.findall(r"\b(\w+)=[\w.]", span)}
    assert "unset_env" in settings
    assert settings <= parameters()


def test_every_public_name_is_imported_from_the_package() -> None:
    """Every bare name of hive_boot on the page is exported by the package."""
    names = sorted(set(hive_boot.__all__) & spans())
    assert names
    for name in names:
        assert getattr(hive_boot, name).__module__ == "hive_boot", name
