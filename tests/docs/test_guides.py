"""The pages of docs/guides: transcripts are replayed, files are checked by the tools of others."""

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.reading import read_page
from tests.docs.terminal import Block, blocks_of, same, walk_through
from tests.manifests.test_checkers import call, compose_config
from tests.support import ROOT

GUIDES = ROOT / "docs" / "guides"

PAGES = sorted(path.name for path in GUIDES.glob("*.md"))

REPLAYED = [name for name in PAGES if "```console\n" in read_page(f"docs/guides/{name}")]

TEXT = {name: read_page(f"docs/guides/{name}") for name in PAGES}


@pytest.mark.parametrize("name", REPLAYED)
def test_the_output_is_as_shown(name: str, tmp_path: Path) -> None:
    """The programs of a page, run in order, show exactly what it shows, except durations."""
    for shown, real in walk_through(TEXT[name], tmp_path):
        assert same(real) == same(shown)


def schema(name: str) -> Callable[[Path, Path], None]:
    """Return a check of files by a schema that comes with check-jsonschema."""

    def check(file: Path, place: Path) -> None:
        done = call("check-jsonschema", "--builtin-schema", f"vendor.{name}", str(file), cwd=place)
        assert done.returncode == 0, done.stdout + done.stderr

    return check


def compose(file: Path, place: Path) -> None:
    """Check a file by the schema of Compose, and as ``docker compose config`` reads it."""
    schema("compose-spec")(file, place)
    done = compose_config(place, file=file.name)
    assert done.returncode == 0, done.stderr


FOREIGN = {
    "ExternalSecret": "external-secrets.io/v1",
    "SecretProviderClass": "secrets-store.csi.x-k8s.io/v1",
}
"""Kinds that Kubernetes does not define; each has the version of its project."""


def kubernetes(file: Path, place: Path) -> None:
    """Check manifests by the schemas of Kubernetes, and those of other projects as YAML."""
    documents = list(yaml.safe_load_all(file.read_text("utf-8")))
    own = [each for each in documents if each["kind"] not in FOREIGN]
    for each in documents:
        if each not in own:
            assert each["apiVersion"] == FOREIGN[each["kind"]]
            assert each["metadata"]["name"]
            assert each["spec"]
    if own:
        checked = file.with_suffix(".own.yaml")
        checked.write_text(yaml.safe_dump_all(own), "utf-8")
        done = call("kubernetes-validate", "--strict", str(checked), cwd=place)
        assert done.returncode == 0, done.stdout + done.stderr


OVERLAYS = [
    ("csi", ["csi"], "/run/secrets/hive"),
    ("agent", None, "/vault/secrets"),
    ("reloader", ["secret"], "/run/secrets/hive"),
]
"""The overlays: the type of the volume with the secrets, and the directory."""


def overlay(file: Path, place: Path) -> None:
    """Apply an overlay to the rendered manifests of the repository, and check the result."""
    shutil.copytree(ROOT / "deploy", place / "deploy")
    done = call("kubectl", "kustomize", str(file.parent), cwd=place)
    assert done.returncode == 0, done.stderr
    result = place / "k8s" / "result.yaml"
    result.parent.mkdir()
    result.write_text(done.stdout, "utf-8")
    kubernetes(result, place)
    (pod,) = [
        each["spec"]["template"]["spec"]
        for each in yaml.safe_load_all(done.stdout)
        if each["kind"] == "Deployment"
    ]
    volumes = {volume.pop("name"): list(volume) for volume in pod["volumes"]}
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    (directory,) = [
        each["value"] for each in container["env"] if each["name"] == "HIVE_BOOT_SECRETS_DIR"
    ]
    assert (file.parent.name, volumes.get("secrets"), directory) in OVERLAYS


def cloud_run(file: Path, place: Path) -> None:
    """Check a service of Cloud Run, whose template is that of a pod of Kubernetes."""
    service = yaml.safe_load(file.read_text("utf-8"))
    assert service.keys() == {"apiVersion", "kind", "metadata", "spec"}
    for container in service["spec"]["template"]["spec"]["containers"]:
        container["name"] = "shop"
        container["startupProbe"]["httpGet"]["port"] = 8080
    pod = {"apiVersion": "v1", "kind": "Pod", **service["spec"]["template"]}
    file.write_text(yaml.safe_dump({**pod, "metadata": service["metadata"]}), "utf-8")
    kubernetes(file, place)


def task_definition(file: Path, _: Path) -> None:
    """Check the names of a task definition of ECS, which is JSON."""
    (container,) = json.loads(file.read_text("utf-8"))["containerDefinitions"]
    assert container.keys() == {"name", "image", "stopTimeout", "environment", "secrets"}
    assert [each.keys() for each in container["secrets"]] == [{"name", "valueFrom"}]


def fly(file: Path, _: Path) -> None:
    """Check that the configuration of Fly.io is TOML."""
    assert tomllib.loads(file.read_text("utf-8"))["env"]["HIVE_BOOT_MODE"] == "environment"


