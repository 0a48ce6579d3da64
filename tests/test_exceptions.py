"""The errors, and the report that a failed start shows."""

import pytest

import hive_boot
from hive_boot import (
    BootError,
    DeclarationError,
    IllegalTransition,
    InvalidSecrets,
    LifecycleError,
    MissingSecret,
    Problem,
    SecretsError,
    SourceError,
)

MISSING = Problem(
    name="JWT_SECRET",
    kind="missing",
    message="is missing",
    places=("/run/secrets/jwt_secret", "a second place"),
    used_by="user-auth",
    hint="write it to /run/secrets/jwt_secret",
)
SHORT = Problem(name="HIVE_API_KEY", kind="length", message="has 3 characters")


def test_report_of_a_failed_start() -> None:
    """A person reads how many problems there are, whose, in which mode, and the mend of each."""
    failure = InvalidSecrets(
        [MISSING, SHORT],
        declaration="HiveSecrets",
        facts=[("mode", "docker (/run/secrets holds files)"), ("profile", "production (default)")],
        advice=["Something that mends more than one."],
    )
    assert failure.report().splitlines() == [
        "hive_boot: 2 problems with HiveSecrets, so the service does not start",
        "  mode      docker (/run/secrets holds files)",
        "  profile   production (default)",
        "",
        "  Something that mends more than one.",
        "",
        "  1. JWT_SECRET is missing",
        "     looked in /run/secrets/jwt_secret",
        "               a second place",
        "     used by   user-auth",
        "     mend      write it to /run/secrets/jwt_secret",
        "",
        "  2. HIVE_API_KEY has 3 characters",
    ]
    assert str(failure) == failure.report()


def test_report_of_a_single_problem() -> None:
    """One problem is not called problems, and a report without a declaration names none."""
    report = InvalidSecrets([SHORT]).report()
    assert report.splitlines()[0] == "hive_boot: 1 problem, so the service does not start"


def test_report_of_a_reload_that_is_refused() -> None:
    """A running service goes on: the report says so, and the rest as at a start."""
    failure = InvalidSecrets([MISSING, SHORT], declaration="HiveSecrets", kept=True)
    at_a_start = InvalidSecrets([MISSING, SHORT], declaration="HiveSecrets")
    first, *rest = failure.report().splitlines()
    assert first == "hive_boot: 2 problems with HiveSecrets, so the last good set stays in use"
    assert rest == at_a_start.report().splitlines()[1:]
    assert (failure.kept, at_a_start.kept) == (True, False)
    assert (
        InvalidSecrets([SHORT], kept=True)
        .report(color=True)
        .startswith("\x1b[31m\x1b[1mhive_boot: 1 problem, so the last good set stays in use\x1b[0m")
    )
    assert failure.exit_code == at_a_start.exit_code


def test_report_in_colour_says_the_same() -> None:
    """On a terminal the report is coloured, each colour ends, and not a word is different."""
    failure = InvalidSecrets([MISSING, SHORT], declaration="HiveSecrets", facts=[("mode", "x")])
    plain, coloured = failure.report(), failure.report(color=True)
    assert "\x1b" not in plain
    assert "\x1b[1mJWT_SECRET\x1b[0m is missing" in coloured
    assert coloured.startswith("\x1b[31m")
    stripped = coloured
    for code in ("\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"):
        stripped = stripped.replace(code, "")
    assert stripped == plain
    assert all("\x1b" not in line or line.rfind("\x1b[0m") > 0 for line in coloured.splitlines())


def test_later_changes_of_a_list_change_no_error() -> None:
    """A program reads the problems as data, and they stay what they were when it was raised."""
    problems = [MISSING, SHORT]
    failure = InvalidSecrets(problems)
    problems.clear()
    assert failure.problems == (MISSING, SHORT)
    assert [problem.kind for problem in failure.problems] == ["missing", "length"]


def test_missing_secret_says_what_to_do() -> None:
    """The text of MissingSecret names the secret and the way to mend it."""
    failure = MissingSecret("JWT_SECRET", "set the variable JWT_SECRET")
    assert str(failure) == "JWT_SECRET is not set: set the variable JWT_SECRET"
    assert (failure.name, failure.hint) == ("JWT_SECRET", "set the variable JWT_SECRET")


def test_source_error_says_where() -> None:
    """The text of SourceError names the secret, what is wrong, where, and the mend if known."""
    assert str(SourceError(MISSING)) == (
        "JWT_SECRET is missing (/run/secrets/jwt_secret): write it to /run/secrets/jwt_secret"
    )
    assert str(SourceError(SHORT)) == "HIVE_API_KEY has 3 characters"
    assert SourceError(SHORT).problem is SHORT


def test_illegal_transition_names_state_and_event() -> None:
    """The text of IllegalTransition says what was asked, and of what."""
    failure = IllegalTransition("ready", "start")
    assert str(failure) == "cannot start an application that is ready"
    assert (failure.state, failure.event) == ("ready", "start")


@pytest.mark.parametrize(
    ("error", "family", "code"),
    [
        (DeclarationError, BootError, 70),
        (LifecycleError, BootError, 70),
        (IllegalTransition, LifecycleError, 70),
        (SecretsError, BootError, 78),
        (MissingSecret, SecretsError, 78),
        (SourceError, SecretsError, 78),
        (InvalidSecrets, SecretsError, 78),
    ],
)
def test_who_is_to_blame(error: type[BootError], family: type[BootError], code: int) -> None:
    """A supervisor tells a wrong deployment (78) from a bug (70) by the exit status."""
    assert issubclass(error, family)
    assert error.exit_code == code


@pytest.mark.parametrize("name", hive_boot.__all__)
def test_a_traceback_names_what_is_imported(name: str) -> None:
    """Every public name says that it lives in hive_boot, where a user finds it."""
    public = getattr(hive_boot, name)
    assert public.__module__ == "hive_boot"
    assert public.__doc__
