"""Which sources a deployment has, how strict it is, and why we think so.

Everything is decided from the surroundings before a single secret is read, and
every decision carries its reason: it is logged at each start and shown in each
report. Nothing here reads ``.env``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from hive_boot.exceptions import DeclarationError, InvalidSecrets, Problem
from hive_boot.secrets.profile import PROFILES, Profile, parse_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot.secrets.surroundings import Surroundings

Mode = Literal["kubernetes", "systemd", "docker", "environment", "development"]

MODES: tuple[Mode, ...] = get_args(Mode)

FOREIGN = frozenset(
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


class Situation(NamedTuple):
    """What was decided.

    Attributes:
        mode: which sources are asked.
        mode_reason: why, as the end of ``mode (…)``.
        profile: how strict the declaration is read.
        profile_reason: why.
        directories: the mounted directories, in order; none in the modes
            ``environment`` and ``development``.
        named_by: what named the directories; empty when they are the usual ones.
        dotenv: the ``.env`` files, the stronger one first.
        env_fallback: whether a mounted mode takes what only the environment has.
        forgotten: whether development mode stands in a container, for want of a
            mount that may have been forgotten.
        variables: gives the environment that was seen, and shows it to nobody.
        cwd: the working directory of that moment, which relative paths start from.
    """

    mode: Mode
    mode_reason: str
    profile: Profile
    profile_reason: str
    directories: tuple[str, ...]
    named_by: str
    dotenv: tuple[str, ...]
    env_fallback: bool
    forgotten: bool
    variables: Callable[[], Mapping[str, str]]
    cwd: str

    @property
    def mounted(self) -> bool:
        """Whether secrets are files in directories."""
        return self.mode in {"kubernetes", "systemd", "docker"}


class Wishes:
    """What the author of the code has decided; None leaves it to the surroundings.

    Raises:
        DeclarationError: the mode or the profile is unknown.
    """

    __slots__ = ("dotenv", "env_fallback", "mode", "profile", "secrets_dirs")

    def __init__(
        self,
        *,
        mode: Mode | None = None,
        profile: str | None = None,
        secrets_dirs: StrPaths | None = None,
        dotenv: StrPath | None = None,
        env_fallback: bool = False,
    ) -> None:
        if mode is not None and mode not in MODES:
            message = f"mode={mode!r} is none of {', '.join(MODES)}"
            raise DeclarationError(message)
        if profile is not None and parse_profile(profile) is None:
            message = f"profile={profile!r} is none of {', '.join(PROFILES)}"
            raise DeclarationError(message)
        self.mode = mode
        self.profile = profile
        self.secrets_dirs = _paths(secrets_dirs)
        self.dotenv = dotenv
        self.env_fallback = env_fallback


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


def detect(surroundings: Surroundings, wishes: Wishes) -> Situation:
    """Decide mode, profile and directories.

    Raises:
        InvalidSecrets: a ``HIVE_BOOT_*`` variable, or ``APP_ENV``, has a value
            that means nothing. Every such variable is reported.
    """
    problems: list[Problem] = []
    named, named_by = _named_directories(surroundings, wishes, problems)
    mode, mode_reason = _mode(surroundings, wishes, named_by, problems)
    profile, profile_reason = _profile(surroundings, wishes, mode, problems)
    fallback = _fallback(surroundings, wishes, problems)
    if problems:
        raise InvalidSecrets(problems)
    # Not made shorter: what is below a link has another directory above it.
    named = tuple(os.path.join(surroundings.cwd, path) for path in named)
    directories = named or _usual_directories(surroundings, mode)
    mounted = mode in {"kubernetes", "systemd", "docker"}
    return Situation(
        mode=mode,
        mode_reason=mode_reason,
        profile=profile,
        profile_reason=profile_reason,
        directories=directories if mounted else (),
        named_by=named_by if mounted else "",
        dotenv=_dotenv_files(surroundings, wishes) if mode == "development" else (),
        env_fallback=fallback,
        forgotten=mode == "development" and bool(container_sign(surroundings)),
        variables=surroundings.variables,
        cwd=surroundings.cwd,
    )


def _named_directories(
    surroundings: Surroundings, wishes: Wishes, problems: list[Problem]
) -> tuple[tuple[str, ...], str]:
    if wishes.secrets_dirs:
        return wishes.secrets_dirs, "secrets_dirs="
    variable = "HIVE_BOOT_SECRETS_DIR"
    said = surroundings.variable(variable)
    found = tuple(path for path in said.split(os.pathsep) if path)
    if said and not found:
        hint = "set it to a directory, or unset it"
        message = "names no directory"
        problems.append(Problem(name=variable, kind="setting", message=message, hint=hint))
    return found, variable if found else ""


def _usual_directories(surroundings: Surroundings, mode: Mode) -> tuple[str, ...]:
    credentials = surroundings.variable("CREDENTIALS_DIRECTORY")
    if mode == "systemd" and credentials:
        return (surroundings.path(credentials),)
    return (surroundings.path("/run/secrets"),)


def _mode(
    surroundings: Surroundings, wishes: Wishes, named_by: str, problems: list[Problem]
) -> tuple[Mode, str]:
    if wishes.mode is not None:
        return wishes.mode, "Bootstrap(mode=…)"
    if said := surroundings.variable("HIVE_BOOT_MODE"):
        for mode in MODES:
            if said.strip().lower() == mode:
                return mode, "HIVE_BOOT_MODE"
        problems.append(_meaningless("HIVE_BOOT_MODE", said, MODES))
    return _detected_mode(surroundings, named_by)


def _detected_mode(surroundings: Surroundings, named_by: str) -> tuple[Mode, str]:
    if surroundings.variable("KUBERNETES_SERVICE_HOST"):
        return "kubernetes", "KUBERNETES_SERVICE_HOST is set"
    credentials = surroundings.variable("CREDENTIALS_DIRECTORY")
    if credentials and surroundings.exists(credentials):
        return "systemd", "CREDENTIALS_DIRECTORY is set"
    if named_by:
        return "docker", f"{named_by} names a directory"
    return _mode_by_usual_directory(surroundings)


def _mode_by_usual_directory(surroundings: Surroundings) -> tuple[Mode, str]:
    try:
        with os.scandir(surroundings.path("/run/secrets")) as entries:
            ours = any(entry.name not in FOREIGN for entry in entries)
    except FileNotFoundError:
        return "development", "no /run/secrets"
    except OSError as exc:
        return "docker", f"/run/secrets cannot be listed: {exc.strerror}"
    if ours:
        return "docker", "/run/secrets holds files"
    return "development", "/run/secrets holds no secrets of ours"


def _profile(
    surroundings: Surroundings, wishes: Wishes, mode: Mode, problems: list[Problem]
) -> tuple[Profile, str]:
    if wishes.profile is not None:
        return PROFILES[wishes.profile.strip().lower()], "Bootstrap(profile=…)"
    variables = ["HIVE_BOOT_PROFILE", *(["APP_ENV"] if mode == "development" else [])]
    for variable in variables:
        said = surroundings.variable(variable)
        if said and (profile := parse_profile(said)):
            return profile, variable
        if said:
            problems.append(_meaningless(variable, said, tuple(PROFILES)))
    if mode != "development":
        return "production", f"the default in {mode} mode"
    if container := container_sign(surroundings):
        return "production", f"development mode, but in a container: {container}"
    return "development", "the default in development mode outside a container"


def container_sign(surroundings: Surroundings) -> str:
    """Return what shows that this process runs in a container; empty when nothing does."""
    for marker in ("/.dockerenv", "/run/.containerenv"):
        if surroundings.exists(marker):
            return f"{marker} exists"
    return "this is PID 1" if surroundings.pid == 1 else ""


def _fallback(surroundings: Surroundings, wishes: Wishes, problems: list[Problem]) -> bool:
    said = surroundings.variable("HIVE_BOOT_ENV_FALLBACK")
    if said.lower() not in _YES | _NO:
        problems.append(_meaningless("HIVE_BOOT_ENV_FALLBACK", said, ("1", "0")))
    return wishes.env_fallback or said.lower() in _YES


def _dotenv_files(surroundings: Surroundings, wishes: Wishes) -> tuple[str, ...]:
    base = os.path.join(surroundings.cwd, os.fspath(wishes.dotenv or ".env"))
    return f"{base}.local", base


def _meaningless(variable: str, said: str, known: Sequence[str]) -> Problem:
    """Describe a variable that says nothing known; it is not shown, because it may be a value."""
    from difflib import get_close_matches  # noqa: PLC0415  (only a failure needs it)

    near = get_close_matches(said.strip().lower(), known, n=1)
    nearest = f"; near to it is {near[0]!r}" if near else ""
    return Problem(
        name=variable,
        kind="setting",
        message=f"has a value that means nothing{nearest}",
        hint=f"set it to one of {', '.join(known)}, or unset it",
    )
