"""Variables as values, with the bytes that Python hides in them."""

import os
from functools import partial

from hive_boot import Secret, SecretBytes
from hive_boot.secrets.fields import Field
from hive_boot.secrets.sources.files import NOT_UTF_8, as_value
from tests.fixtures.cases import case
from tests.support import run_child

TEXT = Field(attribute="token", name="TOKEN", kind=Secret)
RAW = Field(attribute="token", name="TOKEN", kind=SecretBytes)


def test_a_variable_is_taken_as_it_is() -> None:
    """Nothing is stripped off a variable, because nothing was put on it."""
    cases: list[str] = ["fake-token", "  spaces kept \n", "\ufefffake", "fäke", "=a=b"]
    for text in cases:
        with case(text):
            value = as_value(TEXT, partial(str, text))

            assert isinstance(value, Secret)
            assert value.reveal() == text
            assert repr(value) == "Secret('TOKEN', '***')"


def test_a_variable_for_secret_bytes_gives_its_bytes() -> None:
    """SecretBytes from a variable are the bytes that the process was given."""
    value = as_value(RAW, lambda: "fäke\udcff")

    assert isinstance(value, SecretBytes)
    assert value.reveal() == "fäke".encode() + b"\xff"
    assert repr(value) == "SecretBytes('TOKEN', '***')"


def test_a_variable_that_is_not_utf_8_is_no_secret() -> None:
    """Half a character in a variable is a problem, not a value with a hole in it."""
    assert as_value(TEXT, lambda: "fake\udcff") is NOT_UTF_8


def test_bytes_in_a_real_environment() -> None:
    """What the kernel hands over arrives: raw for SecretBytes, refused for Secret."""
    child = run_child(
        "from hive_boot import InvalidSecretsError, Secret, SecretBytes, SecretSet\n"
        "from hive_boot.secrets.loader import load\n"
        "from hive_boot.secrets.platform import SourceOptions, detect\n"
        "from hive_boot.secrets.platform import HostEnvironment\n"
        "class Keys(SecretSet):\n"
        "    raw: SecretBytes\n"
        "    text: Secret\n"
        "situation = detect(HostEnvironment(), SourceOptions(mode='environment'))\n"
        "loaded = load(Keys._field_index, situation)\n"
        "print({name: value.reveal() for name, value in loaded.values.items()})\n"
        "print([(problem.name, problem.kind) for problem in loaded.problems])\n",
        RAW=os.fsdecode(b"\xff\xfefake"),
        TEXT=os.fsdecode(b"\xff\xfefake"),
    )

    assert child.stderr == ""
    assert child.stdout == "{'raw': b'\\xff\\xfefake'}\n[('TEXT', 'not-utf-8')]\n"
