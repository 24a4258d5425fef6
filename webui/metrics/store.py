"""Points as rows: recording what directors counted, rolling up, trimming. See docs/metrics.md for the bounds.

Nothing here is remembered between calls: all follows from rows, so a process may die anywhere and another go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

from django.db import transaction
from django.db.models import Max, QuerySet

from webui.metrics import series
from webui.metrics.spark import sparklines
from webui.models import DirectorCounters, MetricBlock, MetricCursor, Sparklines

FINE: Final = 10
MINUTE: Final = 60
HOUR: Final = 3600
# How long buckets of so many seconds are kept, in seconds: two hours, thirty hours, 62 days.
KEPT: Final = {FINE: 2 * 3600, MINUTE: 30 * 3600, HOUR: 62 * 86400}
ROLLED: Final = ((FINE, MINUTE), (MINUTE, HOUR))

# Counters that were not read for longer than this say nothing about when their packets came: a gap, not a lump.
LONGEST_GAP: Final = timedelta(seconds=60)
# A bucket is rolled up when its director has counted beyond its end; of a director that is silent, so much later.
SILENT: Final = 600
# Buckets later than this are of a clock that was wrong.
FUTURE: Final = 3600

# Rows of a step that one trimming removes; after a long stop the next ones go on.
REMOVED_AT_ONCE: Final = 5000

SPARK: Final = 1  # the row of the sparklines

log = logging.getLogger(__name__)


def keep(now: datetime) -> int:
    """Record, roll up and trim; returns the number of directors that had something new. Raises django.db.Error."""
    recorded = record(now)
    if roll_up(now):
        draw_sparklines(now)
        trim(now)
    return recorded


def record(now: datetime) -> int:
    """Write what each director has counted since the last time; returns how many had something new."""
    cursors = {cursor.director: cursor for cursor in MetricCursor.objects.all()}
    return sum(_record(row, cursors.get(row.director), now) for row in DirectorCounters.objects.all())


def _record(row: DirectorCounters, cursor: MetricCursor | None, now: datetime) -> bool:
    found = series.reading(row.payload)
    values = {"taken_at": row.taken_at, "reading": series.pack_reading(found)}
    if cursor is None:
        MetricCursor.objects.get_or_create(director=row.director, defaults=values)
        return False
    passed = row.taken_at - cursor.taken_at
    if not passed:
        return False
    points: dict[str, series.Points] = {}
    ms = passed // timedelta(milliseconds=1)
    # A clock that was set, or that is wrong, has no place in time to offer: the counting begins anew.
    if ms > 0 and passed <= LONGEST_GAP and row.taken_at <= now + LONGEST_GAP:
        before = series.unpack_reading(bytes(cursor.reading))
        points = series.between(before, found, ms, series.flows(row.payload))
    at = series.bucket(_unix_ms(row.taken_at), FINE)
    with transaction.atomic():
        # Of two processes that got here one moves the cursor; the other has nothing to add.
        moved = MetricCursor.objects.filter(pk=cursor.pk, taken_at=cursor.taken_at).update(**values)
        if moved:
            _add(row.director, at, points)
    return bool(moved)


def _unix_ms(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _add(director: str, at: int, points: dict[str, series.Points]) -> None:
    """Add points to a bucket that may have some: two readings can fall into one."""
    fresh = {(kind, block): found for kind in points for block, found in series.blocks(points[kind]).items()}
    for old in MetricBlock.objects.filter(director=director, step=FINE, at=at):
        key = (old.kind, old.block)
        if key in fresh:
            fresh[key] = series.roll_up([series.unpack(bytes(old.data)), fresh[key]])
    _write(director, FINE, at, fresh.items())


def _write(director: str, step: int, at: int, blocks: Iterable[tuple[tuple[str, int], series.Points]]) -> None:
    rows = [
        MetricBlock(director=director, kind=kind, block=block, step=step, at=at, data=series.pack(points))
        for (kind, block), points in blocks
    ]
    MetricBlock.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["kind", "block", "step", "at", "director"],
        update_fields=["data"],
    )


def roll_up(now: datetime) -> int:
    """Make the coarse buckets that are complete and not there yet; returns how many were made."""
    seen = dict(MetricCursor.objects.values_list("director", "taken_at"))
    return sum(
        # A director whose clock is ahead has not counted to the end of what is under way here.
        _roll_up(director, min(at, now).timestamp(), now.timestamp(), *steps)
        for director, at in seen.items()
        for steps in ROLLED
    )


def _roll_up(director: str, seen: float, now: float, fine: int, coarse: int) -> int:
    mine = MetricBlock.objects.filter(director=director)
    last = mine.filter(step=coarse).aggregate(last=Max("at"))["last"]
    new = mine.filter(step=fine, at__gte=0 if last is None else last + coarse).order_by("at")
    begins = sorted({at - at % coarse for at in new.values_list("at", flat=True).distinct()})
    ready = [at for at in begins if at + coarse <= seen or at + coarse + SILENT <= now]
    for at in ready:
        # From the finer rows alone, whole: made twice, it is the same. Made before anything is locked: an hour of a
        # large installation takes most of a second, and on SQLite everyone who writes would wait so long.
        _write(director, coarse, at, list(_rolled(director, fine, at, at + coarse)))
    return len(ready)


def _rolled(director: str, step: int, begin: int, end: int) -> Iterator[tuple[tuple[str, int], series.Points]]:
    rows = MetricBlock.objects.filter(director=director, step=step, at__gte=begin, at__lt=end)
    found = rows.order_by("kind", "block").values_list("kind", "block", "data")
    for key, group in groupby(found.iterator(), key=itemgetter(0, 1)):
        yield key, series.roll_up(series.unpack(bytes(data)) for _kind, _block, data in group)


def trim(now: datetime) -> int:
    """Remove buckets that are too old, or that a wrong clock put into the future; returns how many rows went."""
    unix = int(now.timestamp())
    removed = _remove(MetricBlock.objects.filter(at__gt=unix + FUTURE))
    for step, seconds in KEPT.items():
        removed += _remove(MetricBlock.objects.filter(step=step, at__lt=unix - seconds))
    removed += MetricCursor.objects.filter(taken_at__lt=now - timedelta(seconds=KEPT[HOUR])).delete()[0]
    return removed


def _remove(rows: QuerySet[MetricBlock]) -> int:
    return MetricBlock.objects.filter(pk__in=rows.values("pk")[:REMOVED_AT_ONCE]).delete()[0]


def draw_sparklines(now: datetime) -> None:
    """Make the dashboard's small charts of the last hour anew, from minutes."""
    until = int(now.timestamp()) // MINUTE * MINUTE
    rows = MetricBlock.objects.filter(kind=series.VSERVERS, step=MINUTE, at__gte=until - HOUR, at__lt=until)
    found = (
        (director, at, series.unpack(bytes(data)))
        for director, at, data in rows.values_list("director", "at", "data").iterator()
    )
    lines = sparklines(found, until)
    Sparklines.objects.update_or_create(
        pk=SPARK, defaults={"until": datetime.fromtimestamp(until, UTC), "lines": lines}
    )
