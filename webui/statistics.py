"""Charts of what directors counted, for pages and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.utils import timezone

from webui.metrics import chart, read
from webui.metrics.read import DEFAULT, SPANS, History, Span
from webui.metrics.series import REASONS, SERVICES, VSERVERS, Rate
from webui.rows import REASON_WORDS
from webui.templatetags.halfpipe import absolute, figure


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of :class:`webui.metrics.series.Rate` with a chart; ``peak`` names the one that is drawn fainter."""

    name: str
    label: str
    unit: str = ""
    peak: str = ""

    def text(self, value: float | None) -> str:
        """A figure with its unit."""
        return figure(None if value is None else round(value, 2), self.unit)


PACKETS: Final = Measure("packets", "Packets/s", peak="peak_packets")
BITS: Final = Measure("bits", "Bits/s", "bit", "peak_bits")
FLOWS: Final = Measure("flows", "Flows")
NEW_FLOWS: Final = Measure("new_flows", "New flows/s")
DROPPED: Final = Measure("dropped", "Dropped packets/s")
MEASURES: Final = {
    VSERVERS: (PACKETS, BITS, NEW_FLOWS, FLOWS, DROPPED),
    SERVICES: (PACKETS, BITS, NEW_FLOWS, FLOWS),
    REASONS: (PACKETS,),
}
LABEL_EVERY: Final = {"1h": 900, "24h": 6 * 3600, "30d": 7 * 86400}  # seconds


@dataclass(frozen=True)
class Chart:
    """One figure over time. ``values`` are rounded, as the script beside the chart tells them."""

    key: str
    label: str
    unit: str
    drawn: chart.Drawn
    values: list[float | None]
    begin: int
    slot: int
    words: str
    measure: Measure


@dataclass(frozen=True)
class Choice:
    """A link that changes what is shown."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True)
class Statistics:
    """The panel of one object: charts, what else there is to choose, and averages as rows of a table."""

    span: Span
    spans: list[Choice]
    directors: list[Choice]
    charts: list[Chart]
    headings: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)  # when, and (heading, figure)

    @property
    def slot(self) -> str:
        """Over how long the lines are averages, where they are of more than one reading; empty otherwise."""
        return f"{self.span.slot // 60} minutes" if self.span.slot > self.span.step else ""

    @property
    def known(self) -> bool:
        """Whether anything was counted."""
        return any(value is not None for one in self.charts for value in one.values)


def span_of(name: str) -> Span:
    """The span of that name; the shortest for a name that is none, as addresses are typed by hand too."""
    return SPANS.get(name, SPANS[DEFAULT])


def statistics(kind: str, key: str, span: Span, director: str = "", now: datetime | None = None) -> Statistics:
    """Charts of one virtual server or service; three queries at most."""
    return _charted(kind, read.history(kind, key, span, now or timezone.now()), director)


def together(kind: str, keys: list[str], span: Span, director: str = "", now: datetime | None = None) -> Statistics:
    """Charts of several objects as one, such as the services of a server; three queries at most."""
    now = now or timezone.now()
    found = read.histories(kind, span, now, keys=keys) if keys else {}
    return _charted(kind, read.sum_of(found.values(), span, now), director)


def _charted(kind: str, found: History, director: str) -> Statistics:
    span, rates = found.span, found.of(director)
    charts = [
        _chart(measure.name, measure.label, measure, found, rates)
        for measure in MEASURES[kind]
        # Flows are counted where some are kept, new ones where they are kept or TCP, and nowhere else.
        if measure not in {FLOWS, NEW_FLOWS}
        or any(rate is not None and getattr(rate, measure.name) is not None for rate in rates)
    ]
    return _panel(span, director, list(found.directors), charts)


def outcomes(span: Span, director: str = "", now: datetime | None = None) -> Statistics:
    """A chart for each reason that packets left the forwarders for; those that never came are left out."""
    histories = read.histories(REASONS, span, now or timezone.now())
    directors = sorted({name for found in histories.values() for name in found.directors})
    rates = {name: found.of(director) for name, found in histories.items()}
    charts = [
        _chart(name, REASON_WORDS.get(name, name).capitalize(), PACKETS, histories[name], seen)
        for name, seen in rates.items()
        if any(rate is not None and rate.packets for rate in seen)
    ]
    charts.sort(key=lambda one: (one.key != "FORWARDED", -max(value or 0 for value in one.values)))
    return _panel(span, director, directors, charts)


def _chart(key: str, label: str, measure: Measure, found: History, rates: list[Rate | None]) -> Chart:
    span = found.span
    values = _values(rates, measure.name)
    # The shortest span shows every reading: its peaks are its values.
    peaks = _values(rates, measure.peak) if measure.peak and span.slot > span.step else []
    axis = chart.Time(found.begin, span.slot, timezone.get_current_timezone(), LABEL_EVERY[span.name])
    return Chart(
        key=key,
        label=label,
        unit=measure.unit,
        drawn=chart.draw(values, peaks, axis, measure.text),
        values=values,
        begin=found.begin,
        slot=span.slot,
        words=chart.summary(values, peaks, measure.text),
        measure=measure,
    )


def _values(rates: list[Rate | None], name: str) -> list[float | None]:
    found = [None if rate is None else getattr(rate, name) for rate in rates]
    return [None if value is None else round(value, 1) for value in found]


def _panel(span: Span, director: str, directors: list[str], charts: list[Chart]) -> Statistics:
    def link(**values: str) -> str:
        asked = {"range": span.name, "director": director} | values
        return "?" + urlencode({name: value for name, value in asked.items() if value})

    spans = [Choice(one.label, link(range=one.name), one is span) for one in SPANS.values()]
    names = [Choice("All directors", link(director=""), not director)]
    names += [Choice(name, link(director=name), name == director) for name in directors]
    return Statistics(
        span=span,
        spans=spans,
        directors=names if len(directors) > 1 or director else [],
        charts=charts,
        headings=[one.label for one in charts],
        rows=_table(span, charts),
    )


def _table(span: Span, charts: list[Chart]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The same as text: averages over twelve slots, newest first; without those in which nothing was counted."""
    if not charts:
        return []
    begin = charts[0].begin
    rows: dict[int, list[int]] = {}
    for index in range(span.slots - 1, -1, -1):
        at = begin + index * span.slot
        rows.setdefault(at - at % span.row_seconds, []).append(index)
    return [
        (
            absolute(datetime.fromtimestamp(at, UTC).isoformat()),
            [(one.label, one.measure.text(_average(one.values, indexes))) for one in charts],
        )
        for at, indexes in rows.items()
        if any(one.values[index] is not None for one in charts for index in indexes)
    ]


