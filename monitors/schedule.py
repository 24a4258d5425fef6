"""When a check is due; pure. Times are aware datetimes, spacings seconds (to the microsecond).

Checks of many monitors are spread over their interval: a burst would distort every response time. The place within
the interval comes from a hash of the question (what is sent where), not of the row: rows that ask the same question
then fall due together, and one probe answers all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from monitors.spec import ProbeSpec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def phase(spec: ProbeSpec, spacing: float) -> timedelta:
    """Place of a question within its interval: at least 0, less than ``spacing``; the same in every process."""
    question = f"{spec.kind} {spec.address} {spec.port}".encode()
    number = int.from_bytes(blake2b(question, digest_size=8).digest(), "big")
    return number * round(spacing * 1_000_000) // 2**64 * _MICROSECOND


def first_due(spec: ProbeSpec, spacing: float, now: datetime) -> datetime:
    """When the second check is due, after the first that a new row gets at once.

    It is the question's place in the interval, half to one and a half intervals away: never right after the first.
    """
    step = timedelta(seconds=spacing)
    earliest = now + step / 2
    since_place = (earliest - _EPOCH - phase(spec, spacing)) % step
    return earliest - since_place + step


def next_due(due_at: datetime, spacing: float, now: datetime) -> datetime:
    """The next check after that of ``due_at``, in the future.

    It counts from when the check was due, not from when it ran, so lateness does not add up. Missed ones are skipped.
    """
    step = timedelta(seconds=spacing)
    missed = max(0, (now - due_at) // step)
    return due_at + step * (missed + 1)


def wait(due_at: datetime, now: datetime) -> float:
    """Seconds until ``due_at``; 0 when it is past."""
    return max(0.0, (due_at - now).total_seconds())
