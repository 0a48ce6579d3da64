"""What every object of Kubernetes begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.manifests.writing import dedented_lines, header

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment


def head(deployment: Deployment, *about: str) -> list[str]:
    """Give the first lines of a file."""
    return header(deployment, "kubernetes", *about)


def labels(deployment: Deployment) -> str:
    """Give the one label that things of this application are known by."""
    return f"app.kubernetes.io/name: {deployment.name}"


def meta(deployment: Deployment, version: str, kind: str, name: str = "") -> list[str]:
    """Give what begins an object."""
    return dedented_lines(
        f"""
        apiVersion: {version}
        kind: {kind}
        metadata:
          name: {name or deployment.name}
          labels:
            {labels(deployment)}
        """
    )
