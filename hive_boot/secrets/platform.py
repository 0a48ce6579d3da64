"""Platform detection: mode, profile and source directories, each with its reason."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from hive_boot import secrets
from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError, InvalidSecretsError, Problem
from hive_boot.redaction import conceal
from hive_boot.secrets.fields import PROFILES, Field, FieldIndex, as_list, parse_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Literal, TypeAlias

    from hive_boot.secrets.fields import Profile
    from hive_boot.secrets.sources.files import FifoReader

    Mode = Literal["kubernetes", "systemd", "docker", "environment", "development"]
    StrPath: TypeAlias = str | os.PathLike[str]
    StrPaths: TypeAlias = StrPath | Sequence[StrPath]


class Variables(dict[str, str]):
    """Environment variables; their ``repr`` shows only how many there are."""

    def __repr__(self) -> str:
        return f"Variables({len(self)})"


class HostEnvironment:
    """Facts of the host that detection depends on.

    Args:
        environ: the environment variables. Default: those of the process.
        root: the directory that stands for ``/``. Default ``/``.
        cwd: the directory that relative paths start from. Default: the working directory.
        pid: the process ID; 1 in most containers. Default: that of the process.
        terminal: the evidence of a terminal, such as ``stdin is a terminal``; empty without one.
            Default: that of the process.
        system: the operating system, as in ``sys.platform``. Default: that of the process.

    Attributes:
        variables: returns the environment variables, copied when this object was created. It
            is a function so that a traceback with local variables does not show them.
        reads_env_files: whether ``.env`` files are read; False in a test session.
        root: the argument ``root``.
        cwd: the argument ``cwd``.
        pid: the argument ``pid``.
        system: the argument ``system``.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        root: str = "/",
        cwd: str | None = None,
        pid: int | None = None,
        *,
        terminal: str | None = None,
        system: str = sys.platform,
    ) -> None:
        pinned = secrets.pinned_settings if environ is None else None
        # No local variable may hold the values of the process.
        given = conceal(os.environ if environ is None else environ)
        read = given if pinned is None else pinned.variables
        self.variables: Callable[[], Mapping[str, str]] = conceal(Variables(read()))
        self.reads_env_files: bool = pinned is None or pinned.reads_env_files
        self.root: str = root
        self.cwd: str = os.curdir if cwd is None else cwd
        if cwd is None:
            with suppress(FileNotFoundError):  # it was removed: nothing exists in it
                self.cwd = os.getcwd()
        self.pid: int = os.getpid() if pid is None else pid
        self.system: str = system
        self._terminal = terminal

    def variable(self, name: str) -> str:
        """Return the value of a variable; empty if it is unset."""
        return self.variables().get(name, "")

    def path(self, absolute: str) -> str:
        """Return an absolute path below ``root``."""
        return os.path.join(self.root, absolute.lstrip("/"))

    def exists(self, absolute: str) -> bool:
        """Return whether an absolute path exists below ``root``."""
        return os.path.exists(self.path(absolute))

    def first_set(self, names: Iterable[str], unset: Collection[str] = ("",)) -> str:
        """Return the first variable whose lower-case value is not in ``unset``, or empty text."""
        return next((name for name in names if self.variable(name).lower() not in unset), "")

    def terminal(self) -> str:
        """Return the evidence that this process has a terminal; empty without it."""
        if self._terminal is not None:
            return self._terminal
        for descriptor, name in ((0, "stdin"), (2, "stderr")):
            if os.isatty(descriptor):
                return f"{name} is a terminal"
        # Without a controlling terminal, this fails with ENXIO. A redirection creates a regular
        # file where the device is missing.
        flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        with suppress(OSError), open(os.open(self.path("/dev/tty"), flags), "rb", 0) as file:
            return "/dev/tty opens" if file.isatty() else ""
        return ""


MODES: tuple[Mode, ...] = ("kubernetes", "systemd", "docker", "environment", "development")


_ENTRIES = (
    "kubernetes.io eks.amazonaws.com pods.eks.amazonaws.com azure tokens rhsm etc-pki-entitlement "
    "redhat.repo"
)
PLATFORM_ENTRIES = frozenset(_ENTRIES.split())
"""Entries that platforms create in /run/secrets, such as tokens of service accounts.

Without ``secrets_dirs=`` and ``HIVE_BOOT_SECRETS_DIR``, they are not read as secrets.
"""


