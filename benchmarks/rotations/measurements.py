"""Measurements: how each moment is produced, and what the application holds during it."""

from __future__ import annotations

import shutil
import ssl
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.comparison import Answer
from benchmarks.environment import HIVE, child_environment, temporary_directory
from benchmarks.processes import START_TIMEOUT, Child, free_port
from benchmarks.rotations.evaluation import (
    WITHIN,
    Expectation,
    Handshake,
    Held,
    Values,
    evaluate,
    evaluate_handshakes,
    evaluate_stream,
    in_force_since,
    parse,
    values_of,
)
from benchmarks.rotations.outside import Database, make_certificate, mounted, repeated_handshakes
from hive_boot.testing import MountedVolume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.comparison import Subject

CERTIFICATE, KEY, PASSWORD = "tls_crt", "tls_key", "db_password"
NAMES = (*HIVE, PASSWORD)

OLD, NEW, NEWEST = (values_of(update, NAMES) for update in (1, 2, 3))

UPDATES, PER_SECOND = 1000, 200
"""The number of updates in the moment ``stream``, and how many there are in a second."""

PAUSE = 3.0
"""Seconds for which files are gone or bad, or a writer pauses."""

REFUSED = 4.0
"""Seconds for which a login is refused."""

APART = 2.0
"""Seconds between the certificate and its key."""

_SETTLED = 1.0
_AFTER = 0.5
_STEP = 0.02


class Rotation:
    """One moment for one subject.

    Args:
        subject: the subject.
        name: the name of the scenario.
    """

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject = subject
        self._name = name
        self._child: Child | None = None

    @contextmanager
    def application(self, directory: Path, port: int = 0) -> Iterator[None]:
        """Run the application during the block, which begins when it holds the first values.

        Args:
            directory: the directory of the secrets.
            port: the port of its listener, or of the database. Default: the scenario has none.

        Raises:
            TimeoutError: the application does not start.
        """
        environ = child_environment(
            ROTATIONS_SCENARIO=self._name,
            ROTATIONS_DIRECTORY=str(directory),
            ROTATIONS_PORT=str(port),
        )
        with Child(self._subject.arguments(port), environ) as child:
            self._child = child
            deadline = time.monotonic() + START_TIMEOUT
            while not child.marks:
                if time.monotonic() > deadline or not child.is_alive:
                    message = f"The application has not started:\n{child.output()}"
                    raise TimeoutError(message)
                time.sleep(_STEP)
            # The subjects create their watches after they have the first values.
            time.sleep(_SETTLED)
            yield

    @contextmanager
    def volume(self, port: int = 0) -> Iterator[MountedVolume]:
        """Run the application with the old values in a volume as the kubelet writes it."""
        with temporary_directory() as base:
            volume = MountedVolume(base / "secrets")
            volume.publish(OLD)
            with self.application(volume.path, port):
                yield volume

    def held(self) -> list[Held]:
        """Return what the application has held so far."""
        assert self._child is not None  # noqa: S101  (the application was started)
        found = [parse(mark) for mark in self._child.marks]
        if not self._child.is_alive:
            found.append(Held(time.monotonic(), None, "the application has ended"))
        return found

    def wait_for(self, wanted: Values) -> float:
        """Wait until the application holds values, and a little longer.

        Returns:
            The end of the observation.
        """
        deadline = time.monotonic() + WITHIN
        while self.held()[-1].values != wanted and time.monotonic() < deadline:
            time.sleep(_STEP)
        time.sleep(_AFTER)
        return time.monotonic()

    def follow(
        self,
        wanted: Values,
        published: float,
        *allowed: Values,
        wrong: str = "a mixture of old and new values",
        since: float = 0.0,
    ) -> Answer:
        """Wait for values, and return the answer.

        Args:
            wanted: the values that must be in use in time.
            published: the time since which they are available.
            allowed: further values that may be in use. Default: the old ones.
            wrong: the description of other values. Default: a mixture of old and new ones.
            since: the begin of the observation. Default: that of the application.
        """
        ended = self.wait_for(wanted)
        known = [wanted, *(allowed or [OLD])]
        return evaluate(
            in_force_since(since, self.held()),
            ended,
            Expectation(
                wanted=wanted,
                published=published,
                is_allowed=lambda held: held.values in known,
                wrong=wrong,
            ),
        )


def update_once(rotation: Rotation) -> Answer:
    """Update the volume once."""
    with rotation.volume() as volume:
        published = time.monotonic()
        volume.publish(NEW)
        return rotation.follow(NEW, published)


def update_often(rotation: Rotation) -> Answer:
    """Update the volume 200 times a second."""
    with rotation.volume() as volume:
        started = time.monotonic()
        for number in range(UPDATES):
            time.sleep(max(started + number / PER_SECOND - time.monotonic(), 0.0))
            volume.publish(values_of(number + 2, NAMES))
        published = time.monotonic()
        wanted = values_of(UPDATES + 1, NAMES)
        rotation.wait_for(wanted)
        return evaluate_stream(rotation.held(), wanted=wanted, published=published)


def empty_volume(rotation: Rotation) -> Answer:
    """Remove all files from the volume for a while."""
    with rotation.volume() as volume:
        volume.publish({})
        time.sleep(PAUSE)
        published = time.monotonic()
        volume.publish(NEW)
        return rotation.follow(NEW, published)


