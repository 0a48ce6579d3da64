"""The errors: their fields, their exit statuses, and in a golden file what each of them says."""

import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hive_boot
from hive_boot import (
    BootError,
    Bootstrap,
    DeclarationError,
    IllegalTransitionError,
    InvalidSecretsError,
    LifecycleError,
    MissingSecretError,
    Problem,
    Secret,
    SecretBytes,
    SecretsError,
    SecretSet,
    ShutdownTimeoutError,
    SourceError,
    StartupError,
    get_secret,
    mask_secret,
    require_secret,
    secret,
)
from tests.fixtures.cases import case
from tests.fixtures.golden import assert_golden
from tests.support import situate

MISSING = Problem(
    name="JWT_SECRET",
    kind="missing",
    message="is missing",
    places=("/run/secrets/jwt_secret", "a second place"),
    used_by="user-auth",
    fix="write it to /run/secrets/jwt_secret",
)
SHORT = Problem(name="HIVE_API_KEY", kind="length", message="has 3 characters")


def declare(kind: Any = Secret, **arguments: Any) -> Callable[[], object]:  # noqa: ANN401  (wrong ones)
    """Return a function that declares one secret."""
    return lambda: make(token=(kind, secret(**arguments)))


def make(**fields: tuple[Any, Any]) -> type[SecretSet]:
    """Declare secrets, each given by its annotation and what is assigned to it."""
    annotations = {name: kind for name, (kind, _) in fields.items() if kind is not None}
    assigned = {name: it for name, (_, it) in fields.items() if it is not None}
    return type("Keys", (SecretSet,), {"__annotations__": annotations, **assigned})


class Mixin:
    """A class with a secret that is not a SecretSet."""

    token: Secret


WRONG_DECLARATIONS: list[Callable[[], object]] = [
    lambda: make(current=(Secret, None)),
    lambda: make(token=(Secret, "fake-value")),
    lambda: type("Keys", (SecretSet,), {"token": None, "__annotations__": {"token": Secret}}),
    lambda: types.new_class("Keys", (SecretSet,), {"prefix": "1_"}),
    declare(aliases="A OLD"),
    declare(aliases=("A", "A")),
    lambda: Bootstrap(Hive, config=lambda port: port),
    lambda: make(token=(None, secret())),
    lambda: make(token=(int, None)),
    lambda: make(one=(Secret, secret("TOKEN")), two=(Secret, secret("TOKEN"))),
    lambda: type("Keys", (Mixin, SecretSet), {}),
    lambda: type("Keys", (SecretSet,), {"check": len}),
    declare(name="API KEY"),
    declare(file="../token"),
    declare(required_in="prodction"),
    declare(previous="A OLD"),
    declare(min_length=-1),
    declare(min_length=9, max_length=8),
    declare(activate_after=-1),
    declare(accept_old_for=-1),
    declare(pattern="["),
    declare(pattern=5),
    declare(check="length"),
    declare(dev_default=""),
    declare(SecretBytes, dev_default="fake-default"),
    declare(dev_default="fake-default", min_length=32),
    declare(dev_default="fake-default", pattern="[0-9]+"),
    lambda: Bootstrap(SecretSet, mode="k8s"),  # type: ignore[arg-type]
    lambda: Bootstrap(SecretSet, profile="live"),
    lambda: Bootstrap(SecretSet, secrets_dirs=""),
    lambda: get_secret("../../etc/passwd"),
]


TOKEN = Secret("TOKEN", "fake-token")

WRONG_USES: list[Callable[[], object]] = [
    lambda: Secret("TOKEN", 5),  # type: ignore[arg-type]
    lambda: SecretBytes("TOKEN", "fake-token"),  # type: ignore[arg-type]
    lambda: type("Open", (Secret,), {}),
    lambda: TOKEN.matches(None),  # type: ignore[arg-type]
    lambda: pickle.dumps(TOKEN),
    lambda: mask_secret(5),  # type: ignore[arg-type]
    lambda: Hive(jwt_secret=TOKEN),  # type: ignore[call-arg]
    lambda: Hive(jwt_secret=TOKEN, tls_key=None, sentry_dsn=None, other=None),  # type: ignore[call-arg]
    lambda: Hive(jwt_secret="fake", tls_key=None, sentry_dsn=None),  # type: ignore[arg-type]
    lambda: Hive(jwt_secret=TOKEN, tls_key=None, sentry_dsn=TOKEN).__setattr__("tls_key", None),
    lambda: Hive(jwt_secret=TOKEN, tls_key=None, sentry_dsn=TOKEN).__delattr__("tls_key"),
    lambda: pickle.dumps(Hive(jwt_secret=TOKEN, tls_key=None, sentry_dsn=TOKEN)),
    lambda: pickle.dumps(Bootstrap(Hive)),
    lambda: Bootstrap(Hive, secret_dirs="."),  # type: ignore[arg-type]
    lambda: Bootstrap(Hive).on_rotate("JWT_SECRT"),
    lambda: Hive(jwt_secret=TOKEN, tls_key=None, sentry_dsn=None).jwt_secrt,  # type: ignore[attr-defined]
    lambda: Bootstrap(Hive).secrets,
]


class Hive(SecretSet):
    """What an application declares that runs."""

    jwt_secret: Secret
    tls_key: SecretBytes | None
    sentry_dsn: Secret | None


