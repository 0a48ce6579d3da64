"""Platform detection: mode, profile and source directories, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from hive_boot._records import Record
from hive_boot.exceptions import DeclarationError, InvalidSecretsError, Problem
from hive_boot.redaction.opaque import conceal
from hive_boot.secrets.fields import PROFILES, Profile, parse_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


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

    Attributes:
        variables: returns the environment variables, copied when this object was created. It
            is a function so that a traceback with local variables does not show them.
        root: the argument ``root``.
        cwd: the argument ``cwd``.
        pid: the argument ``pid``.
    """

    __slots__ = ("cwd", "pid", "root", "variables")

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        root: str = "/",
        cwd: str | None = None,
        pid: int | None = None,
    ) -> None:
        self.variables: Callable[[], Mapping[str, str]] = conceal(
            Variables(os.environ if environ is None else environ)
        )
        self.root: str = root
        self.cwd: str = os.getcwd() if cwd is None else cwd
        self.pid: int = os.getpid() if pid is None else pid

    def variable(self, name: str) -> str:
        """Return the value of a variable; empty if it is unset."""
        return self.variables().get(name, "")

    def path(self, absolute: str) -> str:
        """Return an absolute path below ``root``."""
        return os.path.join(self.root, absolute.lstrip("/"))

    def exists(self, absolute: str) -> bool:
        """Return whether an absolute path exists below ``root``."""
        return os.path.exists(self.path(absolute))


Mode = Literal["kubernetes", "systemd", "docker", "environment", "development"]


MODES: tuple[Mode, ...] = get_args(Mode)


PLATFORM_ENTRIES = frozenset(
    {
        "kubernetes.io",
        "eks.amazonaws.com",
        "pods.eks.amazonaws.com",
        "azure",
        "tokens",
        "rhsm",
        "etc-pki-entitlement",
        "redhat.repo",
    }
)
"""Entries that platforms create in /run/secrets, such as tokens of service accounts.

Without ``secrets_dirs=`` and ``HIVE_BOOT_SECRETS_DIR``, they are not read as secrets.
"""


StrPath: TypeAlias = str | os.PathLike[str]


StrPaths: TypeAlias = StrPath | Sequence[StrPath]


_YES = frozenset({"1", "true", "yes", "on"})


_NO = frozenset({"", "0", "false", "no", "off"})


class SourceContext(Record):
    """Result of the detection: mode, profile and locations.

    Attributes:
        mode: which sources are read.
        mode_reason: the reason for the mode.
        profile: how strictly the declaration is applied.
        profile_reason: the reason for the profile.
        directories: the mounted directories, in order; empty in the modes
            ``environment`` and ``development``.
        directories_setting: the setting that names the directories; empty for the default
            directories.
        env_files: the ``.env`` files, in order of precedence.
        env_fallback: whether a mounted mode accepts a secret that only the environment has.
        maybe_missing_mount: whether development mode runs in a container, where the secrets
            mount may have been forgotten.
        variables: returns the environment variables that were detected.
        cwd: the directory that relative paths start from.
        ignored_env_file: the file of ``env_file=`` in a mode that does not read it; empty
            without one.
    """

    mode: Mode
    mode_reason: str
    profile: Profile
    profile_reason: str
    directories: tuple[str, ...]
    directories_setting: str
    env_files: tuple[str, ...]
    env_fallback: bool
    maybe_missing_mount: bool
    variables: Callable[[], Mapping[str, str]]
    cwd: str
    ignored_env_file: str = ""

    @property
    def mounted(self) -> bool:
        """Whether the mode reads secrets from mounted directories."""
        return self.mode in {"kubernetes", "systemd", "docker"}


