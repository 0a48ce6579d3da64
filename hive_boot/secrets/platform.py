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
    from collections.abc import Callable, Mapping


class Variables(dict[str, str]):
    """The variables of an environment; a frame that holds them shows none."""

    def __repr__(self) -> str:
        return f"Variables({len(self)})"


class HostEnvironment:
    """The machine, as far as a decision depends on it.

    Args:
        environ: the environment. Default: that of the process.
        root: where the file system begins.
        cwd: where ``.env`` is looked for. Default: the working directory.
        pid: the process's own number; 1 in most containers. Default: what it is.

    Attributes:
        variables: gives the environment of this moment, and shows it to nobody.
        root: as given.
        cwd: as given.
        pid: as given.
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
        """Give the text of a variable; empty when it is not set."""
        return self.variables().get(name, "")

    def path(self, absolute: str) -> str:
        """Give the path below ``root`` that ``absolute`` means."""
        return os.path.join(self.root, absolute.lstrip("/"))

    def exists(self, absolute: str) -> bool:
        """Tell whether something is at ``absolute``, below ``root``."""
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
"""What platforms put below /run/secrets by themselves; it is nobody's secret of ours."""


StrPath: TypeAlias = str | os.PathLike[str]


StrPaths: TypeAlias = StrPath | Sequence[StrPath]


_YES = frozenset({"1", "true", "yes", "on"})


_NO = frozenset({"", "0", "false", "no", "off"})


class SourceContext(Record):
    """What was decided.

    Attributes:
        mode: which sources are asked.
        mode_reason: why, as the end of ``mode (…)``.
        profile: how strict the declaration is read.
        profile_reason: why.
        directories: the mounted directories, in order; none in the modes
            ``environment`` and ``development``.
        directories_setting: what named the directories; empty when they are the usual ones.
        env_files: the ``.env`` files, the stronger one first.
        env_fallback: whether a mounted mode takes what only the environment has.
        maybe_missing_mount: whether development mode stands in a container, for want of a
            mount that may have been forgotten.
        variables: gives the environment that was seen, and shows it to nobody.
        cwd: the working directory of that moment, which relative paths start from.
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

    @property
    def mounted(self) -> bool:
        """Whether secrets are files in directories."""
        return self.mode in {"kubernetes", "systemd", "docker"}


class SourceOptions:
    """What the author of the code has decided; None leaves it to the platform.

    Raises:
        DeclarationError: the mode or the profile is unknown.
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
            message = f"mode={mode!r} is none of {', '.join(MODES)}"
            raise DeclarationError(message)
        if profile is not None and parse_profile(profile) is None:
            message = f"profile={profile!r} is none of {', '.join(PROFILES)}"
            raise DeclarationError(message)
        self.mode = mode
        self.profile: str | None = profile
        self.secrets_dirs: tuple[str, ...] = _paths(secrets_dirs)
        self.env_file: StrPath | None = env_file
        self.env_fallback: bool = env_fallback


def _paths(given: StrPaths | None) -> tuple[str, ...]:
    """Give the directories that the author named; none when None was given."""
    if given is None:
        return ()
    many = hasattr(given, "__iter__") and not isinstance(given, str | os.PathLike)
    listed: list[object] = list(given) if many else [given]  # type: ignore[arg-type]
    paths = [os.fspath(path) if isinstance(path, str | os.PathLike) else None for path in listed]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        message = "secrets_dirs= has to be a path, or several; to leave it to detection, give None"
        raise DeclarationError(message)
    return tuple(map(str, paths))


def detect(
    host: HostEnvironment, source_options: SourceOptions, expected_file: str = ""
) -> SourceContext:
    """Decide mode, profile and directories.

    Args:
        host: the machine.
        source_options: what the author of the application decided.
        expected_file: the name of a file that is probably in /run/secrets. When it is there,
            the directory need not be listed, which takes long when it has many files.

    Raises:
        InvalidSecretsError: a ``HIVE_BOOT_*`` variable, or ``APP_ENV``, has a value
            that means nothing. Every such variable is reported.
    """
    problems: list[Problem] = []
    named, directories_setting = _named_directories(host, source_options, problems)
    mode, mode_reason = _mode(host, source_options, directories_setting, expected_file, problems)
    profile, profile_reason = _profile(host, source_options, mode, problems)
    fallback = _fallback(host, source_options, problems)
    if problems:
        raise InvalidSecretsError(problems)
    # Not made shorter: what is below a link has another directory above it.
    named = tuple(os.path.join(host.cwd, path) for path in named)
    directories = named or _usual_directories(host, mode)
    mounted = mode in {"kubernetes", "systemd", "docker"}
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
    )


