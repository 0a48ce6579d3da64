"""The Dockerfile, and what it is allowed to see."""

import json
import re

from hive_boot import Bootstrap
from tests.manifests.deployments import ShopSecrets, text_of
from tests.manifests.deployments import deployment as deploy


def instructions(text: str) -> list[tuple[str, str]]:
    """Return what a builder does: an instruction and its words."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r" \\\n\s*", " ", "\n".join(lines))
    return [
        (name, words) for name, _, words in (line.partition(" ") for line in joined.split("\n"))
    ]


def runtime(text: str) -> list[tuple[str, str]]:
    """Return those of the last stage."""
    found = instructions(text)
    last = max(at for at, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def test_python_is_the_first_process_and_nobody() -> None:
    """No shell stands between it and signals, and it is asked for its health."""
    found = dict(runtime(text_of(deploy(), "deploy/Dockerfile")))
    assert json.loads(found["ENTRYPOINT"])[:2] == ["hive-boot", "run"]
    assert int(found["USER"].partition(":")[0]) >= 10_000
    assert found["HEALTHCHECK"].endswith('CMD ["hive-boot", "probe", "--port", "8000"]')
    assert "--start-period=30s" in found["HEALTHCHECK"]
    assert found["EXPOSE"] == "8000"


def test_it_is_probed_where_it_answers() -> None:
    """A worker has a port for its probes alone."""
    made = deploy(boot=Bootstrap(ShopSecrets, probe_port=9000), port=None)
    found = dict(runtime(text_of(made, "deploy/Dockerfile")))
    assert found["HEALTHCHECK"].endswith('"--port", "9000"]')
    assert found["EXPOSE"] == "9000"


def test_the_tools_of_the_build_stay_behind() -> None:
    """The image has the application's environment, in which there is no pip."""
    text = text_of(deploy(install="--group=web .[redis]"), "deploy/Dockerfile")
    built = [words for name, words in instructions(text) if name == "RUN"]
    assert "--without-pip /venv" in built[0]
    assert built[1] == (
        "/pip/bin/pip --python /venv/bin/python install --no-cache-dir --group=web .[redis]"
    )
    # A build fails if the application does not bring hive_boot; the file names two ways.
    assert re.search(r"(?m)^# hive_boot .*dependencies.*\n#.* --install '. hive_boot'", text)
    assert built[2] == '["/venv/bin/hive-boot", "--version"]'
    assert [words for name, words in runtime(text) if name == "COPY"] == [
        "--from=build /venv /venv"
    ]


def test_what_was_named_is_laid_into_it() -> None:
    """Sources are compiled before nothing can be written, and a directory belongs to the user."""
    made = deploy(copies=("some app", "more"), writable=("/var/lib/shop",))
    text = text_of(made, "deploy/Dockerfile")
    built = [words for name, words in instructions(text) if name == "RUN"]
    assert "compileall -q 'some app' more && install -d -m 0700 /writable/var/lib/shop" in built[1]
    copied = [words for name, words in runtime(text) if name == "COPY"][1:]
    assert copied == [
        '--from=build ["/source/some app", "./some app"]',
        '--from=build ["/source/more", "./more"]',
        '--from=build --chown=10001:10001 ["/writable/var/lib/shop", "/var/lib/shop"]',
    ]


def test_settings_are_variables_of_the_image() -> None:
    """Nothing in a value is expanded or ends it."""
    env = {"A": "plain/value:1", "B": 'a "b" \\ $HOME # c', "C": "ä", "D": ""}
    text = text_of(deploy(env=env), "deploy/Dockerfile")
    assert r"ENV A=plain/value:1 \\\n".replace(r"\\\n", "\\\n") in text
    assert r'    B="a \"b\" \\ \$HOME # c"' in text
    assert '    C="ä"' in text
    assert '    D=""' in text


def test_nothing_comes_in_but_what_is_listed() -> None:
    """Neither a ``.env`` nor a directory of secrets is sent to a build, however deep it lies."""
    made = deploy(context=("shop", "shop/secrets", "odd[1]*"), copies=("extra",))
    lines = text_of(made, ".dockerignore").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [line for line in rules if line.startswith("!")]
    assert let_in[:4] == ["!pyproject.toml", "!README.md", "!LICENSE", "!src"]
    assert let_in[4:] == ["!shop", "!odd\\[1\\]\\*", "!extra", "!shop/secrets"]
    assert rules.index("**/secrets") == rules.index("!shop/secrets") - 1
    assert rules.index("!shop/secrets") < rules.index("**/.env") < rules.index("**/.env.*")
