"""The worker of docs/frameworks.md that owns its processes: Celery."""

import json
import signal
import uuid
from base64 import b64encode
from itertools import count
from pathlib import Path

from hive_boot.testing import MountedVolume
from tests.frameworks import outside
from tests.frameworks.programs import fingerprint, publish, started
from tests.frameworks.test_frameworks import NEW, OLD, require
from tests.support import wait_until

CELERY = "celery_app.py"


def push(port: int, number: int) -> None:
    """Publish a task as Celery does, by version 2 of its protocol of messages."""
    task = str(uuid.uuid4())
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = b64encode(json.dumps([[number], {}, embed]).encode()).decode()
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "job", "id": task, "root_id": task},
        "properties": {
            "correlation_id": task,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": task,
            "body_encoding": "base64",
        },
    }
    outside.ask_redis(port, "LPUSH", "celery", json.dumps(message))


def test_tasks_follow_a_rotation_and_complete(tmp_path: Path) -> None:
    """A task reads the rotated key, and the tasks in hand complete after SIGTERM."""
    require(["celery", "redis"])
    with (
        outside.redis(push) as (send, addresses, _, _),
        started(tmp_path, CELERY, OLD, {}, addresses) as program,
    ):
        numbers = count()
        send(next(numbers))
        program.wait_for(f"job 0 begins with {fingerprint(OLD)}")
        publish(MountedVolume(tmp_path / "secrets"), NEW)

        def follows() -> bool:
            send(next(numbers))
            return any(fingerprint(NEW) in line for line in program.out)

        wait_until(follows, 30)
        last = next(numbers)
        wait_until(lambda: f"job {last - 1} is complete" in program.out, 60)
        program.hold_jobs()
        in_hand = range(last, last + 2)
        for number in in_hand:
            send(number)
            program.wait_for(f"job {number} begins")
        program.send(signal.SIGTERM)
        program.wait_for("Warm shutdown")
        program.release_jobs()
        assert program.wait() == 0, program.report()
    for number in in_hand:
        assert f"job {number} is complete" in program.out, program.report()


def test_a_worker_without_its_secret_does_not_start(tmp_path: Path) -> None:
    """The report is shown, and the exit status is 78."""
    require(["celery"])
    with started(tmp_path, CELERY, "", {}, {}) as program:
        assert program.wait() == 78, program.report()
    assert "AppSecrets has 1 problem; the service does not start." in program.report()
