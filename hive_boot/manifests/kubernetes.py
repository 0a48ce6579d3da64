"""Kubernetes: what ``kubectl apply -k deploy/k8s`` makes, and the Secret that it does not."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from hive_boot.manifests import pods
from hive_boot.manifests.objects import head, labels, meta
from hive_boot.manifests.writing import command, comment, dedented_lines, join_lines, quoted
from hive_boot.secrets.placeholder import placeholder

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment


def files(deployment: Deployment) -> dict[str, str]:
    """Render what lies in ``deploy/k8s``, by file name."""
    made = {
        "deployment.yaml": pods.render(deployment),
        "poddisruptionbudget.yaml": _budget(deployment),
        "networkpolicy.yaml": _policy(deployment),
    }
    if deployment.port is not None:
        made["service.yaml"] = _service(deployment)
    resources = sorted(made)
    made["secret.yaml"] = _secret(deployment)
    made["kustomization.yaml"] = _kustomization(deployment, resources)
    return made


def _secret(deployment: Deployment) -> str:
    required = deployment.required("production")
    text = [item for item in deployment.items if not item.binary]
    raw = [item for item in deployment.items if item.binary]
    lines: list[str] = []
    for key, items in (("stringData", text), ("data", raw)):
        used = any(item in required for item in items)
        if items:
            lines.append(f"{'' if used else '# '}{key}:")
        for item in items:
            value = placeholder(item.name)
            if item.binary:
                value = base64.b64encode(value.encode()).decode()
            lines += comment(item.about, 2)
            lines.append(f"  {'' if item in required else '# '}{quoted(item.key)}: {quoted(value)}")
    return join_lines(
        head(
            deployment,
            "The shape of the Secret, for reading and for secret managers. No start takes its "
            "placeholders for values, and kustomization.yaml leaves it out: applying it would put "
            "them over the real ones. Never write a value in here: make the Secret from files,",
        ),
        _creation(deployment),
        "# and change it by hive-boot rotate NAME --kubernetes.",
        meta(deployment, "v1", "Secret", deployment.object_name),
        "type: Opaque",
        lines,
    )


def _creation(deployment: Deployment) -> list[str]:
    """Give the command that makes the Secret, without a value in it."""
    items = deployment.required("production")
    files = [f"--from-file={item.key}=secrets/{item.file}" for item in items]
    if not any(item.renamed for item in deployment.items):
        files = ["--from-file=secrets/"]
    return command(["kubectl", "create", "secret", "generic", deployment.object_name, *files])


def _service(deployment: Deployment) -> str:
    return join_lines(
        head(deployment),
        meta(deployment, "v1", "Service"),
        dedented_lines(
            f"""
            spec:
              type: ClusterIP
              selector:
                {labels(deployment)}
              ports:
                - name: http
                  port: 80
                  targetPort: http
            """
        ),
    )


def _budget(deployment: Deployment) -> str:
    return join_lines(
        head(deployment),
        meta(deployment, "policy/v1", "PodDisruptionBudget"),
        dedented_lines(
            f"""
            spec:
              maxUnavailable: 1
              # A pod that was never ready must not keep a node from being drained.
              unhealthyPodEvictionPolicy: AlwaysAllow
              selector:
                matchLabels:
                  {labels(deployment)}
            """
        ),
    )


def _policy(deployment: Deployment) -> str:
    lines = dedented_lines(
        f"""
        spec:
          podSelector:
            matchLabels:
              {labels(deployment)}
          policyTypes: [Ingress, Egress]
        """
    )
    if deployment.port is None:
        lines += ["  # The kubelet's probes are let in always.", "  ingress: []"]
    else:
        lines += dedented_lines(
            """
            ingress:
              # From the pods of this namespace. What stands before them in another, an ingress
              # controller for one, is let in by a namespaceSelector in an overlay.
              - from:
                  - podSelector: {}
                ports:
                  - port: http
                    protocol: TCP
            """,
            2,
        )
    lines += dedented_lines(
        """
        egress:
          - ports:
              - port: 53
                protocol: UDP
              - port: 53
                protocol: TCP
          # HTTPS to anywhere. A database, or whatever else is called, is added in an overlay.
          - ports:
              - port: 443
                protocol: TCP
        """,
        2,
    )
    return join_lines(
        head(deployment), meta(deployment, "networking.k8s.io/v1", "NetworkPolicy"), lines
    )


def _kustomization(deployment: Deployment, resources: list[str]) -> str:
    return join_lines(
        head(
            deployment,
            "secret.yaml is not listed: it holds placeholders, and to apply them would put them "
            "over the real values. Make the Secret first, as secret.yaml says.",
        ),
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        "resources:",
        [f"  - {name}" for name in resources],
    )