def _average(values: list[float | None], indexes: list[int]) -> float | None:
    known = [value for index in indexes if (value := values[index]) is not None]
    return sum(known) / len(known) if known else None


def as_json(kind: str, key: str, span: Span, now: datetime | None = None) -> dict[str, Any]:
    """All directors together, and each on its own.

    Numbers are per second (``flows``: how many), averages over ``slot`` seconds; null where nothing was counted.
    """
    return _json(read.history(kind, key, span, now or timezone.now()), MEASURES[kind])


def together_as_json(kind: str, keys: list[str], span: Span, now: datetime | None = None) -> dict[str, Any]:
    """As :func:`as_json`, several objects as one, such as the members of a group."""
    now = now or timezone.now()
    found = read.histories(kind, span, now, keys=keys) if keys else {}
    return _json(read.sum_of(found.values(), span, now), MEASURES[kind])


def outcomes_as_json(span: Span, now: datetime | None = None) -> dict[str, Any]:
    """As :func:`as_json`, for each reason."""
    found = read.histories(REASONS, span, now or timezone.now())
    return {"range": span.name, "outcomes": {name: _json(one, MEASURES[REASONS]) for name, one in found.items()}}


def _json(found: History, measures: tuple[Measure, ...]) -> dict[str, Any]:
    def lines(rates: list[Rate | None]) -> dict[str, list[float | None]]:
        names = [name for measure in measures for name in (measure.name, measure.peak) if name]
        return {name: _values(rates, name) for name in names}

    return {
        "range": found.span.name,
        "begin": datetime.fromtimestamp(found.begin, UTC).isoformat(),
        "slot": found.span.slot,
        "total": lines(found.total),
        "directors": {name: lines(rates) for name, rates in found.directors.items()},
    }
