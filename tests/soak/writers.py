"""Writers of the secrets: correct ones and faulty ones.

A seed decides what they do; the speed of the machine decides when it reaches the application.
"""

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from hive_boot.testing import MountedVolume
from tests.fixtures.writers import PlainDirectory, publish_continuously
from tests.soak.values import (
    GOOD,
    HOOK_HANGS,
    HOOK_RAISES,
    OPTIONAL,
    PLAIN,
    REFUSED,
    UNJUDGED,
    VOLUME,
    make_set,
    make_tag,
    make_value,
)

T = TypeVar("T")

_STRAY = ("token~", "x.pyc", ".password.swp", "tmp8f3k2a", b"\xff\xfe.txt")
"""Names that some watchers ignore, and one on which some of them fail."""

_NEVER_GOOD: tuple[str | bytes, ...] = ("", b"fake-" + b"x" * (2 << 20))
_NO_TEXT: tuple[str | bytes, ...] = (*_NEVER_GOOD, "fake-nul\0nul", b"fake-\xff\xfe")
_BAD = {"blob": _NEVER_GOOD, "certificate": _NO_TEXT, "api_key": (*_NO_TEXT, "x")}
"""Contents that are not valid: empty, too large, with a NUL, not UTF-8, too short."""


class Writer:
    """Base of the writers: writes into one directory, in its own thread or in that of the caller.

    Args:
        seed: the seed of the random choices.
        stop: an event that ends pauses.

    Attributes:
        done: the number of runs of each action.
        tags: the tag of the last valid value of each secret.
    """

    works: tuple[tuple[int, str], ...] = ()

    def __init__(self, seed: str, stop: threading.Event) -> None:
        self.chance = random.Random(seed)  # noqa: S311  (no secret is drawn)
        self.done: Counter[str] = Counter()
        self.tags: dict[str, int] = {}
        self._halt = stop
        self._number = 0
        self._bag: list[str] = []

    def work(self) -> None:
        """Run a random action; a shuffled list gives each one its turn."""
        if not self._bag:
            self._bag = [name for often, name in self.works for _ in range(often)]
            self.chance.shuffle(self._bag)
        name = self._bag.pop()
        work: Callable[[], None] = getattr(self, name)
        work()
        self.done[name.replace("_", " ")] += 1

    def new_tag(self, scenario: int = GOOD) -> int:
        """Return the next tag."""
        self._number += 1
        return make_tag(self._number, scenario)

    def pause(self, least: float, most: float) -> None:
        """Wait for a random time, or until the end."""
        self._halt.wait(self.chance.uniform(least, most))

    def meanwhile(self, gap: AbstractContextManager[T], least: float, most: float) -> None:
        """Keep a disturbance for a random time."""
        with gap:
            self.pause(least, most)


