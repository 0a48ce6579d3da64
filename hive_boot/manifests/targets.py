"""What can be asked for, and the files that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.manifests import compose, image, kubernetes, papers, systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hive_boot.manifests.deployment import Deployment

SECRET_FILES = frozenset({"deploy/k8s/secret.yaml", ".env.example"})
"""Files in which somebody may have put values, though they are for none."""


def render(deployment: Deployment, targets: Iterable[str]) -> dict[str, str]:
    """Render the files of some targets, by their paths.

    Args:
        deployment: what is deployed.
        targets: among :data:`TARGETS`.
    """
    return {
        path: text
        for target in dict.fromkeys(targets)
        for path, text in TARGETS[target](deployment).items()
    }


def _compose(deployment: Deployment) -> dict[str, str]:
    return {
        "docker-compose.yml": compose.development(deployment),
        "deploy/docker-compose.yml": compose.production(deployment),
        "deploy/Dockerfile": image.dockerfile(deployment),
        ".dockerignore": image.dockerignore(deployment),
    }


def _kubernetes(deployment: Deployment) -> dict[str, str]:
    made = kubernetes.files(deployment)
    return {f"deploy/k8s/{name}": text for name, text in made.items()}


def _systemd(deployment: Deployment) -> dict[str, str]:
    return {f"deploy/systemd/{deployment.name}.service": systemd.unit(deployment)}


TARGETS: dict[str, Callable[[Deployment], dict[str, str]]] = {
    "compose": _compose,
    "kubernetes": _kubernetes,
    "systemd": _systemd,
    "env-example": lambda deployment: {".env.example": papers.env_example(deployment)},
    "markdown": lambda deployment: {"SECRETS.md": papers.field_index(deployment)},
}

PROBED = frozenset({"compose", "kubernetes"})
"""Those that ask the process how it is."""
