"""Whether the processes of this installation do their work, as whoever supervises them asks.

Each question returns sentences about what is wrong; none says that all is well. Rows are asked, not processes: a
process that lives and does nothing is not well.
"""

from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

import redis
from django.conf import settings
from django.db import Error
from django.utils import timezone

from webui import freshness
from webui.models import CheckLease, DataplaneStatus, Installation

STALE: Final = timedelta(seconds=5)  # for what is written every second
BEAT_KEY: Final = "halfpipe:beat"
BEAT_KEPT: Final = 10  # seconds
WEB_PORT: Final = 8000
TIMEOUT: Final = 5.0  # seconds

log = logging.getLogger(__name__)


def web() -> list[str]:
    """The console of this container answers, and its database too. Asked by a name that it goes by."""
    connection = http.client.HTTPConnection("127.0.0.1", WEB_PORT, timeout=TIMEOUT)
    try:
        connection.request("GET", "/healthz", headers={"Host": _own_name()})
        answer = connection.getresponse()
        text = answer.read(200).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return [f"The console does not answer on port {WEB_PORT}: {error}."]
    finally:
        connection.close()
    return [] if answer.status == http.HTTPStatus.OK else [f"The console answers with {answer.status}: {text}"]


def _own_name() -> str:
    name = (settings.ALLOWED_HOSTS or ["localhost"])[0]
    return "localhost" if name == "*" else name.removeprefix(".")


def worker() -> list[str]:
    """A worker of this host has renewed leases of checks lately, which every sweep does."""
    renewed = (
        CheckLease.objects.filter(owner__startswith=f"{socket.gethostname()[:30]}:", renewed_at__isnull=False)
        .order_by("-renewed_at")
        .values_list("renewed_at", flat=True)
        .first()
    )
    if renewed is None:
        return ["No worker of this host holds a lease of checks."]
    if renewed < timezone.now() - STALE:
        return [f"The worker of this host has swept last at {renewed:%Y-%m-%d %H:%M:%S} UTC."]
    return []


def beat() -> list[str]:
    """Beat has handed over a task lately. Raises redis.RedisError."""
    return [] if freshness.client().exists(BEAT_KEY) else [f"Beat has sent no task for {BEAT_KEPT} s."]


def beat_has_sent(**_signal: object) -> None:
    """Note that a task was handed over; beat calls it for each."""
    try:
        freshness.client().set(BEAT_KEY, 1, ex=BEAT_KEPT)
    except (redis.RedisError, OSError) as error:
        log.warning("Redis is away: %s", error)


def dataplane() -> list[str]:
    """Our director has reported lately, and applied the configuration that is wanted."""
    return directors(settings.DIRECTOR)


def directors(name: str | None = None) -> list[str]:
    """What is wrong with this director's reports, or with those of all."""
    revision = Installation.objects.filter(pk=1).values_list("revision", flat=True).first() or 0
    chosen = {} if name is None else {"director": name}
    rows = list(DataplaneStatus.objects.filter(**chosen).order_by("director"))
    found = [] if rows else ["No dataplane worker has reported yet."]
    for row in rows:
        if row.heartbeat_at is None or row.heartbeat_at < timezone.now() - STALE:
            found.append(f"{row.director}: no report since {row.heartbeat_at or 'ever'}.")
        if row.applied_revision < revision:
            found.append(
                f"{row.director}: revision {row.applied_revision} applied, {revision} wanted. {row.last_error}"
            )
    return found


QUESTIONS: Final[Mapping[str, Callable[[], list[str]]]] = {
    "web": web,
    "worker": worker,
    "beat": beat,
    "dataplane": dataplane,
}


def problems(process: str) -> list[str]:
    """What is wrong with a process of :data:`QUESTIONS`; that it cannot be told counts too."""
    try:
        return QUESTIONS[process]()
    except (Error, redis.RedisError, OSError) as error:
        away = "The database" if isinstance(error, Error) else "Redis"
        return [f"{away} does not answer: {' '.join(str(error).split())}"]