def _named_directories(
    host: HostEnvironment, source_options: SourceOptions, problems: list[Problem]
) -> tuple[tuple[str, ...], str]:
    if source_options.secrets_dirs:
        return source_options.secrets_dirs, "secrets_dirs="
    variable = "HIVE_BOOT_SECRETS_DIR"
    said = host.variable(variable)
    found = tuple(path for path in said.split(os.pathsep) if path)
    if said and not found:
        hint = "set it to a directory, or unset it"
        message = "does not name a directory"
        problems.append(Problem(name=variable, kind="setting", message=message, fix=hint))
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
    if said := host.variable("HIVE_BOOT_MODE"):
        for mode in MODES:
            if said.strip().lower() == mode:
                return mode, "HIVE_BOOT_MODE"
        problems.append(_unknown_value("HIVE_BOOT_MODE", said, MODES))
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
        ours = is_expected and host.exists(f"/run/secrets/{expected_file}")
        if not ours:
            with os.scandir(host.path("/run/secrets")) as entries:
                ours = any(entry.name not in PLATFORM_ENTRIES for entry in entries)
    except FileNotFoundError:
        return "development", "no /run/secrets"
    except OSError as exc:
        return "docker", f"/run/secrets cannot be listed: {exc.strerror}"
    if ours:
        return "docker", "/run/secrets holds files"
    return "development", "/run/secrets holds no secrets of ours"


def _profile(
    host: HostEnvironment, source_options: SourceOptions, mode: Mode, problems: list[Problem]
) -> tuple[Profile, str]:
    if source_options.profile is not None:
        return PROFILES[source_options.profile.strip().lower()], "Bootstrap(profile=…)"
    variables = ["HIVE_BOOT_PROFILE", *(["APP_ENV"] if mode == "development" else [])]
    for variable in variables:
        said = host.variable(variable)
        if said and (profile := parse_profile(said)):
            return profile, variable
        if said:
            problems.append(_unknown_value(variable, said, tuple(PROFILES)))
    if mode != "development":
        return "production", f"the default in {mode} mode"
    if container := container_sign(host):
        return "production", f"development mode, but in a container: {container}"
    return "development", "the default in development mode outside a container"


def container_sign(host: HostEnvironment) -> str:
    """Return what shows that this process runs in a container; empty when nothing does."""
    for marker in ("/.dockerenv", "/run/.containerenv"):
        if host.exists(marker):
            return f"{marker} exists"
    return "this is PID 1" if host.pid == 1 else ""


def _fallback(
    host: HostEnvironment, source_options: SourceOptions, problems: list[Problem]
) -> bool:
    said = host.variable("HIVE_BOOT_ENV_FALLBACK")
    if said.lower() not in _YES | _NO:
        problems.append(_unknown_value("HIVE_BOOT_ENV_FALLBACK", said, ("1", "0")))
    return source_options.env_fallback or said.lower() in _YES


def _dotenv_files(host: HostEnvironment, source_options: SourceOptions) -> tuple[str, ...]:
    base = os.path.join(host.cwd, os.fspath(source_options.env_file or ".env"))
    return f"{base}.local", base


def _unknown_value(variable: str, said: str, known: Sequence[str]) -> Problem:
    """Describe a variable that says nothing known; it is not shown, because it may be a value."""
    from difflib import get_close_matches  # noqa: PLC0415  (only a failure needs it)

    near = get_close_matches(said.strip().lower(), known, n=1)
    nearest = f"; the most similar known value is {near[0]!r}" if near else ""
    return Problem(
        name=variable,
        kind="setting",
        message=f"has an unknown value{nearest}",
        fix=f"set it to one of {', '.join(known)}, or unset it",
    )
