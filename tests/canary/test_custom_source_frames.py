"""Values of ``sources=``: no frame of hive_boot contains one while they are processed."""

import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretBytes, SecretSet
from hive_boot.secrets.sources import external
from tests.canary.test_frames import fail
from tests.fixtures.sources import VALUE, Fake, as_it_is
from tests.support import everything_told

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Both(SecretSet):
    """Text and bytes."""

    text: Secret
    raw: SecretBytes


FILES = ("sources/external.py", "secrets/loader.py", "runtime/checks.py", "load_pipeline.py")
"""The modules that an answer passes through."""


async def test_no_frame_holds_an_answer() -> None:
    """Functions that get the values keep none in a frame, also for a rejected answer."""
    answers: list[Any] = [
        {"TEXT": VALUE, "RAW": VALUE.encode()},
        {"TEXT": [VALUE], "RAW": {VALUE: VALUE}},
        {VALUE: VALUE, "TEXT": VALUE},
        [VALUE],
    ]
    seen: list[str] = []

    def look(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401  (a trace function)
        del argument
        if frame.f_code.co_filename.endswith(FILES):
            # An object that is being created has no repr yet.
            with suppress(AttributeError):
                seen.append(f"{event} {frame.f_code.co_name}: {frame.f_locals!r}")
        return look

    for answer in answers:
        boot = Bootstrap(Both, mode="environment", sources=[Fake(answer=as_it_is(answer))])
        before = sys.gettrace()
        sys.settrace(look)
        try:
            async with boot.running():
                pass
        except InvalidSecretsError:
            assert answer is not answers[0]
        finally:
            sys.settrace(before)
    assert any(each.startswith("line _result: ") for each in seen)
    assert any(each.startswith("line _result: ") for each in seen)
    assert not [each for each in seen if VALUE in each]


async def test_a_failure_inside_is_told_without_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unexpected failure is a failure of the source, without a value."""
    for name in ("value_of_content", "_result", "dict"):
        boot = Bootstrap(
            Both,
            mode="environment",
            sources=[Fake(answer=as_it_is({"TEXT": VALUE, "RAW": VALUE}))],
        )
        with monkeypatch.context() as patch:
            patch.setattr(external, name, fail, raising=False)
            with pytest.raises(InvalidSecretsError) as caught:
                async with boot.running():
                    pass
        assert ": InjectedError (" in caught.value.problems[0].message
        assert VALUE not in everything_told(caught.value)
