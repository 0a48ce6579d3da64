"""``hive-boot manifests``: its arguments and its output."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from hive_boot.cli.main import main
from tests.fixtures.trees import contents
from tests.support import ROOT, as_ordinary_user

SERVE = "hive-boot run tests.cli.deployed:served --serve x:web --host 0.0.0.0"
SERVED = ("--command", f"{SERVE} --host 0.0.0.0")


def manifests(app: str, *more: str) -> int:
    """Run the command on one of the declared applications."""
    return main(["manifests", f"tests.cli.deployed:{app}", *more])


def test_a_single_file_is_printed_without_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    """Redirected by the shell, it is the file that ``--write`` writes."""
    assert manifests("worker", "--target", "systemd") == 0
    printed = capsys.readouterr().out
    assert manifests("worker", "--target", "systemd", "--write") == 0
    assert Path("deploy/systemd/worker.service").read_text() == printed


def test_several_files_are_printed_with_their_paths(capsys: pytest.CaptureFixture[str]) -> None:
    """All of Kubernetes' are one stream of documents, as ``kubectl`` takes it."""
    assert manifests("worker", "--target", "kubernetes") == 0
    out = capsys.readouterr().out
    documents = list(yaml.safe_load_all(out))
    assert [document["kind"] for document in documents] == [
        "Deployment",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "Secret",
        "Kustomization",
    ]
    assert "---\n# deploy/k8s/secret.yaml\n# Rendered by hive-boot" in out
    assert not list(Path.cwd().iterdir())


def test_files_of_other_kinds_are_printed_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A document of YAML begins with its mark, and no other file does."""
    assert manifests("worker", "--target", "env-example", "--target", "compose") == 0
    out = capsys.readouterr().out
    paths = [line for line in out.splitlines() if line in {f"# {path}" for path in COMPOSE}]
    assert paths == [f"# {path}" for path in COMPOSE]
    assert out.count("\n---\n# ") == out.count("\n---\n") == 2


COMPOSE = ["docker-compose.yml", "deploy/docker-compose.yml", "deploy/Dockerfile", ".dockerignore"]


def test_a_program_gets_the_files_too(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has paths and texts."""
    assert manifests("worker", "--target", "markdown", "--json") == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["path"] == "SECRETS.md"
    assert "| `TOKEN` |" in file["text"]


def test_write_prints_the_state_of_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    """The states are new, changed and unchanged; a second run changes nothing."""
    target = ("--target", "compose")
    assert manifests("worker", *target, "--write") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["new", path] for path in COMPOSE
    ]
    before = contents(Path.cwd())
    assert manifests("worker", *target, "--write", ".") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["unchanged"] * 4
    assert contents(Path.cwd()) == before
    assert manifests("worker", *target, "--image", "registry.example/worker:2", "--write") == 0
    assert "changed    docker-compose.yml\n" in capsys.readouterr().out
    assert manifests("worker", *target, "--write", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["files"][0]["state"]) == (True, "changed")


