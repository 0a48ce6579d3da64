"""Docker files: Dockerfile, .dockerignore and Compose file."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from hive_boot.manifests.deployment import USER
from hive_boot.manifests.documents import (
    comment,
    dedented_lines,
    header,
    join_lines,
    json_array,
    quoted,
)

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment, SecretItem
    from hive_boot.secrets.fields import Profile

_CONTEXT = ("pyproject.toml", "README.md", "LICENSE", "src")
"""What a build of a Python project needs, where it is there."""


_NEVER = [
    "# And these even there.",
    *("**/.env", "**/.env.*", "**/.git", "**/.venv", "**/__pycache__"),
    *("**/*.db", "**/*.key", "**/*.pem"),
]


_PIP = "pip>=25.1"
"""The first that knows dependency groups; it stays in the stage that builds."""


def dockerfile(deployment: Deployment) -> str:
    """Render ``deploy/Dockerfile``."""
    return join_lines(
        header(
            deployment,
            "compose",
            "What the build sees is listed in .dockerignore, so no secret is in any layer: they "
            "are mounted at run time, and nothing here takes a build argument for one.",
        ),
        "",
        _builder(deployment),
        "",
        _runtime(deployment),
    )


def _builder(deployment: Deployment) -> list[str]:
    lines = [
        *dedented_lines(
            f"""
            FROM {deployment.base} AS build
            # pip gets an environment of its own, and the application one without it.
            RUN python3 -m venv /pip \\
             && /pip/bin/pip install --no-cache-dir --quiet '{_PIP}' \\
             && python3 -m venv --without-pip /venv
            WORKDIR /source
            COPY . .
            """
        )
    ]
    steps = [f"/pip/bin/pip --python /venv/bin/python install --no-cache-dir {deployment.install}"]
    if deployment.copies:
        lines.append(
            "# Later nothing can be written here, so what Python compiles is compiled now."
        )
        steps.append(f"/venv/bin/python -m compileall -q {shlex.join(deployment.copies)}")
    if deployment.writable:
        places = shlex.join(f"/writable{path}" for path in deployment.writable)
        steps.append(f"install -d -m 0700 {places}")
    lines.append(f"RUN {_folded(steps, ' && ')}")
    return lines


def _runtime(deployment: Deployment) -> list[str]:
    lines = [
        f"FROM {deployment.base}",
        *comment("PYTHONUNBUFFERED: a line of the log is there when it is written."),
        "ENV PATH=/venv/bin:$PATH \\",
        "    PYTHONDONTWRITEBYTECODE=1 \\",
        "    PYTHONUNBUFFERED=1",
    ]
    if deployment.env:
        settings = [f"{name}={_value(value)}" for name, value in deployment.env.items()]
        lines.append(f"ENV {_folded(settings, '    ')}")
    lines += ["COPY --from=build /venv /venv", "WORKDIR /app"]
    for path in deployment.copies:
        lines.append(f"COPY --from=build {json_array((f'/source/{path}', f'./{path}'))}")
    for path in deployment.writable:
        paths = json_array((f"/writable{path}", path))
        lines.append(f"COPY --from=build --chown={USER}:{USER} {paths}")
    lines += [
        *comment("A number: Kubernetes verifies runAsNonRoot by it."),
        f"USER {USER}:{USER}",
    ]
    probed = deployment.probe_port or deployment.port
    lines += [f"EXPOSE {port}" for port in ports_of(deployment)]
    period = f"--start-period={deployment.start_seconds}s"
    probe = json_array(("hive-boot", "probe", "--port", str(probed)))
    lines += [
        f"HEALTHCHECK --interval=10s --timeout=5s {period} --retries=3 \\",
        f"    CMD {probe}",
        *comment("No shell and no init: signals come to Python itself, which is process 1."),
        f"ENTRYPOINT {json_array(deployment.command)}",
    ]
    return lines


def ports_of(deployment: Deployment) -> list[int]:
    """Give the ports that are listened at."""
    ports = (deployment.port, deployment.probe_port)
    return list(dict.fromkeys(port for port in ports if port is not None))


def dockerignore(deployment: Deployment) -> str:
    """Render ``.dockerignore``: nothing is sent to a build but what is listed."""
    allowed = list(dict.fromkeys([*_CONTEXT, *deployment.context, *deployment.copies]))
    packages = [path for path in allowed if "secrets" in path.split("/")]
    return join_lines(
        header(
            deployment,
            "compose",
            "Everything is kept out, and what the image is made of is let in: a file that nobody "
            "thought of, a .env, a key, cannot end in a layer.",
        ),
        "*",
        [f"!{_pattern(path)}" for path in allowed if path not in packages],
        "",
        "# Kept out wherever it lies; a package of this name is let in by --context.",
        "**/secrets",
        [f"!{_pattern(path)}" for path in packages],
        "",
        _NEVER,
    )


def _pattern(path: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", path.strip("/"))


def _folded(parts: list[str], indent: str) -> str:
    """Give one instruction in several lines."""
    return f" \\\n{indent}".join(parts)


def _value(text: str) -> str:
    if re.fullmatch(r"[\w./:@,-]+", text, re.ASCII):
        return text
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


_ROTATION = (
    "To rotate, write to the file in place, as hive-boot rotate does: a container goes on seeing "
    "the file that it was started with, and would not see another that took its name."
)


def development(deployment: Deployment) -> str:
    """Render ``docker-compose.yml``."""
    about = (
        "For development: docker compose up --build. What is yours alone belongs into "
        "docker-compose.override.yml, which Compose reads by itself."
    )
    return _file(deployment, "development", about, context=".", secrets="./secrets")


def production(deployment: Deployment) -> str:
    """Render ``deploy/docker-compose.yml``."""
    about = (
        f"For production: docker compose --file deploy/docker-compose.yml up --detach. {_ROTATION}"
    )
    return _file(deployment, "production", about, context="..", secrets="./secrets")


def _file(
    deployment: Deployment, profile: Profile, about: str, *, context: str, secrets: str
) -> str:
    where = (
        f"The secrets are files in {secrets} beside this file, each 0444 in a directory 0700: "
        "hive-boot migrate writes them so."
    )
    return join_lines(
        header(deployment, "compose", about, where),
        f"name: {deployment.name}{'' if profile == 'production' else f'-{profile}'}",
        "",
        "services:",
        f"  {deployment.name}:",
        _service(deployment, profile, context),
        _mounted(deployment, profile),
        _volumes(deployment),
        _sources(deployment, profile, secrets),
    )


def _service(deployment: Deployment, profile: Profile, context: str) -> list[str]:
    lines = dedented_lines(
        f"""
        image: {quoted(deployment.image, dollar="$$")}
        build:
          context: {context}
          dockerfile: deploy/Dockerfile
        user: "{USER}:{USER}"
        read_only: true
        cap_drop: [ALL]
        security_opt: ["no-new-privileges:true"]
        tmpfs:
          - /tmp:mode=1777,size=64m
        environment:
          HIVE_BOOT_MODE: docker
          HIVE_BOOT_PROFILE: {profile}
        """,
        4,
    )
    for name, value in deployment.env.items():
        lines.append(f"      {quoted(name)}: {quoted(value, dollar='$$')}")
    ports = [port for port in ports_of(deployment) if port == deployment.port]
    if ports:
        lines += [
            "    ports:",
            "      # To this machine alone; what faces the world stands before it.",
        ]
        lines += [f'      - "127.0.0.1:{port}:{port}"' for port in ports]
    if deployment.writable:
        lines.append("    volumes:")
        for at, path in enumerate(deployment.writable):
            lines += [
                "      - type: volume",
                f"        source: {_volume(at)}",
                f"        target: {quoted(path, dollar='$$')}",
            ]
    probed = deployment.probe_port or deployment.port
    lines += dedented_lines(
        f"""
        healthcheck:
          test: [CMD, hive-boot, probe, --port, "{probed}"]
          interval: 10s
          timeout: 5s
          start_period: {deployment.start_seconds}s
          retries: 3
        """,
        4,
    )
    lines += [
        "    # What a stop may take, and a second.",
        f"    stop_grace_period: {deployment.grace()}s",
    ]
    if profile == "production":
        lines += dedented_lines(
            """
            # Also after a start of the machine. A start that fails is tried again later and later.
            restart: unless-stopped
            mem_limit: 512m
            pids_limit: 256
            logging:
              driver: local
            """,
            4,
        )
    return lines


def _mounted(deployment: Deployment, profile: Profile) -> list[str]:
    """Give what the service is given."""
    required, optional = deployment.required(profile), deployment.optional(profile)
    if not required and not optional:
        return []
    lines = ["    secrets:" if required else "    # secrets:"]
    for item in required:
        lines += _mount(item, _compose_name(deployment, item))
    if optional:
        lines.append(
            "      # Optional. To use one, make its file, and render this with --use NAME."
        )
    for item in optional:
        lines += [f"      # {line[6:]}" for line in _mount(item, _compose_name(deployment, item))]
    return lines


def _compose_name(deployment: Deployment, item: SecretItem) -> str:
    """Name a secret: what begins with ``x-`` is no secret to Compose, but an extension."""
    taken = {each.key for each in deployment.items}
    name = item.key
    while name.startswith("x-") or (name != item.key and name in taken):
        name = f"_{name}"
    return name


def _mount(item: SecretItem, name: str) -> list[str]:
    if name == item.file:
        return [f"      - {quoted(name)}"]
    target = quoted(f"/run/secrets/{item.file}", dollar="$$")
    return [f"      - source: {quoted(name)}", f"        target: {target}"]


def _volumes(deployment: Deployment) -> list[str]:
    if not deployment.writable:
        return []
    return ["", "volumes:", *(f"  {_volume(at)}: {{}}" for at, _ in enumerate(deployment.writable))]


def _volume(at: int) -> str:
    return f"data{at + 1 if at else ''}"


def _sources(deployment: Deployment, profile: Profile, directory: str) -> list[str]:
    """Give where the secrets come from."""
    required, optional = deployment.required(profile), deployment.optional(profile)
    if not required and not optional:
        return []
    lines = ["", "secrets:" if required else "# secrets:"]
    for item in required:
        lines += [
            *comment(item.about, 2),
            *_source(item, _compose_name(deployment, item), directory),
        ]
    for item in optional:
        lines += [
            *comment(item.about, 2),
            *(
                f"  # {line[2:]}"
                for line in _source(item, _compose_name(deployment, item), directory)
            ),
        ]
    return lines


def _source(item: SecretItem, name: str, directory: str) -> list[str]:
    file = quoted(f"{directory}/{item.file}", dollar="$$")
    return [f"  {quoted(name)}:", f"    file: {file}"]
