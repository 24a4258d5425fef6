"""Probes by hand, between the console and the worker that has the probe path: a ticket, and what came of it, in Redis.

The console asks (:func:`ask`), a worker takes the ticket (:func:`take`) and answers (:func:`answer`), the console looks
(:func:`look`). Everything expires by itself; no row knows of it. One requester has one probe at a time.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from typing import Any, Final, Literal, TypedDict

import redis
from django.conf import settings
from kombu.exceptions import OperationalError

from webui.celery import app

TASK: Final = "monitors.trying.probe"
PATIENCE: Final = 5.0  # seconds until a worker must have taken a ticket
LONGEST: Final = 60.0  # seconds that a probe by hand lasts at most
KEPT: Final = 900  # seconds that a result can be looked at
_SLACK: Final = 5.0  # seconds from the end of a probe to its answer

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "problem"]

# Gives the requester free if it is still this ticket that holds it.
_RELEASE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class StepRow(TypedDict):
    """A step as pages show it; times in milliseconds."""

    what: str
    at: float
    took: float
    text: str
    size: int | None
    cut: int


class Outcome(TypedDict):
    """What came of a probe; secrets are hidden already."""

    passed: bool
    message: str
    steps: list[StepRow]
    left_off: int


class Try(TypedDict):
    """A probe by hand. ``problem`` says why there is no outcome; times are in seconds of the Unix clock.

    ``until``: nobody answers after that moment.
    """

    requester: str
    monitor: int
    service: int
    target: int
    asked_at: float
    until: float
    state: State
    problem: str
    outcome: Outcome | None


class BusyError(Exception):
    """The requester's last probe is still running."""


class UnavailableError(Exception):
    """Redis does not answer; the text is for the operator."""


def ask(requester: str, monitor: int, service: int, target: int, timeout: float) -> str:
    """Ask a worker to probe; returns the ticket. ``timeout`` is the probe's, in seconds.

    Raises BusyError, UnavailableError.
    """
    ticket = secrets.token_urlsafe(16)
    hold = int(PATIENCE + min(timeout, LONGEST) + _SLACK)
    now = time.time()
    asked = Try(
        requester=requester,
        monitor=monitor,
        service=service,
        target=target,
        asked_at=now,
        until=now + hold,
        state="waiting",
        problem="",
        outcome=None,
    )
    try:
        with _client() as client:
            if not client.set(_held_by(requester), ticket, nx=True, ex=hold):
                raise BusyError("Your last probe is still running; wait for its end.")
            client.set(_key(ticket), json.dumps(asked), ex=KEPT)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer, so no worker can be asked: {error}") from error
    try:
        # A retry would keep the page waiting; who asked can ask again.
        app.send_task(TASK, args=[ticket], expires=PATIENCE, retry=False, ignore_result=True)
    except OperationalError as error:
        _release(requester, ticket)
        raise UnavailableError(f"No worker can be asked, as the broker does not answer: {error}") from error
    return ticket


def look(ticket: str) -> Try | None:
    """How far it is; None when there is no such ticket (any more). Raises UnavailableError.

    One that no worker took in time has that as its problem, and its requester is free again.
    """
    try:
        with _client() as client:
            found = _read(client, ticket)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer, so the result cannot be read: {error}") from error
    if found is None:
        return None
    waited = time.time() - found["asked_at"]
    if found["state"] == "waiting" and waited > PATIENCE:
        _release(found["requester"], ticket)
        found["state"] = "problem"
        found["problem"] = (
            f"No worker took the probe within {PATIENCE:g} s. Checks need a running Celery worker: look at its log."
        )
    if found["state"] == "running" and time.time() > found["until"]:
        found["state"] = "problem"
        found["problem"] = "The worker that took the probe gave no answer; it was probably ended meanwhile."
    return found


def take(ticket: str) -> Try | None:
    """Begin with a ticket; None when it is gone, taken, or too old for anyone to wait for it. Raises RedisError."""
    with _client() as client:
        found = _read(client, ticket)
        if found is None or found["state"] != "waiting" or time.time() - found["asked_at"] > PATIENCE:
            return None
        # Of two workers that were given the same message, one has it.
        if not client.set(f"{_key(ticket)}:taken", "1", nx=True, ex=KEPT):
            return None
        found["state"] = "running"
        client.set(_key(ticket), json.dumps(found), ex=KEPT)
        return found


def answer(ticket: str, taken: Try, *, outcome: Outcome | None = None, problem: str = "") -> None:
    """Tell what came of it, and let the requester ask again. Raises RedisError."""
    done = taken.copy()
    done["state"] = "problem" if outcome is None else "done"
    done["problem"], done["outcome"] = problem, outcome
    with _client() as client:
        client.set(_key(ticket), json.dumps(done), ex=KEPT)
        client.eval(_RELEASE, 1, _held_by(taken["requester"]), ticket)


def _release(requester: str, ticket: str) -> None:
    try:
        with _client() as client:
            client.eval(_RELEASE, 1, _held_by(requester), ticket)
    except redis.RedisError as error:
        log.warning("The requester of a probe was not given free (%s); that expires.", error)


def _read(client: Any, ticket: str) -> Try | None:
    text = client.get(_key(ticket))
    found: Try | None = json.loads(text) if text else None
    return found


def _client() -> Any:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=1)


def _key(ticket: str) -> str:
    return f"halfpipe:probe:{ticket}"


def _held_by(requester: str) -> str:
    return f"halfpipe:probe-of:{requester}"
