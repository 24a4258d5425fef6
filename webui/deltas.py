"""What browsers that show the same have been told, and the next message that follows from it; pure.

Each message has the number of its view and one more than the message before it. A browser that finds another number
has missed something, and asks for a snapshot. Rows travel once, and again when they differ; counters travel when they
moved. What of a row is counted is in the counters alone, or every row would differ every second.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from webui.narrow import COUNTED, Row, Rows, Wish
from webui.payloads import CountersRow, DeltaMessage, Overview, Rates, RowsDelta, SnapshotMessage, StaleMessage
from webui.recent import public

COUNTS: Final = frozenset(Rates.__annotations__)
SMALL: Final = 1000  # characters; less is sent as it is
LEVEL: Final = 5  # of gzip: beyond it time grows and size hardly shrinks

Frame = str | bytes
Payload = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Read:
    """An overview, prepared once for all views: rows without what is counted."""

    read_at: str
    problem_count: int
    sources: Mapping[str, Rows]
    counters: Sequence[CountersRow]
    public: Mapping[str, Rows]  # for those who may not see the audit

    @classmethod
    def of(cls, overview: Overview) -> Read:
        """Take an overview apart."""
        sources = {}
        for name, value in overview.items():
            if name in {"now", "counters"}:
                continue
            rows: Any = value
            if name in COUNTED:
                rows = [{key: one for key, one in row.items() if key not in COUNTS} for row in rows]
            sources[name] = Rows(rows)
        hidden = sources | {"recent": Rows(public(overview["recent"]))}
        return cls(overview["now"], len(overview["problems"]), sources, overview["counters"], hidden)


@dataclass
class Counted:
    """The newest counters of every director, whichever way they came."""

    of: dict[str, CountersRow] = field(default_factory=dict)

    def take(self, director: str, taken_at: str, payload: Mapping[str, Any]) -> bool:
        """Keep what browsers show of it, unless it is older than what is known; returns whether it was kept."""
        known = self.of.get(director)
        if known is not None and known["taken_at"] > taken_at:
            return False
        slim: Payload = {
            kind: {
                key: {name: one for name, one in counts.items() if name in COUNTS}
                for key, counts in payload.get(kind, {}).items()
            }
            for kind in sorted(COUNTED)
        }
        self.of[director] = CountersRow(director=director, taken_at=taken_at, payload=slim)
        return True

    def take_all(self, rows: Sequence[CountersRow]) -> None:
        """Those of the database; directors that are not there any more are forgotten."""
        for row in rows:
            self.take(row["director"], row["taken_at"], row["payload"])
        there = {row["director"] for row in rows}
        self.of = {director: row for director, row in self.of.items() if director in there}


@dataclass
class View:
    """One for all browsers with the same wish. ``name`` tells it from others, of other processes as well."""

    name: str
    wish: Wish
    refresh: float  # seconds after which a message comes even if nothing happens
    sees_audit: bool = True
    seq: int = 0
    _rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    _totals: dict[str, int] = field(default_factory=dict)
    _problem_count: int = 0
    _read_at: str = ""
    _told: dict[str, tuple[str, Payload]] = field(default_factory=dict)
    _snapshot: tuple[tuple[int, str], Frame] | None = None

    def snapshot(self, now: str) -> Frame:
        """Everything that browsers of this view know now; it has the number of the latest message."""
        same = (self.seq, now[:19])  # within a second: browsers set their clocks by it
        if self._snapshot is None or self._snapshot[0] != same:
            message: dict[str, Any] = {
                **SnapshotMessage(
                    type="snapshot",
                    view=self.name,
                    seq=self.seq,
                    now=now,
                    read_at=self._read_at,
                    refresh=self.refresh,
                    problem_count=self._problem_count,
                    totals=self._totals,
                    counters=[
                        CountersRow(director=director, taken_at=at, payload=payload)
                        for director, (at, payload) in self._told.items()
                    ],
                ),
                **self._rows,
            }
            self._snapshot = (same, self._framed(message))
        return self._snapshot[1]

    def after(self, read: Read | None, counted: Counted, now: str) -> Frame | None:
        """The next message: what is new in ``read`` (None: rows were not read) and in the counters; None for nothing.

        Rows that were read are always told of, be it only that they are still the same.
        """
        message = DeltaMessage(type="delta", view=self.name, seq=self.seq + 1, now=now)
        if read is not None:
            self._take(read, message)
        counters = self._moved(counted)
        if counters:
            message["counters"] = counters
        if gone := sorted(self._told.keys() - counted.of.keys()):
            message["gone"] = gone
            for director in gone:
                del self._told[director]
        if read is None and not counters and not gone:
            return None
        self.seq += 1
        return self._framed(message)

    def stale(self, why: str, now: str) -> Frame:
        """That rows cannot be read, and since when they are what they are."""
        self.seq += 1
        message = StaleMessage(type="stale", view=self.name, seq=self.seq, now=now, since=self._read_at, why=why)
        return self._framed(message)

    def _take(self, read: Read, message: DeltaMessage) -> None:
        sources = read.sources if self.sees_audit else read.public
        wanted = self.wish.rows(sources)
        changed = {name: one for name, rows in wanted.items() if (one := difference(self._rows.get(name), rows))}
        if changed:
            message["rows"] = changed
        totals = {name: len(sources[name].rows) for name in wanted}
        if totals != self._totals:
            message["totals"] = totals
        if read.problem_count != self._problem_count:
            message["problem_count"] = read.problem_count
        message["read_at"] = read.read_at
        self._rows, self._totals = wanted, totals
        self._problem_count, self._read_at = read.problem_count, read.read_at

    def _moved(self, counted: Counted) -> list[CountersRow]:
        found = []
        for director, row in counted.of.items():
            before_at, before = self._told.get(director, ("", {}))
            payload = self.wish.counters(row["payload"], self._rows)
            moved = {kind: one for kind, counts in payload.items() if (one := _moves(before.get(kind, {}), counts))}
            if moved or before_at != row["taken_at"]:
                found.append(CountersRow(director=director, taken_at=row["taken_at"], payload=moved))
                self._told[director] = (row["taken_at"], payload)
        return found

    def _framed(self, message: Mapping[str, Any]) -> Frame:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        if self.wish.plain or len(text) < SMALL:
            return text
        return gzip.compress(text.encode(), LEVEL, mtime=0)


def difference(before: Sequence[Row] | None, now: Sequence[Row]) -> RowsDelta | None:
    """Rows that differ or are new, and the keys of all in order where that is another; None when nothing differs."""
    known = {row["key"]: row for row in before or ()}
    found = RowsDelta(changed=[dict(row) for row in now if known.get(row["key"]) != row])
    order = [row["key"] for row in now]
    if before is None or order != list(known):
        found["order"] = order
    return found if found["changed"] or "order" in found else None


def _moves(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Counts that differ; None for those that are no more."""
    moved = {key: counts for key, counts in now.items() if before.get(key) != counts}
    return moved | dict.fromkeys(before.keys() - now.keys())