PLATFORM_VARIABLES = {
    # https://cloud.google.com/run/docs/container-contract
    "Cloud Run": "K_SERVICE K_REVISION CLOUD_RUN_JOB CLOUD_RUN_EXECUTION CLOUD_RUN_WORKER_POOL",
    # https://fly.io/docs/machines/runtime-environment/ ; FLY_API_TOKEN and FLY_APP are the client's
    "Fly.io": "FLY_APP_NAME FLY_MACHINE_ID FLY_ALLOC_ID",
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint.html
    "Amazon ECS": "ECS_CONTAINER_METADATA_URI_V4 ECS_CONTAINER_METADATA_URI",
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    "AWS": "AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_RUNTIME_API AWS_EXECUTION_ENV",
    # https://devcenter.heroku.com/articles/dynos
    "Heroku": "DYNO",
    # https://render.com/docs/environment-variables
    "Render": "RENDER RENDER_SERVICE_ID RENDER_INSTANCE_ID",
    # https://docs.railway.com/reference/variables ; RAILWAY_TOKEN is the client's
    "Railway": "RAILWAY_ENVIRONMENT_NAME RAILWAY_ENVIRONMENT RAILWAY_PROJECT_ID RAILWAY_SERVICE_ID",
    # https://learn.microsoft.com/azure/app-service/reference-app-settings
    "Azure App Service": "WEBSITE_INSTANCE_ID WEBSITE_SITE_NAME",
    # https://learn.microsoft.com/azure/container-apps/environment-variables
    "Azure Container Apps": "CONTAINER_APP_NAME CONTAINER_APP_REVISION CONTAINER_APP_JOB_NAME",
    # https://cloud.google.com/appengine/docs/standard/python3/runtime
    "App Engine": "GAE_APPLICATION GAE_ENV GAE_SERVICE GAE_INSTANCE",
    # https://docs.cloudfoundry.org/devguide/deploy-apps/environment-variable.html
    "Cloud Foundry": "VCAP_APPLICATION CF_INSTANCE_GUID CF_INSTANCE_INDEX",
    # https://developer.hashicorp.com/nomad/docs/runtime/environment ; NOMAD_ADDR is the client's
    "Nomad": "NOMAD_ALLOC_ID NOMAD_JOB_NAME NOMAD_TASK_NAME NOMAD_TASK_DIR",
    # https://vercel.com/docs/environment-variables/system-environment-variables
    "Vercel": "VERCEL VERCEL_ENV VERCEL_URL",
    # https://supervisord.org/subprocess.html
    "supervisord": "SUPERVISOR_ENABLED",
    # https://pm2.keymetrics.io/docs/usage/environment/
    "pm2": "PM2_HOME",
    # https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    "a service manager": "NOTIFY_SOCKET",
}
"""Variables that each platform sets in the processes that it starts, and a laptop does not set."""


DEVELOPMENT_CONTAINERS = ("CODESPACES", "GITPOD_WORKSPACE_ID", "REMOTE_CONTAINERS", "DEVCONTAINER")
"""Variables of development containers: Codespaces, Gitpod, Dev Containers of an editor, DevPod."""


_DESKTOP_UNIT = r"user@.+|app-.+(?:@.+|-\d+)\.service"
"""Names of the manager of a user, and of the units in which desktops start applications.

https://systemd.io/DESKTOP_ENVIRONMENTS/
"""


_YES = frozenset({"1", "true", "yes", "on"})


_NO = frozenset({"", "0", "false", "no", "off"})


class SourceContext(Record):
    """Result of the detection: mode, profile and locations.

    Attributes:
        mode: which sources are read.
        mode_reason: the reason for the mode.
        profile: how strictly the declaration is applied.
        profile_reason: the reason for the profile.
        variables: returns the environment variables that were detected.
        cwd: the directory that relative paths start from.
        directories: the mounted directories, in order; empty in the modes
            ``environment`` and ``development``.
        directories_setting: the setting that names the directories; empty for the default
            directories.
        env_files: the ``.env`` files, in order of precedence.
        env_fallback: whether a mounted mode accepts a secret that only the environment has.
        maybe_missing_mount: whether it is development mode although nothing shows a developer,
            so that the secrets mount may have been forgotten.
        unknown_app_env: where an ``APP_ENV`` is set that is not a profile; empty without one.
        ignored_env_file: the file of ``env_file=`` in a mode that does not read it; empty
            without one.
    """

    mode: Mode
    mode_reason: str
    profile: Profile
    profile_reason: str
    variables: Callable[[], Mapping[str, str]]
    cwd: str
    directories: tuple[str, ...] = ()
    directories_setting: str = ""
    env_files: tuple[str, ...] = ()
    env_fallback: bool = False
    maybe_missing_mount: bool = False
    unknown_app_env: str = ""
    ignored_env_file: str = ""

    @property
    def mounted(self) -> bool:
        """Whether the mode reads secrets from mounted directories."""
        return bool(self.directories)