class SourceOptions:
    """Arguments of ``Bootstrap`` that select the sources; None leaves the choice to detection.

    Raises:
        DeclarationError: the mode or the profile is unknown, or ``secrets_dirs`` contains
            something other than paths.
    """

    __slots__ = ("env_fallback", "env_file", "mode", "profile", "secrets_dirs")

    def __init__(
        self,
        *,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        env_file: StrPath | None = None,
        env_fallback: bool = False,
    ) -> None:
        if mode is not None and mode not in MODES:
            message = f"Invalid mode {mode!r}: expected {_alternatives(MODES)}"
            raise DeclarationError(message)
        if profile is not None and parse_profile(profile) is None:
            message = f"Invalid profile {profile!r}: expected {_alternatives(PROFILES)}"
            raise DeclarationError(message)
        self.mode = mode
        self.profile: str | None = profile
        self.secrets_dirs: tuple[str, ...] = _paths(secrets_dirs)
        self.env_file: StrPath | None = env_file
        self.env_fallback: bool = env_fallback


def _paths(given: StrPaths | None) -> tuple[str, ...]:
    """Return the directories of ``secrets_dirs=`` as text; empty for None."""
    if given is None:
        return ()
    many = hasattr(given, "__iter__") and not isinstance(given, str | os.PathLike)
    listed: list[object] = list(given) if many else [given]  # type: ignore[arg-type]
    paths = [os.fspath(path) if isinstance(path, str | os.PathLike) else None for path in listed]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        message = (
            "Invalid secrets_dirs: expected one or more paths, or None for the default directories"
        )
        raise DeclarationError(message)
    return tuple(map(str, paths))


def _alternatives(values: Iterable[str]) -> str:
    *others, last = map(repr, values)
    return f"{', '.join(others)} or {last}"


def detect(
    host: HostEnvironment, source_options: SourceOptions, expected_file: str = ""
) -> SourceContext:
    """Return the mode, the profile and the locations of the secrets.

    Args:
        host: the host.
        source_options: choices of the application, which take precedence.
        expected_file: the name of a file that is probably in /run/secrets. If it exists, the
            directory is not listed, which is slow with many files.

    Raises:
        InvalidSecretsError: a ``HIVE_BOOT_*`` variable, or ``APP_ENV``, has an invalid
            value. Every such variable is reported.
    """
    problems: list[Problem] = []
    named, directories_setting = _named_directories(host, source_options, problems)
    mode, mode_reason = _mode(host, source_options, directories_setting, expected_file, problems)
    profile, profile_reason = _profile(host, source_options, mode, problems)
    fallback = _fallback(host, source_options, problems)
    if problems:
        raise InvalidSecretsError(problems)
    # Not normalised: `..` after a link is the parent of the link's target.
    named = tuple(_absolute(host, path) for path in named)
    directories = named or _usual_directories(host, mode)
    mounted = mode in {"kubernetes", "systemd", "docker"}
    env_file = source_options.env_file
    return SourceContext(
        mode=mode,
        mode_reason=mode_reason,
        profile=profile,
        profile_reason=profile_reason,
        directories=directories if mounted else (),
        directories_setting=directories_setting if mounted else "",
        env_files=_dotenv_files(host, source_options) if mode == "development" else (),
        env_fallback=fallback,
        maybe_missing_mount=mode == "development" and bool(container_sign(host)),
        variables=host.variables,
        cwd=host.cwd,
        ignored_env_file=_absolute(host, env_file) if env_file and mode != "development" else "",
    )


def _absolute(host: HostEnvironment, path: StrPath) -> str:
    """Return a configured path as an absolute one, with ``~`` expanded."""
    return os.path.join(host.cwd, os.path.expanduser(path))


def _named_directories(
    host: HostEnvironment, source_options: SourceOptions, problems: list[Problem]
) -> tuple[tuple[str, ...], str]:
    if source_options.secrets_dirs:
        return source_options.secrets_dirs, "secrets_dirs="
    variable = "HIVE_BOOT_SECRETS_DIR"
    text = host.variable(variable)
    found = tuple(path for path in text.split(os.pathsep) if path)
    if text and not found:
        fix = "set it to a directory, or unset it"
        message = "does not contain a path"
        problems.append(Problem(name=variable, kind="setting", message=message, fix=fix))
    return found, variable if found else ""


def _usual_directories(host: HostEnvironment, mode: Mode) -> tuple[str, ...]:
    credentials = host.variable("CREDENTIALS_DIRECTORY")
    if mode == "systemd" and credentials:
        return (host.path(credentials),)
    return (host.path("/run/secrets"),)


