"""Simulation of a signing key that is rotated in a fleet: ``python -m examples.fleet.simulation``.

Each instance signs one token a second, and each token is verified once, by another instance. An
instance notices the new key after a delay, as the kubelet updates volumes one after another. The
simulation counts the tokens that are rejected, for many choices of ``activate_after`` and
``accept_old_for``, and draws them. The same seed always gives the same picture.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

SEED = 20260101

SIZES = (20, 200, 1000, 5000)
"""Numbers of instances that are drawn."""

LIFETIME = 600.0
"""Seconds for which a token is valid, in the drawing."""

TOKENS_OF_A_POINT = 5000
"""Instances of all rotations behind one point, so that a small fleet is not a single draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubelet:
    """The delay with which kubelets bring a new value into a volume.

    A kubelet compares a volume with its cache whenever it synchronizes the pod: after
    ``syncFrequency`` and a jitter of up to half of it (``workerResyncIntervalJitterFactor`` in
    ``pkg/kubelet/pod_workers.go``). The strategy ``Watch``, the default, updates the cache at once.
    With the strategy ``Cache`` an entry is up to a TTL old, which the control plane sets to 0 to
    300 s by the number of nodes (``pkg/controller/ttl/ttl_controller.go``).

    Attributes:
        sync_period: ``syncFrequency``, in seconds. Default 60, as in Kubernetes.
        jitter: the maximum of the jitter, as a share of the period. Default 0.5, as in Kubernetes.
        cache_ttl: the TTL of the cache, in seconds. Default 0, as with ``Watch``.
    """

    sync_period: float = 60.0
    jitter: float = 0.5
    cache_ttl: float = 0.0

    @property
    def longest(self) -> float:
        """The maximum of the delay, in seconds."""
        return self.sync_period * (1 + self.jitter) + self.cache_ttl

    def delays(self, count: int, random: np.random.Generator) -> np.ndarray[Any, Any]:
        """Return the delay of each of ``count`` instances, in seconds.

        The change falls into a longer interval with a higher probability, and then anywhere in it.
        """
        shortest, span = self.sync_period, self.sync_period * self.jitter
        uniform = random.random(count)
        intervals = np.sqrt(shortest**2 + uniform * ((shortest + span) ** 2 - shortest**2))
        return intervals * random.random(count) + self.cache_ttl * random.random(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A rotation of the key of a fleet, at second 0.

    Attributes:
        instances: the number of instances.
        activate_after: as declared for the field, in seconds.
        accept_old_for: the same.
        lifetime: seconds for which a token is valid. A token is used at any age up to it.
        restarts: the share of the instances that are started again during the rotation. They read
            the new key at their start, and know no older one.
        previous: whether the old key stays mounted as the secret that ``previous=`` names.
        announced: whether every instance has accepted the new key, mounted as that secret, before
            the rotation.
        kubelet: the delays.
    """

    instances: int
    activate_after: float
    accept_old_for: float
    lifetime: float = LIFETIME
    restarts: float = 0.0
    previous: bool = False
    announced: bool = False
    kubelet: Kubelet = field(default_factory=Kubelet)

    def rejected(self, random: np.random.Generator) -> int:
        """Return the number of rejected tokens, of those signed before all use the new key."""
        count, end = self.instances, self.kubelet.longest + self.activate_after
        seen = self.kubelet.delays(count, random)
        is_restarted = random.random(count) < self.restarts
        restarted = np.where(is_restarted, random.random(count) * end, np.inf)
        signs_new = np.minimum(seen + self.activate_after, restarted)
        accepts_new = np.minimum(seen, restarted)
        rejects_old = np.minimum(seen + self.activate_after + self.accept_old_for, restarted)
        if self.announced:
            accepts_new = np.full(count, -np.inf)
        if self.previous:
            rejects_old = np.full(count, np.inf)

        tokens = int(count * end)
        signer = random.integers(count, size=tokens)
        verifier = (signer + random.integers(1, count, size=tokens)) % count
        signed = random.random(tokens) * end
        used = signed + random.random(tokens) * self.lifetime
        is_new = signed >= signs_new[signer]
        is_rejected = np.where(is_new, used < accepts_new[verifier], used >= rejects_old[verifier])
        return int(np.count_nonzero(is_rejected))


def shortest_safe(lifetime: float, kubelet: Kubelet) -> tuple[float, float]:
    """Return the least ``activate_after`` and ``accept_old_for`` that reject no token, in seconds.

    Args:
        lifetime: seconds for which a token is valid.
        kubelet: the delays.
    """
    return kubelet.longest, kubelet.longest + lifetime


def average_rejected(rotation: Rotation, seed: int = SEED) -> float:
    """Return the average of rejected tokens, over more rotations for a smaller fleet."""
    rounds = max(1, TOKENS_OF_A_POINT // rotation.instances)
    random = np.random.default_rng(seed)
    return sum(rotation.rejected(random) for _each in range(rounds)) / rounds


_BLUES = ("#9ecae1", "#6baed6", "#3987e5", "#08519c")
_INK, _DARK_INK, _WARNING = "#1f2328", "#e6edf3", "#d97706"
_STYLE = f"""\
@media (prefers-color-scheme: dark) {{
  [style*="stroke: {_INK}"] {{ stroke: {_DARK_INK} !important }}
  text {{ fill: {_DARK_INK} !important }}
}}
"""
_SETTINGS: dict[Any, Any] = {  # the type of a key depends on the version
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hive_boot",  # identifiers are the same in every run
    "axes.edgecolor": _INK,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def draw(sizes: Sequence[int] = SIZES) -> str:
    """Return the picture as SVG; the same sizes always give the same text.

    Args:
        sizes: the numbers of instances.
    """
    from matplotlib import style  # noqa: PLC0415  (the simulation itself needs no picture)
    from matplotlib.figure import Figure  # noqa: PLC0415

    output, kubelet = StringIO(), Kubelet()
    activate_after, accept_old_for = shortest_safe(LIFETIME, kubelet)
    safe = Rotation(instances=2, activate_after=activate_after, accept_old_for=accept_old_for)
    with style.context(["default", _SETTINGS]):  # not the settings of the user
        figure = Figure(figsize=(6.0, 8.0), layout="constrained")
        figure.patch.set_visible(False)
        first, second, third = figure.subplots(3)
        seconds = np.linspace(0, activate_after * 2, 31)
        for size, colour in zip(sizes, _BLUES, strict=False):
            found = [
                average_rejected(replace(safe, instances=size, activate_after=float(each)))
                for each in seconds
            ]
            first.plot(seconds, found, color=colour, label=f"{size:,} instances")
        _finish(first, "activate_after, in seconds", activate_after, "the longest delay")
        seconds = np.linspace(0, accept_old_for * 1.2, 25)
        for size, colour in zip(sizes, _BLUES, strict=False):
            found = [
                average_rejected(replace(safe, instances=size, accept_old_for=float(each)))
                for each in seconds
            ]
            second.plot(seconds, found, color=colour, label=f"{size:,} instances")
        text = f"the longest delay + the lifetime of a token ({LIFETIME:g} s)"
        _finish(second, "accept_old_for, in seconds", accept_old_for, text)
        shares = np.linspace(0.005, 0.1, 20)
        largest = replace(safe, instances=max(sizes))
        for label, rotation, colour in (
            ("neither", largest, _WARNING),
            ("previous=", replace(largest, previous=True), _BLUES[1]),
            (
                "previous=, and the new key announced",
                replace(largest, previous=True, announced=True),
                _BLUES[3],
            ),
        ):
            found = [average_rejected(replace(rotation, restarts=float(each))) for each in shares]
            third.plot(100 * shares, found, color=colour, label=label)
        _finish(third, f"started during the rotation, in % of {max(sizes):,} instances")
        figure.savefig(output, format="svg", metadata=_NO_METADATA)
    svg = output.getvalue().replace("</style>", f"{_STYLE}</style>", 1)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _finish(axes: Axes, label: str, bound: float | None = None, text: str = "") -> None:
    """Label the axes, and draw the bound at which no token is rejected."""
    axes.patch.set_visible(False)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(label)
    axes.set_title("rejected tokens in a rotation")
    if bound is not None:
        axes.axvline(bound, color=_WARNING, linewidth=1, label=f"{bound:g} s: {text}")
    axes.legend(loc="best")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the simulation, or write its picture."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fleet.simulation",
        description="Simulate rotations of a key, and count the tokens that are rejected.",
    )
    parser.add_argument("--instances", type=int, default=1000, help="their number (default: 1000)")
    parser.add_argument(
        "--lifetime", type=float, default=LIFETIME, help=f"of a token, in s (default: {LIFETIME:g})"
    )
    parser.add_argument(
        "--cache-ttl",
        type=float,
        default=0.0,
        help="TTL of the kubelet's cache, in s (default: 0, as with Watch)",
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture instead")
    options = parser.parse_args(arguments)
    if options.svg:
        options.svg.write_text(draw(), "utf-8")
        return
    kubelet = Kubelet(cache_ttl=options.cache_ttl)
    activate_after, accept_old_for = shortest_safe(options.lifetime, kubelet)
    print(f"{options.instances} instances, tokens of {options.lifetime:g} s")
    print("activate_after  accept_old_for  rejected tokens in a rotation")
    for first, second in ((0.0, 0.0), (0.5, 0.5), (1.0, 0.5), (0.5, 1.0), (1.0, 1.0)):
        rotation = Rotation(
            instances=options.instances,
            activate_after=activate_after * first,
            accept_old_for=accept_old_for * second,
            lifetime=options.lifetime,
            kubelet=kubelet,
        )
        found = average_rejected(rotation)
        print(
            f"{rotation.activate_after:>12g} s  {rotation.accept_old_for:>12g} s  {found:>13,.1f}"
        )


if __name__ == "__main__":
    main()