def nomad(file: Path, place: Path) -> None:
    """Check that a job of Nomad is HCL."""
    done = call("hcl2tojson", str(file), cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job"]


def dockerfile(file: Path, place: Path) -> None:
    """Check a Dockerfile by hadolint."""
    done = call("hadolint", "--no-color", str(file), cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr


def unit(file: Path, place: Path) -> None:
    """Check a unit by systemd, with a program that exists."""
    file.write_text(re.sub(r"(?m)^(ExecStart\w*)=\S+", r"\1=/bin/true", file.read_text("utf-8")))
    done = call("systemd-analyze", "verify", "--man=no", str(file), cwd=place)
    lines = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, lines) == (0, [])


CHECKS: dict[str, Callable[[Path, Path], None]] = {
    r"docker-compose[\w.-]*\.yml": compose,
    r"\.github/workflows/\w+\.yml": schema("github-workflows"),
    r"\.gitlab-ci\.yml": schema("gitlab-ci"),
    r"k8s/[\w-]+\.yaml": kubernetes,
    r"\w+/kustomization\.yaml": overlay,
    r"service\.yaml": cloud_run,
    r"json": task_definition,
    r"fly\.toml": fly,
    r"[\w.]+\.hcl": nomad,
    r"Dockerfile": dockerfile,
    r"[\w-]+\.(service|socket)": unit,
}
"""The files that a test cannot run, by a pattern of their names."""

OPENED = {".py", ".sh", ".toml", ".env"}
"""Suffixes of files that the programs of a page read."""


def check_of(block: Block) -> Callable[[Path, Path], None] | None:
    """Return the check of a block, or None."""
    file = block.file or block.language  # JSON has no comments
    found = [check for name, check in CHECKS.items() if re.fullmatch(name, file)]
    return found[0] if found else None


def checked_blocks() -> Iterator[tuple[str, Block]]:
    """Return the blocks that a tool checks, each with its page."""
    for name, text in TEXT.items():
        for block in blocks_of(text):
            if check_of(block):
                yield name, block


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{name} {block.file or block.language}")
        for name, block in checked_blocks()
    ],
)
def test_a_file_is_valid(block: Block, tmp_path: Path) -> None:
    """The tools that read such a file accept it."""
    check = check_of(block)
    assert check
    file = tmp_path / (block.file or block.language)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, "utf-8")
    check(file, tmp_path)


SERVERS = {"clients.md", "into-fastapi.md"}
"""Pages whose programs tests/recipes runs, with their servers."""

COMMANDS = r"(docker|kubectl|kubeseal|systemctl|systemd-creds|hive-boot|openssl|install)\b"
"""The commands in the blocks of a shell: those of tools that are not on every machine."""


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_tried(name: str) -> None:
    """A block is a transcript, a file that a program or a tool reads, or commands of tools."""
    page = TEXT[name]
    blocks = blocks_of(page)
    assert 2 * len(blocks) == len(re.findall(r"^ *```", page, re.MULTILINE))
    for block in blocks:
        if block.language == "console" or check_of(block):
            continue
        if block.language == "sh" and not block.file:
            lines = block.text.replace("\\\n", " ").splitlines()
            assert all(re.match(COMMANDS, line.rpartition("| ")[2]) for line in lines), block
        else:
            assert Path(block.file).suffix in OPENED, block
            assert name in REPLAYED or name in SERVERS, block


@pytest.mark.parametrize(
    "page", [*PAGES, "../tutorial.md", "../faq.md", "../../examples/README.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file of the repository, with the heading that it names."""
    path = GUIDES / page
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file) if file else path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors_of(linked.read_text("utf-8")), target


def anchors_of(text: str) -> set[str]:
    """Return the anchors that a code host makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_symptoms_are_messages_of_the_package() -> None:
    """A quoted sentence in a table of symptoms is one of a report, or of the detection."""
    known = [path.read_text("utf-8") for path in (ROOT / "tests" / "golden").glob("*.txt")]
    known += [path.read_text("utf-8") for path in (ROOT / "hive_boot").rglob("*.py")]
    known.append(read_page("docs/platforms.md"))
    symptoms = re.findall(r"^\| ([^|]*) \|", "".join(TEXT.values()), re.MULTILINE)
    quoted = [text for symptom in symptoms if "exit 78" in symptom for text in _quoted(symptom)]
    assert len(quoted) > 2
    for text in quoted:
        assert " " not in text or any(text in each for each in known), text


def _quoted(text: str) -> list[str]:
    """Return the code spans of a text, without the profile before a reason."""
    return [re.sub(r"production \((.*)\)", r"\1", each) for each in re.findall(r"`(.*?)`", text)]


def test_every_guide_is_listed() -> None:
    """The index has every page once."""
    listed = re.findall(r"\]\(([\w-]+\.md)\)", TEXT["index.md"])
    assert sorted([*listed, "index.md"]) == PAGES