class VolumeWriter(Writer):
    """A writer of the volume, as the kubelet and other tools write."""

    works = (
        (8, "swap"),
        (4, "storm"),
        (2, "same_content"),
        (3, "slow_writer"),
        (2, "links_first"),
        (2, "bad_value"),
        (2, "missing_key"),
        (2, "optional_key"),
        (2, "no_pair"),
        (2, "refused_by_check"),
        (1, "check_hangs"),
        (2, "check_fails_for_a_while"),
        (2, "hook_raises"),
        (1, "hook_hangs"),
        (2, "empty_volume"),
        (2, "no_data"),
        (1, "dangling_data"),
        (2, "late_permissions"),
        (1, "closed_directory"),
        (2, "away_and_back"),
        (2, "replaced"),
        (2, "stray_files"),
        (1, "flood"),
        (1, "lost_link"),
    )

    def __init__(self, path: Path, judge: Path, seed: str, stop: threading.Event) -> None:
        super().__init__(f"{seed} volume", stop)
        self.volume = MountedVolume(path)
        self._judge = judge

    def heal(self) -> None:
        """Publish a good set."""
        tag = self.new_tag()
        self.volume.publish(make_set(tag))
        self.tags = dict.fromkeys(VOLUME, tag)

    def swap(self) -> None:
        """Publish a good set, and pause briefly."""
        self.heal()
        self.pause(0, 0.4)

    def storm(self) -> None:
        """Publish many good sets in quick succession."""

        def next_set(_number: int) -> dict[str, str | bytes]:
            return make_set(self.new_tag())

        with publish_continuously(self.volume, next_set, rate=200, seconds=1) as storm:
            storm.wait()
        self.heal()

    def same_content(self) -> None:
        """Publish the present content again, as a new generation."""
        self.volume.publish(self.volume.content, anew=True)

    def slow_writer(self) -> None:
        """Publish a set with pauses between its files."""
        tag = self.new_tag()
        self.volume.publish(make_set(tag), pause=self.chance.uniform(0, 0.05))

    def links_first(self) -> None:
        """Create the symbolic links before the swap of ``..data``."""
        self.meanwhile(self.volume.links_first(make_set(self.new_tag())), 0, 0.2)

    def bad_value(self) -> None:
        """Publish a value that is not valid."""
        field, bad = self.chance.choice(list(_BAD.items()))
        self._publish_for_a_while(make_set(self.new_tag()) | {field: self.chance.choice(bad)})

    def missing_key(self) -> None:
        """Omit a required secret."""
        field = self.chance.choice([each for each in VOLUME if each not in OPTIONAL])
        tag = self.new_tag()
        self._publish_for_a_while(make_set(tag, [each for each in VOLUME if each != field]))

    def optional_key(self) -> None:
        """Omit the optional secrets."""
        tag = self.new_tag()
        self._publish_for_a_while(make_set(tag, [each for each in VOLUME if each not in OPTIONAL]))

    def no_pair(self) -> None:
        """Publish a certificate with the key of another certificate."""
        files = make_set(self.new_tag())
        self._publish_for_a_while(files | make_set(self.new_tag(), ["private_key"]))

    def refused_by_check(self) -> None:
        """Publish a set that a check rejects."""
        self._publish_for_a_while(make_set(self.new_tag(REFUSED)))

    def check_hangs(self) -> None:
        """Publish a set on which a check hangs."""
        self._publish_for_a_while(make_set(self.new_tag(UNJUDGED)))

    def check_fails_for_a_while(self) -> None:
        """Publish a set while the check fails for every set."""
        self._judge.touch()
        self._publish_for_a_while(make_set(self.new_tag()))
        self._judge.unlink()
        self.pause(0, 1.5)

    def hook_raises(self) -> None:
        """Publish a set on which a hook fails once."""
        self._publish_for_a_while(make_set(self.new_tag(HOOK_RAISES)))

    def hook_hangs(self) -> None:
        """Publish a set on which a hook hangs."""
        self._publish_for_a_while(make_set(self.new_tag(HOOK_HANGS)))

    def empty_volume(self) -> None:
        """Publish nothing, as for an optional Secret that is absent."""
        self._publish_for_a_while({})
        self.heal()

    def no_data(self) -> None:
        """Remove ``..data`` for less or more time than the application waits for it."""
        self.meanwhile(self.volume.without_data(), 0.01, 2.5)

    def dangling_data(self) -> None:
        """Point ``..data`` at a directory that does not exist, for a short time."""
        self.meanwhile(self.volume.dangling_data(), 0.01, 0.5)

    def late_permissions(self) -> None:
        """Publish a set whose files become readable only after a pause."""
        self.meanwhile(self.volume.late_permissions(make_set(self.new_tag())), 0.05, 0.5)

    def closed_directory(self) -> None:
        """Publish a set whose directory becomes readable only after a pause."""
        gap = self.volume.late_permissions(make_set(self.new_tag()), directory=True)
        self.meanwhile(gap, 0.05, 0.5)

    def away_and_back(self) -> None:
        """Rename the whole volume, and back."""
        away = self.volume.path.with_name("away")
        self.volume.path.rename(away)
        self.pause(0, 1)
        away.rename(self.volume.path)

    def replaced(self) -> None:
        """Replace the volume by another one."""
        away = self.volume.path.with_name("away")
        self.volume.path.rename(away)
        self.pause(0, 0.5)
        self.volume = MountedVolume(self.volume.path)
        self.heal()
        shutil.rmtree(away)

    def stray_files(self) -> None:
        """Create files that are not secrets in the volume, and remove them."""
        places = [os.path.join(os.fsencode(self.volume.path), os.fsencode(each)) for each in _STRAY]  # noqa: PTH118  (a path that is not UTF-8)
        for place in places:
            with open(place, "wb") as file:  # noqa: PTH123  (the same)
                file.write(b"stray")
        os.mkfifo(self.volume.path / "pipe")
        self.pause(0, 0.2)
        for place in [*places, os.fsencode(self.volume.path / "pipe")]:
            os.unlink(place)  # noqa: PTH108  (the same)

    def flood(self) -> None:
        """Create more events than the queue of the kernel holds (16,384), if the reader is slow."""
        stray = self.volume.path / "flood"
        for _ in range(20_000):
            stray.touch()
        self.heal()
        stray.unlink()

    def lost_link(self) -> None:
        """Remove a link, as a kubelet that has crashed."""
        self.heal()
        self.volume.remove_link("certificate")
        self.pause(0, 0.3)

    def _publish_for_a_while(self, files: dict[str, str | bytes]) -> None:
        self.volume.publish(files)
        self.pause(0, 1.2)


