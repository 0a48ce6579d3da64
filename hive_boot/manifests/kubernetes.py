"""Kubernetes manifests."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

from hive_boot.manifests.deployment import PRE_STOP, USER
from hive_boot.manifests.documents import (
    command,
    comment,
    dedented_lines,
    header,
    join_lines,
    quoted,
)
from hive_boot.secrets.value import placeholder

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment, SecretItem


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


_PERIOD = 2
"""Seconds between two questions whether it has started."""


def render(deployment: Deployment) -> str:
    """Render ``deployment.yaml``."""
    return join_lines(
        head(
            deployment,
            "It passes the restricted Pod Security Standard. What is yours (replicas, resources, "
            "a namespace, the image) belongs into an overlay of kustomize.",
        ),
        meta(deployment, "apps/v1", "Deployment"),
        dedented_lines(
            f"""
            spec:
              replicas: 2
              revisionHistoryLimit: 3
              selector:
                matchLabels:
                  {labels(deployment)}
              strategy:
                type: RollingUpdate
                rollingUpdate:
                  maxSurge: 1
                  maxUnavailable: 0
              template:
                metadata:
                  labels:
                    {labels(deployment)}
                spec:
                  automountServiceAccountToken: false
                  # Else every Service of the namespace would be a handful of variables here.
                  enableServiceLinks: false
                  # preStop, shutdown delay, shutdown timeout, and one second.
                  terminationGracePeriodSeconds: {deployment.grace(kubernetes=True)}
                  securityContext:
                    runAsNonRoot: true
                    runAsUser: {USER}
                    runAsGroup: {USER}
                    # With it the kubelet makes the secrets' 0400 a 0440 of this group.
                    fsGroup: {USER}
                    fsGroupChangePolicy: OnRootMismatch
                    seccompProfile:
                      type: RuntimeDefault
                  topologySpreadConstraints:
                    - maxSkew: 1
                      topologyKey: kubernetes.io/hostname
                      whenUnsatisfiable: ScheduleAnyway
                      labelSelector:
                        matchLabels:
                          {labels(deployment)}
                  containers:
                    - name: {deployment.name}
                      image: {quoted(deployment.image)}
                      imagePullPolicy: IfNotPresent
                      securityContext:
                        allowPrivilegeEscalation: false
                        readOnlyRootFilesystem: true
                        capabilities:
                          drop: [ALL]
            """
        ),
        _environment(deployment),
        _ports(deployment),
        _probes(deployment),
        dedented_lines(
            f"""
            # While the Service forgets the pod it goes on; then comes SIGTERM. From 1.30 on.
            lifecycle:
              preStop:
                sleep:
                  seconds: {PRE_STOP}
            # The report of a failed start is what kubectl describe pod shows.
            terminationMessagePolicy: FallbackToLogsOnError
            resources:
              requests:
                cpu: 100m
                memory: 128Mi
                ephemeral-storage: 64Mi
              limits:
                cpu: "1"
                memory: 512Mi
                ephemeral-storage: 256Mi
            volumeMounts:
              - name: secrets
                mountPath: {deployment.directory}
                readOnly: true
              - name: tmp
                mountPath: /tmp
            """,
            10,
        ),
        _mounts(deployment),
        "      volumes:",
        _volume(deployment),
        _written(deployment),
    )


def _environment(deployment: Deployment) -> list[str]:
    env = {
        "HIVE_BOOT_MODE": "kubernetes",
        "HIVE_BOOT_PROFILE": "production",
        "HIVE_BOOT_SECRETS_DIR": deployment.directory,
        **deployment.env,
    }
    lines = ["          env:"]
    for name, value in env.items():
        # Kubernetes would expand $(NAME), and takes $$ for a dollar sign.
        lines += [
            f"            - name: {quoted(name)}",
            f"              value: {quoted(value, dollar='$$')}",
        ]
    return lines


def _ports(deployment: Deployment) -> list[str]:
    lines = ["          ports:"]
    for name, port in (("http", deployment.port), ("probes", deployment.probe_port)):
        if port is not None:
            lines += [f"            - name: {name}", f"              containerPort: {port}"]
    return lines


def _probes(deployment: Deployment) -> list[str]:
    port = "http" if deployment.probe_port is None else "probes"
    failures = math.ceil(deployment.start_seconds / _PERIOD) + 5
    return dedented_lines(
        f"""
        # The start may take {deployment.start_seconds} s; until then nobody asks the others.
        startupProbe:
          httpGet:
            path: /startupz
            port: {port}
          periodSeconds: {_PERIOD}
          timeoutSeconds: 2
          failureThreshold: {failures}
        readinessProbe:
          httpGet:
            path: /readyz
            port: {port}
          periodSeconds: 5
          timeoutSeconds: 2
          failureThreshold: 2
        # It tells that the loop turns, and never depends on secrets.
        livenessProbe:
          httpGet:
            path: /livez
            port: {port}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 3
        """,
        10,
    )


def _mounts(deployment: Deployment) -> list[str]:
    lines = []
    for at, path in enumerate(deployment.writable):
        lines += [f"            - name: {_name(at)}", f"              mountPath: {quoted(path)}"]
    return lines


def _volume(deployment: Deployment) -> list[str]:
    lines = dedented_lines(
        f"""
        - name: secrets
          secret:
            secretName: {deployment.object_name}
            # Without it the pod would start with nothing in this place.
            optional: false
            defaultMode: 0400
        """,
        8,
    )
    if any(item.renamed for item in deployment.items):
        lines += [
            "            # Not every file's name can be a key, so each is named here, and has",
            "            # to be in the Secret.",
            "            items:",
        ]
        for item in deployment.required("production"):
            lines += _item(item)
        for item in deployment.optional("production"):
            lines += [f"              # {line[14:]}" for line in _item(item)]
    return lines


def _item(item: SecretItem) -> list[str]:
    return [
        f"              - key: {quoted(item.key)}",
        f"                path: {quoted(item.file)}",
    ]


def _written(deployment: Deployment) -> list[str]:
    lines = dedented_lines(
        """
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
        """,
        8,
    )
    for at, _ in enumerate(deployment.writable):
        lines += dedented_lines(
            f"""
            # What is written here goes with the pod. To keep it, claim a volume in an overlay.
            - name: {_name(at)}
              emptyDir:
                sizeLimit: 128Mi
            """,
            8,
        )
    return lines


def _name(at: int) -> str:
    return f"data{at + 1 if at else ''}"


def files(deployment: Deployment) -> dict[str, str]:
    """Render what lies in ``deploy/k8s``, by file name."""
    made = {
        "deployment.yaml": render(deployment),
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
