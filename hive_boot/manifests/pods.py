"""The Deployment: pods that can do little, have their time, and are asked how they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hive_boot.manifests.deployment import PRE_STOP, USER
from hive_boot.manifests.objects import head, labels, meta
from hive_boot.manifests.writing import dedented_lines, join_lines, quoted

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment, SecretItem

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
                  # preStop, drain, stop, and a second.
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