class PlainWriter(Writer, threading.Thread):
    """A writer of the plain directory; it writes one file at a time and leaves a valid set.

    Attributes:
        turn: a lock that is held while the directory is not valid.
    """

    works = (
        (4, "rename"),
        (3, "write_in_place"),
        (3, "write_slowly"),
        (2, "remove_optional"),
        (1, "remove_required"),
        (2, "bad_value"),
        (2, "no_permission"),
        (1, "something_else"),
        (2, "stray_file"),
        (1, "away_and_back"),
    )

    def __init__(self, path: Path, seed: str, stop: threading.Event) -> None:
        Writer.__init__(self, f"{seed} plain", stop)
        threading.Thread.__init__(self, name="plain writer", daemon=True)
        self.directory = PlainDirectory(path)
        self.turn = threading.Lock()
        for field in PLAIN:
            self._rename(field)

    def run(self) -> None:
        """Write until the end, with pauses that are long enough for a read."""
        while not self._halt.is_set():
            with self.turn:
                self.work()
            self.pause(0, 6)

    def rename(self) -> None:
        """Write new files beside the old ones, and rename them."""
        for field in self.chance.sample(PLAIN, k=self.chance.randint(1, len(PLAIN))):
            self._rename(field)

    def write_in_place(self) -> None:
        """Truncate and write."""
        self._write("token")

    def write_slowly(self) -> None:
        """Truncate, and write two halves with a pause, which may be longer than a reader waits."""
        field = self.chance.choice(("password", "note"))
        self._write(field, pause=self.chance.choice((0.02, 0.2, 0.6)))

    def remove_optional(self) -> None:
        """Remove an optional secret, and restore it."""
        self.directory.remove("note")
        self.pause(0, 1)
        self._rename("note")

    def remove_required(self) -> None:
        """Remove a required secret, and restore it."""
        self.directory.remove("password")
        self.pause(0, 1)
        self._rename("password")

    def bad_value(self) -> None:
        """Write a value that is not valid, and then a valid one."""
        field = self.chance.choice(PLAIN)
        self.directory.replace(field, self.chance.choice(_NO_TEXT))
        self.pause(0, 1)
        self._rename(field)

    def no_permission(self) -> None:
        """Make a file unreadable for less or more time than the application waits."""
        path = self.directory.path / self.chance.choice(PLAIN)
        path.chmod(0)
        self.pause(0, 2.5)
        path.chmod(0o644)

    def something_else(self) -> None:
        """Replace a file by a FIFO or a directory."""
        field = self.chance.choice(PLAIN)
        path = self.directory.path / field
        path.unlink()
        make = self.chance.choice((os.mkfifo, os.mkdir))
        make(path)
        self.pause(0, 0.5)
        path.rmdir() if make is os.mkdir else path.unlink()
        self._rename(field)

    def stray_file(self) -> None:
        """Create a file that is not a secret, and remove it."""
        stray = self.directory.path / "tmp0a1b2c"
        stray.write_bytes(b"stray")
        self.pause(0, 0.2)
        stray.unlink()

    def away_and_back(self) -> None:
        """Rename the whole directory, and back."""
        path = self.directory.path
        away = path.with_name("plain-away")
        path.rename(away)
        self.pause(0, 0.5)
        away.rename(path)

    def _rename(self, field: str) -> None:
        tag = self.new_tag()
        self.directory.replace(field, make_value(field, tag))
        self.tags[field] = tag

    def _write(self, field: str, pause: float = 0.0) -> None:
        tag = self.new_tag()
        self.directory.write_in_place(field, make_value(field, tag), pause=pause)
        self.tags[field] = tag


def wait_for(condition: Callable[[], bool], seconds: float) -> float | None:
    """Wait for a condition, and return the seconds that it took; None after the timeout."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.02)
    return time.monotonic() - began
