"""What the checks found since the rows were last written; in Redis, which may be away.

A check that changes no state leaves its row alone. Its figures go into one Redis hash for each shard, a field for each
check, once a second. Without Redis, or before the first check, the rows are what is known: older, never wrong.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import redis
from django.conf import settings
from django.db.models import OuterRef, Subquery

from webui.models import CheckLease, HealthState
from webui.models.health import SHARDS

KEY: Final = "halfpipe:checks:"  # and the number of the shard
TIMEOUT: Final = 1.0  # seconds
FEW: Final = 900  # rows that are asked for one by one
KEPT: Final = 7 * 24 * 3600  # seconds after the last write; then nobody checks any more

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the checks of one row have found; names and units as in :class:`webui.models.HealthState`.

    They count while ``edition`` is the row's, and are newer than the row's own when there were more ``probes``.
    """

    edition: int
    checked_at: datetime
    recent: str
    response: str
    response_time: float
    average_time: float | None
    probes: int
    failures: int

    def encoded(self) -> bytes:
        """As it is in Redis."""
        values = (
            self.edition,
            round(self.checked_at.timestamp(), 3),
            self.recent,
            self.response,
            round(self.response_time, 6),
            self.average_time,
            self.probes,
            self.failures,
        )
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Figures | None:
        """From what is in Redis; None for what no version of this program wrote."""
        try:
            edition, at, *rest = json.loads(data)
            return cls(edition, datetime.fromtimestamp(at, UTC), *rest)
        except (ValueError, TypeError, OverflowError):
            return None

    def fits(self, row: HealthState) -> bool:
        """Whether they tell more than the row does."""
        return self.edition == row.edition and self.probes >= row.probes


def last_checked(pks: Collection[int]) -> dict[int, datetime]:
    """When each of these rows was last checked, as far as Redis or, for what it does not know, the rows tell.

    While Redis is away, a check counts as made when the worker that leases it last said that it runs: results of no
    change are nowhere else, and an outage of Redis alone is no stall of the checks.
    Rows that were never checked are left out. Raises django.db.Error.
    """
    return _moments(pks, _ask(pks))


def _moments(pks: Collection[int], known: Mapping[int, Figures] | None) -> dict[int, datetime]:
    """As :func:`last_checked`; ``known`` is what Redis answered, None when it is away."""
    found = {pk: one.checked_at for pk, one in (known or {}).items()}
    missing = set(pks) - found.keys()
    if missing:
        lease = CheckLease.objects.filter(shard=OuterRef("pk") % SHARDS).exclude(owner="")
        rows = HealthState.objects.filter(checked_at__isnull=False).annotate(
            renewed=Subquery(lease.values("renewed_at")[:1])
        )
        # Thousands of numbers are more than SQLite takes in one query.
        if len(missing) <= FEW:
            rows = rows.filter(pk__in=missing)
        for pk, at, renewed in rows.values_list("pk", "checked_at", "renewed"):
            if pk in missing and at is not None:
                found[pk] = max(at, renewed or at) if known is None else at
    return found


def figures(pks: Collection[int]) -> dict[int, Figures]:
    """Figures of these rows from Redis alone; none at all when it is away. :meth:`Figures.fits` says if they count."""
    return _ask(pks) or {}


def _ask(pks: Collection[int]) -> dict[int, Figures] | None:
    """Figures of these rows from Redis; None when it is away."""
    by_shard: dict[int, list[int]] = {}
    for pk in pks:
        by_shard.setdefault(pk % SHARDS, []).append(pk)
    if not by_shard:
        return {}
    try:
        with client().pipeline(transaction=False) as pipe:
            for shard, members in by_shard.items():
                pipe.hmget(f"{KEY}{shard}", [str(pk) for pk in members])
            answers = pipe.execute()
    except (redis.RedisError, OSError) as error:
        log.info("Redis is away (%s): figures of the checks are those of their last change of state.", error)
        return None
    found = {}
    for members, values in zip(by_shard.values(), answers, strict=True):
        for pk, data in zip(members, values, strict=True):
            one = Figures.decoded(data) if data is not None else None
            if one is not None:
                found[pk] = one
    return found


def refresh(rows: Iterable[HealthState]) -> dict[int, datetime]:
    """Put what Redis knows into rows that were read, where it is newer; nothing is written.

    Returns when each was last checked, as :func:`last_checked` does; Redis is asked once. Raises django.db.Error.
    """
    rows = list(rows)
    pks = [row.pk for row in rows]
    known = _ask(pks)
    for row in rows:
        one = known.get(row.pk) if known else None
        if one is not None and one.fits(row):
            put(row, one)
    return _moments(pks, known)


def put(row: HealthState, one: Figures) -> None:
    """Set the row's fields to these figures."""
    row.checked_at, row.recent, row.response = one.checked_at, one.recent, one.response
    row.response_time, row.average_time = one.response_time, one.average_time
    row.probes, row.failures = one.probes, one.failures


def save(new: Mapping[int, Figures]) -> None:
    """Write figures by row. Raises redis.RedisError, OSError; then some may have been written."""
    by_shard: dict[int, dict[str, bytes]] = {}
    for pk, one in new.items():
        by_shard.setdefault(pk % SHARDS, {})[str(pk)] = one.encoded()
    with client().pipeline(transaction=False) as pipe:
        for shard, values in by_shard.items():
            pipe.hset(f"{KEY}{shard}", mapping=cast("dict[Any, Any]", values))
            pipe.expire(f"{KEY}{shard}", KEPT)
        pipe.execute()


def keep_only(shard: int, pks: Collection[int]) -> None:
    """Remove the figures of rows that are no more. Raises redis.RedisError, OSError."""
    key = f"{KEY}{shard}"
    stored = cast("list[bytes]", client().hkeys(key))
    gone = [field for field in stored if not field.isdigit() or int(field) not in pks]
    if gone:
        client().hdel(key, *cast("list[Any]", gone))


def client() -> redis.Redis:
    """The connections of this process to Redis."""
    return _client(settings.REDIS_URL)


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    # No retries: whoever asks has rows to go by, and asks again soon.
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=None)