class SourceOptions:
    """Arguments of ``Bootstrap`` that select the sources; None leaves the choice to detection.

    Raises:
        DeclarationError: the mode or the profile is unknown, or ``secrets_dirs`` contains
            something other than paths.
    """

    def __init__(
        self,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        env_file: StrPath | None = None,
        *,
        env_fallback: bool = False,
    ) -> None:
        if mode is not None and mode not in MODES:
            raise _invalid(mode, MODES, "mode")
        if profile is not None and parse_profile(profile) is None:
            raise _invalid(profile, PROFILES, "profile")
        self.mode = mode
        self.profile: str | None = profile
        self.secrets_dirs: tuple[str, ...] = _paths(secrets_dirs)
        self.env_file: StrPath | None = env_file
        self.env_fallback: bool = env_fallback


def _paths(given: StrPaths | None) -> tuple[str, ...]:
    """Return the directories of ``secrets_dirs=`` as text; empty for None."""
    if given is None:
        return ()
    paths = [
        os.fspath(path) if isinstance(path, str | os.PathLike) else None for path in as_list(given)
    ]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        message = "Invalid secrets_dirs: expected one or more paths, or None for the default"
        raise DeclarationError(message)
    return tuple(map(str, paths))


def _invalid(given: str, known: Iterable[str], option: str) -> DeclarationError:
    *others, last = map(repr, known)
    return DeclarationError(f"Invalid {option} {given!r}: expected {', '.join(others)} or {last}")


def detect(
    host: HostEnvironment,
    source_options: SourceOptions,
    declared: FieldIndex | None = None,
    fifo_reader: FifoReader | None = None,
) -> SourceContext:
    """Return the mode, the profile and the locations of the secrets.

    Args:
        host: the host.
        source_options: choices of the application, which take precedence.
        declared: the fields whose files may be in /run/secrets.
        fifo_reader: reads a ``.env`` that is a FIFO; None to use only what this process has read.

    Raises:
        InvalidSecretsError: a ``HIVE_BOOT_*`` variable has an invalid value. Every such
            variable is reported.
    """
    return _Detection(host, source_options, declared or FieldIndex(()), fifo_reader, []).result()


