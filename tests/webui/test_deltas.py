"""What browsers are told, message by message: a browser's side in Python must always come to what the server knows."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.deltas import Counted, Frame, Read, View
from webui.narrow import EVERYTHING, Rows, Wish, wish_of

NOW = "2026-01-01T00:00:00+00:00"


def _opened(frame: Frame | None) -> dict[str, Any]:
    assert frame is not None
    found: dict[str, Any] = json.loads(frame if isinstance(frame, str) else gzip.decompress(frame))
    return found


class Page:
    """What live.js keeps, and how it takes a delta."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.seq = snapshot["seq"]
        self.rows = {name: rows for name, rows in snapshot.items() if name in EVERYTHING.keys}
        self.counters = {row["director"]: row["payload"] for row in snapshot["counters"]}
        self.problem_count = snapshot["problem_count"]
        self.totals = snapshot["totals"]

    def take(self, delta: dict[str, Any]) -> None:
        assert delta["seq"] == self.seq + 1
        self.seq = delta["seq"]
        for name, one in delta.get("rows", {}).items():
            known = {row["key"]: row for row in self.rows.get(name, [])} | {row["key"]: row for row in one["changed"]}
            self.rows[name] = [known[key] for key in one.get("order", [row["key"] for row in self.rows.get(name, [])])]
        for row in delta.get("counters", []):
            payload = self.counters.setdefault(row["director"], {})
            for kind, counts in row["payload"].items():
                merged = payload.get(kind, {}) | counts
                payload[kind] = {key: one for key, one in merged.items() if one is not None}
        for director in delta.get("gone", []):
            self.counters.pop(director, None)
        self.problem_count = delta.get("problem_count", self.problem_count)
        self.totals = delta.get("totals", self.totals)


keys = st.sampled_from("123456")
rows = st.lists(st.fixed_dictionaries({"key": keys, "name": st.sampled_from("xy")}), unique_by=lambda row: row["key"])
counts = st.dictionaries(keys, st.fixed_dictionaries({"packets": st.integers(0, 2)}))
readings = st.fixed_dictionaries(
    {
        "vservers": rows,
        "services": rows,
        "problems": rows,
        "counters": st.dictionaries(
            st.sampled_from("ab"), st.fixed_dictionaries({"vservers": counts, "services": counts})
        ),
    }
)
wishes = st.sampled_from(
    [
        "",
        "services=1,2,3&problems=*",
        "vservers=~2&services=~1",
        "none=1",
        "vservers=*&plain=1",
        "problems=~1&vservers=2",
    ]
).map(lambda text: wish_of(text) or EVERYTHING)


def _read(reading: dict[str, Any], number: int) -> Read:
    sources = {name: Rows(reading[name]) for name in ("vservers", "services", "problems")}
    counters = [
        {"director": name, "taken_at": f"{number:04}", "payload": payload}
        for name, payload in reading["counters"].items()
    ]
    return Read(NOW, len(reading["problems"]), sources, counters, sources)  # type: ignore[arg-type] # plain dicts


@given(
    wishes, st.lists(readings, min_size=1, max_size=5), st.lists(st.tuples(st.sampled_from("ab"), counts), max_size=4)
)
def test_a_page_that_takes_every_delta_shows_what_a_fresh_snapshot_would(
    wish: Wish, read: list[dict[str, Any]], live: list[tuple[str, dict[str, Any]]]
) -> None:
    view, counted = View("v", wish, 10.0), Counted()
    page: Page | None = None
    for number, reading in enumerate(read):
        found = _read(reading, 2 * number)
        counted.take_all(found.counters)
        frame = view.after(found, counted, NOW)
        if page is None:
            page = Page(_opened(view.snapshot(NOW)))
        else:
            page.take(_opened(frame))
        for director, moved in live[number : number + 1]:
            counted.take(director, f"{2 * number + 1:04}", {"vservers": moved})
            frame = view.after(None, counted, NOW)
            if frame is not None:
                page.take(_opened(frame))
        fresh = View("w", wish, 10.0)
        fresh.after(found, counted, NOW)
        want = Page(_opened(fresh.snapshot(NOW)))
        assert (page.rows, page.problem_count, page.totals) == (want.rows, want.problem_count, want.totals)
        shown = {name: {kind: one for kind, one in payload.items() if one} for name, payload in page.counters.items()}
        assert shown == {
            name: {kind: one for kind, one in payload.items() if one} for name, payload in want.counters.items()
        }


def test_nothing_is_sent_twice() -> None:
    view, counted = View("v", EVERYTHING, 10.0), Counted()
    reading = {"vservers": [{"key": "1", "name": "web"}], "services": [], "problems": [], "counters": {}}
    view.after(_read(reading, 0), counted, NOW)
    assert _opened(view.after(_read(reading, 1), counted, NOW)) == {
        "type": "delta",
        "view": "v",
        "seq": 2,
        "now": NOW,
        "read_at": NOW,
    }
    assert view.after(None, counted, NOW) is None
    assert view.seq == 2, "what is not sent has no number"


def test_counters_that_stand_still_are_not_sent_but_that_they_were_counted_is() -> None:
    view, counted = View("v", EVERYTHING, 10.0), Counted()
    counted.take("d", "1", {"services": {"1": {"packets": 5, "bytes": 9}, "2": {"packets": 6}}})
    view.after(None, counted, NOW)
    counted.take("d", "2", {"services": {"1": {"packets": 5, "bytes": 10}, "2": {"packets": 7}}})
    (row,) = _opened(view.after(None, counted, NOW))["counters"]
    assert row == {"director": "d", "taken_at": "2", "payload": {"services": {"2": {"packets": 7}}}}


def test_counters_that_come_late_do_not_replace_newer_ones() -> None:
    counted = Counted()
    assert counted.take("d", "2", {"services": {"1": {"packets": 7}}})
    assert not counted.take("d", "1", {"services": {"1": {"packets": 5}}})
    counted.take_all([{"director": "d", "taken_at": "1", "payload": {}}])
    assert counted.of["d"]["payload"]["services"] == {"1": {"packets": 7}}
    counted.take_all([])
    assert counted.of == {}


def test_what_is_counted_is_in_the_counters_alone() -> None:
    overview: Any = {name: [] for name in EVERYTHING.keys} | {"now": NOW, "counters": []}
    overview["services"] = [{"key": "1", "name": "web", "packets": 7, "packets_per_second": 1.5, "state": "UP"}]
    assert list(Read.of(overview).sources["services"].rows) == [{"key": "1", "name": "web", "state": "UP"}]


@pytest.mark.parametrize("plain", [True, False])
def test_large_messages_are_packed_for_browsers_that_can_unpack_them(plain: bool) -> None:
    view, counted = View("v", Wish({"services": None}, plain=plain), 10.0), Counted()
    many = [{"key": str(one), "name": "web"} for one in range(500)]
    frame = view.after(_read({"vservers": [], "services": many, "problems": [], "counters": {}}, 0), counted, NOW)
    assert isinstance(frame, str) is plain
    assert len(_opened(frame)["rows"]["services"]["changed"]) == 500