def _mode(
    host: HostEnvironment,
    source_options: SourceOptions,
    directories_setting: str,
    expected_file: str,
    problems: list[Problem],
) -> tuple[Mode, str]:
    if source_options.mode is not None:
        return source_options.mode, "Bootstrap(mode=…)"
    if text := host.variable("HIVE_BOOT_MODE"):
        for mode in MODES:
            if text.strip().lower() == mode:
                return mode, "HIVE_BOOT_MODE"
        problems.append(_unknown_value("HIVE_BOOT_MODE", text, MODES))
    return _detected_mode(host, directories_setting, expected_file)


def _detected_mode(
    host: HostEnvironment, directories_setting: str, expected_file: str
) -> tuple[Mode, str]:
    if host.variable("KUBERNETES_SERVICE_HOST"):
        return "kubernetes", "KUBERNETES_SERVICE_HOST is set"
    credentials = host.variable("CREDENTIALS_DIRECTORY")
    if credentials and host.exists(credentials):
        return "systemd", "CREDENTIALS_DIRECTORY is set"
    if directories_setting:
        return "docker", f"{directories_setting} names a directory"
    return _mode_by_usual_directory(host, expected_file)


def _mode_by_usual_directory(host: HostEnvironment, expected_file: str) -> tuple[Mode, str]:
    is_expected = expected_file and expected_file not in PLATFORM_ENTRIES
    try:
        has_files = is_expected and host.exists(f"/run/secrets/{expected_file}")
        if not has_files:
            with os.scandir(host.path("/run/secrets")) as entries:
                has_files = any(entry.name not in PLATFORM_ENTRIES for entry in entries)
    except FileNotFoundError:
        return "development", "no /run/secrets"
    except OSError as exc:
        return "docker", f"/run/secrets cannot be listed: {exc.strerror}"
    if has_files:
        return "docker", "/run/secrets contains files"
    return "development", "/run/secrets contains no secrets"


def _profile(
    host: HostEnvironment, source_options: SourceOptions, mode: Mode, problems: list[Problem]
) -> tuple[Profile, str]:
    if source_options.profile is not None:
        return PROFILES[source_options.profile.strip().lower()], "Bootstrap(profile=…)"
    variables = ["HIVE_BOOT_PROFILE", *(["APP_ENV"] if mode == "development" else [])]
    for variable in variables:
        text = host.variable(variable)
        if text and (profile := parse_profile(text)):
            return profile, variable
        if text:
            problems.append(_unknown_value(variable, text, tuple(PROFILES)))
    if mode != "development":
        return "production", f"the default in {mode} mode"
    if container := container_sign(host):
        return "production", f"development mode, but in a container: {container}"
    return "development", "the default in development mode outside a container"


def container_sign(host: HostEnvironment) -> str:
    """Return the sign that this process runs in a container; empty without one."""
    for marker in ("/.dockerenv", "/run/.containerenv"):
        if host.exists(marker):
            return f"{marker} exists"
    return "this process has PID 1" if host.pid == 1 else ""


def _fallback(
    host: HostEnvironment, source_options: SourceOptions, problems: list[Problem]
) -> bool:
    text = host.variable("HIVE_BOOT_ENV_FALLBACK")
    if text.lower() not in _YES | _NO:
        problems.append(_unknown_value("HIVE_BOOT_ENV_FALLBACK", text, ("1", "0")))
    return source_options.env_fallback or text.lower() in _YES


def _dotenv_files(host: HostEnvironment, source_options: SourceOptions) -> tuple[str, ...]:
    base = _absolute(host, source_options.env_file or ".env")
    return f"{base}.local", base


def _unknown_value(variable: str, text: str, known: Sequence[str]) -> Problem:
    """Return the problem of a variable; its text is not shown, because it may be a secret."""
    from difflib import get_close_matches  # noqa: PLC0415  (only a failure needs it)

    near = get_close_matches(text.strip().lower(), known, n=1)
    suggestion = f" (did you mean {near[0]!r}?)" if near else ""
    return Problem(
        name=variable,
        kind="setting",
        message=f"has an invalid value{suggestion}",
        fix=f"set it to one of {', '.join(known)}, or unset it",
    )
