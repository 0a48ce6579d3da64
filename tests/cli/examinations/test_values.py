"""Slips in values, none of which is ever shown."""

import base64
import json
from pathlib import Path

import pytest

from hive_boot.cli.examinations.values import equal_values, odd_values, tokens_that_expire
from tests.cli.examinations.patients import kinds, mounted, patient_of, write


def found(machine: Path, value: str) -> list[tuple[str, str]]:
    """Tell what is odd about a value; it has to stay out of what is told."""
    (machine / "secrets").mkdir(exist_ok=True)
    (machine / "secrets/api_key").write_bytes(value.encode())
    symptoms = odd_values(mounted(machine))
    assert all(symptom.what.startswith("API_KEY ") for symptom in symptoms)
    assert all(symptom.where == str(machine / "secrets/api_key") for symptom in symptoms)
    assert value.strip() not in str(symptoms)
    return kinds(symptoms)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (" fake-value-1", "space-around"),
        ("fake-value-1\n\n", "space-around"),
        ('"fake-value-1"', "quoted"),
        ("'fake-value-1'\n", "quoted"),
        ("${API_KEY}", "reference"),
        ("$API_KEY", "reference"),
        ("$(cat key)", "reference"),
        ("%API_KEY%", "reference"),
        ("{{ .Values.key }}", "reference"),
        ("<your key>", "placeholder"),
        ("changeme", "placeholder"),
        ("CHANGE-ME-please", "placeholder"),
        ("change_me_please", "placeholder"),
        ("CHANGEME123", "placeholder"),
        ("your-api-key", "placeholder"),
        ("put it here", "placeholder"),
        ("xxxxxxxx", "placeholder"),
        ("/run/secrets/elsewhere", "path"),
        ("/etc/passwd", "path"),
        ("fake\u200bvalue", "invisible"),
        ("fake\u2019value", "typographic"),
        ("fake-1\rfake-2", "carriage-return"),
        (r"-----BEGIN FAKE-----\nAAAA\n-----END FAKE-----\n", "lost-lines"),
        ("-----BEGIN FAKE----- AAAA -----END FAKE-----", "lost-lines"),
    ],
)
def test_a_slip_is_a_warning(machine: Path, value: str, kind: str) -> None:
    """The provider says 401, and the file looks right in a terminal."""
    assert found(machine, value) == [("warning", kind)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("fake-one\nfake-two", "several-lines"),
        (base64.b64encode(b"fake-value-of-a-secret\n").decode(), "encoded-twice"),
    ],
)
def test_what_may_be_meant_is_a_remark(machine: Path, value: str, kind: str) -> None:
    """It happens by mistake more often than on purpose."""
    assert found(machine, value) == [("remark", kind)]


@pytest.mark.parametrize(
    "value",
    [
        "fake-value-1",
        "fake-value-1\n",
        '"',
        "$ecretly-fake",
        "/not/there/at/all",
        "/a" * 3000,
        "-----BEGIN FAKE-----\r\nAAAA\r\n-----END FAKE-----",
        "-----BEGIN FAKE-----\nAAAA\n-----END FAKE-----\n\n",
        '{"fake": 1,\n "json": 2}',
        '{"fake": "-----BEGIN FAKE-----\\nAAAA"}\n\n',
        "changeling-fake-1",
        base64.b64encode(b"fake-value-of-a-secret").decode(),
        base64.b64encode(bytes(range(120, 250)) + b"\n").decode(),
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_a_value_as_it_should_be_is_passed_over(machine: Path, value: str) -> None:
    """A doctor who cries wolf is asked no more."""
    assert found(machine, value) == []


def test_bytes_are_what_they_are(machine: Path) -> None:
    """A keystore may hold anything at its ends."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/keystore", " fake \r\n")

    assert odd_values(mounted(machine)) == []
    assert tokens_that_expire(mounted(machine, now=0)) == []


def test_a_variable_is_named_as_one(machine: Path) -> None:
    """Whoever mends it has to know where it is."""
    (symptom,) = odd_values(patient_of(machine, {"API_KEY": " fake-value"}))

    assert symptom.where == "the variable API_KEY"


def test_two_secrets_with_one_value_are_named(machine: Path) -> None:
    """Mostly the wrong one was pasted twice."""
    write(machine / "secrets/api_key", "fake-same-value")
    write(machine / "secrets/sentry_dsn", "fake-same-value")
    write(machine / "secrets/jwt_secret", "fake-other-value")

    (symptom,) = equal_values(mounted(machine))

    assert symptom.severity == "warning"
    assert symptom.what.startswith("API_KEY, SENTRY_DSN ")
    assert "fake-same-value" not in str(symptom)


def test_a_previous_value_that_is_the_current_one_is_a_remark(machine: Path) -> None:
    """After the rotation the old value should stand there."""
    write(machine / "secrets/api_key", "fake-other-value")
    write(machine / "secrets/jwt_secret", "fake-same-value")
    write(machine / "secrets/jwt_secret_previous", "fake-same-value")

    (symptom,) = equal_values(mounted(machine))

    assert symptom.severity == "remark"
    assert symptom.what.startswith("JWT_SECRET, JWT_SECRET_PREVIOUS ")


def token(claims: object) -> str:
    """Make a token that nobody has signed."""
    parts = [{"alg": "none"}, claims]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(text.rstrip("=") for text in texts), "ZmFrZQ"])


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": 900.5}, [("error", "expiring-token")]),
        ({"exp": 1000 + 7200}, [("warning", "expiring-token")]),
        ({"exp": 1000 + 30 * 86400}, []),
        ({"exp": "soon"}, []),
        ({"sub": "fake"}, []),
    ],
)
def test_a_token_that_expires_is_found_before_it_does(
    machine: Path, claims: object, expected: list[tuple[str, str]]
) -> None:
    """The one thing about a value that is sure to fail later."""
    write(machine / "secrets/api_key", token(claims))

    assert kinds(tokens_that_expire(mounted(machine, now=1000))) == expected


@pytest.mark.parametrize("value", ["fake-value", "eyJh.eyJ_.x", "eyJh.eyJhIjp7.x"])
def test_what_is_no_token_does_not_expire(machine: Path, value: str) -> None:
    """Whatever looks like one and cannot be read says nothing."""
    write(machine / "secrets/api_key", value)

    assert tokens_that_expire(mounted(machine, now=0)) == []


def test_what_the_declaration_says_itself_is_no_secret(machine: Path) -> None:
    """A development default may read like a placeholder: it is one."""
    from hive_boot import Secret, SecretSet, secret  # noqa: PLC0415  (a declaration of its own)

    class Defaults(SecretSet):
        """Two secrets with one harmless value."""

        one: Secret = secret(dev_default="changeme")
        two: Secret = secret(dev_default="changeme")

    patient = patient_of(machine, declared=Defaults)

    assert equal_values(patient) == odd_values(patient) == []
