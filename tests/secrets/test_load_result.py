"""The result of a load: frozen, and combined with what later steps return."""

from pathlib import Path

import pytest

from hive_boot import Problem, Secret, SecretSet
from hive_boot.secrets.load_result import LoadResult, LoadResultBuilder, LoadWarning
from tests.support import look

VALUE = "fake-value-0123456789"


class Keys(SecretSet):
    """Two secrets and an optional one."""

    api_key: Secret
    jwt_secret: Secret
    sentry_dsn: Secret | None


def loaded(root: Path) -> LoadResult:
    """Load both required secrets from a directory."""
    directory = root / "named"
    directory.mkdir()
    for name in ("api_key", "jwt_secret"):
        (directory / name).write_text(VALUE)
    return look(Keys, root, mode="docker", secrets_dirs=directory)


def test_a_result_cannot_be_changed(tmp_path: Path) -> None:
    """No attribute can be assigned, and no value can be added or removed."""
    result = loaded(tmp_path)
    for name in type(result).field_names:
        with pytest.raises(AttributeError):
            setattr(result, name, None)
    for mapping in (result.values, result.hits):
        with pytest.raises(TypeError):
            mapping["sentry_dsn"] = None  # type: ignore[index]
    for collection in (result.problems, result.warnings, result.notes, result.hints):
        assert isinstance(collection, tuple)
    assert VALUE not in repr(result)


def test_later_findings_are_in_a_copy(tmp_path: Path) -> None:
    """A later step returns what it found, and the result of the load stays as it is."""
    result = loaded(tmp_path)
    problem = Problem(name="Keys", kind="check", message="was refused by its check: a reason")
    warning = LoadWarning("short-value", ("API_KEY",))
    combined = result.with_problems([problem]).with_warnings([warning])
    assert (combined.problems, combined.warnings) == ((problem,), (warning,))
    assert (result.problems, result.warnings) == ((), ())
    assert combined.values == result.values


def test_check_problems_have_locations_and_the_order_of_the_declaration(tmp_path: Path) -> None:
    """A check knows only its field; the location and the fix are added."""
    found = [
        Problem(name=name, kind="check", message="was refused by its check: it returned False")
        for name in ("JWT_SECRET", "API_KEY")
    ]
    problems = loaded(tmp_path).with_check_problems(found).problems
    assert [(each.name, each.places) for each in problems] == [
        ("API_KEY", (f"{tmp_path}/named/api_key",)),
        ("JWT_SECRET", (f"{tmp_path}/named/jwt_secret",)),
    ]
    assert all(each.fix for each in problems)


def test_a_report_explains_kubectl_by_the_kind_of_the_fix(tmp_path: Path) -> None:
    """The text of a fix does not matter."""
    builder = LoadResultBuilder(Keys._field_index, loaded(tmp_path).source_context, "Keys")
    result = builder.build()
    instruction = Problem(name="API_KEY", kind="missing", message="is missing", fix="kubectl x")
    command = instruction.replace(fix="create it", fix_kind="kubectl")
    assert result.with_problems([instruction]).report_notes == ()
    (note,) = result.with_problems([instruction, command]).report_notes
    assert (note.kind, note.names) == ("kubectl-stdin", ("keys",))