def error_of(call: Callable[[], object]) -> Exception:
    """Return what a call raises."""
    with pytest.raises((BootError, TypeError, AttributeError)) as caught:
        call()
    return caught.value


@pytest.mark.anyio
async def test_the_text_of_each_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error has a subject, a problem and a fix."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", "fake-jwt-secret")
    errors = [error_of(call) for call in (*WRONG_USES, *WRONG_DECLARATIONS)]
    boot = Bootstrap(Hive)
    async with boot.running():
        errors += [
            error_of(lambda: get_secret("JWT_SECRT")),
            error_of(lambda: get_secret("STRIPE_SECRET_KEY")),
            error_of(lambda: get_secret("TLS_KEY")),
            error_of(lambda: require_secret("SENTRY_DSN")),
        ]
        async with Bootstrap(Hive).running():
            errors.append(error_of(lambda: get_secret("JWT_SECRET")))
    (tmp_path / "named").mkdir()
    monkeypatch.delenv("HIVE_BOOT_MODE")
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setattr("hive_boot.secrets.standalone_store", None)
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "named"))
    errors.append(error_of(lambda: require_secret("JWT_SECRET")))
    settings = {
        "HIVE_BOOT_MODE": "kubernets",
        "HIVE_BOOT_PROFILE": "prodution",
        "HIVE_BOOT_ENV_FALLBACK": "maybe",
        "HIVE_BOOT_SECRETS_DIR": ":",
    }
    errors += [
        error_of(lambda: situate(tmp_path, settings)),
        InvalidSecretsError(
            [MISSING, SHORT],
            declaration="HiveSecrets",
            facts=[("mode", "docker (a reason)"), ("profile", "production (a reason)")],
            general_hints=["A sentence that concerns more than one problem."],
        ),
        InvalidSecretsError([SHORT], kept=True),
        SourceError(MISSING),
        SourceError(SHORT),
        StartupError("database", "ConnectionError", ["cache: started", "database: starting"]),
        ShutdownTimeoutError(["database", "cache"]),
        ShutdownTimeoutError(
            ["cache"], ["stopping  cache, 2.0 s  app.py:42 in cache: await end()"]
        ),
        IllegalTransitionError("ready", "start"),
    ]
    text = "\n\n".join(f"{type(error).__name__}: {error}" for error in errors)
    assert_golden("error_messages", text, {str(tmp_path): "<root>"})


def test_a_report_in_colour_has_the_same_text() -> None:
    """Every colour ends, and the words are the same as without colours."""
    for kept in (False, True):
        failure = InvalidSecretsError(
            [MISSING, SHORT], declaration="HiveSecrets", facts=[("mode", "x")], kept=kept
        )
        plain, coloured = failure.report(), failure.report(color=True)
        assert str(failure) == plain
        assert "\x1b" not in plain
        assert "\x1b[1mJWT_SECRET\x1b[0m" in coloured
        assert coloured.startswith("\x1b[31m")
        stripped = coloured
        for code in ("\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"):
            stripped = stripped.replace(code, "")
        assert stripped == plain
        lines = coloured.splitlines()
        assert all("\x1b" not in line or line.rfind("\x1b[0m") > 0 for line in lines)


def test_an_error_has_its_facts_as_attributes() -> None:
    """A later change of a list that was passed does not change the error."""
    problems = [MISSING, SHORT]
    failure = InvalidSecretsError(problems)
    problems.clear()
    assert failure.problems == (MISSING, SHORT)
    assert [problem.kind for problem in failure.problems] == ["missing", "length"]
    assert (failure.kept, InvalidSecretsError([SHORT], kept=True).kept) == (False, True)
    missing = MissingSecretError("JWT_SECRET", "set the variable JWT_SECRET")
    assert (missing.name, missing.fix) == ("JWT_SECRET", "set the variable JWT_SECRET")
    assert SourceError(SHORT).problem is SHORT
    transition = IllegalTransitionError("ready", "start")
    assert (transition.state, transition.event) == ("ready", "start")
    startup = StartupError("database", "ConnectionError", ["cache: started"])
    assert (startup.resource, startup.reason) == ("database", "ConnectionError")
    assert startup.progress == ("cache: started",)
    late = ShutdownTimeoutError(["database"], ["stopping"])
    assert (late.pending, late.progress) == (("database",), ("stopping",))


def test_the_exit_status_distinguishes_deployment_and_code() -> None:
    """A deployment error is 78, and an error of the code is 70."""
    cases: list[tuple[type[BootError], type[BootError], int]] = [
        (DeclarationError, BootError, 70),
        (LifecycleError, BootError, 70),
        (StartupError, LifecycleError, 70),
        (ShutdownTimeoutError, LifecycleError, 70),
        (IllegalTransitionError, LifecycleError, 70),
        (SecretsError, BootError, 78),
        (MissingSecretError, SecretsError, 78),
        (SourceError, SecretsError, 78),
        (InvalidSecretsError, SecretsError, 78),
    ]
    for error, family, code in cases:
        with case(error):
            assert issubclass(error, family)
            assert error.exit_code == code
    assert InvalidSecretsError([SHORT], kept=True).exit_code == 78


def test_a_traceback_names_the_public_module() -> None:
    """Every public name has hive_boot as its module."""
    for name in hive_boot.__all__:
        with case(name):
            public = getattr(hive_boot, name)
            assert public.__module__ == "hive_boot"
            assert public.__doc__
