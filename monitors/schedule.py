"""When a check is due; pure. Moments are seconds of the monotonic clock, spacings seconds.

That clock runs alike for all processes of a machine, and nobody sets it: a step of the time of day moves no check.

Checks of many monitors are spread over their interval: a burst would distort every response time. The place within
the interval comes from a hash of the question (what is sent where), not of the row: rows that ask the same question
then fall due together, and one probe answers all of them.
"""

from __future__ import annotations

from hashlib import blake2b

from monitors.spec import ProbeSpec


def phase(spec: ProbeSpec, spacing: float) -> float:
    """Place of a question within its interval: at least 0, less than ``spacing``; the same in every process."""
    question = f"{spec.kind} {spec.address} {spec.port}".encode()
    number = int.from_bytes(blake2b(question, digest_size=8).digest(), "big")
    return number * round(spacing * 1_000_000) // 2**64 / 1_000_000


def first_due(spec: ProbeSpec, spacing: float, now: float) -> float:
    """When the second check is due, after the first that a new row gets at once.

    It is the question's place in the interval, half to one and a half intervals away: never right after the first.
    """
    earliest = now + spacing / 2
    return earliest - (earliest - phase(spec, spacing)) % spacing + spacing


def next_due(due: float, spacing: float, now: float) -> float:
    """The next check after that of ``due``, in the future.

    It counts from when the check was due, not from when it ran, so lateness does not add up. Missed ones are skipped.
    """
    return due + spacing * (max(0, (now - due) // spacing) + 1)


def resumed_due(since: float | None, spacing: float, now: float) -> float:
    """When a check is due that this worker has not run before, ``since`` seconds after the last one, if that is known.

    One that is overdue is due now, as is one whose last check lies in the future: somebody has set the clock.
    """
    return now if since is None or not 0 <= since < spacing else now + spacing - since