class _Detection(Record):
    """One detection, from the arguments of :func:`detect`, and the problems that it finds."""

    host: HostEnvironment
    options: SourceOptions
    declared: FieldIndex
    fifo_reader: FifoReader | None
    problems: list[Problem]

    def result(self) -> SourceContext:
        """Return everything that is detected.

        Raises:
            InvalidSecretsError: a variable has an invalid value.
        """
        host, options = self.host, self.options
        named, setting = self._named_directories()
        mode, mode_reason = self._mode(setting)
        env_file = self._absolute(options.env_file or ".env")
        env_files = (f"{env_file}.local", env_file) if mode == "development" else ()
        shown, reason = False, f"the default in {mode} mode"
        if env_files:
            shown, reason = _development_shown(host, env_files)
        profile, place, unknown_app_env = self._configured_profile(env_files)
        fallback = self._fallback()
        if self.problems:
            raise InvalidSecretsError(self.problems)
        credentials = host.variable("CREDENTIALS_DIRECTORY")
        if mode == "systemd" and credentials and not named:
            named, setting = (host.path(credentials),), "CREDENTIALS_DIRECTORY"
        is_mounted = mode not in {"environment", "development"}
        # Not normalised: `..` after a link is the parent of the link's target.
        directories = tuple(map(self._absolute, named)) or (host.path("/run/secrets"),)
        return SourceContext(
            mode=mode,
            mode_reason=mode_reason,
            profile=profile or ("development" if shown else "production"),
            profile_reason=place if profile else reason,
            directories=directories if is_mounted else (),
            directories_setting=setting if is_mounted else "",
            env_files=env_files if host.reads_env_files else (),
            env_fallback=fallback,
            maybe_missing_mount=bool(env_files) and not shown,
            variables=host.variables,
            cwd=host.cwd,
            unknown_app_env=unknown_app_env,
            ignored_env_file=env_file if options.env_file and not env_files else "",
        )

    def _absolute(self, path: StrPath) -> str:
        """Return a configured path as an absolute one, with ``~`` expanded."""
        return os.path.join(self.host.cwd, os.path.expanduser(path))

    def _named_directories(self) -> tuple[tuple[str, ...], str]:
        if self.options.secrets_dirs:
            return self.options.secrets_dirs, "secrets_dirs="
        variable = "HIVE_BOOT_SECRETS_DIR"
        text = self.host.variable(variable)
        found = tuple(path for path in text.split(os.pathsep) if path)
        if text and not found:
            fix = "set it to a directory, or unset it"
            self._add_problem(variable, "does not contain a path", fix)
        return found, variable if found else ""

    def _mode(self, directories_setting: str) -> tuple[Mode, str]:
        if self.options.mode is not None:
            return self.options.mode, "Bootstrap(mode=…)"
        if text := self.host.variable("HIVE_BOOT_MODE"):
            for mode in MODES:
                if text.strip().lower() == mode:
                    return mode, "HIVE_BOOT_MODE"
            self._reject("HIVE_BOOT_MODE", text, MODES)
        if self.host.variable("KUBERNETES_SERVICE_HOST"):
            return "kubernetes", "KUBERNETES_SERVICE_HOST is set"
        # It is not made when a credential cannot be loaded: https://github.com/systemd/systemd/issues/31194
        if self.host.variable("CREDENTIALS_DIRECTORY"):
            return "systemd", "CREDENTIALS_DIRECTORY is set"
        if directories_setting:
            return "docker", f"{directories_setting} names a directory"
        return self._mode_by_usual_directory()

    def _mode_by_usual_directory(self) -> tuple[Mode, str]:
        directory = self.host.path("/run/secrets")
        first = next(iter(self.declared.fields.values()), Field())
        try:
            with os.scandir(directory) as entries:
                # A declared file is found sooner than many files are listed.
                has_files = _has_file((directory,), first.candidates) or any(
                    entry.name not in PLATFORM_ENTRIES
                    or _has_file((directory, entry.path), self.declared.file_names)
                    for entry in entries
                )
        except FileNotFoundError:
            return "development", "no /run/secrets"
        except PermissionError:
            # Such as that of sops-nix: https://github.com/Mic92/sops-nix
            names = self.declared.file_names
            if not any(_is_there(os.path.join(directory, name)) for name in names):
                return "development", "/run/secrets cannot be listed, and has no declared secret"
            return "docker", "/run/secrets cannot be listed, and may contain a declared secret"
        except OSError as exc:
            return "docker", f"/run/secrets cannot be listed: {exc.strerror}"
        if has_files:
            return "docker", "/run/secrets contains files"
        return "development", "/run/secrets contains no secrets"

    def _configured_profile(self, env_files: Sequence[str]) -> tuple[Profile | None, str, str]:
        """Return the profile that is set, its reason, and where an ``APP_ENV`` is no profile."""
        if self.options.profile is not None:
            return parse_profile(self.options.profile), "Bootstrap(profile=…)", ""
        if text := self.host.variable("HIVE_BOOT_PROFILE"):
            if profile := parse_profile(text):
                return profile, "HIVE_BOOT_PROFILE", ""
            self._reject("HIVE_BOOT_PROFILE", text, tuple(PROFILES))
        text, place = self._app_env(env_files)
        if text and parse_profile(text) is None:
            return "production", f"{place} is not a profile", place
        return parse_profile(text), place, ""

    def _app_env(self, env_files: Sequence[str]) -> tuple[str, str]:
        """Return ``APP_ENV`` and where it is set; empty outside development mode."""
        if env_files and (text := self.host.variable("APP_ENV")):
            return text, "APP_ENV"
        for path in filter(os.path.exists, env_files if self.host.reads_env_files else ()):
            from hive_boot.secrets.sources.dotenv import read_dotenv  # only development needs it

            scopes, wanted = [self.host.variables()], {"APP_ENV"}
            file = read_dotenv(path, wanted=wanted, scopes=scopes, fifo_reader=self.fifo_reader)
            if wanted & (file.affected | file.value_problems.keys()):
                return "unreadable", f"APP_ENV in {path}"
            if "APP_ENV" in file.values and (text := file.values["APP_ENV"].reveal()):
                return text, f"APP_ENV in {path}"
        return "", ""

    def _fallback(self) -> bool:
        text = self.host.variable("HIVE_BOOT_ENV_FALLBACK").strip().lower()
        if text not in _YES | _NO:
            self._reject("HIVE_BOOT_ENV_FALLBACK", text, ("1", "0"))
        return self.options.env_fallback or text in _YES

    def _reject(self, variable: str, text: str, known: Sequence[str]) -> None:
        """Add the problem of a variable; its text is not shown, because it may be a secret."""
        from difflib import get_close_matches  # only a failure needs it

        near = get_close_matches(text.strip().lower(), known, n=1)
        suggestion = f" (did you mean {near[0]!r}?)" if near else ""
        fix = f"set it to one of {', '.join(known)}, or unset it"
        self._add_problem(variable, f"has an invalid value{suggestion}", fix)

    def _add_problem(self, variable: str, message: str, fix: str) -> None:
        self.problems.append(Problem(name=variable, kind="setting", message=message, fix=fix))


