"""systemd: a unit whose credentials are the secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hive_boot.manifests.documents import comment, dedented_lines, header, join_lines

if TYPE_CHECKING:
    from hive_boot.manifests.deployment import Deployment, SecretItem

_STATE = "/var/lib/"


def unit(deployment: Deployment) -> str:
    """Render ``deploy/systemd/NAME.service``."""
    store = f"/etc/credstore/{deployment.name}"
    return join_lines(
        header(
            deployment,
            "systemd",
            f"It expects the application in /opt/{deployment.name}, with a virtual environment "
            f"/opt/{deployment.name}/.venv, and each secret as a file in {store}, which root alone "
            "can read.",
        ),
        dedented_lines(
            f"""
            [Unit]
            Description={deployment.name}, which boots with hive_boot
            Wants=network-online.target
            After=network-online.target
            StartLimitIntervalSec=300
            StartLimitBurst=5

            [Service]
            Type=notify
            NotifyAccess=main
            WorkingDirectory=/opt/{deployment.name}
            ExecStart={_command(deployment)}
            # It reads again what has changed: SIGHUP is a reload.
            ExecReload=/bin/kill -HUP $MAINPID
            # 78 is a deployment that is wrong, which another start does not mend.
            Restart=on-failure
            RestartSec=2
            RestartPreventExitStatus=78
            KillMode=mixed
            TimeoutStartSec={deployment.start_seconds + 5}
            # What a stop may take, and a second.
            TimeoutStopSec={deployment.grace()}

            Environment=HIVE_BOOT_MODE=systemd
            Environment=HIVE_BOOT_PROFILE=production
            Environment=PYTHONUNBUFFERED=1
            """
        ),
        [_environment(name, value) for name, value in deployment.env.items()],
        "",
        _credentials(deployment, store),
        "",
        _hardening(deployment),
    )


def _command(deployment: Deployment) -> str:
    first, *others = deployment.command
    program = first if first.startswith("/") else f"/opt/{deployment.name}/.venv/bin/{first}"
    return " ".join(_word(word) for word in (program, *others))


def _word(word: str) -> str:
    """Quote a word of a command, in which systemd expands variables."""
    return _quoted(word.replace("$", "$$"))


def _environment(name: str, value: str) -> str:
    return f"Environment={_quoted(f'{name}={value}')}"


def _quoted(text: str) -> str:
    text = _value(text)
    if re.fullmatch(r"[\w./:=@,+%$-]+", text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _value(text: str) -> str:
    """Give a text as it may stand after a ``=``: ``%`` begins a specifier."""
    return text.replace("%", "%%")


def _credentials(deployment: Deployment, store: str) -> list[str]:
    lines = []
    for item in deployment.required("production"):
        lines += [*comment(item.about), *_credential(item, store)]
    optional = deployment.optional("production")
    if optional:
        lines.append("# Optional. To use one, make its file, and render this with --use NAME.")
    for item in optional:
        lines += [*comment(item.about), *(f"# {line}" for line in _credential(item, store))]
    return lines


def _credential(item: SecretItem, store: str) -> list[str]:
    lines = [f"LoadCredential={item.key}:{store}/{_credential_file_name(item)}"]
    if item.renamed:
        # A credential cannot be called as the file is, so a variable says where it is.
        lines.append(f"Environment={item.name}_FILE=%d/{item.key}")
    return lines


def _credential_file_name(item: SecretItem) -> str:
    """Give what a file in the store is called: what migrate and rotate call it, if a line can."""
    file = item.file
    return _value(file) if file.isprintable() and file == file.strip("\\ ") else item.key


def _hardening(deployment: Deployment) -> list[str]:
    lines = dedented_lines(
        """
        DynamicUser=yes
        UMask=0077
        CapabilityBoundingSet=
        LockPersonality=yes
        # Not for a library that makes code while it runs.
        MemoryDenyWriteExecute=yes
        NoNewPrivileges=yes
        PrivateDevices=yes
        PrivateTmp=yes
        PrivateUsers=yes
        ProcSubset=pid
        ProtectClock=yes
        ProtectControlGroups=yes
        ProtectHome=yes
        ProtectHostname=yes
        ProtectKernelLogs=yes
        ProtectKernelModules=yes
        ProtectKernelTunables=yes
        ProtectProc=invisible
        ProtectSystem=strict
        RemoveIPC=yes
        RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes
        SystemCallArchitectures=native
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged @resources
        SystemCallErrorNumber=EPERM
        """
    )
    for path in deployment.writable:
        below = path.removeprefix(_STATE)
        if path != below and re.fullmatch(r"[\w.-]+", below):
            lines += [f"StateDirectory={below}", "StateDirectoryMode=0700"]
        else:
            lines.append(f"ReadWritePaths={_quoted(path)}")
    return [*lines, "", "[Install]", "WantedBy=multi-user.target"]