def test_a_check_without_a_difference_is_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints one line, or JSON."""
    assert manifests("worker", "--target", "kubernetes", "--write") == 0
    capsys.readouterr()
    assert manifests("worker", "--target", "kubernetes", "--check") == 0
    assert " 5 " in capsys.readouterr().out
    assert manifests("worker", "--target", "kubernetes", "--check", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {file["state"] for file in told["files"]} == {"same"}


def test_a_check_names_each_file_that_differs(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 1, and nothing is written."""
    assert manifests("worker", "--target", "compose", "--write") == 0
    capsys.readouterr()
    compose = Path("deploy/docker-compose.yml")
    compose.write_text(compose.read_text().replace("read_only: true", "read_only: false"))
    Path("deploy/Dockerfile").unlink()
    before = contents(Path.cwd())
    assert manifests("worker", "--target", "compose", "--check") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "differs: deploy/docker-compose.yml"
    assert lines[1] == "missing: deploy/Dockerfile"
    assert "2 of 4" in lines[-1]
    assert manifests("worker", "--target", "compose", "--check", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [file["state"] for file in told["files"]] == ["same", "differs", "missing", "same"]
    assert contents(Path.cwd()) == before


def test_a_check_with_other_options_names_the_header(capsys: pytest.CaptureFixture[str]) -> None:
    """Options of the image are in the first lines of the other files, and nowhere else."""
    target = ("worker", "--target", "kubernetes")
    assert manifests(*target, "--copy", "app.py", "--write") == 0
    capsys.readouterr()
    assert manifests(*target, "--check") == 1
    assert "first lines" in capsys.readouterr().out
    assert manifests(*target, "--replicas", "3", "--check") == 1
    assert "first lines" not in capsys.readouterr().out


def test_an_image_without_a_project_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """``pip install .`` would fail; other targets install nothing, other options name a file."""
    single = ("--copy", "app.py", "--context", "vendor", "--install", "vendor/a-1.0.whl h11")
    for options, is_warned in (
        (("--target", "compose"), True),
        (("--target", "kubernetes"), False),
        (("--target", "compose", *single), False),
    ):
        assert manifests("worker", *options) == 0
        assert ("pyproject.toml" in capsys.readouterr().err) is is_warned, options
    assert manifests("worker", "--target", "compose", "--install", "'.") == 0  # pip reports it
    assert capsys.readouterr().err == ""
    Path("pyproject.toml").touch()
    assert manifests("worker", "--target", "compose") == 0
    assert capsys.readouterr().err == ""


def test_a_file_of_other_origin_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 1, and no other file is written either."""
    Path("docker-compose.yml").write_text("services: {}\n")
    assert manifests("worker", "--target", "compose", "--write") == 1
    assert "docker-compose.yml" in capsys.readouterr().err
    assert list(contents(Path.cwd())) == ["docker-compose.yml"]


def test_a_directory_that_cannot_be_written_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 with the path and the reason; 64 when there is no such directory."""
    with as_ordinary_user() as place:
        closed = place / "closed"
        closed.mkdir(0o500)
        assert manifests("worker", "--target", "markdown", "--write", str(closed)) == 1
    assert "Permission denied" in capsys.readouterr().err
    assert manifests("worker", "--target", "markdown", "--check", "nowhere") == 64
    assert "nowhere" in capsys.readouterr().err


def test_the_directory_is_created() -> None:
    """Missing parent directories are created too."""
    assert manifests("worker", "--target", "markdown", "--write", "new/place") == 0
    assert list(contents(Path.cwd())) == ["new/place/SECRETS.md"]


def test_a_file_that_is_not_a_file_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither ``--check`` nor ``--write`` reads it."""
    os.mkfifo("SECRETS.md")
    for mode in ("--check", "--write"):
        assert manifests("worker", "--target", "markdown", mode) == 1
        assert "SECRETS.md: is a FIFO" in capsys.readouterr().err


def test_an_invalid_argument_is_64(capsys: pytest.CaptureFixture[str]) -> None:
    """The message has the option or the value that is wrong, and repeats no secret."""
    markdown = ("--target", "markdown")
    cases: list[tuple[str, tuple[str, ...], str]] = [
        ("worker", (), "--target"),
        ("worker", ("--target", "swarm"), "swarm"),
        *(
            ("worker", (*markdown, option, value), data)
            for option, value, data in (
                ("--name", "Bad_Name", "--name"),
                ("--env", "NAME", "NAME=VALUE"),
                ("--env", "1=2", "NAME=VALUE"),
                ("--env", "TOKEN=fake-x", "TOKEN"),
                ("--env", "TOKEN_FILE=x", "TOKEN_FILE"),
                ("--env", "QUEUE_TOKEN=fake-x", "QUEUE_TOKEN"),
                ("--env", "QUEUE_TOKEN_FILE=x", "QUEUE_TOKEN_FILE"),
                ("--env", "HIVE_BOOT_MODE=x", "HIVE_BOOT_MODE"),
                ("--env", "A=a\nb", "--env A"),
                ("--use", "TOKE", "'TOKE'"),
                ("--base", "", "--base"),
                ("--image", "a\nb", "--image"),
                ("--install", "a\nb", "--install"),
                ("--command", "'", "--command"),
                ("--command", " ", "--command"),
                ("--command", "a 'b\nc'", "--command"),
                ("--port", "70000", "--port"),
                ("--port", "9000", "probe_port"),
                ("--egress", "0", "--egress"),
                ("--egress", "postgres", "--egress"),
                ("--replicas", "0", "--replicas"),
                ("--fleet-wait", "prometheus:9090", "--fleet-wait"),
                ("--fleet-wait", "http://ops:fake-x@prometheus:9090", "--fleet-wait"),
                ("--fleet-wait", "http://prometheus:9090", "version="),
                ("--fleet-selector", 'job="shop"', "--fleet-wait"),
                ("--fleet-stage", "quiet", "--fleet-wait"),
                ("--cpu", "2 cores", "--cpu"),
                ("--cpu", "\uff11", "--cpu"),
                ("--memory", "1Gi:2Gi:3Gi", "--memory"),
                ("--memory", "512", "--memory"),
                ("--memory", ":1Gi", "--memory"),
                ("--copy", "/x", "'/x'"),
                ("--copy", "secrets/", "secrets"),
                ("--context", "a/../b", "'a/../b'"),
                ("--context", "deploy/secrets/a", "deploy/secrets"),
                ("--writable", "x", "--writable"),
                ("--writable", "/a/../b", "--writable"),
                ("--writable", "/", "--writable"),
                ("--writable", "/tmp/", "--writable /tmp"),  # noqa: S108  (refused)
                ("--writable", "/run/secrets/worker", "--writable /run/secrets/worker"),
            )
        ),
        ("served", ("--target", "compose"), "--serve"),
        ("served", ("--target", "compose", "--command", "hive-boot run a:b --serve x:w"), "--host"),
        *(
            ("worker", ("--target", "compose", "--install", install), "--context requirements")
            for install in (
                ". -r requirements.txt",
                ". --requirement=./requirements/base.in",
                "requirements/a-1.0-py3-none-any.whl",
            )
        ),
        ("quiet", ("--target", "kubernetes"), "probe_port"),
        ("local", ("--target", "kubernetes"), "probe_host"),
    ]
    for app, more, data in cases:
        assert manifests(app, *more) == 64, more
        err = capsys.readouterr().err
        assert data in err, more
        assert "fake-x" not in err


def test_a_service_has_a_port_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a main it serves at 8000, or where it is said."""
    assert manifests("served", "--target", "kubernetes", *SERVED) == 0
    assert "containerPort: 8000" in capsys.readouterr().out
    assert (
        manifests(
            "served",
            "--target",
            "kubernetes",
            *SERVED[:1],
            f"{SERVED[1]} --port 80",
            "--port",
            "80",
        )
        == 0
    )
    assert "containerPort: 80\n" in capsys.readouterr().out
    own = ("--command", "uvicorn x:web", "--port", "80")
    assert manifests("served", "--target", "kubernetes", *own) == 0
    assert "containerPort: 80\n" in capsys.readouterr().out
    assert manifests("quiet", "--target", "kubernetes", "--port", "9999") == 0
    assert "containerPort: 9999" in capsys.readouterr().out


def test_each_option_is_in_the_files() -> None:
    """Of Kubernetes, Compose and the image; HTTPS is allowed without an option."""
    options = (
        *("--target", "kubernetes", "--target", "compose", "--port", "8080", "--name", "shop"),
        *("--egress", "6379", "--egress", "5432", "--egress", "5432", "--egress", "443"),
        *("--replicas", "3", "--cpu", "250m", "--memory", "1Gi:2Gi", "--image", "x:1"),
        *("--base", "python:3.12-slim", "--install", ".[a] hive_boot", "--env", "A=b=c"),
        *("--command", "serve 'a b'", "--writable", "/data/", "--context", "a/", "--copy", "b/"),
    )
    assert manifests("worker", *options, "--write") == 0
    spec = yaml.safe_load(Path("deploy/k8s/deployment.yaml").read_text())["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert (spec["replicas"], container["name"], container["image"]) == (3, "shop", "x:1")
    resources = container["resources"]
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == ("250m", "250m")
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("1Gi", "2Gi")
    assert {"name": "A", "value": "b=c"} in container["env"]
    policy = yaml.safe_load(Path("deploy/k8s/networkpolicy.yaml").read_text())["spec"]
    ports = [each["port"] for rule in policy["egress"] for each in rule["ports"]]
    assert ports == [53, 53, 443, 5432, 6379]
    compose = yaml.safe_load(Path("deploy/docker-compose.yml").read_text())["services"]["shop"]
    assert (compose["image"], compose["mem_limit"]) == ("x:1", "2g")
    assert [each["target"] for each in compose["volumes"]] == ["/data"]
    image = Path("deploy/Dockerfile").read_text()
    for line in (
        "FROM python:3.12-slim\n",
        "--no-cache-dir .[a] hive_boot ",
        'ENTRYPOINT ["serve", "a b"]\n',
        '["/source/b", "./b"]\n',
    ):
        assert line in image
    assert {"!a", "!b", "!tests"} <= {*Path(".dockerignore").read_text().splitlines()}


def test_a_directory_that_is_given_twice_is_mounted_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kubernetes rejects a pod with two volumes at one path."""
    twice = ("--writable", "/data", "--writable", "/data/")
    assert manifests("worker", "--target", "kubernetes", *twice) == 0
    assert capsys.readouterr().out.count("mountPath: /data\n") == 1


def test_a_secret_set_is_enough_for_the_table_of_a_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A library's declaration has a table too."""
    assert manifests("WorkerSecrets", "--target", "markdown") == 0
    assert "# The secrets of worker" in capsys.readouterr().out


def test_the_version_of_a_set_is_provided_like_a_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its key is mounted beside the values, also where the keys are listed one by one."""
    app, command = "tests.cli.keys:Versioned", ("--command", "hive-boot run tests.cli.keys:boot")
    targets = ("--target", "kubernetes", "--target", "systemd", "--target", "env-example")
    assert main(["manifests", app, *targets, *command, "--port", "8000", "--json"]) == 0
    found = {each["path"]: each["text"] for each in json.loads(capsys.readouterr().out)["files"]}
    deployment = yaml.safe_load(found["deploy/k8s/deployment.yaml"])
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    item = {"key": "secrets-version", "path": "secrets-version"}
    assert item in volumes["secrets"]["secret"]["items"]
    assert "secrets-version" in yaml.safe_load(found["deploy/k8s/secret.yaml"])["stringData"]
    (unit,) = [text for path, text in found.items() if path.endswith(".service")]
    assert "\nLoadCredential=secrets-version:/" in unit
    assert "\nSECRETS_VERSION=\n" in found[".env.example"]


def test_the_build_has_the_module_of_the_application(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package is a directory, and a module is a file."""
    assert manifests("worker", "--target", "compose") == 0
    assert "\n!tests\n" in capsys.readouterr().out
    Path("single_shop.py").write_text("from tests.cli.deployed import worker\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    try:
        assert main(["manifests", "single_shop:worker", "--target", "compose"]) == 0
    finally:
        sys.modules.pop("single_shop", None)
    assert "\n!single_shop.py\n" in capsys.readouterr().out


def test_the_header_renders_the_same_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever copies the command out of a file gets that file."""
    options = (
        *("--target", "compose", "--port", "8080", "--image", "x:1", "--base", "python:3.12-slim"),
        *("--command", "hive-boot run a:b --name 'x y'", "--install", ".[a] b", "--name", "shop"),
        *("--use", "TOKEN", "--egress", "5432", "--egress", "443"),
        *("--replicas", "3", "--cpu", "250m", "--memory", "1Gi:2Gi"),
        *("--env", "A=b c", "--writable", "/data/", "--context", "a/", "--copy", "b"),
    )
    assert manifests("served", *options, "--write") == 0
    lines = Path("deploy/Dockerfile").read_text().splitlines()
    command = " ".join(line[1:].strip() for line in lines[1 : lines.index("#")])
    words = shlex.split(command)
    assert words[:2] == ["hive-boot", "manifests"]
    assert words[-1] == "--write"
    capsys.readouterr()
    assert main([*words[1:-1], "--check"]) == 0, capsys.readouterr().out


def test_a_job_that_waits_is_rendered_with_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    """Its targets have the job of the same name; its header has the options."""
    options = ("--target", "kubernetes", *SERVED, "--fleet-wait", "http://prometheus:9090")
    assert manifests("versioned", *options, "--fleet-stage", "quiet", "--write") == 0
    text = Path("deploy/k8s/fleet-wait.yaml").read_text()
    assert "--fleet-wait http://prometheus:9090 --fleet-stage quiet" in text.replace(
        "\n#        ", ""
    )
    (waiter,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    position = waiter["args"].index("--selector")
    assert waiter["args"][position + 1] == 'job="versioned"'
    capsys.readouterr()
    assert manifests("versioned", *options, "--fleet-stage", "quiet", "--check") == 0


def test_a_template_of_the_operator_wins(capsys: pytest.CaptureFixture[str]) -> None:
    """The header renders the same again, with the option."""
    Path("own").mkdir()
    Path("own/SECRETS.md.j2").write_text("{{ header }}\n{{ app.name | markdown }}\n")
    options = ("--target", "markdown", "--templates", "own")
    assert manifests("worker", *options, "--write") == 0
    lines = Path("SECRETS.md").read_text().splitlines()
    assert lines[-1] == "worker"
    assert "--templates own --write" in lines[1]
    assert manifests("worker", *options, "--check") == 0
    assert manifests("worker", *options[:2], "--check") == 1
    capsys.readouterr()


def test_a_template_that_cannot_be_used_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 64 without such a directory; 1 for a wrong file in it, and without jinja2."""
    options = ("--target", "markdown", "--templates")
    Path("own").mkdir()
    Path("own/secrets.md").touch()
    for place, status, data in (
        ("nowhere", 64, "nowhere"),
        ("own/secrets.md", 64, "Not a directory"),
        ("own", 1, "docker-compose.yml.j2"),
    ):
        assert manifests("worker", *options, place, "--write") == status
        assert data in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert manifests("worker", "--target", "compose") == 1
    assert capsys.readouterr().err.endswith("pip install 'hive_boot[deploy]'\n")
    assert not Path("SECRETS.md").exists()


def test_the_files_of_the_example_are_as_its_declaration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``make manifests`` would change nothing in the repository."""
    recipe = (
        (ROOT / "Makefile").read_text("utf-8").partition("\nmanifests:")[2].partition("\n\n")[0]
    )
    words = shlex.split(recipe.partition("\n\t")[2].replace("\\\n", " "))
    assert words[:3] == ["@$(venv)/bin/hive-boot", "manifests", "examples.hive.app:boot"]
    assert words[-1] == "--write"
    assert main([*words[1:-1], "--check", str(ROOT)]) == 0, capsys.readouterr().out