def remove_directory(rotation: Rotation) -> Answer:
    """Remove the directory, and create it again after a while."""
    with rotation.volume() as volume:
        shutil.rmtree(volume.path)
        time.sleep(PAUSE)
        fresh = MountedVolume(volume.path.with_name("fresh"))
        fresh.publish(NEW)
        published = time.monotonic()
        fresh.path.rename(volume.path)
        return rotation.follow(NEW, published)


def publish_bad_value(rotation: Rotation) -> Answer:
    """Publish a value that is too short, beside good ones, and then good ones only."""
    with rotation.volume() as volume:
        volume.publish({**NEW, PASSWORD: "short"})
        time.sleep(PAUSE)
        published = time.monotonic()
        volume.publish(NEWEST)
        return rotation.follow(NEWEST, published, wrong="the bad update")


def write_half(rotation: Rotation) -> Answer:
    """Write half of a file, and the rest after a while, without closing it."""
    wanted = {**OLD, PASSWORD: NEW[PASSWORD]}
    text = wanted[PASSWORD]
    with plain_directory() as directory, rotation.application(directory):
        with (directory / PASSWORD).open("w", encoding="ascii") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            time.sleep(PAUSE)
            file.write(text[len(text) // 2 :])
        published = time.monotonic()
        return rotation.follow(wanted, published, wrong="half of the value")


def write_bind_mounted_file(rotation: Rotation) -> Answer:
    """Rewrite a file of the host that is mounted in the directory."""
    wanted = {**OLD, PASSWORD: NEW[PASSWORD]}
    with plain_directory() as directory, temporary_directory() as host:
        (host / PASSWORD).write_text(OLD[PASSWORD], "ascii")
        with (
            mounted(host / PASSWORD, directory / PASSWORD),
            rotation.application(directory),
        ):
            published = time.monotonic()
            (host / PASSWORD).write_text(wanted[PASSWORD], "ascii")
            return rotation.follow(wanted, published, wrong="a part of the value")


def write_pair_apart(rotation: Rotation) -> Answer:
    """Replace a certificate, and later its key, while a client makes handshakes."""
    port = free_port()
    with plain_directory() as directory, temporary_directory() as made:
        old, new = (
            {**OLD, **dict(zip((CERTIFICATE, KEY), make_certificate(made, name), strict=True))}
            for name in ("old", "new")
        )
        for name in (CERTIFICATE, KEY):
            (directory / name).write_text(old[name], "ascii")
        with rotation.application(directory, port), repeated_handshakes(port) as found:
            replace(directory / CERTIFICATE, new[CERTIFICATE])
            time.sleep(APART)
            published = time.monotonic()
            replace(directory / KEY, new[KEY])
            wrong = "a certificate without its key"
            answer = rotation.follow(new, published, old, wrong=wrong)
            handshakes = [Handshake(*each) for each in found]
        der = ssl.PEM_cert_to_DER_cert(new[CERTIFICATE])
        return evaluate_handshakes(answer, handshakes, new=der, published=published)


def refuse_login(rotation: Rotation) -> Answer:
    """Publish a password before the database accepts it."""
    with Database(OLD[PASSWORD]) as database, rotation.volume(database.port) as volume:
        volume.publish(NEW)
        time.sleep(REFUSED)
        accepted = time.monotonic()
        database.passwords.add(NEW[PASSWORD])
        ended = rotation.wait_for(NEW)
        expectation = Expectation(
            wanted=NEW,
            published=accepted,
            is_allowed=lambda held: (
                held.values == OLD or (held.values == NEW and held.at >= accepted)
            ),
            wrong="the refused password",
        )
        held = rotation.held()
        held = [each for each in held if each.at < accepted] + in_force_since(accepted, held)
        answer = evaluate(held, ended, expectation)
        return Answer(answer.good, f"{answer.seen}, {database.refused} logins refused")


def replace_mount(rotation: Rotation) -> Answer:
    """Unmount the volume and mount another one, and mount a third one over it."""
    with temporary_directory() as base, ExitStack() as mounts:
        volumes = [base / name for name in ("old", "new", "newest")]
        for path, values in zip(volumes, (OLD, NEW, NEWEST), strict=True):
            MountedVolume(path).publish(values)
        target = base / "secrets"
        target.mkdir()
        first = mounts.enter_context(ExitStack())
        first.enter_context(mounted(volumes[0], target))
        with rotation.application(target):
            first.close()
            time.sleep(PAUSE)
            mounts.enter_context(mounted(volumes[1], target))
            replaced = time.monotonic()
            one = rotation.follow(NEW, replaced)
            mounts.enter_context(mounted(volumes[2], target))
            covered = time.monotonic()
            two = rotation.follow(NEWEST, covered, OLD, NEW, since=covered)
        return Answer(one.good and two.good, f"mounted again: {one.seen}; mounted over: {two.seen}")


@contextmanager
def plain_directory() -> Iterator[Path]:
    """Create a directory with the old values in plain files."""
    with temporary_directory() as directory:
        for name, value in OLD.items():
            (directory / name).write_text(value, "ascii")
        yield directory


def replace(path: Path, text: str) -> None:
    """Rename a new file over another one."""
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_text(text, "ascii")
    fresh.rename(path)