def _has_file(directories: Iterable[str], names: Iterable[str]) -> bool:
    return any(os.path.isfile(os.path.join(each, name)) for each in directories for name in names)


def _is_there(path: str) -> bool:
    """Return whether a file opens, or exists and may not be read."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        return isinstance(exc, PermissionError)
    return True


def _development_shown(host: HostEnvironment, env_files: Sequence[str]) -> tuple[bool, str]:
    """Return whether a developer started this process, and the sign or the evidence."""
    if sign := platform_sign(host):
        return False, sign
    if evidence := host.first_set(DEVELOPMENT_CONTAINERS, _NO):
        return True, f"{evidence} is set"
    if evidence := host.terminal():
        return True, evidence
    # A directory with this name is a virtual environment.
    files = [path for path in env_files if os.path.exists(path) and not os.path.isdir(path)]
    editor = [name for name in host.variables() if name.startswith("VSCODE_")]
    person = host.first_set(("DISPLAY", "WAYLAND_DISPLAY", "PYCHARM_HOSTED", "CI", *editor), _NO)
    if files and (person or host.system == "darwin"):
        return True, f"{files[0]} exists, and {f'{person} is set' if person else 'this is macOS'}"
    return False, "no evidence of a developer, such as a terminal"


def platform_sign(host: HostEnvironment) -> str:
    """Return the sign that a platform started this process; empty without one.

    A development container is not a sign, but its PID 1 is never started by a developer.
    """
    container = container_sign(host)
    if container and (host.pid == 1 or not host.first_set(DEVELOPMENT_CONTAINERS, _NO)):
        return container
    for platform, variables in PLATFORM_VARIABLES.items():
        if variable := host.first_set(variables.split()):
            return f"{variable} is set: {platform}"
    with suppress(OSError):
        # https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM
        status = os.fstat(2)
        if host.variable("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return "JOURNAL_STREAM names stderr"
    unit = _service_unit(host) if host.variable("INVOCATION_ID") else ""
    return f"INVOCATION_ID is set in {unit}" if unit else ""


def container_sign(host: HostEnvironment) -> str:
    """Return the sign that this process runs in a container; empty without one."""
    for marker in ("/.dockerenv", "/run/.containerenv"):
        if host.exists(marker):
            return f"{marker} exists"
    # https://systemd.io/CONTAINER_INTERFACE/
    if host.variable("container"):
        return "the variable container is set"
    return "this process has PID 1" if host.pid == 1 else ""


def _service_unit(host: HostEnvironment) -> str:
    """Return the systemd service of this process; empty in a session or a desktop application.

    A terminal of a desktop inherits ``INVOCATION_ID``, and is in a scope or in a desktop unit.
    """
    text = ""
    with suppress(OSError), open(host.path("/proc/self/cgroup"), "rb") as file:
        text = file.read(65_536).decode("utf-8", "replace")
    for path in re.findall(r"^\d+:(?:name=systemd)?:(.*)$", text, re.MULTILINE):
        unit: str = (re.findall(r"[\w:.\\@-]+\.(?:service|scope)(?=/|$)", path) or [""])[-1]
        of_desktop = "/user@" in path and re.fullmatch(_DESKTOP_UNIT, unit)
        if unit.endswith(".service") and not of_desktop:
            return unit
    return ""
