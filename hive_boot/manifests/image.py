"""The image: ``Dockerfile``, and the ``.dockerignore`` that keeps secrets out of it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from hive_boot.manifests.deployment import USER
from hive_boot.manifests.writing import comment, dedented_lines, header, join_lines, json_array

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment

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
