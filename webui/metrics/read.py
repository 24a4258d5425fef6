"""What charts show: the points of one object over a time, one series for each director and one for all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from webui.metrics import series
from webui.metrics.series import Point, Rate
from webui.metrics.store import FINE, HOUR, MINUTE
from webui.models import MetricBlock


@dataclass(frozen=True, slots=True)
class Span:
    """How far back a chart looks: ``slots`` of ``slot`` seconds, from buckets of ``step`` seconds."""

    name: str
    label: str
    step: int
    slot: int
    slots: int

    @property
    def row_seconds(self) -> int:
        """What a row of a table is about, so that it has thirty rows or less: two minutes, an hour, a day."""
        return self.slot * 12


SPANS: Final = {
    span.name: span
    for span in (
        Span("1h", "1 hour", FINE, 10, 360),
        Span("24h", "24 hours", MINUTE, 300, 288),
        Span("30d", "30 days", HOUR, 7200, 360),
    )
}
DEFAULT: Final = "1h"
Row = tuple[str, int, bytes]  # director, begin, data


@dataclass(frozen=True)
class History:
    """Rates of each slot of a span, the first of which begins at ``begin`` (Unix seconds)."""

    span: Span
    begin: int
    total: list[Rate | None]
    directors: dict[str, list[Rate | None]] = field(default_factory=dict)

    def of(self, director: str) -> list[Rate | None]:
        """Of one director; of all for an empty name, and nothing of one that is not known."""
        return self.directors.get(director, [None] * self.span.slots) if director else self.total


def history(kind: str, key: str, span: Span, now: datetime) -> History:
    """What one object got; three queries at most. Newest slots are made of finer buckets, as far as there are any."""
    found = histories(kind, span, now, keys=[key])
    return found.get(key) or History(span, _begin(span, now), [None] * span.slots)


def histories(kind: str, span: Span, now: datetime, *, keys: Iterable[str] | None = None) -> dict[str, History]:
    """As :func:`history`, of these objects or, of a kind that is one block, of all that were ever counted.

    Three queries at most, however many objects.
    """
    begin = _begin(span, now)
    wanted = None if keys is None else set(keys)
    parts: dict[str, dict[str, dict[int, Point]]] = {}
    for director, at, points in _buckets(kind, _blocks(wanted), span, begin):
        index = (at - begin) // span.slot
        if not 0 <= index < span.slots:
            continue
        for key in points.keys() if wanted is None else points.keys() & wanted:
            slots = parts.setdefault(key, {}).setdefault(director, {})
            slots[index] = series.merge(slots.get(index, series.NOTHING), points[key])
    return {key: _history(span, begin, of) for key, of in sorted(parts.items())}


def sum_of(found: Iterable[History], span: Span, now: datetime) -> History:
    """Several objects as one, such as the services of a server."""
    histories = list(found)
    if not histories:
        return History(span, _begin(span, now), [None] * span.slots)
    names = sorted({name for one in histories for name in one.directors})
    directors = {name: _sum([one.of(name) for one in histories]) for name in names}
    return History(span, histories[0].begin, _sum([one.total for one in histories]), directors)


def _sum(series_of: list[list[Rate | None]]) -> list[Rate | None]:
    return [series.together(rates) for rates in zip(*series_of, strict=True)]


def _blocks(keys: set[str] | None) -> set[int]:
    return {series.block_of(key) for key in keys} if keys is not None else {0}


def _begin(span: Span, now: datetime) -> int:
    return (int(now.timestamp()) // span.slot + 1 - span.slots) * span.slot


def _buckets(kind: str, blocks: set[int], span: Span, begin: int) -> Iterator[tuple[str, int, series.Points]]:
    """Buckets of the span's step, and after the last of them the finer ones that are not rolled up yet."""
    rows = MetricBlock.objects.filter(kind=kind, block__in=blocks)
    after: dict[tuple[str, int], int] = {}  # director and block → up to where it is told
    for step in (HOUR, MINUTE, FINE):
        if step > span.step:
            continue
        since = min(after.values(), default=begin)
        told: dict[tuple[str, int], int] = {}
        found = rows.filter(step=step, at__gte=since).order_by("at").values_list("director", "block", "at", "data")
        for director, block, at, data in found.iterator():
            if at >= after.get((director, block), begin):
                told[director, block] = at + step
                yield director, at, series.unpack(bytes(data))
        after |= told


def _history(span: Span, begin: int, of: dict[str, dict[int, Point]]) -> History:
    directors = {
        director: [series.rate(slots[index]) if index in slots else None for index in range(span.slots)]
        for director, slots in sorted(of.items())
    }
    total = [series.together(rates) for rates in zip(*directors.values(), strict=True)]
    return History(span, begin, total, directors)
